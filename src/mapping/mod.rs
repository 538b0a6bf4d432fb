//! Files into a table: the mapping of legacy clients and the dialects they speak; and who a caller is by that table.
//!
//! Must not: change a file, use a table that has an error in it, or put a secret into a finding.

mod client;
pub mod dialect;
mod guard;
mod hash;
mod layout;
mod load;

use secrecy::SecretString;

pub use guard::{Guard, GuardLimits, Rate, Verified};
pub use load::load;

use crate::domain::chance::Entropy;
use crate::domain::client::LegacySecret;
use crate::domain::table::Table;

/// What was loaded from files without an error.
#[derive(Debug)]
pub struct Loaded {
    /// The table.
    pub table: Table,
    /// SHA-256 over names and bytes of all files, hexadecimal.
    pub digest: String,
}

/// A table in use, and what belongs to it. Requests hold on to it from beginning to end.
#[derive(Debug)]
pub struct Snapshot {
    /// The table.
    pub table: Table,
    /// [`Loaded::digest`].
    pub digest: String,
    /// Counts the loads that were taken into use, from 1.
    pub generation: u64,
    /// Secrets that were right while this table was in use.
    pub verified: Verified,
    /// What is verified where there is no client.
    pub decoy: Decoy,
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
    /// Takes a load into use.
    pub fn new(loaded: Loaded, generation: u64, entropy: &dyn Entropy) -> Self {
        let Loaded { table, digest } = loaded;
        let decoy = Decoy::of(&table);
        Self { table, digest, generation, verified: Verified::new(entropy), decoy }
    }
}

impl Decoy {
    fn of(table: &Table) -> Self {
        let hashes = |client: &crate::domain::client::Client| {
            client.legacy_secrets.iter().filter(|secret| matches!(secret, LegacySecret::Hash(_))).count()
        };
        let most = table.clients().map(|client| hashes(client)).max().unwrap_or(0).max(1);
        Self { hash: load::usual_parameters(table).hash_of_nothing(), hashes: most }
    }
}

/// A new hash of an old secret (argon2id), as mapping files keep it.
///
/// # Errors
/// The secret cannot be hashed; one sentence says why.
pub fn hash(secret: &SecretString, entropy: &dyn Entropy) -> Result<String, String> {
    hash::Parameters::default().hash(secret, entropy)
}
