//! The token store: what keeps families alive when the bridge is not.
//!
//! The contract is [`TokenStore`]; one suite of tests (`tests/it/store`) runs against every variant of it. Values come in and
//! go out as the nouns of `domain::family`; everything of the realm in them is sealed before it comes here.
//!
//! - `put` and every other write answer `Ok` only when it is durable. A write that failed was not acknowledged; it may be
//!   there or not, and nobody knows its UUIDs.
//! - A family changes only by `commit`, which names the version that the change was decided on, or by `end`.
//! - What was damaged on the disk is an error that names the record, never a wrong value. Where many are looked at it is passed
//!   over and counted.
//!
//! Must not: open a sealed value, know what a UUID is beyond its fingerprint, decide anything about a family, look at a clock
//! that it was not handed, or need a particular runtime (workers are several, each with its own; all of them have timers).

mod change;
mod embedded;
mod ending;
mod error;
mod measures;
mod memo;
pub mod record;
mod redis;
mod settings;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use change::Search;
pub use change::{Bundle, Change, Find, Gathered, Lease, PendingRevocation, Statistics, Swept, Version, Versioned};
pub use embedded::{BackedUp, Backup, Embedded, Progress};
pub use error::{Cause, CommitError, StoreError};
pub use measures::Measures;
pub use memo::Memo;

pub use redis::{Loss, Redis, Unseen, is_redis, losses};
pub use settings::{Password, RedisMode, RedisSettings, StoreSettings, Wait};

use crate::domain::family::{AccessRecord, Ending, Family, FamilyId, NewFamily, RefreshRecord};
use crate::domain::opaque::Fingerprint;
use crate::domain::time::{Clock, Timestamp};

/// Where families are kept. Cheap to clone; all clones are one store.
#[derive(Clone, Debug)]
pub enum TokenStore {
    /// Files of this machine.
    Embedded(Arc<Embedded>),
    /// A Redis that several instances share.
    Redis(Arc<Redis>),
}

impl TokenStore {
    /// Opens the store, making it where it does not exist. Blocks while it reads what a crash left behind.
    pub fn open(settings: &StoreSettings, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        match settings {
            StoreSettings::Embedded { path, cache_bytes } => {
                Embedded::open(path, *cache_bytes, clock).map(|store| Self::Embedded(Arc::new(store)))
            }
            StoreSettings::Redis(settings) => Redis::open(settings, clock).map(|store| Self::Redis(Arc::new(store))),
        }
    }

    /// Which of the processes that share it this one is: a random number. Without it a lease of unknown fate is waited for until it is over.
    pub fn owned_by(&self, owner: u64) {
        match self {
            // Nobody else has it, and no answer is lost.
            Self::Embedded(_) => {}
            Self::Redis(store) => store.owned_by(owner),
        }
    }

    /// Opens a store that shall be read alone: it is not made, and a Redis is told nothing.
    pub fn open_source(settings: &StoreSettings, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        match settings {
            StoreSettings::Embedded { path, .. } if !embedded::is_store(path) => {
                Err(StoreError::NotThere { path: path.clone() })
            }
            StoreSettings::Embedded { .. } => Self::open(settings, clock),
            StoreSettings::Redis(settings) => {
                Redis::open_source(settings, clock).map(|store| Self::Redis(Arc::new(store)))
            }
        }
    }

    /// Keeps a family that was just born, with its first pair: all or nothing.
    pub async fn put(&self, new: NewFamily) -> Result<(), StoreError> {
        let NewFamily { family, access, refresh } = new;
        let born = Bundle { family, access: vec![access], refresh: refresh.into_iter().collect() };
        match self {
            Self::Embedded(store) => store.put(&born).await,
            Self::Redis(store) => store.import(&born).await,
        }
    }

