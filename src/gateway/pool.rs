//! Connections to one server of an API, kept by one worker, and how that server fares.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::HeaderValue;
use http::uri::{Authority, Scheme};
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::line::{self, Line, STREAMS, Shared};
use super::routes::Upstream;
use super::wire::{Io, Over, Wire};
use crate::domain::time::millis;
use crate::lifecycle::Tasks;
use crate::relay::Trust;

/// Idle connections that are kept; more are closed.
const KEPT: usize = 128;
/// How long a server that refused, or was silent for too long, is passed over while there are others.
const PASSED_OVER: Duration = Duration::from_secs(5);

/// How long one address of a name may be silent until the next is tried beside it (RFC 8305 section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// A server that does not answer for half a minute after a minute's silence is gone.
const ALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10)).with_retries(3);

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    upstream: Upstream,
    /// What it hears as its own name; `None`: that fits no header.
    host: Option<HeaderValue>,
    trust: Option<Trust>,
    /// HTTP/2 is spoken with it.
    http2: bool,
    idle: Mutex<VecDeque<Wire>>,
    shared: Mutex<Vec<Shared>>,
    /// How many requests at once it takes on one of those, as it has said last.
    most: Arc<AtomicUsize>,
    /// Passed over until then: milliseconds of the monotonic clock; 0: it is well.
    refused_until: AtomicU64,
    /// Its answers so far.
    answers: AtomicU64,
}

/// How a server fared when it was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    answers: u64,
    was_well: bool,
}

impl Server {
    pub(super) fn new(upstream: Upstream, trust: Option<Trust>, http2: bool) -> Self {
        let (idle, shared) = (Mutex::default(), Mutex::default());
        let host = HeaderValue::from_maybe_shared(Bytes::from(upstream.authority.clone())).ok();
        let (most, refused_until, answers) =
            (Arc::new(AtomicUsize::new(STREAMS)), AtomicU64::new(0), AtomicU64::new(0));
        Self { upstream, host, trust, http2, idle, shared, most, refused_until, answers }
    }

    /// `host` or `host:port`.
    pub(super) fn authority(&self) -> &str {
        &self.upstream.authority
    }

    /// The same, as a header has it.
    pub(super) fn host(&self) -> Option<&HeaderValue> {
        self.host.as_ref()
    }

    /// Whether it may be asked in its turn: it is well, or has been passed over for long enough.
    fn is_due(&self, now: Duration) -> bool {
        self.refused_until.load(Ordering::Relaxed) <= millis(now)
    }

