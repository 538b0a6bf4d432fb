//! What is no HTTP gets the dialect's words too.
//!
//! Hyper refuses such bytes by itself, with an empty answer, before any handler of ours is asked, and offers no place to say
//! anything else. So a connection's writing side looks for that empty answer, which no handler of ours ever gives, and puts
//! the dialect's in its place.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How hyper's own refusals go on behind their status line.
const EMPTY: &[u8] = b"\r\nConnection: close\r\nContent-Length: 0\r\n";
const STATUS: &[u8] = b"HTTP/1.1 4";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Makes the whole answer to bytes that are no HTTP, for the peer that sent them.
#[derive(Clone)]
pub struct Refuse(pub Arc<dyn Fn(IpAddr) -> Vec<u8> + Send + Sync>);

impl fmt::Debug for Refuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refuse")
    }
}

/// A stream that speaks the dialect where hyper would speak for itself.
pub(super) struct Spoken<S> {
    stream: S,
    refuse: Option<(Refuse, IpAddr)>,
    /// What hyper believes to be written already.
    pending: Vec<u8>,
}

impl<S> Spoken<S> {
    pub(super) fn new(stream: S, refuse: Option<Refuse>, peer: IpAddr) -> Self {
        Self { stream, refuse: refuse.map(|refuse| (refuse, peer)), pending: Vec::new() }
    }
}

impl<S: AsyncWrite + Unpin> Spoken<S> {
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.pending))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

/// The bytes with hyper's own refusal replaced; `None`: there is none among them.
fn replaced(bytes: &[u8], refuse: impl FnOnce() -> Vec<u8>) -> Option<Vec<u8>> {
    let empty = memmem::find(bytes, EMPTY)?;
    let begin = memmem::rfind(bytes.get(..empty)?, STATUS)?;
    let end = empty + memmem::find(bytes.get(empty..)?, HEAD_END)? + HEAD_END.len();
    Some([bytes.get(..begin)?, &refuse(), bytes.get(end..)?].concat())
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Spoken<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(cx))?;
        if let Some(spoken) = self.refuse.as_ref().and_then(|(refuse, peer)| replaced(bytes, || refuse.0(*peer))) {
            self.pending = spoken;
            // What does not go out now goes out with the flush, which always follows.
            if let Poll::Ready(Err(error)) = self.poll_pending(cx) {
                return Poll::Ready(Err(error));
            }
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Spoken<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_hypers_own_is_replaced_and_what_stands_before_it_is_kept() {
        let refuse = || b"SPOKEN".to_vec();
        let empty = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\nDate: x\r\n\r\n";
        assert_eq!(replaced(empty, refuse).unwrap(), b"SPOKEN");
        let good = b"HTTP/1.1 400 Bad Request\r\nContent-Type: x\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(replaced(good, refuse), None);
        assert_eq!(
            replaced(&[good.as_slice(), empty].concat(), refuse).unwrap(),
            [good.as_slice(), b"SPOKEN"].concat()
        );
    }
}
