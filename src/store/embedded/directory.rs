//! The directory of an embedded store: whose it is, and in which format it was written.
//!
//!     data/lock      held while a process has the store; says which
//!     data/format    the format's number, readable before anything else is opened
//!     data/engine/   fjall's own files

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::error::StoreError;

/// The format that this program writes.
pub(super) const FORMAT: u32 = 1;

const PROBE: usize = 4 << 20;

/// The directory, ours as long as this value lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Takes the directory, making it where it does not exist.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let cannot = |path: &Path| {
            let path = path.to_owned();
            move |error| StoreError::CannotOpen { path, cause: Arc::new(error) }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(cannot(path))?;
        let lock = lock(&path.join("lock"), path)?;
        let directory = Self { path: path.to_owned(), _lock: lock };
        let marker = path.join("format");
        match std::fs::read_to_string(&marker) {
            Ok(text) => directory.check_format(&text)?,
            Err(error) if error.kind() == ErrorKind::NotFound && !directory.engine().exists() => {
                write_whole(&marker, &format!("{FORMAT}\n")).map_err(cannot(&marker))?;
            }
            Err(error) => return Err(cannot(&marker)(error)),
        }
        directory.begin_anew_where_it_never_began().map_err(cannot(&directory.engine()))?;
        Ok(directory)
    }

    /// Where fjall keeps its files.
    pub(super) fn engine(&self) -> PathBuf {
        self.path.join("engine")
    }

    /// Clears away what a process left behind that was killed while it made the store: fjall goes on from its version marker
    /// only, and writes that before its first tree.
    fn begin_anew_where_it_never_began(&self) -> std::io::Result<()> {
        let engine = self.engine();
        let trees = engine.join("keyspaces");
        let began = engine.join("version").exists() || trees.exists() && std::fs::read_dir(&trees)?.next().is_some();
        if engine.exists() && !began { std::fs::remove_dir_all(engine) } else { Ok(()) }
    }

    /// Whether the disk takes bytes: it is asked for as many as a group of writes has at most.
    pub(super) fn probe(&self) -> Result<(), StoreError> {
        let path = self.path.join("probe");
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&vec![1; PROBE])?;
            file.sync_all()
        });
        let removed = std::fs::remove_file(&path);
        written.and(removed).map_err(|error| StoreError::CannotWrite { cause: Arc::new(error) })
    }

    fn check_format(&self, text: &str) -> Result<(), StoreError> {
        match text.trim().parse::<u32>() {
            Ok(FORMAT) => Ok(()),
            Ok(found) => Err(StoreError::Format { path: self.path.clone(), found, known: FORMAT }),
            Err(error) => Err(StoreError::Corrupt {
                what: self.path.join("format").display().to_string(),
                cause: Arc::new(error),
            }),
        }
    }
}

fn lock(file: &Path, directory: &Path) -> Result<File, StoreError> {
    let cannot = |error| StoreError::CannotOpen { path: file.to_owned(), cause: Arc::new(error) };
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(file)
        .map_err(cannot)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let read = lock.read_to_string(&mut holder).is_ok();
            return Err(StoreError::Busy {
                path: directory.to_owned(),
                holder: read.then(|| holder.trim().parse().ok()).flatten(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(cannot(error)),
    }
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .map_err(cannot)?;
    Ok(lock)
}

/// Writes a small file whole or not at all.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
