//! What the realm gave to a flight is kept: the next pair, or the new JWT behind the UUIDs that there are.

use std::time::Duration;

use super::flight::{Landing, Plan, Purpose, Renewal, Rotation};
use super::revoke::open_renewal;
use super::{Exchange, store_failed};
use crate::domain::family::{AccessFate, AccessRecord, Ending, Family, Member, RefreshRecord};
use crate::domain::grant::{RealmGrant, RealmRefresh};
use crate::domain::issue::{self, Asked, Used};
use crate::domain::opaque::{Fingerprint, TokenUse};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::keycloak::Granted;
use crate::store::{Change, CommitError, Lease, StoreError, Versioned};
use crate::telemetry::log;
use crate::telemetry::trail::Note;

/// What the realm gave may be the only good refresh token by now: a store that fails is tried again so often, after so long.
const TRIES: usize = 5;
const TRY_AGAIN: Duration = Duration::from_secs(1);

impl Exchange {
    pub(super) async fn keep(
        &self,
        plan: &Plan,
        known: Versioned<Family>,
        granted: Granted,
        lease: Lease,
    ) -> Result<Landing, Refusal> {
        let note = (granted.slot > 0).then_some(Note::SecondSecret);
        let granted = with_refresh(granted, self.bridge.policy.load().rotation.forgives(), plan, &known.value);
        let mut tries = 0;
        loop {
            let mut committed = self.commit(plan, &known, &granted, lease).await;
            if let (Err(CommitError::Conflict), true) = (&committed, tries > 0) {
                committed = self.confirmed().await.and(committed);
            }
            match committed {
                Ok(()) => return Ok(Landing::Done(note)),
                // Or an earlier try was heard, and its answer lost.
                Err(CommitError::Conflict | CommitError::Fenced | CommitError::Unknown) => {
                    self.too_late(plan, &known.value, &granted.grant).await?;
                    return Ok(Landing::Done(note));
                }
                Err(CommitError::Store(error)) if tries < TRIES && !matches!(error, StoreError::Closed) => {
                    log::store("keeping what the realm gave, which is tried again", &error);
                    tries += 1;
                    tokio::time::sleep(TRY_AGAIN).await;
                    // A lease that is lost shows when it is committed: it is fenced.
                    let _kept = self.bridge.store.renew(lease, super::flight::LEASE).await;
                }
                Err(CommitError::Store(error)) => return Err(store_failed(error)),
            }
        }
    }

    /// Whether the store holds what it has: replicas may lack what an earlier try wrote.
    async fn confirmed(&self) -> Result<(), CommitError> {
        if !self.bridge.store.waits_for_replicas() {
            return Ok(());
        }
        self.bridge.store.try_out().await.map_err(CommitError::Store)
    }

    async fn commit(
        &self,
        plan: &Plan,
        known: &Versioned<Family>,
        granted: &Granted,
        lease: Lease,
    ) -> Result<(), CommitError> {
        let change = match &plan.purpose {
            Purpose::Rotate(wish) => self.rotated(plan, wish, known, granted).await?,
            Purpose::Renew(wish) => self.renewed(plan, wish, known, granted).await?,
        };
        self.bridge.store.commit(Change { fence: Some(lease.fence), ..change }).await
    }

    /// The family was changed while the realm was asked. Where it ended, the session that was just prolonged must end too; where
    /// another instance went on with it, that session is the living family's.
    async fn too_late(&self, plan: &Plan, known: &Family, grant: &RealmGrant) -> Result<(), Refusal> {
        let family = self.bridge.store.family(plan.family).await.map_err(store_failed)?;
        let lives = family.is_some_and(|family| !family.value.is_over());
        let Some(refresh) = grant.refresh.as_ref().filter(|_| !lives) else { return Ok(()) };
        let until = refresh.until(self.bridge.clock.now());
        self.leave_word(&plan.client, known.id, &refresh.token, until).await
    }

