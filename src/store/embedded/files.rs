//! fjall, opened as this store needs it. Nothing else in the bridge knows that it exists.

use std::cell::OnceCell;
use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fjall::config::{CompressionPolicy, HashRatioPolicy};
use fjall::{
    CompressionType, Database, Error, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, LsmError, OwnedWriteBatch,
    PersistMode, Readable, Slice, Snapshot,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::error::{Cause, StoreError};
use super::super::record;
use super::{journal, keys, manifest};
use crate::domain::opaque::Fingerprint;
use crate::lifecycle::within;

/// Values from this size on lie beside the tree, so that compaction does not move them: JWTs.
const SEPARATE_FROM: u32 = 256;

/// What is written to memory and journal before it becomes a sorted file; the trees fill at the same pace. Bounds memory, and
/// with the journals the time that opening takes.
const ACCESS_MEMTABLE: u64 = 16 << 20;
const OTHERS_MEMTABLE: u64 = 10 << 20;
const JOURNALS: u64 = 64 << 20;

/// A flush of one tree is waited for no longer.
const FLUSHING: Duration = Duration::from_secs(2);

/// One entry of a batch: a key, and its value or nothing where it is removed. Made on the caller's thread, in the shape in
/// which fjall keeps it.
#[derive(Debug)]
pub(super) struct Entry {
    key: Slice,
    value: Option<Slice>,
}

impl Entry {
    /// A record to be written.
    pub(super) fn record<T: Serialize>(key: &[u8], value: &T) -> Self {
        Self { key: key.into(), value: Some(record::encode(key, value).into()) }
    }

    /// The access UUID whose record this is, and its bytes or nothing where it is removed.
    pub(super) fn of_access(&self) -> Option<(Fingerprint, Option<impl AsRef<[u8]> + use<>>)> {
        keys::changed_access(&self.key).map(|fingerprint| (fingerprint, self.value.clone()))
    }

    /// A key to be removed.
    pub(super) fn remove(key: &[u8]) -> Self {
        Self { key: key.into(), value: None }
    }
}

/// One of the two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Access,
    Others,
}

impl Tree {
    pub(super) const ALL: [Self; 2] = [Self::Access, Self::Others];
}

/// What a tree takes on the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) bytes: u64,
    /// Those of them that fjall knows to be of no use.
    pub(super) stale: u64,
}

/// A key, and what was read under it.
pub(super) type Read<T> = (Slice, Result<T, StoreError>);

/// The open files.
pub(super) struct Files {
    database: Database,
    access: Keyspace,
    others: Keyspace,
    /// Bytes of a torn last write, cut off when the files were opened.
    torn_bytes: u64,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Files")
    }
}

impl Files {
    pub(super) fn open(path: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let what = || path.display().to_string();
        manifest::inspect(path)?;
        let torn_bytes = journal::inspect(path)?;
        // fjall asserts what it reads of itself; a damaged store is an error to us, never the end of the process.
        let opened = catch_unwind(AssertUnwindSafe(|| -> fjall::Result<Self> {
            let database = Database::builder(path)
                .cache_size(cache_bytes)
                .max_cached_files(Some(256))
                .worker_threads(1) // a second one would spin while the first compacts
                .max_journaling_size(JOURNALS)
                .journal_compression(CompressionType::None)
                .open()?;
            let access = database.keyspace("access", access_options)?;
            let others = database.keyspace("others", options)?;
            Ok(Self { database, access, others, torn_bytes })
        }));
        match opened {
            // What opens a new store writes it.
            Ok(opened) => {
                opened.map_err(|error| if is_full(&error) { not_written(error) } else { not_read(error, what()) })
            }
            Err(_panic) => Err(StoreError::Corrupt { what: what(), cause: Arc::new(Error::Unrecoverable) }),
        }
    }

    /// Access records have a tree of their own: it is a fraction of all, so that looking through it stays short.
    fn tree(&self, key: &[u8]) -> &Keyspace {
        if key.first() == Some(&keys::ACCESS) { &self.access } else { &self.others }
    }

