//! What a load rests on: each file as it was when it was read, so that any later change shows.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A file or a directory at one moment. Two stamps of one path are equal as long as nobody changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// It is not there, or nobody may look at it.
    Absent,
    /// A file, behind whatever symbolic links lead to it: device, inode, size, and when content and inode were changed
    /// last (seconds, nanoseconds). One of them differs after a rename, a truncation, a swapped link, a `chmod`.
    File([u64; 3], [(i64, i64); 2]),
    /// A directory: those names in it that count.
    Directory(Vec<OsString>),
}

impl Stamp {
    /// The stamp of a file with this metadata.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let times = [(metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec())];
        Self::File([metadata.dev(), metadata.ino(), metadata.size()], times)
    }
}

/// Every path that a load looked at, and what it saw there.
pub type Footing = BTreeMap<PathBuf, Stamp>;
