//! What a connection can be asked and told beyond its bytes. The end of one that is no end of what was said on it: the kernel tells it by a reset.

use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What can be closed so that its other side hears of a failure, and knows how far it has sent.
pub(super) trait Reset {
    /// What lies beneath everything that wraps it.
    fn socket(&self) -> &TcpStream;

    /// Whatever closes it from now on breaks it off.
    fn reset(&self) {
        let _closed_already = self.socket().set_zero_linger();
    }

    /// Ready: the other side has broken it off. Who has only shut his side has not: he may wait for an answer.
    fn poll_broken_off(&self, cx: &mut Context<'_>) -> Poll<()> {
        let socket = self.socket();
        match socket.poll_read_ready(cx) {
            Poll::Ready(Ok(())) if matches!(socket.take_error(), Ok(None)) => Poll::Pending,
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Has the kernel take no more than about so many bytes beyond what the line takes.
    fn keep_ahead(&self, bytes: u32) {
        let _as_much_as_ever = SockRef::from(self.socket()).set_tcp_notsent_lowat(bytes);
    }

    /// Whether all that was written is sent, and at most on its way. From the first question on nothing is taken ahead of the line.
    fn has_sent_all(&self) -> bool {
        // So it is writable where no byte waits; and where it has failed.
        self.keep_ahead(1);
        let mut asked = [PollFd::new(self.socket(), PollFlags::OUT)];
        poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|writable| writable > 0)
    }
}

impl Reset for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Reset for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_a_slow_line_does_not_take_waits_with_us_and_it_is_seen_when_all_is_sent() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut reader = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = listener.accept().unwrap().0;
        stream.set_nonblocking(true).unwrap();
        let stream = TcpStream::from_std(stream).unwrap();
        stream.keep_ahead(16 << 10);
        assert!(stream.has_sent_all(), "nothing was written");
        stream.keep_ahead(16 << 10);
        runtime.block_on(stream.writable()).unwrap();
        let mut written = 0;
        while let Ok(more) = stream.try_write(&[b'x'; 16 << 10]) {
            written += more;
        }
        // The kernel would take some megabytes.
        assert!((64 << 10..1 << 20).contains(&written), "{written}");
        assert!(!stream.has_sent_all(), "nobody reads");
        reader.read_exact(&mut vec![0; written]).unwrap();
        assert!(stream.has_sent_all());
    }
}
