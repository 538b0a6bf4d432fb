//! What looks at many records: searches and exports. Each runs on a thread of its own, away from the workers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::Builder;

use tokio::sync::oneshot;

use super::super::change::{Bundle, Find, Search};
use super::super::error::StoreError;
use super::super::record::Damage;
use super::files::Files;
use super::job::StoredFamily;
use super::keys;
use crate::domain::family::{AccessRecord, Family, FamilyId, RefreshRecord};
use crate::domain::opaque::TokenUse;

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

pub(super) fn find(files: &Files, search: &Search) -> Result<Vec<Family>, StoreError> {
    match &search.what {
        Find::Client(client) => matching(files, search, |family| family.client == *client),
        Find::User(user) => matching(files, search, |family| family.user == Some(*user)),
        Find::Prefix(digits) => by_prefix(files, digits, search),
    }
}

fn matching(files: &Files, search: &Search, fits: impl Fn(&Family) -> bool) -> Result<Vec<Family>, StoreError> {
    let fits = |family: &Family| fits(family) && search.takes(family);
    families(files, search.after).filter(|family| family.as_ref().map_or(true, &fits)).take(search.limit).collect()
}

fn families(files: &Files, after: Option<FamilyId>) -> impl Iterator<Item = Result<Family, StoreError>> {
    let first = after.map_or_else(|| vec![keys::FAMILY], |after| [keys::family(after).as_slice(), &[0]].concat());
    files.records::<StoredFamily>(first..vec![keys::FAMILY + 1]).map(|record| record.map(|(_, (_, family))| family))
}

fn by_prefix(files: &Files, digits: &str, search: &Search) -> Result<Vec<Family>, StoreError> {
    let Some((first, last)) = range_of(digits) else { return Ok(Vec::new()) };
    let mut found = BTreeSet::new();
    let range = |kind: u8| [&[kind], first.as_slice()].concat()..[&[kind], last.as_slice(), &[0]].concat();
    for record in files.records::<AccessRecord>(range(keys::ACCESS)) {
        found.insert(record?.1.family);
    }
    for record in files.records::<RefreshRecord>(range(keys::REFRESH)) {
        found.insert(record?.1.family);
    }
    let after = |id: &FamilyId| search.after.is_none_or(|after| *id > after);
    let families = found.into_iter().filter(after).map(|id| files.get::<StoredFamily>(&keys::family(id)));
    families
        .filter_map(|stored| stored.map(|stored| stored.map(|(_, family)| family)).transpose())
        .filter(|family| family.as_ref().map_or(true, |family| search.takes(family)))
        .take(search.limit)
        .collect()
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

pub(super) fn export(files: &Files, after: Option<FamilyId>, limit: usize) -> Result<Vec<Bundle>, StoreError> {
    families(files, after).take(limit).map(|family| bundle(files, family?)).collect()
}

fn bundle(files: &Files, family: Family) -> Result<Bundle, StoreError> {
    let (mut access, mut refresh) = (Vec::new(), Vec::new());
    for member in &family.members {
        let key = keys::token(member.token_use, &member.fingerprint);
        match member.token_use {
            TokenUse::Access => access.extend(files.get(&key)?.map(|record| (member.fingerprint, record))),
            TokenUse::Refresh => refresh.extend(files.get(&key)?.map(|record| (member.fingerprint, record))),
        }
    }
    Ok(Bundle { family, access, refresh })
}

/// The family in a key of one.
pub(super) fn family_in(key: &[u8]) -> Result<FamilyId, StoreError> {
    let id = key.get(1..).and_then(|id| id.try_into().ok()).map(FamilyId);
    id.ok_or_else(|| StoreError::Corrupt { what: keys::describe(key), cause: Arc::new(Damage::Shape) })
}
