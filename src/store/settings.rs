//! Where the store is: pure, filled by `config`.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::error::StoreError;
use crate::domain::refusal::{bottom_of, sentence};

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
            Self::Embedded { .. } if meets_a_limit(error) => {
                "files of 64 MiB and more must be allowed: raise the limit on their size (`ulimit -f`, `LimitFSIZE=` of systemd)"
            }
            Self::Embedded { .. } => {
                "`store.path` must be a directory that this user may write, on a disk that takes writes"
            }
            Self::Redis(settings) => settings.hint_of(&sentence),
        };
        if error.is_of_the_place() { format!("{sentence}\n  hint: {hint}") } else { sentence }
    }
}

/// Whether a file became as large as this process may have one, whatever room the disk has.
fn meets_a_limit(error: &StoreError) -> bool {
    let said = bottom_of(error).and_then(|reason| reason.downcast_ref::<io::Error>());
    said.is_some_and(|said| said.kind() == io::ErrorKind::FileTooLarge)
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
