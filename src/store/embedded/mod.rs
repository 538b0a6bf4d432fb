//! The embedded store: files of one machine, for one process.
//!
//! Reads go straight to the files, on the caller's thread. Writes go through one thread that makes whatever waits durable
//! together (`writer`). When a write fails nothing of it was acknowledged, and the store refuses writes while reads go on. With
//! whatever the writer is asked next, once a second at most, it tries whether the disk takes bytes again; if so it opens its files
//! anew, as after a crash, and goes on. Until they are open, what lies in memory is read alone.
//!
//! What is over is found by an index in order of time (`expiry`). A keyspace per hour, dropped whole, was the other choice: it
//! would make every look-up ask several of them, because a fingerprint does not tell its hour.
//!
//! A disk that does not answer at all is waited for so long and no longer (`disk`). What was asked of it stands in the writer's
//! queue, and happens in its order once the disk answers: to whoever was told that it failed it is a write of which nobody knows.
//!
//! Must not: let anything of fjall be seen from outside, or say that a write is durable before the disk has.

mod answer;
mod backup;
mod cache;
mod directory;
mod disk;
mod expiry;
mod files;
mod job;
mod journal;
mod keys;
mod leases;
mod manifest;
mod scan;
mod scratch;
mod shared;
mod tidy;
mod upgrade;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::change::{
    Bundle, Change, Gathered, Lease, PendingRevocation, Search, Statistics, Swept, Version, Versioned,
};
use super::ending;
use super::error::{CommitError, StoreError};
use super::measures::Measures;
use super::memo::Memo;
use crate::domain::family::{AccessRecord, Ending, Family, FamilyId, RefreshRecord};
use crate::domain::horizon::Horizon;
use crate::domain::opaque::{Fingerprint, TokenUse};
use crate::domain::time::{Clock, Timestamp};
use crate::lifecycle::within;
pub use backup::{BackedUp, Backup, Progress};
pub(super) use directory::is_store;
use disk::PATIENCE;
use files::Entry;
use job::{Job, StoredFamily};
use leases::Waiting;
use shared::Shared;
use tidy::Live;
use writer::Writer;

/// As many requests wait for the writer at most; who comes later waits for a place.
const WAITING: usize = 4096;

/// As many families does one call of a sweep look at, in portions between which logins are written.
const SWEPT_AT_ONCE: usize = 1000;
const PORTION: usize = 100;

/// The end waits no longer for the writer.
const CLOSING: Duration = Duration::from_secs(10);

/// An open directory.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    horizon: Mutex<Horizon>,
    /// One memo is replaced at a time.
    replacing: tokio::sync::Mutex<()>,
}

