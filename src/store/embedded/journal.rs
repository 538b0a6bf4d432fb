//! Looks through fjall's journals before fjall does, because fjall takes the first thing that it cannot read for the end:
//! a bit flipped in the middle would silently cost every write after it.
//!
//! What was acknowledged was synced whole, batch after batch. So the only thing that may be broken is one batch at the end of
//! the newest journal, and only as a crash breaks it: pieces of it are missing. That one is cut off, for nobody was told of it.
//! Everything else that is broken is damage, and is named.
//!
//! What can be read of the newest journal need not be on the disk, so that one is written anew (`disk`).
//!
//! The format is that of fjall 3 (`journal/entry.rs`): a batch is a start (1, count u32, sequence u64), items (2, type u8,
//! compression u8, keyspace u64, lengths u16 u32 u32, key, value) or clears (4, keyspace u64), and an end (3, xxh3 of what
//! lies between u64, `FJL\x03`); little-endian. The rest of the file is zeros, or not there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::super::error::StoreError;
use super::files::unwritten;
use super::manifest::{cannot_read, paths_in};
use crate::disk;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: [u8; 4] = *b"FJL\x03";
const START_LENGTH: usize = 13;

/// What a disk writes whole or not at all, at least.
const SECTOR: usize = 512;

/// How a journal shows that it is damaged.
#[derive(Debug)]
struct DamagedAt(u64);

impl fmt::Display for DamagedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the writes that begin at byte {} were changed after they were made", self.0)
    }
}

impl std::error::Error for DamagedAt {}

/// Looks through all journals in a directory, cuts off a torn last write, and sees to it that the rest is on the disk. Answers how many bytes were cut off.
pub(super) fn inspect(directory: &Path) -> Result<u64, StoreError> {
    let mut journals = journals(directory)?;
    let newest = journals.pop();
    for path in journals {
        let rest = walk(&path)?;
        if !rest.bytes.is_empty() {
            return Err(damaged(&path, rest.broken.at));
        }
    }
    let Some(path) = newest else { return Ok(0) };
    let rest = walk(&path)?;
    if !rest.bytes.is_empty() && !rest.is_torn() {
        return Err(damaged(&path, rest.broken.at));
    }
    if rest.broken.at > 0 || !rest.bytes.is_empty() {
        disk::write_anew(&path, rest.broken.at).map_err(unwritten)?;
    }
    Ok(rest.bytes.len() as u64)
}

/// In the order in which they were written.
fn journals(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let journals = paths_in(directory)?.into_iter().filter(|path| path.extension() == Some(OsStr::new("jnl")));
    let numbered = journals.filter_map(|path| Some((path.file_stem()?.to_str()?.parse::<u64>().ok()?, path)));
    Ok(numbered.collect::<BTreeMap<_, _>>().into_values().collect())
}

fn damaged(path: &Path, at: u64) -> StoreError {
    StoreError::Corrupt { what: path.display().to_string(), cause: Arc::new(DamagedAt(at)) }
}

/// Where the whole batches of a journal end.
struct Broken {
    at: u64,
    /// The number of the last whole batch.
    sequence: Option<u64>,
    /// Where the next batch would end by its own lengths.
    ends: Option<u64>,
}

/// What stands behind the whole batches, up to its last byte that is not zero.
struct Rest {
    broken: Broken,
    bytes: Vec<u8>,
}

