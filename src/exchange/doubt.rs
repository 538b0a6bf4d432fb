//! An API refused the JWT behind a good UUID: the realm is asked for another, at most once a minute for each family.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::access::Standing;
use super::flight::Waits;
use super::{Caller, Exchange, Turned, Which};
use crate::domain::family::{AccessFate, AccessRecord, FamilyId};
use crate::domain::opaque::{OpaqueToken, TokenUse};
use crate::domain::time::Timestamp;
use crate::telemetry::Trail;
use crate::telemetry::trail::Note;

/// When each family was last renewed because of an API, on the monotonic clock.
#[derive(Debug, Default)]
pub struct Doubts(DashMap<FamilyId, Duration>);

/// One renewal of a family in so long.
const EVERY: Duration = Duration::from_secs(60);
/// No more families than this are renewed because of an API in that time.
const MOST: usize = 10_000;

impl Doubts {
    /// Whether the family may be renewed now; if so, it may not again for a while.
    fn take(&self, family: FamilyId, now: Duration) -> bool {
        let is_over = |then: &Duration| now.saturating_sub(*then) >= EVERY;
        if self.0.len() >= MOST {
            self.0.retain(|_, then| !is_over(then));
        }
        let is_full = self.0.len() >= MOST;
        match self.0.entry(family) {
            Entry::Occupied(mut there) => {
                is_over(there.get()) && {
                    there.insert(now);
                    true
                }
            }
            Entry::Vacant(free) => {
                !is_full && {
                    free.insert(now);
                    true
                }
            }
        }
    }
}

impl Exchange {
    /// Finds another JWT behind a UUID than that which an API has just refused. `None`: there is none, and
    /// the API's word stands.
    ///
    /// # Errors
    /// The login is over, as the realm has just said.
    pub async fn doubt(
        self: &Arc<Self>,
        token: &OpaqueToken,
        refused: Which,
        trail: &mut Trail,
    ) -> Result<Option<Caller>, Turned> {
        let fingerprint = token.fingerprint(TokenUse::Access);
        let Ok(Some(record)) = self.bridge.store.access(&fingerprint).await else { return Ok(None) };
        if Which::of(&record) == refused {
            if self.may_ask(&record) {
                trail.notes.push(Note::ApiRefused);
                self.ask_for_another(token, &record).await;
            } else {
                // Somebody else's doubt may just be looked into.
                self.bridge.flights.landed(&record.family).await;
            }
        }
        match self.settle(token).await {
            Ok(Standing::Good(record, _)) if Which::of(&record) == refused => Ok(None),
            Err(_) => Ok(None),
            standing => self.caller(fingerprint, standing, trail).await.map(Some),
        }
    }

    fn may_ask(&self, record: &AccessRecord) -> bool {
        // Another instance may have asked: then the JWT is new, and newer than its UUID.
        let is_new = |given: Timestamp| given != record.issued && self.bridge.clock.now().since(given) < EVERY;
        let AccessFate::Live { jwt_since, .. } = &record.fate else { return false };
        !is_new(*jwt_since) && self.bridge.doubts.take(record.family, self.bridge.clock.monotonic())
    }

    /// Asks until the JWT is another, or none is to be had: a flight that was under way may have been a refresh, which gives older UUIDs none.
    async fn ask_for_another(self: &Arc<Self>, token: &OpaqueToken, record: &AccessRecord) {
        let mut waits = Waits::new(self.bridge.policy.load().patience);
        while let Ok(Some(plan)) = self.renewal(token, record).await {
            let landing = self.fly(plan).await;
            let now = self.bridge.store.access(&token.fingerprint(TokenUse::Access)).await;
            let is_same = now.is_ok_and(|now| now.is_some_and(|now| Which::of(&now) == Which::of(record)));
            if !is_same || waits.once_more(landing).await.is_err() {
                break;
            }
        }
    }
}
