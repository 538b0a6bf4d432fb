//! What the log tells of the same again only after a while: others cause it, as often as they like.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;

/// So long the same is no news; the metrics count each time.
const QUIET: Duration = Duration::from_mins(1);
/// News of strangers in that time, at most: from everywhere they fill no disk.
const MOST: usize = 20;

/// Knows what was told, and when.
#[derive(Debug)]
pub struct News<K> {
    most: usize,
    told: Mutex<HashMap<K, Duration>>,
}

impl<K: Eq + Hash> News<K> {
    /// Of what strangers cause.
    pub fn of_strangers() -> Self {
        Self { most: MOST, told: Mutex::default() }
    }

    /// Whether this is to be told now. From then on it is not, for a while.
    pub fn is_news(&self, what: K, now: Duration) -> bool {
        let is_quiet = |since: &Duration| now.saturating_sub(*since) < QUIET;
        let mut told = self.told.lock();
        if told.len() >= self.most {
            told.retain(|_, since| is_quiet(since));
        }
        if told.len() >= self.most || told.get(&what).is_some_and(is_quiet) {
            return false;
        }
        told.insert(what, now);
        true
    }
}

/// Of what there are only so many: clients, servers.
impl<K> Default for News<K> {
    fn default() -> Self {
        Self { most: usize::MAX, told: Mutex::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn a_caller_is_news_once_a_minute_for_each_cause_and_strangers_from_everywhere_are_no_flood() {
        let news = News::of_strangers();
        let is_news = |what, seconds| news.is_news(what, Duration::from_secs(seconds));
        let caller = |number: u8| IpAddr::from([192, 0, 2, number]);
        assert!(is_news(("no TLS", caller(1)), 0) && is_news(("broken off", caller(1)), 0));
        assert!(!is_news(("no TLS", caller(1)), 0));
        let told = (2..=200).filter(|&number| is_news(("no TLS", caller(number)), 0)).count();
        assert_eq!(told, MOST - 2);
        assert!(!is_news(("no TLS", caller(1)), 59));
        assert!(is_news(("no TLS", caller(1)), 60));
    }
}
