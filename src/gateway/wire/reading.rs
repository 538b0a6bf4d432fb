//! The body of an answer, as it comes from the server. What is left of the request goes on at the same time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::chunks::{Chunks, Piece};
use super::sending::{Sending, Unsent};
use super::{LONG_PIECE, PIECE, Wire};
use crate::gateway::flow::Broken;

/// What is still to come of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// So many bytes; 0: nothing, or no more.
    Length(u64),
    /// Chunks.
    Chunked(Chunks),
    /// All until the server closes.
    UntilClose,
}

/// The rest of an answer.
pub(in super::super) struct Reading {
    wire: Wire,
    rest: Rest,
    sending: Sending,
    is_kept: bool,
}

impl Reading {
    pub(super) fn new(wire: Wire, rest: Rest, sending: Sending, is_kept: bool) -> Self {
        let is_kept = is_kept && rest != Rest::UntilClose;
        Self { wire, rest, sending, is_kept }
    }

    /// The connection, where it can be used again: both bodies have passed whole, and nothing more has come.
    pub(in super::super) fn end(self: Box<Self>) -> End {
        if !self.is_end_stream() {
            return End::Closed;
        }
        if !self.sending.is_complete() {
            return End::Unsent(self);
        }
        if self.is_kept && self.wire.read.is_empty() {
            End::Kept(self.wire.emptied(self.sending.into_room()))
        } else {
            End::Closed
        }
    }

    /// Whether the rest of a request is not wanted: what its server says is the last that it says on this connection.
    pub(in super::super) fn is_last_word(&self) -> bool {
        !self.sending.is_complete() && (!self.is_kept || self.sending.is_refused())
    }

    /// Sends the rest of a request that was answered before it was sent whole: its server may still want it.
    pub(in super::super) async fn send_rest(&mut self) {
        drop(poll_fn(|cx| self.sending.poll(&mut self.wire.io, cx)).await);
    }

    /// Sends on while the answer comes. Whoever does not listen any more may answer all the same.
    fn send_on(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        match self.sending.poll(&mut self.wire.io, cx) {
            Poll::Ready(Err(Unsent::Body(why))) => Err(Broken::new(&why)),
            Poll::Ready(Err(Unsent::Refused(_)) | Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn next(&mut self) -> Result<Option<Piece>, &'static str> {
        let read = &mut self.wire.read;
        let here = match &mut self.rest {
            Rest::Length(0) => return Ok(Some(Piece::End(None))),
            Rest::Chunked(chunks) => return chunks.next(read),
            Rest::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= u64::try_from(here).unwrap_or_default();
                here
            }
            Rest::UntilClose => read.len(),
        };
        Ok((here > 0).then(|| Piece::Data(read.split_to(here).freeze())))
    }

    /// Bytes to read at once.
    fn most(&self) -> usize {
        match self.rest {
            Rest::Length(left) => usize::try_from(left).unwrap_or(LONG_PIECE).clamp(PIECE, LONG_PIECE),
            Rest::Chunked(_) | Rest::UntilClose => LONG_PIECE / 2,
        }
    }
}

impl Body for Reading {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if !self.sending.is_complete() {
            self.send_on(cx)?;
        }
        loop {
            match self.next() {
                Ok(Some(Piece::Data(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Some(Piece::End(said))) => {
                    self.rest = Rest::Length(0);
                    return Poll::Ready(said.map(|said| Ok(Frame::trailers(said))));
                }
                Ok(None) => {}
                Err(why) => return Poll::Ready(Some(Err(Broken::new(&why)))),
            }
            let most = self.most();
            match ready!(self.wire.poll_more(most, cx)) {
                Ok(0) if self.rest == Rest::UntilClose && !self.sending.is_reset() => {
                    self.rest = Rest::Length(0);
                    return Poll::Ready(None);
                }
                Ok(0) => return Poll::Ready(Some(Err(Broken::new(&"the answer broke off")))),
                Ok(_) => {}
                Err(why) => return Poll::Ready(Some(Err(Broken::new(&why)))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest == Rest::Length(0)
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest {
            Rest::Length(left) => SizeHint::with_exact(left),
            Rest::Chunked(_) | Rest::UntilClose => SizeHint::default(),
        }
    }
}

/// What becomes of a connection whose answer has been passed on.
pub(in super::super) enum End {
    /// It takes another request.
    Kept(Wire),
    /// The answer came before the request was sent whole.
    Unsent(Box<Reading>),
    /// Nothing more can be done with it.
    Closed,
}
