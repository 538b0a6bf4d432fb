//! What one process knows of its questions to the realm, and no store can tell.

use std::collections::VecDeque;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::flight::Landing;
use crate::domain::family::{Family, FamilyId, FamilyState};
use crate::store::{Change, CommitError, Lease, StoreError, TokenStore, Versioned};
use crate::telemetry::News;

/// So often is it remembered at most that nothing was spent, the newest; of more, a crash could not know it either.
const MOST_UNSPENT: usize = 10_000;

/// Of so many the store is told at once.
const AT_ONCE: usize = 500;

/// After so many looks at a family that does not say *asking* it never will: a write that was given up may still be on its way.
const MOST_LOOKS: u8 = 60;

/// So long the realm is asked nothing that can wait, once it was away or has let somebody wait in vain.
const BACK_OFF: Duration = Duration::from_secs(10);

/// Flights of this process, and what came of them.
#[derive(Debug, Default)]
pub struct Flights {
    under_way: DashMap<FamilyId, watch::Receiver<Option<Landing>>>,
    /// Those under which a family may say *asking* though nothing was spent: the store failed to answer that write, or to take it back once
    /// the realm had surely spent nothing. How often it was looked whether they do; who was looked at longest ago comes first.
    unspent: Mutex<VecDeque<(Lease, u8)>>,
    /// Until when the realm is asked nothing that can wait, for anybody.
    alone_until: Mutex<Duration>,
    /// Until when it is asked nothing that can wait for a client, no more of them than there are.
    alone_for: DashMap<String, Duration>,
    /// For which client the realm failed last in such a way that it may have heard, and when.
    failed: Mutex<Option<(String, Duration)>>,
    /// Clients of which a renewal failed: each of its API calls may begin one.
    told: News<String>,
}

/// What became of the wish to fly.
pub(super) enum Begun {
    /// Somebody flies already.
    Already(watch::Receiver<Option<Landing>>),
    /// To be told how it ends.
    Now(watch::Sender<Option<Landing>>),
}

/// Takes the flight out of the list when it ends, in whatever way.
pub(super) struct UnderWay<'a>(&'a Flights, FamilyId);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.remove(&self.1);
    }
}

impl Flights {
    /// How many there are.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Whether somebody of this process asks for the family.
    pub(super) fn asking(&self, family: &FamilyId) -> bool {
        self.under_way.contains_key(family)
    }

    /// Waits for the end of the family's flight, if there is one.
    pub(super) async fn landed(&self, family: &FamilyId) {
        let watch = self.under_way.get(family).map(|there| there.value().clone());
        if let Some(mut watch) = watch {
            let _landing = watch.wait_for(Option::is_some).await;
        }
    }

    pub(super) fn begin(&self, family: FamilyId) -> Begun {
        match self.under_way.entry(family) {
            Entry::Occupied(there) => Begun::Already(there.get().clone()),
            Entry::Vacant(free) => {
                let (sender, receiver) = watch::channel(None);
                free.insert(receiver);
                Begun::Now(sender)
            }
        }
    }

    pub(super) fn until_it_lands(&self, family: FamilyId) -> UnderWay<'_> {
        UnderWay(self, family)
    }

    /// The store failed to say durably that a family is asking, so nothing was sent. It may be there all the same, unless the
    /// store did not even try.
    pub(super) fn not_sent(&self, lease: Lease, error: &StoreError) {
        let tried = !matches!(error, StoreError::Refusing { .. } | StoreError::Closed);
        if tried {
            self.unspent(lease);
        }
    }

    /// The family says *asking* under this lease, and nothing was spent.
    pub(super) fn unspent(&self, lease: Lease) {
        let mut unspent = self.unspent.lock();
        if unspent.len() >= MOST_UNSPENT {
            unspent.pop_front();
        }
        unspent.push_back((lease, 0));
    }

    /// Says durably of those families that nothing was spent, as far as the store can hear: for the next start, and for other instances.
    pub async fn take_all_back(&self, store: &TokenStore) {
        let some: Vec<_> = self.unspent.lock().iter().take(AT_ONCE).map(|(lease, _)| *lease).collect();
        for lease in some {
            if !store.takes_writes() || self.take_back(store, lease).await.is_err() {
                break;
            }
        }
    }

    /// Says of one family durably that nothing was spent.
    pub(super) async fn take_back(&self, store: &TokenStore, lease: Lease) -> Result<(), StoreError> {
        let is_settled = is_settled(store, lease).await?;
        let mut unspent = self.unspent.lock();
        let place = unspent.iter().position(|(known, _)| *known == lease);
        if let Some((lease, looks)) = place.and_then(|place| unspent.remove(place))
            && !is_settled
            && looks < MOST_LOOKS
        {
            unspent.push_back((lease, looks + 1));
        }
        Ok(())
    }

    /// Whether the family says *asking*, and this process knows that nothing was spent.
    pub(super) fn is_unspent(&self, family: &Family) -> bool {
        match family.state {
            FamilyState::Asking { fence, .. } => {
                let lease = Lease { family: family.id, fence };
                self.unspent.lock().iter().any(|(known, _)| *known == lease)
            }
            FamilyState::Resting | FamilyState::Unrefreshable | FamilyState::Over(_) => false,
        }
    }

    /// A family that says *asking* rests where this process knows that nothing was spent.
    pub(super) fn as_it_is(&self, mut known: Versioned<Family>) -> Versioned<Family> {
        if self.is_unspent(&known.value) {
            known.value.state = FamilyState::Resting;
        }
        known
    }

    /// The family says durably that it is asking, under a newer fence than those before.
    pub(super) fn written_down(&self, family: FamilyId) {
        self.unspent.lock().retain(|(lease, _)| lease.family != family);
    }

    /// The realm let somebody wait in vain. Each question may cost a login, whoever's.
    pub(super) fn leave_realm_alone(&self, now: Duration) {
        *self.alone_until.lock() = now.saturating_add(BACK_OFF);
    }

    /// The realm was away for a client. What it cannot answer for one it may well for the others, whose sessions are still to be rechecked: unless
    /// it may have heard, so that this may have cost a login, and it was so for another a short while ago.
    pub(super) fn realm_failed(&self, client: &str, may_have_heard: bool, now: Duration) {
        self.alone_for.insert(client.to_owned(), now.saturating_add(BACK_OFF));
        if may_have_heard {
            let before = self.failed.lock().replace((client.to_owned(), now));
            if before.is_some_and(|(whose, when)| whose != client && now.saturating_sub(when) < BACK_OFF) {
                self.leave_realm_alone(now);
            }
        }
    }

    /// Whether it is time to tell of a renewal of this client that failed.
    pub(super) fn is_to_be_told(&self, client: &str, now: Duration) -> bool {
        self.told.is_news(client.to_owned(), now)
    }

    /// Whether it was so a short while ago.
    pub(super) fn realm_is_left_alone(&self, client: &str, now: Duration) -> bool {
        now < *self.alone_until.lock() || self.alone_for.get(client).is_some_and(|until| now < *until)
    }
}

