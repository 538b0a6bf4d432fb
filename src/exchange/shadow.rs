//! Shadow: what the bridge would have answered is found out beside the old server's answer, by a task for which no client waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::staged::{self, Staged};
use super::{Exchange, asked_grant, speaks};
use crate::domain::client::{Client, Stage};
use crate::domain::dialect::{Dialect, Endpoint};
use crate::domain::family::FamilyId;
use crate::domain::grant::RealmGrant;
use crate::domain::opaque::Fingerprint;
use crate::domain::refusal::Refusal;
use crate::domain::shadow::{Beside, Tally, Took, Verdict, verdict};
use crate::domain::time::{Timestamp, millis};
use crate::domain::translate::{self, Translated};
use crate::legacy::request::LegacyRequest;
use crate::legacy::{reply, told};
use crate::mapping::Snapshot;
use crate::store::{Memo, TokenStore};
use crate::telemetry::log;

/// So many logins are compared at the same time, all workers together; more are counted and left out.
const MOST: usize = 16;

const READING: &str = "reading what was compared";

/// What one process compared of the clients at stage shadow, and the store does not have yet.
#[derive(Debug)]
pub struct Shadows {
    /// When this process began.
    began: Timestamp,
    /// Clients that a load of it staged: how, and when.
    staged: Mutex<HashMap<Arc<str>, (Fingerprint, Timestamp)>>,
    pending: Mutex<HashMap<(Arc<str>, Fingerprint), Tally>>,
    /// One writes at a time: it adds to what is there.
    writing: tokio::sync::Mutex<()>,
    /// Clients with a staging that is over, of which the store may have a tally yet; and how often one of its kind has ended meanwhile.
    over: Mutex<HashMap<(Arc<str>, Fingerprint), u64>>,
    places: Arc<Semaphore>,
}

impl Shadows {
    /// Of a process that begins.
    #[must_use]
    pub fn new(began: Timestamp) -> Self {
        Self {
            began,
            staged: Mutex::default(),
            pending: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            over: Mutex::default(),
            places: Arc::new(Semaphore::new(MOST)),
        }
    }

    fn with(&self, client: &Client, begun: Timestamp, act: impl FnOnce(&mut Tally)) {
        let new = || Tally::new(client.staging(), begun);
        act(self.pending.lock().entry(client.staged()).or_insert_with(new));
    }

    /// Since when a client is at this stage: since the load of this process that staged it; where there was none a command has written it down, else
    /// since the start.
    fn begun(&self, client: &Client, now: Timestamp) -> Timestamp {
        let moved = || humantime::parse_rfc3339(&client.moved.as_ref()?.at).ok().and_then(Timestamp::of);
        self.loaded(client).or_else(moved).unwrap_or(self.began).min(now)
    }

    /// When a load of this process staged a client so.
    fn loaded(&self, client: &Client) -> Option<Timestamp> {
        let staged = self.staged.lock();
        staged.get(&client.legacy_id).filter(|staged| staged.0 == client.staging()).map(|(_, at)| *at)
    }

    /// Whether another instance staged a client otherwise after this process had it staged so: what comes of this staging is late.
    fn is_outdated(&self, client: &Client, kept: &Tally) -> bool {
        kept.staging != client.staging() && kept.since > self.loaded(client).unwrap_or(self.began)
    }

    /// A load has staged this client.
    pub fn begin(&self, client: &Client, now: Timestamp) {
        self.staged.lock().insert(Arc::clone(&client.legacy_id), (client.staging(), now));
    }

    /// Forgets what was compared at a staging that a load has ended: where it is staged the same way again, it begins anew.
    pub fn end(&self, client: &Client) {
        self.staged.lock().remove(&client.legacy_id);
        self.pending.lock().remove(&client.staged());
        *self.over.lock().entry(client.staged()).or_default() += 1;
    }

    /// How often a staging of this kind has ended since the store forgot of it. `None`: not at all.
    fn over(&self, client: &Client) -> Option<u64> {
        self.over.lock().get(&client.staged()).copied()
    }

    /// Has the store forget it, too; what it does not take now is for the next time.
    pub async fn forget_over(&self, store: &TokenStore) {
        let over: Vec<_> = self.over.lock().keys().cloned().collect();
        let mut has_settled = false;
        for one in over {
            let _one_at_a_time = self.writing.lock().await;
            // It may have been staged the same way again, and compared.
            if !self.over.lock().contains_key(&one) {
                continue;
            }
            has_settled = has_settled || staged::has_settled(store).await;
            if !has_settled {
                return;
            }
            if staged::forget::<Tally>(store, &name(&one.0), one.1).await.is_ok() {
                self.over.lock().remove(&one);
            }
        }
    }

