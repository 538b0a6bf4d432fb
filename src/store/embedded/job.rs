//! What the writer is asked to do, and how each request becomes entries of a batch.

use serde::Serialize;
use tokio::sync::oneshot;

use super::super::change::{Bundle, Change, PendingRevocation, Swept, Version};
use super::super::ending;
use super::super::error::{CommitError, StoreError};
use super::answer;
use super::files::{Entry, Files};
use super::keys;
use super::leases::{Leases, Waiting};
use crate::domain::family::{AccessFate, AccessRecord, Ending, Family, FamilyId, Member, RefreshRecord};
use crate::domain::opaque::{Fingerprint, TokenUse};
use crate::domain::seal::Sealed;
use crate::domain::time::Timestamp;

/// Where an answer goes. Whoever asked may have gone; then nobody hears it.
pub(super) type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// One request to the writer.
#[derive(Debug)]
pub(super) enum Job {
    /// A family that is born or moves in, and when it will be forgotten.
    Put { family: FamilyId, until: Timestamp, entries: Vec<Entry>, reply: answer::Reply },
    /// Entries that depend on nothing that is stored.
    Write { entries: Vec<Entry>, reply: answer::Reply },
    /// A change of a family, if nobody changed it in the meantime; where it was decided under a lease, nobody gets another before it is answered.
    Commit { change: Box<Change>, waiting: Option<Waiting>, reply: Reply<(), CommitError> },
    /// A family is over.
    End { family: FamilyId, ending: Ending, reply: Reply<Option<Family>, StoreError> },
    /// The realm has heard of a revocation.
    Told { pending: PendingRevocation, reply: Reply<(), StoreError> },
    /// Drops families that were forgotten before `horizon`.
    Sweep { horizon: Timestamp, limit: usize, reply: Reply<Swept, StoreError> },
    /// Writes what came before, then closes the files.
    Close { reply: oneshot::Sender<()> },
}

/// A family as it is stored: its version and itself.
pub(super) type StoredFamily = (u64, Family);

/// Everything that a family is kept under, when it is born or moves in.
pub(super) fn entries_of(bundle: &Bundle) -> Vec<Entry> {
    let Bundle { family, access, refresh } = bundle;
    let mut entries = Vec::with_capacity(3 + access.len() + refresh.len());
    entries.push(Entry::record(&keys::family(family.id), &(1_u64, family)));
    entries.extend(family.session.map(|session| Entry::record(&keys::session(&session), &family.id)));
    entries.extend(access.iter().map(|token| entry_of_token(TokenUse::Access, token)));
    entries.extend(refresh.iter().map(|token| entry_of_token(TokenUse::Refresh, token)));
    entries
}

fn entry_of_token<T: Serialize>(token_use: TokenUse, (fingerprint, record): &(Fingerprint, T)) -> Entry {
    Entry::record(&keys::token(token_use, fingerprint), record)
}

pub(super) fn entry_of_pending(pending: &PendingRevocation) -> Entry {
    let PendingRevocation { family, client, sealed, until } = pending;
    Entry::record(&keys::outbox(*family), &(client, sealed, until))
}

/// The entry that forgets a revocation; none where another one has taken its place.
pub(super) fn told(files: &Files, pending: &PendingRevocation) -> Result<Vec<Entry>, StoreError> {
    let key = keys::outbox(pending.family);
    let stored = files.get::<(String, Sealed, Timestamp)>(&key)?;
    let same = stored.is_some_and(|(_, sealed, _)| sealed == pending.sealed);
    Ok(if same { vec![Entry::remove(&key)] } else { Vec::new() })
}

/// What is to be written where a family changes, and when it is forgotten if it had no end before.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) entries: Vec<Entry>,
    pub(super) ends: Option<Timestamp>,
}

