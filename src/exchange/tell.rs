//! Tells the realm of revocations: at once, and again until it has heard.

use std::time::Duration;

use secrecy::SecretString;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Exchange;
use super::revoke::{outbox_binding, outbox_key};
use crate::domain::client::Client;
use crate::store::{PendingRevocation, StoreError};
use crate::telemetry::log;

/// How long to wait before a realm that did not hear is told again.
const AGAIN: Duration = Duration::from_secs(5);

impl Exchange {
    /// Tells until the end: when word is left, and from time to time what the realm could not hear.
    pub async fn tell(&self, end: &CancellationToken) {
        let mut damaged = 0;
        while !end.is_cancelled() {
            match self.tell_all(&mut damaged).await {
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
    /// tell, are of them, and are said where there are others than `damaged` before.
    async fn tell_all(&self, damaged: &mut usize) -> Result<usize, StoreError> {
        let outbox = self.bridge.store.outbox().await?;
        if outbox.damaged > *damaged {
            log::damaged("reading what the realm must be told", outbox.damaged);
        }
        *damaged = outbox.damaged;
        let mut untold = outbox.damaged;
        for pending in outbox.records {
            if self.tell_one(&pending).await {
                self.bridge.store.outbox_delete(&pending).await?;
            } else {
                untold += 1;
            }
        }
        Ok(untold)
    }

    /// Whether there is nothing more to be told.
    async fn tell_one(&self, pending: &PendingRevocation) -> bool {
        let family = pending.family;
        if self.bridge.clock.now() >= pending.until {
            log::revocation(
                &pending.client,
                family,
                "dropped",
                "the realm never heard it, and its session has ended by itself",
            );
            return true;
        }
        let snapshot = self.bridge.snapshot.load_full();
        let Some(client) = snapshot.table.client(&pending.client) else {
            log::revocation(
                &pending.client,
                family,
                "dropped",
                "no mapping has this client any more; the session ends by itself",
            );
            return true;
        };
        let Some(token) = open(client, pending) else {
            log::revocation(
                &pending.client,
                family,
                "dropped",
                "the client's new secret was exchanged; the session ends by itself",
            );
            return true;
        };
        match self.keycloak.load_full().end_session(client, &token).await {
            Ok(()) => {
                log::revocation(&pending.client, family, "told", "the realm has ended the session");
                true
            }
            Err(failure) => {
                log::revocation(&pending.client, family, "untold", &failure.refusal.detail);
                false
            }
        }
    }
}

fn open(client: &Client, pending: &PendingRevocation) -> Option<SecretString> {
    client.client_secrets.iter().find_map(|secret| {
        let opened = outbox_key(secret).open(&pending.sealed, outbox_binding(&pending.family)).ok()?;
        std::str::from_utf8(&opened).ok().map(SecretString::from)
    })
}
