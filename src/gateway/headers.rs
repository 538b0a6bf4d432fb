//! PURE: what the gateway says and asks in headers beside those that go on ([`crate::relay::hops`]).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::From;
use crate::relay::hops::{elements, end_to_end};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Whether the sender takes trailers.
#[must_use]
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    elements(headers, &header::TE).any(|coding| coding.eq_ignore_ascii_case("trailers"))
}

/// Takes away what a trailer must not say: who calls, for whom, and what frames, describes or routes a message. It stands in the head,
/// where it was looked at (RFC 9110 section 6.5.1).
pub fn mere_trailers(trailers: &mut HeaderMap) {
    const OF_HEADS: [HeaderName; 15] = [
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::COOKIE,
        header::SET_COOKIE,
        header::HOST,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        header::CACHE_CONTROL,
        header::EXPECT,
        header::MAX_FORWARDS,
        header::RANGE,
        header::LOCATION,
        header::TRAILER,
    ];
    end_to_end(trailers);
    for name in &OF_HEADS {
        trailers.remove(name);
    }
    forget(trailers, tells_origin);
}

/// Takes away what only a proxy may say of where a call came from and what it asked for: some server behind us would believe it.
fn forget(headers: &mut HeaderMap, is_said: impl Fn(&str) -> bool) {
    let said: Vec<HeaderName> = headers.keys().filter(|name| is_said(name.as_str())).cloned().collect();
    for name in &said {
        headers.remove(name);
    }
}

/// Of any proxy's habit, and with `_` for `-` too, as CGI and its heirs read a name.
fn tells_origin(name: &str) -> bool {
    const NAMES: [&str; 4] = ["forwarded", "x-real-ip", "x-original-url", "x-rewrite-url"];
    const FAMILY: &str = "x-forwarded-";
    let is = |known: &str, name: &str| {
        known.bytes().zip(name.bytes()).all(|(known, byte)| known == byte || (known, byte) == (b'-', b'_'))
    };
    name.starts_with(['x', 'f'])
        && (name.len() > FAMILY.len() && is(FAMILY, name)
            || NAMES.iter().any(|known| known.len() == name.len() && is(known, name)))
}

/// Makes one `Cookie` of the many that HTTP/2 allows (RFC 9113 section 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(b"; ".as_slice()))
    {
        headers.insert(header::COOKIE, whole);
    }
}

/// Tells a length once, or not at all where it is none: over HTTP/2 it has been compared with the body by now, however often it was told, and
/// nothing counts as 0 there (RFC 9110 section 8.6).
pub fn one_length(headers: &mut HeaderMap) {
    match headers.get(header::CONTENT_LENGTH).cloned() {
        Some(length) if length.is_empty() => drop(headers.remove(header::CONTENT_LENGTH)),
        Some(length) => drop(headers.insert(header::CONTENT_LENGTH, length)),
        None => {}
    }
}

/// Says to the API where the call came from: a trusted peer's words are continued, others' are replaced.
pub fn forwarded(headers: &mut HeaderMap, from: &From, host: Option<&HeaderValue>) {
    let whole = if from.is_trusted {
        // Proxies write these names with `-`. With `_` they are the word of whoever stands behind one.
        forget(headers, |name| name.contains('_') && tells_origin(name));
        continued(headers, &from.peer)
    } else {
        forget(headers, tells_origin);
        None
    };
    headers.insert(FOR, whole.unwrap_or_else(|| from.peer.clone()));
    if !headers.contains_key(&PROTO) {
        headers.insert(PROTO, HeaderValue::from_static(if from.is_secure { "https" } else { "http" }));
    }
    if let Some(host) = host.filter(|_| !headers.contains_key(&HOST)) {
        headers.insert(HOST, host.clone());
    }
}

/// What proxies have said of whom they stand for, with the last of them behind it.
fn continued(headers: &HeaderMap, peer: &HeaderValue) -> Option<HeaderValue> {
    let mut whole = Vec::new();
    for said in elements(headers, &FOR).filter(|said| !said.is_empty()) {
        whole.extend_from_slice(said.as_bytes());
        whole.extend_from_slice(b", ");
    }
    whole.extend_from_slice(peer.as_bytes());
    HeaderValue::try_from(whole).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::hops::map;

    fn from(is_trusted: bool) -> From {
        let peer = HeaderValue::from_static("10.0.0.1");
        From { peer, address: [10, 0, 0, 1].into(), is_trusted, is_secure: false }
    }

    #[test]
    fn a_trusted_peer_is_continued_and_a_stranger_replaced() {
        let host = HeaderValue::from_static("api.example.org");
        let sent = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "old"),
            ("x_forwarded_for", "9.9.9.9"),
        ];
        let mut headers = map(&sent);
        forwarded(&mut headers, &from(true), Some(&host));
        assert_eq!(headers[&FOR], "1.2.3.4, 10.0.0.1");
        assert_eq!((&headers[&PROTO], &headers[&HOST]), (&"https".parse().unwrap(), &"old".parse().unwrap()));
        assert!(!headers.contains_key("x_forwarded_for"), "no proxy writes it so");
        let mut headers = map(&sent);
        forwarded(&mut headers, &from(false), Some(&host));
        assert_eq!(headers[&FOR], "10.0.0.1");
        assert_eq!((&headers[&PROTO], &headers[&HOST]), (&"http".parse().unwrap(), &host));
    }
}
