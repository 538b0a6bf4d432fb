//! Access records that were used lately, checked and decoded: a look-up copies nothing. What is of the realm stays sealed in them, so that a
//! dump of memory shows what is in flight only.
//!
//! A look-up in fjall's tree costs microseconds at a million families, one here a fraction of one. What was changed is taken
//! out after it is durable and before anybody is told; a reader that found the former record in the meantime cannot put it
//! back, because its place is gone with it.

use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::{Cache, GuardResult};

use super::super::error::StoreError;
use crate::domain::family::{AccessFate, AccessRecord};
use crate::domain::opaque::Fingerprint;

/// What an entry costs besides its bytes: key, slots, the record itself, its allocations.
const OVERHEAD: usize = 160 + size_of::<AccessRecord>();

/// What a record is taken to have, to size the tables.
const ORDINARY: u64 = 2048;

pub(super) struct RecordCache(Cache<Fingerprint, Arc<AccessRecord>, Weigh>);

#[derive(Clone)]
struct Weigh;

impl Weighter<Fingerprint, Arc<AccessRecord>> for Weigh {
    fn weight(&self, _: &Fingerprint, record: &Arc<AccessRecord>) -> u64 {
        let sealed = match &record.fate {
            AccessFate::Live { jwt, key, .. } => jwt.as_bytes().len() + key.wrapped().as_bytes().len(),
            AccessFate::Over(_) => 0,
        };
        (record.client.len() + record.scope.len() + sealed + OVERHEAD) as u64
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

    /// A record, read where it is not here. What is not there is asked for again next time.
    pub(super) fn get(
        &self,
        fingerprint: &Fingerprint,
        read: impl FnOnce() -> Result<Option<AccessRecord>, StoreError>,
    ) -> Result<Option<Arc<AccessRecord>>, StoreError> {
        match self.0.get_value_or_guard(fingerprint, None) {
            GuardResult::Value(record) => Ok(Some(record)),
            GuardResult::Guard(place) => {
                let Some(record) = read()?.map(Arc::new) else { return Ok(None) };
                // Refused where the record was changed while it was read.
                drop(place.insert(Arc::clone(&record)));
                Ok(Some(record))
            }
            GuardResult::Timeout => Ok(read()?.map(Arc::new)),
        }
    }

    /// A record, where it is here.
    pub(super) fn peek(&self, fingerprint: &Fingerprint) -> Option<Arc<AccessRecord>> {
        self.0.peek(fingerprint)
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
