//! The way of one API call, read downward.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};

use super::forward::{Failed, Way};
use super::headers::{end_to_end, forwarded, takes_trailers};
use super::routes::{Route, find, host_name, ordered};
use super::{Bounds, From, GatewaySettings, Stream};
use crate::domain::dialect::Endpoint;
use crate::domain::opaque::OpaqueToken;
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::exchange::{Caller, Exchange, Turned, Which};
use crate::legacy::reply::Reply;
use crate::telemetry::Trail;

/// One worker's gateway.
#[derive(Debug)]
pub struct Gateway {
    pub(super) exchange: Arc<Exchange>,
    pub(super) routes: Vec<Route>,
    bounds: Bounds,
    ways: Vec<Way>,
}

/// What a call carries.
enum Carried {
    /// A UUID of the shape that we hand out.
    Token(OpaqueToken),
    /// A JWT, by its shape.
    Jwt,
    /// No credentials at all.
    Nothing,
    /// Something that no route takes.
    Useless,
}

/// With what a call goes on.
pub(super) enum Pass {
    /// With this in place of its UUID.
    Bearer(HeaderValue, Swapped),
    /// As it came.
    AsItCame,
}

/// The UUID whose place a JWT took, and which JWT that was.
pub(super) struct Swapped {
    token: OpaqueToken,
    jwt: Which,
}

impl Gateway {
    /// Joins the routes to a worker's way through the bridge.
    #[must_use]
    pub fn new(exchange: Arc<Exchange>, settings: &GatewaySettings) -> Self {
        let bounds = settings.bounds;
        let routes = ordered(settings.routes.clone());
        let ways = routes.iter().map(|route| Way::new(route, bounds)).collect();
        Self { exchange, routes, bounds, ways }
    }

    /// Closes connections that nobody uses, when it is told to stop: the last ones close by themselves.
    pub async fn close_at_end(self: Arc<Self>) {
        self.exchange.tasks().stop().cancelled().await;
        self.ways.iter().for_each(Way::close);
    }

    /// Serves one call. What is wrong with it is said in the dialect's words.
    pub async fn call(&self, request: Request<Stream>, from: &From, trail: &mut Trail) -> Response<Stream> {
        trail.endpoint = Some(Endpoint::Api);
        match self.serve(request, from, trail).await {
            Ok(response) => response,
            Err(turned) => whole(turned.reply(Endpoint::Api, trail)),
        }
    }

    /// Refuses, in the dialect's words, what never became a call.
    #[must_use]
    pub fn refuse(&self, endpoint: Endpoint, refusal: Refusal, trail: &mut Trail) -> Reply {
        self.exchange.turn(None, refusal).reply(endpoint, trail)
    }

    async fn serve(
        &self,
        request: Request<Stream>,
        from: &From,
        trail: &mut Trail,
    ) -> Result<Response<Stream>, Turned> {
        let stranger = |refusal| self.exchange.turn(None, refusal);
        let (mut head, body) = request.into_parts();
        let host = sane(&head).map_err(stranger)?;
        // A length that is told and too long need not be waited for.
        if body.size_hint().lower() > self.bounds.body {
            return Err(stranger(Refusal::client(Cause::InvalidRequest, "the body is longer than `gateway.body`")));
        }
        let name = host.as_ref().and_then(|host| host.to_str().ok()).map(host_name);
        let found = find(&self.routes, name.as_deref(), head.uri.path()).map_err(stranger)?;
        let (number, pass) = self.admit(&found, &head.headers, trail).await?;
        let Some((route, way)) = self.routes.get(number).zip(self.ways.get(number)) else {
            return Err(stranger(Refusal::client(Cause::NotFound, "no route has this host and path")));
        };
        let client = head.extensions.remove::<hyper::upgrade::OnUpgrade>();
        let (bearer, swapped) = match pass {
            Pass::Bearer(bearer, swapped) => (Some(bearer), Some(swapped)),
            Pass::AsItCame => (None, None),
        };
        let upgrade = rewrite(&mut head, (route, host.as_ref()), bearer, from).map_err(stranger)?;
        let response = self.ask(way, Request::from_parts(head, body), swapped, trail).await?;
        Ok(self.answer(response, client.filter(|_| upgrade.is_some())))
    }