impl Rest {
    fn read(mut file: File, broken: Broken) -> io::Result<Self> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(broken.at))?;
        file.read_to_end(&mut bytes)?;
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        Ok(Self { broken, bytes })
    }

    /// Whether it is one batch of which pieces are missing.
    fn is_torn(&self) -> bool {
        !self.is_followed() && (!self.reaches_its_end() || self.lacks_a_sector())
    }

    fn reaches_its_end(&self) -> bool {
        let last = self.broken.at + self.bytes.len() as u64;
        self.bytes.ends_with(&TRAILER) || self.broken.ends == Some(last)
    }

    /// Whether a later batch begins in it: then the broken one had been synced before.
    fn is_followed(&self) -> bool {
        let ends = self.bytes.windows(TRAILER.len()).enumerate().filter(|(_, window)| *window == TRAILER);
        ends.map(|(at, _)| &self.bytes[at + TRAILER.len()..]).any(|next| match next {
            [START, rest @ ..] => {
                sequence_in(rest).is_some_and(|found| self.broken.sequence.is_none_or(|last| found > last))
            }
            _ => false,
        })
    }

    fn lacks_a_sector(&self) -> bool {
        let into_sector = usize::try_from(self.broken.at % SECTOR as u64).unwrap_or_default();
        let (first, others) = self.bytes.split_at((SECTOR - into_sector).min(self.bytes.len()));
        std::iter::once(first).chain(others.chunks(SECTOR)).any(|piece| piece.iter().all(|byte| *byte == 0))
    }
}

/// The sequence number in a start, behind its tag.
fn sequence_in(start: &[u8]) -> Option<u64> {
    start.get(4..12)?.try_into().ok().map(u64::from_le_bytes)
}

fn walk(path: &Path) -> Result<Rest, StoreError> {
    let walked = || -> io::Result<Rest> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut batches = Batches { reader: BufReader::with_capacity(1 << 20, file), length, at: 0, body: Vec::new() };
        let mut broken = Broken { at: 0, sequence: None, ends: None };
        while let Some(sequence) = batches.next_whole(&mut broken.ends)? {
            broken = Broken { at: batches.at, sequence: Some(sequence), ends: None };
        }
        Rest::read(batches.reader.into_inner(), broken)
    };
    walked().map_err(|error| cannot_read(path, error))
}

struct Batches {
    reader: BufReader<File>,
    length: u64,
    at: u64,
    body: Vec<u8>,
}

impl Batches {
    /// Passes one batch if it is whole, and answers its sequence number.
    fn next_whole(&mut self, ends: &mut Option<u64>) -> io::Result<Option<u64>> {
        self.body.clear();
        let mut start = [0; START_LENGTH];
        if !self.fill(&mut start)? || start[0] != START {
            return Ok(None);
        }
        let count = u32::from_le_bytes([start[1], start[2], start[3], start[4]]);
        for _ in 0..count {
            if !self.item()? {
                return Ok(None);
            }
        }
        let mut end = [0; 13];
        if !self.fill(&mut end)? {
            return Ok(None);
        }
        *ends = Some(self.at);
        let whole = end[0] == END && end[1..9] == xxh3_64(&self.body).to_le_bytes() && end[9..] == TRAILER;
        Ok(sequence_in(&start[1..]).filter(|_| whole))
    }

    fn item(&mut self) -> io::Result<bool> {
        let begins = self.body.len();
        if !self.extend(9)? {
            return Ok(false);
        }
        match self.body[begins] {
            CLEAR => Ok(true),
            ITEM => {
                if !self.extend(12)? {
                    return Ok(false);
                }
                let header = &self.body[begins..];
                let (compression, key) = (header[2], u16::from_le_bytes([header[11], header[12]]));
                let value = u32::from_le_bytes([header[13], header[14], header[15], header[16]]);
                let stored = u32::from_le_bytes([header[17], header[18], header[19], header[20]]);
                let sound = header[1] <= 2 && compression == 0 && value == stored;
                Ok(sound && self.extend(usize::from(key) + stored as usize)?)
            }
            _ => Ok(false),
        }
    }

    fn extend(&mut self, by: usize) -> io::Result<bool> {
        if self.at + by as u64 > self.length {
            return Ok(false);
        }
        let from = self.body.len();
        self.body.resize(from + by, 0);
        self.reader.read_exact(&mut self.body[from..])?;
        self.at += by as u64;
        Ok(true)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        if self.at + bytes.len() as u64 > self.length {
            return Ok(false);
        }
        self.reader.read_exact(bytes)?;
        self.at += bytes.len() as u64;
        Ok(true)
    }
}
