//! The realm's URLs in order of preference, and which of them are passed over: one that failed, or lets callers wait, must not cost the login of
//! each who comes meanwhile while another is well.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Url;

use crate::domain::time::millis;
use crate::relay::{IN_VAIN, PASSED_OVER};

/// The OpenID Connect endpoints at one of the realm's URLs, parsed once for all requests.
#[derive(Debug)]
pub(super) struct Urls {
    pub(super) token: Url,
    pub(super) logout: Url,
    pub(super) certs: Url,
}

impl Urls {
    /// `None`: it is no URL.
    fn of(realm: &str) -> Option<Self> {
        let endpoint = |name| Url::parse(&endpoint(realm, name)).ok();
        Some(Self { token: endpoint("token")?, logout: endpoint("logout")?, certs: endpoint("certs")? })
    }
}

/// Whether there is anybody to ask at a realm's URL, as far as its text says.
#[must_use]
pub fn is_askable(realm: &str) -> bool {
    Urls::of(realm).is_some()
}

/// Whether a realm is asked over TLS.
#[must_use]
pub fn is_secure(realm: &str) -> bool {
    Url::parse(realm).is_ok_and(|url| url.scheme() == "https")
}

/// Where a realm's OpenID Connect endpoint is.
pub(super) fn endpoint(realm: &str, name: &str) -> String {
    format!("{}/protocol/openid-connect/{name}", realm.trim_end_matches('/'))
}

/// One worker's view of the realm's URLs.
#[derive(Debug)]
pub(super) struct Endpoints(Vec<One>);

/// One of them, in milliseconds of the monotonic clock.
#[derive(Debug)]
struct One {
    urls: Urls,
    /// When it is to be looked at again; 0: it is well.
    passed_until: AtomicU64,
    /// Since when somebody has been waiting for it who was the first to ask since its last answer; 0: nobody.
    waiting_since: AtomicU64,
}

