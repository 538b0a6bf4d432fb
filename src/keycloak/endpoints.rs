//! The realm's URLs in order of preference, and which of them just failed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Url;

use crate::domain::time::millis;

/// How long a URL that could not be reached, or gave no answer, is asked after the others.
const PASSED_OVER: Duration = Duration::from_secs(5);

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

/// Where a realm's OpenID Connect endpoint is.
pub(super) fn endpoint(realm: &str, name: &str) -> String {
    format!("{}/protocol/openid-connect/{name}", realm.trim_end_matches('/'))
}

/// One worker's view of the realm's URLs.
#[derive(Debug)]
pub(super) struct Endpoints {
    /// Each with the time of its last failure in milliseconds of the monotonic clock; 0: none.
    urls: Vec<(Urls, AtomicU64)>,
}

impl Endpoints {
    /// `None`: one of them is no URL.
    pub(super) fn new(realms: &[String]) -> Option<Self> {
        let urls: Option<Vec<_>> = realms.iter().map(|realm| Some((Urls::of(realm)?, AtomicU64::new(0)))).collect();
        Some(Self { urls: urls? })
    }

    /// The endpoints to try, in order: the reachable ones as configured, then those that failed just now.
    pub(super) fn in_order(&self, now: Duration) -> Vec<(usize, &Urls)> {
        let failed = |at: &AtomicU64| match at.load(Ordering::Relaxed) {
            0 => false,
            at => now.saturating_sub(Duration::from_millis(at)) < PASSED_OVER,
        };
        let mut order: Vec<_> = self.urls.iter().enumerate().collect();
        order.sort_by_key(|(_, (_, at))| failed(at));
        order.into_iter().map(|(index, (urls, _))| (index, urls)).collect()
    }

    pub(super) fn failed(&self, index: usize, now: Duration) {
        if let Some((_, at)) = self.urls.get(index) {
            at.store(millis(now).max(1), Ordering::Relaxed);
        }
    }

    pub(super) fn answered(&self, index: usize) {
        if let Some((_, at)) = self.urls.get(index) {
            at.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_failed_is_passed_over_for_five_seconds() {
        let endpoints = Endpoints::new(&["http://a".to_owned(), "http://b/".to_owned()]).unwrap();
        let order =
            |now| endpoints.in_order(Duration::from_secs(now)).iter().map(|(index, _)| *index).collect::<Vec<_>>();
        assert_eq!(endpoints.in_order(Duration::ZERO)[1].1.token.as_str(), "http://b/protocol/openid-connect/token");
        assert_eq!(order(0), [0, 1]);
        endpoints.failed(0, Duration::from_secs(1));
        assert_eq!(order(2), [1, 0]);
        assert_eq!(order(6), [0, 1]);
        endpoints.failed(0, Duration::from_secs(7));
        endpoints.answered(0);
        assert_eq!(order(7), [0, 1]);
    }
}
