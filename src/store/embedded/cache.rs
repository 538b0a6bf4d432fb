//! Access records that were used lately, as they lie on the disk: sealed, so that a dump of memory shows what is in flight only.
//!
//! A look-up in fjall's tree costs microseconds at a million families, one here a fraction of one. What was changed is taken
//! out after it is durable and before anybody is told; a reader that found the former record in the meantime cannot put it
//! back, because its place is gone with it.

use std::fmt;

use fjall::Slice;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, GuardResult};

use super::super::error::StoreError;
use crate::domain::opaque::Fingerprint;

/// What an entry costs besides its bytes: key, slots, the allocation.
const OVERHEAD: u64 = 160;

/// What a record is taken to have, to size the tables.
const ORDINARY: u64 = 2048;

pub(super) struct RecordCache(Cache<Fingerprint, Slice, Weigh>);

#[derive(Clone)]
struct Weigh;

impl Weighter<Fingerprint, Slice> for Weigh {
    fn weight(&self, _: &Fingerprint, bytes: &Slice) -> u64 {
        bytes.len() as u64 + OVERHEAD
    }
}

impl fmt::Debug for RecordCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordCache({} records)", self.0.len())
    }
}

impl RecordCache {
    pub(super) fn of(bytes: u64) -> Self {
        let records = usize::try_from(bytes / ORDINARY).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(records, bytes, Weigh))
    }

    /// The bytes of a record, read where they are not here. What is not there is asked for again next time.
    pub(super) fn get(
        &self,
        fingerprint: &Fingerprint,
        read: impl FnOnce() -> Result<Option<Slice>, StoreError>,
    ) -> Result<Option<Slice>, StoreError> {
        match self.0.get_value_or_guard(fingerprint, None) {
            GuardResult::Value(bytes) => Ok(Some(bytes)),
            GuardResult::Guard(place) => {
                let Some(bytes) = read()? else { return Ok(None) };
                // Refused where the record was changed while it was read.
                drop(place.insert(bytes.clone()));
                Ok(Some(bytes))
            }
            GuardResult::Timeout => read(),
        }
    }

    pub(super) fn forget(&self, fingerprint: &Fingerprint) {
        self.0.remove(fingerprint);
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.weight()
    }
}