/// Somebody waits for an answer, until this is dropped.
pub(super) struct Waiting<'a> {
    one: &'a One,
    since: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Whoever asked first speaks for all; of those who wait on the next one who asks does.
        let _not_the_first =
            self.one.waiting_since.compare_exchange(self.since, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl One {
    fn is_passed_over(&self, now: Duration) -> bool {
        if self.is_silent(now) && self.passed_until.load(Ordering::Relaxed) == 0 {
            self.pass_over(now);
        }
        self.passed_until.load(Ordering::Relaxed) != 0
    }

    fn is_silent(&self, now: Duration) -> bool {
        let since = self.waiting_since.load(Ordering::Relaxed);
        since != 0 && millis(now).saturating_sub(since) >= millis(IN_VAIN)
    }

    fn pass_over(&self, now: Duration) {
        self.passed_until.store(millis(now.saturating_add(PASSED_OVER)), Ordering::Relaxed);
    }
}

impl Endpoints {
    /// `None`: one of them is no URL.
    pub(super) fn new(realms: &[String]) -> Option<Self> {
        let one = |urls| One { urls, passed_until: AtomicU64::new(0), waiting_since: AtomicU64::new(0) };
        realms.iter().map(|realm| Urls::of(realm).map(one)).collect::<Option<_>>().map(Self)
    }

    /// One of several that was passed over for long enough, for whoever comes first: he looks whether it is there, and all others pass it over on.
    pub(super) fn to_be_looked_at(&self, now: Duration) -> Option<(usize, &Urls)> {
        let is_due = |one: &One| one.is_passed_over(now) && one.passed_until.load(Ordering::Relaxed) <= millis(now);
        let due = self.0.iter().enumerate().filter(|(_, one)| self.0.len() > 1 && is_due(one));
        let (index, one) = due.min_by_key(|(_, one)| one.passed_until.load(Ordering::Relaxed))?;
        one.pass_over(now);
        Some((index, &one.urls))
    }

    /// The endpoints to try, in order: those that are well as configured, then those that are passed over: whichever lets nobody wait and has been so
    /// for longest comes first, for it may be back. `there`: one of these that was looked at.
    pub(super) fn in_order(&self, there: Option<usize>, now: Duration) -> Vec<(usize, &Urls)> {
        let mut order: Vec<_> = self.0.iter().enumerate().collect();
        order.sort_by_key(|(index, one)| {
            let is_passed_over = Some(*index) != there && one.is_passed_over(now);
            is_passed_over.then(|| (one.is_silent(now), one.passed_until.load(Ordering::Relaxed)))
        });
        order.into_iter().map(|(index, one)| (index, &one.urls)).collect()
    }

    /// It is asked.
    pub(super) fn asked(&self, index: usize, now: Duration) -> Option<Waiting<'_>> {
        let (one, since) = (self.0.get(index)?, millis(now).max(1));
        let _somebody_waits = one.waiting_since.compare_exchange(0, since, Ordering::Relaxed, Ordering::Relaxed);
        Some(Waiting { one, since })
    }

    pub(super) fn failed(&self, index: usize, now: Duration) {
        if let Some(one) = self.0.get(index) {
            one.pass_over(now);
        }
    }

    pub(super) fn answered(&self, index: usize) {
        if let Some(one) = self.0.get(index) {
            one.passed_until.store(0, Ordering::Relaxed);
            one.waiting_since.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Endpoints {
        Endpoints::new(&["http://a".to_owned(), "http://b/".to_owned()]).unwrap()
    }

    fn order(endpoints: &Endpoints, now: u64) -> Vec<usize> {
        endpoints.in_order(None, Duration::from_secs(now)).iter().map(|(index, _)| *index).collect()
    }

    fn looked_at(endpoints: &Endpoints, now: u64) -> Option<usize> {
        endpoints.to_be_looked_at(Duration::from_secs(now)).map(|(index, _)| index)
    }

    #[test]
    fn a_url_that_failed_is_passed_over_and_after_five_seconds_one_caller_looks_at_it() {
        let endpoints = two();
        let second = &endpoints.in_order(None, Duration::ZERO)[1];
        assert_eq!(second.1.token.as_str(), "http://b/protocol/openid-connect/token");
        assert_eq!(order(&endpoints, 0), [0, 1]);
        endpoints.failed(0, Duration::from_secs(1));
        assert_eq!((order(&endpoints, 2), looked_at(&endpoints, 5)), (vec![1, 0], None));
        assert_eq!((looked_at(&endpoints, 6), looked_at(&endpoints, 6)), (Some(0), None));
        assert_eq!(order(&endpoints, 6), [1, 0], "for the others it is as it was");
        let there = endpoints.in_order(Some(0), Duration::from_secs(6));
        assert_eq!(there[0].0, 0, "for him it is not");
        endpoints.answered(0);
        assert_eq!(order(&endpoints, 6), [0, 1]);
    }

    #[test]
    fn of_urls_that_are_all_passed_over_the_one_that_failed_longest_ago_is_asked_and_looked_at() {
        let endpoints = two();
        endpoints.failed(0, Duration::from_secs(1));
        endpoints.failed(1, Duration::from_secs(2));
        assert_eq!(order(&endpoints, 3), [0, 1]);
        endpoints.failed(0, Duration::from_secs(3));
        assert_eq!(order(&endpoints, 4), [1, 0], "it may be back, and nobody has asked it since");
        assert_eq!((looked_at(&endpoints, 6), looked_at(&endpoints, 7)), (None, Some(1)));
        assert_eq!(order(&endpoints, 7), [0, 1], "it is just being looked at");
        let _waits = endpoints.asked(0, Duration::from_secs(8));
        assert_eq!(order(&endpoints, 10), [1, 0], "and that one lets its callers wait");
        endpoints.answered(1);
        assert_eq!(order(&endpoints, 60), [1, 0]);
    }

    #[test]
    fn of_urls_that_are_due_the_one_that_nobody_looked_at_for_longest_comes_first() {
        let three = ["http://a", "http://b", "http://c"].map(str::to_owned);
        let endpoints = Endpoints::new(&three).unwrap();
        endpoints.failed(0, Duration::from_secs(1));
        endpoints.failed(1, Duration::from_secs(2));
        let looks = [60, 120, 180, 240].map(|now| looked_at(&endpoints, now));
        assert_eq!(looks, [Some(0), Some(1), Some(0), Some(1)]);
    }

    #[test]
    fn nobody_looks_at_the_only_url() {
        let endpoints = Endpoints::new(&["http://a".to_owned()]).unwrap();
        endpoints.failed(0, Duration::from_secs(1));
        assert_eq!((order(&endpoints, 9), looked_at(&endpoints, 9)), (vec![0], None));
    }

    #[test]
    fn a_url_that_lets_callers_wait_and_answers_nobody_is_passed_over_after_two_seconds() {
        let endpoints = two();
        let asked = |now| endpoints.asked(0, Duration::from_secs(now));
        let first = asked(1);
        let second = asked(2);
        assert_eq!(order(&endpoints, 2), [0, 1]);
        endpoints.answered(0);
        let third = asked(3);
        drop((first, second));
        assert_eq!(order(&endpoints, 4), [0, 1]);
        drop(third);
        assert_eq!(order(&endpoints, 9), [0, 1], "nobody waits any more");
        let _waits = asked(9);
        assert_eq!(order(&endpoints, 11), [1, 0]);
    }
}
