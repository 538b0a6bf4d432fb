//! Files into a table: the mapping of legacy clients and the dialects they speak; and who a caller is by that table.
//!
//! Must not: change a file anywhere but in `edit`, use a table that has an error in it, or put a secret into a finding.

mod client;
pub mod dialect;
pub mod edit;
pub mod entries;
mod grants;
mod guard;
mod hash;
mod layout;
mod load;
mod parts;
mod shown;
pub mod watch;

use std::collections::HashMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;

pub use guard::{Guard, GuardLimits, Lesson, Rate, Shown, Verified};
use hash::Parameters;
pub use load::{digest, load, load_in_part};
pub use shown::{dialect_digest, proof, proves, shown};

use crate::document::Footing;
use crate::domain::chance::Entropy;
use crate::domain::client::{Client, LegacySecret};
use crate::domain::table::Table;

/// Where the mapping files are, and what they may say there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory.
    pub path: PathBuf,
    /// Whether there is an old server: some stages mean something only then.
    pub old_server: bool,
}

impl Place {
    /// A directory of a bridge without an old server.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), old_server: false }
    }
}

impl Deref for Place {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

/// What was loaded from files without an error.
#[derive(Debug)]
pub struct Loaded {
    /// The table.
    pub table: Table,
    /// SHA-256 over names and bytes of all files, hexadecimal.
    pub digest: String,
    /// Every file that this load rests on, those of the configuration that was loaded with it included.
    pub footing: Arc<Footing>,
}

/// In front of a secret no more letters are looked for an id.
const LONGEST_BEFORE: usize = 80;

/// A table in use, and what belongs to it. Requests hold on to it from beginning to end.
#[derive(Debug)]
pub struct Snapshot {
    /// The table.
    pub table: Table,
    /// [`Loaded::digest`].
    pub digest: String,
    /// [`Loaded::footing`].
    pub footing: Arc<Footing>,
    /// Counts the loads that were taken into use, from 1.
    pub generation: u64,
    /// Secrets that were right while this table was in use.
    pub verified: Verified,
    /// What is verified where there is no client.
    pub decoy: Arc<Decoy>,
}

/// An invented hash: costs what a real one costs, and no secret fits it.
#[derive(Debug)]
pub struct Decoy {
    /// In PHC text, with the parameters of most of the table's hashes.
    pub hash: String,
    /// How many hashes the client with most of them has.
    pub hashes: usize,
}

impl Snapshot {
    /// Takes the first load into use.
    pub fn new(loaded: Loaded, entropy: &dyn Entropy) -> Self {
        Self::with(loaded, 1, Verified::new(entropy))
    }

    /// Takes another load into use after this one. Secrets that were right stay so for clients whose old secrets the mapping
    /// still has as they were; so a reload under load has nobody verified anew.
    #[must_use]
    pub fn followed_by(&self, loaded: Loaded) -> Self {
        for client in loaded.table.clients() {
            if let Some(before) = self.table.client(&client.legacy_id) {
                client.continues(before);
            }
        }
        Self::with(loaded, self.generation + 1, self.verified.clone())
    }

    /// What stands in a text before an old secret that was right at this process: a client's id or nothing. `None`: there is none that could be told.
    /// Hashes of secrets are not asked: that would cost whoever asks much.
    #[must_use]
    pub fn before_secret<'t>(&self, text: &'t str) -> Option<&'t str> {
        let parted = text.char_indices().take(LONGEST_BEFORE).filter_map(|(at, _)| text.split_at_checked(at));
        let is_so = |(before, rest): &(&str, &str)| {
            (before.is_empty() || self.table.client(before).is_some()) && self.verified.is_secret(rest)
        };
        parted.into_iter().find(is_so).map(|(before, _)| before)
    }

    fn with(loaded: Loaded, generation: u64, verified: Verified) -> Self {
        let Loaded { table, digest, footing } = loaded;
        let decoy = Arc::new(Decoy::of(&table));
        Self { table, digest, footing, generation, verified, decoy }
    }
}

impl Decoy {
    fn of(table: &Table) -> Self {
        let hashes = |client: &Client| {
            let kept = client.legacy_secrets.iter().filter(|secret| matches!(secret, LegacySecret::Hash(_))).count();
            // As if all had been learned already, so that the cost does not tell when one is.
            kept + client.learnable()
        };
        let most = table.clients().map(|client| hashes(client)).max().unwrap_or(0).max(1);
        Self { hash: usual_parameters(table).hash_of_nobody(), hashes: most }
    }
}

/// The cost of most of a table's hashes; the default where there is none.
fn usual_parameters(table: &Table) -> Parameters {
    let mut counted: HashMap<&str, (usize, &str)> = HashMap::new();
    for secret in table.clients().flat_map(|client| &client.legacy_secrets) {
        if let LegacySecret::Hash(hash) = secret {
            // `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`: all but the last two parts is the cost.
            let cost = hash.rsplitn(3, '$').nth(2).unwrap_or_default();
            counted.entry(cost).or_insert((0, hash)).0 += 1;
        }
    }
    let usual = counted.into_iter().max_by_key(|(cost, (count, _))| (*count, *cost));
    usual.and_then(|(_, (_, hash))| Parameters::of(hash).ok()).unwrap_or_default()
}

/// A new hash of an old secret (argon2id), as mapping files keep it.
///
/// # Errors
/// The secret cannot be hashed; one sentence says why.
pub fn hash(secret: &SecretString, entropy: &dyn Entropy) -> Result<String, String> {
    Parameters::default().hash(secret, entropy)
}

/// A hash that no secret fits, in place of one that is not made yet.
#[must_use]
pub fn hash_of_nobody() -> String {
    Parameters::default().hash_of_nobody()
}
