//! HTTP/2 beside HTTP/1.1 on one port: who speaks it begins with its preface (RFC 9113 section 3.4).

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::answer::{Answering, Peer};
use super::connection::{ConnectionLimits, Serving, permit};
use super::leaving::Leaving;
use super::reset::Reset;
use super::spoken::Spoken;
use crate::gateway::Flag;
use crate::lifecycle::Tasks;

const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Requests at once on one connection.
const STREAMS: u32 = 256;
/// Requests that were begun, given up by their client, and not looked at yet; a connection with more is closed (CVE-2023-44487).
const RESETS: usize = 20;
/// Requests that we had to give up because they were none; a connection with more is closed (CVE-2025-8671).
const ERRORS: usize = 128;
/// So many times the bytes of a head are read that are served: what is longer than that is refused by our own words, and what is longer
/// than this by those of `h2` (docs/adr/0010).
const READ_TO_REFUSE: u32 = 2;
/// Bytes of a request's body that may lie unread here. Each of those requests has as much: one whose API does not read is not to hold up another.
const WINDOW: u32 = 128 << 10;
/// Bytes of an answer that may wait for its client here.
const SEND_BUFFER: usize = 64 << 10;
/// Bytes that the kernel takes of answers beyond what the line takes. More would wait there unseen, and a ping behind it.
const AHEAD: u32 = 128 << 10;
/// So long a client that was told to go may take to say that it has heard, once nothing is under way and all is sent.
const GOING: Duration = Duration::from_secs(1);
/// How often a connection is asked whether it is still there, and how long it may take at least to say so.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// A stream with what was read of it put back before it.
pub(super) struct Rewound<S> {
    read: [u8; PREFACE.len()],
    /// Of those, what is not handed out yet.
    left: std::ops::Range<usize>,
    stream: S,
}

