//! What readers and the writer share: the open files, and whether they are open.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::super::change::Statistics;
use super::super::error::StoreError;
use super::cache::RecordCache;
use super::directory::Directory;
use super::expiry::ExpiryIndex;
use super::files::{Entry, Files};
use super::keys;
use super::leases::Leases;
use super::upgrade::upgrade;
use crate::domain::family::AccessRecord;
use crate::domain::opaque::{Fingerprint, TokenUse};
use crate::domain::time::Clock;

/// How long files that shall be opened anew wait for the last reader.
const PATIENCE: Duration = Duration::from_secs(1);
const GLANCE: Duration = Duration::from_micros(200);

#[derive(Debug)]
pub(super) struct Shared {
    files: ArcSwapOption<Files>,
    directory: Mutex<Option<Directory>>,
    closed: AtomicBool,
    cache_bytes: u64,
    records: RecordCache,
    pub(super) leases: Leases,
    pub(super) counts: Counts,
    pub(super) clock: Arc<dyn Clock>,
}

impl Shared {
    /// Opens the directory, bringing it up to date; answers also the index of what expires when.
    pub(super) fn open(
        path: &Path,
        cache_bytes: u64,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, ExpiryIndex), StoreError> {
        let mut directory = Directory::take(path)?;
        let files = Files::open(&directory.engine(), for_blocks(cache_bytes))?;
        directory.settle()?; // fjall syncs what it makes in its own directory, and not where that is entered
        let opening = files.get::<u32>(keys::OPENINGS)?.unwrap_or_default().saturating_add(1);
        files.write(vec![Entry::record(keys::OPENINGS, &opening)])?;
        let mut expiry = ExpiryIndex::of_opening(opening);
        upgrade(&directory, &files, &mut expiry)?;
        let shared = Self {
            files: ArcSwapOption::from_pointee(files),
            directory: Mutex::new(Some(directory)),
            closed: AtomicBool::new(false),
            cache_bytes,
            records: RecordCache::of(cache_bytes - for_blocks(cache_bytes)),
            leases: Leases::of_opening(opening),
            counts: Counts::default(),
            clock,
        };
        Ok((shared, expiry))
    }

    /// The files, for a short while: nobody keeps them over an await.
    pub(super) fn files(&self) -> Result<Arc<Files>, StoreError> {
        match self.files.load_full() {
            Some(files) => Ok(files),
            None if self.is_closed() => Err(StoreError::Closed),
            None => Err(StoreError::Refusing),
        }
    }

    /// What an access UUID opens: the hot path. What lies in memory is read while the files are opened anew, too.
    pub(super) fn access(&self, fingerprint: &Fingerprint) -> Result<Option<Arc<AccessRecord>>, StoreError> {
        let files = match self.files() {
            Ok(files) => files,
            Err(error @ StoreError::Refusing) => return self.records.peek(fingerprint).map(Some).ok_or(error),
            Err(error) => return Err(error),
        };
        self.records.get(fingerprint, || files.get(&keys::token(TokenUse::Access, fingerprint)))
    }

    /// Writes all entries or none; when it answers, they are durable, and readers see them.
    pub(super) fn write(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        let changed: Vec<Fingerprint> = entries.iter().filter_map(|entry| keys::changed_access(entry.key())).collect();
        let written = self.in_its_place().and_then(|()| self.files()).and_then(|files| files.write(entries));
        // Though it failed: what is on the disk shows when the files are opened anew.
        for fingerprint in changed {
            self.records.forget(&fingerprint);
        }
        written
    }

    fn in_its_place(&self) -> Result<(), StoreError> {
        self.directory.lock().as_ref().map_or(Ok(()), Directory::in_its_place)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether the newest write failed, and the disk was not seen to take bytes since.
    pub(super) fn is_failing(&self) -> bool {
        self.counts.failing.load(Ordering::Relaxed)
    }

    /// Opens the files anew after a failed write, if the disk takes bytes again.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        let directory = self.directory.lock();
        let directory = directory.as_ref().ok_or(StoreError::Closed)?;
        directory.probe()?;
        // A search or a backup keeps them for long: meanwhile others shall read in them, too.
        if !within(PATIENCE, || self.files.load().as_ref().is_none_or(is_unshared)) {
            return Err(StoreError::Refusing);
        }
        if let Some(files) = self.files.swap(None)
            && let Err(used) = unshared(files, PATIENCE)
        {
            self.files.store(Some(used));
            return Err(StoreError::Refusing);
        }
        let files = Files::open(&directory.engine(), for_blocks(self.cache_bytes))?;
        self.records.clear();
        self.files.store(Some(Arc::new(files)));
        self.counts.failing.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Closes the files once the last reader has gone, then lets go of the directory.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        if let Some(files) = self.files.swap(None) {
            files.flush();
            drop(unshared(files, Duration::MAX));
        }
        self.directory.lock().take();
    }

    pub(super) fn statistics(&self) -> Statistics {
        let files = self.files.load_full();
        let counts = &self.counts;
        Statistics {
            writable: files.is_some() && !self.is_failing(),
            disk_bytes: files.as_ref().map_or(0, |files| files.disk_bytes()),
            torn_bytes: files.as_ref().map_or(0, |files| files.torn_bytes()),
            cache_bytes: self.records.bytes() + files.as_ref().map_or(0, |files| files.cache_bytes()),
            cache_limit: self.cache_bytes,
            writes: counts.writes.load(Ordering::Relaxed),
            failed_writes: counts.failed_writes.load(Ordering::Relaxed),
            groups: counts.groups.load(Ordering::Relaxed),
            newest_group: Duration::from_micros(counts.newest_group_micros.load(Ordering::Relaxed)),
        }
    }
}

/// What fjall's blocks get of the cache; the rest is for records.
const fn for_blocks(cache_bytes: u64) -> u64 {
    cache_bytes / 8
}

/// Drops the files once nobody else has them; gives them back if somebody keeps them too long.
fn unshared(files: Arc<Files>, patience: Duration) -> Result<(), Arc<Files>> {
    if within(patience, || is_unshared(&files)) { Ok(()) } else { Err(files) }
}

fn is_unshared(files: &Arc<Files>) -> bool {
    Arc::strong_count(files) == 1
}

/// Whether it becomes so before long.
fn within(patience: Duration, is_so: impl Fn() -> bool) -> bool {
    let mut waited = Duration::ZERO;
    while !is_so() {
        if waited >= patience {
            return false;
        }
        std::thread::park_timeout(GLANCE);
        waited = waited.saturating_add(GLANCE);
    }
    true
}

/// What the writer counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    writes: AtomicU64,
    failed_writes: AtomicU64,
    failing: AtomicBool,
    groups: AtomicU64,
    newest_group_micros: AtomicU64,
}

impl Counts {
    pub(super) fn count(&self, written: &Result<(), StoreError>, answers: usize, took: Duration) {
        let answers = u64::try_from(answers).unwrap_or(u64::MAX);
        match written {
            Ok(()) => &self.writes,
            Err(_) => &self.failed_writes,
        }
        .fetch_add(answers, Ordering::Relaxed);
        self.failing.store(written.is_err(), Ordering::Relaxed);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.newest_group_micros.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
