//! The leases of one process: in memory, for nobody else has the store.
//!
//! Measured in time that only runs forward, so that a clock set by hand ends none. Fences rise over restarts, because each
//! opening of the store begins at a height of its own.

use std::collections::HashMap;
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
}

#[derive(Clone, Copy, Debug)]
struct Granted {
    fence: u64,
    until: Duration,
}

impl Leases {
    /// For the store's so-many-th opening.
    pub(super) fn of_opening(opening: u32) -> Self {
        Self { next: AtomicU64::new(u64::from(opening) << 32), granted: Mutex::default() }
    }

    pub(super) fn grant(&self, family: FamilyId, ttl: Duration, now: Duration) -> Option<Lease> {
        let mut granted = self.granted.lock();
        if granted.get(&family).is_some_and(|lease| now < lease.until) {
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
