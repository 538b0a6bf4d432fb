//! A connection's writing side: what is no HTTP gets the dialect's words too, who stops reading is cut off, and what was cut looks so.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use super::hearing::{HEARD_OUT, Hearing};
use super::malformed::Refuse;
use super::reset::Reset;
use super::turn::Turn;

/// So many bytes are cheaper copied together than written in pieces.
const SHORT: usize = 2048;

/// A stream that speaks the dialect where hyper would speak for itself, to nobody who does not listen.
pub(super) struct Spoken<S: Reset> {
    stream: S,
    refuse: Option<(Refuse, IpAddr)>,
    turn: Turn,
    /// What hyper believes to be written already, or knows nothing of.
    pending: Vec<u8>,
    /// All is written that was said so far, and the last request has no answer: what is said before that has its place here.
    is_before: bool,
    /// How long the other side may take nothing.
    patience: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    in_pieces: bool,
    /// Nothing more is said.
    is_shut: bool,
    hearing: Hearing,
    /// What it counts as, where it may outlive whoever serves it.
    _permit: Option<OwnedSemaphorePermit>,
}

impl<S: Reset> Drop for Spoken<S> {
    /// An answer that was not said to its end is not to look as if it were.
    fn drop(&mut self) {
        if !self.is_shut && self.turn.is_to_the_close() {
            self.stream.reset();
        }
    }
}

impl<S: Reset> Reset for Spoken<S> {
    fn socket(&self) -> &TcpStream {
        self.stream.socket()
    }
}

impl<S: Reset> Spoken<S> {
    /// `permit`: it counts as an open connection to its end, for a tunnel goes on when its connection is served.
    pub(super) fn new(
        stream: S,
        (refuse, peer): (Option<Refuse>, IpAddr),
        turn: Turn,
        patience: Duration,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let refuse = refuse.map(|refuse| (refuse, peer));
        Self {
            stream,
            refuse,
            turn,
            pending: Vec::new(),
            is_before: false,
            patience,
            deadline: None,
            in_pieces: false,
            is_shut: false,
            hearing: Hearing::of(HEARD_OUT),
            _permit: permit,
        }
    }

    /// Has what is written come in pieces where it is written in pieces, so that long ones need not be copied together.
    pub(super) fn in_pieces(mut self) -> Self {
        self.in_pieces = true;
        self
    }

    /// Hears so many bytes of whoever was cut short.
    pub(super) fn hears_out(mut self, bytes: usize) -> Self {
        self.hearing = Hearing::of(bytes);
        self
    }

    /// What was tried, unless it has been waited for too long.
    fn in_time<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.deadline = None;
            return polled;
        }
        let patience = self.patience;
        ready!(self.deadline.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: Reset + AsyncWrite + Unpin> Spoken<S> {
    /// Writes what is pending.
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let tried = Pin::new(&mut self.stream).poll_write(cx, &self.pending);
            let written = ready!(self.in_time(tried, cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// The same, and what an API has said before its answer. Where bytes of the answer before are still to come nothing is put among them.
    fn poll_before(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        if let Some(interim) = self.is_before.then(|| self.turn.interim().take()).flatten() {
            self.pending = interim;
        }
        self.poll_pending(cx)
    }

    /// The dialect's words in place of hyper's, where it is hyper that speaks.
    fn replacement(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (refuse, peer) = self.refuse.as_ref().filter(|_| self.turn.is_free())?;
        refuse.replaced(bytes, *peer)
    }
}

impl<S: Reset + AsyncRead + AsyncWrite + Unpin> AsyncWrite for Spoken<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_before(cx))?;
        self.is_before = false;
        if let Some(spoken) = self.replacement(bytes) {
            self.turn.cuts_short();
            self.pending = spoken;
            // What does not go out now goes out with the flush, which always follows.
            if let Poll::Ready(Err(error)) = self.poll_pending(cx) {
                return Poll::Ready(Err(error));
            }
            return Poll::Ready(Ok(bytes.len()));
        }
        let tried = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(tried, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.turn.is_free() {
            // Hyper's own words are all in one piece.
            let first = pieces.iter().find(|piece| !piece.is_empty());
            return self.poll_write(cx, first.map_or(&[], |piece| piece));
        }
        ready!(self.poll_before(cx))?;
        self.is_before = false;
        let tried = match together(pieces, &mut [0; SHORT]) {
            Some(short) => Pin::new(&mut self.stream).poll_write(cx, short),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, pieces),
        };
        self.in_time(tried, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.in_pieces && self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_before(cx))?;
        // Hyper flushes at every turn, and reads nothing while an answer is awaited.
        if self.turn.waiting().is_set() && self.stream.poll_broken_off(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let tried = Pin::new(&mut self.stream).poll_flush(cx);
        ready!(self.in_time(tried, cx))?;
        // Hyper flushes when it has written all that it holds.
        self.turn.written();
        self.is_before = self.turn.is_before_an_answer();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(self.poll_pending(cx))?;
            let tried = Pin::new(&mut self.stream).poll_shutdown(cx);
            ready!(self.in_time(tried, cx))?;
            self.is_shut = true;
        }
        let this = &mut *self;
        if this.turn.unread().is_set() {
            ready!(this.hearing.poll_out(&mut this.stream, this.patience, cx));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Reset + AsyncRead + Unpin> AsyncRead for Spoken<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

/// Pieces copied together, where there are several and they are short.
fn together<'r>(pieces: &[io::IoSlice<'_>], room: &'r mut [u8; SHORT]) -> Option<&'r [u8]> {
    let mut filled = 0;
    for piece in pieces {
        let end = filled + piece.len();
        room.get_mut(filled..end)?.copy_from_slice(piece);
        filled = end;
    }
    room.get(..filled)
}
