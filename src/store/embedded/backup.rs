//! A copy of the store as it is one moment, into a directory of its own, while writes go on.
//!
//! What is copied are the bytes of the records, each looked at on the way. The copy has its format written down last: what was
//! cut off before is no store, and nothing opens it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::error::StoreError;
use super::super::record;
use super::directory::Directory;
use super::files::{Files, Frozen};
use super::shared::Shared;

/// For the blocks of the copy: it is written once from one end to the other.
const CACHE: u64 = 1 << 20;

/// A backup that was begun: what is in it is settled.
#[derive(Debug)]
pub struct Backup {
    /// Before the files, which the store's end waits for.
    frozen: Frozen,
    from: Arc<Files>,
    shared: Arc<Shared>,
    directory: Directory,
}

/// How far a backup is, and whether somebody still wants it.
#[derive(Debug, Default)]
pub struct Progress {
    records: AtomicU64,
    given_up: AtomicBool,
}

impl Progress {
    /// Records that were copied so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Nobody wants it any more.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// Records.
    pub records: u64,
    /// Those of them that are damaged, and were copied as they are.
    pub damaged: u64,
    /// Bytes on the disk.
    pub bytes: u64,
}

impl Backup {
    /// Settles what is in it: everything that was acknowledged by now.
    pub(super) fn begin(shared: &Arc<Shared>, to: &Path) -> Result<Self, StoreError> {
        let directory = Directory::fresh(to)?;
        // Not before: that disk may hang, and the files could not be opened anew, or closed, for as long.
        let from = match shared.files() {
            Ok(from) => from,
            Err(error) => {
                directory.abandon();
                return Err(error);
            }
        };
        Ok(Self { frozen: from.frozen(), from, shared: Arc::clone(shared), directory })
    }

    /// Copies. Blocks for as long as that takes; what was copied is removed where it fails.
    ///
    /// # Errors
    /// A file cannot be read or written, the store is closed or failing, or nobody wants the copy any more.
    pub fn run(self, progress: &Progress) -> Result<BackedUp, StoreError> {
        let Self { frozen, from, shared, directory } = self;
        let mut damaged = 0;
        let copied = Files::open(&directory.engine(), CACHE).and_then(|into| {
            frozen.pour(&from, &into, |key, bytes| {
                if shared.is_closed() || progress.given_up.load(Ordering::Relaxed) {
                    return Err(StoreError::Closed);
                }
                if shared.is_failing() {
                    return Err(shared.refusing()); // it cannot come back while its files are in use
                }
                damaged += u64::from(record::inspect(key, bytes).is_err());
                progress.records.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })?;
            Ok(into.disk_bytes())
        });
        drop((frozen, from));
        let whole = copied.and_then(|bytes| {
            sync_all(&directory.engine()).map_err(|error| StoreError::CannotWrite { cause: Arc::new(error) })?;
            directory.complete()?;
            Ok(BackedUp { records: progress.records(), damaged, bytes })
        });
        whole.inspect_err(|_| directory.abandon())
    }
}

/// Sees to it that a directory and all in it are on the disk.
fn sync_all(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { sync_all(&path)? } else { File::open(&path)?.sync_all()? }
    }
    File::open(directory)?.sync_all()
}
