//! The directory of an embedded store: whose it is, and in which format it was written.
//!
//! ```text
//! data/lock      held while a process has the store; says which
//! data/format    the format's number, readable before anything else is opened; older ones are brought up to date (`upgrade`)
//! data/engine/   fjall's own files
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::error::StoreError;
use super::files::unwritten;
use crate::disk;

/// The format that this program writes.
pub(super) const FORMAT: u32 = 3;

/// The oldest that it reads.
const OLDEST: u32 = 1;

/// What a group of writes has at most.
const PROBE: u64 = 4 << 20;

/// The directory, ours as long as this value lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    format: u32,
    lock: File,
    /// fjall's own directory, once it is open.
    engine: Option<File>,
}

/// Whether a directory is a store, of whatever format.
pub(in super::super) fn is_store(path: &Path) -> bool {
    path.join("format").exists() || path.join("engine").exists()
}

impl Directory {
    /// Takes the directory, making it where it does not exist.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let mut directory = Self::locked(path)?;
        let marker = directory.marker();
        match std::fs::read_to_string(&marker) {
            Ok(text) => directory.format = format_in(&text, path)?,
            Err(error) if error.kind() == ErrorKind::NotFound && !directory.engine().exists() => {
                directory.raise_to(FORMAT)?;
            }
            Err(error) => return Err(cannot(&marker)(error)),
        }
        directory.begin_anew_where_it_never_began().map_err(cannot(&directory.engine()))?;
        Ok(directory)
    }

    /// Takes an empty directory, making it where it does not exist, for a copy that is no store before it is [complete](Self::complete).
    /// One that was taken so and never written to has its lock, and is empty still.
    pub(super) fn fresh(path: &Path) -> Result<Self, StoreError> {
        let not_fresh = || StoreError::NotFresh { path: path.to_owned() };
        match std::fs::read_dir(path) {
            Ok(mut entries) => {
                let is_fresh = entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lock"));
                is_fresh.then_some(()).ok_or_else(not_fresh)?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(path)(error)),
        }
        Self::locked(path)
    }

    fn locked(path: &Path) -> Result<Self, StoreError> {
        disk::make_directory(path).map_err(cannot(path))?;
        let lock = lock(&path.join("lock"), path)?;
        Ok(Self { path: path.to_owned(), format: FORMAT, lock, engine: None })
    }

    /// The format that it was written in when it was opened.
    pub(super) fn format(&self) -> u32 {
        self.format
    }

    /// Says durably that it is of this format from now on.
    pub(super) fn raise_to(&self, format: u32) -> Result<(), StoreError> {
        let marker = self.marker();
        write_whole(&marker, &format!("{format}\n")).map_err(cannot(&marker))
    }

    /// Makes a store of what is in it.
    pub(super) fn complete(&self) -> Result<(), StoreError> {
        self.raise_to(FORMAT)
    }

    /// Sees to it that what was entered in it is on the disk, fjall's own directory and its trees above all; from now on that has its place, too.
    pub(super) fn settle(&mut self) -> Result<(), StoreError> {
        self.engine = Some(File::open(self.engine()).map_err(cannot(&self.engine()))?);
        let sync = |directory: &Path| disk::sync_directory(directory).map_err(cannot(directory));
        sync(&self.trees())?;
        sync(&self.path)
    }

    /// Removes what is in it: it became no store.
    pub(super) fn abandon(&self) {
        // What cannot be removed is no store either, and whoever wants the directory again sees that it is not empty.
        let _ = std::fs::remove_dir_all(self.engine());
        let _ = std::fs::remove_file(self.path.join("lock"));
    }

    fn marker(&self) -> PathBuf {
        self.path.join("format")
    }

    /// Where fjall keeps its files.
    pub(super) fn engine(&self) -> PathBuf {
        self.path.join("engine")
    }

    /// Where it enters its trees.
    fn trees(&self) -> PathBuf {
        self.engine().join("keyspaces")
    }

    /// Clears away what a process left behind that was killed while it made the store: fjall goes on from its version marker
    /// only, and writes that before its first tree.
    fn begin_anew_where_it_never_began(&self) -> io::Result<()> {
        let (engine, trees) = (self.engine(), self.trees());
        let began = engine.join("version").exists() || trees.exists() && std::fs::read_dir(&trees)?.next().is_some();
        if engine.exists() && !began { std::fs::remove_dir_all(engine) } else { Ok(()) }
    }

    /// Whether it is still where it was. Files of a directory that is gone take bytes as if nothing were, and lose them with the
    /// process.
    pub(super) fn in_its_place(&self) -> Result<(), StoreError> {
        let engine = self.engine.as_ref().map(|engine| (engine, self.engine()));
        let is_ours =
            engine.into_iter().chain([(&self.lock, self.path.join("lock"))]).all(|(file, path)| is_at(file, &path));
        let words = "its directory was removed, or another was put in its place";
        is_ours.then_some(()).ok_or_else(|| StoreError::CannotWrite { cause: Arc::new(io::Error::other(words)) })
    }

    /// Whether the disk takes bytes: it is asked for as many as a group of writes has at most.
    pub(super) fn probe(&self) -> Result<(), StoreError> {
        self.in_its_place()?;
        let path = self.path.join("probe");
        let written = File::create(&path).and_then(|mut file| {
            io::copy(&mut io::repeat(1).take(PROBE), &mut file)?;
            file.sync_all()
        });
        let removed = std::fs::remove_file(&path);
        written.and(removed).map_err(unwritten)
    }
}

/// Whether an open file is the one at this path, as far as can be seen.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        (_, Err(error)) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
        (Err(_), Ok(_)) => true,
    }
}

fn cannot(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |error| StoreError::CannotOpen { path, cause: Arc::new(error) }
}

/// The format that a directory says it has, if this program knows it.
fn format_in(text: &str, directory: &Path) -> Result<u32, StoreError> {
    match text.trim().parse::<u32>() {
        Ok(found @ OLDEST..=FORMAT) => Ok(found),
        Ok(found) => Err(StoreError::Format { path: directory.to_owned(), found, known: FORMAT }),
        Err(error) => {
            let what = directory.join("format").display().to_string();
            Err(StoreError::Corrupt { what, cause: Arc::new(error) })
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
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), disk::sync_directory)
}
