//! Who is it, in the old world: checks a caller's old secret.
//!
//! - A secret that was right once is remembered under a keyed hash as long as its table is in use: the second login of a client
//!   costs microseconds.
//! - Hashes are verified by a bounded pool of threads of their own, never on a worker.
//! - A wrong secret and an unknown client cost the same and read the same: both verify one hash and are refused by one cause.
//! - Wrong secrets are limited by client and by address; beyond the limit they are refused unverified. A secret that was right
//!   before never is.
//!
//! Must not: keep a clear secret, say to a caller which of the two it was, or occupy a worker.

mod attempts;
mod pool;
mod verified;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use attempts::Attempts;
pub use attempts::Rate;
use pool::{Pool, Work};
use secrecy::ExposeSecret;
pub use verified::Verified;

use super::Snapshot;
use crate::domain::client::{Client, Credentials, LegacySecret, Placement, Presented};
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::domain::time::Clock;

/// How many wrong secrets are verified before further ones are refused unverified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardLimits {
    /// For one claimed client id.
    pub per_client: Rate,
    /// For one address (IPv6: one /64).
    pub per_address: Rate,
}

/// Checks old secrets. Shared by all workers.
#[derive(Debug)]
pub struct Guard {
    pool: Pool,
    by_client: Attempts<String>,
    by_address: Attempts<IpAddr>,
    clock: Arc<dyn Clock>,
    verifications: AtomicU64,
}

impl Guard {
    /// Starts the pool.
    ///
    /// # Errors
    /// The machine gives no thread.
    pub fn new(limits: GuardLimits, threads: usize, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        Ok(Self {
            pool: Pool::start(threads)?,
            by_client: Attempts::new(limits.per_client),
            by_address: Attempts::new(limits.per_address),
            clock,
            verifications: AtomicU64::new(0),
        })
    }

    /// How many hashes were verified since the start.
    pub fn verifications(&self) -> u64 {
        self.verifications.load(Ordering::Relaxed)
    }

    /// Finds the client whose credentials these are.
    ///
    /// # Errors
    /// They are nobody's, or there were too many wrong ones; the detail, for the log alone, says which.
    pub async fn authenticate(
        &self,
        snapshot: &Snapshot,
        presented: &Presented,
        address: IpAddr,
    ) -> Result<Arc<Client>, Refusal> {
        for reading in &presented.readings {
            if let Some(client) = known(snapshot, reading, presented.placement)
                && snapshot.verified.contains(&client.legacy_id, reading.secret.expose_secret())
            {
                return Ok(Arc::clone(client));
            }
        }
        let (client, readings) = candidates(snapshot, presented);
        let claimed = readings.first().map(|reading| reading.id.clone()).unwrap_or_default();
        let network = network(address);
        let now = self.clock.monotonic();
        if !self.by_client.may_try(&claimed, now) || !self.by_address.may_try(&network, now) {
            return Err(wrong("too many wrong secrets; refused unverified"));
        }
        let right = self.verify(snapshot, client, &readings).await?;
        match (client, right) {
            (Some(client), Some(index)) => {
                if let Some(reading) = readings.get(index) {
                    snapshot.verified.insert(&client.legacy_id, reading.secret.expose_secret());
                }
                Ok(Arc::clone(client))
            }
            (client, _) => {
                let now = self.clock.monotonic();
                self.by_client.failed(&claimed, now);
                self.by_address.failed(&network, now);
                Err(wrong(if client.is_some() { "the secret is wrong" } else { "no mapping has this client id" }))
            }
        }
    }

    /// Which reading's secret is right. Verifies as many hashes for anybody as for the client that has most, invented ones where
    /// there are none.
    async fn verify(
        &self,
        snapshot: &Snapshot,
        client: Option<&Arc<Client>>,
        readings: &[&Credentials],
    ) -> Result<Option<usize>, Refusal> {
        let mut work = Work::default();
        for (index, reading) in readings.iter().enumerate() {
            let secrets = client.map(|client| client.legacy_secrets.as_slice()).unwrap_or_default();
            for secret in secrets {
                match secret {
                    LegacySecret::Hash(hash) => work.hash(index, hash, &reading.secret),
                    LegacySecret::Clear(clear) => work.clear(index, clear, &reading.secret),
                }
            }
            let hashes = secrets.iter().filter(|secret| matches!(secret, LegacySecret::Hash(_))).count();
            for _ in hashes..snapshot.decoy.hashes {
                work.decoy(&snapshot.decoy.hash, &reading.secret);
            }
        }
        self.verifications.fetch_add(work.hashes(), Ordering::Relaxed);
        match self.pool.run(work) {
            None => Err(Refusal::server(Fault::Ourselves, "too many secrets wait to be verified")),
            Some(answer) => {
                answer.await.map_err(|_| Refusal::server(Fault::Ourselves, "the verification of a secret was lost"))
            }
        }
    }
}

/// The client of a reading, unless its credentials stand where its mapping does not allow them.
fn known<'s>(snapshot: &'s Snapshot, reading: &Credentials, placement: Placement) -> Option<&'s Arc<Client>> {
    let client = snapshot.table.client(&reading.id)?;
    (placement != Placement::Query || client.allow_query_credentials).then_some(client)
}

/// The one client that is meant and the readings that mean it; nobody, and the first reading alone, where none is known.
fn candidates<'s, 'p>(
    snapshot: &'s Snapshot,
    presented: &'p Presented,
) -> (Option<&'s Arc<Client>>, Vec<&'p Credentials>) {
    let client = presented.readings.iter().find_map(|reading| known(snapshot, reading, presented.placement));
    match client {
        Some(client) => {
            (Some(client), presented.readings.iter().filter(|reading| reading.id == client.legacy_id).collect())
        }
        None => {
            let same_id =
                |reading: &&Credentials| presented.readings.first().is_some_and(|first| first.id == reading.id);
            (None, presented.readings.iter().filter(same_id).collect())
        }
    }
}

/// One person can have a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => IpAddr::from((u128::from(six) & !u128::from(u64::MAX)).to_be_bytes()),
    }
}

fn wrong(detail: &'static str) -> Refusal {
    Refusal::client(Cause::ClientCredentials, detail)
}
