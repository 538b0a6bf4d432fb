//! A UUID that has outlived its login is ended by itself.
//!
//! A family that is gone or over has no UUID that is not, unless the store has lost a part of what it had: Redis, by a failover or an eviction.

use std::sync::Arc;

use super::revoke::{Named, Parted};
use super::{Exchange, store_failed};
use crate::domain::family::{AccessFate, AccessRecord, Ending, Family, FamilyState, Member, RefreshRecord};
use crate::domain::opaque::TokenUse;
use crate::domain::refusal::Refusal;
use crate::domain::seal::Sealed;
use crate::store::Bundle;

impl Exchange {
    /// Ends this UUID, if it is not over, of a family that is gone or over; it is remembered as one of that family, which is over then.
    pub(super) async fn bury(
        &self,
        named: &Named,
        over: Option<Family>,
        why: Ending,
    ) -> Result<Option<Parted>, Refusal> {
        let Some(mut left) = self.left_of(named, why).await? else {
            return Ok(over.map(|family| Parted { family, realm_told: false, had_outlived: false }));
        };
        if let Some(mut family) = over {
            family.members.retain(|member| (member.token_use, member.fingerprint) != named.shown);
            family.members.append(&mut left.family.members);
            left.family = family;
        }
        self.bridge.store.import(&left).await.map_err(store_failed)?;
        Ok(Some(Parted { family: left.family, realm_told: false, had_outlived: true }))
    }

    /// What is left of a UUID once it is ended, with what can be said of its family. `None`: it is over, or gone.
    async fn left_of(&self, named: &Named, why: Ending) -> Result<Option<Bundle>, Refusal> {
        let store = &self.bridge.store;
        let (token_use, fingerprint) = named.shown;
        let (mut access, mut refresh) = (Vec::new(), Vec::new());
        let (born, scope, until) = match token_use {
            TokenUse::Access => {
                let record = store.access(&fingerprint).await.map_err(store_failed)?;
                let is_live = |record: &AccessRecord| matches!(record.fate, AccessFate::Live { .. });
                let Some(record) = record.filter(is_live) else { return Ok(None) };
                let said = (record.issued, Arc::clone(&record.scope), record.until);
                access.push((fingerprint, AccessRecord { fate: AccessFate::Over(why), ..record }));
                said
            }
            TokenUse::Refresh => {
                let record = store.refresh(&fingerprint).await.map_err(store_failed)?;
                let Some(record) = record.filter(|record| !record.is_over()) else { return Ok(None) };
                // What is over is remembered for a while, and not for ever.
                let until = record.until.ends().unwrap_or_else(|| self.bridge.clock.now());
                let said = (record.issued, Arc::from(""), until);
                refresh.push((fingerprint, RefreshRecord { key: Sealed::from_bytes(Vec::new()), until, ..record }));
                said
            }
        };
        let family = Family {
            id: named.family,
            client: Arc::clone(&named.client),
            born,
            scope,
            session: None,
            user: None,
            renewal: None,
            renewal_until: born,
            generation: 0,
            state: FamilyState::Over(why),
            replay: None,
            members: vec![Member { token_use, fingerprint, until }],
        };
        Ok(Some(Bundle { family, access, refresh }))
    }
}