/// Has the store say that the family rests, where it says *asking* under this lease. Whether it surely never will any more.
async fn is_settled(store: &TokenStore, lease: Lease) -> Result<bool, StoreError> {
    let Some(Versioned { value, version }) = store.family(lease.family).await? else { return Ok(true) };
    match value.state {
        FamilyState::Asking { fence, .. } if fence == lease.fence => {}
        FamilyState::Asking { fence, .. } => return Ok(fence > lease.fence),
        FamilyState::Resting => return Ok(false),
        FamilyState::Unrefreshable | FamilyState::Over(_) => return Ok(true),
    }
    let rests = Family { state: FamilyState::Resting, ..value };
    let change = Change { fence: Some(lease.fence), ..Change::of(version, rests) };
    match store.commit(change).await {
        Ok(()) | Err(CommitError::Unknown) => Ok(true),
        // Whoever has a newer lease by now goes by what this process remembers, until the family says something else.
        Err(CommitError::Fenced | CommitError::Conflict) => Ok(false),
        Err(CommitError::Store(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::time::{NoTime, Timestamp};
    use crate::store::{Bundle, StoreSettings};

    fn asking(lease: Lease) -> Family {
        let state = FamilyState::Asking { fence: lease.fence, since: Timestamp::from_secs(0) };
        Family { state, ..Family::resting(lease.family) }
    }

    /// Whoever has the newer lease has not decided yet, and decides by what this process knows.
    #[test]
    fn that_nothing_was_spent_is_known_until_whoever_has_a_newer_lease_has_said_something_else() {
        let directory = tempfile::tempdir().unwrap();
        let settings = StoreSettings::Embedded { path: directory.path().join("store"), cache_bytes: 1 << 20 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = TokenStore::open(&settings, Arc::new(NoTime)).unwrap();
            let (family, flights) = (lease(1).family, Flights::default());
            let failed = store.lease(family, BACK_OFF).await.unwrap().unwrap();
            store.import(&Bundle { family: asking(failed), access: Vec::new(), refresh: Vec::new() }).await.unwrap();
            flights.unspent(failed);
            store.release(failed).await.unwrap();
            let newer = store.lease(family, BACK_OFF).await.unwrap().unwrap();
            flights.take_all_back(&store).await;
            let known = store.family(family).await.unwrap().unwrap();
            assert!(flights.is_unspent(&known.value));
            store.release(newer).await.unwrap();
            flights.take_all_back(&store).await;
            let known = store.family(family).await.unwrap().unwrap();
            assert_eq!((known.value.state, flights.unspent.lock().len()), (FamilyState::Resting, 0));
            store.close().await;
        });
    }

    fn lease(number: usize) -> Lease {
        let mut family = [0; 16];
        family[..8].copy_from_slice(&number.to_le_bytes());
        Lease { family: FamilyId(family), fence: 1 }
    }

    #[test]
    fn of_more_than_can_be_remembered_the_newest_are_and_whoever_asked_since_is_forgotten() {
        let flights = Flights::default();
        for number in 0..=MOST_UNSPENT {
            flights.unspent(lease(number));
        }
        let is_known = |number| flights.unspent.lock().contains(&(lease(number), 0));
        assert!(!is_known(0) && is_known(1) && is_known(MOST_UNSPENT));
        flights.written_down(lease(1).family);
        assert!(!is_known(1) && is_known(2));
    }
}
