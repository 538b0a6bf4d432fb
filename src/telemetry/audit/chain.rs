//! Records and their chain. A record is a JSON object on a line; its last member is
//!
//! ```text
//! hash = SHA-256 over `prev` (64 hexadecimal digits) and the line up to, without, `,"hash":`
//! ```
//!
//! and its `prev` is the `hash` of the record before, 64 zeros for the very first. So `sha256sum` can check it too.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use crate::domain::opaque::hexadecimal;

/// The last record of a chain: what the next one is chained to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Self { seq: 0, hash: "0".repeat(HEX) }
    }
}

const HEX: usize = 64;
const BEFORE: &str = ",\"hash\":\"";
const AFTER: &str = "\"}";

#[derive(Serialize)]
struct Numbered<'a> {
    seq: u64,
    #[serde(flatten)]
    entry: &'a Entry,
    prev: &'a str,
}

/// What is read of a record beside its text.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    pub(super) seq: u64,
    pub(super) what: String,
    pub(super) prev: String,
    #[serde(default)]
    pub(super) hash: String,
    pub(super) clean: Option<bool>,
    pub(super) torn: Option<u64>,
    pub(super) lost: Option<u64>,
    pub(super) removed: Option<u64>,
    pub(super) through: Option<u64>,
}

impl Record {
    pub(super) fn head(self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }
}

/// The line of an entry behind `head`, which becomes that record.
pub(super) fn seal(head: &mut Head, entry: &Entry) -> serde_json::Result<String> {
    let mut line = serde_json::to_string(&Numbered { seq: head.seq + 1, entry, prev: &head.hash })?;
    line.pop(); // the closing brace
    let hash = hash(&head.hash, line.as_bytes());
    let _infallible = writeln!(line, "{BEFORE}{hash}{AFTER}");
    *head = Head { seq: head.seq + 1, hash };
    Ok(line)
}

/// Reads a line without its end. `None`: it is no record, or not as it was written.
pub(super) fn read(line: &[u8]) -> Option<Record> {
    let own = line.len().checked_sub(BEFORE.len() + HEX + AFTER.len())?;
    let (own, tail) = line.split_at_checked(own)?;
    let told = tail.strip_prefix(BEFORE.as_bytes())?.strip_suffix(AFTER.as_bytes())?;
    let record: Record = serde_json::from_slice(line).ok()?;
    (record.hash.as_bytes() == told && record.hash == hash(&record.prev, own)).then_some(record)
}

/// Whether a line, without its end, ends as a record does.
pub(super) fn looks_whole(line: &[u8]) -> bool {
    line.ends_with(AFTER.as_bytes())
}

fn hash(prev: &str, own: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(prev.as_bytes());
    context.update(own);
    hexadecimal(context.finish().as_ref()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn a_record_is_read_as_it_was_written_and_with_any_change_it_is_none() {
        let mut head = Head::default();
        let entry =
            Entry { why: Some("a \"quoted\" word\n".to_owned()), ..Entry::new(Timestamp::from_secs(0), "login") };
        let one = seal(&mut head, &entry).unwrap();
        assert!(one.starts_with("{\"seq\":1,\"time\":\"1970-01-01T00:00:00.000Z\",\"what\":\"login\""), "{one}");
        assert_eq!(read(one.trim_end().as_bytes()).unwrap().head(), head);
        let two = seal(&mut head, &entry).unwrap();
        let record = read(two.trim_end().as_bytes()).unwrap();
        assert_eq!((record.seq, one.contains(&format!("\"hash\":\"{}\"", record.prev))), (2, true));
        for at in 0..two.trim_end().len() {
            let mut bytes = two.trim_end().as_bytes().to_vec();
            bytes[at] ^= 1;
            assert!(read(&bytes).is_none(), "byte {at}");
            assert!(read(&bytes[..at]).is_none(), "cut at {at}");
        }
    }
}
