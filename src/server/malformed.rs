//! A connection's writing side: what is no HTTP gets the dialect's words too, who stops reading is cut off, and what was cut looks so.
//!
//! Hyper refuses such bytes by itself, with an empty answer, before any handler of ours is asked, and offers no place to say
//! anything else. So the writing side looks for that empty answer, which no handler of ours ever gives, and puts the dialect's in
//! its place. An API or the old server may give it, in its head or in its body: so while one speaks, nothing is looked for ([`Turn`]).

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use super::hearing::{HEARD_OUT, Hearing};
use super::legacy::Malformed;
use super::reset::Reset;
use crate::gateway::{Flag, Switch};

/// How hyper's own refusals go on behind their status line.
const EMPTY: &[u8] = b"\r\nContent-Length: 0\r\n";
/// What stands before that, unless the request before was of HTTP/1.0, whose version hyper keeps to.
const CLOSE: &[u8] = b"\r\nConnection: close";
/// How they begin, behind the version. Nothing else stands between, as it does in every answer of a handler.
const STATUS: [(&[u8], Malformed); 3] = [
    (b" 400 Bad Request", Malformed::Unreadable),
    (b" 414 URI Too Long", Malformed::Target),
    (b" 431 Request Header Fields Too Large", Malformed::Head),
];
const VERSIONS: [&[u8]; 2] = [b"HTTP/1.1", b"HTTP/1.0"];
/// Looks for it in every answer; made once.
static FIND_EMPTY: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(EMPTY));
const HEAD_END: &[u8] = b"\r\n\r\n";
/// So many bytes are cheaper copied together than written in pieces.
const SHORT: usize = 2048;
/// Makes the whole answer to bytes that are no HTTP, for the peer that sent them.
#[derive(Clone)]
pub struct Refuse(pub Arc<dyn Fn(IpAddr, Malformed) -> Vec<u8> + Send + Sync>);

impl fmt::Debug for Refuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refuse")
    }
}

/// Whose words a connection carries: hyper's own, unless somebody else has taken the turn.
#[derive(Clone, Debug, Default)]
pub struct Turn(Arc<Words>);

#[derive(Debug, Default)]
struct Words {
    whose: AtomicU8,
    /// How far the last request has come.
    request: AtomicU8,
    /// They were said before their caller had said everything, and he is not listened to any more.
    cut_short: Flag,
    /// Nothing but the end of the connection tells theirs.
    to_the_close: AtomicBool,
    /// Their caller has been waiting for long.
    waiting: Flag,
    switch: Switch,
}

/// What is written, if anything is, comes from hyper.
const FREE: u8 = 0;
/// Somebody else's answer is under way.
const TAKEN: u8 = 1;
/// It has been handed over whole, and is not all written yet.
const ENDED: u8 = 2;

/// None is here whole, or the last one's answer is written.
const NONE: u8 = 0;
/// Somebody looks for an answer.
const ASKED: u8 = 1;
/// It is found, and not all written yet.
const ANSWERED: u8 = 2;

impl Turn {
    /// A request is here, its head whole.
    pub(super) fn asked(&self) {
        self.0.request.store(ASKED, Ordering::Relaxed);
    }

    /// It has an answer, of which hyper begins to write at once.
    pub(super) fn answered(&self) {
        self.0.request.store(ANSWERED, Ordering::Relaxed);
    }

    /// Whether somebody waits here for the rest of an answer, or is heard out behind it.
    pub(super) fn is_asked(&self) -> bool {
        self.0.request.load(Ordering::Relaxed) != NONE || self.unread().is_set()
    }

    /// Somebody else speaks, until the body that [`Turn::until_end_of`] wraps has ended.
    pub(super) fn take(&self) {
        self.0.whose.store(TAKEN, Ordering::Relaxed);
        // Hyper has passed over what was left of the request before.
        self.0.cut_short.set(false);
    }

    /// Gives the turn back behind this body.
    pub(super) fn until_end_of<B>(self, body: B) -> Speech<B> {
        Speech { body, turn: self, is_bare: false }
    }

    /// What is said now is the last of this connection, and its caller may still be speaking.
    pub(super) fn cuts_short(&self) {
        self.0.cut_short.set(true);
    }

    /// The same, for whoever holds the body of a request.
    pub(super) fn unread(&self) -> &Flag {
        &self.0.cut_short
    }

    /// For whoever works on what is said next.
    pub(super) fn waiting(&self) -> &Flag {
        &self.0.waiting
    }

    /// Who may have the connection behind an answer.
    pub(super) fn switch(&self) -> &Switch {
        &self.0.switch
    }

