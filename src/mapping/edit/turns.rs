//! Whoever changes mapping files has them to itself meanwhile.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::atomic;
use crate::document::Findings;
use crate::secrets::files::{self, words};

/// Whoever changes files of clients holds this one locked. Hidden, so that nobody takes it for a mapping.
const LOCK: &str = ".passbridge.lock";

/// How often a held lock is tried again, 100 ms apart.
const TRIES: u32 = 100;

/// Takes a directory of clients in hand, and those that its files lie in, until the answer is dropped.
///
/// # Errors
/// It cannot be written, or somebody else has one of them; in one sentence.
pub(super) fn take(directory: &Path) -> Result<Vec<File>, String> {
    let path = directory.join(LOCK);
    let lock = open(&path, directory).map_err(|error| {
        let (kind, hint) = (words(&error), hint_of(&error));
        format!("{} cannot be written: {kind}\n  hint: {hint}", path.display())
    })?;
    wait(&lock).map_err(|error| told(&path, &error))?;
    let mut locks = vec![lock];
    for real in real_directories(directory) {
        // Not each may be read by whoever may write it, nor does every file system lock directories.
        let Ok(lock) = File::open(&real) else { continue };
        match wait(&lock) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(told(&real, &error)),
            Ok(()) | Err(_) => locks.push(lock),
        }
    }
    Ok(locks)
}

fn hint_of(error: &io::Error) -> &'static str {
    if error.kind() == ErrorKind::ReadOnlyFilesystem {
        "they lie where nobody here may write, as a volume of a ConfigMap: change them where they come from"
    } else {
        "run this as the owner of the mapping files"
    }
}

fn told(path: &Path, error: &io::Error) -> String {
    if error.kind() == ErrorKind::WouldBlock {
        return "somebody else is changing the mapping files\n  hint: try again when that is done".to_owned();
    }
    format!("{}: {}", path.display(), words(error))
}

fn wait(lock: &File) -> io::Result<()> {
    for _ in 0..TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(Duration::from_millis(100)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(ErrorKind::WouldBlock.into())
}

/// The directories that files of clients really lie in, this one too: by symbolic links other mappings may have the same files. In one
/// order for everybody, so that no two wait for each other.
fn real_directories(directory: &Path) -> Vec<PathBuf> {
    let files = files::list(directory, &Findings::new()).unwrap_or_default();
    let linked = files.into_iter().filter(|path| path.is_symlink()).filter_map(|path| fs::canonicalize(path).ok());
    let linked = linked.filter_map(|real| real.parent().map(Path::to_owned));
    let mut real: Vec<PathBuf> = linked.chain(fs::canonicalize(directory)).collect();
    real.sort();
    real.dedup();
    real
}

/// The file to be locked, which is made where there is none. Whoever may read it may lock it.
fn open(path: &Path, directory: &Path) -> io::Result<File> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(made) => {
            atomic::share(&made, directory);
            Ok(made)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let opened = OpenOptions::new().write(true).open(path);
            let lock = opened.or_else(|error| File::open(path).map_err(|_| error))?;
            // Whoever made it may have been killed before this.
            if is_ours(&lock, path) {
                atomic::share(&lock, directory);
            }
            Ok(lock)
        }
        Err(error) => Err(error),
    }
}

/// Whether what was opened is an empty file that has this one name: by a link of somebody's, another one would become theirs.
fn is_ours(lock: &File, path: &Path) -> bool {
    let (Ok(opened), Ok(named)) = (lock.metadata(), path.symlink_metadata()) else { return false };
    let is_it = (opened.dev(), opened.ino()) == (named.dev(), named.ino());
    is_it && opened.is_file() && opened.nlink() == 1 && opened.len() == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_lock_that_whoever_made_it_was_killed_before_sharing_is_shared_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(LOCK);
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
        let narrow = |path: &Path, text: &str| {
            fs::write(path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o2775)).unwrap();
        narrow(&path, "");
        drop(take(directory.path()).unwrap());
        assert_eq!(mode(&path), 0o664);
        // Somebody else's file, by whatever way it came to this name.
        let other = directory.path().join("other");
        for text in ["", "a secret"] {
            narrow(&other, text);
            fs::remove_file(&path).unwrap();
            symlink(&other, &path).unwrap();
            drop(take(directory.path()).unwrap());
            fs::remove_file(&path).unwrap();
            fs::hard_link(&other, &path).unwrap();
            drop(take(directory.path()).unwrap());
            assert_eq!(mode(&other), 0o600);
        }
        fs::remove_file(&path).unwrap();
        fs::rename(&other, &path).unwrap();
        drop(take(directory.path()).unwrap());
        assert_eq!(mode(&path), 0o600);
    }
}
