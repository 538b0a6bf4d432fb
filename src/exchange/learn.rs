//! What is learned of old secrets: each that the old server accepted, of a client whose mapping says `{ learn = true }`, as a
//! hash. Kept in the store; nobody waits for it.

use std::net::IpAddr;
use std::sync::Arc;

use secrecy::SecretString;

use super::{Bridge, Exchange, store_failed};
use crate::domain::client::{Client, LegacySecret, Presented};
use crate::domain::refusal::Refusal;
use crate::mapping::{Lesson, Shown, Snapshot};
use crate::store::{Memo, StoreError, TokenStore};
use crate::telemetry::log;

const READING: &str = "reading what was learned of a secret";

fn name(client: &Client) -> String {
    format!("learned/{}", client.legacy_id)
}

impl Exchange {
    /// The old server accepted this secret; of a client that learns, it is learned. What is known already costs a keyed hash; the rest goes on beside the answer.
    pub(super) fn learn(&self, client: &Arc<Client>, secret: SecretString, address: IpAddr) {
        let Some((_, learned)) = client.learned() else { return };
        let bridge = Arc::clone(&self.bridge);
        let snapshot = bridge.snapshot.load_full();
        if bridge.guard.knows(&snapshot, client, &secret) || !learned.begin() {
            return;
        }
        let shown = Shown { client: Arc::clone(client), secret, address };
        self.tasks.run(async move {
            bridge.take_lesson(&snapshot, &shown).await;
            if let Some((_, learned)) = shown.client.learned() {
                learned.end();
            }
        });
    }

    /// Looks what was learned of whoever says to be calling, by this process before its start and by other instances.
    ///
    /// # Errors
    /// The store fails, and has told nothing so far: nobody can say which secret is right.
    pub(super) async fn recall(&self, snapshot: &Snapshot, presented: &Presented) -> Result<(), Refusal> {
        let now = self.bridge.clock.monotonic();
        for client in presented.readings.iter().filter_map(|reading| snapshot.table.client(&reading.id)) {
            let Some((_, learned)) = client.learned() else { continue };
            if !learned.is_due(now) {
                continue;
            }
            match self.bridge.look(client).await {
                Ok(()) => {}
                Err(error) if learned.is_read() => log::store(READING, &error),
                Err(error) => return Err(store_failed(error)),
            }
        }
        Ok(())
    }

    /// Hashes of the old secrets of a client that were learned, the newest first; `None`: nothing is learned of it.
    pub async fn learned(&self, client: &Client) -> Option<Vec<String>> {
        client.learned()?;
        if let Err(error) = self.bridge.look(client).await {
            log::store(READING, &error);
        }
        client.learned().map(|(_, learned)| learned.hashes())
    }

    /// Forgets what was learned of a client whose mapping has all of it, and says no more that it is learned.
    ///
    /// # Errors
    /// Why it is kept. What was learned while the mapping was being written is nowhere else.
    pub async fn forget_learned(&self, client: &Client) -> Result<(), &'static str> {
        if client.learned().is_some() {
            return Err("nothing is forgotten: the client's mapping still says { learn = true }");
        }
        let store = &self.bridge.store;
        let failed = |error| {
            log::store("forgetting what was learned of a secret", &error);
            "nothing is forgotten: the store failed"
        };
        let has = |hash: &String| {
            client.legacy_secrets.iter().any(|one| matches!(one, LegacySecret::Hash(there) if there == hash))
        };
        let Some(kept) = kept(store, client).await.map_err(failed)? else {
            return Err("nothing is forgotten: what was learned cannot be read; a newer bridge may have written it");
        };
        if !kept.iter().all(has) {
            return Err(
                "nothing is forgotten: another secret was learned meanwhile; put { learn = true } beside the hash again, and `write-learned` writes it too",
            );
        }
        store.memo_delete(&name(client)).await.map_err(failed)
    }
}

/// The hashes that the store has; `None`: they cannot be read.
async fn kept(store: &TokenStore, client: &Client) -> Result<Option<Vec<String>>, StoreError> {
    let kept = store.memo(&name(client)).await?;
    Ok(kept.map_or_else(|| Some(Vec::new()), |bytes| postcard::from_bytes(&bytes).ok()))
}

impl Bridge {
    /// Takes what the store has, and gives it what it has not: what another instance wrote over in the same moment, or it lost.
    async fn look(&self, client: &Client) -> Result<(), StoreError> {
        let Some((_, learned)) = client.learned() else { return Ok(()) };
        let kept = kept(&self.store, client).await?.unwrap_or_default();
        let before = kept.len();
        learned.take(kept, client.learnable());
        let hashes = learned.hashes();
        if hashes.len() > before
            && let Err(error) = self.keep(client, &hashes).await
        {
            log::store("keeping what was learned of a secret, which is tried again", &error);
        }
        Ok(())
    }

    async fn keep(&self, client: &Client, hashes: &[String]) -> Result<(), StoreError> {
        // A list of texts is encoded into memory, which cannot fail.
        let value = postcard::to_stdvec(hashes).unwrap_or_default();
        self.store.memo_put(&Memo { name: name(client), value }).await
    }

    async fn take_lesson(&self, snapshot: &Snapshot, shown: &Shown) {
        let client = &shown.client;
        // Another instance may have learned it. What cannot be read shall not be written over.
        if let Err(error) = self.look(client).await {
            log::store(READING, &error);
            self.edge.lesson_lost(&client.legacy_id);
            return;
        }
        let Some(Lesson::New(hash)) = self.guard.lesson(snapshot, shown, Arc::clone(&self.entropy)).await else {
            return;
        };
        let Some((_, learned)) = client.learned() else { return };
        let hashes = learned.with(hash, client.learnable());
        // Kept before it counts: what a restart would forget lets nobody in.
        if let Err(error) = self.keep(client, &hashes).await {
            log::store("keeping what was learned of a secret, which is tried again at its next use", &error);
            self.edge.lesson_lost(&client.legacy_id);
            return;
        }
        self.edge.learned(&client.legacy_id, hashes.len());
        learned.take(hashes, client.learnable());
        self.guard.remember(snapshot, shown);
    }
}
