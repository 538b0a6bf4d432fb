//! How long the disk is waited for. One that hangs is told by nobody, since no call comes back that could say so: whoever looks from another
//! thread sees for how long the writer has stood in one.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::telemetry::{Metrics, log};

/// A disk that has not answered for so long hangs; the end of the process waits no longer for it either.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The disk as the writer sees it, and those who look at it from outside.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    metrics: Arc<Metrics>,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    /// When it was asked what it has not answered yet.
    since: Option<Duration>,
    /// Records that wait for that.
    waiting: usize,
    /// It was told that it hangs.
    is_told: bool,
}

impl Disk {
    pub(super) fn of(path: PathBuf, metrics: Arc<Metrics>) -> Self {
        Self { path, metrics, asked: Mutex::default() }
    }

    /// From now on the writer waits for it, and so many records do.
    pub(super) fn is_asked(&self, now: Duration, waiting: usize) {
        let mut asked = self.asked.lock();
        (asked.since, asked.waiting) = (Some(now), waiting);
    }

    /// It has answered. Whether it was told before that it hangs.
    pub(super) fn has_answered(&self) -> bool {
        let mut asked = self.asked.lock();
        asked.since = None;
        std::mem::take(&mut asked.is_told)
    }

    /// Tells it once where it hangs, unless it was failing before.
    pub(super) fn look(&self, now: Duration) {
        let mut asked = self.asked.lock();
        let hangs = asked.since.is_some_and(|since| now.saturating_sub(since) >= PATIENCE);
        if hangs && self.metrics.audit_writable.get() == 1 {
            asked.is_told = true;
            self.metrics.audit_writable.set(0);
            let (path, seconds) = (self.path.display(), PATIENCE.as_secs());
            let detail = format!("the disk below {path} has not answered for {seconds} s");
            log::audit_failed(&io::Error::new(ErrorKind::TimedOut, detail));
        }
    }

    /// Nobody writes to it any more, and so many records more are lost by that. Told once, unless it was failing before.
    pub(super) fn is_left(&self, lost: u64) {
        self.metrics.audit_lost.inc_by(lost);
        if self.metrics.audit_writable.get() == 1 {
            self.metrics.audit_writable.set(0);
            log::audit_failed(&io::Error::other(
                "the thread that writes it has ended by a panic: only a restart helps",
            ));
        }
    }

    /// Whether that was told, and it has not answered since.
    pub(super) fn hangs(&self) -> bool {
        self.asked.lock().is_told
    }

    /// Records that waited when it was asked last.
    pub(super) fn waiting(&self) -> usize {
        self.asked.lock().waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_has_not_answered_for_long_is_told_once_until_it_answers() {
        let metrics = Arc::new(Metrics::new());
        metrics.audit_writable.set(1);
        let disk = Disk::of(PathBuf::from("audit"), Arc::clone(&metrics));
        let seen = || (disk.hangs(), metrics.audit_writable.get());
        disk.look(PATIENCE);
        assert_eq!(seen(), (false, 1), "nothing is asked of it");
        disk.is_asked(PATIENCE, 3);
        disk.look((PATIENCE * 2).saturating_sub(Duration::from_millis(1)));
        assert_eq!(seen(), (false, 1), "it may still answer");
        disk.look(PATIENCE * 2);
        assert_eq!((seen(), disk.waiting()), ((true, 0), 3));
        assert!(disk.has_answered());
        assert!(!disk.hangs() && !disk.has_answered());
    }

    #[test]
    fn a_disk_that_failed_before_it_hangs_is_told_once() {
        let metrics = Arc::new(Metrics::new());
        let disk = Disk::of(PathBuf::from("audit"), metrics);
        disk.is_asked(Duration::ZERO, 1);
        disk.look(PATIENCE);
        assert!(!disk.hangs() && !disk.has_answered());
    }
}
