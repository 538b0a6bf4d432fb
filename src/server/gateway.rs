//! The listeners of API calls and of authorization questions: who calls from where, and the trail of it.

use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;

use super::address::{client_address, is_trusted};
use super::answer::{Peer, Said};
use super::grpc;
use super::http2::{self, Streams};
use super::malformed::Malformed;
use super::streamed::Streamed;
use super::tuning::Tuning;
use super::unanswered::Unanswered;
use crate::domain::dialect::Endpoint;
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::exchange::Bridge;
use crate::gateway::{From, Gateway, Place, Stream};
use crate::lifecycle::others_first;
use crate::telemetry::Trail;

/// What one worker's handlers need.
#[derive(Clone, Debug)]
pub(super) struct GatewayService {
    pub(super) gateway: Arc<Gateway>,
    pub(super) bridge: Arc<Bridge>,
    pub(super) tuning: Arc<ArcSwap<Tuning>>,
    pub(super) is_secure: bool,
    /// Headers of a request: hyper counts them over HTTP/1 alone.
    pub(super) headers: usize,
    /// Bytes of a head: over HTTP/2 more are read, so that they can be refused.
    pub(super) head_bytes: usize,
    /// How long whoever is answered over HTTP/2 may take nothing of it.
    pub(super) unread_timeout: Duration,
}

impl GatewayService {
    fn from(&self, peer: &Peer, headers: &HeaderMap) -> From {
        let tuning = self.tuning.load();
        From {
            peer: peer.said.clone(),
            address: client_address(peer.address, headers, &tuning.trusted),
            is_trusted: is_trusted(peer.address, &tuning.trusted),
            is_secure: self.is_secure,
            waiting: None,
            interim: None,
        }
    }

    /// A request from there, until it is answered.
    pub(super) fn asked(&self, address: IpAddr) -> Unanswered<'_> {
        Unanswered::new(&self.bridge, self.gateway.tasks(), Trail { address: Some(address), ..Trail::default() })
    }

    /// Whether a head is longer than it may be, or has more lines. Over HTTP/1 hyper has refused it by now.
    fn is_beyond(&self, head: &Parts) -> bool {
        let is_http2 = head.version == Version::HTTP_2;
        is_http2 && (head.headers.len() > self.headers || http2::head_bytes(&head.uri, &head.headers) > self.head_bytes)
    }
}

/// Answers an API call.
pub(super) async fn call(
    service: &GatewayService,
    peer: &Peer,
    streams: Option<&Arc<Streams>>,
    request: Request<Incoming>,
) -> Response<Said> {
    let stream = streams.map(|streams| streams.open().map(Arc::new));
    if stream.is_none() {
        peer.turn.take();
    }
    let is_too_much = stream.as_ref().is_some_and(Option::is_none);
    let (mut head, body) = request.into_parts();
    let version = head.version;
    let waiting = streams.is_none().then(|| peer.turn.waiting().clone());
    // RFC 9110 section 15.2: to a client of HTTP/1.0 none is said.
    let interim = (version == Version::HTTP_11).then(|| peer.turn.interim().clone());
    let from = From { waiting, interim, ..service.from(peer, &head.headers) };
    let mut asked = service.asked(from.address);
    let trail = &mut asked.trail;
    let (has_body, is_of_length) = (!body.is_end_stream(), body.size_hint().exact().is_some());
    let mut read = None;
    let mut response = if is_too_much {
        service.gateway.turn_away(Endpoint::Api, too_many(), trail)
    } else {
        let place = stream.clone().flatten().map(|open| open as Place);
        let body = service.gateway.body(body, version, peer.turn.unread(), place);
        read = body.read();
        if service.is_beyond(&head) {
            service.gateway.turn_away(Endpoint::Api, Malformed::Head.refusal(), trail)
        } else {
            service.gateway.call((&mut head, body), &from, trail).await
        }
    };
    peer.turn.waiting().set(false);
    let is_refused = trail.refusal.is_some();
    let status = response.status();
    asked.answered(status);
    response.body_mut().answers(mem::take(&mut asked.trail), status);
    // Once it is written down: who hangs up ends this here.
    others_first().await;
    if is_too_much {
        return response.map(Said::Stream);
    }
    if let Some(stream) = stream.flatten() {
        let watching = (service.unread_timeout, service.gateway.tasks().clone());
        return response.map(|body| Said::Streamed(Streamed::new(body, stream, watching)));
    }
    // What is here of a length that is told hyper has passed over by now, or it says by itself that it closes.
    let is_passed_over = is_of_length && peer.turn.unread().is_set();
    let is_left = is_refused && !is_passed_over && !read.is_some_and(|read| read.is_set());
    if has_body && (is_left || response.body().is_last_word()) {
        // What was not read of the request is not to be taken for the next one.
        if !response.headers().contains_key(header::UPGRADE) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // What a tunnel carries is the API's to its end, which is told by nothing else.
        peer.turn.goes_to_the_close();
        return response.map(Said::Stream);
    }
    speech(peer, version, response)
}

/// An answer over HTTP/1, told so that hyper says of its end what is true.
fn speech(peer: &Peer, version: Version, mut response: Response<Stream>) -> Response<Said> {
    // With 304 stands the length of what is not sent (RFC 9110 section 8.6).
    let is_bare = response.status() == StatusCode::NOT_MODIFIED && told_lengths(&response) == 1;
    if version == Version::HTTP_10 && ends_by_closing(&response) {
        peer.turn.goes_to_the_close();
        // As an answer of HTTP/1.1 it would promise an old client to keep the connection.
        *response.version_mut() = Version::HTTP_10;
    }
    response.map(|body| {
        let speech = peer.turn.clone().until_end_of(body);
        Said::Speech(if is_bare { speech.bare() } else { speech })
    })
}

fn told_lengths(response: &Response<Stream>) -> usize {
    response.headers().get_all(header::CONTENT_LENGTH).iter().count()
}

fn ends_by_closing(response: &Response<Stream>) -> bool {
    let body = response.body();
    told_lengths(response) == 0 && !body.is_end_stream() && body.size_hint().exact().is_none()
}

fn too_many() -> Refusal {
    let detail = "more calls at once than `limits.connections` allows";
    Refusal { cause: Cause::ApiDown, fault: Fault::Ourselves, detail: detail.into() }
}

/// Answers what another proxy asks.
pub(super) async fn question(
    service: &GatewayService,
    peer: &Peer,
    streams: Option<&Arc<Streams>>,
    request: Request<Incoming>,
) -> Response<Said> {
    // While it is answered its connection does not end.
    let _open = streams.map(Streams::open);
    if streams.is_none() {
        peer.turn.take();
    }
    let (head, body) = request.into_parts();
    let is_beyond = service.is_beyond(&head);
    if grpc::is_grpc(&head) && !is_beyond {
        return grpc::answer(service, peer.address, body).await.map(Said::Router);
    }
    if streams.is_none() && !body.is_end_stream() {
        peer.turn.cuts_short();
    }
    // Nobody wants it. Hyper hears of that before it writes, and says that it closes where it cannot pass over what is here of it.
    drop(body);
    let mut asked = service.asked(service.from(peer, &head.headers).address);
    let response = if is_beyond {
        service.gateway.turn_away(Endpoint::Authz, Malformed::Head.refusal(), &mut asked.trail)
    } else {
        service.gateway.authorize(&head, &mut asked.trail).await
    };
    asked.answered(response.status());
    others_first().await;
    if streams.is_some() {
        return response.map(Said::Stream);
    }
    response.map(|body| Said::Speech(peer.turn.clone().until_end_of(body)))
}
