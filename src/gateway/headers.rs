//! PURE: what the gateway says and asks in headers beside those that go on ([`crate::relay::hops`]).

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::From;
use super::host::name;
use crate::relay::forwarded::{FORWARDED_FOR, Hop, hops};
use crate::relay::hops::{elements, end_to_end, tells_origin};

static PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Where a call came from, as its API hears it. Beside the other headers: to put it among them costs more than to write it.
#[derive(Debug, Default)]
pub struct Origin {
    of: Option<HeaderValue>,
    proto: Option<HeaderValue>,
    host: Option<HeaderValue>,
}

impl Origin {
    /// What there is to say.
    pub fn lines(&self) -> impl Iterator<Item = (&'static HeaderName, &HeaderValue)> {
        let lines = [(&FORWARDED_FOR, &self.of), (&PROTO, &self.proto), (&HOST, &self.host)];
        lines.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }
}

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

/// What the API hears of where a call came from: a trusted peer's words are continued, others' are taken away. `Forwarded` says the same again
/// and goes no further: what it says alone is told by the others.
#[must_use]
pub fn forwarded(headers: &mut HeaderMap, from: &From, host: Option<&HeaderValue>) -> Origin {
    let ours = HeaderValue::from_static(if from.is_secure { "https" } else { "http" });
    if !from.is_trusted {
        forget(headers, tells_origin);
        return Origin { of: Some(from.peer.clone()), proto: Some(ours), host: host.cloned() };
    }
    // Proxies write these names with `-`. With `_` they are the word of whoever stands behind one.
    forget(headers, |name| name.contains('_') && tells_origin(name));
    let hops = hops(headers);
    let seen = seen(&hops, from.address);
    let proto = seen.and_then(|hop| hop.proto).filter(|proto| is_scheme(proto)).and_then(value);
    let called = seen.and_then(|hop| hop.host).filter(|host| is_named(host)).and_then(value);
    let origin = Origin {
        of: continued(&hops, &from.peer).or_else(|| Some(from.peer.clone())),
        proto: Some(proto.unwrap_or(ours)).filter(|_| !headers.contains_key(&PROTO)),
        host: called.or_else(|| host.cloned()).filter(|_| !headers.contains_key(&HOST)),
    };
    headers.remove(&FORWARDED_FOR);
    headers.remove(header::FORWARDED);
    origin
}

/// What the proxy says that the client came to: the walk to his address ended there. Where it ended at once, the nearest one's word.
fn seen<'h, 'v>(hops: &'v [Hop<'h>], client: IpAddr) -> Option<&'v Hop<'h>> {
    let mut readable = hops.iter().rev().take_while(|hop| hop.address.is_some());
    readable.find(|hop| hop.address == Some(client)).or(hops.last())
}

fn is_scheme(proto: &str) -> bool {
    !proto.is_empty() && proto.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn is_named(host: &str) -> bool {
    name(host.as_bytes()).is_some_and(|name| !name.is_empty())
}

fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

/// What proxies have said of whom they stand for, with the last of them behind it.
fn continued(hops: &[Hop<'_>], peer: &HeaderValue) -> Option<HeaderValue> {
    let mut whole = Vec::new();
    for hop in hops.iter().filter(|hop| !hop.of.is_empty()) {
        whole.extend_from_slice(hop.of.as_bytes());
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
        From { peer, address: [10, 0, 0, 1].into(), is_trusted, is_secure: false, waiting: None, interim: None }
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
        let said = |is_trusted| {
            let mut headers = map(&sent);
            let origin = forwarded(&mut headers, &from(is_trusted), Some(&host));
            let lines: Vec<_> = origin.lines().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            (headers, lines.into_iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>())
        };
        let kept = map(&[("x-forwarded-proto", "https"), ("x-forwarded-host", "old")]);
        assert_eq!(said(true), (kept, vec!["x-forwarded-for: 1.2.3.4, 10.0.0.1".to_owned()]), "no proxy writes `_`");
        let ours = ["x-forwarded-for: 10.0.0.1", "x-forwarded-proto: http", "x-forwarded-host: api.example.org"];
        assert_eq!(said(false), (HeaderMap::new(), ours.map(str::to_owned).to_vec()));
    }
}
