//! PURE: what a call must be like, what it carries, and its head as the API gets it.

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};

use super::headers::{Origin, forwarded, join_cookies, one_length, takes_trailers};
use super::path::resolved;
use super::routes::Route;
use super::{Flag, From, Interim};
use crate::domain::opaque::OpaqueToken;
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::exchange::Locked;
use crate::relay::hops::{NOT_PLAIN, end_to_end, is_framed_plainly};

/// What a call carries.
pub(super) enum Carried {
    /// A UUID of the shape that we hand out.
    Token(OpaqueToken),
    /// A JWT, by its shape.
    Jwt,
    /// No credentials at all.
    Nothing,
    /// Something that no route takes.
    Useless,
}

/// What must be so of every call: one host, one target, a method that reflects nothing. Returns the host, whose name is [`named`] next.
///
/// [`named`]: super::host::named
pub(super) fn sane(head: &Parts) -> Result<Option<HeaderValue>, Refusal> {
    let wrong = |detail| Refusal::client(Cause::InvalidRequest, detail);
    goes_on(&head.method)?;
    if !is_framed_plainly(&head.headers) {
        return Err(wrong(NOT_PLAIN));
    }
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(wrong("the Host header comes more than once"));
    }
    let authority = head.uri.authority();
    let is_http2 = head.version == Version::HTTP_2;
    if host.is_none() && (head.version == Version::HTTP_11 || is_http2 && authority.is_none()) {
        return Err(wrong("the Host header is missing"));
    }
    // RFC 9113 section 8.3.1: which of the two would count?
    if is_http2
        && let (Some(host), Some(authority)) = (host, authority)
        && !authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes())
    {
        return Err(wrong("`:authority` and Host differ"));
    }
    if !head.uri.path().starts_with('/') {
        return Err(wrong("the target is no path"));
    }
    if head.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(wrong("the target is of another scheme than HTTP's"));
    }
    Ok(match authority {
        // RFC 9112 section 3.2.2: the target's host counts.
        Some(authority) => Some(HeaderValue::from_str(authority.as_str()).map_err(|_| wrong("the host is no text"))?),
        None => host.cloned(),
    })
}

/// Whether calls of a method go on. TRACE would show the client its JWT. Methods are of their very letters (RFC 9110 section 9.1), but not to
/// every server.
pub(super) fn goes_on(method: &Method) -> Result<(), Refusal> {
    let is = |known: Method| known.as_str().eq_ignore_ascii_case(method.as_str());
    if is(Method::TRACE) || is(Method::CONNECT) {
        return Err(Refusal::client(Cause::MethodNotAllowed, "TRACE and CONNECT are not forwarded"));
    }
    Ok(())
}

pub(super) fn carried(headers: &HeaderMap) -> Result<Carried, Refusal> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(Carried::Nothing) };
    if lines.next().is_some() {
        return Err(Refusal::client(Cause::InvalidRequest, "the Authorization header comes more than once"));
    }
    let Some((scheme, token)) = line.to_str().ok().and_then(|line| line.split_once(' ')) else {
        return Ok(Carried::Useless);
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Carried::Useless);
    }
    let token = token.trim();
    let is_jwt = || token.split('.').count() == 3 && token.split('.').all(|part| !part.is_empty());
    Ok(match OpaqueToken::parse(token) {
        Some(token) => Carried::Token(token),
        None if is_jwt() => Carried::Jwt,
        None => Carried::Useless,
    })
}

/// Refuses a call that has its UUID in the query of its target too, by whatever name (RFC 6750 section 2.3 has one, and servers read that in many
/// spellings): that goes on, and the API would read, and perhaps log, what it is never to know.
pub(super) fn only_there(target: &[u8], token: &OpaqueToken) -> Result<(), Refusal> {
    let token = token.expose().as_bytes();
    let query = memchr::memchr(b'?', target).and_then(|mark| target.get(mark + 1..)).unwrap_or_default();
    let stands_in = |text: &str| text.as_bytes().windows(token.len()).any(|part| part.eq_ignore_ascii_case(token));
    if form_urlencoded::parse(query).any(|(name, value)| stands_in(&name) || stands_in(&value)) {
        let why = "the UUID stands in the query beside Authorization, and would go on to the API";
        return Err(Refusal::client(Cause::InvalidRequest, why));
    }
    Ok(())
}

/// A target's path and query, as they came.
pub(super) fn written(uri: &Uri) -> &[u8] {
    uri.path_and_query().map_or(&[], |whole| whole.as_str().as_bytes())
}

/// The JWT that a call goes on with. It is opened in the head that is sent, so that no copy of it is made.
pub(super) struct Bearer(pub(super) Locked);

const SCHEME: &[u8] = b"Bearer ";

/// The JWT that is kept fits no header: it does not open, or is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfit;

impl Bearer {
    /// Writes what stands behind `Authorization: `.
    pub(super) fn write(&self, head: &mut Vec<u8>) -> Result<(), Unfit> {
        head.extend_from_slice(SCHEME);
        let before = head.len();
        self.0.open_behind(head).map_err(|_| Unfit)?;
        let jwt = head.get_mut(before..).unwrap_or_default();
        if jwt.iter().fold(true, |fits, byte| fits & (b' '..=b'~').contains(byte)) {
            return Ok(());
        }
        jwt.fill(0);
        Err(Unfit)
    }

