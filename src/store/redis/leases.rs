//! Leases, and those of unknown fate: Redis may have granted one and its answer was lost, or have not heard that one was given back. Nobody has such
//! a lease, and until it is over nobody else would get one: so the next question for that family names it, and Redis gives it up.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::super::change::Lease;
use super::super::error::StoreError;
use super::{Redis, scripts};
use crate::domain::family::FamilyId;
use crate::domain::time::millis;

/// So many are remembered at most; of others it is waited until they are over.
const MOST: usize = 10_000;

/// What this process does not know of its leases, of which it wants one at a time for a family.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    /// Which process this is, among all that have this Redis. Without it no lease says whose it is, and none is given up.
    owner: OnceLock<u64>,
    asked: AtomicU64,
    families: Mutex<HashMap<FamilyId, Question>>,
}

/// A question for a lease.
#[derive(Clone, Debug, Default)]
pub(super) struct Question {
    /// Names the question, so that a lease can be known by it: asked again by the same name it gets the same lease, however late the first one is
    /// heard. Nobody flies under a lease whose answer was lost.
    pub(super) name: String,
    /// The fence of a lease that may not have been given back. Somebody has flown under it: the next one gets a greater fence.
    pub(super) flown: Option<u64>,
}

impl Unknown {
    pub(super) fn owned_by(&self, owner: u64) {
        // One store is one process's.
        let _owned_already = self.owner.set(owner);
    }

    /// A name for an attempt to change a family.
    pub(super) fn attempt(&self) -> String {
        let owner = self.owner.get().copied().unwrap_or_default();
        format!("{owner:016x}.{}", self.asked.fetch_add(1, Ordering::Relaxed))
    }

    /// How to ask for a lease. Whoever asks beside it is somebody else.
    pub(super) fn question(&self, family: FamilyId) -> Question {
        let mut question = self.families.lock().remove(&family).unwrap_or_default();
        if self.owner.get().is_some() && question.name.is_empty() {
            question.name = self.attempt();
        }
        question
    }

    /// That was not answered.
    pub(super) fn unanswered(&self, family: FamilyId, question: Question) {
        if self.owner.get().is_some() {
            self.remember(family, question);
        }
    }

    /// This one may not have been given back.
    pub(super) fn unreleased(&self, lease: Lease) {
        self.remember(lease.family, Question { name: String::new(), flown: Some(lease.fence) });
    }

    fn remember(&self, family: FamilyId, question: Question) {
        let mut families = self.families.lock();
        if families.len() < MOST || families.contains_key(&family) {
            families.insert(family, question);
        } else {
            // Those are long over, as a rule.
            families.clear();
        }
    }
}

impl Redis {
    pub(in super::super) async fn lease(&self, family: FamilyId, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let question = self.unknown.question(family);
        match self.number(scripts::lease(family, millis(ttl), &question)).await {
            Ok(fence) => Ok((fence > 0).then_some(Lease { family, fence })),
            Err(error) => {
                self.unknown.unanswered(family, question);
                Err(error)
            }
        }
    }

    pub(in super::super) fn owned_by(&self, owner: u64) {
        self.unknown.owned_by(owner);
    }

    pub(in super::super) async fn renew(&self, lease: Lease, ttl: Duration) -> Result<bool, StoreError> {
        Ok(self.number(scripts::renew(lease.family, lease.fence, millis(ttl))).await? > 0)
    }

    pub(in super::super) async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        let released = self.number(scripts::release(lease.family, lease.fence)).await;
        if released.is_err() {
            self.unknown.unreleased(lease);
        }
        released.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILY: FamilyId = FamilyId([1; 16]);

    #[test]
    fn what_was_not_answered_is_asked_again_by_its_name_and_whoever_asks_beside_it_has_another() {
        let unknown = Unknown::default();
        unknown.owned_by(7);
        let first = unknown.question(FAMILY);
        unknown.unanswered(FAMILY, first.clone());
        assert_eq!(unknown.question(FAMILY).name, first.name);
        assert_ne!(unknown.question(FAMILY).name, first.name);
    }

    #[test]
    fn no_more_are_remembered_than_can_be() {
        let unknown = Unknown::default();
        for number in 0..=MOST as u64 {
            let family = FamilyId(u128::from(number).to_le_bytes());
            unknown.unreleased(Lease { family, fence: 1 });
        }
        assert!(unknown.families.lock().len() <= MOST);
    }
}
