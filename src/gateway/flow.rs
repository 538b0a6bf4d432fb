//! A body on its way: each part within its time, the whole within its length, and how far it has come.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep};

use super::Bounds;
use super::headers::mere_trailers;
use crate::domain::time::{Clock, millis};

/// Why a body was given up.
#[derive(Clone, Debug)]
pub struct Broken {
    why: String,
    is_gone: bool,
}

impl Broken {
    /// For this reason.
    pub fn new(why: &impl ToString) -> Self {
        Self { why: why.to_string(), is_gone: false }
    }

    /// For this reason, which is an end of whoever sent it where he has broken off.
    pub(super) fn of(error: &hyper::Error, why: &impl ToString) -> Self {
        Self { is_gone: has_left(error), ..Self::new(why) }
    }

    /// For no reason that he told, and he has broken off.
    pub(super) fn given_up(why: &impl ToString) -> Self {
        Self { is_gone: true, ..Self::new(why) }
    }

    /// Whether its sender has broken off, and hears nothing more.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone
    }
}

/// Whether a body failed since its sender has broken off, by a reset of his connection or, over HTTP/2, of the one stream. Who has only shut his side in
/// the middle of it has not: he may wait for an answer.
#[must_use]
pub fn has_left(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&above| above.source()).any(|error| {
        let is_reset = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
        let is_over = |error: &h2::Error| error.is_io() || error.is_remote() && error.is_reset();
        error.downcast_ref().is_some_and(is_reset) || error.downcast_ref().is_some_and(is_over)
    })
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Error for Broken {}

/// How far a request's body has come.
#[derive(Debug)]
pub(super) struct Progress {
    /// Those of its answer too, as long as it has not all gone on.
    parts: AtomicU64,
    state: AtomicU8,
    broken: OnceLock<Broken>,
    clock: Arc<dyn Clock>,
    /// When its last part went on: milliseconds of the monotonic clock.
    last_part: AtomicU64,
    /// How long its answer may take from a part on.
    patience: Duration,
    due: Mutex<Option<Instant>>,
}

/// Its last part has gone on, and there are more to come.
const PASSING: u8 = 0;
/// Its next part has been asked for, and its sender is waited for.
const AWAITED: u8 = 1;
/// All of it has gone on.
const DONE: u8 = 2;

impl Progress {
    /// Parts so far.
    pub(super) fn parts(&self) -> u64 {
        self.parts.load(Ordering::Relaxed)
    }

    /// When its last part went on, by the clock; 0: there was none.
    pub(super) fn last_part(&self) -> Duration {
        Duration::from_millis(self.last_part.load(Ordering::Relaxed))
    }

    /// When its answer is due by its last part; `None`: there was none.
    pub(super) fn due(&self) -> Option<Instant> {
        *self.due.lock()
    }

    /// All of it has gone on.
    pub(super) fn is_done(&self) -> bool {
        self.state.load(Ordering::Relaxed) == DONE
    }

    /// Its sender is waited for, and nobody else.
    pub(super) fn is_awaited(&self) -> bool {
        self.state.load(Ordering::Relaxed) == AWAITED
    }

    /// Why its sender is at fault, where he is: too slow, too much, or gone.
    pub(super) fn broken(&self) -> Option<&Broken> {
        self.broken.get()
    }

    fn passed(&self, is_end: bool) {
        self.state.store(if is_end { DONE } else { PASSING }, Ordering::Relaxed);
        self.last_part.store(millis(self.clock.monotonic()), Ordering::Relaxed);
        // The timer's own word for when: the time itself is the clock's to tell.
        *self.due.lock() = Some(sleep(self.patience).deadline());
    }
}

/// A body within bounds.
pub(super) struct Flow<B> {
    inner: B,
    idle: Duration,
    left: u64,
    whose: Whose,
    deadline: Option<Deadline>,
}

/// Whose body it is.
enum Whose {
    /// A request's.
    Request(Arc<Progress>),
    /// An answer's that began before its request had ended, whose progress this is.
    EarlyAnswer(Arc<Progress>),
    /// Of no request that goes on.
    Other,
}

