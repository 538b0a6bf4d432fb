//! One flight for each family: however many want its next tokens, the realm is asked once.
//!
//! A flight goes on when the client that began it has gone. Whoever waited decides again afterwards, by what is kept: so the
//! answer of a refresh reaches everybody by the one way by which it can also be fetched later.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use zeroize::Zeroizing;

use super::{Exchange, store_failed};
use crate::domain::client::Client;
use crate::domain::dialect::{Dialect, Grant, GrantKind};
use crate::domain::family::{AccessFate, AccessRecord, Ending, Family, FamilyId, FamilyState};
use crate::domain::grant::{RealmGrant, RealmRefresh, RealmRequest};
use crate::domain::issue::{self, Asked, Moment, Presented, REALM_REFRESH, binding};
use crate::domain::opaque::{Fingerprint, OpaqueToken, TokenUse};
use crate::domain::refresh::{Flight, RefreshDecision, after_failure, decide_asking};
use crate::domain::refusal::{Fault, Refusal};
use crate::domain::seal::SealingKey;
use crate::store::{Change, CommitError, Lease, Version, Versioned};
use crate::telemetry::log;

/// Flights of this process.
#[derive(Debug, Default)]
pub struct Flights(DashMap<FamilyId, watch::Receiver<Option<Landing>>>);

/// How a flight ended.
#[derive(Clone, Debug)]
pub(super) enum Landing {
    /// Decide again.
    Done,
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
    /// A new JWT behind the UUIDs that there are.
    Renew,
}

#[derive(Debug)]
pub(super) struct Rotation {
    pub(super) token: OpaqueToken,
    pub(super) generation: u32,
    pub(super) grant_type: String,
    pub(super) scope: Option<String>,
    /// The scope in the realm's words, where the client asks for one.
    pub(super) realm_scope: Option<String>,
}

/// How long a lease lives unless it is renewed.
const LEASE: Duration = Duration::from_secs(15);

impl Flights {
    /// Whether somebody of this process asks for the family.
    pub(super) fn asking(&self, family: &FamilyId) -> bool {
        self.0.contains_key(family)
    }
}

/// Takes the flight out of the list when it ends, in whatever way.
struct Entered<'a>(&'a Flights, FamilyId);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.0.remove(&self.1);
    }
}

impl Exchange {
    /// Joins the family's flight, or begins it, and waits for its end.
    pub(super) async fn fly(self: &Arc<Self>, plan: Plan) -> Landing {
        let mut watch = self.board(plan);
        let landed = timeout(self.bridge.policy.load().patience + LEASE, watch.wait_for(Option::is_some)).await;
        match landed {
            Ok(Ok(landing)) => landing.clone().unwrap_or(Landing::Done),
            Ok(Err(_)) => Landing::Failed(Refusal::server(Fault::Ourselves, "a flight ended without an answer")),
            Err(_) => {
                Landing::Failed(Refusal::server(Fault::Upstream, "somebody else's question to the realm took too long"))
            }
        }
    }

