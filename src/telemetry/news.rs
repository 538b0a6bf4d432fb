//! What the log tells of the same again only after a while: others cause it, as often as they like.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::time::Clock;

/// So long the same is no news; the metrics count each time.
const QUIET: Duration = Duration::from_mins(1);
/// News in that time, at most: strangers from everywhere fill no disk.
const MOST: usize = 20;

/// Knows what was told.
#[derive(Debug)]
pub struct News<K> {
    clock: Arc<dyn Clock>,
    /// What was told, and since when this is gathered.
    told: Mutex<(Duration, HashSet<K>)>,
}

impl<K: Eq + Hash> News<K> {
    /// Nothing was told yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, told: Mutex::default() }
    }

    /// Whether this is to be told. From then on it is not, for a while.
    pub fn is_news(&self, what: K) -> bool {
        let now = self.clock.monotonic();
        let mut told = self.told.lock();
        let (since, what_was) = &mut *told;
        if now.saturating_sub(*since) >= QUIET {
            *since = now;
            what_was.clear();
        }
        what_was.len() < MOST && what_was.insert(what)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::domain::time::Timestamp;

    #[derive(Debug, Default)]
    struct Seconds(AtomicU64);

    impl Clock for Seconds {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(0)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn a_caller_is_news_once_a_minute_for_each_cause_and_strangers_from_everywhere_are_no_flood() {
        let clock = Arc::new(Seconds::default());
        let news = News::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let caller = |number: u8| IpAddr::from([192, 0, 2, number]);
        assert!(news.is_news(("no TLS", caller(1))) && news.is_news(("broken off", caller(1))));
        assert!(!news.is_news(("no TLS", caller(1))));
        let told = (2..=200).filter(|&number| news.is_news(("no TLS", caller(number)))).count();
        assert_eq!(told, MOST - 2);
        clock.0.store(59, Ordering::Relaxed);
        assert!(!news.is_news(("no TLS", caller(1))));
        clock.0.store(60, Ordering::Relaxed);
        assert!(news.is_news(("no TLS", caller(1))));
    }
}