    /// Asks the API. Where it refuses the JWT and the realm gives another, it is asked once more, unless there was a body, which is gone.
    async fn ask(
        &self,
        way: &Way,
        request: Request<Stream>,
        swapped: Option<Swapped>,
        trail: &mut Trail,
    ) -> Result<Response<Stream>, Turned> {
        let Some(Swapped { token, jwt }) = swapped else { return self.send(way, request, trail).await };
        let (head, body) = request.into_parts();
        let again = body.is_end_stream().then(|| head.clone());
        let response = self.send(way, Request::from_parts(head, body), trail).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let caller = self.exchange.doubt(&token, jwt, trail).await?;
        let Some((caller, mut head)) = caller.zip(again) else { return Ok(response) };
        drop(response);
        let bearer = bearer(&caller.jwt).map_err(|refusal| self.exchange.turn(Some(&caller.client), refusal))?;
        head.headers.insert(header::AUTHORIZATION, bearer);
        self.send(way, Request::from_parts(head, nothing()), trail).await
    }

    async fn send(&self, way: &Way, request: Request<Stream>, trail: &Trail) -> Result<Response<Stream>, Turned> {
        let sent = way.send(request, &self.exchange).await;
        sent.map_err(|failed| self.exchange.turn(trail.client.as_deref(), refusal(failed)))
    }

    /// Who may take one of these routes, and with what the call goes on.
    pub(super) async fn admit(
        &self,
        found: &[usize],
        headers: &HeaderMap,
        trail: &mut Trail,
    ) -> Result<(usize, Pass), Turned> {
        let carried = carried(headers).map_err(|refusal| self.exchange.turn(None, refusal))?;
        let route = |client: Option<&str>, also: fn(&Route) -> bool| {
            let takes = |route: &Route| route.admits(client) && also(route);
            found.iter().copied().find(|number| self.routes.get(*number).is_some_and(takes))
        };
        let unknown = |detail| self.exchange.turn(None, Refusal::client(Cause::TokenUnknown, detail));
        match carried {
            Carried::Token(token) => {
                let caller = self.exchange.call(&token, trail).await?;
                let Some(number) = route(Some(&caller.client.legacy_id), |_| true) else {
                    let refusal = Refusal::client(Cause::NotFound, "the route is not for this client");
                    return Err(self.exchange.turn(Some(&caller.client), refusal));
                };
                Ok((number, self.bearer(&caller, token)?))
            }
            Carried::Jwt => match route(None, |route| route.pass_jwt) {
                Some(number) => Ok((number, Pass::AsItCame)),
                None => Err(unknown("a JWT, and the route takes none from clients")),
            },
            Carried::Nothing => match route(None, |route| route.pass_anonymous) {
                Some(number) => Ok((number, Pass::AsItCame)),
                None => Err(unknown("the call carries no token")),
            },
            Carried::Useless => Err(unknown("what the call carries is no token of the shapes handed out")),
        }
    }

    /// Whoever has a token that is good, where no routes say more.
    pub(super) async fn any(&self, headers: &HeaderMap, trail: &mut Trail) -> Result<Pass, Turned> {
        match carried(headers).map_err(|refusal| self.exchange.turn(None, refusal))? {
            Carried::Token(token) => {
                let caller = self.exchange.call(&token, trail).await?;
                self.bearer(&caller, token)
            }
            Carried::Jwt | Carried::Nothing | Carried::Useless => {
                let refusal =
                    Refusal::client(Cause::TokenUnknown, "the call carries no token of the shapes handed out");
                Err(self.exchange.turn(None, refusal))
            }
        }
    }

    /// The JWT that the call goes on with.
    fn bearer(&self, caller: &Caller, token: OpaqueToken) -> Result<Pass, Turned> {
        let swapped = Swapped { token, jwt: caller.which };
        match bearer(&caller.jwt) {
            Ok(bearer) => Ok(Pass::Bearer(bearer, swapped)),
            Err(refusal) => Err(self.exchange.turn(Some(&caller.client), refusal)),
        }
    }

    /// The API's answer as the client gets it; a tunnel is dug where it agreed to one.
    fn answer(&self, mut response: Response<Stream>, client: Option<hyper::upgrade::OnUpgrade>) -> Response<Stream> {
        // RFC 9112 section 2.3: what we send is of our version, whatever the API's is.
        *response.version_mut() = http::Version::HTTP_11;
        let wanted = end_to_end(response.headers_mut());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let (Some(client), Some(protocol)) = (client, wanted)
        {
            let api = hyper::upgrade::on(&mut response);
            let (stop, idle) = (self.exchange.tasks().stop().clone(), self.bounds.idle_timeout);
            self.exchange.tasks().run(super::tunnel::dig(client, api, idle, stop));
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(header::UPGRADE, protocol);
        }
        response
    }
}

