//! Time that a test turns by hand, and chance that repeats itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use passbridge::domain::chance::Entropy;
use passbridge::domain::time::{Clock, Timestamp};

/// Where every manual clock begins: 2026-01-15T12:00:00Z.
pub const BEGIN: Timestamp = Timestamp::from_secs(1_768_478_400);

/// A clock that stands still until it is turned.
#[derive(Debug, Default)]
pub struct ManualClock {
    passed: AtomicU64,
    set_back: AtomicU64,
    set_ahead: AtomicU64,
    /// The thread that is to break, and by which look.
    breaks: Mutex<Option<(&'static str, Look)>>,
    /// The thread that is to stand still, by which look, and until when.
    holds: Mutex<Option<(&'static str, Look, Receiver<()>)>>,
}

/// Lets a thread that stands still go on when it is dropped.
#[derive(Debug)]
pub struct Held {
    _let_go: Sender<()>,
}

/// What a clock is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The time of day.
    Day,
    /// How much time has passed.
    Passed,
}

impl ManualClock {
    /// Turns it on by so much.
    pub fn turn(&self, by: Duration) {
        self.passed.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Somebody sets the time of day back by so many seconds; no time passes.
    pub fn set_back(&self, seconds: u64) {
        self.set_back.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }

    /// Somebody sets the time of day ahead by so many seconds; no time passes.
    pub fn set_ahead(&self, seconds: u64) {
        self.set_ahead.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }

    /// The next look of this kind by the thread of this name is a panic: a fault of the program in that place.
    pub fn break_at(&self, thread: &'static str, look: Look) {
        *self.breaks.lock() = Some((thread, look));
    }

    /// Whether that look has been.
    pub fn has_broken(&self) -> bool {
        self.breaks.lock().is_none()
    }

    /// The next look of this kind by the thread of this name takes until what this gives is dropped.
    pub fn hold_at(&self, thread: &'static str, look: Look) -> Held {
        let (sender, until) = channel();
        *self.holds.lock() = Some((thread, look, until));
        Held { _let_go: sender }
    }

    /// Whether that look has begun.
    pub fn has_held(&self) -> bool {
        self.holds.lock().is_none()
    }

    fn look(&self, look: Look) {
        let held = self.holds.lock().take_if(|(name, at, _)| *at == look && thread::current().name() == Some(*name));
        let _let_go = held.map(|(_, _, until)| until.recv());
        let broken = self.breaks.lock().take_if(|(name, at)| *at == look && thread::current().name() == Some(*name));
        assert!(broken.is_none(), "a fault of the program: {broken:?}");
    }

    fn passed(&self) -> Duration {
        Duration::from_millis(self.passed.load(Ordering::SeqCst))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.look(Look::Day);
        let (ahead, back) = (self.set_ahead.load(Ordering::SeqCst), self.set_back.load(Ordering::SeqCst));
        Timestamp::from_millis(BEGIN.plus(self.passed()).millis() + ahead - back)
    }

    fn monotonic(&self) -> Duration {
        self.look(Look::Passed);
        self.passed()
    }
}

/// Chance from a seed (splitmix64): another number each time, the same ones in each run.
#[derive(Debug)]
pub struct Seeded(AtomicU64);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let mut word = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}
