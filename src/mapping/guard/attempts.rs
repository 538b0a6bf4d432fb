//! How many wrong secrets came of late, by whom. Bounded, whatever a flood invents.

use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use dashmap::DashMap;

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

/// Keys are counted in so many buckets: a flood of invented ids fills no memory, and at worst two strangers share a limit.
const BUCKETS: u64 = 1 << 20;

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Duration,
    failed: u32,
}

/// Failures by key, in windows of one period.
#[derive(Debug)]
pub(super) struct Attempts<K: Eq + Hash> {
    rate: Rate,
    /// By the key's hash under a random state, so that nobody can choose whom to share a bucket with.
    windows: DashMap<u64, Window>,
    hasher: RandomState,
    key: std::marker::PhantomData<fn(K)>,
}

impl<K: Eq + Hash> Attempts<K> {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, windows: DashMap::new(), hasher: RandomState::new(), key: std::marker::PhantomData }
    }

    /// Whether another wrong one would still be verified.
    pub(super) fn may_try(&self, key: &K, now: Duration) -> bool {
        let window = self.windows.get(&self.bucket(key));
        window.is_none_or(|window| {
            now.saturating_sub(window.began) >= self.rate.period || window.failed < self.rate.count
        })
    }

    /// Counts a wrong one.
    pub(super) fn failed(&self, key: &K, now: Duration) {
        let bucket = self.bucket(key);
        let mut window = self.windows.entry(bucket).or_insert(Window { began: now, failed: 0 });
        if now.saturating_sub(window.began) >= self.rate.period {
            *window = Window { began: now, failed: 0 };
        }
        window.failed = window.failed.saturating_add(1);
        drop(window);
    }

    fn bucket(&self, key: &K) -> u64 {
        self.hasher.hash_one(key) % BUCKETS
    }
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

    #[test]
    fn beyond_the_rate_nobody_may_try_until_the_period_is_over() {
        let attempts = Attempts::new(Rate { count: 2, period: Duration::from_secs(60) });
        let at = Duration::from_secs;
        attempts.failed(&"a", at(1));
        assert!(attempts.may_try(&"a", at(1)));
        attempts.failed(&"a", at(2));
        assert!(!attempts.may_try(&"a", at(60)));
        assert!(attempts.may_try(&"b", at(60)));
        assert!(attempts.may_try(&"a", at(61)));
        attempts.failed(&"a", at(61));
        assert!(attempts.may_try(&"a", at(62)));
    }
}
