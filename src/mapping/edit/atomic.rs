//! Writes a file whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, fremovexattr, fsetxattr, getxattr, listxattr};

use crate::document::Findings;
use crate::secrets::files::{self, words};

/// Who else may do what with a file (acl(5)), under this name among its attributes (xattr(7)).
const ACCESS_LIST: &[u8] = b"system.posix_acl_access";

/// No attribute is longer, nor all their names together.
const LONGEST_ATTRIBUTE: usize = 64 * 1024;

/// Puts `after` where `before` was (`None`: no file), for whom the file was before: with its owner, mode and attributes. A new one
/// is for whom the files beside it are. A symbolic link stays one: what it leads to is written. Answers what may become of it,
/// where the name is not sure to survive a crash.
///
/// # Errors
/// What is in the way, to be put behind the file's name.
pub(super) fn write(path: &Path, before: Option<&str>, after: &str) -> Result<Option<String>, String> {
    let path = behind(path, before.is_some())?;
    let directory = path.parent().ok_or("has no directory")?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = directory.join(format!(".{name}.new"));
    // Whoever is here holds the lock: this was left by one that was killed.
    let _mostly_none = fs::remove_file(&new);
    let written = replace(&path, &new, before, after);
    if written.is_err() {
        let _never_made = fs::remove_file(&new);
    }
    written?;
    Ok(unsure(directory))
}

/// Makes the name itself survive a crash; a sentence where that cannot be had, as in a directory that may be written and not read.
fn unsure(directory: &Path) -> Option<String> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    let told = |error| format!("it is written, but may be gone after a power cut: {}", words(&error));
    synced.err().map(told)
}

/// The same of a file that was written before: whoever wrote it may have been told so, or killed before.
pub fn still_unsure(path: &Path) -> Option<String> {
    let path = behind(path, true).ok()?;
    unsure(path.parent()?)
}

/// The file itself, behind symbolic links.
fn behind(path: &Path, there: bool) -> Result<PathBuf, String> {
    if !there {
        return Ok(path.to_owned());
    }
    let real = fs::canonicalize(path).map_err(|error| unwritable(&error))?;
    // `..data` and `..2026_11_24...`: swapped as a whole at the next change of the source.
    if real.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"..")) {
        let hint = "change the ConfigMap or Secret that it comes from";
        return Err(format!("is mounted by Kubernetes, which would undo a change\n  hint: {hint}"));
    }
    Ok(real)
}

fn replace(path: &Path, new: &Path, before: Option<&str>, after: &str) -> Result<(), String> {
    let usual = usual(new).map_err(|error| unwritable(&error))?;
    let mut file = narrow(new).map_err(|error| unwritable(&error))?;
    // Before there is anything to be read in it.
    if before.is_some() {
        keep(&file, path)?;
    } else {
        join(&file, path, usual);
    }
    file.write_all(after.as_bytes()).map_err(|error| unwritable(&error))?;
    file.sync_all().map_err(|error| unwritable(&error))?;
    // An editor knows nothing of our lock.
    let unchanged = match before {
        Some(before) => fs::read(path).is_ok_and(|now| now == before.as_bytes()),
        None => path.symlink_metadata().is_err(),
    };
    if !unchanged {
        return Err("was changed by somebody else meanwhile\n  hint: run the command again".to_owned());
    }
    fs::rename(new, path).map_err(|error| {
        if error.kind() == io::ErrorKind::ResourceBusy {
            let hint = "mount the directory that it is in, in place of the file";
            return format!("is mounted by itself, so that nothing can take its place\n  hint: {hint}");
        }
        unwritable(&error)
    })
}

/// A file that nobody else opens before it has its owner and mode: whoever has it open then reads it whatever its mode becomes.
fn narrow(new: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)
}

/// The mode that a file gets here of which nothing is said: by the umask, or by an access list that the directory has for what is made in it.
fn usual(new: &Path) -> io::Result<fs::Permissions> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o666).open(new)?;
    let permissions = made.metadata().map(|made| made.permissions());
    fs::remove_file(new)?;
    permissions
}