    fn pending(&self, client: &Client) -> Option<Tally> {
        self.pending.lock().get(&client.staged()).cloned()
    }

    fn take(&self, client: &Client) -> Option<Tally> {
        self.pending.lock().remove(&client.staged())
    }
}

/// A login, kept until it is compared.
pub(super) struct Copied {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) dialects: Vec<Arc<Dialect>>,
    pub(super) address: IpAddr,
    pub(super) request: Result<LegacyRequest, Refusal>,
    /// It carries one id and one secret alone.
    pub(super) is_sole: bool,
}

/// What the old server said to it.
pub(super) struct Said {
    /// `None`: nothing.
    pub(super) status: Option<u16>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) took: Duration,
}

fn name(client: &str) -> String {
    format!("shadow/{client}")
}

impl Staged for Tally {
    fn staging(&self) -> Fingerprint {
        self.staging
    }
}

impl Exchange {
    /// Compares a login of a client at stage shadow, in a task of its own.
    pub(super) fn compare_beside(self: &Arc<Self>, client: &Arc<Client>, copied: Copied, said: Said) {
        let took = Took { old_ms: millis(said.took), realm_ms: None };
        let Ok(place) = Arc::clone(&self.bridge.shadows.places).try_acquire_owned() else {
            let verdict = Verdict::left_out();
            if self.count(client, &verdict, took) {
                self.bridge.edge.compared(&client.legacy_id, &verdict, took);
            }
            return;
        };
        let (exchange, client) = (Arc::clone(self), Arc::clone(client));
        self.tasks.run(async move {
            let (verdict, realm) = exchange.compare(&client, copied, &said).await;
            let took = Took { realm_ms: realm.map(millis), ..took };
            if exchange.count(&client, &verdict, took) {
                exchange.keep_tally(&client).await; // durable before anyone hears of it
                exchange.bridge.edge.compared(&client.legacy_id, &verdict, took);
            }
            drop(place);
        });
    }

    /// Holds both against each other; and how long the realm took, where it was asked.
    async fn compare(&self, client: &Arc<Client>, copied: Copied, said: &Said) -> (Verdict, Option<Duration>) {
        let Some(status) = said.status else { return (Verdict::lost(), None) };
        let wish = match self.would_ask(copied, verdict(status) == Some(true)).await {
            Ok(wish) => wish,
            Err(refusal) => {
                let ours = reply::refusal(&client.dialect, Endpoint::Token, refusal.cause).status.as_u16();
                return (Verdict::refused_here(status, &refusal, ours), None);
            }
        };
        if client.shadow == Beside::Look || verdict(status) != Some(true) {
            return (Verdict::nothing_wrong_here(status, doubt(client, &wish)), None);
        }
        let clock = &self.bridge.clock;
        let asked_at = clock.monotonic();
        let answer = self.keycloak.load_full().grant(&wish.request).await;
        let realm = clock.monotonic().saturating_sub(asked_at);
        let verdict = match answer {
            Err(failure) => Verdict::refused_there(&failure.refusal),
            Ok(granted) => {
                self.end_at_once(client, FamilyId::random(&*self.bridge.entropy), &granted.grant).await;
                match told::read(&client.dialect, &said.headers, &said.body) {
                    Ok(told) => Verdict::both_grant(client, &told, wish.asked_scope.as_deref(), &granted.grant),
                    Err(why) => Verdict::unreadable(why),
                }
            }
        };
        (verdict, Some(realm))
    }

    /// Goes the way of a login up to the question to the realm.
    async fn would_ask(&self, copied: Copied, is_accepted: bool) -> Result<Translated, Refusal> {
        let Copied { snapshot, dialects, address, request, is_sole } = copied;
        let request = request?;
        self.recall(&snapshot, &request.presented).await?;
        let guard = &self.bridge.guard;
        let client = if is_accepted && is_sole {
            guard.look_at_accepted(&snapshot, &request.presented, address).await?
        } else {
            guard.look(&snapshot, &request.presented, address).await?
        };
        speaks(&client, &dialects)?;
        let (_, grant) = asked_grant(&request, &client)?;
        let limit = self.bridge.policy.load().parameter;
        translate::to_realm(&client, grant, &request.parameters, Some(address), limit)
    }

