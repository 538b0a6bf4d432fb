//! The opaque token: the UUID that a legacy client holds in place of a JWT, and the fingerprint we know it by.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::chance::{Entropy, random};
use super::time::Timestamp;
use super::wiped::joined;

/// What a token is for. A token of one use has another fingerprint as one of another, so none passes for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TokenUse {
    /// Calls APIs.
    Access,
    /// Fetches the next pair.
    Refresh,
}

/// How a fresh token is written. Both shapes are accepted, whatever is issued (CONTRACT section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenShape {
    /// 36 characters, `8-4-4-4-12` hexadecimal digits, version 4 (RFC 9562).
    Uuid,
    /// The same, then `-` and the time of issue in seconds since 1970: 47 characters, as newer OTK versions write it.
    UuidEpoch,
}

/// A token as the client holds it: 122 random bits in text. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct OpaqueToken(Zeroizing<String>);

impl OpaqueToken {
    /// A new one.
    pub fn mint(entropy: &dyn Entropy, shape: TokenShape, now: Timestamp) -> Self {
        let uuid = uuid::Builder::from_random_bytes(random(entropy)).into_uuid();
        Self(Zeroizing::new(match shape {
            TokenShape::Uuid => uuid.to_string(),
            TokenShape::UuidEpoch => format!("{uuid}-{:010}", now.secs()),
        }))
    }

    /// A token that somebody presents, in either shape; `None` for anything else (a JWT, say). Digits in either case count as
    /// the same token.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (uuid, epoch) = text.split_at_checked(36)?;
        let plain = epoch.is_empty();
        let dated =
            epoch.len() == 11 && epoch.starts_with('-') && epoch.bytes().skip(1).all(|byte| byte.is_ascii_digit());
        if !(plain || dated) {
            return None;
        }
        uuid::fmt::Hyphenated::from_str(uuid).ok()?;
        Some(Self(Zeroizing::new(text.to_ascii_lowercase())))
    }

    /// What the client is told. Named so that every place where a token becomes readable can be found.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What we know the token by.
    #[must_use]
    pub fn fingerprint(&self, token_use: TokenUse) -> Fingerprint {
        match token_use {
            TokenUse::Access => Fingerprint::of("access", self.0.as_bytes()),
            TokenUse::Refresh => Fingerprint::of("refresh", self.0.as_bytes()),
        }
    }
}

impl fmt::Debug for OpaqueToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpaqueToken(redacted)")
    }
}

/// Bytes as hexadecimal digits, two each, in small letters.
pub fn hexadecimal(bytes: &[u8]) -> impl Iterator<Item = char> {
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.map(|half| char::from_digit(u32::from(half), 16).unwrap_or_default())
}

/// SHA-256 of a purpose and a value that is itself unguessable: it finds a record and cannot be turned back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a value for one purpose.
    #[must_use]
    pub fn of(purpose: &str, value: &[u8]) -> Self {
        let parts = [b"passbridge:", purpose.as_bytes(), b":", value];
        let digest = joined(&parts, |whole| digest::digest(&digest::SHA256, whole));
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From 32 bytes that were kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The first 12 hexadecimal digits: how logs, the audit and `token find` name a token.
    #[must_use]
    pub fn short(&self) -> String {
        hexadecimal(&self.0).take(12).collect()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(&self.0).try_for_each(|digit| f.write_char(digit))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", self.short())
    }
}
