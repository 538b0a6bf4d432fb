//! Access records that were used lately, checked and decoded: a look-up copies nothing. What is of the realm stays sealed in them, so that a
//! dump of memory shows what is in flight only.
//!
//! A look-up in fjall's tree costs microseconds at a million families, one here a fraction of one. What was changed is taken
//! out after it is durable and before anybody is told; a reader that found the former record in the meantime cannot put it
//! back, because its place is gone with it. Once there is no more room, a record takes another's place only when it is asked for the
//! second time: where a million are called with in turn, hardly one comes again before it would have to go.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, GuardResult};

use super::super::error::StoreError;
use crate::domain::family::{AccessFate, AccessRecord};
use crate::domain::opaque::Fingerprint;

/// What an entry costs besides its bytes: key, slots, the record itself, its allocations.
const OVERHEAD: usize = 160 + size_of::<AccessRecord>();

/// What a record is taken to have, to size the tables.
const ORDINARY: u64 = 2048;

/// One who was asked for lately is remembered for so many bytes of room: about as many as records are here.
const LATELY: u64 = 1024;

/// A text up to this long lies in memory once, for all records that have it.
const SHARED: usize = 128;

/// So many texts are no reason yet to look which of them no record has any more.
const FEW: usize = 1024;

pub(super) struct RecordCache {
    records: Cache<Fingerprint, Arc<AccessRecord>, Weigh>,
    texts: Mutex<Texts>,
    /// Nothing comes in any more but in another's place.
    is_full: AtomicBool,
    lately: Lately,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Who was asked for lately and is not here: as many as there is room for, by some bits of each.
struct Lately(Box<[AtomicU16]>);

impl Lately {
    /// Whether this one has been here, as far as can be told; it has from now on.
    fn has_come(&self, fingerprint: &Fingerprint) -> bool {
        let [place @ .., one, other] = *fingerprint.as_bytes().last_chunk::<10>().unwrap_or(&[0; 10]);
        let mark = u16::from_le_bytes([one, other]) | 1;
        let place = u64::from_le_bytes(place) % self.0.len() as u64;
        let former = usize::try_from(place).ok().and_then(|place| self.0.get(place));
        former.is_none_or(|former| former.swap(mark, Ordering::Relaxed) == mark)
    }
}

/// The ids and scopes of the records: thousands have the same.
struct Texts {
    all: HashSet<Arc<str>>,
    /// Beyond so many, those that no record has any more are let go.
    bearable: usize,
}

impl Texts {
    /// The same text, which others may have too.
    fn shared(&mut self, text: &Arc<str>) -> Arc<str> {
        if text.len() > SHARED {
            return Arc::clone(text);
        }
        if let Some(known) = self.all.get(text) {
            return Arc::clone(known);
        }
        if self.all.len() >= self.bearable {
            self.all.retain(|text| Arc::strong_count(text) > 1);
            self.bearable = FEW.max(2 * self.all.len());
        }
        self.all.insert(Arc::clone(text));
        Arc::clone(text)
    }
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Fingerprint, Arc<AccessRecord>> for Weigh {
    fn weight(&self, _: &Fingerprint, record: &Arc<AccessRecord>) -> u64 {
        let sealed = match &record.fate {
            AccessFate::Live { jwt, key, .. } => jwt.as_bytes().len() + key.wrapped().as_bytes().len(),
            AccessFate::Over(_) => 0,
        };
        let own = |text: &str| if text.len() > SHARED { text.len() } else { 0 };
        (own(&record.client) + own(&record.scope) + sealed + OVERHEAD) as u64
    }
}

impl fmt::Debug for RecordCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordCache({} records)", self.records.len())
    }
}

