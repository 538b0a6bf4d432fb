//! Families that may say *asking* though nothing was spent: what this process knows of them, and no store can tell.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::domain::family::{Family, FamilyId, FamilyState};
use crate::store::{Change, CommitError, Lease, StoreError, TokenStore, Versioned};

/// So often is it remembered at most that nothing was spent, the newest; of more, a crash could not know it either.
const MOST_UNSPENT: usize = 10_000;

/// Of so many the store is told at once.
const AT_ONCE: usize = 500;

/// After so many looks at a family that does not say *asking* it never will: a write that was given up may still be on its way.
const MOST_LOOKS: u8 = 60;

/// The leases under which they may.
#[derive(Debug, Default)]
pub struct Unspent(
    /// How often it was looked whether they do; who was looked at longest ago comes first.
    Mutex<VecDeque<(Lease, u8)>>,
);

impl Unspent {
    /// The store failed to say durably that a family is asking, so nothing was sent. It may be there all the same, unless the
    /// store did not even try.
    pub fn not_sent(&self, lease: Lease, error: &StoreError) {
        let tried = !matches!(error, StoreError::Refusing { .. } | StoreError::Closed);
        if tried {
            self.add(lease);
        }
    }

    /// The family says *asking* under this lease, and nothing was spent.
    pub fn add(&self, lease: Lease) {
        let mut unspent = self.0.lock();
        if unspent.len() >= MOST_UNSPENT {
            unspent.pop_front();
        }
        unspent.push_back((lease, 0));
    }

    /// Says durably of those families that nothing was spent, as far as the store can hear: for the next start, and for other instances.
    pub async fn take_all_back(&self, store: &TokenStore) {
        let some: Vec<_> = self.0.lock().iter().take(AT_ONCE).map(|(lease, _)| *lease).collect();
        for lease in some {
            if !store.takes_writes() || self.take_back(store, lease).await.is_err() {
                break;
            }
        }
    }

    /// Says of one family durably that nothing was spent.
    pub async fn take_back(&self, store: &TokenStore, lease: Lease) -> Result<(), StoreError> {
        let is_settled = is_settled(store, lease).await?;
        let mut unspent = self.0.lock();
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
    pub fn is_unspent(&self, family: &Family) -> bool {
        match family.state {
            FamilyState::Asking { fence, .. } => {
                let lease = Lease { family: family.id, fence };
                self.0.lock().iter().any(|(known, _)| *known == lease)
            }
            FamilyState::Resting | FamilyState::Unrefreshable | FamilyState::Over(_) => false,
        }
    }

    /// A family that says *asking* rests where this process knows that nothing was spent.
    pub fn as_it_is(&self, mut known: Versioned<Family>) -> Versioned<Family> {
        if self.is_unspent(&known.value) {
            known.value.state = FamilyState::Resting;
        }
        known
    }

    /// The family says durably that it is asking, under a newer fence than those before.
    pub fn written_down(&self, family: FamilyId) {
        self.0.lock().retain(|(lease, _)| lease.family != family);
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
    use std::time::Duration;

    use super::*;
    use crate::domain::time::{NoTime, Timestamp};
    use crate::store::{Bundle, StoreSettings};

    const LEASE: Duration = Duration::from_secs(10);

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
            let (family, known_here) = (lease(1).family, Unspent::default());
            let failed = store.lease(family, LEASE).await.unwrap().unwrap();
            store.import(&Bundle { family: asking(failed), access: Vec::new(), refresh: Vec::new() }).await.unwrap();
            known_here.add(failed);
            store.release(failed).await.unwrap();
            let newer = store.lease(family, LEASE).await.unwrap().unwrap();
            known_here.take_all_back(&store).await;
            let known = store.family(family).await.unwrap().unwrap();
            assert!(known_here.is_unspent(&known.value));
            store.release(newer).await.unwrap();
            known_here.take_all_back(&store).await;
            let known = store.family(family).await.unwrap().unwrap();
            assert_eq!((known.value.state, known_here.0.lock().len()), (FamilyState::Resting, 0));
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
        let known_here = Unspent::default();
        for number in 0..=MOST_UNSPENT {
            known_here.add(lease(number));
        }
        let is_known = |number| known_here.0.lock().contains(&(lease(number), 0));
        assert!(!is_known(0) && is_known(1) && is_known(MOST_UNSPENT));
        known_here.written_down(lease(1).family);
        assert!(!is_known(1) && is_known(2));
    }
}
