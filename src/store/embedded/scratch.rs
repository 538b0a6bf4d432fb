//! Access records once more, one behind the other in files without a name; which lies where is in memory.
//!
//! Where more UUIDs are in use than the cache has room for, most look-ups find nothing there, and fjall's way to a record is through a
//! tree to the place of a value, and to the value. Here it is one read. Nothing rests on it: what is not here, or is damaged, is
//! asked of fjall; what cannot be written is left out; and the files are gone with the process, whichever way it ends. A file is
//! given back once none of its records is the newest any more, and the oldest when there are too many.
//!
//! Must not: be written before what is in it is durable, or by two threads.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use parking_lot::Mutex;
use rustix::fs::statvfs;

use crate::domain::opaque::Fingerprint;

/// So many files at most, each as long as a quarter of the cache and one group of writes: by default a GiB, where a million records lie.
const FILES: usize = 64;
const OF_CACHE: u64 = 4;
const LONGEST: u64 = 1 << 30;

/// So that none of them is long in growing.
const SHARDS: usize = 64;

/// A record up to this long is read without asking for memory.
const ORDINARY: usize = 2048;

pub(super) struct Scratch {
    directory: PathBuf,
    file_bytes: u64,
    places: DashMap<Name, Place>,
    written: Mutex<Written>,
}

/// A record is found by the first bytes of its fingerprint. Another's does not pass for it: a record's checksum is over all of them.
type Name = [u8; 8];

#[derive(Clone)]
struct Place {
    file: Arc<File>,
    offset: u32,
    length: u32,
}

/// What was written, the oldest first.
#[derive(Default)]
struct Written {
    former: VecDeque<Part>,
    newest: Option<(Arc<File>, Part)>,
}

struct Part {
    /// Open as long as a place is in it.
    file: Weak<File>,
    length: u32,
    names: Vec<Name>,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scratch({} records)", self.places.len())
    }
}

impl Scratch {
    /// One beside a cache of so many bytes.
    pub(super) fn of(directory: &Path, cache_bytes: u64) -> Self {
        Self {
            directory: directory.to_owned(),
            file_bytes: (cache_bytes / OF_CACHE).min(LONGEST),
            places: DashMap::with_shard_amount(SHARDS),
            written: Mutex::default(),
        }
    }

    /// What `look` finds in the bytes that were written last for this UUID.
    pub(super) fn read<T>(&self, fingerprint: &Fingerprint, look: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let Place { file, offset, length } = self.places.get(&name(fingerprint))?.clone();
        let mut ordinary = [0; ORDINARY];
        let mut longer = Vec::new();
        let length = usize::try_from(length).ok()?;
        let bytes = match ordinary.get_mut(..length) {
            Some(bytes) => bytes,
            None => {
                longer.resize(length, 0);
                &mut longer
            }
        };
        file.read_exact_at(bytes, u64::from(offset)).ok()?;
        look(bytes)
    }

    /// Takes what was written for these UUIDs in place of what was before.
    pub(super) fn write(&self, records: &[(Fingerprint, Option<impl AsRef<[u8]>>)]) {
        let mut written = self.written.lock();
        let (mut bytes, mut fresh) = (Vec::new(), Vec::new());
        for (fingerprint, record) in records {
            let name = name(fingerprint);
            match record.as_ref().map(AsRef::as_ref) {
                Some(record) => {
                    fresh.push((name, record.len()));
                    bytes.extend_from_slice(record);
                }
                None => drop(self.places.remove(&name)),
            }
        }
        if !fresh.is_empty() && self.append(&mut written, &bytes, &fresh).is_err() {
            drop(written);
            self.clear();
        }
    }

    /// Gives back the disk, which may be full.
    pub(super) fn clear(&self) {
        *self.written.lock() = Written::default();
        self.places.clear();
    }

    fn append(&self, written: &mut Written, bytes: &[u8], fresh: &[(Name, usize)]) -> io::Result<()> {
        let too_long = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let (file, part) = written.newest(self.file_bytes, || self.file())?;
        file.write_all_at(bytes, u64::from(part.length))?;
        for &(name, length) in fresh {
            let length = u32::try_from(length).map_err(too_long)?;
            self.places.insert(name, Place { file: Arc::clone(file), offset: part.length, length });
            part.length = part.length.checked_add(length).ok_or(io::ErrorKind::FileTooLarge)?;
            part.names.push(name);
        }
        if let Some(oldest) = written.superfluous() {
            for name in oldest.names {
                self.places.remove_if(&name, |_, place| std::ptr::eq(Arc::as_ptr(&place.file), oldest.file.as_ptr()));
            }
        }
        Ok(())
    }

