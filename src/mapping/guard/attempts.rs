//! How many wrong secrets came of late, by whom. Bounded, whatever a flood invents.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::marker::PhantomData;
use std::time::Duration;

use parking_lot::Mutex;

/// So many in so long a time, e.g. `60/min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long.
    pub period: Duration,
}

impl Rate {
    /// Reads `60/min`, `5/s`, `1000/h`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (count, period) = text.split_once('/')?;
        let period = match period.trim() {
            "s" | "sec" => 1,
            "min" => 60,
            "h" | "hour" => 3_600,
            _ => return None,
        };
        let count = count.trim().parse().ok().filter(|count| *count > 0)?;
        Some(Self { count, period: Duration::from_secs(period) })
    }
}

/// So many sets of so many places each: 256 KiB, whatever a flood invents. Nobody gets here without a verified wrong secret,
/// which costs the flood some 20 ms of a thread each, so that places are free again before others need them.
const SETS: usize = 2048;
const PLACES: usize = 8;

/// A key, by its hash, and when the last of its failures will be forgotten (nanoseconds of the monotonic clock).
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    key: u64,
    forgotten_at: u64,
}

/// Failures by key. Each is forgotten after its share of the period; so many as the rate says may be remembered at once.
pub(super) struct Attempts<K: Eq + Hash + ?Sized> {
    period: u64,
    share: u64,
    sets: Box<[Mutex<[Place; PLACES]>]>,
    /// Random, so that nobody can choose whom to share a set with.
    hasher: RandomState,
    key: PhantomData<fn(&K)>,
}

impl<K: Eq + Hash + ?Sized> fmt::Debug for Attempts<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attempts")
    }
}

impl<K: Eq + Hash + ?Sized> Attempts<K> {
    pub(super) fn new(rate: Rate) -> Self {
        let period = nanos(rate.period);
        let sets = (0..SETS).map(|_| Mutex::default()).collect();
        let share = (period / u64::from(rate.count.max(1))).max(1);
        Self { period, share, sets, hasher: RandomState::new(), key: PhantomData }
    }

    /// Whether another wrong one would still be verified.
    pub(super) fn may_try(&self, key: &K, now: Duration) -> bool {
        let (key, now) = (self.hasher.hash_one(key), nanos(now));
        let Some(set) = self.set(key) else { return true };
        let place = set.lock().iter().find(|place| place.key == key).copied();
        place.is_none_or(|place| place.forgotten_at.saturating_sub(now) + self.share <= self.period)
    }

    /// Counts a wrong one. Where there is no place for it, that key makes room which will be forgotten first.
    pub(super) fn failed(&self, key: &K, now: Duration) {
        let (key, now) = (self.hasher.hash_one(key), nanos(now));
        let Some(set) = self.set(key) else { return };
        let mut set = set.lock();
        let known = set.iter().position(|place| place.key == key);
        let place = match known {
            Some(index) => set.get_mut(index),
            None => set.iter_mut().min_by_key(|place| place.forgotten_at),
        };
        if let Some(place) = place {
            let before = if place.key == key { place.forgotten_at.max(now) } else { now };
            *place =
                Place { key, forgotten_at: before.saturating_add(self.share).min(now.saturating_add(self.period)) };
        }
    }

    fn set(&self, key: u64) -> Option<&Mutex<[Place; PLACES]>> {
        self.sets.get(usize::try_from(key % SETS as u64).unwrap_or(0))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_count_in_a_period() {
        assert_eq!(Rate::parse("60/min"), Some(Rate { count: 60, period: Duration::from_secs(60) }));
        assert_eq!(Rate::parse("5 / s"), Some(Rate { count: 5, period: Duration::from_secs(1) }));
        assert_eq!(Rate::parse("0/min").or(Rate::parse("60")).or(Rate::parse("60/moon")), None);
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn beyond_the_rate_one_more_is_verified_each_time_one_is_forgotten() {
        let attempts = Attempts::new(Rate { count: 3, period: at(60) });
        for _ in 0..3 {
            assert!(attempts.may_try(&"a", at(1)));
            attempts.failed(&"a", at(1));
        }
        assert!(!attempts.may_try(&"a", at(1)) && !attempts.may_try(&"a", at(20)));
        assert!(attempts.may_try(&"b", at(1)), "others are not concerned");
        assert!(attempts.may_try(&"a", at(21)));
        attempts.failed(&"a", at(21));
        assert!(!attempts.may_try(&"a", at(40)) && attempts.may_try(&"a", at(41)));
        for _ in 0..3 {
            assert!(attempts.may_try(&"a", at(200)), "all are forgotten after a period");
            attempts.failed(&"a", at(200));
        }
        assert!(!attempts.may_try(&"a", at(200)));
    }

    #[test]
    fn a_flood_of_invented_ids_takes_no_memory_and_hides_nobody_who_is_at_the_limit() {
        let attempts = Attempts::new(Rate { count: 2, period: at(60) });
        attempts.failed(&u64::MAX, at(1));
        attempts.failed(&u64::MAX, at(1));
        for invented in 0..1_000_000_u64 {
            attempts.failed(&invented, at(1));
        }
        assert!(!attempts.may_try(&u64::MAX, at(1)));
        assert_eq!(size_of_val(&*attempts.sets), SETS * size_of::<Mutex<[Place; PLACES]>>());
    }

    #[test]
    fn a_rate_without_a_bound_counts_without_overflow() {
        let attempts = Attempts::new(Rate { count: u32::MAX, period: at(60) });
        attempts.failed(&"a", Duration::MAX);
        assert!(attempts.may_try(&"a", Duration::ZERO) || attempts.may_try(&"a", Duration::MAX));
    }
}
