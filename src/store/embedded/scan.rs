//! What looks at many records: searches and exports, each on a thread of its own, away from the workers; and the outbox, which is short.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::Builder;

use tokio::sync::oneshot;

use super::super::change::{Bundle, Find, Gathered, PendingRevocation, Search};
use super::super::error::StoreError;
use super::super::record::Damage;
use super::files::Files;
use super::job::StoredFamily;
use super::keys;
use crate::domain::family::{AccessRecord, Family, FamilyId, RefreshRecord};
use crate::domain::opaque::TokenUse;
use crate::domain::seal::Sealed;
use crate::domain::time::Timestamp;

/// Does something long on a thread of its own.
#[expect(
    clippy::disallowed_methods,
    reason = "an operator's search reads for seconds; it ends with its answer, and `close` waits for its files"
)]
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let (reply, answer) = oneshot::channel();
    let started = Builder::new().name("store-scan".to_owned()).spawn(move || drop(reply.send(work())));
    if let Err(error) = started {
        return Err(StoreError::CannotRead { what: "with a thread of its own".to_owned(), cause: Arc::new(error) });
    }
    answer.await.map_err(|_| StoreError::Closed)?
}

pub(super) fn find(files: &Files, search: &Search) -> Result<Gathered<Family>, StoreError> {
    match &search.what {
        Find::Client(client) => matching(files, search, |family| *family.client == **client),
        Find::User(user) => matching(files, search, |family| family.user == Some(*user)),
        Find::Prefix(digits) => by_prefix(files, digits, search),
    }
}

fn matching(files: &Files, search: &Search, fits: impl Fn(&Family) -> bool) -> Result<Gathered<Family>, StoreError> {
    let mut found = Gathered::default();
    for family in families(files, search.after) {
        let family = family?;
        if found.records.len() >= search.limit {
            break;
        }
        let fitting = found.sound(family)?.filter(|family| fits(family) && search.takes(family));
        found.records.extend(fitting);
    }
    Ok(found)
}

/// Each family, or what is wrong with it.
fn families(
    files: &Files,
    after: Option<FamilyId>,
) -> impl Iterator<Item = Result<Result<Family, StoreError>, StoreError>> {
    let first = after.map_or_else(|| vec![keys::FAMILY], |after| [keys::family(after).as_slice(), &[0]].concat());
    let records = files.records::<StoredFamily>(first..vec![keys::FAMILY + 1]);
    records.map(|record| record.map(|(_, stored)| stored.map(|(_, family)| family)))
}

fn by_prefix(files: &Files, digits: &str, search: &Search) -> Result<Gathered<Family>, StoreError> {
    let mut found = Gathered::default();
    let Some((first, last)) = range_of(digits) else { return Ok(found) };
    let mut named = BTreeSet::new();
    let range = |kind: u8| [&[kind], first.as_slice()].concat()..[&[kind], last.as_slice(), &[0]].concat();
    for record in files.records::<AccessRecord>(range(keys::ACCESS)) {
        named.extend(found.sound(record?.1)?.map(|record| record.family));
    }
    for record in files.records::<RefreshRecord>(range(keys::REFRESH)) {
        named.extend(found.sound(record?.1)?.map(|record| record.family));
    }
    for id in named.into_iter().filter(|id| search.after.is_none_or(|after| *id > after)) {
        if found.records.len() >= search.limit {
            break;
        }
        let stored = found.sound(files.get::<StoredFamily>(&keys::family(id)))?.flatten();
        found.records.extend(stored.map(|(_, family)| family).filter(|family| search.takes(family)));
    }
    Ok(found)
}

/// The least and the greatest fingerprint that begin with these hexadecimal digits; `None` where they are no such digits.
fn range_of(digits: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let bound = |filler: char| -> Option<Vec<u8>> {
        let text: String = digits.chars().chain(std::iter::repeat(filler)).take(64).collect();
        let text = text.as_bytes();
        text.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
    };
    let plain = digits.len() <= 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain.then(|| bound('0').zip(bound('f'))).flatten()
}

pub(super) fn export(files: &Files, after: Option<FamilyId>, limit: usize) -> Result<Gathered<Bundle>, StoreError> {
    let mut bundles = Gathered::default();
    for family in families(files, after) {
        let family = family?;
        if bundles.records.len() >= limit {
            break;
        }
        if let Some(family) = bundles.sound(family)? {
            let bundle = bundle(files, family, &mut bundles)?;
            bundles.records.push(bundle);
        }
    }
    Ok(bundles)
}

fn bundle(files: &Files, family: Family, bundles: &mut Gathered<Bundle>) -> Result<Bundle, StoreError> {
    let (mut access, mut refresh) = (Vec::new(), Vec::new());
    for member in &family.members {
        let (key, fingerprint) = (keys::token(member.token_use, &member.fingerprint), member.fingerprint);
        match member.token_use {
            TokenUse::Access => {
                access.extend(bundles.sound(files.get(&key))?.flatten().map(|record| (fingerprint, record)));
            }
            TokenUse::Refresh => {
                refresh.extend(bundles.sound(files.get(&key))?.flatten().map(|record| (fingerprint, record)));
            }
        }
    }
    Ok(Bundle { family, access, refresh })
}

pub(super) fn outbox(files: &Files) -> Result<Gathered<PendingRevocation>, StoreError> {
    let mut outbox = Gathered::default();
    for record in files.records::<(String, Sealed, Timestamp)>(vec![keys::OUTBOX]..vec![keys::OUTBOX + 1]) {
        let (key, word) = record?;
        if let Some((client, sealed, until)) = outbox.sound(word)? {
            outbox.records.push(PendingRevocation { family: family_in(&key)?, client, sealed, until });
        }
    }
    Ok(outbox)
}

/// The family in a key of one.
fn family_in(key: &[u8]) -> Result<FamilyId, StoreError> {
    let id = key.get(1..).and_then(|id| id.try_into().ok()).map(FamilyId);
    id.ok_or_else(|| StoreError::Corrupt { what: keys::describe(key), cause: Arc::new(Damage::Shape) })
}
