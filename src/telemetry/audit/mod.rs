//! The audit: who was let in, refreshed, revoked or refused, why, when, and by which fingerprint. Append-only JSON lines, each
//! chained to the one before, so that what is missing or changed shows.
//!
//! One thread writes. Workers hand it what it shall write through a bounded queue and never wait: where the queue is full, or
//! somebody is refused faster than is worth a line each, it is counted, and a record says how many are missing. Whatever is
//! refused, there is room for who is let in.

mod chain;
mod directory;
mod disk;
mod entry;
mod missing;
mod verify;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc::{Sender, channel};
use tokio_util::sync::CancellationToken;

pub use directory::files;
pub use entry::Entry;
pub use verify::{Fault, Verdict, verify};

use self::directory::Directory;
use self::disk::{Disk, PATIENCE};
use self::missing::{Bounds, Missing, Why};
use self::writer::Writer;
use super::{Metrics, log};
use crate::domain::time::{Clock, Timestamp};
use crate::lifecycle::{self, within};

/// Where the audit is, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// The directory; one process at a time.
    pub path: PathBuf,
    /// Files whose last day lies so far back are forgotten.
    pub keep: Duration,
    /// A file that has reached this many bytes is followed by another; so is that of another day.
    pub file_size: u64,
}

/// Entries that wait to be written, at most.
const QUEUE: usize = 32_768;

/// Room in it that refusals leave to who is let in.
const KEPT_FREE: usize = QUEUE / 2;

/// What the thread that writes is handed.
#[expect(clippy::large_enum_variant, reason = "nearly all are entries")]
enum Handed {
    Entry(Entry),
    /// To be done once all that was handed over before is on disk.
    Then(Then),
}

/// Something that must not come before a record.
pub type Then = Box<dyn FnOnce() + Send>;

/// Hands entries to the thread that writes.
#[derive(Debug)]
pub struct Audit {
    queue: Sender<Handed>,
    missing: Arc<Missing>,
    disk: Arc<Disk>,
    bounds: Mutex<Bounds>,
    end: CancellationToken,
    clock: Arc<dyn Clock>,
}

impl Audit {
    /// Takes the directory and starts the thread.
    ///
    /// # Errors
    /// The directory cannot be made or written to, or another process has it.
    pub fn start(
        settings: AuditSettings,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let directory = Directory::take(&settings.path)?;
        let (queue, waiting) = channel(QUEUE);
        let (missing, end) = (Arc::<Missing>::default(), CancellationToken::new());
        let disk = Arc::new(Disk::of(settings.path.clone(), Arc::clone(&metrics)));
        let seen = (Arc::clone(&missing), Arc::clone(&disk));
        let writer = Writer::new(directory, settings, (Arc::clone(&clock), metrics), seen);
        let ended = end.clone();
        let thread = lifecycle::thread("audit", || Ok(writer.run(waiting, ended)))?;
        Ok((Self { queue, missing, disk, bounds: Mutex::default(), end, clock }, thread))
    }

    /// The time of day, for an entry.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Hands over; never waits.
    pub(super) fn record(&self, entry: Entry) {
        if let Err(why) = self.hand_over(entry) {
            self.missing.one(why);
        }
    }

    fn hand_over(&self, entry: Entry) -> Result<(), Why> {
        if entry.is_bounded() {
            self.bounds.lock().take(&entry, self.clock.monotonic())?;
        }
        if entry.is_refusal() && self.queue.capacity() <= KEPT_FREE {
            return Err(Why::FullOfRefusals);
        }
        self.queue.try_send(Handed::Entry(entry)).map_err(|_| Why::Full)
    }

    /// Does something once what was handed over so far is on disk: never, where the queue is full or the process ends before.
    pub(super) fn then(&self, then: Then) {
        let _never_done = self.queue.try_send(Handed::Then(then));
    }

    /// Writes what waits, says that this was the end, and ends.
    pub(super) fn close(&self) {
        self.end.cancel();
    }

    /// To be asked every second, until it is closed: has a disk that hangs told, and a thread that has ended by a panic.
    pub(super) fn look(&self) {
        if self.queue.is_closed() {
            self.disk.is_left(self.missing.take().values().sum());
        } else {
            self.disk.look(self.clock.monotonic());
        }
    }

    /// Waits for the end of its thread, some seconds at most: where the disk hangs, that ends with the process, and what waits is told to be lost.
    pub(super) fn wait(&self, writer: JoinHandle<()>) -> thread::Result<()> {
        let _ended = within(PATIENCE, || writer.is_finished() || self.disk.hangs());
        if writer.is_finished() {
            return writer.join();
        }
        log::audit_lost(self.disk.waiting() + self.queue.max_capacity() - self.queue.capacity());
        Ok(())
    }
}
