//! What the tests are made of: a world with a bridge in it, a realm with moods, a client that speaks bytes.

pub mod api;
pub mod api2;
pub mod capture;
pub mod chance;
pub mod frames;
pub mod jwt;
pub mod meanwhile;
pub mod old;
pub mod pattern;
pub mod pem;
pub mod planted;
pub mod program;
pub mod raw;
pub mod realm;
pub mod runtime;
pub mod tls;
pub mod world;

use std::thread::park_timeout;
use std::time::{Duration, Instant};

pub use api::FakeApi;
pub use chance::{BEGIN, Look, ManualClock, Seeded};
pub use old::{FakeOld, OldMood};
pub use raw::{Connection, RawReply, post, post_with};
pub use realm::{FakeRealm, Granting, Mood};
pub use world::{NEW_ID, NEW_SECRET, OLD_ID, OLD_SECRET, Plan, TOKEN, World, client, passport};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something is so, looking again and again. In place of every sleep.
#[track_caller]
pub fn eventually(what: &str, so: impl FnMut() -> bool) {
    within(PATIENCE, what, so);
}

/// The same for what a busy machine may put off for longer.
#[track_caller]
pub fn within(patience: Duration, what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < patience, "not within {patience:?}: {what}");
        park_timeout(Duration::from_millis(2));
    }
}

/// Waits for a future on a runtime of its own.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
