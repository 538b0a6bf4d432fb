//! What is to be found out about one caller, away from the workers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use secrecy::{ExposeSecret, SecretString};

use super::argon::Argon;
use super::pool::Key;
use super::{Books, Lesson, Shown, Verified, known};
use crate::domain::chance::Entropy;
use crate::domain::client::{Client, Credentials, LegacySecret, Presented};
use crate::mapping::{Decoy, Snapshot, hash};

/// What was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is the client's secret, of this slot.
    Right(usize),
    /// It is not, or there is no such client.
    Wrong,
    /// There were too many wrong ones before it, and whose.
    Unverified(&'static str),
}

/// Whom a caller claims to be, and with which secret.
#[derive(Clone)]
pub(super) struct Question {
    /// `None`: the claimed id is nobody's, or may not stand where it stood.
    pub(super) client: Option<Arc<Client>>,
    /// By this text wrong secrets are counted, whether or not it is anybody's id.
    pub(super) claimed: Arc<str>,
    pub(super) network: IpAddr,
    /// The readings of the one secret.
    secrets: Vec<SecretString>,
    verified: Verified,
    decoy: Arc<Decoy>,
    books: Arc<Books>,
    /// Whether a wrong secret counts.
    is_counted: bool,
    /// Whether it is left alone where there were too many wrong ones.
    is_limited: bool,
}

impl Question {
    pub(super) fn of(snapshot: &Snapshot, presented: &Presented, address: IpAddr, books: &Arc<Books>) -> Self {
        let placement = presented.placement;
        let client = presented.readings.iter().find_map(|reading| known(snapshot, reading, placement)).cloned();
        let claimed = match (&client, presented.readings.first()) {
            (Some(client), _) => Arc::clone(&client.legacy_id),
            (None, first) => first.map(|first| first.id.as_str()).unwrap_or_default().into(),
        };
        let meant = |reading: &&Credentials| *reading.id == *claimed;
        let secrets = presented.readings.iter().filter(meant).map(|reading| reading.secret.clone()).collect();
        Self {
            client,
            network: network(address),
            secrets,
            verified: snapshot.verified.clone(),
            decoy: Arc::clone(&snapshot.decoy),
            books: Arc::clone(books),
            claimed,
            is_counted: true,
            is_limited: true,
        }
    }

    /// The same, and nobody is counted for a wrong secret.
    pub(super) fn uncounted(self) -> Self {
        Self { is_counted: false, ..self }
    }

    /// The same, however many wrong ones there were.
    pub(super) fn unlimited(self) -> Self {
        Self { is_limited: false, ..self }
    }

    /// The same about a secret that the old server accepted.
    pub(super) fn of_accepted(snapshot: &Snapshot, shown: &Shown, books: &Arc<Books>) -> Self {
        Self {
            claimed: shown.client.legacy_id.clone(),
            client: Some(Arc::clone(&shown.client)),
            network: network(shown.address),
            secrets: vec![shown.secret.clone()],
            verified: snapshot.verified.clone(),
            decoy: Arc::clone(&snapshot.decoy),
            books: Arc::clone(books),
            is_counted: false,
            is_limited: false,
        }
    }

    /// Whether this is news. What is known already is remembered as right, of what is not a hash is made.
    pub(super) fn lesson(self, argon: &mut Argon, entropy: &dyn Entropy) -> Option<Lesson> {
        let (client, secret) = (self.client.as_ref()?, self.secrets.first()?);
        if let Some(slot) = self.slot(secret, argon) {
            self.verified.insert(client, secret.expose_secret(), slot);
            return Some(Lesson::Known);
        }
        hash(secret, entropy).ok().map(Lesson::New)
    }

    /// Whoever asks with the same key gets the same answer, unless there were too many wrong ones.
    pub(super) fn key(&self) -> Key {
        let secrets = self.secrets.iter().map(ExposeSecret::expose_secret);
        self.verified.asked(&self.claimed, self.client.as_deref(), secrets)
    }

    /// Answers it. The right secret is remembered, a wrong one counted.
    pub(super) fn answer(self, argon: &mut Argon) -> Outcome {
        if let Some(client) = &self.client {
            // One with the same secret may have been verified since.
            let slot = self.secrets.iter().find_map(|secret| self.verified.slot(client, secret.expose_secret()));
            if let Some(slot) = slot {
                return Outcome::Right(slot);
            }
        }
        // Those who waited in front may have used up what may be wrong.
        if self.is_limited
            && let Err(why) = self.books.may_try(&self.claimed, self.network)
        {
            return Outcome::Unverified(why);
        }
        for secret in &self.secrets {
            if let Some(slot) = self.slot(secret, argon) {
                if let Some(client) = &self.client {
                    self.verified.insert(client, secret.expose_secret(), slot);
                }
                return Outcome::Right(slot);
            }
        }
        if self.is_counted {
            self.books.failed(&self.claimed, self.network);
        }
        Outcome::Wrong
    }

    /// Compares with every old secret of the client. Where none fits, as many hashes were verified as for anybody.
    fn slot(&self, secret: &SecretString, argon: &mut Argon) -> Option<usize> {
        let mut verifies = |hash: &str| {
            self.books.verifications.fetch_add(1, Ordering::Relaxed);
            argon.verifies(hash, secret)
        };
        let mut hashes = 0;
        for (slot, old) in self.client.iter().flat_map(|client| client.legacy_secrets.iter().enumerate()) {
            let right = match old {
                LegacySecret::Hash(hash) => {
                    hashes += 1;
                    verifies(hash)
                }
                LegacySecret::Clear(clear) => self.verified.same(clear.expose_secret(), secret.expose_secret()),
                LegacySecret::Learn(learned) => learned.hashes().iter().any(|hash| {
                    hashes += 1;
                    verifies(hash)
                }),
            };
            if right {
                return Some(slot);
            }
        }
        for _ in hashes..self.decoy.hashes {
            let _never_right = std::hint::black_box(verifies(&self.decoy.hash));
        }
        None
    }
}

/// One person can have a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::from((u128::from(six) & !u128::from(u64::MAX)).to_be_bytes()),
        four @ IpAddr::V4(_) => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_or_half_of_a_long_one() {
        let same = |one: &str, other: &str| network(one.parse().unwrap()) == network(other.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:1") && !same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1") && !same("192.0.2.1", "192.0.2.2"));
    }
}
