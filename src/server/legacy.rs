//! The legacy listener's one handler: reads a request within bounds, has it answered, and writes its trail.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::body::Incoming as Coming;

use super::address::client_address;
use super::answer::{Peer, Said};
use super::body::{Unread, whole};
use super::tuning::Tuning;
use super::unanswered::{PANIC, Unanswered};
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::exchange::Exchange;
use crate::gateway::Stream;
use crate::legacy::reply::Reply;
use crate::legacy::request::Incoming;
use crate::lifecycle::others_first;
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
    if !has_waited {
        // Else whoever sends much ahead would be answered many hundred times before anybody else is heard.
        others_first().await;
    }
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
