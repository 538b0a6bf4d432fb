//! An API refused the JWT behind a good UUID: the realm is asked for another, at most once a minute for each family.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio_util::sync::CancellationToken;

use super::access::{Locked, Standing};
use super::call::Which;
use super::flight::Waits;
use super::seldom::Seldom;
use super::{Caller, Exchange, Turned};
use crate::domain::family::{AccessFate, AccessRecord, FamilyId};
use crate::domain::opaque::{OpaqueToken, TokenUse};
use crate::domain::time::Timestamp;
use crate::telemetry::Trail;
use crate::telemetry::trail::Note;

/// The families that were renewed because of an API.
#[derive(Debug, Default)]
pub struct Doubts {
    /// When each last was, on the monotonic clock, and whether that is over.
    renewed: DashMap<FamilyId, (Duration, CancellationToken)>,
    /// The looks for room, by the same clock.
    swept: Seldom,
}

/// Who looks into a doubt.
enum Looking {
    /// Whoever asked, and says when it is over.
    Ours(CancellationToken),
    /// Somebody else, or somebody did a short while ago.
    Theirs(CancellationToken),
    /// Nobody.
    Nobody,
}

/// One renewal of a family in so long.
const EVERY: Duration = Duration::from_secs(60);
/// No more families than this are renewed because of an API in that time.
const MOST: usize = 10_000;

impl Doubts {
    /// Who renews the family now; where it is whoever asks, nobody may again for a while.
    fn take(&self, family: FamilyId, now: Duration) -> Looking {
        let is_over = |then: &Duration| now.saturating_sub(*then) >= EVERY;
        // Where every call is refused, a look through all of them for each would hold all workers up.
        let lacks_room = self.renewed.len() >= MOST && !self.renewed.contains_key(&family);
        if lacks_room && self.swept.is_first_in(now.as_secs()) {
            self.renewed.retain(|_, (then, _)| !is_over(then));
        }
        let is_full = self.renewed.len() >= MOST;
        let begun = CancellationToken::new();
        match self.renewed.entry(family) {
            Entry::Occupied(there) if !is_over(&there.get().0) => return Looking::Theirs(there.get().1.clone()),
            Entry::Vacant(_) if is_full => return Looking::Nobody,
            Entry::Occupied(mut there) => drop(there.insert((now, begun.clone()))),
            Entry::Vacant(free) => drop(free.insert((now, begun.clone()))),
        }
        Looking::Ours(begun)
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
        refused: &Locked,
        trail: &mut Trail,
    ) -> Result<Option<Caller>, Turned> {
        let (fingerprint, refused) = (token.fingerprint(TokenUse::Access), Which::of(&refused.record));
        let Ok(Some(record)) = self.bridge.store.access(&fingerprint).await else { return Ok(None) };
        if Which::of(&record) == refused {
            match self.who_looks(&record) {
                Looking::Ours(over) => {
                    trail.notes.push(Note::ApiRefused);
                    self.ask_beside(token.clone(), record, over.clone());
                    over.cancelled().await;
                }
                Looking::Theirs(over) => {
                    over.cancelled().await;
                    self.bridge.flights.landed(&record.family).await;
                }
                Looking::Nobody => self.bridge.flights.landed(&record.family).await,
            }
        }
        match self.settle(token).await {
            Ok(Standing::Good(jwt)) if Which::of(&jwt.record) == refused => Ok(None),
            Err(_) => Ok(None),
            standing => self.caller(fingerprint, standing, trail).await.map(Some),
        }
    }

    fn who_looks(&self, record: &AccessRecord) -> Looking {
        // Another instance may have asked: then the JWT is new, and newer than its UUID. One that was given in a time to come was
        // given before the clock was set back.
        let now = self.bridge.clock.now();
        let is_new = |given: Timestamp| given != record.issued && now.since(given) < EVERY && given < now.plus(EVERY);
        let AccessFate::Live { jwt_since, .. } = &record.fate else { return Looking::Nobody };
        if is_new(*jwt_since) {
            return Looking::Nobody;
        }
        self.bridge.doubts.take(record.family, self.bridge.clock.monotonic())
    }

    /// Asks for another, though whoever began it hangs up: others wait for it, and nobody may again for a while.
    fn ask_beside(self: &Arc<Self>, token: OpaqueToken, record: AccessRecord, over: CancellationToken) {
        let (exchange, until_done) = (Arc::clone(self), over.drop_guard());
        self.tasks.run(async move {
            exchange.ask_for_another(&token, &record).await;
            drop(until_done);
        });
    }

    /// Asks until the JWT is another, or none is to be had: a flight that was under way may have been a refresh, which gives older UUIDs none.
    async fn ask_for_another(self: &Arc<Self>, token: &OpaqueToken, record: &AccessRecord) {
        let mut waits = Waits::new(self.bridge.policy.load().patience);
        while let Ok(Some(plan)) = self.renewal(token, record).await {
            let landing = self.fly(plan).await;
            let now = self.bridge.store.access(&token.fingerprint(TokenUse::Access)).await;
            let is_same = now.is_ok_and(|now| now.is_some_and(|now| Which::of(&now) == Which::of(record)));
            if !is_same || waits.once_more(landing, &self.bridge.store).await.is_err() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn family(number: usize) -> FamilyId {
        FamilyId((number as u128).to_be_bytes())
    }

    #[test]
    fn whoever_is_known_needs_no_room_and_room_is_looked_for_once_a_second() {
        let doubts = Doubts::default();
        for number in 0..MOST {
            let first = if number == 0 { 9_500 } else { 10_500 };
            assert!(matches!(doubts.take(family(number), at(first)), Looking::Ours(_)));
        }
        let new = family(MOST);
        assert!(matches!(doubts.take(new, at(69_400)), Looking::Nobody), "nothing is over");
        assert!(matches!(doubts.take(new, at(69_600)), Looking::Nobody), "one is, but that was looked for just now");
        assert!(matches!(doubts.take(family(1), at(70_000)), Looking::Theirs(_)));
        assert_eq!(doubts.renewed.len(), MOST, "whoever is known looks for none");
        assert!(matches!(doubts.take(new, at(70_000)), Looking::Ours(_)));
        assert!(matches!(doubts.take(family(0), at(70_000)), Looking::Nobody), "its place is taken");
        assert!(matches!(doubts.take(family(1), at(70_500)), Looking::Ours(_)), "its own is over");
    }
}
