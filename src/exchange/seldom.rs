//! What costs a look through many, done once a second however often it is asked for.

use std::sync::atomic::{AtomicU64, Ordering};

/// In which second it was done last; none yet where that is 0.
#[derive(Debug, Default)]
pub(super) struct Seldom(AtomicU64);

impl Seldom {
    /// Whether nobody else has come in this second.
    pub(super) fn is_first_in(&self, second: u64) -> bool {
        self.0.swap(second, Ordering::Relaxed) != second
    }
}