    /// The same, of a call that asks it now. Of those that come when it has been passed over for long enough one tries it; the others go on to
    /// servers that are well.
    fn takes(&self, now: Duration) -> bool {
        let until = self.refused_until.load(Ordering::Relaxed);
        let (now, next) = (millis(now), millis(now + PASSED_OVER));
        let claim = || self.refused_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed);
        until == 0 || until <= now && claim().is_ok()
    }

    /// How it fares now.
    pub(super) fn before(&self) -> Before {
        let was_well = self.refused_until.load(Ordering::Relaxed) == 0;
        Before { answers: self.answers.load(Ordering::Relaxed), was_well }
    }

    /// A call has its answer. Whether the server is back with that: what was asked before it was passed over says nothing of it now.
    pub(super) fn answered(&self, before: Before) -> bool {
        // No other thread asks it.
        self.answers.store(self.answers.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        !before.was_well && self.refused_until.swap(0, Ordering::Relaxed) != 0
    }

    /// Whether it has answered nobody since.
    pub(super) fn is_silent_since(&self, before: Before) -> bool {
        self.answers.load(Ordering::Relaxed) == before.answers
    }

    /// Whether it is the server that gives no answers: where one of many is none, it has given no other since. A kept connection's time may just have
    /// been over.
    pub(super) fn is_to_blame(&self, over: Over, is_fresh: bool, before: Before) -> bool {
        is_fresh
            && match over {
                Over::Call => false,
                Over::Connection => true,
                Over::Answer => self.is_silent_since(before),
            }
    }

    pub(super) fn refused(&self, now: Duration) {
        self.refused_until.store(millis(now + PASSED_OVER), Ordering::Relaxed);
        self.close();
    }

    /// A connection that is open, as far as one can know. `own`: for what cannot share one.
    pub(super) fn take(&self, own: bool) -> Option<Line> {
        if self.http2
            && !own
            && let Some(line) = self.board()
        {
            return Some(line);
        }
        let mut idle = self.idle.lock();
        let wire = std::iter::from_fn(|| idle.pop_back()).find_map(|mut wire| wire.is_idle().then_some(wire));
        wire.map(Line::Own)
    }

    fn board(&self) -> Option<Line> {
        let mut shared = self.shared.lock();
        shared.retain(|line| !line.is_closed());
        shared.iter().find_map(Shared::board)
    }

    /// Keeps a connection for the next request.
    pub(super) fn give_back(&self, line: Line) {
        match line {
            Line::Own(wire) => {
                let mut idle = self.idle.lock();
                // Nobody watches those that nobody takes: the one that has waited longest is looked at here.
                if idle.len() >= KEPT || idle.front_mut().is_some_and(|longest| !longest.is_idle()) {
                    idle.pop_front();
                }
                idle.push_back(wire);
            }
            Line::Shared(_, load) => {
                drop(load);
                // Those that a crowd needed go when it has gone.
                let mut shared = self.shared.lock();
                if let Some((last, others)) = shared.split_last()
                    && last.is_idle()
                    && others.iter().any(Shared::has_much_room)
                {
                    shared.pop();
                }
            }
        }
    }

    /// Closes what is idle.
    pub(super) fn close(&self) {
        self.idle.lock().clear();
        self.shared.lock().clear();
    }

    /// Opens a connection and closes it, without a word of HTTP.
    pub(super) async fn try_out(&self, patience: Duration) -> Result<(), String> {
        self.open(false, patience).await.map(drop)
    }

    /// Opens a connection, and speaks TLS where that is spoken: both within this time.
    async fn open(&self, http2: bool, patience: Duration) -> Result<Io, String> {
        let mut is_connected = false;
        let opening = async {
            let addresses = lookup_host(&self.upstream.address).await.map_err(|error| error.to_string())?;
            let stream = connect(addresses.collect(), patience).await.map_err(|error| error.to_string())?;
            is_connected = true;
            let _ = stream.set_nodelay(true);
            // Nobody watches one that waits, and what stands between forgets in silence what is silent for some minutes.
            let _ = SockRef::from(&stream).set_tcp_keepalive(&ALIVE);
            match (&self.upstream.name, &self.trust) {
                (None, _) => Ok(Io::Clear(stream)),
                (Some(name), Some(trust)) => trust.shake_hands(name, http2, stream).await.map(Box::new).map(Io::Secure),
                (Some(_), None) => Err("nothing says whom to trust".to_owned()),
            }
        };
        let opened = timeout(patience, opening).await;
        let late = if is_connected { "no TLS in time" } else { "no connection in time" };
        opened.unwrap_or_else(|_| Err(late.to_owned()))
    }

    /// A new connection. `own`: for what cannot share one; `alone`: for what may have cost others theirs.
    pub(super) async fn connect(
        &self,
        (own, alone): (bool, bool),
        patience: Duration,
        tasks: &Tasks,
    ) -> Result<Line, String> {
        let http2 = self.http2 && !own;
        let io = self.open(http2, patience).await?;
        let scheme = match &io {
            Io::Clear(_) if http2 => Scheme::HTTP,
            Io::Secure(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => Scheme::HTTPS,
            Io::Clear(_) | Io::Secure(_) => return Ok(Line::Own(Wire::new(io))),
        };
        let authority = Authority::try_from(self.authority()).map_err(|error| error.to_string())?;
        let line = line::shared(io, (scheme, authority), &self.most, tasks).await?;
        if alone { line.board().ok_or_else(closed) } else { self.share(line) }
    }

    /// Keeps a new connection, unless many were opened at once and another has room.
    fn share(&self, line: Shared) -> Result<Line, String> {
        let mut shared = self.shared.lock();
        if let Some(there) = shared.iter().find_map(Shared::board) {
            return Ok(there);
        }
        let boarded = line.board().ok_or_else(closed);
        shared.push(line);
        boarded
    }
}

fn closed() -> String {
    "the connection closed at once".to_owned()
}

/// Those that are well, each first in its turn; then those that are passed over, for a call is to fail only where it fails at all of them. `now`:
/// where there are several.
pub(super) fn in_turn<'s>(
    servers: &'s [Arc<Server>],
    next: &AtomicUsize,
    now: Option<Duration>,
) -> impl Iterator<Item = &'s Arc<Server>> {
    let is_due = move |server: &Server| now.is_none_or(|now| server.is_due(now));
    let due = servers.iter().filter(|server| is_due(server)).count();
    let (now, is_any) = (now.filter(|_| due > 0), due == 0);
    let turn = next.fetch_add(1, Ordering::Relaxed) % if is_any { servers.len().max(1) } else { due };
    let mut theirs = servers.iter().enumerate().filter(|(_, server)| is_any || is_due(server));
    let first = theirs.nth(turn).map_or(0, |(number, _)| number);
    let (before, from) = servers.split_at_checked(first).unwrap_or_default();
    let (mut all, mut passed_over) = (from.iter().chain(before), VecDeque::new());
    std::iter::from_fn(move || {
        let well = all.find(|server| {
            let takes = now.is_none_or(|now| server.takes(now));
            if !takes {
                passed_over.push_back(*server);
            }
            takes
        });
        well.or_else(|| passed_over.pop_front())
    })
}