    /// Joins the family's flight, or begins it.
    pub(super) fn board(self: &Arc<Self>, plan: Plan) -> watch::Receiver<Option<Landing>> {
        let sender = match self.bridge.flights.0.entry(plan.family) {
            Entry::Occupied(there) => return there.get().clone(),
            Entry::Vacant(free) => {
                let (sender, receiver) = watch::channel(None);
                free.insert(receiver);
                sender
            }
        };
        let watch = sender.subscribe();
        let exchange = Arc::clone(self);
        self.tasks.run(async move {
            let entered = Entered(&exchange.bridge.flights, plan.family);
            let landing = exchange.lead(&plan).await.unwrap_or_else(Landing::Failed);
            drop(entered);
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
        store.release(lease).await.map_err(store_failed)?;
        landing
    }

    async fn under_lease(&self, plan: &Plan, lease: Lease) -> Result<Landing, Refusal> {
        let Some(known) = self.bridge.store.family(plan.family).await.map_err(store_failed)? else {
            return Ok(Landing::Done);
        };
        let rotation = self.bridge.policy.load().rotation;
        let overtaken = matches!(&plan.purpose, Purpose::Rotate(wish) if wish.generation != known.value.generation);
        match decide_asking(&known.value.state, Flight { asking: false, rotation }) {
            RefreshDecision::Ask if overtaken => return Ok(Landing::Done),
            RefreshDecision::Ask => {}
            RefreshDecision::Lose => return self.change_state(known, FamilyState::Unrefreshable, lease).await,
            RefreshDecision::Wait | RefreshDecision::Replay | RefreshDecision::Reuse | RefreshDecision::Refuse(_) => {
                return Ok(Landing::Done);
            }
        }
        let Some(request) = request(plan, &known.value)? else {
            return Err(Refusal::client(
                crate::domain::refusal::Cause::RefreshToken,
                "the realm gave no refresh token for this login",
            ));
        };
        let known = if rotation.forgives() { known } else { self.write_down(known, lease).await? };
        match self.ask(&request, lease).await {
            Ok(grant) => self.keep(plan, known, grant, lease).await,
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

    /// Says durably that the realm is being asked: after a crash this reads as *nobody knows*.
    async fn write_down(&self, known: Versioned<Family>, lease: Lease) -> Result<Versioned<Family>, Refusal> {
        let state = FamilyState::Asking { fence: lease.fence, since: self.bridge.clock.now() };
        let family = Family { state, ..known.value };
        let change = Change { fence: Some(lease.fence), ..Change::of(known.version, family.clone()) };
        self.bridge.store.commit(change).await.map_err(|error| commit_failed(&error))?;
        Ok(Versioned { value: family, version: Version(known.version.0 + 1) })
    }

    async fn change_state(
        &self,
        known: Versioned<Family>,
        state: FamilyState,
        lease: Lease,
    ) -> Result<Landing, Refusal> {
        if known.value.state == state {
            return Ok(Landing::Done);
        }
        let change = Change { fence: Some(lease.fence), ..Change::of(known.version, Family { state, ..known.value }) };
        match self.bridge.store.commit(change).await {
            Ok(()) | Err(CommitError::Conflict | CommitError::Fenced | CommitError::Unknown) => Ok(Landing::Done),
            Err(CommitError::Store(error)) => Err(store_failed(error)),
        }
    }

    /// Asks the realm, and keeps the lease as long as it takes.
    async fn ask(&self, request: &RealmRequest, lease: Lease) -> Result<RealmGrant, crate::domain::grant::NotGranted> {
        let keycloak = self.keycloak.load_full();
        let mut question = std::pin::pin!(keycloak.grant(request));
        let mut ticks = interval(LEASE / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                answer = &mut question => return answer.map(|granted| granted.grant),
                _tick = ticks.tick() => {
                    // A lease that is lost shows when the answer is kept: it is fenced.
                    let _kept = self.bridge.store.renew(lease, LEASE).await;
                }
            }
        }
    }

    async fn keep(
        &self,
        plan: &Plan,
        known: Versioned<Family>,
        grant: RealmGrant,
        lease: Lease,
    ) -> Result<Landing, Refusal> {
        let grant = with_refresh(grant, plan, &known.value, self.bridge.clock.now());
        let refresh_token = grant.refresh.as_ref().map(|refresh| refresh.token.clone());
        let mut change = match &plan.purpose {
            Purpose::Rotate(wish) => self.rotated(plan, wish, &known, &grant).await?,
            Purpose::Renew => self.renewed(plan, &known, &grant).await?,
        };
        change.fence = Some(lease.fence);
        match self.bridge.store.commit(change).await {
            Ok(()) => Ok(Landing::Done),
            Err(CommitError::Conflict | CommitError::Fenced | CommitError::Unknown) => {
                // The family ended while the realm was asked: the session that was just prolonged must end too.
                if let Some(token) = refresh_token {
                    self.leave_word(&plan.client, &known.value, &token).await?;
                }
                Ok(Landing::Done)
            }
            Err(CommitError::Store(error)) => Err(store_failed(error)),
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
        if !rotated.promise_kept {
            log::promise_short(&plan.client.legacy_id, rotated.reply.expires_in);
        }
        let mut access = vec![rotated.access];
        if plan.client.dialect.tokens.refresh_ends_old_access {
            for (fingerprint, record) in self.live_access(&known.value).await? {
                access.push((fingerprint, AccessRecord { fate: AccessFate::Over(Ending::Replaced), ..record }));
            }
        }
        Ok(Change {
            access,
            refresh: rotated.refresh.into_iter().collect(),
            removals: rotated.forgotten,
            ..Change::of(known.version, rotated.family)
        })
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

/// The question in the realm's words; `None` where the realm gave no refresh token.
fn request(plan: &Plan, family: &Family) -> Result<Option<RealmRequest>, Refusal> {
    let Some(sealed) = &family.renewal else { return Ok(None) };
    let opened = plan.data_key.open(sealed, binding(REALM_REFRESH, &family.id));
    let token = opened.map_err(|error| Refusal::server(Fault::Ourselves, error.to_string()))?;
    let mut fields: Vec<(String, Zeroizing<String>)> = fixed(&plan.client.dialect);
    let text = String::from_utf8(token.to_vec())
        .map_err(|_| Refusal::server(Fault::Ourselves, "a kept refresh token is no text"))?;
    fields.push(("refresh_token".to_owned(), Zeroizing::new(text)));
    if let Purpose::Rotate(Rotation { realm_scope: Some(scope), .. }) = &plan.purpose {
        fields.push(("scope".to_owned(), Zeroizing::new(scope.clone())));
    }
    Ok(Some(RealmRequest { client: Arc::clone(&plan.client), kind: GrantKind::Refresh, fields, address: None }))
}

/// What the dialect adds to a refresh; the plain grant where it has none.
fn fixed(dialect: &Dialect) -> Vec<(String, Zeroizing<String>)> {
    let refresh = dialect.grants.values().find(|grant: &&Grant| grant.kind == GrantKind::Refresh);
    let own = |(name, value): &(String, String)| (name.clone(), Zeroizing::new(value.clone()));
    match refresh {
        Some(grant) => grant.fixed.iter().map(own).collect(),
        None => vec![("grant_type".to_owned(), Zeroizing::new("refresh_token".to_owned()))],
    }
}

/// A realm that gives no new refresh token leaves the old one good (RFC 6749 section 6).
fn with_refresh(grant: RealmGrant, plan: &Plan, family: &Family, now: crate::domain::time::Timestamp) -> RealmGrant {
    if grant.refresh.is_some() {
        return grant;
    }
    let opened =
        family.renewal.as_ref().and_then(|sealed| plan.data_key.open(sealed, binding(REALM_REFRESH, &family.id)).ok());
    let token = opened.and_then(|bytes| Some(SecretString::from(std::str::from_utf8(&bytes).ok()?)));
    let life = family.renewal_until.ends().map(|until| until.since(now));
    RealmGrant { refresh: token.map(|token| RealmRefresh { token, life }), ..grant }
}

fn commit_failed(error: &CommitError) -> Refusal {
    match error {
        CommitError::Store(error) => store_failed(error),
        CommitError::Conflict | CommitError::Fenced | CommitError::Unknown => {
            Refusal::server(Fault::Ourselves, "the login was changed by somebody else; the next try sees how")
        }
    }
}
