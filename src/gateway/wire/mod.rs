//! HTTP/1.1 with a server of an API: one request after another on a connection that nobody but the waiting call drives.
//!
//! hyper's client runs each connection as a task of its own, so that a call wakes it, waits, and is woken by it; and it takes the head of
//! a request for good, so that a second try needs a copy. Here the call itself writes and reads. What is of the protocol
//! alone is PURE: `head` and `chunks`.
//!
//! Must not: open a connection, or decide what is sent again.

mod chunks;
mod head;
mod io;
mod reading;
mod sending;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{Method, Response, StatusCode, response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::task::coop::unconstrained;

use super::Stream;
use super::flow::Flow;
use super::request::{Asking, Unfit};
use crate::relay::ANSWER_HEAD;
use head::Answered;
pub(super) use head::line;
pub(super) use io::Io;
use reading::Rest;
pub(super) use reading::{End, Reading};
use sending::{Sending, Unsent};

/// Bytes that are read at once, where a head may come.
const PIECE: usize = 8 * 1024;
/// The same, of a body that is known to be long.
const LONG_PIECE: usize = 64 * 1024;

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    io: Io,
    /// What was read and is not used yet.
    read: BytesMut,
    /// Room for the next request: memory that was just used is at hand.
    room: Vec<u8>,
    /// When, by the monotonic clock.
    pub(super) opened: Duration,
}

/// An answer.
pub(super) enum Answer {
    /// All of it, and the connection where it can be used again.
    Whole(Response<Bytes>, Option<Wire>),
    /// Its head; the rest comes.
    Begun(response::Parts, Box<Reading>),
    /// Another protocol is spoken from here on.
    Switched(response::Parts, Wire),
}

/// Why there is none.
pub(super) enum NoAnswer {
    /// It may be sent again: nothing was sent, or it is safe (RFC 9110 section 9.2.1), without a body, and unanswered.
    NotSent(Flow<Stream>, Over, String),
    /// Its server has said that it did not look at it, and the body is gone.
    Unheard(String, Over),
    /// It may have been sent.
    Lost(String, Over),
    /// It cannot be sent.
    Unfit(Unfit),
}

/// What was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// This call alone, as far as one can know.
    Call,
    /// The whole connection.
    Connection,
    /// The same, by one answer of many that is none: this call's or another's.
    Answer,
}

impl Wire {
    /// Over a connection that was just opened.
    pub(super) fn new(io: Io, opened: Duration) -> Self {
        Self { io, read: BytesMut::new(), room: Vec::new(), opened }
    }

    /// Closes it so that its server hears of a failure.
    pub(super) fn break_off(self) {
        self.io.reset();
    }

