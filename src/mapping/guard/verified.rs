//! Secrets that were right once: keyed hashes, dropped with the table that they were right for.

use aws_lc_rs::hmac;
use dashmap::DashSet;

use crate::domain::chance::{Entropy, random};

/// No more than this many are kept; two for each of 100,000 clients.
const MOST: usize = 200_000;

/// HMAC-SHA-256 of client and secret under a key that only this table in this process knows.
pub struct Verified {
    key: hmac::Key,
    seen: DashSet<[u8; 32]>,
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verified({})", self.seen.len())
    }
}

impl Verified {
    /// Nothing verified yet.
    pub fn new(entropy: &dyn Entropy) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &random::<32>(entropy)), seen: DashSet::new() }
    }

    pub(super) fn contains(&self, id: &str, secret: &str) -> bool {
        self.seen.contains(&self.hash(id, secret))
    }

    pub(super) fn insert(&self, id: &str, secret: &str) {
        if self.seen.len() < MOST {
            self.seen.insert(self.hash(id, secret));
        }
    }

    fn hash(&self, id: &str, secret: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(id.len() as u64).to_be_bytes());
        context.update(id.as_bytes());
        context.update(secret.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        bytes
    }
}
