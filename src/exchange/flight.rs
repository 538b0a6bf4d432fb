//! One flight for each family: however many want its next tokens, the realm is asked once.
//!
//! A flight goes on when the client that began it has gone. Whoever waited decides again afterwards, by what is kept: so the
//! answer of a refresh reaches everybody by the one way by which it can also be fetched later.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::timeout;

use super::flights::Begun;
use super::{Exchange, store_failed};
use crate::domain::client::Client;
use crate::domain::dialect::{Dialect, Grant, GrantKind};
use crate::domain::family::{AccessFate, AccessRecord, Ending, Family, FamilyId, FamilyState, RefreshRecord};
use crate::domain::grant::{NotGranted, RealmGrant, RealmRefresh, RealmRequest};
use crate::domain::issue::{self, Asked, Moment, Presented, REALM_REFRESH, binding};
use crate::domain::opaque::{Fingerprint, OpaqueToken, TokenUse};
use crate::domain::refresh::{Flight, RefreshDecision, after_failure, decide_asking};
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::domain::seal::SealingKey;
use crate::domain::time::Timestamp;
use crate::domain::wiped::Wiped;
use crate::keycloak::Granted;
use crate::store::{Change, CommitError, Lease, StoreError, Version, Versioned};
use crate::telemetry::log;
use crate::telemetry::trail::Note;

/// How a flight ended.
#[derive(Clone, Debug)]
pub(super) enum Landing {
    /// Decide again. The note is for operators.
    Done(Option<Note>),
    /// Another instance is asking; decide again in a moment.
    Elsewhere,
    /// The realm did not grant.
    Failed(Refusal),
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
    /// A new JWT behind the UUIDs that there are, unless this access UUID has got a newer one by now than that of this time.
    Renew(Fingerprint, Timestamp),
}

#[derive(Debug)]
pub(super) struct Rotation {
    pub(super) token: OpaqueToken,
    /// What the token opened.
    pub(super) record: RefreshRecord,
    pub(super) grant_type: String,
    pub(super) scope: Option<String>,
    /// The scope in the realm's words, where the client asks for one.
    pub(super) realm_scope: Option<String>,
}