impl RecordCache {
    pub(super) fn of(bytes: u64) -> Self {
        let records = usize::try_from(bytes / ORDINARY).unwrap_or(usize::MAX);
        let texts = Mutex::new(Texts { all: HashSet::new(), bearable: FEW });
        let lately = Lately((0..=bytes / LATELY).map(|_| AtomicU16::new(0)).collect());
        Self {
            records: Cache::with_weighter(records, bytes, Weigh),
            texts,
            is_full: AtomicBool::new(false),
            lately,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// A record, read where it is not here. What is not there is asked for again next time.
    pub(super) fn get(
        &self,
        fingerprint: &Fingerprint,
        read: impl FnOnce() -> Result<Option<AccessRecord>, StoreError>,
    ) -> Result<Option<Arc<AccessRecord>>, StoreError> {
        if let Some(record) = self.records.get(fingerprint) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(record));
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        if self.is_full() && !self.lately.has_come(fingerprint) {
            return Ok(read()?.map(Arc::new));
        }
        match self.records.get_value_or_guard(fingerprint, None) {
            GuardResult::Value(record) => Ok(Some(record)),
            GuardResult::Guard(place) => {
                let Some(mut record) = read()? else { return Ok(None) };
                self.share(&mut record);
                let record = Arc::new(record);
                // Refused where the record was changed while it was read.
                drop(place.insert(Arc::clone(&record)));
                if !self.is_full() && self.records.weight() > self.records.capacity() / 16 * 15 {
                    self.is_full.store(true, Ordering::Relaxed);
                }
                Ok(Some(record))
            }
            GuardResult::Timeout => Ok(read()?.map(Arc::new)),
        }
    }

    fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    fn share(&self, record: &mut AccessRecord) {
        let mut texts = self.texts.lock();
        record.client = texts.shared(&record.client);
        record.scope = texts.shared(&record.scope);
    }

    /// A record, where it is here.
    pub(super) fn peek(&self, fingerprint: &Fingerprint) -> Option<Arc<AccessRecord>> {
        self.records.peek(fingerprint)
    }

    pub(super) fn forget(&self, fingerprint: &Fingerprint) {
        self.records.remove(fingerprint);
    }

    pub(super) fn clear(&self) {
        self.records.clear();
        self.is_full.store(false, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.records.weight()
    }

    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    pub(super) fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::family::{Ending, FamilyId};
    use crate::domain::time::Timestamp;

    fn print(number: usize) -> Fingerprint {
        Fingerprint::of("access", &number.to_le_bytes())
    }

    /// Puts the record of this number in its place, and answers it.
    fn kept(cache: &RecordCache, number: usize, client: &str, scope: &str) -> Arc<AccessRecord> {
        let record = AccessRecord {
            family: FamilyId([1; 16]),
            client: client.into(),
            scope: scope.into(),
            issued: Timestamp::from_secs(0),
            until: Timestamp::from_secs(1),
            fate: AccessFate::Over(Ending::Revoked),
        };
        cache.get(&print(number), || Ok(Some(record))).unwrap().unwrap()
    }

    #[test]
    fn records_share_what_they_say_alike_and_pay_for_what_is_too_long_to_share() {
        let cache = RecordCache::of(1 << 20);
        let (one, other) = (kept(&cache, 1, "crm", "a b"), kept(&cache, 2, "crm", "a b"));
        assert!(Arc::ptr_eq(&one.client, &other.client) && Arc::ptr_eq(&one.scope, &other.scope));
        assert_eq!(cache.bytes(), 2 * OVERHEAD as u64);
        let long = "x".repeat(SHARED + 1);
        let (one, other) = (kept(&cache, 3, "crm", &long), kept(&cache, 4, "crm", &long));
        assert!(!Arc::ptr_eq(&one.scope, &other.scope));
        assert_eq!(cache.bytes(), (4 * OVERHEAD + 2 * long.len()) as u64);
    }

    #[test]
    fn where_there_is_no_more_room_a_record_comes_in_when_it_is_asked_for_the_second_time() {
        let cache = RecordCache::of(1 << 20);
        let long = "x".repeat(1024);
        let is_here = |number| cache.peek(&print(number)).is_some();
        // As long as there is room, each comes in at once.
        let full = (0..10_000).find(|number| {
            kept(&cache, *number, "crm", &long);
            assert!(is_here(*number));
            cache.is_full()
        });
        let full = full.unwrap();
        let here = || (0..full).filter(|number| is_here(*number)).collect::<Vec<_>>();
        let before = here();
        for number in 10_000..11_000 {
            kept(&cache, number, "crm", &long);
            assert!(!is_here(number), "{number}");
        }
        assert!(before.len() > 300 && here() == before, "whoever comes once puts nobody out");
        kept(&cache, 1_000_000, "crm", &long);
        kept(&cache, 1_000_000, "crm", &long);
        assert!(is_here(1_000_000));
        cache.clear();
        kept(&cache, 1, "crm", &long);
        assert!(is_here(1));
    }

    #[test]
    fn texts_that_no_record_has_any_more_are_let_go() {
        let cache = RecordCache::of(1 << 20);
        for number in 0..20 * FEW {
            kept(&cache, number, &format!("client {number}"), "a b");
            cache.forget(&print(number));
        }
        assert!(cache.texts.lock().all.len() <= FEW);
        let kept = kept(&cache, 0, "crm", "a b");
        assert_eq!((&*kept.client, &*kept.scope), ("crm", "a b"));
    }
}
