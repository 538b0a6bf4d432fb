//! One flight for each family: however many want its next tokens, the realm is asked once.
//!
//! A flight goes on when the client that began it has gone. Whoever waited decides again afterwards, by what is kept: so the
//! answer of a refresh reaches everybody by the one way by which it can also be fetched later.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::{Exchange, question, store_failed};
use crate::domain::client::Client;
use crate::domain::family::{AccessFate, AccessRecord, Family, FamilyId, FamilyState, RefreshRecord};
use crate::domain::grant::{Fate, NotGranted, RealmRequest};
use crate::domain::opaque::{Fingerprint, OpaqueToken};
use crate::domain::refresh::{Flight, RefreshDecision, after_failure, decide_asking};
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::domain::scope;
use crate::domain::seal::SealingKey;
use crate::domain::time::Timestamp;
use crate::keycloak::Granted;
use crate::store::{Change, CommitError, Lease, StoreError, TokenStore, Version, Versioned};
use crate::telemetry::log;
use crate::telemetry::trail::Note;

/// How a flight ended.
#[derive(Clone, Debug)]
pub(super) enum Landing {
    /// Decide again. The note is for operators.
    Done(Option<Note>),
    /// The same, and nobody was asked: somebody else was before this one.
    Overtaken,
    /// Another instance is asking; decide again in a moment.
    Elsewhere,
    /// The realm did not grant.
    Failed(Refusal),
    /// The realm gives no such scope to whoever asked for it.
    NoSuchScope(Refusal, AskedScope),
}

/// What a flight is for.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) client: Arc<Client>,
    pub(super) family: FamilyId,
    pub(super) data_key: SealingKey,
    pub(super) purpose: Purpose,
}

#[derive(Debug)]
pub(super) enum Purpose {
    /// The client's refresh: the next pair.
    Rotate(Rotation),
    /// A new JWT behind the UUIDs that there are.
    Renew(Renewal),
}

/// What a flight asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AskedScope {
    /// In the realm's words, where the client asks for one.
    Rotate(Option<String>),
    /// What the UUID was given.
    Renew(Arc<str>),
}

impl Purpose {
    fn scope(&self) -> AskedScope {
        match self {
            Self::Rotate(wish) => AskedScope::Rotate(wish.realm_scope.clone()),
            Self::Renew(wish) => AskedScope::Renew(wish.scope.clone()),
        }
    }

    /// The same in the client's words.
    fn asked(&self) -> Option<&str> {
        match self {
            Self::Rotate(wish) => wish.scope.as_deref(),
            Self::Renew(wish) => Some(&wish.scope),
        }
    }

    fn failed(&self, refusal: Refusal) -> Landing {
        if refusal.cause == Cause::Scope {
            Landing::NoSuchScope(refusal, self.scope())
        } else {
            Landing::Failed(refusal)
        }
    }
}

#[derive(Debug)]
pub(super) struct Renewal {
    /// The access UUID that is in use.
    pub(super) access: Fingerprint,
    /// The time of its JWT: unless it has got a newer one by now.
    pub(super) since: Timestamp,
    /// What this UUID was given: a refresh may have asked for less than its login, and no JWT behind it may open more.
    pub(super) scope: Arc<str>,
}

#[derive(Debug)]
pub(super) struct Rotation {
    pub(super) token: OpaqueToken,
    /// What the token opened.
    pub(super) record: RefreshRecord,
    pub(super) grant_type: String,
    /// Who asks.
    pub(super) address: IpAddr,
    pub(super) scope: Option<String>,
    /// The scope in the realm's words, where the client asks for one.
    pub(super) realm_scope: Option<String>,
}

/// How long to wait before looking again at what another instance does.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Between two looks whether the store's disk hangs, while somebody waits.
const LOOK_AT_DISK: Duration = Duration::from_millis(500);
/// How long a lease lives unless it is renewed.
pub(super) const LEASE: Duration = Duration::from_secs(15);

/// The patience of one who flies again and again until there is something to go by.
#[derive(Debug)]
pub(super) struct Waits {
    flights: u32,
    looks: u32,
    most_looks: u128,
}

/// After so many flights somebody changes the family faster than anybody can look.
const MOST_FLIGHTS: u32 = 10;

impl Waits {
    /// For another instance no longer than this, but until the lease of one that has died is over.
    pub(super) fn new(patience: Duration) -> Self {
        Self { flights: 0, looks: 0, most_looks: patience.max(LEASE).as_millis() / LOOK_AGAIN.as_millis() }
    }