impl Embedded {
    /// Opens a directory, making it where it does not exist.
    #[expect(
        clippy::disallowed_methods,
        reason = "the writer blocks on the disk, so it is a thread; `close` and `drop` wait for it"
    )]
    pub(super) fn open(path: &Path, cache_bytes: u64, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let horizon = Mutex::new(Horizon::unproven(clock.now(), clock.monotonic()));
        let (shared, expiry) = Shared::open(path, cache_bytes, clock)?;
        let shared = Arc::new(shared);
        let (jobs, waiting) = mpsc::channel(WAITING);
        let writer = Writer::new(Arc::clone(&shared), expiry, waiting);
        let writer = Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::CannotOpen { path: path.to_owned(), cause: Arc::new(error) })?;
        Ok(Self { shared, jobs: Some(jobs), writer: Some(writer), horizon, replacing: tokio::sync::Mutex::default() })
    }

    async fn ask<T, E: From<StoreError>>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Job,
    ) -> Result<T, E> {
        let (reply, answer) = oneshot::channel();
        self.in_time(async {
            self.hand_over(job(reply)).await?;
            answer.await.map_err(|_| StoreError::Closed)?
        })
        .await
    }

    /// Asks for what needs no answer but that it was written.
    async fn write(&self, job: impl FnOnce(answer::Reply) -> Job) -> Result<(), StoreError> {
        self.in_time(self.write_however_long(job)).await
    }

    async fn write_however_long(&self, job: impl FnOnce(answer::Reply) -> Job) -> Result<(), StoreError> {
        let (reply, awaited) = answer::awaited();
        self.hand_over(job(reply)).await?;
        awaited.written().await
    }

    async fn in_time<T, E: From<StoreError>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let disk = &self.shared.disk;
        let steps = disk.steps();
        timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(disk.waited_in_vain(steps).into()))
    }

    async fn hand_over(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.as_ref().ok_or(StoreError::Closed)?.send(job).await.map_err(|_| StoreError::Closed)
    }

    pub(super) fn backup(&self, to: &Path) -> Result<Backup, StoreError> {
        Backup::begin(&self.shared, to)
    }

    pub(super) async fn put(&self, born: &Bundle) -> Result<(), StoreError> {
        self.in_time(self.import(born)).await
    }

    pub(super) async fn import(&self, bundle: &Bundle) -> Result<(), StoreError> {
        let (family, until) = (bundle.family.id, ending::remembered_until(&bundle.family));
        let entries = job::entries_of(bundle);
        self.write_however_long(|reply| Job::Put { family, until, entries, reply }).await
    }

    pub(super) fn access(&self, fingerprint: &Fingerprint) -> Result<Option<Arc<AccessRecord>>, StoreError> {
        self.shared.access(fingerprint)
    }

    pub(super) fn refresh(&self, fingerprint: &Fingerprint) -> Result<Option<RefreshRecord>, StoreError> {
        self.shared.files()?.get(&keys::token(TokenUse::Refresh, fingerprint))
    }

    pub(super) fn family(&self, family: FamilyId) -> Result<Option<Versioned<Family>>, StoreError> {
        let stored = self.shared.files()?.get::<StoredFamily>(&keys::family(family))?;
        Ok(stored.map(|(version, value)| Versioned { value, version: Version(version) }))
    }

    pub(super) fn session(&self, session: &Fingerprint) -> Result<Option<FamilyId>, StoreError> {
        self.shared.files()?.get(&keys::session(session))
    }

    pub(super) async fn commit(&self, change: Change) -> Result<(), CommitError> {
        let waiting = change.fence.map(|_| Waiting::of(&self.shared.leases, change.family.id));
        self.ask(|reply| Job::Commit { change: Box::new(change), waiting, reply }).await
    }

    pub(super) async fn end(&self, family: FamilyId, ending: Ending) -> Result<Option<Family>, StoreError> {
        self.ask(|reply| Job::End { family, ending, reply }).await
    }

    pub(super) fn lease(&self, family: FamilyId, ttl: Duration) -> Option<Lease> {
        self.shared.leases.grant(family, ttl, self.shared.clock.monotonic())
    }

    pub(super) fn renew(&self, lease: Lease, ttl: Duration) -> bool {
        self.shared.leases.renew(lease, ttl, self.shared.clock.monotonic())
    }

    pub(super) fn release(&self, lease: Lease) {
        self.shared.leases.release(lease);
    }

    pub(super) async fn outbox_put(&self, pending: &PendingRevocation) -> Result<(), StoreError> {
        let entries = vec![job::entry_of_pending(pending)];
        self.write(|reply| Job::Write { entries, reply }).await
    }

    pub(super) fn outbox(&self) -> Result<Gathered<PendingRevocation>, StoreError> {
        scan::outbox(&*self.shared.files()?)
    }

    pub(super) async fn outbox_delete(&self, told: &PendingRevocation) -> Result<(), StoreError> {
        self.ask(|reply| Job::Told { pending: told.clone(), reply }).await
    }

    pub(super) fn memo(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.files()?.get(&keys::memo(name))
    }

    pub(super) fn memos(&self) -> Result<Gathered<Memo>, StoreError> {
        let files = self.shared.files()?;
        let mut memos = Gathered::default();
        for record in files.records::<Vec<u8>>(vec![keys::MEMO]..vec![keys::MEMO + 1]) {
            let (key, value) = record?;
            let name = String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned();
            let value = memos.sound(value)?;
            memos.records.extend(value.map(|value| Memo { name, value }));
        }
        Ok(memos)
    }

    pub(super) async fn memo_put(&self, memo: &Memo) -> Result<(), StoreError> {
        let entries = vec![Entry::record(&keys::memo(&memo.name), &memo.value)];
        self.write(|reply| Job::Write { entries, reply }).await
    }

    pub(super) async fn memo_replace(&self, before: Option<&[u8]>, memo: &Memo) -> Result<bool, StoreError> {
        let _one_at_a_time = self.replacing.lock().await;
        if self.memo(&memo.name)?.as_deref() != before {
            return Ok(false);
        }
        self.memo_put(memo).await.map(|()| true)
    }

    pub(super) async fn memo_delete(&self, name: &str) -> Result<(), StoreError> {
        let entries = vec![Entry::remove(&keys::memo(name))];
        self.write(|reply| Job::Write { entries, reply }).await
    }

    pub(super) fn believed(&self, now: Timestamp) -> Timestamp {
        self.horizon.lock().at(now, self.shared.clock.monotonic())
    }

    pub(super) async fn sweep(&self, now: Timestamp) -> Result<Swept, StoreError> {
        let horizon = ending::droppable(self.believed(now));
        let mut swept = Swept::default();
        for _ in 0..SWEPT_AT_ONCE / PORTION {
            let portion: Swept = self.ask(|reply| Job::Sweep { horizon, limit: PORTION, reply }).await?;
            swept = Swept {
                families: swept.families + portion.families,
                damaged: swept.damaged + portion.damaged,
                more: portion.more,
            };
            if !swept.more {
                self.tidy().await?;
                break;
            }
        }
        Ok(swept)
    }

    /// Gives back the disk of what is over, where it has become much.
    async fn tidy(&self) -> Result<(), StoreError> {
        let files = self.shared.files()?;
        let live = Live::remembered(&files)?;
        if !live.is_outgrown(&files) {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        scan::aside(move || tidy::tidy(&files, live, || shared.is_closed())).await
    }

    pub(super) async fn find(&self, search: Search) -> Result<Gathered<Family>, StoreError> {
        let files = self.shared.files()?;
        scan::aside(move || scan::find(&files, &search)).await
    }

    pub(super) async fn export(&self, after: Option<FamilyId>, limit: usize) -> Result<Gathered<Bundle>, StoreError> {
        let files = self.shared.files()?;
        scan::aside(move || scan::export(&files, after, limit)).await
    }

    /// Whether nobody writes any more: it was closed, or its writer has ended by a panic.
    pub(super) fn has_ended(&self) -> bool {
        self.jobs.as_ref().is_none_or(mpsc::Sender::is_closed)
    }

    pub(super) fn takes_writes(&self) -> bool {
        !self.has_ended() && self.shared.takes_writes()
    }

    pub(super) fn newest_failure(&self) -> Option<StoreError> {
        if self.has_ended() { Some(StoreError::Closed) } else { self.shared.newest_failure() }
    }

    pub(super) fn hangs(&self) -> Option<StoreError> {
        self.shared.disk.hangs()
    }

    pub(super) fn measured_by(&self, measures: Measures) {
        // One store is measured by one bridge.
        let _measured_already = self.shared.measures.set(measures);
    }

    pub(super) fn statistics(&self) -> Statistics {
        Statistics { writable: self.takes_writes(), ..self.shared.statistics() }
    }

    pub(super) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        let closed = self.in_time(async {
            self.hand_over(Job::Close { reply }).await?;
            answer.await.map_err(|_| StoreError::Closed)
        });
        // The writer went without a word only if it had closed the files before.
        drop(closed.await);
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.jobs.take();
        let Some(writer) = self.writer.take() else { return };
        let _ended = within(CLOSING, || writer.is_finished() || self.shared.disk.hangs().is_some());
        // Else it ends with the process, or when the disk answers.
        if writer.is_finished() {
            // Its panic was reported where it happened.
            drop(writer.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::domain::time::NoTime;

    fn open(directory: &Path) -> Embedded {
        Embedded::open(directory, 1 << 20, Arc::new(NoTime)).unwrap()
    }

    fn memo(name: &str) -> Memo {
        Memo { name: name.to_owned(), value: b"kept".to_vec() }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_disk_that_hangs_lets_nobody_wait_for_long_is_told_and_does_in_the_end_what_was_asked_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        let shared = Arc::clone(&store.shared);
        let held = shared.disk.hold.lock();
        let words = format!("the disk below {} has not answered for 5 s", directory.path().display());
        let (first, second) = (memo("first"), memo("second"));
        let (put, put_again, deleted, ()) = block_on(async {
            tokio::join!(store.memo_put(&first), store.memo_put(&second), store.memo_delete("other"), async {
                assert!(store.takes_writes() && store.hangs().is_none(), "it may be slow");
            })
        });
        for error in [put, put_again, deleted].map(Result::unwrap_err) {
            assert!(matches!(&error, StoreError::CannotWrite { cause } if cause.to_string() == words), "{error:?}");
        }
        assert!(!store.takes_writes() && !store.statistics().writable);
        let failure = store.newest_failure().unwrap();
        assert!(matches!(&failure, StoreError::CannotWrite { cause } if cause.to_string() == words), "{failure:?}");
        assert!(store.memo("first").unwrap().is_none(), "what is kept is read, and nothing else");

        drop(held);
        block_on(store.memo_put(&memo("third"))).unwrap();
        assert!(store.takes_writes() && store.newest_failure().is_none());
        for name in ["first", "second"] {
            assert!(store.memo(name).unwrap().is_some(), "{name}: it was in doubt, and is there");
        }
    }

    #[test]
    fn nobody_gets_a_lease_while_what_was_decided_under_the_one_before_waits_for_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        let shared = Arc::clone(&store.shared);
        let family = Family::resting(FamilyId([1; 16]));
        let bundle = Bundle { family: family.clone(), access: Vec::new(), refresh: Vec::new() };
        block_on(store.import(&bundle)).unwrap();
        let lease = store.lease(family.id, CLOSING).unwrap();
        let held = shared.disk.hold.lock();
        let decided = Family { generation: 1, ..family };
        let change = Change { fence: Some(lease.fence), ..Change::of(Version(1), decided.clone()) };
        block_on(async {
            let given_up = store.commit(change).now_or_never();
            assert!(given_up.is_none(), "the disk is slow");
        });
        store.release(lease);
        assert!(store.lease(decided.id, CLOSING).is_none(), "the next one would fence it off");
        drop(held);
        block_on(store.memo_put(&memo("next"))).unwrap();
        assert_eq!(store.family(decided.id).unwrap().unwrap().value, decided);
        // The one who asked after it may hear first, where both were written together.
        assert!(within(CLOSING, || store.lease(decided.id, CLOSING).is_some()));
    }

    #[test]
    fn the_end_does_not_wait_for_a_disk_that_hangs() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        let shared = Arc::clone(&store.shared);
        let held = shared.disk.hold.lock();
        let last = memo("last");
        let (put, ()) = block_on(async { tokio::join!(store.memo_put(&last), store.close()) });
        put.unwrap_err();
        drop(store);
        assert!(!shared.is_closed(), "the writer hangs still");
        drop(held);
        // Once the disk answers all is done, and the files are closed.
        assert!(within(CLOSING, || shared.is_closed() && shared.files().is_err()));
        assert!(within(CLOSING, || Arc::strong_count(&shared) == 1));
        assert!(open(directory.path()).memo("last").unwrap().is_some());
    }
}
