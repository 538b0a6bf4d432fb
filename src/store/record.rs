//! The bytes of a record: a version, the value, a checksum over both and the key.
//!
//! Pure. A flipped bit, a cut value and a value that stands under another's key are told from a good one; nothing damaged
//! is ever decoded. The JWTs inside are sealed by `domain::seal`, which this module knows nothing of.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

/// How a record is written. Rises with every change of what `domain::family` keeps: postcard does not describe itself.
pub const RECORD_VERSION: u8 = 1;

const CHECKSUM: usize = 8;

/// More than most records need, so that few are moved while they are written.
const ROOM: usize = 4096;

/// How a record shows that it is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Shorter than any record.
    Short,
    /// The checksum is another's.
    Checksum,
    /// Whole, but of a version that this program does not read.
    Version(u8),
    /// Whole, but not a value of this kind.
    Shape,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("the record is cut"),
            Self::Checksum => f.write_str("the checksum of the record does not match"),
            Self::Version(found) => {
                write!(f, "the record has version {found}, and this program reads {RECORD_VERSION}")
            }
            Self::Shape => f.write_str("the record is whole, but of another kind"),
        }
    }
}

impl std::error::Error for Damage {}

/// The bytes of a value that will stand under `key`.
///
/// # Panics
/// Where the value has a shape that postcard cannot write; no record of `domain::family` has.
#[expect(clippy::expect_used, reason = "the records of domain::family have no shape that postcard cannot write")]
pub fn encode<T: Serialize>(key: &[u8], value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ROOM);
    bytes.push(RECORD_VERSION);
    let mut bytes = postcard::to_extend(value, bytes).expect("a record can be written");
    let checksum = checksum(key, &bytes);
    bytes.extend_from_slice(&checksum);
    bytes
}

/// The value in the bytes that stand under `key`.
pub fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, Damage> {
    match postcard::take_from_bytes(inspect(key, bytes)?) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(Damage::Shape),
    }
}

/// Whether these bytes stand under `key` as they were written, whatever is in them; answers what is.
pub fn inspect<'a>(key: &[u8], bytes: &'a [u8]) -> Result<&'a [u8], Damage> {
    let (body, found) = bytes.split_last_chunk::<CHECKSUM>().ok_or(Damage::Short)?;
    let (version, value) = body.split_first().ok_or(Damage::Short)?;
    if checksum(key, body) != *found {
        return Err(Damage::Checksum);
    }
    if *version == RECORD_VERSION { Ok(value) } else { Err(Damage::Version(*version)) }
}

fn checksum(key: &[u8], body: &[u8]) -> [u8; CHECKSUM] {
    (xxh3_64(body) ^ xxh3_64(key).rotate_left(17)).to_le_bytes()
}