    /// Keeps a family that lived in another store. Files are waited for as long as they take.
    pub async fn import(&self, bundle: &Bundle) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.import(bundle).await,
            Self::Redis(store) => store.import(bundle).await,
        }
    }

    /// What an access UUID opens, over or not. Expired ones are found until they are swept: the caller compares the time.
    pub async fn access(&self, fingerprint: &Fingerprint) -> Result<Option<AccessRecord>, StoreError> {
        Ok(self.look_up(fingerprint).await?.map(Arc::unwrap_or_clone))
    }

    /// The same for who only looks: what lies in memory is not copied.
    pub async fn look_up(&self, fingerprint: &Fingerprint) -> Result<Option<Arc<AccessRecord>>, StoreError> {
        match self {
            Self::Embedded(store) => store.access(fingerprint),
            // What asks a server is big: an API call to the embedded store shall not carry the room for it.
            Self::Redis(store) => Ok(Box::pin(store.access(fingerprint)).await?.map(Arc::new)),
        }
    }

    /// What a refresh UUID opens. Whether its family is over, the family says.
    pub async fn refresh(&self, fingerprint: &Fingerprint) -> Result<Option<RefreshRecord>, StoreError> {
        match self {
            Self::Embedded(store) => store.refresh(fingerprint),
            Self::Redis(store) => store.refresh(fingerprint).await,
        }
    }

    /// A family, and which state of it this is.
    pub async fn family(&self, family: FamilyId) -> Result<Option<Versioned<Family>>, StoreError> {
        match self {
            Self::Embedded(store) => store.family(family),
            Self::Redis(store) => store.family(family).await,
        }
    }

    /// The live family of a realm's session (fingerprint of its `sid`).
    pub async fn session(&self, session: &Fingerprint) -> Result<Option<FamilyId>, StoreError> {
        match self {
            Self::Embedded(store) => store.session(session),
            Self::Redis(store) => store.session(session).await,
        }
    }

    /// Changes a family, if nobody else did since it was read.
    pub async fn commit(&self, change: Change) -> Result<(), CommitError> {
        match self {
            Self::Embedded(store) => store.commit(change).await,
            Self::Redis(store) => store.commit(change).await,
        }
    }

    /// Ends a family, whatever it is doing: every UUID of it is over from now on and remembered as such until its end.
    ///
    /// A record of it that is damaged is removed: it opens nothing any more. Answers the family as it was before, with the newest of the realm's refresh tokens in it; where it was over already
    /// its first ending stays. `None`: no such family.
    pub async fn end(&self, family: FamilyId, ending: Ending) -> Result<Option<Family>, StoreError> {
        match self {
            Self::Embedded(store) => store.end(family, ending).await,
            Self::Redis(store) => store.end(family, ending).await,
        }
    }

    /// Asks for the right to ask the realm for a family. `None`: somebody has it.
    pub async fn lease(&self, family: FamilyId, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        match self {
            Self::Embedded(store) => Ok(store.lease(family, ttl)),
            Self::Redis(store) => store.lease(family, ttl).await,
        }
    }

    /// Keeps a lease for `ttl` from now. `false`: it is lost, somebody else may have it.
    pub async fn renew(&self, lease: Lease, ttl: Duration) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(store) => Ok(store.renew(lease, ttl)),
            Self::Redis(store) => store.renew(lease, ttl).await,
        }
    }

    /// Gives a lease back. Nothing happens where it is lost.
    pub async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => {
                store.release(lease);
                Ok(())
            }
            Self::Redis(store) => store.release(lease).await,
        }
    }

    /// Remembers a revocation that the realm must still be told. Put it here before the family is ended.
    pub async fn outbox_put(&self, pending: &PendingRevocation) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.outbox_put(pending).await,
            Self::Redis(store) => store.outbox_put(pending).await,
        }
    }

    /// Every revocation that the realm must still be told.
    pub async fn outbox(&self) -> Result<Gathered<PendingRevocation>, StoreError> {
        match self {
            Self::Embedded(store) => store.outbox(),
            Self::Redis(store) => store.outbox().await,
        }
    }

    /// Forgets this revocation: it was told, or is void. One of the same family that was put there in the meantime stays.
    pub async fn outbox_delete(&self, told: &PendingRevocation) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.outbox_delete(told).await,
            Self::Redis(store) => store.outbox_delete(told).await,
        }
    }

    /// What is remembered under a name.
    pub async fn memo(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Embedded(store) => store.memo(name),
            Self::Redis(store) => store.memo(name).await,
        }
    }

    /// Everything that is remembered so.
    pub async fn memos(&self) -> Result<Gathered<Memo>, StoreError> {
        match self {
            Self::Embedded(store) => store.memos(),
            Self::Redis(store) => store.memos().await,
        }
    }

    /// Remembers something, in place of what was remembered under that name.
    pub async fn memo_put(&self, memo: &Memo) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.memo_put(memo).await,
            Self::Redis(store) => store.memo_put(memo).await,
        }
    }

    /// The same, if what was remembered under that name is still `before`; answers whether it is done. Beside it nobody puts one of that name.
    pub async fn memo_replace(&self, before: Option<&[u8]>, memo: &Memo) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(store) => store.memo_replace(before, memo).await,
            Self::Redis(store) => store.memo_replace(before, memo).await,
        }
    }

    /// Forgets what is remembered under a name, if anything is.
    pub async fn memo_delete(&self, name: &str) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.memo_delete(name).await,
            Self::Redis(store) => store.memo_delete(name).await,
        }
    }

    /// Drops families of which no UUID is remembered any more, half a minute to a minute and a half after that; a bounded number a
    /// call. The outbox is left alone.
    pub async fn sweep(&self, now: Timestamp) -> Result<Swept, StoreError> {
        match self {
            Self::Embedded(store) => store.sweep(now).await,
            Self::Redis(store) => store.sweep(now).await,
        }
    }

    /// Whether other instances keep their families here too.
    pub const fn is_shared(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Redis(_) => true,
        }
    }

    /// How much of this time of day is believed where something is dropped for good (`domain/horizon.rs`).
    pub fn believed(&self, now: Timestamp) -> Timestamp {
        match self {
            Self::Embedded(store) => store.believed(now),
            Self::Redis(store) => store.believed(now),
        }
    }

    /// Families by what an operator knows; at most `limit`. By client and by user it reads every family: seconds at a million.
    pub async fn find(&self, what: Find, limit: usize) -> Result<Gathered<Family>, StoreError> {
        self.search(Search { what, living: false, after: None, limit }).await
    }

    /// The same of those that are not over, in order of their ids, beginning after one of them.
    pub async fn find_living(
        &self,
        what: Find,
        after: Option<FamilyId>,
        limit: usize,
    ) -> Result<Gathered<Family>, StoreError> {
        self.search(Search { what, living: true, after, limit }).await
    }

    async fn search(&self, search: Search) -> Result<Gathered<Family>, StoreError> {
        match self {
            Self::Embedded(store) => store.find(search).await,
            Self::Redis(store) => store.find(&search).await,
        }
    }

    /// Families in order of their ids, beginning after one of them; at most `limit`.
    pub async fn export(&self, after: Option<FamilyId>, limit: usize) -> Result<Gathered<Bundle>, StoreError> {
        match self {
            Self::Embedded(store) => store.export(after, limit).await,
            Self::Redis(store) => store.export(after, limit).await,
        }
    }

    /// Begins a copy of the store, as it is this moment, in a directory that is empty or not there. Blocks for a moment.
    pub fn backup(&self, to: &Path) -> Result<Backup, StoreError> {
        match self {
            Self::Embedded(store) => store.backup(to),
            Self::Redis(_) => Err(StoreError::NoFiles),
        }
    }

    /// Whether it took the newest write, as [`Statistics::writable`] has it; of a cluster it is always yes. Costs nothing.
    pub fn takes_writes(&self) -> bool {
        match self {
            Self::Embedded(store) => store.takes_writes(),
            // Of a cluster one node says nothing of the others.
            Self::Redis(store) => store.is_cluster() || store.newest_failure().is_none(),
        }
    }

    /// Writes something that means nothing, so that it is known whether anything can be kept.
    ///
    /// # Errors
    /// It cannot.
    pub async fn try_out(&self) -> Result<(), StoreError> {
        self.memo_put(&Memo { name: "takes_writes".to_owned(), value: Vec::new() }).await
    }

    /// Whether replicas must have what is written: then a write may have happened though it failed.
    pub fn waits_for_replicas(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Redis(store) => store.waits_for_replicas(),
        }
    }

    /// Why it did not take the newest write, or has not taken it for too long. `None`: it did. Asks nobody, and so waits for nobody.
    pub fn newest_failure(&self) -> Option<StoreError> {
        match self {
            Self::Embedded(store) => store.newest_failure(),
            Self::Redis(store) => store.newest_failure(),
        }
    }

    /// The same where it is a disk that lets everybody wait: what was asked of it is done once it answers, in the order in which it was asked.
    pub fn hangs(&self) -> Option<StoreError> {
        match self {
            Self::Embedded(store) => store.hangs(),
            Self::Redis(_) => None,
        }
    }

    /// Whether nothing will ever be written any more: it was closed, or a panic has ended the thread that writes. Who opens it anew finds all that it answered.
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Embedded(store) => store.has_ended(),
            // Each question runs by itself there, and ends alone.
            Self::Redis(_) => false,
        }
    }

    /// What is answered to whoever is not even tried for.
    pub fn refusing(&self) -> StoreError {
        let newest = self.newest_failure().map(|failure| Arc::new(failure) as Cause);
        StoreError::Refusing { cause: newest }
    }

    /// Has it observed from now on how long it is waited for. Once; who comes later comes for nothing.
    pub fn measured_by(&self, measures: Measures) {
        match self {
            Self::Embedded(store) => store.measured_by(measures),
            Self::Redis(store) => store.measured_by(measures),
        }
    }

    /// What the store says about itself. Asks nobody, and so waits for nobody.
    pub fn statistics(&self) -> Statistics {
        match self {
            Self::Embedded(store) => store.statistics(),
            Self::Redis(store) => store.statistics(),
        }
    }

    /// Writes what waits, then closes. Whatever is asked later is answered [`StoreError::Closed`]. A disk that hangs is not waited for.
    pub async fn close(&self) {
        match self {
            Self::Embedded(store) => store.close().await,
            Self::Redis(store) => store.close(),
        }
    }
}
