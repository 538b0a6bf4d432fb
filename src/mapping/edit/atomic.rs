//! Writes a file whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::secrets::files::words;

/// Puts `after` where `before` was (`None`: no file), with the mode and the owner that the file had. A symbolic link stays
/// one: what it leads to is written.
///
/// # Errors
/// What is in the way, to be put behind the file's name.
pub(super) fn write(path: &Path, before: Option<&str>, after: &str) -> Result<(), String> {
    let path = behind(path, before.is_some())?;
    let directory = path.parent().ok_or("has no directory")?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = directory.join(format!(".{name}.{}.new", std::process::id()));
    let written = replace(&path, &new, before, after);
    if written.is_err() {
        let _never_made = fs::remove_file(&new);
    }
    written?;
    // So that the name itself survives a crash.
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| unwritable(&error))
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
    let old = before.map(|_| fs::metadata(path)).transpose().map_err(|error| unwritable(&error))?;
    // Narrow until it has its owner.
    let mode = if old.is_some() { 0o600 } else { 0o666 };
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(new);
    let mut file = opened.map_err(|error| unwritable(&error))?;
    file.write_all(after.as_bytes()).map_err(|error| unwritable(&error))?;
    if let Some(old) = &old {
        let made = file.metadata().map_err(|error| unwritable(&error))?;
        if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid())).map_err(|_| {
                let (uid, gid) = (old.uid(), old.gid());
                format!(
                    "belongs to {uid}:{gid}, and would not after the change\n  hint: run this as that user, or as root"
                )
            })?;
        }
        let permissions = fs::Permissions::from_mode(old.mode() & 0o7777);
        file.set_permissions(permissions).map_err(|error| unwritable(&error))?;
    }
    file.sync_all().map_err(|error| unwritable(&error))?;
    // An editor knows nothing of our lock.
    let unchanged = match before {
        Some(before) => fs::read(path).is_ok_and(|now| now == before.as_bytes()),
        None => path.symlink_metadata().is_err(),
    };
    if !unchanged {
        return Err("was changed by somebody else meanwhile\n  hint: run the command again".to_owned());
    }
    fs::rename(new, path).map_err(|error| unwritable(&error))
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
        write(&path, Some("theirs"), "ours").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
    }
}
