//! A body that is not all there yet.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::Flag;
use super::client_body::{ClientBody, Heard};
use super::copied::{Copied, Kept};
use super::flow::Broken;
use super::forward::Answer;
use crate::domain::refusal::{Cause, Refusal};
use crate::lifecycle::Tasks;
use crate::telemetry::{Edge, Trail};

/// What a request takes up of what there is for all, as long as this is held.
pub type Place = Arc<dyn Send + Sync>;

/// A body on its way.
pub enum Stream {
    /// All of it is here.
    Whole(Bytes),
    /// A client sends it.
    Client(ClientBody),
    /// A client sends it over HTTP/2.
    Http2(Box<Heard>),
    /// A client sends it, and a copy is kept.
    Copied(Box<Copied>),
    /// An API answers with it.
    Api(Box<Answer>),
}

impl Stream {
    /// A client's, by the rules of the protocol that it speaks. `unread`: is set where a connection ends by it; `bytes`: of those it is heard out.
    pub(super) fn of(
        body: Incoming,
        version: Version,
        unread: &Flag,
        (bytes, heard): (u64, (&Tasks, Option<Place>)),
    ) -> Self {
        // Over HTTP/2 the end of one whose length is told to be nothing may come by itself.
        if body.is_end_stream() || body.size_hint().exact() == Some(0) {
            Self::nothing()
        } else if version == Version::HTTP_2 {
            Self::Http2(Box::new(Heard::new(body, bytes, heard)))
        } else {
            Self::Client(ClientBody::new(body, unread))
        }
    }

    /// Of a client's over HTTP/1.1: what tells, when it is gone too, whether all of it has been read.
    #[must_use]
    pub fn read(&self) -> Option<Flag> {
        match self {
            Self::Client(body) => Some(body.read.clone()),
            Self::Whole(_) | Self::Http2(_) | Self::Copied(_) | Self::Api(_) => None,
        }
    }

    /// The same body, and what it keeps of itself to be sent once more; `None`: it is too long.
    pub(super) fn copied(self) -> (Self, Option<Kept>) {
        match self {
            Self::Client(_) | Self::Http2(_) => match Copied::of(self) {
                Ok((copied, kept)) => (Self::Copied(Box::new(copied)), Some(kept)),
                Err(body) => (body, None),
            },
            Self::Whole(_) | Self::Copied(_) | Self::Api(_) => (self, None),
        }
    }

    /// Keeps a place for as long as the rest of a request that was answered early is sent.
    pub fn keep(&mut self, place: Place) {
        match self {
            Self::Api(answer) => answer.place = Some(place),
            Self::Whole(_) | Self::Client(_) | Self::Http2(_) | Self::Copied(_) => {}
        }
    }

    /// Keeps the trail of the call that it answers with this status, which is written down by now: what becomes of the answer is told with it.
    pub fn answers(&mut self, call: Trail, status: StatusCode) {
        match self {
            Self::Api(answer) => answer.call = (call, status),
            Self::Whole(_) | Self::Client(_) | Self::Http2(_) | Self::Copied(_) => {}
        }
    }

    /// Whether it answers a request that its API will not read to the end: it has said that it closes, or is gone.
    #[must_use]
    pub fn is_last_word(&self) -> bool {
        match self {
            Self::Api(answer) => answer.is_last_word(),
            Self::Whole(_) | Self::Client(_) | Self::Http2(_) | Self::Copied(_) => false,
        }
    }

    /// No body.
    #[must_use]
    pub const fn nothing() -> Self {
        Self::Whole(Bytes::new())
    }
}

/// Tells that the answer to this call was cut behind its head, as this server broke it off; or, where the call's own body was `broken`, for its client's sake.
pub(super) fn tell_cut(
    (call, status): &mut (Trail, StatusCode),
    (server, why): (&str, &Broken),
    broken: Option<&Broken>,
    edge: &Edge,
) {
    let status = status.as_u16();
    match broken {
        None => edge.answer_cut((call, status), server, &why.to_string()),
        // He has left, and nobody has to act.
        Some(broken) if broken.is_gone() => {}
        Some(broken) => {
            let why = broken.to_string();
            call.refusal = Some(Refusal::client(Cause::InvalidRequest, why.clone()));
            edge.call_cut((call, status), &why);
        }
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Client(body) => Pin::new(body).poll_frame(cx),
            Self::Http2(body) => Pin::new(body).poll_frame(cx),
            Self::Copied(body) => Pin::new(body).poll_frame(cx),
            Self::Api(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Client(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
            Self::Copied(body) => body.is_end_stream(),
            Self::Api(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Client(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
            Self::Copied(body) => body.size_hint(),
            Self::Api(body) => body.size_hint(),
        }
    }
}
