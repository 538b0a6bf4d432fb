//! Where the store is: pure, filled by `config`.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::error::StoreError;
use crate::domain::refusal::{bottom_of, limit_met, sentence};

/// Which store, and where (OPERATOR section 3, `[store]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSettings {
    /// Files of this machine, for one instance.
    Embedded {
        /// The directory. Made where it does not exist, for the owner alone.
        path: PathBuf,
        /// How much of it is kept in memory, in bytes.
        cache_bytes: u64,
    },
    /// A Redis or Valkey that several instances share.
    Redis(RedisSettings),
}

impl StoreSettings {
    /// Why such a store was not opened, and what to do about that.
    #[must_use]
    pub fn not_opened(&self, error: &StoreError) -> String {
        let sentence = sentence(error);
        let hint = match self {
            Self::Embedded { .. } if matches!(error, StoreError::Busy { .. }) => {
                "stop that one first; or name another directory in `store.path`"
            }
            Self::Embedded { .. } => hint_of_files(error),
            Self::Redis(settings) => settings.hint_of(&sentence),
        };
        if error.is_of_the_place() { format!("{sentence}\n  hint: {hint}") } else { sentence }
    }
}

/// What may help where files cannot be opened, by what the system said.
fn hint_of_files(error: &StoreError) -> &'static str {
    let said = bottom_of(error).and_then(|reason| reason.downcast_ref::<io::Error>());
    let is = |errno: Errno| said.and_then(Errno::from_io_error) == Some(errno);
    // As large as this process may have one, whatever room the disk has.
    if is(Errno::FBIG) {
        "files of 64 MiB and more must be allowed: raise the limit on their size (`ulimit -f`, `LimitFSIZE=` of systemd)"
    } else if is(Errno::NOLCK) || is(Errno::OPNOTSUPP) {
        "`store.path` must be a directory on a file system that has locks"
    } else if let Some(hint) = said.and_then(limit_met) {
        hint
    } else {
        "`store.path` must be a directory that this user may write, on a disk that takes writes"
    }
}

/// Where a Redis is and how to speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// `redis://host:port` or `rediss://host:port`: the server, the Sentinels, or nodes of the cluster.
    pub urls: Vec<String>,
    /// What they are.
    pub mode: RedisMode,
    /// User of the access control list; `None`: the default user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Password>,
    /// The same of the Sentinels; `None`: whoever comes may ask them.
    pub sentinel_username: Option<String>,
    /// Its password.
    pub sentinel_password: Option<Password>,
    /// PEM certificates to trust in place of the system's.
    pub ca: Option<Vec<u8>>,
    /// Wait for replicas before a login is answered.
    pub wait: Option<Wait>,
}

impl RedisSettings {
    /// What may help, by what Redis said.
    fn hint_of(&self, said: &str) -> &'static str {
        let says = |word: &str| said.contains(word);
        let is_sentinel = matches!(self.mode, RedisMode::Sentinel { .. });
        if is_sentinel && (says("NOAUTH") || says("WRONGPASS")) {
            "`store.password` is the master's; the Sentinels have `store.sentinel_password`"
        } else if says("CertificateRequired") {
            "the bridge has no certificate to show: `tls-auth-clients no` in redis.conf"
        } else if says("cluster support disabled") {
            "it is no cluster: leave `store.mode` out"
        } else if says("MOVED") || says("Moved") || says("in cluster mode") {
            "it is a node of a cluster: `store.mode = \"cluster\"`, and no database in `store.urls`"
        } else {
            "`store.urls` must be of a Redis that runs, and the user and password ones that it knows"
        }
    }
}

/// What the URLs name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisMode {
    /// One server.
    Single,
    /// Sentinels that know the master of this name.
    Sentinel {
        /// The name.
        master: String,
    },
    /// Nodes of a cluster.
    Cluster,
}

/// How many replicas must have a write, and for how long that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// How many.
    pub replicas: u64,
    /// How long at most; then the write counts as failed.
    pub timeout: Duration,
}

/// A password, compared in constant time.
#[derive(Clone, Debug)]
pub struct Password(pub SecretString);

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret().as_bytes().ct_eq(other.0.expose_secret().as_bytes()).into()
    }
}

impl Eq for Password {}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn whoever_cannot_open_the_files_is_told_what_helps_by_what_the_system_said() {
        let settings = StoreSettings::Embedded { path: PathBuf::from("data"), cache_bytes: 0 };
        for (errno, helps) in [
            (Errno::MFILE, "more files must be allowed to be open"),
            (Errno::AGAIN, "more threads must be allowed"),
            (Errno::NOLCK, "a file system that has locks"),
            (Errno::OPNOTSUPP, "a file system that has locks"),
            (Errno::FBIG, "files of 64 MiB and more must be allowed"),
            (Errno::ACCESS, "a directory that this user may write"),
            (Errno::ROFS, "on a disk that takes writes"),
        ] {
            let cause = Arc::new(io::Error::from(errno));
            let told = settings.not_opened(&StoreError::CannotOpen { path: PathBuf::from("data/lock"), cause });
            let (_, hint) = told.split_once("\n  hint: ").unwrap();
            assert!(hint.contains(helps), "{told}");
        }
    }
}
