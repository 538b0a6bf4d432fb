//! What is learned of old secrets: each that the old server accepted, of a client whose mapping says `{ learn = true }`, as a
//! hash. Kept in the store; nobody waits for it.

use std::net::IpAddr;
use std::sync::Arc;

use secrecy::SecretString;

use super::{Bridge, Exchange, store_failed};
use crate::domain::client::{Client, LegacySecret, Presented};
use crate::domain::refusal::Refusal;
use crate::mapping::{Lesson, Shown, Snapshot};
use crate::store::{Memo, StoreError};
use crate::telemetry::log;

/// So often a secret is learned anew where another instance learned one of the same client meanwhile.
const TRIES: usize = 8;

const READING: &str = "reading what was learned of a secret";
const LEARNED_MEANWHILE: &str = "nothing is forgotten: another secret was learned meanwhile; put { learn = true } beside the hash again, and `write-learned` writes it too";

fn name(client: &Client) -> String {
    format!("learned/{}", client.legacy_id)
}

impl Exchange {
    /// The old server accepted this secret; of a client that learns, it is learned. What is known already costs a keyed hash; the rest goes on beside the answer.
    pub(super) fn learn(&self, client: &Arc<Client>, secret: SecretString, address: IpAddr) {
        let Some((_, learned)) = client.learned() else { return };
        let bridge = Arc::clone(&self.bridge);
        let snapshot = bridge.snapshot.load_full();
        if bridge.guard.knows(&snapshot, client, &secret) {
            return;
        }
        let Some(learning) = learned.begin() else { return };
        let shown = Shown { client: Arc::clone(client), secret, address };
        self.tasks.run(async move {
            bridge.take_lesson(&snapshot, &shown).await;
            drop(learning);
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
                Ok(_) => {}
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

    /// Forgets what was learned of a client whose mapping has all of it, and says no more that it is learned. An empty list is left: whoever goes by the
    /// table of before shall not take it for lost.
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
        let kept = store.memo(&name(client)).await.map_err(failed)?;
        let Some(hashes) = hashes_in(kept.as_deref()) else {
            return Err("nothing is forgotten: what was learned cannot be read; a newer bridge may have written it");
        };
        if !hashes.iter().all(has) {
            return Err(LEARNED_MEANWHILE);
        }
        let given = self.bridge.keep(client, kept.as_deref(), &[]).await.map_err(failed)?;
        given.map(drop).ok_or(LEARNED_MEANWHILE)
    }
}

/// The hashes in what the store has; `None`: they cannot be read.
fn hashes_in(kept: Option<&[u8]>) -> Option<Vec<String>> {
    kept.map_or_else(|| Some(Vec::new()), |bytes| postcard::from_bytes(bytes).ok())
}

impl Bridge {
    /// Takes what the store has, and gives it what it lost, which is not what it was told to forget. Answers what it has then.
    async fn look(&self, client: &Client) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((_, learned)) = client.learned() else { return Ok(None) };
        let kept = self.store.memo(&name(client)).await?;
        let hashes = hashes_in(kept.as_deref()).unwrap_or_default();
        let before = hashes.len();
        let was_told_to_forget = kept.is_some() && hashes.is_empty();
        if learned.turns_up(&hashes) {
            // The store said that it has not kept it, or nothing at all.
            self.edge.learned(&client.legacy_id, before);
        }
        learned.take(hashes, client.learnable());
        let hashes = learned.hashes();
        if hashes.len() > before && !was_told_to_forget {
            match self.keep(client, kept.as_deref(), &hashes).await {
                Ok(Some(given)) => return Ok(Some(given)),
                // Another instance was faster: it is for the next look.
                Ok(None) => {}
                Err(error) => log::store("keeping what was learned of a secret, which is tried again", &error),
            }
        }
        Ok(kept)
    }

    /// Keeps these in place of what was read. Answers what the store has now; `None`: another instance keeps something else.
    async fn keep(
        &self,
        client: &Client,
        read: Option<&[u8]>,
        hashes: &[String],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        // A list of texts is encoded into memory, which cannot fail.
        let memo = Memo { name: name(client), value: postcard::to_stdvec(hashes).unwrap_or_default() };
        Ok(self.store.memo_replace(read, &memo).await?.then_some(memo.value))
    }

    async fn take_lesson(&self, snapshot: &Snapshot, shown: &Shown) {
        let lost = |what, error| {
            log::store(what, &error);
            self.edge.lesson_lost(&shown.client.legacy_id);
        };
        let Some((_, learned)) = shown.client.learned() else { return };
        for _ in 0..TRIES {
            // Another instance may have learned it. What cannot be read shall not be written over.
            let kept = match self.look(&shown.client).await {
                Ok(kept) => kept,
                Err(error) => return lost(READING, error),
            };
            let Some(Lesson::New(hash)) = self.guard.lesson(snapshot, shown, Arc::clone(&self.entropy)).await else {
                return;
            };
            let hashes = learned.with(hash, shown.client.learnable());
            // Kept before it counts: what a restart would forget lets nobody in.
            match self.keep(&shown.client, kept.as_deref(), &hashes).await {
                Ok(Some(_)) => {
                    self.edge.learned(&shown.client.legacy_id, hashes.len());
                    learned.take(hashes, shown.client.learnable());
                    return self.guard.remember(snapshot, shown);
                }
                // Making a hash takes long: another instance has learned one meanwhile, perhaps this one.
                Ok(None) => {}
                Err(error) => {
                    if let Some(hash) = hashes.first() {
                        learned.doubts(hash);
                    }
                    return lost("keeping what was learned of a secret, which is tried again at its next use", error);
                }
            }
        }
    }
}
