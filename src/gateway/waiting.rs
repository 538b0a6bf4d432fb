//! A caller that waits for its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long an answer may take until it is worth a look whether anybody still waits for it.
pub(super) const LONG: Duration = Duration::from_secs(1);

/// Whether the caller of a connection's last request has been waiting for long.
#[derive(Clone, Debug, Default)]
pub struct Waiting(Arc<AtomicBool>);

impl Waiting {
    /// So it is from now on.
    pub fn set(&self, is_long: bool) {
        self.0.store(is_long, Ordering::Relaxed);
    }

    /// Whether it is so.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
