//! Who is it, in the old world: checks a caller's old secret.
//!
//! - A secret that was right once is remembered under a keyed hash as long as the mapping keeps that client's secrets as they
//!   are: the second login of a client costs microseconds.
//! - All others are verified by a bounded pool of threads of their own, never on a worker. Networks take turns in its queue, and callers
//!   of one client with one secret have one place in it: one verification answers them all. A wrong one counts for each of them.
//! - A wrong secret and an unknown client cost the same and read the same: as many hashes are verified for anybody as the client
//!   with most of them has (invented ones where there are none), and both are refused by one cause. What remains to be told apart
//!   is a client whose hash costs more or less than most; `check` warns of the cheap ones.
//! - Wrong secrets are limited by client, by client at one address (half of that: so nobody alone shuts a client out) and by address; beyond the limit
//!   they are left unverified. A secret that was right before never is. Of what is unverified nobody knows whether it is wrong: who showed it
//!   hears `server_error`, whoever he says to be.
//!
//! Must not: keep a clear secret, say to a caller which of the two it was, or occupy a worker.

mod argon;
mod aside;
mod attempts;
mod pool;
mod question;
#[cfg(test)]
mod tests;
mod verified;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use attempts::Attempts;
pub use attempts::Rate;
use pool::Pool;
use question::{Outcome, Question};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;
pub use verified::Verified;

use super::Snapshot;
use crate::domain::chance::Entropy;
use crate::domain::client::{Client, Credentials, Placement, Presented};
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::domain::time::Clock;

/// How many wrong secrets are verified before further ones are refused unverified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardLimits {
    /// For one claimed client id; half of it from one address.
    pub per_client: Rate,
    /// For one address (IPv6: one /64).
    pub per_address: Rate,
}

/// Checks old secrets. Shared by all workers.
#[derive(Debug)]
pub struct Guard {
    pool: Pool<Outcome>,
    books: Arc<Books>,
}

/// A secret that the old server accepted of a client.
#[derive(Debug)]
pub struct Shown {
    /// The client.
    pub client: Arc<Client>,
    /// The secret.
    pub secret: SecretString,
    /// Who showed it.
    pub address: IpAddr,
}

/// What a secret that the old server accepted teaches.
pub enum Lesson {
    /// Nothing: it fits a hash that the client has.
    Known,
    /// This hash of it.
    New(String),
}

impl fmt::Debug for Lesson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Known => "Known",
            Self::New(_) => "New(redacted)",
        })
    }
}

/// What callers and the pool's threads write down together.
#[derive(Debug)]
struct Books {
    by_client: Attempts<str>,
    by_both: Attempts<(Arc<str>, IpAddr)>,
    by_address: Attempts<IpAddr>,
    clock: Arc<dyn Clock>,
    verifications: AtomicU64,
}

impl Books {
    /// Whether one may be tried; the error says whose were too many.
    fn may_try(&self, claimed: &Arc<str>, network: IpAddr) -> Result<(), &'static str> {
        let now = self.clock.monotonic();
        if !self.by_client.may_try(claimed, now) {
            return Err(OF_CLIENT);
        }
        if !self.by_both.may_try(&(Arc::clone(claimed), network), now) {
            return Err(OF_BOTH);
        }
        if self.by_address.may_try(&network, now) { Ok(()) } else { Err(OF_ADDRESS) }
    }

    /// Answers who asked what was found wrong for another: counted, unless there were too many, as if it had been verified.
    fn wrong_too(&self, question: &Question) -> Outcome {
        if let Err(why) = self.may_try(&question.claimed, question.network) {
            return Outcome::Unverified(why);
        }
        self.failed(&question.claimed, question.network);
        Outcome::Wrong
    }

    fn failed(&self, claimed: &Arc<str>, network: IpAddr) {
        let now = self.clock.monotonic();
        self.by_client.failed(claimed, now);
        self.by_both.failed(&(Arc::clone(claimed), network), now);
        self.by_address.failed(&network, now);
    }
}

impl Guard {
    /// Starts the pool.
    ///
    /// # Errors
    /// The machine gives no thread.
    pub fn new(limits: GuardLimits, threads: usize, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let Rate { count, period } = limits.per_client;
        let books = Books {
            by_client: Attempts::new(limits.per_client),
            by_both: Attempts::new(Rate { count: count.div_ceil(2), period }),
            by_address: Attempts::new(limits.per_address),
            clock,
            verifications: AtomicU64::new(0),
        };
        Ok(Self { pool: Pool::start(threads)?, books: Arc::new(books) })
    }

    /// How many hashes were verified since the start, invented ones included: what answers have cost, by which its tests know that a wrong secret
    /// costs as much as an unknown client.
    pub fn verifications(&self) -> u64 {
        self.books.verifications.load(Ordering::Relaxed)
    }