/// What must be so of every call: one host, one target, a method that reflects nothing.
fn sane(head: &Parts) -> Result<Option<HeaderValue>, Refusal> {
    let wrong = |detail| Refusal::client(Cause::InvalidRequest, detail);
    if head.method == Method::TRACE || head.method == Method::CONNECT {
        // TRACE would show the client its JWT.
        return Err(Refusal::client(Cause::MethodNotAllowed, "TRACE and CONNECT are not forwarded"));
    }
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(wrong("the Host header comes more than once"));
    }
    if host.is_none() && head.version == http::Version::HTTP_11 {
        return Err(wrong("the Host header is missing"));
    }
    if !head.uri.path().starts_with('/') {
        return Err(wrong("the target is no path"));
    }
    match head.uri.authority() {
        // RFC 9112 section 3.2.2: the target's host counts.
        Some(authority) => {
            HeaderValue::from_str(authority.as_str()).map(Some).map_err(|_| wrong("the host is no text"))
        }
        None => Ok(host.cloned()),
    }
}

fn carried(headers: &HeaderMap) -> Result<Carried, Refusal> {
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

fn bearer(jwt: &[u8]) -> Result<HeaderValue, Refusal> {
    let text = zeroize::Zeroizing::new([b"Bearer ", jwt].concat());
    let mut value = HeaderValue::from_bytes(&text)
        .map_err(|_| Refusal::server(Fault::Ourselves, "the JWT that is kept fits no header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The head as the API gets it. Returns what the client wants to be upgraded to.
fn rewrite(
    head: &mut Parts,
    (route, host): (&Route, Option<&HeaderValue>),
    bearer: Option<HeaderValue>,
    from: &From,
) -> Result<Option<HeaderValue>, Refusal> {
    let trailers = takes_trailers(&head.headers);
    let upgrade = end_to_end(&mut head.headers);
    // The body comes without waiting: hyper has told the client to go on by the time that there is one.
    head.headers.remove(header::EXPECT);
    if let Some(bearer) = bearer {
        head.headers.insert(header::AUTHORIZATION, bearer);
    }
    forwarded(&mut head.headers, from, host);
    match host.filter(|_| route.keep_host) {
        Some(host) => drop(head.headers.insert(header::HOST, host.clone())),
        // The connection's own is put in where it is sent.
        None => drop(head.headers.remove(header::HOST)),
    }
    if let Some(protocol) = &upgrade {
        head.headers.insert(header::UPGRADE, protocol.clone());
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    } else if trailers {
        head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    head.version = http::Version::HTTP_11;
    head.uri = target(&head.uri, route)
        .ok_or_else(|| Refusal::client(Cause::InvalidRequest, "the target cannot be forwarded"))?;
    head.extensions.clear();
    Ok(upgrade)
}

/// The path and the query, byte for byte, without the prefix where the route says so.
fn target(uri: &Uri, route: &Route) -> Option<Uri> {
    let whole = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    if !route.strip_prefix || route.prefix == "/" {
        return Some(Uri::from(whole));
    }
    let rest = whole.as_str().strip_prefix(&route.prefix)?;
    let slash = if rest.starts_with('/') { "" } else { "/" };
    PathAndQuery::try_from(format!("{slash}{rest}")).ok().map(Uri::from)
}

fn refusal(failed: Failed) -> Refusal {
    match failed {
        Failed::Down(detail) => Refusal { cause: Cause::ApiDown, fault: Fault::Upstream, detail: detail.into() },
        Failed::Slow => Refusal {
            cause: Cause::ApiSlow,
            fault: Fault::Upstream,
            detail: "the API did not answer within `gateway.timeout`".into(),
        },
        Failed::Client => {
            Refusal::client(Cause::InvalidRequest, "the body is too long, came too slowly, or its framing is broken")
        }
    }
}

fn nothing() -> Stream {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// An answer of our own.
pub(super) fn whole(reply: Reply) -> Response<Stream> {
    let body: Full<Bytes> = Full::new(reply.body);
    let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}
