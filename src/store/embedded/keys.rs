//! The keys of the embedded store: one byte that names the kind, then what it is found by.

use crate::domain::family::FamilyId;
use crate::domain::opaque::{Fingerprint, TokenUse};
use crate::domain::time::Timestamp;

pub(super) const ACCESS: u8 = b'a';
pub(super) const REFRESH: u8 = b'r';
pub(super) const FAMILY: u8 = b'f';
pub(super) const OUTBOX: u8 = b'o';
pub(super) const MEMO: u8 = b'n';
const SESSION: u8 = b's';
const EXPIRY: u8 = b'x';

/// The number of the newest opening, from which fences are made.
pub(super) const OPENINGS: &[u8] = b"m:openings";

/// How many bytes were live when the trees were last tidied.
pub(super) const LIVE: &[u8] = b"m:live";

pub(super) type TokenKey = [u8; 33];
pub(super) type FamilyKey = [u8; 17];
pub(super) type ExpiryKey = [u8; 17];

pub(super) fn token(token_use: TokenUse, fingerprint: &Fingerprint) -> TokenKey {
    match token_use {
        TokenUse::Access => of_fingerprint(ACCESS, fingerprint),
        TokenUse::Refresh => of_fingerprint(REFRESH, fingerprint),
    }
}

pub(super) fn session(session: &Fingerprint) -> TokenKey {
    of_fingerprint(SESSION, session)
}

pub(super) fn family(family: FamilyId) -> FamilyKey {
    of_family(FAMILY, family)
}

pub(super) fn outbox(family: FamilyId) -> FamilyKey {
    of_family(OUTBOX, family)
}

pub(super) fn memo(name: &str) -> Vec<u8> {
    [&[MEMO], name.as_bytes()].concat()
}

/// Where the sweep finds families: in order of time; `number` tells those apart that come at the same time.
pub(super) fn expiry(due: Timestamp, number: u64) -> ExpiryKey {
    let mut key = [EXPIRY; 17];
    key[1..9].copy_from_slice(&due.millis().to_be_bytes());
    key[9..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The time in such a key.
pub(super) fn due_in(key: &[u8]) -> Option<Timestamp> {
    let (due, _) = key.strip_prefix(&[EXPIRY])?.split_first_chunk::<8>()?;
    Some(Timestamp::from_millis(u64::from_be_bytes(*due)))
}

/// The access UUID whose record stands under a key.
pub(super) fn changed_access(key: &[u8]) -> Option<Fingerprint> {
    key.strip_prefix(&[ACCESS])?.try_into().ok().map(Fingerprint::from_bytes)
}

fn of_fingerprint(kind: u8, fingerprint: &Fingerprint) -> TokenKey {
    let mut key = [kind; 33];
    key[1..].copy_from_slice(fingerprint.as_bytes());
    key
}

fn of_family(kind: u8, family: FamilyId) -> FamilyKey {
    let mut key = [kind; 17];
    key[1..].copy_from_slice(&family.0);
    key
}

/// What stands under a key, in words for an error: a kind and the first digits, never more.
pub(super) fn describe(key: &[u8]) -> String {
    let digits =
        Fingerprint::from_bytes(std::array::from_fn(|at| key.get(1 + at).copied().unwrap_or_default())).short();
    match key.first().copied() {
        Some(ACCESS) => format!("access record {digits}"),
        Some(REFRESH) => format!("refresh record {digits}"),
        Some(FAMILY) => format!("family {digits}"),
        Some(SESSION) => format!("session entry {digits}"),
        Some(EXPIRY) => format!("expiry entry {digits}"),
        Some(OUTBOX) => format!("pending revocation {digits}"),
        Some(MEMO) => "a memo of a client".to_owned(),
        Some(_) | None => "the store's own entry".to_owned(),
    }
}
