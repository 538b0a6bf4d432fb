//! What goes into a store and comes out of it, besides the nouns of `domain::family`.

use super::error::StoreError;
use crate::domain::family::{AccessRecord, Family, FamilyId, Member, RefreshRecord};
use crate::domain::opaque::{Fingerprint, TokenUse};
use crate::domain::seal::Sealed;
use crate::domain::time::Timestamp;

/// Which state of a family was read: 1 when it is born, one more with every change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// A value and which state of it this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// What a change of it must name as expected.
    pub version: Version,
}

/// A change of one family: it happens whole, and only if nobody changed the family since it was read.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version that this change was decided on.
    pub expected: Version,
    /// Only if no newer lease than this one was granted.
    pub fence: Option<u64>,
    /// The family as it shall be.
    pub family: Family,
    /// Access records to be written: of new UUIDs, and of known ones whose JWT was renewed. An ended one stays ended.
    pub access: Vec<(Fingerprint, AccessRecord)>,
    /// Refresh records to be written.
    pub refresh: Vec<(Fingerprint, RefreshRecord)>,
    /// Records to be forgotten; what is written by the same change is kept.
    pub removals: Vec<Member>,
}

impl Change {
    /// A change of the family alone.
    #[must_use]
    pub const fn of(expected: Version, family: Family) -> Self {
        Self { expected, fence: None, family, access: Vec::new(), refresh: Vec::new(), removals: Vec::new() }
    }

    /// Whose records are gone once it has happened.
    pub(super) fn removed(&self) -> Vec<Member> {
        let is_written = |member: &&Member| match member.token_use {
            TokenUse::Access => self.access.iter().any(|(fingerprint, _)| *fingerprint == member.fingerprint),
            TokenUse::Refresh => self.refresh.iter().any(|(fingerprint, _)| *fingerprint == member.fingerprint),
        };
        self.removals.iter().filter(|member| !is_written(member)).copied().collect()
    }
}

/// The right to ask the realm for a family, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Whose.
    pub family: FamilyId,
    /// Greater than that of every lease of this family before.
    pub fence: u64,
}

/// A revocation that the realm could not be told yet. One a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRevocation {
    /// The family that ended.
    pub family: FamilyId,
    /// The legacy client it was issued to: whose new secret opens `sealed`.
    pub client: String,
    /// The realm's refresh token, sealed under a key of that secret.
    pub sealed: Sealed,
    /// The realm's session ends by itself then.
    pub until: Timestamp,
}

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Find {
    /// Families of a legacy client.
    Client(String),
    /// Families of a passport user, by fingerprint (purpose `user`).
    User(Fingerprint),
    /// The family of each UUID, access or refresh, whose fingerprint begins with these hexadecimal digits.
    Prefix(String),
}

/// A search, in order of the families' ids.
#[derive(Clone, Debug)]
pub(super) struct Search {
    pub(super) what: Find,
    /// Only those that are not over.
    pub(super) living: bool,
    /// Beginning after this one.
    pub(super) after: Option<FamilyId>,
    /// At most so many.
    pub(super) limit: usize,
}

/// A family with everything that belongs to it, as it moves between stores.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The family.
    pub family: Family,
    /// Its access records.
    pub access: Vec<(Fingerprint, AccessRecord)>,
    /// Its refresh records.
    pub refresh: Vec<(Fingerprint, RefreshRecord)>,
}

/// What was found among many records. One that is not what was written does not keep the others from being found.
#[derive(Clone, Debug)]
pub struct Gathered<T> {
    /// What was found.
    pub records: Vec<T>,
    /// What could not be read on the way: passed over, and a finding for ops.
    pub damaged: usize,
}

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Self { records: Vec::new(), damaged: 0 }
    }
}

impl<T> Gathered<T> {
    /// What was read of one record, or nothing where it is damaged: that is counted.
    pub(super) fn sound<R>(&mut self, read: Result<R, StoreError>) -> Result<Option<R>, StoreError> {
        match read {
            Ok(record) => Ok(Some(record)),
            Err(StoreError::Corrupt { .. }) => {
                self.damaged += 1;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Families that were dropped, with all their records.
    pub families: usize,
    /// What could not be read on the way: let alone, and a finding for ops.
    pub damaged: usize,
    /// Whether more is due: sweep again soon.
    pub more: bool,
}

/// What the store says about itself. Counts are since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Whether it takes writes.
    pub writable: bool,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes of a torn last write that a crash left and opening cut off. Nobody had been told of it.
    pub torn_bytes: u64,
    /// Bytes of the cache in use.
    pub cache_bytes: u64,
    /// Look-ups of access UUIDs that the cache has answered.
    pub cache_hits: u64,
    /// Those that it could not answer.
    pub cache_misses: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Writes that failed, and were answered so.
    pub failed_writes: u64,
    /// Groups of writes that were made durable together.
    pub groups: u64,
}