    /// The record under a key.
    pub(super) fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.bytes(key)?.map(|bytes| decode(key, &bytes)).transpose()
    }

    /// The bytes under a key.
    pub(super) fn bytes(&self, key: &[u8]) -> Result<Option<Slice>, StoreError> {
        self.tree(key).get(key).map_err(|error| not_read(error, keys::describe(key)))
    }

    /// The keys of a range and the bytes under them, in order. What is wrong with one value stands in its place; what is wrong
    /// with the tree itself is an error of the range.
    pub(super) fn pairs(&self, range: Range<Vec<u8>>) -> impl Iterator<Item = Result<Read<Slice>, StoreError>> {
        self.tree(&range.start).range(range).map(|pair| {
            let found = OnceCell::new();
            // Asked once the tree has given the key: whatever fails later is about the value, which lies beside the tree.
            let read = pair.into_inner_if(|key| found.set(key.clone()).is_ok());
            match (found.into_inner(), read) {
                (_, Ok((key, value))) => Ok((key, Ok(value.unwrap_or_default()))),
                (Some(key), Err(error)) => {
                    let error = not_read(error, keys::describe(&key));
                    Ok((key, Err(error)))
                }
                (None, Err(error)) => Err(not_read(error, "a range of records".to_owned())),
            }
        })
    }

    /// The records of a range, in order.
    pub(super) fn records<T: DeserializeOwned>(
        &self,
        range: Range<Vec<u8>>,
    ) -> impl Iterator<Item = Result<Read<T>, StoreError>> {
        self.pairs(range).map(|pair| {
            let (key, bytes) = pair?;
            let record = bytes.and_then(|bytes| decode(&key, &bytes));
            Ok((key, record))
        })
    }

    /// Writes all entries or none; when it answers, they are durable.
    pub(super) fn write(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        let mut batch = OwnedWriteBatch::with_capacity(self.database.clone(), entries.len());
        batch = batch.durability(Some(PersistMode::SyncAll));
        for Entry { key, value } in entries {
            match value {
                Some(value) => batch.insert(self.tree(&key), key, value),
                None => batch.remove(self.tree(&key), key),
            }
        }
        batch.commit().map_err(not_written)
    }

    /// Moves what is only in journal and memory into sorted files, so that the next opening has nothing to read again.
    pub(super) fn flush(&self) {
        for tree in [&self.access, &self.others] {
            // Bounded: on a disk that refuses, the journal still has everything.
            let _is_flushed = tree.rotate_memtable().is_ok() && within(FLUSHING, || tree.sealed_memtable_count() == 0);
        }
    }

    /// All records as they are this moment, whatever is written from now on.
    pub(super) fn frozen(&self) -> Frozen {
        Frozen(self.database.snapshot())
    }

    const fn keyspace(&self, tree: Tree) -> &Keyspace {
        match tree {
            Tree::Access => &self.access,
            Tree::Others => &self.others,
        }
    }

    pub(super) fn stored(&self, tree: Tree) -> Stored {
        let keyspace = self.keyspace(tree);
        Stored { bytes: keyspace.disk_space(), stale: keyspace.fragmented_blob_bytes() }
    }

    /// Merges all sorted files of a tree, and takes along what is left in its oldest stale value files.
    pub(super) fn merge_whole(&self, tree: Tree) -> Result<(), StoreError> {
        self.keyspace(tree).major_compact().map_err(not_written)
    }

    pub(super) fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or_default()
    }

    pub(super) fn cache_bytes(&self) -> u64 {
        self.database.cache_size()
    }
}

/// All records as they were one moment.
pub(super) struct Frozen(Snapshot);

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Frozen")
    }
}

impl Frozen {
    /// Writes them into files that are empty, as sorted files at once; each is shown to `look` before, which may end it.
    pub(super) fn pour(
        &self,
        from: &Files,
        into: &Files,
        mut look: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for (from, into) in [(&from.access, &into.access), (&from.others, &into.others)] {
            let mut sorted = into.start_ingestion().map_err(not_written)?;
            for pair in self.0.iter(from) {
                let (key, bytes) = pair.into_inner().map_err(|error| not_read(error, "a record".to_owned()))?;
                look(&key, &bytes)?;
                sorted.write(key, bytes).map_err(not_written)?;
            }
            sorted.finish().map_err(not_written)?;
        }
        Ok(())
    }
}

/// The tree of access records: a look-up there is the hot path, and nearly all of them hit.
fn access_options() -> KeyspaceCreateOptions {
    options()
        .max_memtable_size(ACCESS_MEMTABLE)
        .data_block_hash_ratio_policy(HashRatioPolicy::all(1.33))
        .expect_point_read_hits(true)
}

fn options() -> KeyspaceCreateOptions {
    // Fingerprints are random and JWTs are sealed: nothing here can be compressed.
    let beside = KvSeparationOptions::default().separation_threshold(SEPARATE_FROM).compression(CompressionType::None);
    KeyspaceCreateOptions::default()
        .max_memtable_size(OTHERS_MEMTABLE)
        .data_block_compression_policy(CompressionPolicy::disabled())
        .with_kv_separation(Some(beside))
}

fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    record::decode(key, bytes)
        .map_err(|damage| StoreError::Corrupt { what: keys::describe(key), cause: Arc::new(damage) })
}

fn not_read(error: Error, what: String) -> StoreError {
    match io_kind(&error) {
        Some(_) => StoreError::CannotRead { what, cause: Arc::new(error) },
        None => StoreError::Corrupt { what, cause: Arc::new(error) },
    }
}

fn not_written(error: Error) -> StoreError {
    if matches!(error, Error::Poisoned) {
        return StoreError::Refusing { cause: None };
    }
    let full = is_full(&error);
    lacking(full, Arc::new(error))
}

/// A file that could not be written.
pub(super) fn unwritten(error: std::io::Error) -> StoreError {
    let full = is_no_room(error.kind());
    lacking(full, Arc::new(error))
}

const fn lacking(room: bool, cause: Cause) -> StoreError {
    if room { StoreError::Full { cause } } else { StoreError::CannotWrite { cause } }
}

fn is_full(error: &Error) -> bool {
    io_kind(error).is_some_and(is_no_room)
}

/// Whether room is what was lacking.
const fn is_no_room(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "fjall's enums are open: whatever else they say is not the medium's"
)]
fn io_kind(error: &Error) -> Option<ErrorKind> {
    match error {
        Error::Io(error) | Error::Storage(LsmError::Io(error)) => Some(error.kind()),
        _ => None,
    }
}
