//! PURE: what is meant for one connection alone, and goes no further (RFC 9110 section 7.6.1).

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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

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
