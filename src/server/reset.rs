//! The end of a connection that is no end of what was said on it: the kernel tells it by a reset.

use std::task::{Context, Poll};

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What can be closed so that its other side hears of a failure.
pub(super) trait Reset {
    /// Whatever closes it from now on breaks it off.
    fn reset(&self);

    /// Ready: the other side has broken it off. Who has only shut his side has not: he may wait for an answer.
    fn poll_broken_off(&self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Reset for TcpStream {
    fn reset(&self) {
        let _closed_already = self.set_zero_linger();
    }

    fn poll_broken_off(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.poll_read_ready(cx) {
            Poll::Ready(Ok(())) if matches!(self.take_error(), Ok(None)) => Poll::Pending,
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Reset for TlsStream<TcpStream> {
    fn reset(&self) {
        self.get_ref().0.reset();
    }

    fn poll_broken_off(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.get_ref().0.poll_broken_off(cx)
    }
}
