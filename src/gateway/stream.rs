//! A body that is not all there yet.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::flow::Broken;
use super::forward::Answer;

/// A body on its way.
pub enum Stream {
    /// All of it is here.
    Whole(Bytes),
    /// A client sends it.
    Client(Incoming),
    /// An API answers with it.
    Api(Box<Answer>),
}

impl Stream {
    /// No body.
    #[must_use]
    pub const fn nothing() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Client(body) => Pin::new(body).poll_frame(cx).map_err(|error| Broken::new(&error)),
            Self::Api(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Client(body) => body.is_end_stream(),
            Self::Api(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Client(body) => body.size_hint(),
            Self::Api(body) => body.size_hint(),
        }
    }
}
