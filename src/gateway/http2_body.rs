//! A body that comes over HTTP/2. It is whole where its sender says so (`END_STREAM`, RFC 9113 section 8.1), and nowhere else.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::flow::Broken;
use super::line::said;

/// hyper ends a body that was reset, or whose connection was given up, with `NO_ERROR` as if it were whole.
#[derive(Debug)]
pub struct Http2Body(pub(super) Incoming);

impl Body for Http2Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = Pin::new(&mut self.0).poll_frame(cx).map_err(|error| Broken::of(&error, &said(&error)));
        if matches!(polled, Poll::Ready(None)) && !self.0.is_end_stream() {
            return Poll::Ready(Some(Err(Broken::given_up(&"given up before its end, and not in error (NO_ERROR)"))));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
