//! The answer on one stream of HTTP/2. Whoever stops reading it keeps the stream, for flow control is between the two of them, but
//! not what stands behind it: hyper does not ask for the next part while there is no window for it, so somebody else must look.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::http2::OpenStream;
use crate::gateway::{Broken, Stream};
use crate::lifecycle::Tasks;

/// An answer that is let go where nobody takes it.
pub(super) struct Streamed {
    held: Arc<Held>,
    patience: Duration,
    tasks: Tasks,
    watched: bool,
}

struct Held {
    /// The stream counts as open as long as there is an answer for it, or, where that keeps it, the rest of its request.
    answer: Mutex<Option<(Stream, Option<OpenStream>)>>,
    /// Parts handed over so far.
    parts: AtomicU64,
    /// The last word was a part, and the next has not been asked for.
    is_with_client: AtomicBool,
    over: Notify,
}

impl Streamed {
    pub(super) fn new(mut answer: Stream, stream: OpenStream, (patience, tasks): (Duration, Tasks)) -> Self {
        let stream = answer.keep(stream);
        let held = Held {
            answer: Mutex::new(Some((answer, stream))),
            parts: AtomicU64::default(),
            is_with_client: AtomicBool::default(),
            over: Notify::new(),
        };
        Self { held: Arc::new(held), patience, tasks, watched: false }
    }
}

/// Lets the answer go when its client has taken no part for so long.
async fn watch(held: Arc<Held>, patience: Duration) {
    loop {
        let before = held.parts.load(Ordering::Relaxed);
        if timeout(patience, held.over.notified()).await.is_ok() {
            return;
        }
        if held.is_with_client.load(Ordering::Relaxed) && held.parts.load(Ordering::Relaxed) == before {
            *held.answer.lock() = None;
            return;
        }
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = {
            let mut answer = self.held.answer.lock();
            let Some((body, _)) = answer.as_mut() else {
                return Poll::Ready(Some(Err(Broken::new(&"nothing of the answer was taken in time"))));
            };
            Pin::new(body).poll_frame(cx)
        };
        self.held.is_with_client.store(polled.is_ready(), Ordering::Relaxed);
        // The last part too waits for a window, and whoever has one is gone before the watch looks at a clock.
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            self.held.parts.fetch_add(1, Ordering::Relaxed);
            if !self.watched {
                self.watched = true;
                self.tasks.run(watch(Arc::clone(&self.held), self.patience));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.held.answer.lock().as_ref().is_some_and(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.held.answer.lock().as_ref().map_or_else(SizeHint::default, |(body, _)| body.size_hint())
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        self.held.over.notify_one();
    }
}
