//! Connections to one server of an API, kept by one worker, and how that server fares.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::uri::{Authority, Scheme};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::line::{self, Line, STREAMS, Shared};
use super::routes::Upstream;
use super::wire::{Io, Over, Wire};
use crate::domain::time::millis;
use crate::lifecycle::Tasks;
use crate::relay::{OLD, PASSED_OVER, Trust, dial};

/// Idle connections that are kept; more are closed.
const KEPT: usize = 128;
/// So long whoever opens a connection in the place of one that is old and shared has for it: others go on with that one.
const REPLACED: Duration = Duration::from_secs(5);

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

    /// A connection, and whether it is new. `own`: for what cannot share one; `alone`: for what may have cost others theirs.
    ///
    /// # Errors
    /// None can be opened, and none is kept. One that is old is better than none: where a name is not found, say.
    pub(super) async fn line(
        &self,
        (own, alone): (bool, bool),
        (now, patience): (Duration, Duration),
        tasks: &Tasks,
    ) -> Result<(Line, bool), String> {
        if !alone && let Some(line) = self.take(own, now) {
            return Ok((line, false));
        }
        // Seldom, and big with its TLS: a call that needs none shall not carry the room for it.
        match Box::pin(self.connect((own, alone), (now, patience), tasks)).await {
            Ok(line) => Ok((line, true)),
            Err(error) if alone => Err(error),
            Err(error) => self.take_old(own, now).map(|line| (line, false)).ok_or(error),
        }
    }

    /// A connection that is open, as far as one can know, and not old.
    fn take(&self, own: bool, now: Duration) -> Option<Line> {
        if self.http2
            && !own
            && let Some(line) = self.board(now)
        {
            return Some(line);
        }
        let mut idle = self.idle.lock();
        let young = || idle.iter().rposition(|wire| !is_old(wire.opened, now)).and_then(|at| idle.remove(at));
        std::iter::from_fn(young).find_map(|mut wire| wire.is_idle().then_some(Line::Own(wire)))
    }

    fn board(&self, now: Duration) -> Option<Line> {
        let mut shared = self.shared.lock();
        shared.retain(|line| !line.is_closed());
        let is_replaced = |line: &Shared| line.replaced.is_some_and(|since| now.saturating_sub(since) < REPLACED);
        let boarded =
            shared.iter().filter(|line| !is_old(line.opened, now) || is_replaced(line)).find_map(Shared::board);
        if boarded.is_none() {
            // Whoever finds that opens another in their place; those who come meanwhile need not.
            shared.iter_mut().for_each(|line| line.replaced = Some(now));
        }
        boarded
    }

    /// One that is old, as if it had been opened now: nobody need wait again so soon for what cannot be opened.
    fn take_old(&self, own: bool, now: Duration) -> Option<Line> {
        let boarded = |line: &mut Shared| line.board().inspect(|_| line.opened = now);
        if self.http2
            && !own
            && let Some(line) = self.shared.lock().iter_mut().find_map(boarded)
        {
            return Some(line);
        }
        let mut idle = self.idle.lock();
        let mut wire = std::iter::from_fn(|| idle.pop_back()).find_map(|mut wire| wire.is_idle().then_some(wire))?;
        wire.opened = now;
        Some(Line::Own(wire))
    }

    /// Lets go of those that are old: one that is shared closes once its calls have ended.
    fn retire(&self, now: Duration) {
        self.idle.lock().retain(|wire| !is_old(wire.opened, now));
        self.shared.lock().retain(|line| !is_old(line.opened, now));
    }

    /// Keeps a connection for the next request.
    pub(super) fn give_back(&self, line: Line) {
        match line {
            Line::Own(wire) => {
                let mut idle = self.idle.lock();
                // Between two looks at all of them: the one that has waited longest is looked at here.
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

    /// Closes what its server has closed, of those that nobody takes. One that is shared closes by itself.
    pub(super) fn let_go_of_closed(&self) {
        self.idle.lock().retain_mut(Wire::is_idle);
    }

    /// Has the calls that come open another connection in place of those that are shared: what is silent may be the way to the server, which the kernel
    /// finds out in a quarter of an hour. Calls under way stay.
    pub(super) fn leave_shared(&self) {
        self.shared.lock().clear();
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
            let stream = dial(&self.upstream.address, patience).await.map_err(|error| error.to_string())?;
            is_connected = true;
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

    /// A new connection, in whose place those that are old go.
    async fn connect(
        &self,
        (own, alone): (bool, bool),
        (now, patience): (Duration, Duration),
        tasks: &Tasks,
    ) -> Result<Line, String> {
        let http2 = self.http2 && !own;
        let io = self.open(http2, patience).await?;
        self.retire(now);
        let scheme = match &io {
            Io::Clear(_) if http2 => Scheme::HTTP,
            Io::Secure(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => Scheme::HTTPS,
            Io::Clear(_) | Io::Secure(_) => return Ok(Line::Own(Wire::new(io, now))),
        };
        let authority = Authority::try_from(self.authority()).map_err(|error| error.to_string())?;
        let line = line::shared(io, (scheme, authority), (&self.most, now), tasks).await?;
        // At the end nobody closes what is kept.
        if alone || tasks.stop().is_cancelled() { line.board().ok_or_else(closed) } else { self.share(line) }
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

/// `opened`, `now`: by the monotonic clock.
fn is_old(opened: Duration, now: Duration) -> bool {
    now.saturating_sub(opened) >= OLD
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
