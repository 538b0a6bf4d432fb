//! What can go wrong in a store: a closed list, each a clear sentence with its cause below it (`source`), none with a secret.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// What lies below an error. Shared, because one failed group of writes answers many who wait.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why the store did not do what it was asked.
#[derive(Clone, Debug)]
pub enum StoreError {
    /// The directory or one of its files cannot be made or opened.
    CannotOpen {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: Cause,
    },
    /// Another process has the directory.
    Busy {
        /// Which directory.
        path: PathBuf,
        /// The process that holds it, where it said so.
        holder: Option<u32>,
    },
    /// It was written in a format that this program does not know: by a newer one, as a rule.
    Format {
        /// Where.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// Nothing was ever kept there.
    NotThere {
        /// Where.
        path: PathBuf,
    },
    /// A backup goes into a directory of its own.
    NotFresh {
        /// Which is in use.
        path: PathBuf,
    },
    /// The store has no files here that could be copied.
    NoFiles,
    /// What was read is not what was written.
    Corrupt {
        /// Which record or file.
        what: String,
        /// How it shows.
        cause: Cause,
    },
    /// The medium refused to read.
    CannotRead {
        /// Which record or file.
        what: String,
        /// Why.
        cause: Cause,
    },
    /// A write failed. Nothing of it was acknowledged; none of it counts.
    CannotWrite {
        /// Why.
        cause: Cause,
    },
    /// As [`StoreError::CannotWrite`], because no room is left: on the disk, in the quota, or under the file-size limit.
    Full {
        /// What the system said.
        cause: Cause,
    },
    /// An earlier write failed and the store has not yet come back: it writes nothing, so that nothing is lost.
    Refusing {
        /// What failed last, where it is known.
        cause: Option<Cause>,
    },
    /// The store was closed: the bridge is about to end.
    Closed,
}

impl StoreError {
    /// Whether it is about the place where the store shall be, and not about what is in it.
    #[must_use]
    pub const fn is_of_the_place(&self) -> bool {
        match self {
            Self::CannotOpen { .. }
            | Self::CannotRead { .. }
            | Self::CannotWrite { .. }
            | Self::Full { .. }
            | Self::Busy { .. } => true,
            Self::Format { .. }
            | Self::NotThere { .. }
            | Self::NotFresh { .. }
            | Self::NoFiles
            | Self::Corrupt { .. }
            | Self::Refusing { .. }
            | Self::Closed => false,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CannotOpen { path, .. } => write!(f, "the token store cannot open {}", path.display()),
            Self::Busy { path, holder } => {
                let pid = holder.map(|process| format!(" (pid {process})")).unwrap_or_default();
                write!(
                    f,
                    "the token store {} belongs to another process{pid}: one bridge per directory",
                    path.display()
                )
            }
            Self::Format { path, found, known } => write!(
                f,
                "the token store {} has format {found}, and this program knows formats up to {known}: use the program that wrote it, or a newer one",
                path.display()
            ),
            Self::NotThere { path } => write!(f, "there is no token store in {}", path.display()),
            Self::NotFresh { path } => {
                write!(f, "{} is not empty: name a directory that is empty or not there yet", path.display())
            }
            Self::NoFiles => f.write_str(
                "the token store is a Redis: keep it by Redis's own means (BGSAVE, append-only file, a replica)",
            ),
            Self::Corrupt { what, .. } => write!(f, "the token store is damaged: {what} is not what was written"),
            Self::CannotRead { what, .. } => write!(f, "the token store cannot read {what}"),
            Self::CannotWrite { .. } => f.write_str("the token store cannot write"),
            Self::Full { .. } => f.write_str("the token store cannot write: there is no room left"),
            Self::Refusing { .. } => f.write_str("the token store takes no writes since one failed"),
            Self::Closed => f.write_str("the token store is closed"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::CannotOpen { cause, .. }
            | Self::Corrupt { cause, .. }
            | Self::CannotRead { cause, .. }
            | Self::CannotWrite { cause }
            | Self::Full { cause }
            | Self::Refusing { cause: Some(cause) } => Some(&**cause),
            Self::Busy { .. }
            | Self::Format { .. }
            | Self::NotThere { .. }
            | Self::NotFresh { .. }
            | Self::NoFiles
            | Self::Refusing { cause: None }
            | Self::Closed => None,
        }
    }
}

/// Why a change of a family did not happen.
#[derive(Clone, Debug)]
pub enum CommitError {
    /// Somebody else changed the family since it was read: read it again and decide anew.
    Conflict,
    /// A newer lease was granted since: whoever holds it decides now.
    Fenced,
    /// There is no such family (any more).
    Unknown,
    /// The store failed. Whether the change happened shows when the family is read again.
    Store(StoreError),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict => f.write_str("the family was changed by somebody else in the meantime"),
            Self::Fenced => f.write_str("a newer lease of the family was granted in the meantime"),
            Self::Unknown => f.write_str("the family is not in the store"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl Error for CommitError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Store(error) => error.source(),
            Self::Conflict | Self::Fenced | Self::Unknown => None,
        }
    }
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
