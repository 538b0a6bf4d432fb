//! A body that a client sends. Whoever lets one over HTTP/1.1 go before its end leaves the rest unread, and hyper closes such a connection
//! behind its answer: somebody has to know. One over HTTP/2 is heard out here: were its stream reset behind the answer, most clients would lose
//! that, since they read when they have sent everything.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::Flag;
use super::flow::Broken;
use super::http2_body::Http2Body;
use super::stream::Place;
use crate::lifecycle::Tasks;

/// So long its sender may be silent while he is heard out, and so long that may take.
const HEARD_OUT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

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

/// A body over HTTP/2 that is heard out where it is let go before its end.
pub struct Heard {
    /// Gone once nothing more comes.
    body: Option<Http2Body>,
    /// Bytes that are still listened to.
    left: u64,
    tasks: Tasks,
    /// What a request takes up is taken up until its body has been heard.
    place: Option<Place>,
}

impl Heard {
    /// Of so many bytes.
    pub(super) fn new(body: Incoming, bytes: u64, (tasks, place): (&Tasks, Option<Place>)) -> Self {
        Self { body: Some(Http2Body(body)), left: bytes, tasks: tasks.clone(), place }
    }
}

impl Body for Heard {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.left = self.left.saturating_sub(length(frame)),
            Poll::Ready(_) => self.body = None,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            let (left, place) = (self.left, self.place.take());
            self.tasks.run(async move {
                let _over = timeout(HEARD_OUT.1, hear_out(body, left)).await;
                drop(place);
            });
        }
    }
}

/// Reads on and forgets it. What is beyond the bytes is not read, and fills its window: its sender has time to hear the answer.
async fn hear_out(mut body: Http2Body, mut left: u64) {
    while let Ok(Some(Ok(frame))) = timeout(HEARD_OUT.0, body.frame()).await {
        left = left.saturating_sub(length(&frame));
        if left == 0 {
            tokio::time::sleep(HEARD_OUT.0).await;
            return;
        }
    }
}

fn length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX))
}
