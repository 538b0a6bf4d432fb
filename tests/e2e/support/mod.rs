//! What the end-to-end tests share: one Keycloak, one Passport, and bridges of their own.

mod bridge;
mod http;
mod keycloak;
#[path = "../../it/support/meanwhile.rs"]
pub mod meanwhile;
mod passport;
#[path = "../../it/support/pem.rs"]
pub mod pem;
mod process;

pub use bridge::{Bridge, Old};
pub use http::{Answer, form, send};
pub use keycloak::Keycloak;
pub use passport::{Passport, Wish};
pub use process::{bound_to_us, ended, for_good, free_ports, place, repository};

/// Waits until something is so; it must come to be within 20 seconds.
#[track_caller]
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    while begin.elapsed() < std::time::Duration::from_secs(20) {
        if so() {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    panic!("it never came to be that {what}");
}