    /// The same, where it is to stand in a head.
    pub(super) fn value(&self) -> Result<HeaderValue, Unfit> {
        let mut value = Vec::with_capacity(SCHEME.len() + self.0.about());
        self.write(&mut value)?;
        let mut value = HeaderValue::from_maybe_shared(Bytes::from(value)).map_err(|_| Unfit)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl std::convert::From<Unfit> for Refusal {
    fn from(_: Unfit) -> Self {
        Self::server(Fault::Ourselves, "the JWT that is kept does not open, or fits no header")
    }
}

/// What a server is asked: the head as it goes on, and beside it the lines that are ours.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    /// Says nothing of the host.
    pub(super) head: &'a Parts,
    /// `None`: each server hears its own.
    pub(super) host: Option<&'a HeaderValue>,
    pub(super) origin: &'a Origin,
    pub(super) bearer: Option<&'a Bearer>,
    /// Whoever is to hear that it takes long.
    pub(super) waiting: Option<&'a Flag>,
    /// Whoever is told what the server says before its answer.
    pub(super) interim: Option<&'a Interim>,
}

/// The head as the API gets it, without its host and the credentials that a bearer takes the place of. Returns what it says of where the
/// call came from, and what the client wants to be upgraded to.
pub(super) fn rewrite(
    head: &mut Parts,
    (route, host): (&Route, Option<&HeaderValue>),
    has_bearer: bool,
    from: &From,
) -> Result<(Origin, Option<HeaderValue>), Refusal> {
    let upgrade = onward(head);
    if head.method == Method::OPTIONS {
        one_further(&mut head.headers)?;
    }
    if has_bearer {
        head.headers.remove(header::AUTHORIZATION);
    }
    let origin = forwarded(&mut head.headers, from, host);
    head.uri = target(&head.uri, route)?;
    Ok((origin, upgrade))
}

/// Counts how much further a call about options may go (RFC 9110 section 7.6.2).
fn one_further(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let told = headers.get(header::MAX_FORWARDS).and_then(|left| left.to_str().ok()?.parse::<u64>().ok());
    let Some(left) = told else { return Ok(()) };
    let ends_here =
        || Refusal::client(Cause::MethodNotAllowed, "`Max-Forwards` says that the call is for nobody behind us");
    headers.insert(header::MAX_FORWARDS, HeaderValue::from(left.checked_sub(1).ok_or_else(ends_here)?));
    Ok(())
}

/// The head as the old API gets it: as it came, but for its host and what is meant for one connection alone. Returns what the client wants
/// to be upgraded to.
pub(super) fn unchanged(head: &mut Parts) -> Result<Option<HeaderValue>, Refusal> {
    let upgrade = onward(head);
    head.uri = Uri::from(whole(&head.uri)?);
    Ok(upgrade)
}

/// Makes the head one of our own connection's. Returns what the client wants to be upgraded to.
fn onward(head: &mut Parts) -> Option<HeaderValue> {
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
        one_length(&mut head.headers);
    }
    let trailers = takes_trailers(&head.headers);
    let can_upgrade = head.version == Version::HTTP_11;
    let upgrade = end_to_end(&mut head.headers).filter(|wanted| can_upgrade && is_other_than_http(wanted));
    // The body comes without waiting: hyper has told the client to go on by the time that there is one.
    head.headers.remove(header::EXPECT);
    head.headers.remove(header::HOST);
    if let Some(protocol) = &upgrade {
        head.headers.insert(header::UPGRADE, protocol.clone());
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    } else if trailers {
        head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    head.version = Version::HTTP_11;
    head.extensions.clear();
    upgrade
}

/// Whether something else than HTTP is wanted. Through a tunnel that speaks HTTP (`h2c`, and `h2c-14` as its drafts had it) its caller would
/// ask for any path with any credentials, and nobody would look. RFC 9110 section 7.8: an upgrade that is not granted is a call like any other.
fn is_other_than_http(wanted: &HeaderValue) -> bool {
    let Ok(wanted) = wanted.to_str().map(str::to_ascii_lowercase) else { return false };
    !["h2", "http", "tls"].iter().any(|http| wanted.contains(http))
}

/// The path and the query, byte for byte. No path at all is the root (RFC 9112 section 3.2.1): `PathAndQuery::path` says so too, while the
/// text of the two begins with the `?`.
fn whole(uri: &Uri) -> Result<PathAndQuery, Refusal> {
    let Some(whole) = uri.path_and_query() else { return Ok(PathAndQuery::from_static("/")) };
    if whole.as_str().starts_with('/') {
        return Ok(whole.clone());
    }
    beginning_with_a_slash(whole.as_str())
}

fn beginning_with_a_slash(rest: &str) -> Result<PathAndQuery, Refusal> {
    let wrong = |_| Refusal::client(Cause::InvalidRequest, "the target cannot be forwarded");
    PathAndQuery::try_from(format!("/{rest}")).map_err(wrong)
}

/// The same, without the prefix where the route says so, and without the slashes behind it but one: two at the beginning are a host to some
/// servers (RFC 3986 section 4.2).
fn target(uri: &Uri, route: &Route) -> Result<Uri, Refusal> {
    let whole = whole(uri)?;
    if !route.strip_prefix || route.prefix == "/" {
        return Ok(Uri::from(whole));
    }
    let climbs = || Refusal::client(Cause::InvalidRequest, "without its route's prefix the path climbs over its root");
    let rest = whole.as_str().strip_prefix(&route.prefix).ok_or_else(climbs)?;
    let left = beginning_with_a_slash(rest.trim_start_matches('/'))?;
    resolved(left.path()).ok_or_else(climbs)?;
    Ok(Uri::from(left))
}
