//! Forward-auth: another proxy asks, over HTTP or gRPC, and carries the JWT on by itself.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};

use super::Stream;
use super::ext_authz::{self, Asked};
use super::host::named;
use super::request::{goes_on, only_there, written};
use super::routes::find;
use super::swap::{Gateway, Pass, whole};
use crate::domain::dialect::Endpoint;
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::exchange::Turned;
use crate::legacy::reply::Reply;
use crate::telemetry::Trail;

/// What tells the original request's path, and its method. A proxy sets one of the two.
static URI: [HeaderName; 2] = [HeaderName::from_static("x-original-uri"), HeaderName::from_static("x-forwarded-uri")];
static METHOD: [HeaderName; 2] =
    [HeaderName::from_static("x-original-method"), HeaderName::from_static("x-forwarded-method")];
const ACCEL_EXPIRES: HeaderName = HeaderName::from_static("x-accel-expires");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Comes with a question that is asked for the words of a refusal alone, since its first answer was kept as a status. Whatever it says.
static REFUSED: HeaderName = HeaderName::from_static("x-passbridge-refused");

/// Whether a question tells by its headers which call it is about.
#[must_use]
pub fn tells_its_call(headers: &HeaderMap) -> bool {
    URI.iter().chain(&METHOD).chain([&FORWARDED_HOST]).any(|name| headers.contains_key(name))
}

impl Gateway {
    /// Answers whether a request may go on: 200 with the bearer that it goes on with, or a refusal in the dialect's words.
    pub async fn authorize(&self, head: &Parts, trail: &mut Trail) -> Response<Stream> {
        trail.endpoint = Some(Endpoint::Authz);
        let decided = self.decide(&head.headers, method(head), || Ok((host(head)?, original(head)?)), trail).await;
        let decided = decided.and_then(|pass| self.only_as_bearer(pass, told(head)));
        let decided = decided.and_then(|pass| self.not_once_refused(pass, head, trail));
        whole(match decided.and_then(|pass| Ok((self.going_on(&pass, &head.headers, trail)?, self.lifetime(&pass)))) {
            Ok((bearer, lifetime)) => yes(bearer, lifetime),
            Err(turned) => turned.reply(Endpoint::Authz, trail),
        })
    }

    /// As [`Gateway::authorize`] for a question of Envoy's over gRPC: the status that the client would hear, and the answer in its frame.
    pub async fn check(&self, asked: &Asked, trail: &mut Trail) -> (StatusCode, Bytes) {
        trail.endpoint = Some(Endpoint::Authz);
        let host = Some(asked.host.as_bytes()).filter(|host| !host.is_empty());
        let method = Some(asked.method.as_bytes())
            .filter(|method| !method.is_empty())
            .map_or(Ok(()), |method| goes_on(&named_method(method)?));
        let target = asked.target.as_bytes();
        let decided = self.decide(&asked.headers, method, || Ok((host, path(target)?)), trail).await;
        let decided = decided.and_then(|pass| self.only_as_bearer(pass, [target]));
        match decided.and_then(|pass| self.going_on(&pass, &asked.headers, trail)) {
            Ok(bearer) => (StatusCode::OK, ext_authz::allowed(bearer.as_ref())),
            Err(turned) => {
                let reply = turned.reply(Endpoint::Authz, trail);
                (reply.status, ext_authz::denied(&reply))
            }
        }
    }

    /// The same rule as for a call through us: the asking proxy sends these targets on as they are, or one of them.
    fn only_as_bearer<'a>(&self, pass: Pass, targets: impl IntoIterator<Item = &'a [u8]>) -> Result<Pass, Turned> {
        if let Pass::Bearer(_, token) = &pass {
            let mut targets = targets.into_iter();
            targets
                .try_for_each(|target| only_there(target, token))
                .map_err(|refusal| self.exchange.turn(None, refusal))?;
        }
        Ok(pass)
    }

    /// A yes to a question that is only asked for the words of a refusal would be the call's own answer, and the API has never seen that call.
    fn not_once_refused(&self, pass: Pass, head: &Parts, trail: &Trail) -> Result<Pass, Turned> {
        if !head.headers.contains_key(&REFUSED) {
            return Ok(pass);
        }
        let detail = "the call was refused, and would go on now that the proxy asks for the words of that: it was reloaded in between, or the \
                      instances that it asks differ";
        Err(self.exchange.turn(trail.client.as_deref(), Refusal::server(Fault::Ourselves, detail)))
    }

    /// How many seconds a yes may be kept: as configured, and never longer than what it is about is good. What goes on as it came is nobody's
    /// of ours to say.
    fn lifetime(&self, pass: &Pass) -> u64 {
        match pass {
            Pass::Bearer(bearer, _) => {
                bearer.0.until().since(self.exchange.bridge().clock.now()).min(self.authz_cache).as_secs()
            }
            Pass::AsItCame => 0,
        }
    }

    /// With what credentials a call goes on. A proxy that puts our answer's header in the client's place would lose those of a call that goes
    /// on as it came, so they are answered back.
    fn going_on(&self, pass: &Pass, headers: &HeaderMap, trail: &Trail) -> Result<Option<HeaderValue>, Turned> {
        match pass {
            Pass::Bearer(bearer, _) => {
                bearer.value().map(Some).map_err(|unfit| self.exchange.turn(trail.client.as_deref(), unfit.into()))
            }
            Pass::AsItCame => Ok(headers.get(header::AUTHORIZATION).cloned()),
        }
    }

    /// Whether a call of these headers may go on; `method`: whether one of its method may; `target` tells the host and the path that the client
    /// called.
    async fn decide<'a>(
        &self,
        headers: &HeaderMap,
        method: Result<(), Refusal>,
        target: impl FnOnce() -> Result<(Option<&'a [u8]>, String), Refusal>,
        trail: &mut Trail,
    ) -> Result<Pass, Turned> {
        let stranger = |refusal| self.exchange.turn(None, refusal);
        method.map_err(stranger)?;
        // Without routes the asking proxy alone decides which calls go where.
        let routing = self.routing.load_full();
        if routing.routes().is_empty() {
            return self.any(headers, trail).await;
        }
        let (host, path) = target().map_err(stranger)?;
        let name = named(host).map_err(stranger)?;
        let found = find(routing.routes(), name.as_deref(), &path).map_err(stranger)?;
        self.admit(&routing, found, headers, trail).await.map(|(_, pass)| pass)
    }
}