/// What a change writes, or why it may not happen.
pub(super) fn commit(files: &Files, leases: &Leases, change: &Change) -> Result<Decided, CommitError> {
    let Change { expected: Version(expected), fence, family, access, refresh, .. } = change;
    let removals = change.removed();
    let key = keys::family(family.id);
    let (version, stored) = files.get::<StoredFamily>(&key)?.ok_or(CommitError::Unknown)?;
    if version != *expected {
        return Err(CommitError::Conflict);
    }
    if fence.is_some_and(|fence| leases.is_fenced(family.id, fence)) {
        return Err(CommitError::Fenced);
    }
    let mut entries = Vec::with_capacity(2 + access.len() + refresh.len() + removals.len());
    entries.extend(removals.iter().map(remove_member));
    entries.extend(access.iter().map(|token| entry_of_token(TokenUse::Access, token)));
    entries.extend(refresh.iter().map(|token| entry_of_token(TokenUse::Refresh, token)));
    if stored.session != family.session {
        entries.extend(stored.session.map(|session| Entry::remove(&keys::session(&session))));
        entries.extend(family.session.map(|session| Entry::record(&keys::session(&session), &family.id)));
    }
    entries.push(Entry::record(&key, &(version + 1, family)));
    Ok(Decided { entries, ends: ending::newly_ends(&stored, family) })
}

/// What ends a family, and the family as it was; no entries where it is over already.
pub(super) fn end(files: &Files, family: FamilyId, cause: Ending) -> Result<Option<(Decided, Family)>, StoreError> {
    let key = keys::family(family);
    let Some((version, former)) = files.get::<StoredFamily>(&key)? else { return Ok(None) };
    if former.is_over() {
        return Ok(Some((Decided { entries: Vec::new(), ends: None }, former)));
    }
    let over = ending::over(&former, cause);
    let mut entries = vec![Entry::record(&key, &(version + 1, &over))];
    entries.extend(former.session.map(|session| Entry::remove(&keys::session(&session))));
    for member in &former.members {
        entries.extend(match buried(files, member, &over, cause) {
            // It cannot say that it is over; gone it opens nothing either, and with it what lies in memory of it.
            Err(StoreError::Corrupt { .. }) => Some(remove_member(member)),
            read => read?,
        });
    }
    Ok(Some((Decided { entries, ends: ending::newly_ends(&former, &over) }, former)))
}

/// What is left of a record of a family that is `over`.
fn buried(files: &Files, member: &Member, over: &Family, cause: Ending) -> Result<Option<Entry>, StoreError> {
    let key = keys::token(member.token_use, &member.fingerprint);
    Ok(match member.token_use {
        TokenUse::Access => files
            .get::<AccessRecord>(&key)?
            .filter(|record| matches!(record.fate, AccessFate::Live { .. }))
            .map(|record| Entry::record(&key, &ending::access_over(record, cause))),
        TokenUse::Refresh => {
            files.get::<RefreshRecord>(&key)?.map(|record| Entry::record(&key, &ending::refresh_over(record, over)))
        }
    })
}

/// What becomes of a family whose time the expiry index says has come.
#[derive(Debug)]
pub(super) enum Due {
    /// It is dropped, with all its records.
    Dropped(Vec<Entry>),
    /// It was given more time since: until then.
    Extended(Timestamp),
    /// It is gone already.
    Gone,
}

pub(super) fn expire(files: &Files, family: FamilyId, horizon: Timestamp) -> Result<Due, StoreError> {
    let key = keys::family(family);
    let Some((_, family)) = files.get::<StoredFamily>(&key)? else { return Ok(Due::Gone) };
    let until = ending::remembered_until(&family);
    if until >= horizon {
        return Ok(Due::Extended(until));
    }
    let mut entries = vec![Entry::remove(&key)];
    entries.extend(family.session.map(|session| Entry::remove(&keys::session(&session))));
    entries.extend(family.members.iter().map(remove_member));
    Ok(Due::Dropped(entries))
}

fn remove_member(member: &Member) -> Entry {
    Entry::remove(&keys::token(member.token_use, &member.fingerprint))
}