    /// Finds the client whose credentials these are, whatever its stage.
    ///
    /// # Errors
    /// They are nobody's; or it cannot be found out now, as too many wait or there were too many wrong ones: the client hears `server_error`. The detail, for the
    /// log alone, says which.
    pub async fn authenticate(
        &self,
        snapshot: &Snapshot,
        presented: &Presented,
        address: IpAddr,
    ) -> Result<Arc<Client>, Refusal> {
        if let Some(client) = self.recognize(snapshot, presented) {
            return Ok(client);
        }
        let question = Question::of(snapshot, presented, address, &self.books);
        let client = question.client.clone();
        match (self.answer(question).await?, client) {
            (Outcome::Right(slot), Some(client)) => {
                self.used(&client, slot);
                Ok(client)
            }
            // Somebody's doing; not a fault of this program.
            (Outcome::Unverified(why), _) => Err(Refusal::server(Fault::Client, why)),
            (Outcome::Wrong | Outcome::Right(_), None) => Err(wrong(nobodys(snapshot, presented))),
            (Outcome::Wrong, Some(_)) => Err(wrong("the secret is wrong")),
        }
    }

    /// The answer to a question, by the verification for another caller where one waits who asks the same.
    async fn answer(&self, question: Question) -> Result<Outcome, Refusal> {
        let key = question.key();
        let mut was_lost = false;
        loop {
            if let Err(why) = self.books.may_try(&question.claimed, question.network) {
                return Ok(Outcome::Unverified(why));
            }
            let asked = question.clone();
            let Some(waiting) = self.pool.run_once(key, question.network, move |argon| asked.answer(argon)) else {
                return Err(Refusal::server(Fault::Ourselves, "too many secrets wait to be verified"));
            };
            let lost = |_| {
                Refusal::server(Fault::Ourselves, "too many secrets wait to be verified, or the verification was lost")
            };
            let answer = waiting.answer.await;
            // Sent away, perhaps, with whoever asked the same from a network that had more waiting.
            if answer.is_err() && waiting.has_joined && !std::mem::replace(&mut was_lost, true) {
                continue;
            }
            match answer.map_err(lost)? {
                // Too many from the other one's network say nothing of this one.
                Outcome::Unverified(_) if waiting.has_joined => {}
                Outcome::Wrong if waiting.has_joined => return Ok(self.books.wrong_too(&question)),
                outcome @ (Outcome::Right(_) | Outcome::Wrong | Outcome::Unverified(_)) => return Ok(outcome),
            }
        }
    }

    /// The client whose credentials these are, where they were right before: by a keyed hash.
    fn recognize(&self, snapshot: &Snapshot, presented: &Presented) -> Option<Arc<Client>> {
        presented.readings.iter().find_map(|reading| {
            let client = known(snapshot, reading, presented.placement)?;
            let slot = snapshot.verified.slot(client, reading.secret.expose_secret())?;
            self.used(client, slot);
            Some(Arc::clone(client))
        })
    }

    fn used(&self, client: &Client, slot: usize) {
        client.legacy_uses.mark(slot, self.books.clock.now());
    }

    /// Whether this secret of a client was right before, by a keyed hash. Costs microseconds.
    pub fn knows(&self, snapshot: &Snapshot, client: &Client, secret: &SecretString) -> bool {
        snapshot.verified.slot(client, secret.expose_secret()).is_some()
    }

    /// Finds out, on the guard's threads, whether a secret that the old server accepted is news. `None`: too many secrets wait.
    pub async fn lesson(&self, snapshot: &Snapshot, shown: &Shown, entropy: Arc<dyn Entropy>) -> Option<Lesson> {
        let question = Question::of_accepted(snapshot, shown, &self.books);
        let (tell, told) = oneshot::channel();
        let done = self.pool.run(question.network, move |argon| {
            let _nobody_waits = tell.send(question.lesson(argon, &*entropy));
            // Nobody is let in by this.
            Outcome::Wrong
        })?;
        done.await.ok()?;
        told.await.ok()?
    }

    /// Remembers a secret as right whose hash was learned just now.
    pub fn remember(&self, snapshot: &Snapshot, shown: &Shown) {
        if let Some((slot, _)) = shown.client.learned() {
            snapshot.verified.insert(&shown.client, shown.secret.expose_secret(), slot);
        }
    }
}

const OF_CLIENT: &str = "too many wrong secrets of this client id (`limits.wrong_secrets.per_client`); left unverified";
const OF_BOTH: &str = "too many wrong secrets of this client id from this address (half of `limits.wrong_secrets.per_client`); left unverified";
const OF_ADDRESS: &str = "too many wrong secrets, of whichever clients, from this address (`limits.wrong_secrets.per_address`; \
                          a proxy's belongs into `server.trusted_proxies`); left unverified";

/// The client of a reading, unless its credentials stand where its mapping does not allow them.
fn known<'s>(snapshot: &'s Snapshot, reading: &Credentials, placement: Placement) -> Option<&'s Arc<Client>> {
    let client = snapshot.table.client(&reading.id)?;
    (placement != Placement::Query || client.allow_query_credentials).then_some(client)
}

/// Why credentials are nobody's, for the log alone.
fn nobodys(snapshot: &Snapshot, presented: &Presented) -> &'static str {
    if presented.readings.iter().any(|reading| snapshot.table.client(&reading.id).is_some()) {
        "the credentials stand in the query, and the mapping does not say `allow_query_credentials`"
    } else if snapshot.table.exchanged(presented).is_some() {
        "id and secret are exchanged"
    } else {
        "no mapping has this client id"
    }
}

fn wrong(detail: &'static str) -> Refusal {
    Refusal::client(Cause::ClientCredentials, detail)
}
