//! Connections to one server of an API, kept by one worker, and how that server fares.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::flow::Flow;
use super::routes::Upstream;
use super::{Stream, Trust};
use crate::lifecycle::Tasks;

/// A way to send one request after another.
pub(super) type Line = SendRequest<Flow<Stream>>;

/// Idle connections that are kept; more are closed.
const KEPT: usize = 128;
/// Bytes of an answer's head.
const HEAD: usize = 128 * 1024;
/// How long a server that refused is passed over while there are others.
const PASSED_OVER: Duration = Duration::from_secs(5);

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    upstream: Upstream,
    trust: Option<Trust>,
    idle: Mutex<VecDeque<Line>>,
    /// Passed over until then: milliseconds of the monotonic clock.
    refused_until: AtomicU64,
}

impl Server {
    pub(super) fn new(upstream: Upstream, trust: Option<Trust>) -> Self {
        Self { upstream, trust, idle: Mutex::default(), refused_until: AtomicU64::new(0) }
    }

    /// `host` or `host:port`.
    pub(super) fn authority(&self) -> &str {
        &self.upstream.authority
    }

    /// Whether it answered when it was last asked, or that is long enough ago.
    pub(super) fn is_well(&self, now: Duration) -> bool {
        self.refused_until.load(Ordering::Relaxed) <= millis(now)
    }

    pub(super) fn refused(&self, now: Duration) {
        self.refused_until.store(millis(now + PASSED_OVER), Ordering::Relaxed);
        self.close();
    }

    /// A connection that is open, as far as one can know.
    pub(super) fn take(&self) -> Option<Line> {
        let mut idle = self.idle.lock();
        std::iter::from_fn(|| idle.pop_back()).find(|line| !line.is_closed())
    }

    /// Keeps a connection for the next request.
    pub(super) fn give_back(&self, line: Line) {
        if !line.is_closed() {
            let mut idle = self.idle.lock();
            idle.push_back(line);
            if idle.len() > KEPT {
                idle.pop_front();
            }
        }
    }

    /// Closes what is idle.
    pub(super) fn close(&self) {
        self.idle.lock().clear();
    }

    /// A new connection.
    pub(super) async fn connect(self: &Arc<Self>, patience: Duration, tasks: &Tasks) -> Result<Line, String> {
        let late = |_| "no connection in time".to_owned();
        let opened = timeout(patience, TcpStream::connect(&self.upstream.address)).await.map_err(late)?;
        let stream = opened.map_err(|error| error.to_string())?;
        let _ = stream.set_nodelay(true);
        match (&self.upstream.name, &self.trust) {
            (Some(name), Some(trust)) => {
                let shaken = timeout(patience, trust.shake_hands(name, stream)).await;
                begin(shaken.map_err(|_| "no TLS in time".to_owned())??, tasks).await
            }
            (None, _) => begin(stream, tasks).await,
            (Some(_), None) => Err("nothing says whom to trust".to_owned()),
        }
    }
}

/// Speaks HTTP over a connection.
async fn begin(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, tasks: &Tasks) -> Result<Line, String> {
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD).title_case_headers(true);
    let (line, connection) = http.handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Ends when nobody holds the line any more, or the server closes.
    tasks.run(async move { drop(connection.with_upgrades().await) });
    Ok(line)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
