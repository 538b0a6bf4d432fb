//! Who answers on a listener, and the bodies that answers have. Legacy clients and the gateway are answered without a router in
//! between: each has one handler, and is what the cost of a login or a call is counted by.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;

use super::gateway::{GatewayService, call, question};
use super::http2::Streams;
use super::legacy::{self, LegacyService};
use super::routed::Routed;
use super::streamed::Streamed;
use super::turn::{Speech, Turn};
use crate::gateway::Stream;

/// Who answers.
#[derive(Clone, Debug)]
pub enum Answers {
    /// The realm, operators.
    Router(Arc<Routed>),
    /// Legacy clients.
    Legacy(Arc<LegacyService>),
    /// API calls.
    Calls(Arc<GatewayService>),
    /// Other proxies.
    Questions(Arc<GatewayService>),
}

/// The peer of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Its address as `X-Forwarded-For` has it.
    pub said: HeaderValue,
    /// Whose turn to speak it is.
    pub turn: Turn,
}

impl Peer {
    /// Of a connection that was just accepted.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        // On a listener of both kinds an IPv4 address comes as one of IPv6.
        let address = address.to_canonical();
        let said = HeaderValue::try_from(address.to_string());
        // An address is text that fits.
        let said = said.unwrap_or(HeaderValue::from_static("unknown"));
        Self { address, said, turn: Turn::default() }
    }
}

/// Who answers on one connection, and to whom.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) answers: Answers,
    pub(super) peer: Peer,
    /// The requests of the connection, where it takes many at once.
    pub(super) streams: Option<Arc<Streams>>,
}

impl Answering {
    pub(super) async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> Result<Response<Said>, Infallible> {
        let streams = self.streams.as_ref();
        match streams {
            Some(streams) => streams.begin(),
            None => {
                self.peer.turn.asked();
                if let Some(given) = request.extensions_mut().remove::<OnUpgrade>() {
                    let switch = self.peer.turn.switch().clone();
                    switch.keep(given);
                    request.extensions_mut().insert(switch);
                }
            }
        }
        let is_bare = streams.is_some() && request.method() == Method::HEAD;
        let response = match &self.answers {
            Answers::Legacy(service) => legacy::handle(service, &self.peer, request).await,
            Answers::Calls(service) => call(service, &self.peer, streams, request).await,
            Answers::Questions(service) => question(service, &self.peer, streams, request).await,
            Answers::Router(routed) => routed.answer(&self.peer, request).await?.map(Said::Router),
        };
        if streams.is_none() {
            self.peer.turn.answered();
            return Ok(named(response));
        }
        Ok(if is_bare { without_body(response) } else { response })
    }
}

/// A status that has no name is told without one: hyper would call it `<none>`.
fn named(mut response: Response<Said>) -> Response<Said> {
    if response.status().canonical_reason().is_none() && response.extensions().get::<ReasonPhrase>().is_none() {
        response.extensions_mut().insert(ReasonPhrase::from_static(b""));
    }
    response
}

/// To HEAD goes the head alone, with the length that a body would have. Over HTTP/1 hyper sees to that, over HTTP/2 it does not, and
/// a client that gets a body takes the stream for broken (RFC 9113 section 8.1.1).
fn without_body(response: Response<Said>) -> Response<Said> {
    let (mut head, body) = response.into_parts();
    if body.is_end_stream() {
        return Response::from_parts(head, body);
    }
    if let Some(length) = body.size_hint().exact() {
        head.headers.entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    Response::from_parts(head, Said::Stream(Stream::nothing()))
}

/// The body of an answer.
pub(super) enum Said {
    /// What a router says.
    Router(axum::body::Body),
    /// What we say ourselves, and what a tunnel carries.
    Stream(Stream),
    /// An API's, as long as it has the turn.
    Speech(Speech<Stream>),
    /// An API's, on one stream of many.
    Streamed(Streamed),
}

impl Body for Said {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Router(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Stream(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Speech(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Streamed(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Router(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
            Self::Speech(body) => body.is_end_stream(),
            Self::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Router(body) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
            Self::Speech(body) => body.size_hint(),
            Self::Streamed(body) => body.size_hint(),
        }
    }
}