    /// Ends a session that nobody uses, and whether that is done. Where the realm cannot hear it now, word is left for it as of any revocation.
    pub(super) async fn end_at_once(&self, client: &Client, family: FamilyId, grant: &RealmGrant) -> bool {
        let Some(refresh) = &grant.refresh else {
            let detail = "a session that nobody uses has no refresh token; it ends by itself";
            log::revocation(&client.legacy_id, family, "dropped", detail);
            return false;
        };
        if self.keycloak.load_full().end_session(client, &refresh.token).await.is_ok() {
            return true;
        }
        let until = refresh.until(self.bridge.clock.now());
        if let Err(refusal) = self.leave_word(client, family, &refresh.token, until).await {
            log::revocation(&client.legacy_id, family, "dropped", &refusal.detail);
        }
        false
    }

    /// Whether the table in use has the client staged so.
    pub(super) fn is_as_staged(&self, client: &Client) -> bool {
        let snapshot = self.bridge.snapshot.load();
        snapshot.table.client(&client.legacy_id).is_some_and(|now| now.staging() == client.staging())
    }

    /// Counts one; unless the client was staged anew in the meantime.
    fn count(&self, client: &Client, verdict: &Verdict, took: Took) -> bool {
        let is_same = self.is_as_staged(client);
        if is_same {
            let now = self.bridge.clock.now();
            let shadows = &self.bridge.shadows;
            shadows.with(client, shadows.begun(client, now), |tally| tally.add(now, verdict, took));
        }
        is_same
    }

    /// Adds what was counted here to what the store has.
    async fn keep_tally(&self, client: &Client) {
        let shadows = &self.bridge.shadows;
        let _one_at_a_time = shadows.writing.lock().await;
        let Some(more) = shadows.take(client) else { return };
        if self.add_to_kept(client, more.clone()).await.is_err() && self.is_as_staged(client) {
            // It is tried again with the next one.
            shadows.with(client, more.since, |tally| tally.join(more));
        }
    }

    async fn add_to_kept(&self, client: &Client, more: Tally) -> Result<(), ()> {
        let shadows = &self.bridge.shadows;
        let was_over = shadows.over(client);
        let kept = staged::of_any::<Tally>(&self.bridge.store, &name(&client.legacy_id)).await;
        let whole = match kept.map_err(|error| log::store(READING, &error))? {
            Some(kept) if shadows.is_outdated(client, &kept) => return Ok(()),
            Some(mut kept) if kept.staging == more.staging && was_over.is_none() => {
                kept.join(more);
                kept
            }
            Some(_) | None => more,
        };
        let value = postcard::to_stdvec(&whole).map_err(drop)?;
        let kept = self.bridge.store.memo_put(&Memo { name: name(&client.legacy_id), value }).await;
        kept.map_err(|error| {
            log::store("keeping what was compared; it is kept with the next comparison", &error);
        })?;
        // What is there now is of this time, unless that has ended meanwhile.
        let mut over = shadows.over.lock();
        if over.get(&client.staged()).copied() == was_over {
            over.remove(&client.staged());
        }
        drop(over);
        Ok(())
    }

    /// What the store has of this staging.
    async fn kept_tally(&self, client: &Client) -> Result<Option<Tally>, ()> {
        if self.bridge.shadows.over(client).is_some() {
            return Ok(None);
        }
        let kept = staged::kept(&self.bridge.store, &name(&client.legacy_id), client.staging()).await;
        kept.map_err(|error| log::store(READING, &error))
    }

    /// What was compared of a client at stage shadow; `None`: it is at another.
    pub async fn tally(&self, client: &Client) -> Option<Tally> {
        if client.stage != Stage::Shadow {
            return None;
        }
        let kept = self.kept_tally(client).await.ok().flatten();
        let shadows = &self.bridge.shadows;
        let pending = shadows.pending(client);
        let nothing = || Tally::new(client.staging(), shadows.begun(client, self.bridge.clock.now()));
        match (kept, pending) {
            (Some(mut kept), Some(pending)) => {
                kept.join(pending);
                Some(kept)
            }
            (kept, pending) => Some(kept.or(pending).unwrap_or_else(nothing)),
        }
    }
}

/// Why the realm would hardly grant this, though the bridge would ask.
fn doubt(client: &Client, wish: &Translated) -> Option<String> {
    if let Some(field) = &wish.over_long {
        return Some(format!("`{field}` is longer than the realm takes, and would be sent whole"));
    }
    let known = client.dialect.realm.scopes.as_ref()?;
    let (_, asked) = wish.request.fields.iter().rev().find(|(name, _)| name == "scope")?;
    let strange = asked.split_ascii_whitespace().find(|word| !known.iter().any(|known| known == word))?;
    Some(format!("the realm has no scope `{strange}`, says the dialect"))
}
