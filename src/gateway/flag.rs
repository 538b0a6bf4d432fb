//! What two sides of one connection know of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Something that is so, or is not, and is read by whoever holds a copy.
#[derive(Clone, Debug, Default)]
pub struct Flag(Arc<AtomicBool>);

impl Flag {
    /// So it is from now on.
    pub fn set(&self, is_so: bool) {
        self.0.store(is_so, Ordering::Relaxed);
    }

    /// Whether it is so.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