    /// What is said now goes on until the connection is closed: to an HTTP/1.0 client, where no length is told.
    pub(super) fn goes_to_the_close(&self) {
        self.0.to_the_close.store(true, Ordering::Relaxed);
    }

    fn written(&self) {
        if self.0.whose.load(Ordering::Relaxed) == ENDED {
            self.0.whose.store(FREE, Ordering::Relaxed);
        }
        if self.is_free() && self.0.request.load(Ordering::Relaxed) == ANSWERED {
            self.0.request.store(NONE, Ordering::Relaxed);
        }
    }

    fn is_free(&self) -> bool {
        self.0.whose.load(Ordering::Relaxed) == FREE
    }
}

/// The body of an answer that has the turn.
pub(super) struct Speech<B> {
    body: B,
    turn: Turn,
    is_bare: bool,
}

impl<B> Speech<B> {
    /// Keeps the length that its head tells, though there is no body: where hyper knows of none it takes that away, and where it may
    /// still come hyper writes it. To be said only of an answer that has no body whatever it tells.
    pub(super) fn bare(mut self) -> Self {
        self.is_bare = true;
        self
    }
}

impl<B> Drop for Speech<B> {
    fn drop(&mut self) {
        self.turn.0.whose.store(ENDED, Ordering::Relaxed);
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Speech<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        !self.is_bare && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_bare { SizeHint::default() } else { self.body.size_hint() }
    }
}

/// A stream that speaks the dialect where hyper would speak for itself, to nobody who does not listen.
pub(super) struct Spoken<S: Reset> {
    stream: S,
    refuse: Option<(Refuse, IpAddr)>,
    turn: Turn,
    /// What hyper believes to be written already.
    pending: Vec<u8>,
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
        if !self.is_shut && self.turn.0.to_the_close.load(Ordering::Relaxed) {
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

    /// The dialect's words in place of hyper's, where it is hyper that speaks.
    fn replacement(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (refuse, peer) = self.refuse.as_ref().filter(|_| self.turn.is_free())?;
        replaced(bytes, |why| refuse.0(*peer, why))
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

/// The bytes with hyper's own refusal replaced; `None`: there is none among them.
fn replaced(bytes: &[u8], refuse: impl FnOnce(Malformed) -> Vec<u8>) -> Option<Vec<u8>> {
    let empty = FIND_EMPTY.find(bytes)?;
    let before = bytes.get(..empty)?;
    let before = before.strip_suffix(CLOSE).unwrap_or(before);
    let (before, why) = STATUS.iter().find_map(|(status, why)| Some((before.strip_suffix(*status)?, *why)))?;
    let before = VERSIONS.iter().find_map(|version| before.strip_suffix(*version))?;
    let end = empty + memmem::find(bytes.get(empty..)?, HEAD_END)? + HEAD_END.len();
    Some([before, &refuse(why), bytes.get(end..)?].concat())
}

impl<S: Reset + AsyncRead + AsyncWrite + Unpin> AsyncWrite for Spoken<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(cx))?;
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
        ready!(self.poll_pending(cx))?;
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
        ready!(self.poll_pending(cx))?;
        // Hyper flushes at every turn, and reads nothing while an answer is awaited.
        if self.turn.waiting().is_set() && self.stream.poll_broken_off(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let tried = Pin::new(&mut self.stream).poll_flush(cx);
        ready!(self.in_time(tried, cx))?;
        // Hyper flushes when it has written all that it holds.
        self.turn.written();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_hypers_own_is_replaced_and_what_stands_before_it_is_kept() {
        let refuse = |why| if why == Malformed::Head { b"SPOKEN".to_vec() } else { Vec::new() };
        let empty = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\nDate: x\r\n\r\n";
        assert_eq!(replaced(empty, refuse).unwrap(), b"SPOKEN");
        let old = b"HTTP/1.0 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nDate: x\r\n\r\n";
        assert_eq!(replaced(old, refuse).unwrap(), b"SPOKEN");
        let good = b"HTTP/1.1 400 Bad Request\r\nContent-Type: x\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(replaced(good, refuse), None);
        let passed = b"HTTP/1.1 400 Bad Request\r\nX-Ca-Err: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(replaced(passed, refuse), None, "an old server's empty answer");
        assert_eq!(
            replaced(&[good.as_slice(), empty].concat(), refuse).unwrap(),
            [good.as_slice(), b"SPOKEN"].concat()
        );
    }

    #[test]
    fn whoever_is_heard_out_behind_his_last_answer_has_asked_for_something() {
        let turn = Turn::default();
        assert!(!turn.is_asked());
        turn.cuts_short();
        assert!(turn.is_asked());
        turn.written();
        assert!(turn.is_asked(), "until the connection ends");
    }
}
