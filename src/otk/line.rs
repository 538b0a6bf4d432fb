//! Connections to the old server, kept by one worker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::ToSocketAddrs;
use tokio::sync::Notify;
use tokio::task::consume_budget;
use tokio::time::timeout;

use super::{Lost, OtkSettings};
use crate::domain::time::Clock;
use crate::lifecycle::Tasks;
use crate::relay::{ANSWER_HEAD, OLD, Trust, dial};

/// Idle connections that are kept; more are closed.
const KEPT: usize = 32;
/// How long one is kept idle: shorter than servers do, so that none is used just when the other side closes it. Of one that says how long it keeps
/// a connection, a second less.
const IDLE: Duration = Duration::from_secs(4);
const LESS: Duration = Duration::from_secs(1);
/// Lines of an answer's head: clients of the old server had no such bound, so that it is far from what one says.
const LINES: usize = 1000;

/// Interim answers (1xx) to one request.
const INTERIM: usize = 100;

/// A way to send one request after another.
#[derive(Debug)]
pub(super) struct Line {
    sender: SendRequest<Full<Bytes>>,
    /// By the monotonic clock.
    opened: Duration,
}

/// How TLS is spoken to the old server.
#[derive(Clone, Debug)]
pub(super) struct Secured {
    trust: Trust,
    name: ServerName<'static>,
}

impl Secured {
    /// Trusts the certificates of a PEM text, else those of the system.
    pub(super) fn new(host: &str, trusted: Option<&[u8]>) -> Result<Self, String> {
        let name = ServerName::try_from(bare(host).to_owned()).map_err(|_| format!("`otk.url`: {host} is no name"))?;
        let trust = Trust::new(trusted.map(<[u8]>::to_vec)).map_err(|reason| format!("`otk.ca` {reason}"))?;
        Ok(Self { trust, name })
    }
}

/// Without the brackets that an address of IPv6 has in a URL.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// All connections of one worker.
#[derive(Debug)]
pub(super) struct Lines {
    /// `host:port`, an address of IPv6 in its brackets.
    address: String,
    secured: Option<Secured>,
    connect_timeout: Duration,
    clock: Arc<dyn Clock>,
    /// Each with the time until which it is good.
    idle: Mutex<VecDeque<(Line, Duration)>>,
}

impl Lines {
    pub(super) fn new(settings: &OtkSettings, secured: Option<Secured>, clock: Arc<dyn Clock>) -> Self {
        let address = format!("{}:{}", settings.host, settings.port);
        Self { address, secured, connect_timeout: settings.connect_timeout, clock, idle: Mutex::default() }
    }

