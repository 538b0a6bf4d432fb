//! A body that a client sends over HTTP/1.1. Whoever lets it go before its end leaves the rest unread, and hyper closes such a connection
//! behind its answer: somebody has to know.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::Flag;
use super::flow::Broken;

/// Whether these are trailers without a line. Where the empty line behind the last chunk is a mere LF, hyper takes what is sent ahead for trailers, reads
/// none in it, and throws it away: a whole request, perhaps.
#[must_use]
pub fn swallows(frame: &Frame<Bytes>) -> bool {
    frame.trailers_ref().is_some_and(HeaderMap::is_empty)
}

/// A body that tells where it is let go.
pub struct ClientBody {
    body: Incoming,
    /// Set when all of it has been read.
    pub(super) read: Flag,
    /// Set where it is let go before its end.
    unread: Flag,
}

impl ClientBody {
    pub(super) fn new(body: Incoming, unread: &Flag) -> Self {
        Self { body, read: Flag::default(), unread: unread.clone() }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && swallows(frame)
        {
            return Poll::Ready(Some(Err(Broken::new(&"behind the last chunk is no end"))));
        }
        // Behind trailers, and behind all of a length that is told, there is nothing more.
        let has_ended = match &polled {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || self.body.is_end_stream(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if has_ended {
            self.read.set(true);
        }
        polled.map_err(|error| Broken::of(&error, &error))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if !self.read.is_set() {
            self.unread.set(true);
        }
    }
}