/// The host that the client called: told by a header, else the question's own, which HTTP/2 has in its target. Of two in one header one is
/// the client's, and which of them the asking proxy sends on nobody knows.
fn host(head: &Parts) -> Result<Option<&[u8]>, Refusal> {
    let names = [&FORWARDED_HOST, &header::HOST];
    if names.into_iter().any(|name| head.headers.get_all(name).iter().nth(1).is_some()) {
        return Err(unreadable("host"));
    }
    let told = names.into_iter().find_map(|name| head.headers.get(name)).map(HeaderValue::as_bytes);
    Ok(told.or_else(|| head.uri.authority().map(|authority| authority.as_str().as_bytes())))
}

/// Whether the method that the client called by goes on: told by a header, for nginx's own question is a GET whatever is asked about, and
/// the question's own (Envoy).
fn method(head: &Parts) -> Result<(), Refusal> {
    let told = agreed(head, &METHOD, named_method)?;
    told.iter().chain([&head.method]).try_for_each(goes_on)
}

fn named_method(method: &[u8]) -> Result<Method, Refusal> {
    Method::from_bytes(method).map_err(|_| unreadable("method"))
}

/// The path that the client called: told by a header, else (Envoy) the question's own.
fn original(head: &Parts) -> Result<String, Refusal> {
    Ok(agreed(head, &URI, path)?.unwrap_or_else(|| head.uri.path().to_owned()))
}

/// All that tells the client's target. Which of them goes on nobody knows.
fn told(head: &Parts) -> impl Iterator<Item = &[u8]> {
    let headers = URI.iter().flat_map(|name| head.headers.get_all(name)).map(HeaderValue::as_bytes);
    headers.chain([written(&head.uri)])
}

/// What two headers tell. Where a proxy sets one of them and lets the client's other one through, they differ, and nobody knows which of them
/// is true.
fn agreed<T: PartialEq>(
    head: &Parts,
    [ours, theirs]: &[HeaderName; 2],
    read: fn(&[u8]) -> Result<T, Refusal>,
) -> Result<Option<T>, Refusal> {
    let told = |name: &HeaderName| {
        let mut told = head.headers.get_all(name).iter();
        let first = told.next().map(|told| read(told.as_bytes())).transpose()?;
        let twice = || Refusal::client(Cause::InvalidRequest, format!("{name} comes more than once"));
        told.next().map_or(Ok(first), |_| Err(twice()))
    };
    match (told(ours)?, told(theirs)?) {
        (Some(one), Some(other)) if one != other => {
            let why =
                format!("{ours} and {theirs} differ: the asking proxy has to remove the one that it does not set");
            Err(Refusal::client(Cause::InvalidRequest, why))
        }
        (one, other) => Ok(one.or(other)),
    }
}

/// The path of a target. Its query is the API's to read, in whatever letters.
fn path(target: &[u8]) -> Result<String, Refusal> {
    // We would read it without its end, and whoever asks sends it on with that.
    if target.contains(&b'#') {
        return Err(unreadable("target"));
    }
    let path = target.split(|byte| *byte == b'?').next().and_then(|path| std::str::from_utf8(path).ok());
    let path = path.filter(|path| !path.bytes().any(|byte| byte <= b' ')).ok_or_else(|| unreadable("target"))?;
    if path.starts_with('/') {
        return Ok(path.to_owned());
    }
    let uri: Uri = path.parse().map_err(|_| unreadable("target"))?;
    if uri.path().starts_with('/') { Ok(uri.path().to_owned()) } else { Err(unreadable("target")) }
}

fn unreadable(what: &str) -> Refusal {
    Refusal::client(Cause::InvalidRequest, format!("the original request's {what} cannot be read"))
}

fn yes(bearer: Option<HeaderValue>, lifetime: u64) -> Reply {
    let mut headers = HeaderMap::with_capacity(3);
    match lifetime {
        0 => drop(headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))),
        seconds => {
            let age = HeaderValue::try_from(format!("max-age={seconds}"));
            headers.extend(age.map(|age| (header::CACHE_CONTROL, age)));
            // nginx goes by this first, and counts whole seconds: what it may keep for one it keeps for up to two.
            headers.insert(ACCEL_EXPIRES, HeaderValue::from(seconds - 1));
        }
    }
    if let Some(bearer) = bearer {
        headers.insert(header::AUTHORIZATION, bearer);
    }
    Reply { status: StatusCode::OK, headers, body: Bytes::new() }
}
