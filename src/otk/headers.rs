//! PURE: what is meant for one connection alone, and goes no further (RFC 9110 section 7.6.1).

use std::time::Duration;

use http::{HeaderMap, header};

use crate::relay::hops::end_to_end;

/// A request on its way to the old server. Whoever expected `100 Continue` has heard it from us, with the body read.
pub(super) fn forth(headers: &mut HeaderMap) {
    back(headers);
    headers.remove(header::EXPECT);
}

/// An answer on its way back.
pub(super) fn back(headers: &mut HeaderMap) {
    let _no_upgrade = end_to_end(headers);
    // Bodies are read whole and sent anew: no trailer goes on.
    headers.remove(header::TRAILER);
}

/// How long the server keeps the connection, where it says so: `Keep-Alive: timeout=5, max=99`.
pub(super) fn kept(headers: &HeaderMap) -> Option<Duration> {
    let words =
        headers.get_all("keep-alive").iter().filter_map(|value| value.to_str().ok()).flat_map(|all| all.split(','));
    let mut pairs = words.filter_map(|word| word.split_once('='));
    let (_, seconds) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    seconds.trim().trim_matches('"').parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_server_says_how_long_it_keeps_a_connection() {
        for (value, seconds) in [
            ("timeout=5, max=100", Some(5)),
            ("max=100,Timeout = \"2\"", Some(2)),
            ("timeout=0", Some(0)),
            ("timeout=-1", None),
            ("max=100", None),
        ] {
            let headers = HeaderMap::from_iter([(
                header::HeaderName::from_static("keep-alive"),
                HeaderValue::from_static(value),
            )]);
            assert_eq!(kept(&headers), seconds.map(Duration::from_secs), "{value}");
        }
        assert_eq!(kept(&HeaderMap::new()), None);
    }

    #[test]
    fn what_belongs_to_one_connection_stays_behind_and_all_else_goes_on_in_order() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Own , host"),
            ("x-own", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("host", "old"),
            ("x-forwarded-for", "192.0.2.1"),
            ("cookie", "b=2"),
            ("cookie", "a=1"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut answer = headers.clone();
        forth(&mut headers);
        assert_eq!(headers.keys().count(), 3, "{headers:?}");
        assert_eq!(
            (&headers["host"], &headers["x-forwarded-for"]),
            (&"old".parse().unwrap(), &"192.0.2.1".parse().unwrap())
        );
        assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["b=2", "a=1"]);
        back(&mut answer);
        assert!(
            answer.contains_key("expect"),
            "a word of the old server that means nothing here is none of ours to drop"
        );
    }
}
