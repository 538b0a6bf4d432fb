//! The way of one API call, read downward.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{MissedTickBehavior, interval};

use super::copied::Kept;
use super::forward::{Failed, Way};
use super::host::named;
use super::request::{Asking, Bearer, Carried, carried, only_there, rewrite, sane, written};
use super::room::Room;
use super::routes::{Route, alike, find};
use super::routing::Routing;
use super::stream::Place;
use super::tunnel::Switch;
use super::wire::Wire;
use super::{Bounds, Flag, From, GatewaySettings, Stream};
use crate::domain::dialect::Endpoint;
use crate::domain::opaque::OpaqueToken;
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::exchange::{Exchange, Turned};
use crate::legacy::reply::Reply;
use crate::lifecycle::Tasks;
use crate::relay::hops::end_to_end;
use crate::telemetry::Trail;
use crate::telemetry::trail::Note;

/// Between two looks at connections that nobody uses.
const NEXT_LOOK: Duration = Duration::from_secs(5);

/// One worker's gateway.
#[derive(Debug)]
pub struct Gateway {
    pub(super) exchange: Arc<Exchange>,
    pub(super) routing: ArcSwap<Routing>,
    bounds: Bounds,
    pub(super) room: Room,
    pub(super) authz_cache: Duration,
}

/// With what a call goes on.
pub(super) enum Pass {
    /// With this in place of its UUID.
    Bearer(Bearer, OpaqueToken),
    /// As it came.
    AsItCame,
}

impl Gateway {
    /// Joins the routes to a worker's way through the bridge.
    #[must_use]
    pub fn new(exchange: Arc<Exchange>, settings: &GatewaySettings, room: Room) -> Self {
        let bounds = settings.bounds;
        let routing = ArcSwap::from_pointee(Routing::new(settings, bounds, None));
        Self { exchange, routing, bounds, room, authz_cache: settings.authz_cache }
    }

    /// Takes other routes and another old API into use. Calls that are under way end as they began.
    pub fn replace_routes(&self, settings: &GatewaySettings) {
        let before = self.routing.load_full();
        let routing = Arc::new(Routing::new(settings, self.bounds, Some(&before)));
        self.routing.store(Arc::clone(&routing));
        before.close(Some(&routing));
    }

    /// Lets go of connections that their APIs have closed, as long as calls are taken; then of all that nobody uses: the last ones close by themselves.
    pub async fn look_after_idle(self: Arc<Self>) {
        let mut looks = interval(NEXT_LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.exchange.tasks().stop().run_until_cancelled(looks.tick()).await.is_some() {
            self.routing.load().let_go_of_closed();
        }
        self.routing.load().close(None);
    }

    /// Serves one call. What is wrong with it is said in the dialect's words.
    pub async fn call(&self, (head, body): (&mut Parts, Stream), from: &From, trail: &mut Trail) -> Response<Stream> {
        trail.endpoint = Some(Endpoint::Api);
        match self.serve((head, body), from, trail).await {
            Ok(response) => response,
            Err(turned) => whole(turned.reply(Endpoint::Api, trail)),
        }
    }

    /// Refuses, in the dialect's words, what never became a call.
    #[must_use]
    pub fn refuse(&self, endpoint: Endpoint, refusal: Refusal, trail: &mut Trail) -> Reply {
        self.exchange.turn(None, refusal).reply(endpoint, trail)
    }

    /// The same, as an answer to a call, or to a question.
    #[must_use]
    pub fn turn_away(&self, endpoint: Endpoint, refusal: Refusal, trail: &mut Trail) -> Response<Stream> {
        trail.endpoint = Some(endpoint);
        whole(self.refuse(endpoint, refusal, trail))
    }

    /// What a client sends with its call. `unread`: is set where its connection ends by what is not read of it; `place`: over HTTP/2 the call takes it up.
    #[must_use]
    pub fn body(&self, body: Incoming, version: Version, unread: &Flag, place: Option<Place>) -> Stream {
        Stream::of(body, version, unread, (self.bounds.body, (self.exchange.tasks(), place)))
    }

    /// What runs beside a call.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        self.exchange.tasks()
    }