/// Makes a file the one whose place it takes, for everybody: by owner, attributes and mode, in this order, so that it is never
/// wider meanwhile.
fn keep(file: &File, old: &Path) -> Result<(), String> {
    like(file, old, |name| name.starts_with(b"system.") || name.starts_with(b"user.") || name == b"security.selinux")
}

/// Makes a new file one for whom its neighbours are, as far as that is allowed: whoever runs this need not be who reads them.
fn join(file: &File, path: &Path, usual: fs::Permissions) {
    let Some(directory) = path.parent() else { return };
    let neighbours = files::list(directory, &Findings::new()).unwrap_or_default();
    if let Some(neighbour) = neighbours.iter().find(|neighbour| neighbour.is_file()) {
        let _stays_as_made = like(file, neighbour, |name| name == ACCESS_LIST);
    } else if let Ok(directory) = fs::metadata(directory) {
        let _stays_as_made = fchown(file, Some(directory.uid()), Some(directory.gid()));
        let _stays_as_made = file.set_permissions(usual);
    }
}

/// Gives a file the owner of another one, those of its attributes that are wanted, and its mode.
fn like(file: &File, other: &Path, is_wanted: impl Fn(&[u8]) -> bool) -> Result<(), String> {
    let other_is = fs::metadata(other).map_err(|error| unwritable(&error))?;
    let made = file.metadata().map_err(|error| unwritable(&error))?;
    let (uid, gid) = (other_is.uid(), other_is.gid());
    if (made.uid(), made.gid()) != (uid, gid) {
        fchown(file, Some(uid), Some(gid)).map_err(|_| {
            format!("belongs to {uid}:{gid}, and would not after the change\n  hint: run this as that user, or as root")
        })?;
    }
    attributes(file, other, is_wanted)?;
    let permissions = fs::Permissions::from_mode(other_is.mode() & 0o7777);
    file.set_permissions(permissions).map_err(|error| unwritable(&error))
}

/// Gives a file attributes of another one. Whom an access list lets in must not change; the others are kept where they can be.
fn attributes(file: &File, other: &Path, is_wanted: impl Fn(&[u8]) -> bool) -> Result<(), String> {
    // A directory may have one for what is made in it.
    let _mostly_none = fremovexattr(file, ACCESS_LIST);
    let mut names = vec![0; LONGEST_ATTRIBUTE];
    // Not every file system has attributes.
    let length = listxattr(other, &mut names[..]).unwrap_or_default();
    names.truncate(length);
    for name in names.split(|byte| *byte == 0).filter(|name| is_wanted(name)) {
        let mut value = vec![0; LONGEST_ATTRIBUTE];
        let kept = getxattr(other, name, &mut value[..]).and_then(|length| {
            value.truncate(length);
            fsetxattr(file, name, &value, XattrFlags::empty())
        });
        if let (Err(error), true) = (kept, name.starts_with(b"system.")) {
            let (name, words) = (String::from_utf8_lossy(name), words(&error.into()));
            let hint = "hint: run this as the owner of the file, or as root";
            return Err(format!("has an access list that would be lost ({name}: {words})\n  {hint}"));
        }
    }
    Ok(())
}

/// Makes a new file one that whoever may write its directory may open: under a narrow umask it would keep them out.
pub(super) fn share(file: &File, directory: &Path) {
    let Ok(directory) = fs::metadata(directory) else { return };
    let _stays_as_made = fchown(file, Some(directory.uid()), Some(directory.gid()));
    let _stays_as_made = file.set_permissions(fs::Permissions::from_mode(directory.mode() & 0o666));
}

