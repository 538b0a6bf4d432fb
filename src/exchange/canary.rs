//! Canaries: who of a client at stage canary goes to the realm, how that goes, and the step back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::stage::Ask;
use super::staged::{self, Staged};
use super::{Bridge, Exchange};
use crate::domain::canary::{Figures, StepBack, Window};
use crate::domain::client::{Client, Stage};
use crate::domain::opaque::Fingerprint;
use crate::store::{Memo, TokenStore};
use crate::telemetry::log;

/// So long this process goes by what it knows; then it looks whether another instance has stepped back.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What one process knows of the clients at stage canary.
#[derive(Debug, Default)]
pub struct Canaries {
    watched: Mutex<HashMap<(Arc<str>, Fingerprint), Watched>>,
    /// Clients with a staging that is over, of which the store may have a step back yet.
    over: Mutex<HashSet<(Arc<str>, Fingerprint)>>,
    /// Many write their step back at a time; nothing is forgotten meanwhile, for what is being written cannot be found yet.
    #[expect(clippy::disallowed_types, reason = "it holds no value, and whoever forgets does not wait for it")]
    writing: tokio::sync::RwLock<()>,
}

/// One client since it was staged.
#[derive(Debug)]
struct Watched {
    window: Window,
    step_back: Option<StepBack>,
    /// Whether the store has it.
    is_kept: bool,
    /// When the store was last asked.
    looked: Option<Duration>,
}

/// How a client at stage canary fares.
#[derive(Clone, Debug)]
pub struct Fares {
    /// What was counted here since it was staged, or since the start.
    pub figures: Figures,
    /// Its logins went back to the old server.
    pub step_back: Option<StepBack>,
}

impl Watched {
    fn new() -> Self {
        Self { window: Window::default(), step_back: None, is_kept: true, looked: None }
    }

    /// Takes what the store had when it was asked. In the meantime its logins may have gone badly: then this is the newer word.
    fn hear(&mut self, kept: Option<StepBack>, asked: Duration) -> bool {
        self.looked = Some(asked);
        if self.step_back.is_none() {
            self.step_back = kept;
        }
        self.step_back.is_some()
    }
}

impl Canaries {
    fn with<T>(&self, client: &Client, act: impl FnOnce(&mut Watched) -> T) -> T {
        act(self.watched.lock().entry(client.staged()).or_insert_with(Watched::new))
    }

    /// The same of one that has stepped back so, and whose staging no load has ended since.
    fn with_step_back<T>(&self, client: &Client, it: &StepBack, act: impl FnOnce(&mut Watched) -> T) -> Option<T> {
        let mut watched = self.watched.lock();
        watched.get_mut(&client.staged()).filter(|watched| watched.step_back.as_ref() == Some(it)).map(act)
    }

    fn figures(&self, client: &Client) -> Figures {
        self.with(client, |watched| watched.window.figures())
    }

    /// Forgets how a client fared at a staging that a load has ended: where it is staged the same way again, it begins anew.
    pub fn end(&self, client: &Client) {
        let mut watched = self.watched.lock();
        watched.remove(&client.staged());
        self.over.lock().insert(client.staged());
    }

    fn is_over(&self, client: &Client) -> bool {
        self.over.lock().contains(&client.staged())
    }

    /// Has the store forget it, too; what it does not take now is for the next time.
    pub async fn forget_over(&self, store: &TokenStore) {
        let over: Vec<_> = self.over.lock().iter().cloned().collect();
        let mut has_settled = false;
        for one in over {
            let Ok(_nobody_writes) = self.writing.try_write() else { return };
            // It may have been staged the same way again, and stepped back.
            if !self.over.lock().contains(&one) {
                continue;
            }
            has_settled = has_settled || staged::has_settled(store).await;
            if !has_settled {
                return;
            }
            if staged::forget::<StepBack>(store, &name(&one.0), one.1).await.is_ok() {
                self.over.lock().remove(&one);
            }
        }
    }
}

fn name(client: &str) -> String {
    format!("step_back/{client}")
}

impl Staged for StepBack {
    fn staging(&self) -> Fingerprint {
        self.staging
    }
}

impl Exchange {
    /// Whether this login of a client at stage canary goes to the realm.
    pub(super) async fn is_chosen(&self, client: &Client, ask: Ask, passport: Option<&str>) -> bool {
        let (Stage::Canary, Ask::Login, Some(canary), Some(passport)) = (client.stage, ask, client.canary, passport)
        else {
            return false;
        };
        let Some(secret) = client.client_secrets.first() else { return false };
        canary.takes(secret, passport) && !self.has_stepped_back(client).await
    }

    /// Whether all logins of this client went back to the old server; also where nobody can tell, for that is the safe side.
    async fn has_stepped_back(&self, client: &Client) -> bool {
        let (canaries, now) = (&self.bridge.canaries, self.bridge.clock.monotonic());
        let (known, is_due) = canaries.with(client, |watched| {
            let is_due =
                watched.looked.is_none_or(|looked| now.saturating_sub(looked) >= LOOK_AGAIN) || !watched.is_kept;
            (watched.step_back.clone(), is_due)
        });
        if let (Some(step_back), true) = (&known, is_due) {
            // A Redis that was restarted empty has forgotten it, and other instances will.
            let is_lost = matches!(self.kept(client).await, Ok(None));
            canaries.with_step_back(client, step_back, |watched| {
                watched.looked = Some(now);
                watched.is_kept &= !is_lost;
            });
            self.keep_step_back(client, step_back).await;
        }
        if known.is_some() {
            return true;
        }
        if !is_due {
            return false;
        }
        match self.kept(client).await {
            Ok(step_back) => self.hear(client, step_back, now),
            Err(()) => canaries.with(client, |watched| watched.looked.is_none()),
        }
    }

