//! How long the disk is waited for. One that hangs is told by nobody, since no call comes back that could say so: whoever has waited in
//! vain while the writer made no step knows it.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::error::StoreError;

/// Whoever asked for a write waits no longer for it: as long as for a Redis.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The disk as the writer and those who wait for it see it.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    /// Counts, from 1, what the writer had of it.
    steps: AtomicU64,
    /// The step that somebody has waited for in vain; 0 where nobody has.
    missed: AtomicU64,
    /// Who has it lets the disk hang.
    #[cfg(test)]
    pub(super) hold: parking_lot::Mutex<()>,
}

impl Disk {
    pub(super) fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            steps: AtomicU64::new(1),
            missed: AtomicU64::new(0),
            #[cfg(test)]
            hold: parking_lot::Mutex::new(()),
        }
    }

    /// The writer has made a step.
    pub(super) fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// How many it has made.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Somebody has waited for long, since there were so many steps; what there is to say to him. What he asked for may be done all the
    /// same, once the disk answers.
    pub(super) fn waited_in_vain(&self, since: u64) -> StoreError {
        if self.steps() == since {
            self.missed.store(since, Ordering::Relaxed);
        }
        self.unanswered()
    }

    /// What there is to say of it where it lets the writer wait for too long.
    pub(super) fn hangs(&self) -> Option<StoreError> {
        (self.missed.load(Ordering::Relaxed) == self.steps()).then(|| self.unanswered())
    }

    fn unanswered(&self) -> StoreError {
        StoreError::CannotWrite { cause: Arc::new(Unanswered(self.path.clone())) }
    }
}

#[derive(Debug)]
struct Unanswered(PathBuf);

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the disk below {} has not answered for {} s", self.0.display(), PATIENCE.as_secs())
    }
}

impl Error for Unanswered {}