    /// Whether nothing has come since the last answer: neither the end nor what nobody asked for.
    pub(super) fn is_idle(&mut self) -> bool {
        let mut byte = [0];
        let looked = poll_fn(|cx| Pin::new(&mut self.io).poll_read(cx, &mut ReadBuf::new(&mut byte)));
        // Without tokio's budget: once that is spent, by 128 that are dead, every other would seem to wait.
        unconstrained(looked).now_or_never().is_none() && self.read.is_empty()
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// There is no answer; the body of what may be sent again comes back.
    pub(super) async fn ask(self, asking: Asking<'_>, body: Flow<Stream>) -> Result<Answer, NoAnswer> {
        let head = asking.head;
        let is_head = head.method == Method::HEAD;
        let is_safe = head.method.is_safe() && body.is_end_stream();
        let interim = asking.interim;
        let (mut wire, mut is_heard) = (self, false);
        let sending = Sending::new(asking, body, std::mem::take(&mut wire.room));
        let mut sending = sending.map_err(NoAnswer::Unfit)?;
        let (answered, rest) = loop {
            let answered = poll_fn(|cx| wire.poll_answer(&mut sending, cx)).await;
            match answered {
                Ok(mut answered) => match answered.rest(is_head) {
                    Ok(Some(rest)) => break (answered, rest),
                    // The answer is still to come.
                    Ok(None) => {
                        is_heard = true;
                        if let Some(interim) = interim {
                            interim.pass(answered.parts);
                        }
                    }
                    Err(why) => return Err(NoAnswer::Lost(why.to_owned(), Over::Connection)),
                },
                Err(why) if sending.is_untouched() || is_safe && !is_heard && wire.read.is_empty() => {
                    return Err(NoAnswer::NotSent(sending.into_body(), Over::Connection, why));
                }
                Err(why) => return Err(NoAnswer::Lost(why, Over::Connection)),
            }
        };
        Ok(wire.answer(answered, rest, sending))
    }

    fn answer(mut self, answered: Answered, rest: Rest, sending: Sending) -> Answer {
        let is_kept = answered.is_kept;
        let parts = answered.parts;
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Answer::Switched(parts, self);
        }
        if let Rest::Length(length) = rest
            && let Ok(length) = usize::try_from(length)
            && length <= self.read.len()
            && sending.is_complete()
        {
            let body = Bytes::copy_from_slice(&self.read.split_to(length));
            let is_kept = is_kept && self.read.is_empty();
            let response = Response::from_parts(parts, body);
            return Answer::Whole(response, is_kept.then(|| self.emptied(sending.into_room())));
        }
        Answer::Begun(parts, Box::new(Reading::new(self, rest, sending, is_kept)))
    }

    /// Sends as far as that goes, and reads.
    fn poll_answer(&mut self, sending: &mut Sending, cx: &mut Context<'_>) -> Poll<Result<Answered, String>> {
        match sending.poll(&mut self.io, cx) {
            Poll::Ready(Err(Unsent::Body(why))) => return Poll::Ready(Err(why)),
            // Whoever stops listening may have answered.
            Poll::Ready(Err(Unsent::Refused(why))) if sending.is_untouched() => return Poll::Ready(Err(why)),
            Poll::Ready(Err(Unsent::Refused(_)) | Ok(())) | Poll::Pending => {}
        }
        loop {
            if !self.read.is_empty()
                && let Some(answered) = Answered::parse(&mut self.read)?
            {
                return Poll::Ready(Ok(answered));
            }
            if self.read.len() >= ANSWER_HEAD {
                return Poll::Ready(Err("the head of the answer is too long".to_owned()));
            }
            if ready!(self.poll_more(PIECE, cx))? == 0 {
                return Poll::Ready(Err("the connection closed before the answer was complete".to_owned()));
            }
        }
    }

    /// Reads more, at most so many bytes; 0: there is no more.
    fn poll_more(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<Result<usize, String>> {
        self.read.reserve(most);
        let more = std::pin::pin!(self.io.read_buf(&mut self.read)).poll(cx);
        more.map_err(|error| error.to_string())
    }

    /// For the next request, with no more memory than that is likely to need.
    fn emptied(mut self, room: Vec<u8>) -> Self {
        if self.read.capacity() > 2 * PIECE {
            self.read = BytesMut::new();
        }
        if room.capacity() <= PIECE {
            self.room = room;
        }
        self
    }
}

/// What was read before the protocol was switched comes first.
impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let length = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::coop::{consume_budget, has_budget_remaining};

    use super::*;

    #[test]
    fn a_connection_is_told_from_a_dead_one_by_whoever_has_done_much_in_this_turn_too() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let is_idle = |is_dead: bool| {
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let other = listener.accept().await.unwrap();
                if is_dead {
                    drop(other);
                    stream.readable().await.unwrap();
                }
                while has_budget_remaining() {
                    consume_budget().now_or_never();
                }
                Wire::new(Io::Clear(stream), Duration::ZERO).is_idle()
            })
        };
        assert_eq!((is_idle(false), is_idle(true)), (true, false));
    }
}
