//! The names of keys (STORE.md): those of a family share a hash slot, each index entry has one of its own.

use std::fmt::Display;

use crate::domain::family::FamilyId;
use crate::domain::opaque::{Fingerprint, TokenUse};

/// The format of everything below; raised when it changes.
pub(super) const FORMAT: &str = "pb:format";
/// Revocations that the realm must still be told: a hash, family to record.
pub(super) const OUTBOX: &str = "pb:outbox";
/// What is remembered of clients: a hash, name to record.
pub(super) const MEMOS: &str = "pb:memos";
/// The last list of families: there is one for each first byte of a family's id.
pub(super) const LAST_LIST: u8 = u8::MAX;

/// `fingerprint` is a whole one, or its text.
pub(super) fn token(token_use: TokenUse, fingerprint: &dyn Display) -> String {
    match token_use {
        TokenUse::Access => format!("pb:a:{fingerprint}"),
        TokenUse::Refresh => format!("pb:r:{fingerprint}"),
    }
}

pub(super) fn session(fingerprint: &Fingerprint) -> String {
    format!("pb:s:{fingerprint}")
}

/// A hash: `v` version, `d` record.
pub(super) fn state(family: FamilyId) -> String {
    format!("pb:{{{family}}}:state")
}

/// There while somebody may ask the realm for the family.
pub(super) fn lease(family: FamilyId) -> String {
    format!("pb:{{{family}}}:lease")
}

/// The fence of the newest lease.
pub(super) fn fence(family: FamilyId) -> String {
    format!("pb:{{{family}}}:fence")
}

/// A sorted set: families by when they are forgotten.
pub(super) fn list(first_byte: u8) -> String {
    format!("pb:x:{first_byte:02x}")
}

pub(super) fn list_of(family: FamilyId) -> String {
    list(family.0.first().copied().unwrap_or_default())
}
