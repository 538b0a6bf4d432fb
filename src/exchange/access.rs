//! An access UUID in use: its JWT, renewed where that is due. Introspection and the gateway come by here.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::call::{Which, nobodys};
use super::flight::{Plan, Purpose, Renewal, Waits};
use super::{Bridge, Exchange, store_failed};
use crate::domain::family::{AccessFate, AccessRecord, FamilyState};
use crate::domain::issue::{ACCESS_JWT, ACCESS_KEY, binding};
use crate::domain::opaque::{OpaqueToken, TokenUse};
use crate::domain::refresh::{AccessDecision, Over, decide_access};
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::domain::seal::{DoesNotOpen, SealingKey};
use crate::domain::time::Timestamp;

/// A recheck makes nobody wait longer: who is rechecked has a JWT that is good for more than that.
const RECHECK: Duration = Duration::from_secs(1);

/// What an access UUID stands for right now.
#[derive(Debug)]
pub enum Standing {
    /// Good: the JWT behind it.
    Good(Locked),
    /// Ours, and over.
    Over(Over),
    /// Nobody of ours.
    Unknown,
}

/// The JWT behind an access UUID, sealed as it is kept, and the key that opens it: it is opened where it is written, and copied nowhere.
#[derive(Debug)]
pub struct Locked {
    /// What the UUID found.
    pub(super) record: Arc<AccessRecord>,
    key: SealingKey,
}

impl Locked {
    /// Bytes of the JWT, about: what is kept of it is packed.
    #[must_use]
    pub fn about(&self) -> usize {
        match &self.record.fate {
            AccessFate::Live { jwt, .. } => 3 * jwt.as_bytes().len(),
            AccessFate::Over(_) => 0,
        }
    }

    /// Until when the UUID and its JWT are both good, if nothing ends them before.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        match &self.record.fate {
            AccessFate::Live { jwt_until, .. } => self.record.until.min(*jwt_until),
            AccessFate::Over(_) => self.record.until,
        }
    }

    /// Opens it behind what the bytes are already.
    ///
    /// # Errors
    /// What is kept was changed.
    pub fn open_behind(&self, bytes: &mut Vec<u8>) -> Result<(), DoesNotOpen> {
        match &self.record.fate {
            AccessFate::Live { jwt, .. } => {
                self.key.open_token_behind(jwt, binding(ACCESS_JWT, &self.record.family), bytes)
            }
            AccessFate::Over(_) => Err(DoesNotOpen),
        }
    }
}

impl Exchange {
    /// What an access UUID stands for whose record was just found; the JWT behind it is renewed where that is due.
    ///
    /// # Errors
    /// The JWT is over and the realm cannot be asked, or the store fails.
    pub(super) async fn standing_of(
        self: &Arc<Self>,
        token: &OpaqueToken,
        record: Arc<AccessRecord>,
    ) -> Result<Standing, Refusal> {
        match self.decided(&record) {
            AccessDecision::Over(over) => Ok(Standing::Over(over)),
            AccessDecision::Use => good(token, record),
            // Seldom, and big: what most uses are shall not carry the room for it.
            AccessDecision::UseAndRenew | AccessDecision::Recheck | AccessDecision::RenewFirst => {
                Box::pin(self.attended(token, record)).await
            }
        }
    }

    fn decided(&self, record: &AccessRecord) -> AccessDecision {
        let Bridge { clock, set_back, policy, .. } = &*self.bridge;
        let now = clock.now();
        decide_access(record, now, set_back.found(now, clock.monotonic()), policy.load().recheck_after)
    }

    /// The same, where the realm may have to be asked first.
    async fn attended(
        self: &Arc<Self>,
        token: &OpaqueToken,
        mut record: Arc<AccessRecord>,
    ) -> Result<Standing, Refusal> {
        let mut waits = Waits::new(self.bridge.policy.load().patience);
        let mut over_as_they_came = 0;
        loop {
            match self.decided(&record) {
                AccessDecision::Over(over) => return Ok(Standing::Over(over)),
                AccessDecision::Use => return good(token, record),
                AccessDecision::UseAndRenew => {
                    if let Some(plan) = self.ahead(token, &record).await {
                        let _lands_by_itself = self.board(plan);
                    }
                    return good(token, record);
                }
                AccessDecision::Recheck => {
                    let Some(plan) = self.ahead(token, &record).await else { return good(token, record) };
                    self.recheck(plan).await;
                    return self.settle(token).await.or_else(|_| good(token, record));
                }
                AccessDecision::RenewFirst => {}
            }
            let Some(plan) = self.renewal(token, &record).await? else {
                // Nothing can be asked any more: it lives to the end of the JWT that there is.
                return if self.is_carried(&record) { good(token, record) } else { Ok(Standing::Over(Over::Refused)) };
            };
            let landing = self.fly(plan).await;
            if let Err(refusal) = waits.once_more(landing, &self.bridge.store).await {
                return self.after_failure(token, refusal).await;
            }
            let found = self.bridge.store.look_up(&token.fingerprint(TokenUse::Access)).await.map_err(store_failed)?;
            let Some(newer) = found else { return Ok(Standing::Unknown) };
            if Which::of(&newer) != Which::of(&record) {
                // What was given just now is used, however short it lives: the realm gives none that lives longer.
                if self.is_good(&newer) {
                    return good(token, newer);
                }
                over_as_they_came += 1;
            }
            // One flight that was joined may have been slow for this caller alone; where the next is no better, the realm takes longer than they live.
            if over_as_they_came > 1 {
                return Err(Refusal::server(Fault::Upstream, "the JWTs that the realm gives are over as they come"));
            }
            record = newer;
        }
    }

