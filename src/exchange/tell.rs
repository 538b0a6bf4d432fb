//! Tells the realm of revocations: at once, and again until it has heard.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Exchange;
use super::revoke::{outbox_binding, outbox_key};
use crate::domain::client::Client;
use crate::domain::family::FamilyId;
use crate::domain::refusal::Refusal;
use crate::store::{PendingRevocation, StoreError};
use crate::telemetry::log;

/// How long to wait before a realm that did not hear a word is told it again; each time twice as long.
const AGAIN: Duration = Duration::from_secs(5);

/// It is told it no less often than this; and so often operators hear of each client that something of it is untold.
const AT_LEAST: Duration = Duration::from_secs(60);

/// What the realm did not hear so far, by the monotonic clock.
#[derive(Debug, Default)]
struct Unheard {
    /// When each family's word is told again, and how long that is after its last time.
    words: HashMap<FamilyId, (Duration, Duration)>,
    /// When operators last heard of each client.
    clients: HashMap<String, Duration>,
    /// Words that nobody can read.
    damaged: usize,
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
        self.words.get(family).is_none_or(|(next, _)| now >= *next)
    }

    /// The realm did not hear this one. Whether operators shall hear of that: of each once, then once a minute for a client.
    fn add(&mut self, pending: &PendingRevocation, now: Duration) -> bool {
        let before = self.words.get(&pending.family).map(|(_, wait)| *wait);
        let wait = before.map_or(AGAIN, |wait| (wait * 2).min(AT_LEAST));
        self.words.insert(pending.family, (now.saturating_add(wait), wait));
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
            match self.tell_all(&mut unheard).await {
                Ok(untold) => {
                    self.bridge.metrics.untold.set(i64::try_from(untold).unwrap_or(i64::MAX));
                }
                Err(error) => log::store("reading what the realm must be told", &error),
            }
            tokio::select! {
                () = end.cancelled() => {}
                _again = timeout(AGAIN, self.bridge.untold.notified()) => {}
            }
        }
    }

    /// Goes through the outbox once. Answers how many revocations the realm still has not heard: damaged ones, which nobody can
    /// tell, are of them, and are said where there are others than before.
    async fn tell_all(&self, unheard: &mut Unheard) -> Result<usize, StoreError> {
        let now = self.bridge.clock.monotonic();
        let outbox = self.bridge.store.outbox().await?;
        if outbox.damaged > unheard.damaged {
            log::damaged("reading what the realm must be told", outbox.damaged);
        }
        unheard.damaged = outbox.damaged;
        unheard.keep(&outbox.records);
        let mut untold = outbox.damaged;
        for pending in outbox.records {
            if !unheard.is_due(&pending.family, now) {
                untold += 1;
            } else if let Err(refusal) = self.tell_one(&pending).await {
                untold += 1;
                if unheard.add(&pending, now) {
                    log::revocation(&pending.client, pending.family, "untold", &refusal.detail);
                }
            } else {
                self.bridge.store.outbox_delete(&pending).await?;
            }
        }
        Ok(untold)
    }

    /// Tells it, unless there is nothing to be told any more.
    async fn tell_one(&self, pending: &PendingRevocation) -> Result<(), Refusal> {
        let family = pending.family;
        if self.bridge.store.believed(self.bridge.clock.now()) >= pending.until {
            log::revocation(
                &pending.client,
                family,
                "dropped",
                "the realm never heard it, and its session has ended by itself",
            );
            return Ok(());
        }
        let snapshot = self.bridge.snapshot.load_full();
        let Some(client) = snapshot.table.client(&pending.client) else {
            log::revocation(
                &pending.client,
                family,
                "dropped",
                "no mapping has this client any more; the session ends by itself",
            );
            return Ok(());
        };
        let Some(token) = open(client, pending) else {
            log::revocation(
                &pending.client,
                family,
                "dropped",
                "the client's new secret was exchanged; the session ends by itself",
            );
            return Ok(());
        };
        self.keycloak.load_full().end_session(client, &token).await?;
        log::revocation(&pending.client, family, "told", "the realm has ended the session");
        Ok(())
    }
}

fn open(client: &Client, pending: &PendingRevocation) -> Option<SecretString> {
    client
        .client_secrets
        .iter()
        .find_map(|secret| outbox_key(secret).open_token(&pending.sealed, outbox_binding(&pending.family)).ok())
}
