//! What readers and the writer share: the open files, and whether they are open.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::super::change::Statistics;
use super::super::error::{Cause, StoreError};
use super::super::measures::Measures;
use super::super::record;
use super::cache::RecordCache;
use super::directory::Directory;
use super::disk::Disk;
use super::expiry::ExpiryIndex;
use super::files::{Entry, Files};
use super::keys;
use super::leases::Leases;
use super::scratch::Scratch;
use super::upgrade::upgrade;
use crate::domain::family::AccessRecord;
use crate::domain::opaque::{Fingerprint, TokenUse};
use crate::domain::time::Clock;
use crate::lifecycle::within;

/// How long files that shall be opened anew wait for the last reader.
const PATIENCE: Duration = Duration::from_secs(1);

/// So many records are laid out at once: a login waits for no more than a millisecond.
const PORTION: usize = 200;

#[derive(Debug)]
pub(super) struct Shared {
    files: ArcSwapOption<Files>,
    directory: Mutex<Option<Directory>>,
    closed: AtomicBool,
    cache_bytes: u64,
    records: RecordCache,
    scratch: Scratch,
    pub(super) leases: Arc<Leases>,
    pub(super) counts: Counts,
    pub(super) disk: Disk,
    pub(super) measures: OnceLock<Measures>,
    /// What failed last, as long as the disk was not seen to take bytes since.
    failure: ArcSwapOption<StoreError>,
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
        directory.settle()?; // fjall syncs what is in its directory and in each tree, and not where those are entered
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
            scratch: Scratch::of(path, cache_bytes),
            leases: Arc::new(Leases::of_opening(opening)),
            counts: Counts::default(),
            disk: Disk::of(path),
            measures: OnceLock::new(),
            failure: ArcSwapOption::empty(),
            clock,
        };
        shared.look_at_disk();
        Ok((shared, expiry))
    }

    /// The files, for a short while: nobody keeps them over an await.
    pub(super) fn files(&self) -> Result<Arc<Files>, StoreError> {
        match self.files.load_full() {
            Some(files) => Ok(files),
            None if self.is_closed() => Err(StoreError::Closed),
            None => Err(self.refusing()),
        }
    }

    /// What an access UUID opens: the hot path. What lies in memory is read while the files are opened anew, too.
    pub(super) fn access(&self, fingerprint: &Fingerprint) -> Result<Option<Arc<AccessRecord>>, StoreError> {
        let files = match self.files() {
            Ok(files) => files,
            Err(error @ StoreError::Refusing { .. }) => return self.records.peek(fingerprint).map(Some).ok_or(error),
            Err(error) => return Err(error),
        };
        let key = keys::token(TokenUse::Access, fingerprint);
        self.records.get(fingerprint, || {
            let found = self.scratch.read(fingerprint, |bytes| record::decode(&key, bytes).ok());
            found.map_or_else(|| files.get(&key), |record| Ok(Some(record)))
        })
    }

    /// Writes all entries or none; when it answers, they are durable, and readers see them.
    pub(super) fn write(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        let changed: Vec<_> = entries.iter().filter_map(Entry::of_access).collect();
        #[cfg(test)]
        drop(self.disk.hold.lock());
        let written = self.in_its_place().and_then(|()| self.files()).and_then(|files| files.write(entries));
        let written = written.map_err(|error| self.failed(self.found_out(error)));
        match written {
            Ok(()) => {
                if self.is_failing() {
                    self.failure.store(None);
                }
                self.scratch.write(&changed);
            }
            // What is on the disk shows when the files are opened anew.
            Err(_) => self.scratch.clear(),
        }
        for (fingerprint, _) in changed {
            self.records.forget(&fingerprint);
        }
        written
    }

    /// Lays a portion of the stored access records out in the scratch, from a key on; answers where to go on. By the writer alone,
    /// so that nobody changes them meanwhile. None while writes fail: the files may say something else when they are opened anew.
    pub(super) fn lay_out(&self, from: &[u8]) -> Option<Vec<u8>> {
        let files = self.files().ok().filter(|_| !self.is_failing())?;
        let mut last = None;
        let found = files.pairs(from.to_vec()..vec![keys::ACCESS + 1]).take(PORTION).map_while(Result::ok);
        let records: Vec<_> = found
            .filter_map(|(key, bytes)| {
                let record = keys::changed_access(&key).zip(bytes.ok());
                last = Some(key);
                record.map(|(fingerprint, bytes)| (fingerprint, Some(bytes)))
            })
            .collect();
        self.scratch.write(&records);
        last.map(|key| [&*key, &[0]].concat())
    }

    fn in_its_place(&self) -> Result<(), StoreError> {
        self.directory.lock().as_ref().map_or(Ok(()), Directory::in_its_place)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether the newest write failed, and the disk was not seen to take bytes since.
    pub(super) fn is_failing(&self) -> bool {
        self.failure.load().is_some()
    }

    /// Whether the files are open, the newest write did not fail, and the disk does not hang.
    pub(super) fn takes_writes(&self) -> bool {
        self.files.load().is_some() && !self.is_failing() && self.disk.hangs().is_none()
    }

    /// Why it takes no writes.
    pub(super) fn newest_failure(&self) -> Option<StoreError> {
        let failure = || self.failure.load().as_deref().cloned();
        let closed = || self.files.load().is_none().then_some(StoreError::Closed);
        self.disk.hangs().or_else(failure).or_else(closed)
    }

    /// What is answered to whoever is not tried for.
    pub(super) fn refusing(&self) -> StoreError {
        StoreError::Refusing { cause: self.newest_failure().map(|failure| Arc::new(failure) as Cause) }
    }

    /// What a failed write is told by. Where the engine failed in a thread of its own, as when it laid aside what was in memory, it refuses and never
    /// says why: then the disk is asked.
    fn found_out(&self, error: StoreError) -> StoreError {
        if !matches!(error, StoreError::Refusing { cause: None }) || self.is_failing() {
            return error;
        }
        let asked = self.directory.lock().as_ref().map_or(Ok(()), Directory::probe);
        asked.err().unwrap_or(error)
    }

    /// Remembers what failed. That nothing was tried, as something had failed before, is no news: that is told by what it was.
    fn failed(&self, error: StoreError) -> StoreError {
        if !matches!(error, StoreError::Refusing { .. }) {
            self.failure.store(Some(Arc::new(error.clone())));
            return error;
        }
        let before = self.failure.load_full();
        if before.is_none() {
            self.failure.store(Some(Arc::new(error)));
        }
        let before = before.filter(|before| !matches!(**before, StoreError::Refusing { .. }));
        StoreError::Refusing { cause: before.map(|before| before as Cause) }
    }

    /// Opens the files anew after a failed write, if the disk takes bytes again.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        self.try_to_reopen().map_err(|error| self.failed(error))
    }

    fn try_to_reopen(&self) -> Result<(), StoreError> {
        let directory = self.directory.lock();
        let directory = directory.as_ref().ok_or(StoreError::Closed)?;
        directory.probe()?;
        self.disk.step();
        // A search or a backup keeps them for long: meanwhile others shall read in them, too.
        if !within(PATIENCE, || self.files.load().as_ref().is_none_or(is_unshared)) {
            return Err(self.refusing());
        }
        if let Some(files) = self.files.swap(None)
            && let Err(used) = unshared(files, PATIENCE)
        {
            self.files.store(Some(used));
            return Err(self.refusing());
        }
        let files = Files::open(&directory.engine(), for_blocks(self.cache_bytes))?;
        self.disk.step();
        // What failed may stand in the journal all the same: then only these files know of it.
        self.scratch.clear();
        self.records.clear();
        self.files.store(Some(Arc::new(files)));
        self.failure.store(None);
        Ok(())
    }

    /// Closes the files once the last reader has gone, then lets go of the directory.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        if let Some(files) = self.files.swap(None) {
            // A sync that failed may have left the newest journal in memory alone: it shall stay the newest, which is written anew.
            if !self.is_failing() {
                files.flush();
            }
            drop(unshared(files, Duration::MAX));
        }
        self.directory.lock().take();
    }

    /// Looks how much is on the disk. By the writer alone: fjall has whoever asks wait behind a write.
    pub(super) fn look_at_disk(&self) {
        let files = self.files.load_full().map_or(0, |files| files.disk_bytes());
        self.counts.disk_bytes.store(files + self.scratch.bytes(), Ordering::Relaxed);
    }

    pub(super) fn statistics(&self) -> Statistics {
        let files = self.files.load_full();
        let counts = &self.counts;
        Statistics {
            writable: self.takes_writes(),
            disk_bytes: counts.disk_bytes.load(Ordering::Relaxed),
            torn_bytes: files.as_ref().map_or(0, |files| files.torn_bytes()),
            cache_bytes: self.records.bytes() + files.as_ref().map_or(0, |files| files.cache_bytes()),
            cache_hits: self.records.hits(),
            cache_misses: self.records.misses(),
            writes: counts.writes.load(Ordering::Relaxed),
            failed_writes: counts.failed_writes.load(Ordering::Relaxed),
            groups: counts.groups.load(Ordering::Relaxed),
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

/// What the writer counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    writes: AtomicU64,
    failed_writes: AtomicU64,
    disk_bytes: AtomicU64,
    groups: AtomicU64,
}

impl Counts {
    pub(super) fn count(&self, written: &Result<(), StoreError>, answers: usize) {
        let answers = u64::try_from(answers).unwrap_or(u64::MAX);
        match written {
            Ok(()) => &self.writes,
            Err(_) => &self.failed_writes,
        }
        .fetch_add(answers, Ordering::Relaxed);
        self.groups.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::family::{AccessFate, Ending, FamilyId};
    use crate::domain::refusal::sentence;
    use crate::domain::time::{NoTime, Timestamp};

    fn entry(number: usize, client: &str) -> (Fingerprint, Entry) {
        let record = AccessRecord {
            family: FamilyId([1; 16]),
            client: client.into(),
            scope: "a".into(),
            issued: Timestamp::from_secs(0),
            until: Timestamp::from_secs(1),
            fate: AccessFate::Over(Ending::Revoked),
        };
        let fingerprint = Fingerprint::of("access", &number.to_le_bytes());
        (fingerprint, Entry::record(&keys::token(TokenUse::Access, &fingerprint), &record))
    }

    fn open(directory: &Path) -> Shared {
        Shared::open(directory, 1 << 20, Arc::new(NoTime)).unwrap().0
    }

    /// Whose record the scratch has.
    fn laid_out(shared: &Shared, fingerprint: &Fingerprint) -> Option<String> {
        let key = keys::token(TokenUse::Access, fingerprint);
        let found = shared.scratch.read(fingerprint, |bytes| record::decode::<AccessRecord>(&key, bytes).ok());
        found.map(|record| record.client.to_string())
    }

    #[test]
    fn what_an_earlier_opening_kept_is_laid_out_in_portions_and_what_changes_meanwhile_as_it_was_written_last() {
        let directory = tempfile::tempdir().unwrap();
        let count = 2 * PORTION + 1;
        let (prints, entries): (Vec<_>, Vec<_>) = (0..count).map(|number| entry(number, "before")).unzip();
        let former = open(directory.path());
        former.write(entries).unwrap();
        former.close();

        let shared = open(directory.path());
        assert_eq!(laid_out(&shared, &prints[0]), None);
        let mut next = shared.lay_out(&[keys::ACCESS]);
        let of_those =
            |client: &str| prints.iter().filter(|print| laid_out(&shared, print).as_deref() == Some(client)).count();
        assert_eq!(of_those("before"), PORTION);
        shared.write(vec![entry(0, "after").1, entry(1, "after").1]).unwrap();
        shared.write(vec![Entry::remove(&keys::token(TokenUse::Access, &prints[1]))]).unwrap();
        while let Some(from) = next {
            next = shared.lay_out(&from);
        }
        assert_eq!((of_those("before"), of_those("after")), (count - 2, 1));
        assert_eq!(laid_out(&shared, &prints[1]), None);
        assert_eq!(shared.access(&prints[0]).unwrap().unwrap().client.as_ref(), "after");
        assert!(shared.access(&prints[1]).unwrap().is_none());
    }

    #[test]
    fn however_often_nothing_is_tried_what_is_told_of_it_grows_no_longer() {
        let directory = tempfile::tempdir().unwrap();
        let shared = open(directory.path());
        for _ in 0..3 {
            let told = shared.failed(shared.refusing());
            assert!(matches!(told, StoreError::Refusing { cause: None }), "{told:?}");
            let kept = shared.failure.load_full().unwrap();
            assert!(matches!(*kept, StoreError::Refusing { cause: None }), "{kept:?}");
        }
    }

    #[test]
    fn where_the_engine_refuses_and_does_not_say_why_the_disk_does() {
        let directory = tempfile::tempdir().unwrap();
        let shared = open(directory.path());
        // No probe can be written there.
        std::fs::create_dir(directory.path().join("probe")).unwrap();
        let untold = || StoreError::Refusing { cause: None };
        let words = "the token store cannot write: Is a directory (os error 21)";
        assert_eq!(sentence(&shared.failed(shared.found_out(untold()))), words);
        assert_eq!(sentence(&shared.newest_failure().unwrap()), words);
        let told = "the token store takes no writes since one failed: Is a directory (os error 21)";
        assert_eq!(sentence(&shared.failed(shared.found_out(untold()))), told);
    }

    #[test]
    fn while_writes_fail_nothing_is_laid_out_and_nothing_that_was_is_left_when_the_files_are_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let shared = open(directory.path());
        let (print, entry) = entry(0, "kept");
        shared.write(vec![entry]).unwrap();
        assert_eq!(laid_out(&shared, &print).as_deref(), Some("kept"));
        shared.failure.store(Some(Arc::new(StoreError::Refusing { cause: None })));
        assert_eq!(shared.lay_out(&[keys::ACCESS]), None);
        shared.reopen().unwrap();
        assert_eq!(laid_out(&shared, &print), None);
        assert_eq!(shared.access(&print).unwrap().unwrap().client.as_ref(), "kept");
        assert!(shared.lay_out(&[keys::ACCESS]).is_some());
        assert_eq!(laid_out(&shared, &print).as_deref(), Some("kept"));
    }
}