/// Reads as far as it takes to know whether HTTP/2 is spoken.
///
/// # Errors
/// The stream fails.
pub(super) async fn listened<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(bool, Rewound<S>)> {
    let (mut read, mut length) = ([0; PREFACE.len()], 0);
    while let Some(open) = read.get_mut(length..).filter(|open| !open.is_empty()) {
        let more = stream.read(open).await?;
        length += more;
        if more == 0 || read.get(..length) != PREFACE.get(..length) {
            break;
        }
    }
    Ok((read == PREFACE, Rewound { read, left: 0..length, stream }))
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let end = self.left.end.min(self.left.start + buffer.remaining());
        let now = self.left.start..end;
        if now.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        buffer.put_slice(self.read.get(now).unwrap_or_default());
        self.left.start = end;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl<S: Reset> Reset for Rewound<S> {
    fn socket(&self) -> &TcpStream {
        self.stream.socket()
    }
}

/// The requests of one connection, as an extension of each of them.
#[derive(Debug)]
pub(super) struct Streams {
    begun: AtomicU64,
    open: AtomicUsize,
    /// Each costs what a connection of its own would, and counts as one.
    permits: Arc<Semaphore>,
    spared: usize,
}

/// A request that somebody still works for, or whose answer is still on its way.
pub(super) struct OpenStream {
    streams: Arc<Streams>,
    _permit: OwnedSemaphorePermit,
}

impl Streams {
    /// A request is here.
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// `None`: there are too many, over all connections.
    pub(super) fn open(self: &Arc<Self>) -> Option<OpenStream> {
        let permit = permit(&self.permits, self.spared)?;
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(OpenStream { streams: Arc::clone(self), _permit: permit })
    }

    fn is_idle(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes of a head as HTTP/2 counts them (RFC 9113 section 6.5.2), pseudo-headers but for the path left out.
pub(super) fn head_bytes(uri: &http::Uri, headers: &http::HeaderMap) -> usize {
    const EACH: usize = 32;
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + EACH).sum::<usize>() + path
}

/// Serves a connection that speaks HTTP/2.
pub(super) async fn serve(
    stream: impl Reset + AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    serving: &Serving,
    tasks: &Tasks,
) {
    let limits = &serving.limits;
    stream.keep_ahead(AHEAD);
    let stream = Spoken::new(stream, (None, peer.address), peer.turn.clone(), limits.unread_timeout, None);
    let leave = Flag::default();
    let stream = Leaving::new(stream, leave.clone(), limits.unread_timeout);
    let permits = Arc::clone(&serving.permits);
    let (begun, open, spared) = (AtomicU64::default(), AtomicUsize::default(), serving.spared);
    let streams = Arc::new(Streams { begun, open, permits, spared });
    let answers = serving.answers.clone();
    let answering = Arc::new(Answering { answers, peer, streams: Some(Arc::clone(&streams)) });
    let http = builder(limits, tasks);
    let mut connection =
        pin!(http.serve_connection(TokioIo::new(stream), service_fn(|request| Arc::clone(&answering).answer(request))));
    loop {
        let (before, was_idle) = (streams.begun.load(Ordering::Relaxed), streams.is_idle());
        tokio::select! {
            _ended = connection.as_mut() => return,
            () = tasks.stop().cancelled() => break,
            () = sleep(limits.head_timeout) => if was_idle && streams.begun.load(Ordering::Relaxed) == before { break },
        }
    }
    // What is under way is finished; a stream that nobody works for any more holds nothing up.
    connection.as_mut().graceful_shutdown();
    let mut was_idle = streams.is_idle();
    while timeout(GOING, connection.as_mut()).await.is_err() {
        let is_idle = streams.is_idle();
        leave.set(was_idle && is_idle);
        was_idle = is_idle;
    }
}

fn builder(limits: &ConnectionLimits, tasks: &Tasks) -> http2::Builder<Tasks> {
    let mut http = http2::Builder::new(tasks.clone());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX).saturating_mul(READ_TO_REFUSE))
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(ERRORS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(STREAMS * WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(Some(PING.0))
        // Who may leave an answer unread for so long may not have read this either: most clients read all streams as one.
        .keep_alive_timeout(PING.1.max(limits.unread_timeout));
    http
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use hyper::rt::{Sleep, Timer};
    use parking_lot::Mutex;
    use tokio::io::AsyncWriteExt;
    use tokio_util::sync::CancellationToken;

    use super::*;

    async fn heard(said: &'static [u8]) -> (bool, Vec<u8>) {
        let (is_http2, mut stream) = listened(said).await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        (is_http2, all)
    }

    /// A clock that is turned to the end of whatever somebody waits for.
    #[derive(Clone)]
    struct Turned(Arc<Mutex<Instant>>);

    impl Timer for Turned {
        fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
            self.sleep_until(self.now() + duration)
        }

        fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
            Box::pin(Turning(self.clone(), deadline))
        }

        fn now(&self) -> Instant {
            *self.0.lock()
        }
    }

    struct Turning(Turned, Instant);

    impl Sleep for Turning {}

    impl Future for Turning {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            let mut now = self.0.0.lock();
            *now = self.1.max(*now);
            Poll::Ready(())
        }
    }

    /// How long a client is served that answers no ping.
    async fn served(unread_timeout: Duration) -> Duration {
        let (head_timeout, head_bytes, headers) = (Duration::from_secs(1), 16 * 1024, 100);
        let limits = ConnectionLimits { head_timeout, head_bytes, headers, unread_timeout, heard_out: 0 };
        let (mut client, stream) = tokio::io::duplex(1 << 16);
        client.write_all(&[&PREFACE[..], b"\0\0\0\x04\0\0\0\0\0"].concat()).await.unwrap();
        let began = sleep(Duration::ZERO).deadline().into_std();
        let timer = Turned(Arc::new(Mutex::new(began)));
        let mut http = builder(&limits, &Tasks::new(CancellationToken::new()));
        let answer = service_fn(|_| std::future::pending::<Result<http::Response<String>, io::Error>>());
        let _cut = http.timer(timer.clone()).serve_connection(TokioIo::new(stream), answer).await;
        timer.now() - began
    }

    #[test]
    fn a_client_has_as_long_for_a_ping_as_for_an_answer_that_it_leaves_unread() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for (unread, patience) in [(1, 20), (60, 60), (600, 600)] {
            let served = runtime.block_on(served(Duration::from_secs(unread)));
            assert_eq!(served.as_secs(), 30 + patience, "{unread} s may pass");
        }
    }

    #[test]
    fn the_preface_tells_and_nothing_of_what_was_read_is_lost() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for (said, is_http2) in [
                (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand on".as_slice(), true),
                (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", false),
                (b"PROPFIND / HTTP/1.1\r\n\r\n", false),
                (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
                (b"", false),
            ] {
                assert_eq!(heard(said).await, (is_http2, said.to_vec()));
            }
        });
    }
}