    /// Takes what the store had when it was asked, and shows it; a staging that has ended meanwhile has nothing to take or to show. Whether all
    /// logins went back.
    fn hear(&self, client: &Client, kept: Option<StepBack>, asked: Duration) -> bool {
        self.bridge.canaries.with(client, |watched| {
            if !self.is_as_staged(client) {
                return kept.is_some();
            }
            let is_back = watched.hear(kept, asked);
            self.bridge.edge.canary(&client.legacy_id, is_back);
            is_back
        })
    }

    /// The step back that the store has of this staging.
    async fn kept(&self, client: &Client) -> Result<Option<StepBack>, ()> {
        if self.bridge.canaries.is_over(client) {
            return Ok(None);
        }
        let kept = staged::kept(&self.bridge.store, &name(&client.legacy_id), client.staging()).await;
        kept.map_err(|error| log::store("reading a step back", &error))
    }

    async fn keep_step_back(&self, client: &Client, step_back: &StepBack) {
        if self.bridge.canaries.with(client, |watched| watched.is_kept) {
            return;
        }
        let Ok(value) = postcard::to_stdvec(step_back) else { return };
        let canaries = &self.bridge.canaries;
        let _nothing_is_forgotten = canaries.writing.read().await;
        let was_over = canaries.is_over(client);
        // A load may have ended its staging while others were forgotten, and begun one of its kind.
        if canaries.with_step_back(client, step_back, |_| ()).is_none() {
            return;
        }
        match self.bridge.store.memo_put(&Memo { name: name(&client.legacy_id), value }).await {
            Ok(()) => {
                // What is there now is of this time, unless that has ended meanwhile.
                canaries.with_step_back(client, step_back, |watched| {
                    watched.is_kept = true;
                    if was_over {
                        canaries.over.lock().remove(&client.staged());
                    }
                });
            }
            Err(error) => log::store("keeping a step back, which holds until the next start only", &error),
        }
    }

    /// A login went to the realm. If that goes too badly, it was the last one.
    pub(super) async fn went_to_the_realm(&self, client: &Client, got_tokens: bool) {
        // Late ones of a staging that is over decide nothing any more.
        let Some(canary) = client.canary.filter(|_| self.is_as_staged(client)) else { return };
        let at = self.bridge.clock.now();
        let stepped = self.bridge.canaries.with(client, |watched| {
            watched.window.at_the_realm(got_tokens);
            let figures = watched.window.figures();
            if watched.step_back.is_some() || !figures.too_bad(canary.step_back_at) {
                return None;
            }
            watched.is_kept = false;
            watched.step_back = Some(StepBack { staging: client.staging(), at, figures });
            watched.step_back.clone()
        });
        if let Some(step_back) = stepped {
            self.bridge.edge.stepped_back(&client.legacy_id, step_back.figures);
            self.keep_step_back(client, &step_back).await;
        }
    }

    /// A login of a client at stage canary went to the old server.
    pub(super) fn went_to_the_old_server(&self, client: &Client, refused: bool) {
        if self.is_as_staged(client) {
            self.bridge.canaries.with(client, |watched| watched.window.at_the_old_server(refused));
        }
    }

    /// Shows of every client at stage canary whether its logins went back to the old server: before this process began, and, until the end,
    /// by what another instance found, though nobody logs in here.
    pub async fn show_canaries(&self, end: &CancellationToken) {
        self.look_at_canaries().await;
        while self.bridge.store.is_shared() && end.run_until_cancelled(sleep(LOOK_AGAIN)).await.is_some() {
            self.look_at_canaries().await;
        }
    }

    async fn look_at_canaries(&self) {
        let Bridge { snapshot, canaries, clock, .. } = &*self.bridge;
        let used = snapshot.load_full();
        for client in used.table.clients().filter(|client| client.stage == Stage::Canary) {
            if !self.is_as_staged(client) || canaries.with(client, |watched| watched.step_back.is_some()) {
                continue;
            }
            let asked = clock.monotonic();
            // What the store does not tell now, it tells the next time, of the others too.
            let Ok(step_back) = self.kept(client).await else { return };
            self.hear(client, step_back, asked);
        }
    }

    /// How a client at stage canary fares; `None`: it is at another.
    pub async fn fares(&self, client: &Client) -> Option<Fares> {
        if client.stage != Stage::Canary {
            return None;
        }
        let known = self.bridge.canaries.with(client, |watched| watched.step_back.clone());
        let step_back = match known {
            Some(known) => Some(known),
            None => self.kept(client).await.ok().flatten(),
        };
        Some(Fares { figures: self.bridge.canaries.figures(client), step_back })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn a_step_back_is_not_forgotten_for_what_the_store_had_before_it() {
        let staging = Fingerprint::of("staging", b"one");
        let at = |secs| StepBack { staging, at: Timestamp::from_secs(secs), figures: Figures::default() };
        let asked = Duration::from_secs(1);
        let mut watched = Watched::new();
        assert!(!watched.hear(None, asked));
        assert!(watched.hear(Some(at(5)), asked), "another instance has stepped back");
        let mut watched = Watched { step_back: Some(at(7)), ..Watched::new() };
        assert!(watched.hear(None, asked));
        assert!(watched.hear(Some(at(5)), asked));
        assert_eq!(watched.step_back.map(|step_back| step_back.at), Some(Timestamp::from_secs(7)));
    }
}
