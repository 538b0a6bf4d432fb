//! Files and directories that a load rests on: read within a bound, and stamped, so that a later change shows.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::document::{Findings, Stamp};

/// How a path looks now. Follows symbolic links, so that a swapped one shows.
#[must_use]
pub fn look(path: &Path) -> Stamp {
    match fs::metadata(path) {
        Err(_) => Stamp::Absent,
        Ok(metadata) if metadata.is_dir() => match names(path) {
            Ok(names) => Stamp::Directory(names),
            Err(_) => Stamp::Absent,
        },
        Ok(metadata) => Stamp::of(&metadata),
    }
}

/// Reads a file that is no longer than `most` bytes.
///
/// # Errors
/// What is in the way, to be put behind the file's name.
pub fn bytes(path: &Path, most: u64, findings: &Findings) -> Result<Vec<u8>, String> {
    let metadata = fs::metadata(path);
    findings.rests_on(path, metadata.as_ref().map_or(Stamp::Absent, Stamp::of));
    match metadata {
        Ok(metadata) if metadata.len() > most => Err(format!("is longer than {most} bytes")),
        Ok(metadata) if metadata.is_dir() => Err("is a directory".to_owned()),
        Ok(_) => fs::read(path).map_err(|error| unreadable(&error)),
        Err(error) => Err(unreadable(&error)),
    }
}

/// The `.toml` files of a directory, by name.
///
/// # Errors
/// The directory cannot be read.
pub fn list(directory: &Path, findings: &Findings) -> io::Result<Vec<PathBuf>> {
    let names = names(directory);
    findings.rests_on(directory, names.as_ref().map_or(Stamp::Absent, |names| Stamp::Directory(names.clone())));
    Ok(names?.into_iter().map(|name| directory.join(name)).collect())
}

/// The system's words, without its number.
pub(super) fn unreadable(error: &io::Error) -> String {
    let words = error.to_string();
    format!("cannot be read: {}", words.split(" (os error").next().unwrap_or(&words))
}

/// Hidden files, as editors and Kubernetes leave them, are none of ours.
fn names(directory: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let ours = Path::new(&name).extension() == Some(OsStr::new("toml"));
        if ours && !name.as_encoded_bytes().starts_with(b".") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
