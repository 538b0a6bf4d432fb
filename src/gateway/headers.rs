//! PURE: the headers that go on, in either direction (RFC 9110 section 7.6.1).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::From;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Takes away what is meant for one connection alone: what `Connection` names, itself, and what never goes further. Returns what the message
/// wants to be upgraded to.
pub fn end_to_end(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrades = false;
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = elements(headers, &header::CONNECTION)
            .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
            .collect();
        upgrades = named.contains(&header::UPGRADE);
        // What frames or addresses the message is not the sender's to take away.
        let ours = [header::UPGRADE, header::HOST, header::CONTENT_LENGTH];
        for name in named.iter().filter(|name| !ours.contains(name)) {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION, &header::TRANSFER_ENCODING, &header::TE] {
        headers.remove(name);
    }
    headers.remove(header::UPGRADE).filter(|_| upgrades)
}

/// The elements of a header that is a list, over all its lines.
pub fn elements<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers.get_all(name).iter().flat_map(|value| value.to_str().unwrap_or_default().split(',')).map(str::trim)
}

/// Whether the sender takes trailers.
#[must_use]
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    elements(headers, &header::TE).any(|coding| coding.eq_ignore_ascii_case("trailers"))
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

/// Says to the API where the call came from: a trusted peer's words are continued, others' are replaced.
pub fn forwarded(headers: &mut HeaderMap, from: &From, host: Option<&HeaderValue>) {
    let peer = from.peer.to_canonical().to_string();
    let before: Vec<&str> = if from.is_trusted { elements(headers, &FOR).collect() } else { Vec::new() };
    let whole = before.into_iter().chain([peer.as_str()]).collect::<Vec<_>>().join(", ");
    if let Ok(value) = HeaderValue::try_from(whole) {
        headers.insert(FOR, value);
    }
    if !from.is_trusted || !headers.contains_key(&PROTO) {
        headers.insert(PROTO, HeaderValue::from_static(if from.is_secure { "https" } else { "http" }));
    }
    if !from.is_trusted || !headers.contains_key(&HOST) {
        match host {
            Some(host) => drop(headers.insert(HOST, host.clone())),
            None => drop(headers.remove(&HOST)),
        }
    }
    if !from.is_trusted {
        headers.remove(header::FORWARDED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn what_connection_names_goes_no_further() {
        let mut headers = map(&[
            ("connection", "close, X-Own"),
            ("connection", "te"),
            ("x-own", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-kept", "2"),
        ]);
        assert_eq!(end_to_end(&mut headers), None, "an upgrade that Connection does not name is none");
        assert_eq!(headers, map(&[("x-kept", "2")]));
    }

    #[test]
    fn an_upgrade_is_told_and_the_host_cannot_be_named_away() {
        let mut headers = map(&[("connection", "Upgrade, host"), ("upgrade", "websocket"), ("host", "a")]);
        assert_eq!(end_to_end(&mut headers).unwrap(), "websocket");
        assert_eq!(headers, map(&[("host", "a")]));
    }

    fn from(is_trusted: bool) -> From {
        let peer = [10, 0, 0, 1].into();
        From { peer, address: peer, is_trusted, is_secure: false }
    }

    #[test]
    fn a_trusted_peer_is_continued_and_a_stranger_replaced() {
        let host = HeaderValue::from_static("api.example.org");
        let sent = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "old")];
        let mut headers = map(&sent);
        forwarded(&mut headers, &from(true), Some(&host));
        assert_eq!(headers[&FOR], "1.2.3.4, 10.0.0.1");
        assert_eq!((&headers[&PROTO], &headers[&HOST]), (&"https".parse().unwrap(), &"old".parse().unwrap()));
        let mut headers = map(&sent);
        forwarded(&mut headers, &from(false), Some(&host));
        assert_eq!(headers[&FOR], "10.0.0.1");
        assert_eq!((&headers[&PROTO], &headers[&HOST]), (&"http".parse().unwrap(), &host));
    }
}
