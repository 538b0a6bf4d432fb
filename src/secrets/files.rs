//! Files and directories that a load rests on: read within a bound, and stamped, so that a later change shows.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::document::{Findings, Stamp};

/// How a path looks now. Follows symbolic links, so that a swapped one shows.
#[must_use]
pub fn look(path: &Path) -> Stamp {
    seen(path, &fs::metadata(path))
}

fn seen(path: &Path, metadata: &io::Result<Metadata>) -> Stamp {
    match metadata {
        Ok(metadata) if metadata.is_dir() => names(path).map_or(Stamp::Absent, Stamp::Directory),
        Ok(metadata) => Stamp::of(metadata),
        Err(_) => Stamp::Absent,
    }
}

/// Why a file is of no use, to be put behind its name; and what to do, where it can be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfit {
    /// `is a directory`
    pub reason: String,
    /// `None`: its bytes cannot be had, and what helps then is for its reader to say.
    pub hint: Option<&'static str>,
}

/// Reads a text that is no longer than `most` bytes.
///
/// # Errors
/// What is in the way.
pub fn text(path: &Path, most: u64, findings: &Findings) -> Result<String, Unfit> {
    let unfit = |reason: &str, hint| Unfit { reason: reason.to_owned(), hint: Some(hint) };
    let bytes = bytes(path, most, findings).map_err(|reason| Unfit { reason, hint: None })?;
    // UTF-16, or what a crashed machine left of a file.
    if bytes.contains(&0) {
        return Err(unfit("is no text: it has zero bytes", "write it anew, in UTF-8"));
    }
    String::from_utf8(bytes).map_err(|_| unfit("is not UTF-8", "save it in UTF-8"))
}

/// Reads a file that is no longer than `most` bytes.
///
/// # Errors
/// What is in the way, to be put behind the file's name.
pub fn bytes(path: &Path, most: u64, findings: &Findings) -> Result<Vec<u8>, String> {
    let metadata = fs::metadata(path);
    findings.rests_on(path, seen(path, &metadata));
    match metadata {
        Ok(metadata) if metadata.is_dir() => Err("is a directory".to_owned()),
        // A pipe has its reader wait for whoever is at its other end, and a device may never end.
        Ok(metadata) if !metadata.is_file() => Err("is no regular file".to_owned()),
        Ok(metadata) if metadata.len() > most => Err(format!("is longer than {most} bytes")),
        Ok(metadata) => within(path, metadata.len(), most),
        Err(error) => Err(unreadable(&error)),
    }
}

/// It may grow while it is read.
fn within(path: &Path, length: u64, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > most { Err(format!("is longer than {most} bytes")) } else { Ok(bytes) }
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

fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {}", words(error))
}

/// The system's words, without its number.
#[must_use]
pub fn words(error: &io::Error) -> String {
    let words = error.to_string();
    words.split(" (os error").next().unwrap_or(&words).to_owned()
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
