//! Tells the realm of revocations: at once, and again until it has heard.
//!
//! Where several instances share the store, each goes through the words of all. One that is behind, with the mapping or the secrets
//! of before, cannot read what another has left, and leaves that to the others.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::revoke::{outbox_binding, outbox_key};
use super::{Bridge, Exchange};
use crate::domain::client::Client;
use crate::domain::family::FamilyId;
use crate::domain::refusal::{Fault, Refusal};
use crate::mapping::Snapshot;
use crate::store::{PendingRevocation, StoreError};
use crate::telemetry::log;

/// How long to wait before a realm that did not hear a word is told it again; each time twice as long.
const AGAIN: Duration = Duration::from_secs(5);

/// It is told it no less often than this; and so often operators hear of each client that something of it is untold.
const AT_LEAST: Duration = Duration::from_secs(60);

/// So long does a word that this instance cannot read wait for one that can.
const FOR_OTHERS: Duration = Duration::from_hours(24);

/// What the realm did not hear so far, by the monotonic clock.
#[derive(Debug, Default)]
struct Unheard {
    words: HashMap<FamilyId, Word>,
    /// When operators last heard of each client.
    clients: HashMap<String, Duration>,
    /// Words that nobody can read.
    damaged: usize,
}

/// A word for the realm about one family.
#[derive(Clone, Copy, Debug)]
struct Word {
    /// When it was not heard for the first time.
    since: Duration,
    /// When it is told again.
    next: Duration,
    /// How long that is after the last time.
    wait: Duration,
}

impl Unheard {
    /// Forgets all but these.
    fn keep(&mut self, waiting: &[PendingRevocation]) {
        let families: HashSet<_> = waiting.iter().map(|pending| pending.family).collect();
        let clients: HashSet<_> = waiting.iter().map(|pending| pending.client.as_str()).collect();
        self.words.retain(|family, _| families.contains(family));
        self.clients.retain(|client, _| clients.contains(client.as_str()));
    }

    fn is_due(&self, family: &FamilyId, now: Duration) -> bool {
        self.words.get(family).is_none_or(|word| now >= word.next)
    }

    /// Whether whoever could read this one had time enough.
    fn is_given_up(&self, family: &FamilyId, now: Duration) -> bool {
        self.words.get(family).is_some_and(|word| now.saturating_sub(word.since) >= FOR_OTHERS)
    }

    /// The realm did not hear this one. Whether operators shall hear of that: of each once, then once a minute for a client.
    fn add(&mut self, pending: &PendingRevocation, now: Duration) -> bool {
        let before = self.words.get(&pending.family);
        let wait = before.map_or(AGAIN, |word| (word.wait * 2).min(AT_LEAST));
        let word = Word { since: before.map_or(now, |word| word.since), next: now.saturating_add(wait), wait };
        let before = self.words.insert(pending.family, word);
        let said = self.clients.get(&pending.client);
        let is_said = before.is_none() || said.is_none_or(|said| now.saturating_sub(*said) >= AT_LEAST);
        if is_said {
            self.clients.insert(pending.client.clone(), now);
        }
        is_said
    }
}

impl Exchange {
    /// Tells until the end: when word is left, and from time to time what the realm could not hear.
    pub async fn tell(&self, end: &CancellationToken) {
        let mut unheard = Unheard::default();
        while !end.is_cancelled() {
            if let Err(error) = self.tell_all(&mut unheard).await {
                log::store("reading what the realm must be told", &error);
            }
            tokio::select! {
                () = end.cancelled() => {}
                _again = timeout(AGAIN, self.bridge.untold.notified()) => {}
            }
        }
    }

    /// Goes through the outbox once, and shows from its beginning on how many revocations the realm has not heard: it may take its time for
    /// each. Damaged ones, which nobody can tell, are of them, and are said where there are others than before.
    async fn tell_all(&self, unheard: &mut Unheard) -> Result<(), StoreError> {
        let now = self.bridge.clock.monotonic();
        let outbox = self.bridge.store.outbox().await?;
        if outbox.damaged > unheard.damaged {
            log::damaged("reading what the realm must be told", outbox.damaged);
        }
        unheard.damaged = outbox.damaged;
        unheard.keep(&outbox.records);
        let show = |untold: usize| self.bridge.metrics.untold.set(i64::try_from(untold).unwrap_or(i64::MAX));
        let mut untold = outbox.damaged + outbox.records.len();
        show(untold);
        for pending in outbox.records {
            if !unheard.is_due(&pending.family, now) {
                continue;
            }
            if let Err(refusal) = self.tell_one(&pending, unheard).await {
                if unheard.add(&pending, now) {
                    log::revocation(&pending.client, pending.family, "untold", &refusal.detail);
                }
            } else {
                self.bridge.store.outbox_delete(&pending).await?;
                untold -= 1;
                show(untold);
            }
        }
        Ok(())
    }

    /// Tells it, unless there is nothing to be told any more.
    async fn tell_one(&self, pending: &PendingRevocation, unheard: &Unheard) -> Result<(), Refusal> {
        let Bridge { clock, snapshot, store, .. } = &*self.bridge;
        let says = |outcome, detail: &str| log::revocation(&pending.client, pending.family, outcome, detail);
        if store.believed(clock.now()) >= pending.until {
            says("dropped", "the realm never heard it, and its session has ended by itself");
            return Ok(());
        }
        let snapshot = snapshot.load_full();
        let (client, token) = match read(&snapshot, pending) {
            Ok(read) => read,
            Err(why) if store.is_shared() && !unheard.is_given_up(&pending.family, clock.monotonic()) => {
                return Err(Refusal::server(
                    Fault::Operator,
                    format!("{why}; it waits for an instance that can tell it"),
                ));
            }
            Err(why) => {
                says("dropped", &format!("{why}; the session ends by itself"));
                return Ok(());
            }
        };
        self.keycloak.load_full().end_session(client, &token).await?;
        says("told", "the realm has ended the session");
        Ok(())
    }
}

/// Whose word it is, and the token in it; or why nobody can say here.
fn read<'a>(snapshot: &'a Snapshot, pending: &PendingRevocation) -> Result<(&'a Client, SecretString), &'static str> {
    let client = snapshot.table.client(&pending.client).ok_or("no mapping has this client")?;
    let token = open(client, pending).ok_or("no secret of the client's mapping opens it")?;
    Ok((client, token))
}

fn open(client: &Client, pending: &PendingRevocation) -> Option<SecretString> {
    client
        .client_secrets
        .iter()
        .find_map(|secret| outbox_key(secret).open_token(&pending.sealed, outbox_binding(&pending.family)).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::seal::Sealed;
    use crate::domain::time::Timestamp;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_word_is_given_up_when_nobody_could_read_it_for_a_day() {
        let family = FamilyId([1; 16]);
        let sealed = Sealed::from_bytes(Vec::new());
        let pending = PendingRevocation { family, client: "l7xx".to_owned(), sealed, until: Timestamp::NEVER };
        let begin = Duration::from_secs(7);
        let mut unheard = Unheard::default();
        assert!(!unheard.is_given_up(&family, begin), "it is looked at for the first time");
        for later in [Duration::ZERO, DAY / 2] {
            unheard.add(&pending, begin + later);
        }
        assert!(!unheard.is_given_up(&family, begin + Duration::from_secs(86_399)));
        assert!(unheard.is_given_up(&family, begin + DAY));
        unheard.keep(&[]);
        assert!(!unheard.is_given_up(&family, begin + DAY));
    }
}