    /// Sends a request once. Only one that hyper hands back as not sent is sent on another connection.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Full<Bytes>>,
        tasks: &Tasks,
    ) -> Result<(Response<Incoming>, Line), Lost> {
        let flooded = bounded(&mut request);
        loop {
            let (mut line, is_fresh) = self.line(tasks).await?;
            if line.sender.ready().await.is_err() {
                if is_fresh {
                    return Err(Lost::Down("it closed the connection at once".to_owned()));
                }
                continue;
            }
            let answered = tokio::select! {
                answered = line.sender.try_send_request(request) => answered,
                () = flooded.notified() => {
                    return Err(Lost::Broken(format!("more than {INTERIM} interim answers (1xx) came in its place")));
                }
            };
            match answered {
                Ok(response) => return Ok((response, line)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !is_fresh => request = unsent,
                    Some(_) => return Err(Lost::Down("it closed the connection before anything was sent".to_owned())),
                    None => return Err(Lost::Broken(error.error().to_string())),
                },
            }
        }
    }

    /// Keeps a connection for the next request. `kept`: how long the server will, where it says so.
    pub(super) fn give_back(&self, line: Line, kept: Option<Duration>, tasks: &Tasks) {
        if line.sender.is_closed() || tasks.stop().is_cancelled() {
            return;
        }
        let good = kept.map_or(IDLE, |kept| IDLE.min(kept.saturating_sub(LESS)));
        let mut idle = self.idle.lock();
        idle.push_back((line, self.clock.monotonic().saturating_add(good)));
        if idle.len() > KEPT {
            idle.pop_front();
        }
    }

    /// A connection, and whether it is new. One that is old is better than none, and then for as long again: where the name is not found, say.
    async fn line(self: &Arc<Self>, tasks: &Tasks) -> Result<(Line, bool), Lost> {
        let is_young = |line: &Line, now: Duration| now.saturating_sub(line.opened) < OLD;
        if let Some((line, _)) = self.take(is_young) {
            return Ok((line, false));
        }
        match self.open(tasks).await {
            Ok(line) => Ok((line, true)),
            Err(lost) => self.take(|_, _| true).map(|(line, now)| (Line { opened: now, ..line }, false)).ok_or(lost),
        }
    }

    /// The newest of such that are kept, and the time.
    fn take(&self, is_such: impl Fn(&Line, Duration) -> bool) -> Option<(Line, Duration)> {
        let now = self.clock.monotonic();
        let mut idle = self.idle.lock();
        idle.retain(|(line, until)| !line.sender.is_closed() && now < *until);
        let at = idle.iter().rposition(|(line, _)| is_such(line, now))?;
        idle.remove(at).map(|(line, _)| (line, now))
    }

    /// Opens a connection and closes it.
    pub(super) async fn try_out(&self) -> Result<(), Lost> {
        self.connected(&self.address).await.map(drop)
    }

    async fn open(self: &Arc<Self>, tasks: &Tasks) -> Result<Line, Lost> {
        let stream = TokioIo::new(self.connected(&self.address).await?);
        let opened = self.clock.monotonic();
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(ANSWER_HEAD)
            .max_headers(LINES)
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .title_case_headers(true)
            .handshake(stream)
            .await
            .map_err(|error| Lost::Down(error.to_string()))?;
        let (lines, stop) = (Arc::downgrade(self), tasks.stop().clone());
        // Ends when nobody holds the line any more, or the server closes. At the drain what is idle is let go.
        tasks.run(async move {
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ended = connection.as_mut() => return,
                () = stop.cancelled() => {}
            }
            if let Some(lines) = lines.upgrade() {
                lines.idle.lock().clear();
            }
            drop(connection.await);
        });
        Ok(Line { sender, opened })
    }

    async fn connected(&self, address: impl ToSocketAddrs) -> Result<Box<dyn Stream>, Lost> {
        let opened = timeout(self.connect_timeout, self.connect(address)).await;
        opened
            .unwrap_or_else(|_| {
                let patience = humantime::format_duration(self.connect_timeout);
                Err(format!("no connection within {patience} (`otk.connect_timeout`)"))
            })
            .map_err(Lost::Down)
    }

    async fn connect(&self, address: impl ToSocketAddrs) -> Result<Box<dyn Stream>, String> {
        let stream = dial(address, self.connect_timeout).await.map_err(|error| error.to_string())?;
        let Some(secured) = &self.secured else { return Ok(Box::new(stream)) };
        Ok(Box::new(secured.trust.shake_hands(&secured.name, false, stream).await?))
    }
}

/// Wakes who waits for the answer once more interim ones came than anybody sends. Hyper reads and drops these as long as there are any, before it lets
/// a timer or another connection of this worker have its turn: each takes of what tokio grants a task at a time.
fn bounded(request: &mut Request<Full<Bytes>>) -> Arc<Notify> {
    let flooded = Arc::new(Notify::new());
    let (waits, count) = (Arc::clone(&flooded), AtomicUsize::new(0));
    hyper::ext::on_informational(request, move |_interim| {
        let _a_turn_is_over = consume_budget().now_or_never();
        if count.fetch_add(1, Ordering::Relaxed) >= INTERIM {
            waits.notify_one();
        }
    });
    flooded
}

/// Whatever carries bytes.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::domain::time::NoTime;
    use crate::relay::silent;

    #[test]
    fn an_old_server_is_reached_behind_an_address_of_its_name_that_is_silent() {
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let (silent, _held) = silent();
        let (addresses, connect_timeout) = ([silent, good.local_addr().unwrap()], Duration::from_secs(2));
        let (address, secured, clock) = (String::new(), None, Arc::new(NoTime));
        let lines = Lines { address, secured, connect_timeout, clock, idle: Mutex::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reached = runtime.block_on(lines.connected(&addresses[..])).map(drop);
        assert_eq!(reached, Ok(()));
    }
}
