//! Authorization questions over gRPC: Envoy's `ext_authz`. One message in, one out; what gRPC is beyond that nobody needs here.
//!
//! gRPC says no by HTTP's 200, which a proxy that asks over HTTP takes for a yes: so nothing counts as gRPC that such a proxy could send, whatever
//! its client has put into it.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use super::address::{client_address, is_trusted};
use super::body::{Unread, whole};
use super::gateway::GatewayService;
use crate::domain::dialect::Endpoint;
use crate::domain::refusal::{Cause, Refusal};
use crate::gateway::ext_authz::{Asked, CHECK, unframed};
use crate::gateway::{swallows, tells_its_call};

/// Bytes of a question: it holds the whole head of a call.
const LONGEST: usize = 256 << 10;
const UNREADABLE: &str = "the question is too long, too slow, or no CheckRequest";

/// The codes of gRPC that we say ourselves.
#[derive(Clone, Copy, Debug)]
enum Status {
    Ok = 0,
    InvalidArgument = 3,
}

/// Whether a request is a question over gRPC, not one of a path. Of a question over HTTP the method, the path, `Content-Type`, `TE` and the body may
/// all be its client's own. But whoever asks over HTTP tells the call by headers, or (Envoy) the body's length, be it 0; a question over gRPC has
/// neither.
pub(super) fn is_grpc(head: &Parts) -> bool {
    let has = |name, wanted: &[u8]| head.headers.get(name).is_some_and(|value| value.as_bytes() == wanted);
    let is_called = head.method == Method::POST && head.uri.path() == CHECK && head.uri.query().is_none();
    let is_typed =
        has(header::CONTENT_TYPE, b"application/grpc") || has(header::CONTENT_TYPE, b"application/grpc+proto");
    let is_framed = has(header::TE, b"trailers") && !head.headers.contains_key(header::CONTENT_LENGTH);
    head.version == Version::HTTP_2 && is_called && is_typed && is_framed && !tells_its_call(&head.headers)
}

/// Answers one.
pub(super) async fn answer(service: &GatewayService, peer: IpAddr, body: Incoming) -> Response {
    let patience = service.tuning.load().body_timeout;
    let mut asked_for = service.asked(peer);
    let trail = &mut asked_for.trail;
    trail.endpoint = Some(Endpoint::Authz);
    let answer = match read(body, patience).await {
        Ok(asked) => {
            trail.address = Some(client(service, peer, &asked));
            Some(service.gateway.check(&asked, trail).await)
        }
        Err(refusal) => {
            trail.refusal = Some(refusal);
            None
        }
    };
    let status = answer.as_ref().map_or(StatusCode::BAD_REQUEST, |(status, _)| *status);
    asked_for.answered(status);
    let Some((_, answer)) = answer else { return unreadable() };
    let trailers = std::future::ready(Some(Ok(HeaderMap::from_iter([told(Status::Ok)]))));
    response(Body::new(Full::new(answer).with_trailers(trailers)))
}

async fn read(body: Incoming, patience: Duration) -> Result<Asked, Refusal> {
    let unreadable = || Refusal::client(Cause::InvalidRequest, UNREADABLE);
    // Trailers without a line swallow nothing over HTTP/2: there they are an end like any other.
    let body = body.map_frame(|frame| if swallows(&frame) { Frame::data(Bytes::new()) } else { frame });
    let question = whole(body, LONGEST, patience).await.map_err(|unread| match unread {
        Unread::Gone => Refusal::caller_gone(),
        Unread::TooLong | Unread::TooSlow | Unread::Broken | Unread::Coded => unreadable(),
    })?;
    unframed(&question).and_then(|message| Asked::read(message).ok()).ok_or_else(unreadable)
}

/// Whose call is asked about: a trusted proxy says where it sees the client, which may be a proxy again.
fn client(service: &GatewayService, peer: IpAddr, asked: &Asked) -> IpAddr {
    let tuning = service.tuning.load();
    let seen = asked.source.filter(|_| is_trusted(peer, &tuning.trusted)).unwrap_or(peer);
    client_address(seen, &asked.headers, &tuning.trusted)
}

fn told(status: Status) -> (http::HeaderName, HeaderValue) {
    (http::HeaderName::from_static("grpc-status"), HeaderValue::from(status as u16))
}

/// Who speaks gRPC goes by `grpc-status` even where HTTP's own status is no 200.
fn unreadable() -> Response {
    let mut response = response(Body::from(Bytes::new()));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().extend([told(Status::InvalidArgument)]);
    response.headers_mut().insert("grpc-message", HeaderValue::from_static(UNREADABLE));
    response
}

fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
