//! The end of a connection over HTTP/2. Its client speaks all the while it reads: it opens windows, acknowledges, answers pings. Were the
//! connection closed before he has read the end of his last answer, the kernel would answer the next such word with a reset, and throw away
//! what it has not sent. So all is sent first, then the end is told, and he is heard out until he closes too.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::reset::Reset;
use crate::gateway::Flag;

/// How often it is looked whether all is sent; and so long whoever has heard the end may be silent.
const LOOK: Duration = Duration::from_secs(1);
/// For so many bytes he is heard out.
const HEARD_OUT: usize = 1 << 20;

/// A stream that is closed when its other side has read everything.
pub(super) struct Leaving<S> {
    stream: S,
    /// It is to end: once all is sent, nobody is listened to any more.
    leave: Flag,
    /// How long the end may take, all of it.
    patience: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    next_look: Option<Pin<Box<Sleep>>>,
    is_shut: bool,
    heard: usize,
}

impl<S> Leaving<S> {
    pub(super) fn new(stream: S, leave: Flag, patience: Duration) -> Self {
        Self { stream, leave, patience, deadline: None, next_look: None, is_shut: false, heard: 0 }
    }
}

impl<S: AsyncRead + Unpin> Leaving<S> {
    /// Reads what is there and forgets it. `Ready`: nothing more will come, or more than is listened to.
    fn poll_heard_out(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scrap = [0; 2048];
        while self.heard < HEARD_OUT {
            let mut more = ReadBuf::new(&mut scrap);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut more));
            match more.filled().len() {
                0 => break,
                _ if read.is_err() => break,
                length => self.heard += length,
            }
            self.next_look = None;
        }
        Poll::Ready(())
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
        let patience = this.patience;
        if this.deadline.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !this.is_shut && this.stream.has_sent_all() {
                ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
                this.is_shut = true;
            }
            if this.poll_heard_out(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            ready!(this.next_look.get_or_insert_with(|| Box::pin(sleep(LOOK))).as_mut().poll(cx));
            if this.is_shut {
                return Poll::Ready(Ok(()));
            }
            this.next_look = None;
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
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}
