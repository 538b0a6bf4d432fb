//! What goes through many families: the sweep, finding, and the export. By the lists, 256 of them, each in a slot of its own.

use redis::{FromRedisValue, cmd};

use super::super::change::{Bundle, Find, Search, Swept, Versioned};
use super::super::ending;
use super::super::error::StoreError;
use super::super::record::Damage;
use super::{Redis, corrupt, keys, state_in};
use crate::domain::family::{AccessRecord, Family, FamilyId, RefreshRecord};
use crate::domain::opaque::TokenUse;
use crate::domain::time::Timestamp;

/// So many families are dropped by one sweep.
const SWEEP: usize = 512;

/// So many families does a search read by one round trip.
const TOGETHER: usize = 500;

impl Redis {
    /// Redis forgets by itself; what is left to do is to take what it forgot out of the lists, and to drop what our clock calls over.
    pub(in super::super) async fn sweep(&self, now: Timestamp) -> Result<Swept, StoreError> {
        let horizon = ending::droppable(self.horizon.lock().at(now, self.clock.monotonic()));
        self.end_leftovers().await?;
        let mut swept = Swept::default();
        for first in 0..=keys::LAST_LIST {
            let due = cmd("ZRANGEBYSCORE")
                .arg(keys::list(first))
                .arg("-inf")
                .arg(format!("({}", horizon.millis()))
                .arg("LIMIT")
                .arg(0)
                .arg(SWEEP)
                .to_owned();
            for family in ids(self.read(due).await?)? {
                if swept.families >= SWEEP {
                    swept.more = true;
                    return Ok(swept);
                }
                if self.drop_if_due(family, horizon).await? {
                    swept.families += 1;
                }
            }
        }
        Ok(swept)
    }

    async fn drop_if_due(&self, id: FamilyId, horizon: Timestamp) -> Result<bool, StoreError> {
        let known = self.family(id).await?;
        if let Some(family) = &known {
            let forgotten = ending::remembered_until(&family.value);
            if forgotten >= horizon {
                self.write(vec![super::listed(id, forgotten)], false).await?;
                return Ok(false);
            }
        }
        let mut gone = Vec::new();
        if let Some(family) = &known {
            gone.extend(
                family
                    .value
                    .members
                    .iter()
                    .map(|member| cmd("DEL").arg(keys::token(member.token_use, &member.fingerprint)).to_owned()),
            );
            gone.extend(family.value.session.map(|session| cmd("DEL").arg(keys::session(&session)).to_owned()));
        }
        gone.push(cmd("DEL").arg(keys::state(id)).arg(keys::fence(id)).to_owned());
        gone.push(cmd("ZREM").arg(keys::list_of(id)).arg(id.to_string()).to_owned());
        self.write(gone, false).await?;
        Ok(true)
    }

    pub(in super::super) async fn find(&self, search: &Search) -> Result<Vec<Family>, StoreError> {
        if let Find::Prefix(prefix) = &search.what
            && prefix.len() == 64
        {
            let whole = self.find_whole(prefix).await?.into_iter();
            return Ok(whole
                .filter(|family| search.takes(family) && search.after.is_none_or(|after| family.id > after))
                .collect());
        }
        let fits = |family: &Family| match &search.what {
            Find::Client(client) => family.client == *client,
            Find::User(user) => family.user == Some(*user),
            Find::Prefix(prefix) => {
                family.members.iter().any(|member| member.fingerprint.to_string().starts_with(prefix))
            }
        };
        let mut found = Vec::new();
        for first in first_list(search.after)..=keys::LAST_LIST {
            for ids in self.ids_after(first, search.after).await?.chunks(TOGETHER) {
                for known in self.families(ids).await? {
                    if fits(&known.value) && search.takes(&known.value) {
                        found.push(known.value);
                    }
                    if found.len() >= search.limit {
                        return Ok(found);
                    }
                }
            }
        }
        Ok(found)
    }

    /// A whole fingerprint is a key: no list is read.
    async fn find_whole(&self, fingerprint: &str) -> Result<Vec<Family>, StoreError> {
        let access = self.token::<AccessRecord>(&keys::token(TokenUse::Access, &fingerprint)).await?;
        let refresh = self.token::<RefreshRecord>(&keys::token(TokenUse::Refresh, &fingerprint)).await?;
        let ids = access.map(|record| record.family).into_iter().chain(refresh.map(|record| record.family));
        let mut families = Vec::new();
        for id in ids {
            families.extend(self.family(id).await?.map(|known| known.value));
        }
        Ok(families)
    }

    pub(in super::super) async fn export(
        &self,
        after: Option<FamilyId>,
        limit: usize,
    ) -> Result<Vec<Bundle>, StoreError> {
        let mut bundles = Vec::new();
        for first in first_list(after)..=keys::LAST_LIST {
            for id in self.ids_after(first, after).await? {
                if bundles.len() >= limit {
                    return Ok(bundles);
                }
                bundles.extend(self.bundle(id).await?);
            }
        }
        Ok(bundles)
    }

    async fn bundle(&self, id: FamilyId) -> Result<Option<Bundle>, StoreError> {
        let Some(known) = self.family(id).await? else { return Ok(None) };
        let mut bundle = Bundle { family: known.value, access: Vec::new(), refresh: Vec::new() };
        for member in bundle.family.members.clone() {
            match member.token_use {
                TokenUse::Access => {
                    bundle
                        .access
                        .extend(self.access(&member.fingerprint).await?.map(|record| (member.fingerprint, record)));
                }
                TokenUse::Refresh => {
                    bundle
                        .refresh
                        .extend(self.refresh(&member.fingerprint).await?.map(|record| (member.fingerprint, record)));
                }
            }
        }
        Ok(Some(bundle))
    }

    /// Those in a list, in order of their ids, beginning after one of them.
    async fn ids_after(&self, first: u8, after: Option<FamilyId>) -> Result<Vec<FamilyId>, StoreError> {
        let mut ids = ids(self.read(cmd("ZRANGE").arg(keys::list(first)).arg(0).arg(-1).to_owned()).await?)?;
        ids.retain(|id| after.is_none_or(|after| *id > after));
        ids.sort_unstable();
        Ok(ids)
    }

    /// Those of these families that are there, by one round trip.
    async fn families(&self, ids: &[FamilyId]) -> Result<Vec<Versioned<Family>>, StoreError> {
        let state = |id: &FamilyId| cmd("HMGET").arg(keys::state(*id)).arg("v").arg("d").to_owned();
        let answers = self.read_all(ids.iter().map(state).collect()).await?;
        let known = ids.iter().zip(answers).map(|(id, answer)| state_in(&keys::state(*id), answer));
        known.filter_map(Result::transpose).collect()
    }
}

/// The list in which ids after this one begin.
fn first_list(after: Option<FamilyId>) -> u8 {
    after.and_then(|id| id.0.first().copied()).unwrap_or_default()
}

pub(super) fn ids(value: redis::Value) -> Result<Vec<FamilyId>, StoreError> {
    let texts: Vec<String> =
        FromRedisValue::from_redis_value(value).map_err(|_| corrupt("a list of families", Damage::Shape))?;
    texts.iter().map(|text| text.parse().map_err(|_| corrupt("a list of families", Damage::Shape))).collect()
}