    async fn serve(
        &self,
        (head, body): (&mut Parts, Stream),
        from: &From,
        trail: &mut Trail,
    ) -> Result<Response<Stream>, Turned> {
        let stranger = |refusal| self.exchange.turn(None, refusal);
        let host = sane(head).map_err(stranger)?;
        let name = named(host.as_ref().map(HeaderValue::as_bytes)).map_err(stranger)?;
        // A length that is told and too long need not be waited for.
        if body.size_hint().lower() > self.bounds.body {
            return Err(stranger(Refusal::client(Cause::InvalidRequest, "the body is longer than `gateway.body`")));
        }
        let routing = self.routing.load_full();
        let admitted = match find(routing.routes(), name.as_deref(), head.uri.path()) {
            Ok(found) => self.admit(&routing, found, &head.headers, trail).await,
            Err(refusal) => Err(stranger(refusal)),
        };
        let (number, pass) = match admitted {
            Ok(admitted) => admitted,
            Err(turned) => {
                // Seldom, and big: a call of ours shall not carry the room for it.
                return Box::pin(self.pass_on_or(turned, &routing, (head, body, host), (from, trail))).await;
            }
        };
        let Some((route, way)) = routing.taken(number) else {
            return Err(stranger(Refusal::client(Cause::NotFound, "no route has this host and path")));
        };
        let _waiting = match routing.wait(way, &self.room, self.exchange.bridge().clock.monotonic()) {
            Ok(waiting) => waiting,
            Err(failed) => return Ok(crowded(self.failed(failed, trail), head.version, trail)),
        };
        let client = head.extensions.remove::<Switch>();
        let (bearer, token) = match &pass {
            Pass::Bearer(bearer, token) => {
                only_there(written(&head.uri), token).map_err(stranger)?;
                (Some(bearer), Some(token))
            }
            Pass::AsItCame => (None, None),
        };
        let (origin, upgrade) = rewrite(head, (route, host.as_ref()), bearer.is_some(), from).map_err(stranger)?;
        let asking = Asking {
            head,
            host: host.as_ref().filter(|_| route.keep_host),
            origin: &origin,
            bearer,
            waiting: from.waiting.as_ref(),
            interim: from.interim.as_ref().filter(|_| route.pass_interim),
        };
        let answered = self.ask(way, (asking, body), token, trail).await?;
        let answer = self.answer(answered, client.filter(|_| upgrade.is_some()));
        answer.map_err(|failed| self.failed(failed, trail))
    }

