//! The answer on one stream of HTTP/2. Whoever stops reading it keeps the stream, for flow control is between the two of them, but
//! not what stands behind it: hyper does not ask for the next part while there is no window for it, so somebody else must look.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::http2::OpenStream;
use crate::gateway::{Broken, Stream};
use crate::lifecycle::Tasks;

/// Bytes that are handed over at once: those of a frame. Of a part it is seen that it has been taken, and not how much of it.
const PART: usize = 16 << 10;

/// An answer that is let go where nobody takes it.
pub(super) struct Streamed {
    held: Arc<Held>,
    /// What has come of the answer and is not handed over yet.
    rest: Bytes,
    patience: Duration,
    tasks: Tasks,
    watched: bool,
}

/// An answer and its place, as long as anything of it is here.
struct Held {
    answer: Mutex<Option<Stream>>,
    /// The answer has it too, for the rest of its request.
    place: Mutex<Option<Arc<OpenStream>>>,
    /// Parts handed over so far.
    handed: AtomicU64,
    /// Those of them that have gone to the client.
    taken: AtomicU64,
    over: Arc<Notify>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.over.notify_one();
    }
}

/// Bytes on their way to a client. `h2` lets them go when it has written them, and not when it has taken them.
struct Part {
    bytes: Bytes,
    held: Arc<Held>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.held.taken.fetch_add(1, Ordering::Relaxed);
    }
}

impl Streamed {
    pub(super) fn new(mut answer: Stream, place: Arc<OpenStream>, (patience, tasks): (Duration, Tasks)) -> Self {
        answer.keep(Arc::<OpenStream>::clone(&place));
        let held = Held {
            answer: Mutex::new(Some(answer)),
            place: Mutex::new(Some(place)),
            handed: AtomicU64::default(),
            taken: AtomicU64::default(),
            over: Arc::default(),
        };
        Self { held: Arc::new(held), rest: Bytes::new(), patience, tasks, watched: false }
    }

    fn hand_over(&mut self) -> Bytes {
        let bytes = self.rest.split_to(PART.min(self.rest.len()));
        self.held.handed.fetch_add(1, Ordering::Relaxed);
        if !self.watched {
            self.watched = true;
            let over = Arc::clone(&self.held.over);
            self.tasks.run(watch(Arc::downgrade(&self.held), over, self.patience));
        }
        Bytes::from_owner(Part { bytes, held: Arc::clone(&self.held) })
    }
}

/// Lets the answer and its place go when its client has taken nothing of what is here for so long.
async fn watch(held: Weak<Held>, over: Arc<Notify>, patience: Duration) {
    let mut before = (1, 0);
    while timeout(patience, over.notified()).await.is_err() {
        let Some(held) = held.upgrade() else { return };
        let (handed, taken) = (held.handed.load(Ordering::Relaxed), held.taken.load(Ordering::Relaxed));
        if handed != taken && before == (handed, taken) {
            *held.answer.lock() = None;
            *held.place.lock() = None;
            return;
        }
        before = (handed, taken);
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        let mut answer = this.held.answer.lock();
        let Some(body) = answer.as_mut() else {
            return Poll::Ready(Some(Err(Broken::new(&"nothing of the answer was taken in time"))));
        };
        if this.rest.is_empty() {
            let next = ready!(Pin::new(body).poll_frame(cx)).transpose()?;
            match next.map(Frame::into_data) {
                Some(Ok(data)) => this.rest = data,
                Some(Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
                None => return Poll::Ready(None),
            }
        }
        drop(answer);
        Poll::Ready(Some(Ok(Frame::data(this.hand_over()))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.held.answer.lock().as_ref().is_some_and(Body::is_end_stream)
    }

    /// Asked for before anything was handed over.
    fn size_hint(&self) -> SizeHint {
        self.held.answer.lock().as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Streamed {
    /// What is still on its way needs its place, and nothing that stands behind the answer.
    fn drop(&mut self) {
        *self.held.answer.lock() = None;
    }
}