    /// Whether to decide again; waits a moment where another instance is asking.
    pub(super) async fn once_more(&mut self, landing: Landing, store: &TokenStore) -> Result<(), Refusal> {
        match landing {
            Landing::Failed(refusal) | Landing::NoSuchScope(refusal, _) => return Err(refusal),
            Landing::Done(_) | Landing::Overtaken => self.flights += 1,
            Landing::Elsewhere => {
                self.looks += 1;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        if self.flights > MOST_FLIGHTS || u128::from(self.looks) > self.most_looks {
            return Err(took_too_long(store));
        }
        Ok(())
    }
}

/// Nobody knows better whom somebody else waits for: the store, where that is known to be in trouble.
fn took_too_long(store: &TokenStore) -> Refusal {
    match store.newest_failure() {
        Some(error) => store_failed(error),
        None => Refusal::server(Fault::Upstream, "somebody else's question to the realm took too long"),
    }
}

impl Exchange {
    /// Joins the family's flight, or begins it, and waits for its end. A scope that was refused to somebody else is no answer to
    /// whoever asks for another: he decides again.
    pub(super) async fn fly(self: &Arc<Self>, plan: Plan) -> Landing {
        self.fly_or_join(plan).await.0
    }

    /// The same, and whether it was nobody else's flight.
    pub(super) async fn fly_or_join(self: &Arc<Self>, plan: Plan) -> (Landing, bool) {
        let asked = plan.purpose.scope();
        let (mut watch, is_ours) = self.board(plan);
        let in_time = timeout(self.bridge.policy.load().patience + LEASE, watch.wait_for(Option::is_some));
        let landed = tokio::select! {
            landed = in_time => landed,
            // It flies on: what the realm gave is kept once the disk answers.
            error = self.store_hangs() => return (Landing::Failed(store_failed(error)), is_ours),
        };
        let landing = match landed {
            Ok(Ok(landing)) => match landing.clone() {
                None => Landing::Done(None),
                Some(Landing::NoSuchScope(_, theirs)) if theirs != asked => Landing::Done(None),
                Some(landing) => landing,
            },
            Ok(Err(_)) => Landing::Failed(Refusal::server(Fault::Ourselves, "a flight ended without an answer")),
            Err(_) => Landing::Failed(took_too_long(&self.bridge.store)),
        };
        (landing, is_ours)
    }

    /// Comes back once the store's disk hangs.
    async fn store_hangs(&self) -> StoreError {
        loop {
            tokio::time::sleep(LOOK_AT_DISK).await;
            if let Some(error) = self.bridge.store.hangs() {
                return error;
            }
        }
    }

    /// Joins the family's flight, or begins it: whether it does.
    pub(super) fn board(self: &Arc<Self>, plan: Plan) -> (watch::Receiver<Option<Landing>>, bool) {
        let (watch, begun) = self.bridge.flights.begin(plan.family);
        let Some(sender) = begun else { return (watch, false) };
        let exchange = Arc::clone(self);
        self.tasks.run(async move {
            let under_way = exchange.bridge.flights.until_it_lands(plan.family);
            let landed = exchange.lead(&plan).await;
            if let (Err(refusal), Purpose::Renew(_)) = (&landed, &plan.purpose) {
                exchange.tell_of(&plan.client.legacy_id, plan.family, refusal);
            }
            let landing = landed.unwrap_or_else(|refusal| plan.purpose.failed(refusal));
            drop(under_way);
            let _nobody_waits = sender.send(Some(landing));
        });
        (watch, true)
    }

    /// A renewal is nobody's request, and who begins one may go on with the JWT that there is: so this is what says why it failed, and what
    /// ended a login that the realm has ended.
    pub(super) fn tell_of(&self, client: &str, family: FamilyId, refusal: &Refusal) {
        let ended = refusal.cause == Cause::RefreshToken && refusal.fault == Fault::Client;
        if ended || self.bridge.flights.is_to_be_told(client, self.bridge.clock.monotonic()) {
            log::renewal(client, family, refusal);
        }
    }

    async fn lead(&self, plan: &Plan) -> Result<Landing, Refusal> {
        let store = &self.bridge.store;
        // What an earlier flight wants kept waits in the store's queue: a newer lease would fence it off.
        if let Some(error) = store.hangs() {
            return Err(store_failed(error));
        }
        let Some(lease) = store.lease(plan.family, LEASE).await.map_err(store_failed)? else {
            return Ok(Landing::Elsewhere);
        };
        let landing = self.under_lease(plan, lease).await;
        if let Err(error) = store.release(lease).await {
            log::store("giving a lease back; it ends by itself", &error);
        }
        landing
    }

    async fn under_lease(&self, plan: &Plan, lease: Lease) -> Result<Landing, Refusal> {
        let Some(known) = self.bridge.store.family(plan.family).await.map_err(store_failed)? else {
            return Ok(Landing::Overtaken);
        };
        let known = self.bridge.flights.unspent.as_it_is(known);
        let rotation = self.bridge.policy.load().rotation;
        match decide_asking(&known.value.state, Flight { asking: false, rotation }) {
            RefreshDecision::Ask if self.is_overtaken(&plan.purpose, &known.value).await? => {
                return Ok(Landing::Overtaken);
            }
            RefreshDecision::Ask => {}
            RefreshDecision::Lose => return self.change_state(known, FamilyState::Unrefreshable, lease).await,
            RefreshDecision::Wait | RefreshDecision::Replay | RefreshDecision::Reuse | RefreshDecision::Refuse(_) => {
                return Ok(Landing::Overtaken);
            }
        }
        let Some(request) = question::of(plan, &known.value)? else {
            return Err(Refusal::client(Cause::RefreshToken, "the realm gave no refresh token for this login"));
        };
        // Replicas that are away are heard of before the realm is asked: a pair that one Redis alone has is answered to nobody.
        let is_written_down = !rotation.forgives() || self.bridge.store.waits_for_replicas();
        let known = if is_written_down { self.write_down(known, lease).await? } else { Some(known) };
        let Some(known) = known else { return Ok(Landing::Overtaken) };
        match self.ask(&request, lease).await {
            Ok(granted) => self.keep(plan, known, granted, lease).await,
            Err(failure) => {
                self.spare_realm(plan, &failure);
                let state = after_failure(&failure, rotation);
                let rests = state == FamilyState::Resting;
                if let FamilyState::Over(ending) = state {
                    self.word_of_what_stays(plan, &known.value, &failure).await?;
                    self.bridge.store.end(plan.family, ending).await.map_err(store_failed)?;
                } else if let Err(refusal) = self.change_state(known, state, lease).await {
                    if rests {
                        self.bridge.flights.unspent.add(lease);
                    }
                    return Err(refusal);
                }
                Err(scope::whose_fault(failure.refusal, &plan.client, plan.purpose.asked()))
            }
        }
    }

    /// A realm that fails is asked nothing for a while that can wait.
    fn spare_realm(&self, plan: &Plan, failure: &NotGranted) {
        if failure.refusal.fault == Fault::Upstream {
            let (flights, now) = (&self.bridge.flights, self.bridge.clock.monotonic());
            flights.respite.failed(&plan.client.legacy_id, failure.fate == Fate::Unknown, now);
        }
    }

    /// Whether somebody fetched in the meantime what this flight is for.
    async fn is_overtaken(&self, purpose: &Purpose, family: &Family) -> Result<bool, Refusal> {
        match purpose {
            Purpose::Rotate(wish) => Ok(wish.record.generation != family.generation),
            Purpose::Renew(wish) => {
                let record = self.bridge.store.access(&wish.access).await.map_err(store_failed)?;
                let unchanged = |record: &AccessRecord| matches!(&record.fate, AccessFate::Live { jwt_since, .. } if *jwt_since == wish.since);
                Ok(!record.as_ref().is_some_and(unchanged))
            }
        }
    }

    /// Says durably that the realm is being asked: after a crash this reads as *nobody knows*. `None`: somebody changed the
    /// family; decide again.
    async fn write_down(&self, known: Versioned<Family>, lease: Lease) -> Result<Option<Versioned<Family>>, Refusal> {
        let state = FamilyState::Asking { fence: lease.fence, since: self.bridge.clock.now() };
        let family = Family { state, ..known.value };
        let change = Change { fence: Some(lease.fence), ..Change::of(known.version, family.clone()) };
        match self.bridge.store.commit(change).await {
            Ok(()) => {
                self.bridge.flights.unspent.written_down(family.id);
                Ok(Some(Versioned { value: family, version: Version(known.version.0 + 1) }))
            }
            Err(CommitError::Conflict | CommitError::Fenced | CommitError::Unknown) => Ok(None),
            Err(CommitError::Store(error)) => {
                self.take_back(lease, &error).await;
                Err(store_failed(error))
            }
        }
    }

    /// The family may say *asking* now, and nothing was sent. This process remembers that; the store is told at once if it can
    /// hear, for a crash and for other instances.
    async fn take_back(&self, lease: Lease, error: &StoreError) {
        let flights = &self.bridge.flights;
        flights.unspent.not_sent(lease, error);
        // Where this fails too, the memory of this process serves, and it is tried again.
        let _taken_back = flights.unspent.take_back(&self.bridge.store, lease).await;
    }

    async fn change_state(
        &self,
        known: Versioned<Family>,
        state: FamilyState,
        lease: Lease,
    ) -> Result<Landing, Refusal> {
        if known.value.state == state {
            return Ok(Landing::Overtaken);
        }
        let change = Change { fence: Some(lease.fence), ..Change::of(known.version, Family { state, ..known.value }) };
        match self.bridge.store.commit(change).await {
            Ok(()) | Err(CommitError::Conflict | CommitError::Fenced | CommitError::Unknown) => Ok(Landing::Overtaken),
            Err(CommitError::Store(error)) => Err(store_failed(error)),
        }
    }

    /// Asks the realm, and keeps the lease as long as it takes. Its answer is heard though the store hangs.
    async fn ask(&self, request: &RealmRequest, lease: Lease) -> Result<Granted, NotGranted> {
        let keycloak = self.keycloak.load_full();
        tokio::select! {
            answer = keycloak.grant(request) => answer,
            never = self.keep_renewing(lease) => match never {},
        }
    }

    async fn keep_renewing(&self, lease: Lease) -> Infallible {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            // A lease that is lost shows when the answer is kept: it is fenced.
            let _kept = self.bridge.store.renew(lease, LEASE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_an_instance_that_has_died_waits_until_its_lease_is_over() {
        let waits = Waits::new(Duration::from_secs(1));
        assert!(waits.most_looks * LOOK_AGAIN.as_millis() >= LEASE.as_millis());
    }
}
