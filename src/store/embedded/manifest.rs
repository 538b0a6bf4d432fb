//! Checks the lists of files that fjall's trees open with, because fjall believes them and asserts what they say.
//!
//! Format of lsm-tree 3 (`version/persist.rs`): `current` names a version (u64) and the xxh3 of its file `v<version>` (u128),
//! little-endian. What the tables and value files hold is checked by lsm-tree itself, block by block, as it is read.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use super::super::error::StoreError;

/// How a list shows that it is damaged.
#[derive(Debug)]
struct NotWhatCurrentNames;

impl fmt::Display for NotWhatCurrentNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the list of files and its checksum in `current` differ")
    }
}

impl std::error::Error for NotWhatCurrentNames {}

/// Checks the list of each tree.
pub(super) fn inspect(engine: &Path) -> Result<(), StoreError> {
    for tree in paths_in(&engine.join("keyspaces"))? {
        let current = tree.join("current");
        // A tree without it was being made when the process ended: fjall makes it anew.
        let Some(named) = read(&current)? else { continue };
        let Some((version, checksum)) = parse(&named) else { return Err(damaged(&current)) };
        let list = tree.join(format!("v{version}"));
        match read(&list)? {
            Some(bytes) if xxh3_128(&bytes) == checksum => {}
            Some(_) => return Err(damaged(&list)),
            None => return Err(damaged(&current)),
        }
    }
    Ok(())
}

fn parse(current: &[u8]) -> Option<(u64, u128)> {
    let (version, rest) = current.split_first_chunk::<8>()?;
    let (checksum, rest) = rest.split_first_chunk::<16>()?;
    (rest == [0]).then(|| (u64::from_le_bytes(*version), u128::from_le_bytes(*checksum)))
}

/// What is in a directory; nothing where that is not there.
pub(super) fn paths_in(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    match std::fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
    .map_err(|error| cannot_read(directory, error))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot_read(path, error)),
    }
}

pub(super) fn cannot_read(path: &Path, error: io::Error) -> StoreError {
    StoreError::CannotRead { what: path.display().to_string(), cause: Arc::new(error) }
}

fn damaged(path: &Path) -> StoreError {
    StoreError::Corrupt { what: path.display().to_string(), cause: Arc::new(NotWhatCurrentNames) }
}
