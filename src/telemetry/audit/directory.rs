//! The directory of the audit: `SEQ-DAY.jsonl`, named by their first record and its day (UTC), in the order of their names.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::chain::{self, Head};
use crate::disk;

/// The directory, ours as long as this value lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

/// A file of the audit.
#[derive(Debug)]
pub(super) struct Named {
    /// Its first record.
    pub(super) first: u64,
    /// Days since 1970.
    pub(super) day: u64,
    pub(super) path: PathBuf,
}

/// The file that is written to.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: File,
    path: PathBuf,
    pub(super) day: u64,
    pub(super) length: u64,
    /// Its last line does not end.
    pub(super) unended: bool,
    /// Something was written that may not be durable yet.
    pub(super) unsynced: bool,
}

/// Where the chain stands on disk.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    pub(super) head: Head,
    /// The last record said that this was the end, or there is none.
    pub(super) clean: bool,
    /// The last file.
    pub(super) open: Option<Open>,
    /// Bytes behind the last record.
    pub(super) torn: u64,
}

/// A day.
pub(super) const DAY: u64 = 86_400;

/// Where the last record is looked for first, in bytes from the end. None is nearly as long.
const NEAR: u64 = 1024 * 1024;

impl Open {
    /// Whether it is not where it was, and as it was left: it takes records as if nothing were, and who looks there does not find them, or not those of
    /// before.
    pub(super) fn is_removed(&self) -> bool {
        let Ok(held) = self.file.metadata() else { return false };
        match fs::metadata(&self.path) {
            Ok(found) => (found.dev(), found.ino()) != (held.dev(), held.ino()) || held.len() < self.length,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Sees to it that all that can be read of it is on the disk.
    pub(super) fn write_anew(&mut self) -> io::Result<()> {
        disk::write_anew(&self.path, self.length)?;
        self.file = append(&self.path)?;
        Ok(())
    }
}

impl Directory {
    /// Takes the directory, making it where it does not exist: each that is made is on the disk where it is entered.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        disk::make_directory(path)?;
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(io::Error::other("another process writes there")),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    pub(super) fn list(&self) -> io::Result<Vec<Named>> {
        list(&self.path)
    }

    /// Begins another file.
    pub(super) fn begin(&self, first: u64, day: u64) -> io::Result<Open> {
        let path = self.path.join(format!("{first:012}-{}.jsonl", date(day)));
        let file = append(&path)?;
        disk::sync_directory(&self.path)?;
        Ok(Open { length: file.metadata()?.len(), file, path, day, unended: false, unsynced: false })
    }

    /// Finds the end of the chain.
    pub(super) fn resume(&self) -> io::Result<Resumed> {
        let mut names = self.list()?;
        let Some(last) = names.pop() else { return Ok(Resumed { clean: true, ..Resumed::default() }) };
        let Ends { length, whole, unended, mut record } = ends(File::open(&last.path)?)?;
        while let (None, Some(earlier)) = (&record, names.pop()) {
            record = ends(File::open(&earlier.path)?)?.record;
        }
        let torn = length - whole;
        let clean = torn == 0 && record.as_ref().is_none_or(|record| record.what == "stop");
        let file = append(&last.path)?;
        let open = Open { file, path: last.path, day: last.day, length, unended, unsynced: true };
        Ok(Resumed { head: record.map(chain::Record::head).unwrap_or_default(), clean, open: Some(open), torn })
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// How a file ends.
#[derive(Default)]
struct Ends {
    length: u64,
    /// Where the last record ends.
    whole: u64,
    /// The last line lacks its end.
    unended: bool,
    record: Option<chain::Record>,
}

/// Looks how a file ends; from its beginning only where no record is near its end: while a disk is full this is asked each second.
fn ends(mut file: impl Read + Seek) -> io::Result<Ends> {
    let near = file.seek(SeekFrom::End(0))?.saturating_sub(NEAR);
    let ends = ends_from(&mut file, near)?;
    if ends.record.is_none() && near > 0 { ends_from(&mut file, 0) } else { Ok(ends) }
}

/// Reads a file from there to its end. What begins within a line is no record; one that lacks but its line's end is whole.
fn ends_from(mut file: impl Read + Seek, begin: u64) -> io::Result<Ends> {
    file.seek(SeekFrom::Start(begin))?;
    let (mut ends, mut line) = (Ends { length: begin, ..Ends::default() }, Vec::new());
    let mut file = BufReader::new(file);
    while file.read_until(b'\n', &mut line)? > 0 {
        ends.length += line.len() as u64;
        ends.unended = !line.ends_with(b"\n");
        if let Some(record) = chain::read(line.strip_suffix(b"\n").unwrap_or(&line)) {
            (ends.whole, ends.record) = (ends.length, Some(record));
        }
        line.clear();
    }
    Ok(ends)
}

/// The files of an audit, oldest first.
///
/// # Errors
/// The directory cannot be read.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(list(path)?.into_iter().map(|named| named.path).collect())
}

pub(super) fn list(path: &Path) -> io::Result<Vec<Named>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        found.extend(named(&path).map(|(first, day)| Named { first, day, path }));
    }
    found.sort_by_key(|named| named.first);
    Ok(found)
}

fn named(path: &Path) -> Option<(u64, u64)> {
    let (first, date) = path.file_name()?.to_str()?.strip_suffix(".jsonl")?.split_once('-')?;
    let day = humantime::parse_rfc3339(&format!("{date}T00:00:00Z")).ok()?;
    let since = day.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some((first.parse().ok()?, since.as_secs() / DAY))
}

fn date(day: u64) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(day * DAY);
    humantime::format_rfc3339_seconds(at).to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Cursor;

    use super::super::entry::Entry;
    use super::*;
    use crate::domain::time::Timestamp;

    /// A file that tells how much of it is read.
    struct Counted<'a>(Cursor<Vec<u8>>, &'a Cell<u64>);

    impl Read for Counted<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.0.read(into)?;
            self.1.set(self.1.get() + count as u64);
            Ok(count)
        }
    }

    impl Seek for Counted<'_> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    /// How a file of so many bytes and these behind it ends, and how many of them are read.
    fn ends_of(before: u64, last: &str) -> (Ends, u64) {
        let mut bytes = b"\n".repeat(usize::try_from(before).unwrap());
        bytes.extend_from_slice(last.as_bytes());
        let count = Cell::new(0);
        let ends = ends(Counted(Cursor::new(bytes), &count)).unwrap();
        (ends, count.get())
    }

    #[test]
    fn the_end_of_a_long_file_is_found_without_reading_it_whole() {
        let mut head = Head::default();
        let record = chain::seal(&mut head, &Entry::new(Timestamp::from_secs(0), "login")).unwrap();
        let length = record.len() as u64;

        let (ends, read) = ends_of(3 * NEAR, &format!("{record}torn"));
        assert_eq!((ends.length, ends.whole, ends.unended), (3 * NEAR + length + 4, 3 * NEAR + length, true));
        assert_eq!((ends.record.unwrap().head(), read), (head.clone(), NEAR));

        let (ends, read) = ends_of(5, &record);
        assert_eq!((ends.length, ends.whole, ends.unended, read), (5 + length, 5 + length, false, 5 + length));

        let (ends, _) = ends_of(0, &format!("{record}{}", "\0".repeat(2 * usize::try_from(NEAR).unwrap())));
        assert_eq!((ends.whole, ends.record.unwrap().head()), (length, head), "far from the end, behind a crash");
    }
}
