//! Whoever is answered before he has said everything, and is still speaking. Were his connection closed, the kernel would answer with a reset, and what
//! he has not read by then of our last words would be lost to him (RFC 9112 section 9.6): most clients read when they have sent everything.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

/// For so many bytes, at least, he is listened to.
pub(super) const HEARD_OUT: usize = 1 << 20;
/// So long he may be silent, and so many times as long he is listened to in all.
const SILENCE: (Duration, u32) = (Duration::from_secs(5), 6);
/// Bytes that are read of him at once.
const SCRAP: usize = 16 << 10;

/// How he is heard out.
pub(super) struct Hearing {
    /// Bytes that are still listened to.
    left: usize,
    /// When his silence has been too long.
    silent: Option<Pin<Box<Sleep>>>,
    /// When he is not listened to any more.
    over: Option<Pin<Box<Sleep>>>,
}

impl Hearing {
    /// Of so many bytes.
    pub(super) fn of(bytes: usize) -> Self {
        Self { left: bytes, silent: None, over: None }
    }

    /// Reads on and forgets it. `Ready`: nothing more will come, or more than is listened to. `patience`: how long others may be silent.
    pub(super) fn poll_out(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        patience: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let silence = patience.min(SILENCE.0);
        if self.poll_over(silence * SILENCE.1, cx).is_ready() || self.poll_scraps(stream, cx).is_ready() {
            return Poll::Ready(());
        }
        self.poll_silent(silence, cx)
    }

    /// `Ready`: he has been listened to for so long in all.
    pub(super) fn poll_over(&mut self, all: Duration, cx: &mut Context<'_>) -> Poll<()> {
        self.over.get_or_insert_with(|| Box::pin(sleep(all))).as_mut().poll(cx)
    }

    /// Reads what is there and forgets it. `Ready`: nothing more will come, or more than is listened to.
    pub(super) fn poll_scraps(&mut self, stream: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<()> {
        let mut scrap = [0; SCRAP];
        while self.left > 0 {
            let mut more = ReadBuf::new(&mut scrap);
            let _the_end_too = ready!(Pin::new(&mut *stream).poll_read(cx, &mut more));
            let length = more.filled().len();
            if length == 0 {
                break;
            }
            self.left = self.left.saturating_sub(length);
            self.silent = None;
        }
        Poll::Ready(())
    }

    /// `Ready`: he has been silent for so long, since he was heard or this was told.
    pub(super) fn poll_silent(&mut self, silence: Duration, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.silent.get_or_insert_with(|| Box::pin(sleep(silence))).as_mut().poll(cx));
        self.silent = None;
        Poll::Ready(())
    }
}
