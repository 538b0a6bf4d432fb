//! What goes through many families: the sweep, finding, and the export. By the lists, 256 of them, each in a slot of its own.

use redis::{FromRedisValue, cmd};

use super::super::change::{Bundle, Find, Gathered, Search, Swept, Versioned};
use super::super::ending;
use super::super::error::StoreError;
use super::super::record::Damage;
use super::{Redis, corrupt, forget, keys, state_in};
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
        self.look_at_the_clock().await;
        // It may have been emptied. One that is full is swept all the same.
        let _ = self.write(vec![super::claim()], false).await;
        let horizon = ending::droppable(self.believed(now));
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
            let due = ids(self.read(due).await?)?;
            if !due.foreign.is_empty() {
                swept.damaged += due.foreign.len();
                self.write(vec![cmd("ZREM").arg(keys::list(first)).arg(due.foreign).to_owned()], false).await?;
            }
            for family in due.families {
                if swept.families >= SWEEP {
                    swept.more = true;
                    return Ok(swept);
                }
                match self.drop_if_due(family, horizon).await {
                    Ok(dropped) => swept.families += usize::from(dropped),
                    Err(StoreError::Corrupt { .. }) => swept.damaged += 1,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(swept)
    }

    async fn drop_if_due(&self, id: FamilyId, horizon: Timestamp) -> Result<bool, StoreError> {
        let mut gone = Vec::new();
        if let Some(Versioned { value: family, .. }) = self.family(id).await? {
            let forgotten = ending::remembered_until(&family);
            if forgotten >= horizon {
                self.write(vec![super::listed(id, forgotten)], false).await?;
                return Ok(false);
            }
            gone.extend(family.members.iter().map(forget));
            gone.extend(family.session.map(|session| cmd("DEL").arg(keys::session(&session)).to_owned()));
        }
        gone.push(cmd("DEL").arg(keys::state(id)).arg(keys::fence(id)).to_owned());
        gone.push(cmd("ZREM").arg(keys::list_of(id)).arg(id.to_string()).to_owned());
        self.write(gone, false).await?;
        Ok(true)
    }

    pub(in super::super) async fn find(&self, search: &Search) -> Result<Gathered<Family>, StoreError> {
        if let Find::Prefix(prefix) = &search.what
            && prefix.len() == 64
        {
            let mut whole = self.find_whole(prefix).await?;
            let is_asked_for =
                |family: &Family| search.takes(family) && search.after.is_none_or(|after| family.id > after);
            whole.records.retain(is_asked_for);
            return Ok(whole);
        }
        let fits = |family: &Family| match &search.what {
            Find::Client(client) => *family.client == **client,
            Find::User(user) => family.user == Some(*user),
            Find::Prefix(prefix) => {
                family.members.iter().any(|member| member.fingerprint.to_string().starts_with(prefix))
            }
        };
        let mut found = Gathered::default();
        for first in first_list(search.after)..=keys::LAST_LIST {
            for ids in self.ids_after(first, search.after).await?.chunks(TOGETHER) {
                for known in self.families(ids).await? {
                    let family = found.sound(known)?.flatten().map(|known| known.value);
                    found.records.extend(family.filter(|family| fits(family) && search.takes(family)));
                    if found.records.len() >= search.limit {
                        return Ok(found);
                    }
                }
            }
        }
        Ok(found)
    }

    /// A whole fingerprint is a key: no list is read.
    async fn find_whole(&self, fingerprint: &str) -> Result<Gathered<Family>, StoreError> {
        let mut found = Gathered::default();
        let access = self.token::<AccessRecord>(&keys::token(TokenUse::Access, &fingerprint)).await;
        let access = found.sound(access)?.flatten().map(|record| record.family);
        let refresh = self.token::<RefreshRecord>(&keys::token(TokenUse::Refresh, &fingerprint)).await;
        let refresh = found.sound(refresh)?.flatten().map(|record| record.family);
        for id in access.into_iter().chain(refresh) {
            let known = found.sound(self.family(id).await)?.flatten();
            found.records.extend(known.map(|known| known.value));
        }
        Ok(found)
    }

    pub(in super::super) async fn export(
        &self,
        after: Option<FamilyId>,
        limit: usize,
    ) -> Result<Gathered<Bundle>, StoreError> {
        let mut bundles = Gathered::default();
        for first in first_list(after)..=keys::LAST_LIST {
            for id in self.ids_after(first, after).await? {
                if bundles.records.len() >= limit {
                    return Ok(bundles);
                }
                let bundle = self.bundle(id, &mut bundles).await?;
                bundles.records.extend(bundle);
            }
        }
        Ok(bundles)
    }

    async fn bundle(&self, id: FamilyId, bundles: &mut Gathered<Bundle>) -> Result<Option<Bundle>, StoreError> {
        let Some(known) = bundles.sound(self.family(id).await)?.flatten() else { return Ok(None) };
        let mut bundle = Bundle { family: known.value, access: Vec::new(), refresh: Vec::new() };
        for member in bundle.family.members.clone() {
            match member.token_use {
                TokenUse::Access => {
                    let record = bundles.sound(self.access(&member.fingerprint).await)?.flatten();
                    bundle.access.extend(record.map(|record| (member.fingerprint, record)));
                }
                TokenUse::Refresh => {
                    let record = bundles.sound(self.refresh(&member.fingerprint).await)?.flatten();
                    bundle.refresh.extend(record.map(|record| (member.fingerprint, record)));
                }
            }
        }
        Ok(Some(bundle))
    }

    /// Those in a list, in order of their ids, beginning after one of them.
    async fn ids_after(&self, first: u8, after: Option<FamilyId>) -> Result<Vec<FamilyId>, StoreError> {
        let mut ids = ids(self.read(cmd("ZRANGE").arg(keys::list(first)).arg(0).arg(-1).to_owned()).await?)?.families;
        ids.retain(|id| after.is_none_or(|after| *id > after));
        ids.sort_unstable();
        Ok(ids)
    }

    /// Each of these families, if it is there, or what is wrong with it; by one round trip.
    pub(super) async fn families(
        &self,
        ids: &[FamilyId],
    ) -> Result<Vec<Result<Option<Versioned<Family>>, StoreError>>, StoreError> {
        let state = |id: &FamilyId| cmd("HMGET").arg(keys::state(*id)).arg("v").arg("d").to_owned();
        let answers = self.read_all(ids.iter().map(state).collect()).await?;
        Ok(ids.iter().zip(answers).map(|(id, answer)| state_in(&keys::state(*id), answer)).collect())
    }
}

/// The list in which ids after this one begin.
fn first_list(after: Option<FamilyId>) -> u8 {
    after.and_then(|id| id.0.first().copied()).unwrap_or_default()
}

/// What stands in a list.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) families: Vec<FamilyId>,
    /// Words that name no family.
    foreign: Vec<String>,
}

pub(super) fn ids(value: redis::Value) -> Result<Listed, StoreError> {
    let texts: Vec<String> =
        FromRedisValue::from_redis_value(value).map_err(|_| corrupt("a list of families", Damage::Shape))?;
    let mut listed = Listed::default();
    for text in texts {
        match text.parse() {
            Ok(family) => listed.families.push(family),
            Err(_) => listed.foreign.push(text),
        }
    }
    Ok(listed)
}