    /// One more, where the disk has room for as much again as all of them take: what the store needs is worth more.
    fn file(&self) -> io::Result<File> {
        let disk = statvfs(&self.directory)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.file_bytes.saturating_mul(FILES as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        tempfile::tempfile_in(&self.directory)
    }

    /// What it takes on the disk.
    pub(super) fn bytes(&self) -> u64 {
        let written = self.written.lock();
        let newest = written.newest.as_ref().map(|(_, part)| part);
        let open = written.former.iter().chain(newest).filter(|part| part.file.strong_count() > 0);
        open.map(|part| u64::from(part.length)).sum()
    }
}

impl Written {
    /// The file that is written to; another one where it is long enough.
    fn newest(&mut self, enough: u64, make: impl FnOnce() -> io::Result<File>) -> io::Result<(&Arc<File>, &mut Part)> {
        if let Some((_, part)) = self.newest.take_if(|(_, part)| u64::from(part.length) >= enough) {
            self.former.push_back(part);
            self.former.retain(|part| part.file.strong_count() > 0);
        }
        let (file, part) = match &mut self.newest {
            Some(newest) => newest,
            none => {
                let file = Arc::new(make()?);
                let part = Part { file: Arc::downgrade(&file), length: 0, names: Vec::new() };
                none.insert((file, part))
            }
        };
        Ok((file, part))
    }

    fn superfluous(&mut self) -> Option<Part> {
        if self.former.len() < FILES { None } else { self.former.pop_front() }
    }
}

fn name(fingerprint: &Fingerprint) -> Name {
    std::array::from_fn(|at| fingerprint.as_bytes()[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(number: usize) -> Fingerprint {
        Fingerprint::of("access", &number.to_le_bytes())
    }

    fn read(scratch: &Scratch, number: usize) -> Option<Vec<u8>> {
        scratch.read(&print(number), |bytes| Some(bytes.to_vec()))
    }

    fn write(scratch: &Scratch, records: &[(usize, Option<&[u8]>)]) {
        let records: Vec<_> = records.iter().map(|(number, bytes)| (print(*number), *bytes)).collect();
        scratch.write(&records);
    }

    fn with_cache(bytes: u64) -> (tempfile::TempDir, Scratch) {
        let directory = tempfile::tempdir().unwrap();
        let scratch = Scratch::of(directory.path(), bytes);
        (directory, scratch)
    }

    #[test]
    fn what_was_written_last_is_read_whatever_its_length_and_the_directory_shows_nothing_of_it() {
        let (directory, scratch) = with_cache(1 << 20);
        let long = vec![7; 3 * ORDINARY];
        write(&scratch, &[(1, Some(b"one")), (2, Some(&long)), (3, Some(b""))]);
        write(&scratch, &[(1, Some(b"another")), (3, None)]);
        assert_eq!(read(&scratch, 1).unwrap(), b"another");
        assert_eq!(read(&scratch, 2).unwrap(), long);
        assert_eq!((read(&scratch, 3), read(&scratch, 4)), (None, None));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_does_not_pass_the_look_is_not_there() {
        let (_directory, scratch) = with_cache(1 << 20);
        write(&scratch, &[(1, Some(b"one"))]);
        assert_eq!(scratch.read(&print(1), |_| None::<()>), None);
    }

    #[test]
    fn a_file_whose_records_were_all_replaced_or_removed_is_given_back() {
        let (_directory, scratch) = with_cache(4 << 10);
        let record = [1; 1 << 10];
        for number in 0..10 {
            write(&scratch, &[(number, Some(&record))]);
        }
        assert_eq!(scratch.bytes(), 10 << 10);
        for _ in 0..100 {
            for number in 0..5 {
                write(&scratch, &[(number, Some(&record))]);
            }
        }
        write(&scratch, &(5..10).map(|number| (number, None)).collect::<Vec<_>>());
        assert!(scratch.bytes() <= 6 << 10, "{}", scratch.bytes());
    }

    #[test]
    fn the_oldest_file_goes_when_there_are_too_many_and_what_is_younger_stays() {
        let (_directory, scratch) = with_cache(4 << 10);
        let record = [1; 1 << 10];
        for number in 0..2 * FILES {
            write(&scratch, &[(number, Some(&record))]);
            assert!(scratch.bytes() <= (FILES << 10) as u64);
        }
        assert_eq!((read(&scratch, 0), read(&scratch, FILES - 1)), (None, None));
        assert!((FILES..2 * FILES).all(|number| read(&scratch, number).is_some()));
        assert_eq!(scratch.places.len(), FILES);
    }

    #[test]
    fn a_disk_that_has_no_room_for_as_much_again_as_there_may_be_is_left_to_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let scratch = Scratch { file_bytes: 1 << 60, ..Scratch::of(directory.path(), 0) };
        write(&scratch, &[(1, Some(b"one"))]);
        assert_eq!((read(&scratch, 1), scratch.bytes()), (None, 0));
    }

    #[test]
    fn where_no_file_can_be_made_nothing_is_found_and_what_was_there_before_is_not_either() {
        let (directory, scratch) = with_cache(4);
        write(&scratch, &[(1, Some(b"one")), (2, Some(b"two"))]);
        assert_eq!(read(&scratch, 1).unwrap(), b"one");
        drop(directory);
        write(&scratch, &[(1, Some(b"newer"))]);
        assert_eq!((read(&scratch, 1), read(&scratch, 2), scratch.bytes()), (None, None, 0));
    }
}
