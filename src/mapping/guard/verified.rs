//! Secrets that were right once, as keyed hashes.

use std::sync::Arc;

use aws_lc_rs::hmac;
use dashmap::DashMap;

use crate::domain::chance::{Entropy, random};
use crate::domain::client::{Client, LegacySecret};

/// No more than this many are kept: two secrets of each of 100,000 clients, each as this client's and as anybody's.
const MOST: usize = 400_000;

/// HMAC-SHA-256, under a key that only this process knows, of a secret that was right, of its client, and of all that the
/// mapping says about that client's old secrets, learned ones included. So an entry fits no more once a reload changes any of them, while a reload
/// that does not leaves it: else each change of one client would have all others' secrets verified anew.
#[derive(Clone)]
pub struct Verified {
    key: hmac::Key,
    /// With the slot of each.
    seen: Arc<DashMap<[u8; 32], usize>>,
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verified({})", self.seen.len())
    }
}

impl Verified {
    /// Nothing verified yet.
    pub fn new(entropy: &dyn Entropy) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &random::<32>(entropy)), seen: Arc::default() }
    }

    /// Which old secret of the client this is, where it was right before.
    pub(super) fn slot(&self, client: &Client, secret: &str) -> Option<usize> {
        self.seen.get(&self.hash(client, secret)).map(|slot| *slot)
    }

    pub(super) fn insert(&self, client: &Client, secret: &str, slot: usize) {
        self.keep([self.hash(client, secret), self.of_anybody(secret)], slot);
    }

    fn keep(&self, hashes: [[u8; 32]; 2], slot: usize) {
        // What fits no more is only dropped here; whoever is dropped with it is verified once more.
        if self.seen.len() >= MOST {
            self.seen.clear();
        }
        for hash in hashes {
            self.seen.insert(hash, slot);
        }
    }

    /// Whether this was right as a secret of any client. It is remembered for longer than it is right.
    pub(in crate::mapping) fn is_secret(&self, text: &str) -> bool {
        self.seen.contains_key(&self.of_anybody(text))
    }

    fn of_anybody(&self, secret: &str) -> [u8; 32] {
        self.asked("", None, [secret].into_iter())
    }

    /// Whether two secrets are the same. Takes as long wherever they differ, and whatever their lengths.
    pub(super) fn same(&self, one: &str, other: &str) -> bool {
        let tag = hmac::sign(&self.key, one.as_bytes());
        hmac::verify(&self.key, other.as_bytes(), tag.as_ref()).is_ok()
    }

    fn hash(&self, client: &Client, secret: &str) -> [u8; 32] {
        self.asked(&client.legacy_id, Some(client), [secret].into_iter())
    }

    /// The same of what is asked about a claimed id, its client if it has one, and each reading of the secret: by this those find together
    /// who ask the same.
    pub(super) fn asked<'s>(
        &self,
        claimed: &str,
        client: Option<&Client>,
        secrets: impl Iterator<Item = &'s str>,
    ) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        let mut part = |kind: u8, text: &str| {
            context.update(&[kind]);
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        };
        part(0, claimed);
        if client.is_none() {
            part(5, "");
        }
        for old in client.into_iter().flat_map(|client| &client.legacy_secrets) {
            match old {
                LegacySecret::Hash(hash) => part(1, hash),
                LegacySecret::Clear(clear) => part(2, secrecy::ExposeSecret::expose_secret(clear)),
                LegacySecret::Learn(learned) => learned.hashes().iter().for_each(|hash| part(4, hash)),
            }
        }
        secrets.for_each(|secret| part(3, secret));
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::SystemEntropy;

    #[test]
    fn no_more_secrets_are_remembered_than_every_client_could_have() {
        let verified = Verified::new(&SystemEntropy);
        let hash = |number: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_be_bytes());
            hash
        };
        for number in (0..MOST + 2).step_by(2) {
            verified.keep([hash(number), hash(number + 1)], 0);
            assert!(verified.seen.len() <= MOST);
        }
        assert!(verified.seen.contains_key(&hash(MOST)), "the newest among them");
    }
}