    /// Asks the API. Where it says that it has not looked at the call it is asked once more, unless there was a body that is long, or
    /// that it did not wait for. So it is where it refuses the JWT of ours and the realm gives another.
    async fn ask(
        &self,
        way: &Way,
        (asking, body): (Asking<'_>, Stream),
        token: Option<&OpaqueToken>,
        trail: &mut Trail,
    ) -> Result<(Response<Stream>, Option<Wire>), Turned> {
        let has_body = !body.is_end_stream();
        let (body, kept) = if has_body { body.copied() } else { (body, None) };
        let answered = match way.send(asking, body, (&self.exchange, &mut *trail)).await {
            Ok(answered) => answered,
            Err(failed) => {
                let again = kept.as_ref().and_then(Kept::whole).filter(|_| matches!(failed, Failed::Unheard(_)));
                let Some(again) = again else { return Err(self.failed(failed, trail)) };
                Box::pin(self.send(way, asking, Stream::Whole(again), trail)).await?
            }
        };
        if answered.0.status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE && asking.bearer.is_some() {
            trail.notes.push(Note::ApiHead);
        }
        let (true, Some(bearer), Some(token)) = (is_refused(&answered.0), asking.bearer, token) else {
            return Ok(answered);
        };
        let caller = Box::pin(self.exchange.doubt(token, &bearer.0, trail)).await?;
        let again = if has_body { kept.as_ref().and_then(Kept::whole) } else { Some(Bytes::new()) };
        let (Some(caller), Some(again)) = (caller, again) else { return Ok(answered) };
        drop(answered);
        let other = Bearer(caller.jwt);
        Box::pin(self.send(way, Asking { bearer: Some(&other), ..asking }, Stream::Whole(again), trail)).await
    }

    async fn send(
        &self,
        way: &Way,
        asking: Asking<'_>,
        body: Stream,
        trail: &mut Trail,
    ) -> Result<(Response<Stream>, Option<Wire>), Turned> {
        let sent = way.send(asking, body, (&self.exchange, &mut *trail)).await;
        sent.map_err(|failed| self.failed(failed, trail))
    }

    fn failed(&self, failed: Failed, trail: &Trail) -> Turned {
        self.exchange.turn(trail.client.as_deref(), refusal(failed))
    }

    /// Who may take one of these routes, and with what the call goes on.
    pub(super) async fn admit(
        &self,
        routing: &Routing,
        found: usize,
        headers: &HeaderMap,
        trail: &mut Trail,
    ) -> Result<(usize, Pass), Turned> {
        let carried = carried(headers).map_err(|refusal| self.exchange.turn(None, refusal))?;
        let route = |client: Option<&str>, also: fn(&Route) -> bool| {
            let takes = |(_, route): &(usize, &Route)| route.admits(client) && also(route);
            alike(routing.routes(), found).find(takes).map(|(number, _)| number)
        };
        let unknown = |detail| self.exchange.turn(None, Refusal::client(Cause::TokenUnknown, detail));
        let why = |passes: fn(&Route) -> bool, detail| {
            let is_for_named = alike(routing.routes(), found).any(|(_, route)| passes(route));
            unknown(if is_for_named { "the route is for named clients alone" } else { detail })
        };
        match carried {
            Carried::Token(token) => {
                let caller = self.exchange.call(&token, trail).await?;
                let Some(number) = route(Some(&caller.client.legacy_id), |_| true) else {
                    let refusal = Refusal::client(Cause::NotFound, "the route is not for this client");
                    return Err(self.exchange.turn(Some(&caller.client), refusal));
                };
                Ok((number, Pass::Bearer(Bearer(caller.jwt), token)))
            }
            Carried::Jwt => match route(None, |route| route.pass_jwt) {
                Some(number) => Ok((number, Pass::AsItCame)),
                None => Err(why(|route| route.pass_jwt, "a JWT, and the route takes none from clients")),
            },
            Carried::Nothing => match route(None, |route| route.pass_anonymous) {
                Some(number) => Ok((number, Pass::AsItCame)),
                None => Err(why(|route| route.pass_anonymous, "the call carries no token")),
            },
            Carried::Useless => Err(unknown("what the call carries is no token of the shapes handed out")),
        }
    }

    /// Whoever has a token that is good, where no routes say more.
    pub(super) async fn any(&self, headers: &HeaderMap, trail: &mut Trail) -> Result<Pass, Turned> {
        match carried(headers).map_err(|refusal| self.exchange.turn(None, refusal))? {
            Carried::Token(token) => {
                let caller = self.exchange.call(&token, trail).await?;
                Ok(Pass::Bearer(Bearer(caller.jwt), token))
            }
            Carried::Jwt | Carried::Nothing | Carried::Useless => {
                let refusal =
                    Refusal::client(Cause::TokenUnknown, "the call carries no token of the shapes handed out");
                Err(self.exchange.turn(None, refusal))
            }
        }
    }

    /// The API's answer as the client gets it; a tunnel is dug where it agreed to one. `client`: whoever had asked for one.
    pub(super) fn answer(
        &self,
        (mut response, api): (Response<Stream>, Option<Wire>),
        client: Option<Switch>,
    ) -> Result<Response<Stream>, Failed> {
        // RFC 9112 section 2.3: what we send is of our version, whatever the API's is.
        *response.version_mut() = Version::HTTP_11;
        let (status, wanted) = (response.status(), end_to_end(response.headers_mut()));
        // RFC 9110 section 8.6: none is told. Over HTTP/2 a client takes a stream that has another length for broken.
        if status == StatusCode::NO_CONTENT {
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(api), Some(client), Some(_)) = (api, client.and_then(|client| client.take()), &wanted) else {
                let why = "the API switched protocols, and nobody had asked for that, or it does not say to which";
                return Err(Failed::Down(why.to_owned()));
            };
            let (stop, idle) = (self.exchange.tasks().stop().clone(), self.bounds.idle_timeout);
            self.exchange.tasks().run(super::tunnel::dig(client, api, idle, stop));
        }
        // RFC 9110 sections 7.8 and 15.5.22: these two answers have to say it.
        if let Some(protocol) = wanted
            && matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED)
        {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(header::UPGRADE, protocol);
        }
        Ok(response)
    }
}

/// Whether the API took the token for none. Over gRPC it says so in HTTP's 200, and in the head: behind it nothing comes (`UNAUTHENTICATED`).
fn is_refused(answer: &Response<Stream>) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let said = |name: &str| answer.headers().get(name).map_or(&[][..], HeaderValue::as_bytes);
    let is_grpc = || said("content-type").get(..GRPC.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(GRPC));
    answer.status() == StatusCode::UNAUTHORIZED || said("grpc-status") == b"16" && is_grpc()
}

pub(super) fn refusal(failed: Failed) -> Refusal {
    match failed {
        Failed::Unfit(unfit) => unfit.into(),
        Failed::Down(detail) | Failed::Unheard(detail) => {
            Refusal { cause: Cause::ApiDown, fault: Fault::Upstream, detail: detail.into() }
        }
        Failed::Slow(detail) => Refusal { cause: Cause::ApiSlow, fault: Fault::Upstream, detail: detail.into() },
        Failed::Client(broken) if broken.is_gone() => Refusal::caller_gone(),
        Failed::Client(broken) => Refusal::client(Cause::InvalidRequest, broken.to_string()),
    }
}

/// What is told for want of places: over HTTP/1 its caller gives his back.
pub(super) fn crowded(turned: Turned, version: Version, trail: &mut Trail) -> Response<Stream> {
    let mut response = whole(turned.reply(Endpoint::Api, trail));
    if version != Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// An answer of our own.
pub(super) fn whole(reply: Reply) -> Response<Stream> {
    Response::from(reply).map(Stream::Whole)
}
