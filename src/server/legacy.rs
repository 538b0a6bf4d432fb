//! The legacy listener's one handler: reads a request within bounds, has it answered, and writes its trail.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::body::Incoming as Coming;
use ipnet::IpNet;

use super::address::client_address;
use super::answer::{Peer, Said};
use super::body::{Unread, whole};
use super::malformed::Refuse;
use super::unanswered::{PANIC, Unanswered};
use crate::config::Config;
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::exchange::Exchange;
use crate::gateway::Stream;
use crate::legacy::reply::Reply;
use crate::legacy::request::Incoming;
use crate::relay::hops::{NOT_PLAIN, is_framed_plainly};
use crate::telemetry::Trail;

/// What one worker's handler needs.
#[derive(Debug)]
pub struct LegacyService {
    /// Answers.
    pub exchange: Arc<Exchange>,
    /// What a reload may change.
    pub tuning: Arc<ArcSwap<Tuning>>,
}

/// What a reload may change.
#[derive(Debug)]
pub struct Tuning {
    /// Bytes of a body.
    pub body: usize,
    /// For reading a body.
    pub body_timeout: Duration,
    /// Networks whose word about the client's address counts.
    pub trusted: Vec<IpNet>,
}

impl Tuning {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            body: config.limits.body,
            body_timeout: config.limits.body_timeout,
            trusted: config.trusted_proxies.clone(),
        }
    }
}

/// Answers what is no HTTP, and leaves the trail that any other refusal leaves.
pub fn refuse_malformed(service: Arc<LegacyService>) -> Refuse {
    Refuse(Arc::new(move |peer, why| {
        let mut trail = Trail { address: Some(peer.to_canonical()), ..Trail::default() };
        let reply = service.exchange.refuse("", malformed(why), &mut trail);
        service.exchange.bridge().edge.request(&trail, reply.status.as_u16(), Duration::ZERO);
        bytes_of(&reply)
    }))
}

/// Why hyper refuses, as its status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is no HTTP.
    Unreadable,
    /// The target is longer than any may be.
    Target,
    /// The head is too long, or has too many lines.
    Head,
}

pub(super) fn malformed(why: Malformed) -> Refusal {
    let detail = match why {
        Malformed::Unreadable => "the request is no HTTP that can be read (TLS where clear text is spoken, perhaps)",
        Malformed::Target => "the request's target is longer than any may be",
        Malformed::Head => "the request's head is longer than `limits.head`, or has more lines than `limits.headers`",
    };
    Refusal::client(Cause::InvalidRequest, detail)
}

/// A whole answer, after which the connection is closed.
pub(super) fn bytes_of(reply: &Reply) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {}\r\n", reply.status).into_bytes();
    for (name, value) in &reply.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("connection: close\r\ncontent-length: {}\r\n\r\n", reply.body.len()).as_bytes());
    bytes.extend_from_slice(&reply.body);
    bytes
}

/// Answers a request of a legacy client, whatever its path is: paths are the dialects' own.
pub(super) async fn handle(
    service: &LegacyService,
    Peer { address: peer, turn, .. }: &Peer,
    request: Request<Coming>,
) -> Response<Said> {
    let (head, body) = request.into_parts();
    let address = client_address(*peer, &head.headers, &service.tuning.load().trusted);
    let trail = Trail { address: Some(address), ..Trail::default() };
    let mut asked = Unanswered::new(service.exchange.bridge(), service.exchange.tasks(), trail);
    let trail = &mut asked.trail;
    // Hyper by itself closes behind lengths that contradict each other (RFC 9112 section 6.1).
    let mut close = false;
    let mut has_waited = false;
    let path = head.uri.path();
    let reply = match read(service, &head.headers, body).await {
        Ok(body) => {
            let incoming = Incoming { method: &head.method, uri: &head.uri, headers: &head.headers, body: &body };
            let answered = {
                let answering = service.exchange.answer(&incoming, address, trail);
                let mut answering = pin!(AssertUnwindSafe(answering).catch_unwind());
                let look = |cx: &mut Context<'_>| {
                    let looked = answering.as_mut().poll(cx);
                    has_waited |= looked.is_pending();
                    looked
                };
                poll_fn(look).await
            };
            answered.unwrap_or_else(|_| service.exchange.refuse(path, Refusal::server(Fault::Ourselves, PANIC), trail))
        }
        Err(refusal) => {
            close = true;
            turn.cuts_short();
            service.exchange.refuse(path, refusal, trail)
        }
    };
    let is_ours = trail.passed.is_none();
    if has_waited {
        asked.done(turn).await;
    }
    asked.answered(reply.status);
    let response = respond(reply, close);
    if is_ours {
        return response.map(Said::Stream);
    }
    // What the old server says is not looked through for hyper's own words.
    turn.take();
    response.map(|body| Said::Speech(turn.clone().until_end_of(body)))
}

/// Refuses, whoever answers, what is in a coding of its connection: it could not go on to the old server as it came either.
async fn read(service: &LegacyService, headers: &HeaderMap, body: Coming) -> Result<bytes::Bytes, Refusal> {
    let (longest, patience) = {
        let tuning = service.tuning.load();
        (tuning.body, tuning.body_timeout)
    };
    let read = if is_framed_plainly(headers) { whole(body, longest, patience).await } else { Err(Unread::Coded) };
    read.map_err(|unread| {
        let detail = match unread {
            Unread::TooLong => "the body is longer than `limits.body`",
            Unread::TooSlow => "the body came too slowly",
            Unread::Broken => "the body ended before its length, or its framing is broken",
            Unread::Coded => NOT_PLAIN,
            Unread::Gone => return Refusal::caller_gone(),
        };
        Refusal::client(Cause::InvalidRequest, detail)
    })
}

fn respond(reply: Reply, close: bool) -> Response<Stream> {
    let mut response = Response::from(reply).map(Stream::Whole);
    if close {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