fn unwritable(error: &io::Error) -> String {
    let hint = "run this as a user that may write there, on a disk that takes writes";
    format!("cannot be written: {}\n  hint: {hint}", words(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_somebody_else_has_changed_meanwhile_stays_as_they_left_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.toml");
        let left = |before: Option<&str>| {
            fs::write(&path, "theirs").unwrap();
            let refused = write(&path, before, "ours").unwrap_err();
            assert_eq!(refused, "was changed by somebody else meanwhile\n  hint: run the command again");
            assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing of ours is left beside it");
        };
        left(Some("as it was read"));
        left(None);
        assert_eq!(write(&path, Some("theirs"), "ours"), Ok(None));
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
    }

    /// What `setfacl -m u:65534:r` makes of a file of mode 0600, in the system's form: a version, then tag, rights and id of each.
    fn one_more_reader() -> Vec<u8> {
        let nobody = u32::MAX;
        let entries: [(u16, u16, u32); 5] =
            [(0x01, 6, nobody), (0x02, 4, 65_534), (0x04, 0, nobody), (0x10, 4, nobody), (0x20, 0, nobody)];
        let entry = |(tag, rights, id): (u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        [2_u32.to_le_bytes().to_vec(), entries.map(entry).concat()].concat()
    }

    fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; LONGEST_ATTRIBUTE];
        let length = getxattr(path, name, &mut value[..]).ok()?;
        value.truncate(length);
        Some(value)
    }

    fn set(path: &Path, name: &str, value: &[u8]) {
        rustix::fs::setxattr(path, name, value, XattrFlags::empty()).unwrap();
    }

    const LIST: &str = "system.posix_acl_access";

    #[test]
    fn who_could_read_a_file_can_read_it_after_a_change_and_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.toml");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        set(&path, LIST, &one_more_reader());
        set(&path, "user.ticket", b"4711");
        let mode = path.metadata().unwrap().mode();
        write(&path, Some("old"), "new").unwrap();
        assert_eq!(attribute(&path, LIST), Some(one_more_reader()));
        assert_eq!(attribute(&path, "user.ticket"), Some(b"4711".to_vec()));
        assert_eq!((path.metadata().unwrap().mode(), fs::read_to_string(&path).unwrap()), (mode, "new".to_owned()));
    }

    #[test]
    fn a_file_without_an_access_list_gets_none_of_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.toml");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        set(directory.path(), "system.posix_acl_default", &one_more_reader());
        write(&path, Some("old"), "new").unwrap();
        assert_eq!((attribute(&path, LIST), path.metadata().unwrap().mode() & 0o7777), (None, 0o640));
    }

    #[test]
    fn a_new_file_is_for_whom_the_files_beside_it_are() {
        let directory = tempfile::tempdir().unwrap();
        let (first, new) = (directory.path().join("all.toml"), directory.path().join("added.toml"));
        fs::write(&first, "").unwrap();
        // No umask gives this.
        fs::set_permissions(&first, fs::Permissions::from_mode(0o626)).unwrap();
        set(&first, LIST, &one_more_reader());
        let mode = first.metadata().unwrap().mode();
        set(&first, "user.ticket", b"4711");
        write(&new, None, "new").unwrap();
        assert_eq!((attribute(&new, LIST), new.metadata().unwrap().mode()), (Some(one_more_reader()), mode));
        assert_eq!(attribute(&new, "user.ticket"), None, "that is about the other one");
    }

    #[test]
    fn the_first_file_of_a_directory_has_the_mode_that_any_would_get_there() {
        let directory = tempfile::tempdir().unwrap();
        let (new, any) = (directory.path().join("added.toml"), directory.path().join("any"));
        write(&new, None, "new").unwrap();
        File::create(&any).unwrap();
        assert_eq!(new.metadata().unwrap().mode(), any.metadata().unwrap().mode());
    }

    /// Whoever opened it before it had its mode would read it after.
    #[test]
    fn nobody_else_can_open_a_file_before_it_has_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.toml");
        let new = directory.path().join(".all.toml.new");
        usual(&new).unwrap();
        let made = narrow(&new).unwrap();
        assert_eq!(made.metadata().unwrap().mode() & 0o7777, 0o600);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        join(&made, &directory.path().join("added.toml"), fs::Permissions::from_mode(0o666));
        assert_eq!(made.metadata().unwrap().mode() & 0o7777, 0o640, "that of its neighbour");
    }

    #[test]
    fn what_a_killed_command_left_beside_a_file_stops_no_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.toml");
        fs::write(&path, "old").unwrap();
        fs::write(directory.path().join(".all.toml.new"), "half of i").unwrap();
        write(&path, Some("old"), "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left");
    }

    #[test]
    fn a_directory_that_cannot_be_synced_is_a_note_and_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(unsure(directory.path()), None);
        let told = unsure(&directory.path().join("gone")).unwrap();
        assert_eq!(told, "it is written, but may be gone after a power cut: No such file or directory");
    }
}