/// How long to wait before looking again at what another instance does.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a lease lives unless it is renewed.
const LEASE: Duration = Duration::from_secs(15);

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
    /// For another instance no longer than this.
    pub(super) fn new(patience: Duration) -> Self {
        Self { flights: 0, looks: 0, most_looks: patience.as_millis() / LOOK_AGAIN.as_millis() }
    }

    pub(super) fn has_waited(&self) -> bool {
        self.flights + self.looks > 0
    }

    /// Whether to decide again; waits a moment where another instance is asking.
    pub(super) async fn once_more(&mut self, landing: Landing) -> Result<(), Refusal> {
        match landing {
            Landing::Failed(refusal) => return Err(refusal),
            Landing::Done(_) => self.flights += 1,
            Landing::Elsewhere => {
                self.looks += 1;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        if self.flights > MOST_FLIGHTS || u128::from(self.looks) > self.most_looks {
            return Err(took_too_long());
        }
        Ok(())
    }
}

fn took_too_long() -> Refusal {
    Refusal::server(Fault::Upstream, "somebody else's question to the realm took too long")
}

impl Exchange {
    /// Joins the family's flight, or begins it, and waits for its end.
    pub(super) async fn fly(self: &Arc<Self>, plan: Plan) -> Landing {
        let mut watch = self.board(plan);
        let landed = timeout(self.bridge.policy.load().patience + LEASE, watch.wait_for(Option::is_some)).await;
        match landed {
            Ok(Ok(landing)) => landing.clone().unwrap_or(Landing::Done(None)),
            Ok(Err(_)) => Landing::Failed(Refusal::server(Fault::Ourselves, "a flight ended without an answer")),
            Err(_) => Landing::Failed(took_too_long()),
        }
    }

    /// Joins the family's flight, or begins it.
    pub(super) fn board(self: &Arc<Self>, plan: Plan) -> watch::Receiver<Option<Landing>> {
        let sender = match self.bridge.flights.begin(plan.family) {
            Begun::Already(watch) => return watch,
            Begun::Now(sender) => sender,
        };
        let watch = sender.subscribe();
        let exchange = Arc::clone(self);
        self.tasks.run(async move {
            let under_way = exchange.bridge.flights.until_it_lands(plan.family);
            let landing = exchange.lead(&plan).await.unwrap_or_else(Landing::Failed);
            drop(under_way);
            let _nobody_waits = sender.send(Some(landing));
        });
        watch
    }

    async fn lead(&self, plan: &Plan) -> Result<Landing, Refusal> {
        let store = &self.bridge.store;
        let Some(lease) = store.lease(plan.family, LEASE).await.map_err(store_failed)? else {
            return Ok(Landing::Elsewhere);
        };
        let landing = self.under_lease(plan, lease).await;
        if let Err(error) = store.release(lease).await {
            log::store("giving a lease back; it ends by itself", &error.with_cause());
        }
        landing
    }

    async fn under_lease(&self, plan: &Plan, lease: Lease) -> Result<Landing, Refusal> {
        let Some(known) = self.bridge.store.family(plan.family).await.map_err(store_failed)? else {
            return Ok(Landing::Done(None));
        };
        let known = self.bridge.flights.as_it_is(known);
        let rotation = self.bridge.policy.load().rotation;
        match decide_asking(&known.value.state, Flight { asking: false, rotation }) {
            RefreshDecision::Ask if self.is_overtaken(&plan.purpose, &known.value).await? => {
                return Ok(Landing::Done(None));
            }
            RefreshDecision::Ask => {}
            RefreshDecision::Lose => return self.change_state(known, FamilyState::Unrefreshable, lease).await,
            RefreshDecision::Wait | RefreshDecision::Replay | RefreshDecision::Reuse | RefreshDecision::Refuse(_) => {
                return Ok(Landing::Done(None));
            }
        }
        let Some(request) = request(plan, &known.value)? else {
            return Err(Refusal::client(Cause::RefreshToken, "the realm gave no refresh token for this login"));
        };
        let known = if rotation.forgives() { Some(known) } else { self.write_down(known, lease).await? };
        let Some(known) = known else { return Ok(Landing::Done(None)) };
        match self.ask(&request, lease).await {
            Ok(granted) => self.keep(plan, known, granted, lease).await,
            Err(failure) => {
                let state = after_failure(&failure, rotation);
                if let FamilyState::Over(ending) = state {
                    self.bridge.store.end(plan.family, ending).await.map_err(store_failed)?;
                } else {
                    self.change_state(known, state, lease).await?;
                }
                Err(failure.refusal)
            }
        }
    }

    /// Whether somebody fetched in the meantime what this flight is for.
    async fn is_overtaken(&self, purpose: &Purpose, family: &Family) -> Result<bool, Refusal> {
        match purpose {
            Purpose::Rotate(wish) => Ok(wish.record.generation != family.generation),
            Purpose::Renew(access, since) => {
                let record = self.bridge.store.access(access).await.map_err(store_failed)?;
                let unchanged = |record: &AccessRecord| matches!(&record.fate, AccessFate::Live { jwt_since, .. } if jwt_since == since);
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
                self.bridge.flights.sent(family.id);
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
        self.bridge.flights.not_sent(lease, error);
        let Ok(Some(known)) = self.bridge.store.family(lease.family).await else { return };
        if self.bridge.flights.never_sent(&known.value) {
            // Where this fails too, the memory of this process serves.
            let _taken_back = self.change_state(known, FamilyState::Resting, lease).await;
        }
    }

    async fn change_state(
        &self,
        known: Versioned<Family>,
        state: FamilyState,
        lease: Lease,
    ) -> Result<Landing, Refusal> {
        if known.value.state == state {
            return Ok(Landing::Done(None));
        }
        let change = Change { fence: Some(lease.fence), ..Change::of(known.version, Family { state, ..known.value }) };
        match self.bridge.store.commit(change).await {
            Ok(()) | Err(CommitError::Conflict | CommitError::Fenced | CommitError::Unknown) => Ok(Landing::Done(None)),
            Err(CommitError::Store(error)) => Err(store_failed(error)),
        }
    }

    /// Asks the realm, and keeps the lease as long as it takes.
    async fn ask(&self, request: &RealmRequest, lease: Lease) -> Result<Granted, NotGranted> {
        let keycloak = self.keycloak.load_full();
        let mut question = std::pin::pin!(keycloak.grant(request));
        loop {
            if let Ok(answer) = timeout(LEASE / 3, &mut question).await {
                return answer;
            }
            // A lease that is lost shows when the answer is kept: it is fenced.
            let _kept = self.bridge.store.renew(lease, LEASE).await;
        }
    }

    async fn keep(
        &self,
        plan: &Plan,
        known: Versioned<Family>,
        granted: Granted,
        lease: Lease,
    ) -> Result<Landing, Refusal> {
        let note = (granted.slot > 0).then_some(Note::SecondSecret);
        let grant = with_refresh(granted.grant, plan, &known.value, self.bridge.clock.now());
        let mut change = match &plan.purpose {
            Purpose::Rotate(wish) => self.rotated(plan, wish, &known, &grant).await?,
            Purpose::Renew(..) => self.renewed(plan, &known, &grant).await?,
        };
        let until = change.family.renewal_until;
        change.fence = Some(lease.fence);
        match self.bridge.store.commit(change).await {
            Ok(()) => {}
            Err(CommitError::Conflict | CommitError::Fenced | CommitError::Unknown) => {
                self.too_late(plan, &grant, until).await?;
            }
            Err(CommitError::Store(error)) => return Err(store_failed(error)),
        }
        Ok(Landing::Done(note))
    }

    /// The family was changed while the realm was asked. Where it ended, the session that was just prolonged must end too; where
    /// another instance went on with it, that session is the living family's.
    async fn too_late(&self, plan: &Plan, grant: &RealmGrant, until: Timestamp) -> Result<(), Refusal> {
        let family = self.bridge.store.family(plan.family).await.map_err(store_failed)?;
        let lives = family.is_some_and(|family| !matches!(family.value.state, FamilyState::Over(_)));
        let token = grant.refresh.as_ref().filter(|_| !lives);
        match token {
            Some(refresh) => self.leave_word(&plan.client, plan.family, &refresh.token, until).await,
            None => Ok(()),
        }
    }

    async fn rotated(
        &self,
        plan: &Plan,
        wish: &Rotation,
        known: &Versioned<Family>,
        grant: &RealmGrant,
    ) -> Result<Change, Refusal> {
        let asked = Asked { client: &plan.client, grant_type: &wish.grant_type, scope: wish.scope.as_deref() };
        let presented = Presented { token: &wish.token, data_key: &plan.data_key };
        let moment = Moment { now: self.bridge.clock.now(), entropy: &*self.bridge.entropy };
        let rotated = issue::rotate(&known.value, asked, presented, grant, moment);
        let mut access = vec![rotated.access];
        if plan.client.dialect.tokens.refresh_ends_old_access {
            // A record of a UUID that is forgotten at the same time would stay for ever.
            let old = self.live_access(&rotated.family).await?;
            let replaced = |record| AccessRecord { fate: AccessFate::Over(Ending::Replaced), ..record };
            access.extend(old.into_iter().map(|(fingerprint, record)| (fingerprint, replaced(record))));
        }
        let mut refresh: Vec<_> = rotated.refresh.into_iter().collect();
        refresh.extend(kept_for_its_answer(plan, wish, moment.now));
        Ok(Change { access, refresh, removals: rotated.forgotten, ..Change::of(known.version, rotated.family) })
    }

    async fn renewed(&self, plan: &Plan, known: &Versioned<Family>, grant: &RealmGrant) -> Result<Change, Refusal> {
        let moment = Moment { now: self.bridge.clock.now(), entropy: &*self.bridge.entropy };
        let (family, access) =
            issue::renew(&known.value, self.live_access(&known.value).await?, &plan.data_key, grant, moment);
        Ok(Change { access, ..Change::of(known.version, family) })
    }

    /// The records of the family's access UUIDs that are still good.
    async fn live_access(&self, family: &Family) -> Result<Vec<(Fingerprint, AccessRecord)>, Refusal> {
        let now = self.bridge.clock.now();
        let mut records = Vec::new();
        for member in family.members.iter().filter(|member| member.token_use == TokenUse::Access && member.until > now)
        {
            let record = self.bridge.store.access(&member.fingerprint).await.map_err(store_failed)?;
            records.extend(record.map(|record| (member.fingerprint, record)));
        }
        Ok(records)
    }
}

/// The record of the used UUID, where its own end comes before that of the window in which its answer can be fetched: a store
/// forgets a record at its end.
fn kept_for_its_answer(plan: &Plan, wish: &Rotation, now: Timestamp) -> Option<(Fingerprint, RefreshRecord)> {
    let until = now.plus(plan.client.dialect.tokens.refresh_grace);
    let record = RefreshRecord { until, ..wish.record.clone() };
    (wish.record.until < until).then(|| (wish.token.fingerprint(TokenUse::Refresh), record))
}

/// The question in the realm's words; `None` where the realm gave no refresh token.
fn request(plan: &Plan, family: &Family) -> Result<Option<RealmRequest>, Refusal> {
    let Some(sealed) = &family.renewal else { return Ok(None) };
    let opened = plan.data_key.open(sealed, binding(REALM_REFRESH, &family.id));
    let token = opened.map_err(|error| Refusal::server(Fault::Ourselves, error.to_string()))?;
    let mut fields: Vec<(String, Wiped<String>)> = fixed(&plan.client.dialect);
    let text = String::from_utf8(token.to_vec())
        .map_err(|_| Refusal::server(Fault::Ourselves, "a kept refresh token is no text"))?;
    fields.push(("refresh_token".to_owned(), Wiped::new(text)));
    if let Purpose::Rotate(Rotation { realm_scope: Some(scope), .. }) = &plan.purpose {
        fields.push(("scope".to_owned(), Wiped::new(scope.clone())));
    }
    Ok(Some(RealmRequest { client: Arc::clone(&plan.client), kind: GrantKind::Refresh, fields, address: None }))
}

/// What the dialect adds to a refresh; the plain grant where it has none.
fn fixed(dialect: &Dialect) -> Vec<(String, Wiped<String>)> {
    let refresh = dialect.grants.values().find(|grant: &&Grant| grant.kind == GrantKind::Refresh);
    let own = |(name, value): &(String, String)| (name.clone(), Wiped::new(value.clone()));
    match refresh {
        Some(grant) => grant.fixed.iter().map(own).collect(),
        None => vec![("grant_type".to_owned(), Wiped::new("refresh_token".to_owned()))],
    }
}

/// A realm that gives no new refresh token leaves the old one good (RFC 6749 section 6).
fn with_refresh(grant: RealmGrant, plan: &Plan, family: &Family, now: Timestamp) -> RealmGrant {
    if grant.refresh.is_some() {
        return grant;
    }
    let opened =
        family.renewal.as_ref().and_then(|sealed| plan.data_key.open(sealed, binding(REALM_REFRESH, &family.id)).ok());
    let token = opened.and_then(|bytes| Some(SecretString::from(std::str::from_utf8(&bytes).ok()?)));
    let life = family.renewal_until.ends().map(|until| until.since(now));
    RealmGrant { refresh: token.map(|token| RealmRefresh { token, life }), ..grant }
}