impl Whose {
    /// The progress that its parts count in.
    fn progress(&self) -> Option<&Progress> {
        match self {
            Self::Request(progress) | Self::EarlyAnswer(progress) => Some(progress),
            Self::Other => None,
        }
    }

    /// The same, where the body is the request's own.
    fn request(&self) -> Option<&Progress> {
        match self {
            Self::Request(progress) => Some(progress),
            Self::EarlyAnswer(_) | Self::Other => None,
        }
    }
}

/// When silence is enough.
struct Deadline {
    sleep: Pin<Box<Sleep>>,
    /// Parts of the call when it began.
    parts: u64,
}

impl<B: Body> Flow<B> {
    fn new(inner: B, idle: Duration, whose: Whose) -> Self {
        Self { inner, idle, left: u64::MAX, whose, deadline: None }
    }

    /// The body of an answer. Where it comes before its request has ended, the silence of either counts only while the other is silent too.
    pub(super) fn answering(inner: B, idle: Duration, request: &Arc<Progress>) -> Self {
        let whose = if request.is_done() { Whose::Other } else { Whose::EarlyAnswer(Arc::clone(request)) };
        Self::new(inner, idle, whose)
    }

    /// The body of a request.
    pub(super) fn watched(inner: B, bounds: &Bounds, clock: &Arc<dyn Clock>) -> (Self, Arc<Progress>) {
        let progress = Arc::new(Progress {
            parts: AtomicU64::default(),
            state: AtomicU8::new(if inner.is_end_stream() { DONE } else { PASSING }),
            broken: OnceLock::new(),
            clock: Arc::clone(clock),
            last_part: AtomicU64::default(),
            patience: bounds.timeout,
            due: Mutex::default(),
        });
        let flow = Self::new(inner, bounds.idle_timeout, Whose::Request(Arc::clone(&progress)));
        (Self { left: bounds.body, ..flow }, progress)
    }

    pub(super) fn inner(&self) -> &B {
        &self.inner
    }

    pub(super) fn into_inner(self) -> B {
        self.inner
    }

    /// Ready: it has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(progress) = self.whose.request() {
            progress.state.store(AWAITED, Ordering::Relaxed);
        }
        loop {
            let (idle, parts) = (self.idle, self.whose.progress().map_or(0, Progress::parts));
            let deadline = self.deadline.get_or_insert_with(|| Deadline { sleep: Box::pin(sleep(idle)), parts });
            ready!(deadline.sleep.as_mut().poll(cx));
            if deadline.parts == parts {
                return Poll::Ready(());
            }
            self.deadline = None;
        }
    }

    fn break_off(&self, broken: Broken) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(progress) = self.whose.request() {
            let _known_already = progress.broken.set(broken.clone());
        }
        Poll::Ready(Some(Err(broken)))
    }
}

impl Flow<super::Stream> {
    /// No body.
    pub(super) fn nothing() -> Self {
        Self::new(super::Stream::nothing(), Duration::ZERO, Whose::Other)
    }
}

impl<B: Body<Data = Bytes, Error = Broken> + Unpin> Body for Flow<B> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if polled.is_pending() {
            ready!(self.poll_silence(cx));
            return self.break_off(Broken::new(&"no further part of the body came within `gateway.idle_timeout`"));
        }
        self.deadline = None;
        match ready!(polled) {
            None => {
                if let Some(progress) = self.whose.request() {
                    progress.passed(true);
                }
                Poll::Ready(None)
            }
            Some(Err(broken)) => self.break_off(broken),
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    mere_trailers(trailers);
                }
                let length = frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
                let Some(left) = self.left.checked_sub(length) else {
                    return self.break_off(Broken::new(&"the body is longer than `gateway.body`"));
                };
                self.left = left;
                if let Some(progress) = self.whose.progress() {
                    progress.parts.fetch_add(1, Ordering::Relaxed);
                }
                if let Some(progress) = self.whose.request() {
                    progress.passed(self.inner.is_end_stream());
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