    async fn rotated(
        &self,
        plan: &Plan,
        wish: &Rotation,
        known: &Versioned<Family>,
        granted: &Granted,
    ) -> Result<Change, StoreError> {
        let asked = Asked { client: &plan.client, grant_type: &wish.grant_type, scope: wish.scope.as_deref() };
        let used = Used { token: &wish.token, data_key: &plan.data_key };
        let moment = self.moment(granted.asked);
        let rotated = issue::rotate(&known.value, asked, used, &granted.grant, moment);
        let mut access = vec![rotated.access];
        // What is left of those that have ended since the family's newest pair was made, and are remembered on.
        let made = known.value.replay.as_ref().map_or(known.value.born, |replay| replay.since);
        let just_ended = |member: &Member| member.until <= moment.believed && member.until > made;
        let ended = self.access_of(&rotated.family, just_ended).await?.into_iter();
        access.extend(ended.filter_map(|(fingerprint, record)| Some((fingerprint, issue::ended(record)?))));
        if plan.client.dialect.tokens.refresh_ends_old_access {
            // A record of a UUID that is forgotten at the same time would stay for ever.
            let old = self.access_of(&rotated.family, |member| member.until > moment.believed).await?;
            let replaced = |record| AccessRecord { fate: AccessFate::Over(Ending::Replaced), ..record };
            access.extend(old.into_iter().map(|(fingerprint, record)| (fingerprint, replaced(record))));
        }
        let mut refresh: Vec<_> = rotated.refresh.into_iter().collect();
        let mut family = rotated.family;
        if let Some((fingerprint, record)) = kept_for_its_answer(plan, wish, moment.now) {
            remember(&mut family, fingerprint, record.until);
            refresh.push((fingerprint, record));
        }
        Ok(Change { access, refresh, removals: rotated.forgotten, ..Change::of(known.version, family) })
    }

    async fn renewed(
        &self,
        plan: &Plan,
        wish: &Renewal,
        known: &Versioned<Family>,
        granted: &Granted,
    ) -> Result<Change, StoreError> {
        let moment = self.moment(granted.asked);
        let mut alike = self.access_of(&known.value, |member| member.until > moment.now).await?;
        alike.retain(|(_, record)| record.scope == wish.scope);
        let (family, access) = issue::renew(&known.value, alike, &plan.data_key, &granted.grant, moment);
        Ok(Change { access, ..Change::of(known.version, family) })
    }

    /// The records of those access UUIDs of a family.
    async fn access_of(
        &self,
        family: &Family,
        is_one: impl Fn(&Member) -> bool,
    ) -> Result<Vec<(Fingerprint, AccessRecord)>, StoreError> {
        let mut records = Vec::new();
        for member in family.members.iter().filter(|member| member.token_use == TokenUse::Access && is_one(member)) {
            let record = self.bridge.store.access(&member.fingerprint).await?;
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

/// Has a family name its used UUID as long as the record of it is kept: one that no family names would stay for ever.
fn remember(family: &mut Family, fingerprint: Fingerprint, until: Timestamp) {
    let used = Member { token_use: TokenUse::Refresh, fingerprint, until };
    let is_used = |member: &&mut Member| member.token_use == used.token_use && member.fingerprint == fingerprint;
    match family.members.iter_mut().find(is_used) {
        Some(member) => *member = used,
        None => family.members.insert(0, used),
    }
}

/// A realm that gives no new refresh token leaves the old one good (RFC 6749 section 6), unless each of its tokens is good once.
fn with_refresh(granted: Granted, forgives: bool, plan: &Plan, family: &Family) -> Granted {
    if granted.grant.refresh.is_some() || !forgives {
        return granted;
    }
    let token = open_renewal(family, &plan.data_key);
    let life = family.renewal_until.ends().map(|until| until.since(granted.asked));
    let grant = RealmGrant { refresh: token.map(|token| RealmRefresh { token, life }), ..granted.grant };
    Granted { grant, ..granted }
}
