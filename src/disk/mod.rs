//! What shall be on the disk, not in memory alone.
//!
//! Must not: know what the files hold.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use rustix::fs::statvfs;

/// So much is read and written at once.
const PIECE: usize = 1 << 20;

/// Makes a directory and those above it that are not there; each is on the disk where it is entered.
///
/// # Errors
/// One cannot be made, or something else is in its place.
pub fn make_directory(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|above| !or_here(above).exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        // Of a file in its place: "File exists".
        if error.kind() == ErrorKind::AlreadyExists { ErrorKind::NotADirectory.into() } else { error }
    })?;
    missing.into_iter().filter_map(Path::parent).try_for_each(sync_directory)
}

/// Sees to it that what was entered in a directory is on the disk.
///
/// # Errors
/// The disk does not say so.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(or_here(directory))?.sync_all()
}

/// A relative path begins in the directory without a name.
fn or_here(directory: &Path) -> &Path {
    if directory.as_os_str().is_empty() { Path::new(".") } else { directory }
}

/// Puts a copy of the first bytes of a file in its place, for what can be read of a file need not be on the disk: when a sync fails, the kernel keeps the
/// bytes in memory, takes them for written, and never tries again. Whoever goes on behind them has a hole on the disk where they are. Where there is no room
/// for a copy the file is cut off there, and no more: who starts again on a disk that is nearly full shall be served what is kept.
///
/// # Errors
/// The disk does not take the copy; the file is as it was.
pub fn write_anew(path: &Path, length: u64) -> io::Result<()> {
    if room(path)? < length {
        let file = OpenOptions::new().write(true).open(path)?;
        return file.set_len(length).and_then(|()| file.sync_all());
    }
    let draft = path.with_extension("new");
    copy(path, length, &draft).inspect_err(|_| drop(fs::remove_file(&draft)))?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Bytes that the disk below this path has left for us.
fn room(path: &Path) -> io::Result<u64> {
    let disk = statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Through memory of ours, which `io::copy` spares: a file system may have the copy share what is on the disk.
fn copy(path: &Path, length: u64, draft: &Path) -> io::Result<()> {
    let from = File::open(path)?;
    let before = from.metadata()?;
    let mut into = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    // Whoever reads it by its group goes on.
    let _stays_as_made = fchown(&into, None, Some(before.gid()));
    into.set_permissions(before.permissions())?;
    let (mut from, mut piece) = (from.take(length), vec![0; PIECE]);
    loop {
        match from.read(&mut piece)? {
            0 => return into.sync_all(),
            read => into.write_all(&piece[..read])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_is_written_anew_is_another_one_with_the_same_first_bytes_for_the_same_readers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.jnl");
        let bytes: Vec<u8> = (0..251).cycle().take(3 * PIECE).collect();
        fs::write(&path, &bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let before = File::open(&path).unwrap().metadata().unwrap();
        // One that was killed has left a longer draft.
        fs::write(directory.path().join("1.new"), [&bytes[..], b"more"].concat()).unwrap();

        let length = 2 * PIECE + 7;
        write_anew(&path, length as u64).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_ne!(after.ino(), before.ino());
        assert_eq!(after.mode() & 0o777, 0o640);
        assert!(fs::read(&path).unwrap() == bytes[..length]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_file_whose_copy_cannot_be_made_is_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.jnl");
        fs::write(&path, "kept").unwrap();
        fs::create_dir(directory.path().join("1.new")).unwrap();
        assert_eq!(write_anew(&path, 4).unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }
}
