//! The end of a connection over HTTP/2. Its client speaks all the while it reads: it opens windows, acknowledges, answers pings. Were the
//! connection closed before he has read the end of his last answer, the kernel would answer the next such word with a reset, and throw away
//! what it has not sent. So all is sent first, then the end is told, and he is heard out until he closes too.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::poll_proceed;

use super::hearing::{HEARD_OUT, Hearing};
use super::reset::Reset;
use crate::gateway::Flag;

/// How often it is looked whether all is sent; and so long whoever has heard the end may be silent.
const LOOK: Duration = Duration::from_secs(1);

/// So many bytes cost a connection one of the 128 steps that tokio gives it until others have their turn. They may be frames that ask for nothing,
/// hundreds of them in what is read in one step, and nobody else counts those.
const STEP: usize = 256;

/// A stream that is closed when its other side has read everything.
pub(super) struct Leaving<S> {
    stream: S,
    /// It is to end: once all is sent, nobody is listened to any more.
    leave: Flag,
    /// How long the end may take, all of it.
    patience: Duration,
    is_shut: bool,
    hearing: Hearing,
}

impl<S> Leaving<S> {
    pub(super) fn new(stream: S, leave: Flag, patience: Duration) -> Self {
        Self { stream, leave, patience, is_shut: false, hearing: Hearing::of(HEARD_OUT) }
    }
}

impl<S: Reset + AsyncRead + AsyncWrite + Unpin> AsyncWrite for Leaving<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.hearing.poll_over(this.patience, cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !this.is_shut && this.stream.has_sent_all() {
                ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
                this.is_shut = true;
            }
            if this.hearing.poll_scraps(&mut this.stream, cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            ready!(this.hearing.poll_silent(LOOK, cx));
            if this.is_shut {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl<S: Reset + AsyncRead + Unpin> AsyncRead for Leaving<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.leave.is_set() && self.stream.has_sent_all() {
            // For whoever reads here this is the end.
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        for _ in 0..buffer.filled().len().saturating_sub(before) / STEP {
            let Poll::Ready(one) = poll_proceed(cx) else { break };
            one.made_progress();
        }
        read
    }
}
