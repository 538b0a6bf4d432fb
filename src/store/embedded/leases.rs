//! The leases of one process: in memory, for nobody else has the store.
//!
//! Measured in time that only runs forward, so that a clock set by hand ends none. Fences rise over restarts, because each
//! opening of the store begins at a height of its own.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::super::change::Lease;
use crate::domain::family::FamilyId;

/// So many, and those are looked for that nobody released.
const MANY: usize = 1024;

#[derive(Debug)]
pub(super) struct Leases {
    next: AtomicU64,
    granted: Mutex<HashMap<FamilyId, Granted>>,
    /// How many changes of a family, each decided under a lease, wait for the disk.
    waiting: Mutex<HashMap<FamilyId, usize>>,
}

/// A change that was decided under a lease waits for the disk, until this is dropped.
#[derive(Debug)]
pub(super) struct Waiting(Arc<Leases>, FamilyId);

impl Waiting {
    pub(super) fn of(leases: &Arc<Leases>, family: FamilyId) -> Self {
        *leases.waiting.lock().entry(family).or_default() += 1;
        Self(Arc::clone(leases), family)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Entry::Occupied(mut there) = self.0.waiting.lock().entry(self.1) {
            *there.get_mut() -= 1;
            if *there.get() == 0 {
                there.remove();
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Granted {
    fence: u64,
    until: Duration,
}

impl Leases {
    /// For the store's so-many-th opening.
    pub(super) fn of_opening(opening: u32) -> Self {
        Self { next: AtomicU64::new(u64::from(opening) << 32), granted: Mutex::default(), waiting: Mutex::default() }
    }

    /// None either while what was decided under an earlier lease waits for the disk, though that lease is over: it would be fenced off.
    pub(super) fn grant(&self, family: FamilyId, ttl: Duration, now: Duration) -> Option<Lease> {
        let mut granted = self.granted.lock();
        if granted.get(&family).is_some_and(|lease| now < lease.until) || self.waiting.lock().contains_key(&family) {
            return None;
        }
        if granted.len() >= MANY {
            granted.retain(|_, lease| now < lease.until);
        }
        let fence = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        granted.insert(family, Granted { fence, until: now.saturating_add(ttl) });
        Some(Lease { family, fence })
    }

    pub(super) fn renew(&self, lease: Lease, ttl: Duration, now: Duration) -> bool {
        match self.granted.lock().get_mut(&lease.family) {
            Some(granted) if granted.fence == lease.fence => {
                granted.until = now.saturating_add(ttl);
                true
            }
            Some(_) | None => false,
        }
    }

    pub(super) fn release(&self, lease: Lease) {
        let mut granted = self.granted.lock();
        if granted.get(&lease.family).is_some_and(|granted| granted.fence == lease.fence) {
            granted.remove(&lease.family);
        }
    }

    /// Whether a newer lease than this was granted.
    pub(super) fn is_fenced(&self, family: FamilyId, fence: u64) -> bool {
        self.granted.lock().get(&family).is_some_and(|granted| granted.fence > fence)
    }
}