/// Connects to the first of these that answers, which is not told by their order: each may be silent, or refuse, while the next does not.
async fn connect(addresses: Vec<SocketAddr>, patience: Duration) -> io::Result<TcpStream> {
    let each = NEXT_ADDRESS.min(patience / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX));
    let (mut left, mut trying) = (addresses.into_iter(), FuturesUnordered::new());
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        trying.extend(left.next().map(TcpStream::connect));
        let tried = if left.len() == 0 { Ok(trying.next().await) } else { timeout(each, trying.next()).await };
        match tried {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => last = error,
            Ok(None) => return Err(last),
            Err(_silent) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// Somewhere that takes no connection and refuses none: as many as it lets wait are waiting. They go with what is returned.
    fn silent() -> (SocketAddr, Vec<Socket>) {
        let socket = |_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = socket(0);
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held: Vec<Socket> = (0..4).map(socket).collect();
        for caller in &held {
            caller.set_nonblocking(true).unwrap();
            let _waits = caller.connect(&address);
        }
        held.push(listener);
        (address.as_socket().unwrap(), held)
    }

    #[test]
    fn a_name_is_as_good_as_the_best_of_its_addresses() {
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = (good.local_addr().unwrap(), good);
        let (silent, _held) = silent();
        // No system hands this port out by itself.
        let refusing = SocketAddr::from(([127, 0, 0, 1], 1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reached = |addresses: &[SocketAddr], patience| {
            let (addresses, patience) = (addresses.to_vec(), Duration::from_millis(patience));
            runtime.block_on(async {
                let connected = timeout(patience, connect(addresses, patience)).await;
                connected
                    .map_err(|_| "silent")
                    .and_then(|connected| connected.map_err(|_| "refused"))?
                    .peer_addr()
                    .map_err(|_| "gone")
            })
        };
        for before in [&[][..], &[silent], &[refusing], &[silent, refusing, silent]] {
            for patience in [1_000, 10_000] {
                assert_eq!(reached(&[before, &[good.0]].concat(), patience), Ok(good.0), "behind {before:?}");
            }
        }
        assert_eq!(reached(&[silent, refusing], 400), Err("silent"));
        assert_eq!(reached(&[refusing, refusing], 10_000), Err("refused"));
        assert_eq!(reached(&[], 10_000), Err("refused"));
    }
}