    /// Whether UUID and JWT are both good, be it for less than a second.
    fn is_good(&self, record: &AccessRecord) -> bool {
        let now = self.bridge.clock.now();
        matches!(&record.fate, AccessFate::Live { jwt_until, .. } if now < record.until.min(*jwt_until))
    }

    /// What to ask behind a JWT that is good, if anything. It can wait: a realm that was slow or away a short while ago is left alone, for an answer that is
    /// lost may cost the login. And what is in the way of asking is told, and takes nothing from the JWT.
    async fn ahead(&self, token: &OpaqueToken, record: &AccessRecord) -> Option<Plan> {
        let Bridge { flights, clock, .. } = &*self.bridge;
        if flights.respite.is_needed(&record.client, clock.monotonic()) {
            return None;
        }
        match self.renewal(token, record).await {
            Ok(plan) => plan,
            Err(refusal) => {
                self.tell_of(&record.client, record.family, &refusal);
                None
            }
        }
    }

    /// Asks whether the session still is. A realm that is slow now tells later: the flight goes on, and what it brings counts from the next use on.
    async fn recheck(self: &Arc<Self>, plan: Plan) {
        let Bridge { flights, clock, .. } = &*self.bridge;
        if timeout(RECHECK, self.fly(plan)).await.is_err() {
            flights.respite.begin(clock.monotonic());
        }
    }

    /// Whether what is missing at the end of the promise is little enough for us to carry (`[lifetimes] rounding`): whole seconds, as
    /// those of the promise ([`RealmLife::after`](crate::domain::promise::RealmLife::after)).
    fn is_carried(&self, record: &AccessRecord) -> bool {
        let AccessFate::Live { jwt_until, .. } = &record.fate else { return false };
        let snapshot = self.bridge.snapshot.load();
        let client = snapshot.table.client(&record.client);
        let missing = record.until.since(*jwt_until).as_secs();
        client.is_some_and(|client| missing <= client.dialect.tokens.rounding.as_secs())
    }

    /// What is kept after a recheck, answered or not: the realm may just have said that the session is over.
    pub(super) async fn settle(&self, token: &OpaqueToken) -> Result<Standing, Refusal> {
        let found = self.bridge.store.look_up(&token.fingerprint(TokenUse::Access)).await.map_err(store_failed)?;
        match found {
            None => Ok(Standing::Unknown),
            Some(record) => match &record.fate {
                AccessFate::Over(ending) => Ok(Standing::Over(Over::Ended(*ending))),
                AccessFate::Live { .. } => good(token, record),
            },
        }
    }

    /// A JWT that is over and was not renewed: over, if the realm said so, of the login or of a new JWT for it; else the failure.
    async fn after_failure(&self, token: &OpaqueToken, refusal: Refusal) -> Result<Standing, Refusal> {
        match self.settle(token).await? {
            Standing::Good(..) if matches!(refusal.cause, Cause::RefreshToken | Cause::Scope) => {
                Ok(Standing::Over(Over::Refused))
            }
            Standing::Good(..) => Err(Refusal::server(refusal.fault, refusal.detail)),
            standing @ (Standing::Over(_) | Standing::Unknown) => Ok(standing),
        }
    }

    /// What to ask the realm for a new JWT; `None` where it cannot be asked for this family any more.
    pub(super) async fn renewal(&self, token: &OpaqueToken, record: &AccessRecord) -> Result<Option<Plan>, Refusal> {
        let snapshot = self.bridge.snapshot.load();
        let client = snapshot.table.client(&record.client).ok_or_else(|| nobodys(&record.client))?;
        let client = Arc::clone(client);
        let Some(family) = self.bridge.store.family(record.family).await.map_err(store_failed)? else {
            return Ok(None);
        };
        let renewable = family.value.renewal.is_some() && self.bridge.clock.now() < family.value.renewal_until;
        match family.value.state {
            FamilyState::Resting | FamilyState::Asking { .. } if renewable => {}
            FamilyState::Resting | FamilyState::Asking { .. } | FamilyState::Unrefreshable | FamilyState::Over(_) => {
                return Ok(None);
            }
        }
        let AccessFate::Live { jwt_since, .. } = &record.fate else { return Ok(None) };
        let access = token.fingerprint(TokenUse::Access);
        let purpose = Purpose::Renew(Renewal { access, since: *jwt_since, scope: record.scope.clone() });
        Ok(Some(Plan { client, family: record.family, data_key: data_key(token, record)?, purpose }))
    }
}

fn good(token: &OpaqueToken, record: Arc<AccessRecord>) -> Result<Standing, Refusal> {
    let key = data_key(token, &record)?;
    Ok(Standing::Good(Locked { record, key }))
}

/// The family's data key, as this UUID opens it.
pub(super) fn data_key(token: &OpaqueToken, record: &AccessRecord) -> Result<SealingKey, Refusal> {
    let AccessFate::Live { key, .. } = &record.fate else {
        return Err(Refusal::server(Fault::Ourselves, "a token that is over opens nothing"));
    };
    key.open(token, binding(ACCESS_KEY, &record.family)).map_err(Refusal::from)
}
