//! The expiry index: which families are due when.
//!
//! One entry names all families of a group of writes that are due in the same minute, so it costs next to nothing a login. A
//! family is looked at when its minute is over, and entered anew where it lives longer by then. A family without an end is
//! entered when it gets one: when it is over, or by a change.

use std::collections::BTreeMap;

use super::super::error::StoreError;
use super::files::{Entry, Files};
use super::keys;
use crate::domain::family::FamilyId;
use crate::domain::time::Timestamp;

/// In milliseconds: so much later than it could a family is dropped at most.
const MINUTE: u64 = 60_000;

#[derive(Debug)]
pub(super) struct ExpiryIndex {
    /// Tells entries of the same minute apart; begins at a height of its own with every opening of the store.
    next: u64,
    /// Nothing is entered before it. Saves the sweep from wading through what former sweeps removed.
    swept_to: Timestamp,
}

/// What is due: families, and the entries that name them.
#[derive(Debug, Default)]
pub(super) struct DueFamilies {
    pub(super) families: Vec<FamilyId>,
    pub(super) entries: Vec<Entry>,
    /// Entries that cannot be read.
    pub(super) damaged: usize,
    /// Where to go on, if there is more.
    pub(super) more_from: Option<Timestamp>,
}

impl ExpiryIndex {
    pub(super) const fn of_opening(opening: u32) -> Self {
        Self { next: (opening as u64) << 32, swept_to: Timestamp::from_millis(0) }
    }

    /// Enters families with the time until which they are remembered.
    pub(super) fn enter(&mut self, families: Vec<(Timestamp, FamilyId)>) -> Vec<Entry> {
        let mut by_minute: BTreeMap<Timestamp, Vec<FamilyId>> = BTreeMap::new();
        for (until, family) in families.into_iter().filter(|(until, _)| until.ends().is_some()) {
            let minute = (until.millis() / MINUTE).saturating_add(1).saturating_mul(MINUTE);
            by_minute.entry(Timestamp::from_millis(minute)).or_default().push(family);
        }
        by_minute
            .into_iter()
            .map(|(due, families)| {
                self.next += 1;
                self.swept_to = self.swept_to.min(due);
                Entry::record(&keys::expiry(due, self.next), &families)
            })
            .collect()
    }

    /// Families that are due at `horizon`: about as many as `limit`.
    pub(super) fn due(&self, files: &Files, horizon: Timestamp, limit: usize) -> Result<DueFamilies, StoreError> {
        let first = keys::expiry(self.swept_to.min(horizon), 0).to_vec();
        let end = keys::expiry(horizon, u64::MAX).to_vec();
        let mut due = DueFamilies::default();
        for record in files.records::<Vec<FamilyId>>(first..end) {
            let (key, families) = record?;
            if due.families.len() >= limit {
                due.more_from = keys::due_in(&key);
                break;
            }
            match families {
                Ok(families) => due.families.extend(families),
                Err(StoreError::Corrupt { .. }) => due.damaged += 1,
                Err(error) => return Err(error),
            }
            due.entries.push(Entry::remove(&key));
        }
        Ok(due)
    }

    /// What was due before has been seen to, and is gone from the index.
    pub(super) fn swept_to(&mut self, before: Timestamp) {
        self.swept_to = before;
    }
}
