//! Sends a call on and streams its answer back.

use std::future::Future;
use std::ops::DerefMut;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{timeout, timeout_at};

use super::flow::{Broken, Flow, Progress};
use super::http2_body::Http2Body;
use super::line::{Line, Load, Shared};
use super::pool::{Before, Server, in_turn};
use super::request::{Asking, Unfit};
use super::room::Crowd;
use super::routes::Upstream;
use super::stream::tell_cut;
use super::waiting::{Awaited, LONG};
use super::wire::{self, NoAnswer, Over, Reading, Wire};
use super::{Bounds, Flag, Place, Stream};
use crate::exchange::{Bridge, Exchange};
use crate::lifecycle::{Tasks, others_first};
use crate::relay::Trust;
use crate::telemetry::Trail;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// No server can be reached, or the one that was asked cut its answer.
    Down(String),
    /// The server that was asked has said that it did not look at the call, and the body is gone.
    Unheard(String),
    /// No head in time; from whom.
    Slow(String),
    /// The client's own body broke off; why.
    Client(Broken),
    /// There is nothing to send.
    Unfit(Unfit),
}

impl Failed {
    /// In words, where it is a server's.
    fn why(&self) -> &str {
        match self {
            Self::Down(why) | Self::Unheard(why) | Self::Slow(why) => why,
            Self::Client(_) | Self::Unfit(_) => "",
        }
    }
}

/// The servers of one route, or of the old API.
#[derive(Debug)]
pub(super) struct Way {
    servers: Vec<Arc<Server>>,
    next: AtomicUsize,
    /// Who waits for them.
    pub(super) crowd: Crowd,
    bounds: Bounds,
}

impl Way {
    /// `http2`: spoken with them; `trust`: who vouches for those that speak TLS.
    pub(super) fn new(upstreams: &[Upstream], trust: Option<&Trust>, http2: bool, bounds: Bounds) -> Self {
        let server = |upstream: &Upstream| Arc::new(Server::new(upstream.clone(), trust.cloned(), http2));
        let servers = upstreams.iter().map(server).collect();
        Self { servers, next: AtomicUsize::new(0), crowd: Crowd::at(upstreams), bounds }
    }

    pub(super) fn let_go_of_closed(&self) {
        self.servers.iter().for_each(|server| server.let_go_of_closed());
    }

    pub(super) fn close(&self) {
        self.servers.iter().for_each(|server| server.close());
    }

    /// One server after the other, as long as surely nothing was sent, or it may be sent again.
    pub(super) async fn send(
        &self,
        asking: Asking<'_>,
        body: Stream,
        (exchange, trail): (&Exchange, &mut Trail),
    ) -> Result<(Response<Stream>, Option<Wire>), Failed> {
        // Before a connection is taken: it is looked at as late as can be.
        others_first().await;
        let clock = &exchange.bridge().clock;
        let (mut flow, progress) = Flow::watched(body, &self.bounds, clock);
        // Nobody who wants another protocol shares his connection.
        let own = asking.head.headers.contains_key(header::UPGRADE);
        let mut last = "the route has no server".to_owned();
        let now = clock.monotonic();
        let mut since = now;
        // Of one server nobody need know how it fares.
        for server in in_turn(&self.servers, &self.next, self.has_others().then_some(now)) {
            let asking = Asking { host: asking.host.or(server.host()), ..asking };
            let before = server.before();
            // Of those that are kept one is tried: what fails again is not sent a third time (RFC 9112 section 9.3.1).
            let mut is_again = false;
            loop {
                let times = (now, self.bounds.connect_timeout);
                let awaited = Awaited::new((self, exchange), (server, before), (&progress, trail), since);
                let (line, is_fresh) = match server.line((own, is_again), times, exchange.tasks()).await {
                    Ok(line) => line,
                    Err(error) => {
                        awaited.end();
                        since = clock.monotonic();
                        self.pass_over(server, &error, exchange);
                        last = format!("{}: {error}", server.authority());
                        break;
                    }
                };
                let asked = self.ask(line, (asking, flow), (server, exchange), &progress).await;
                awaited.end();
                match asked {
                    Ok(answered) => {
                        self.answered(server, before, (exchange, answered.0.status()));
                        return Ok(answered);
                    }
                    Err(Unanswered::NotSent(again, over, why)) => {
                        (flow, since) = (again, clock.monotonic());
                        last = format!("{}: no answer began: {why}", server.authority());
                        if server.is_to_blame(over, is_fresh, before) {
                            self.pass_over(server, &last, exchange);
                            break;
                        }
                        match over {
                            // It was alone, and is not to cost the calls of the next server theirs.
                            Over::Answer if is_again => return Err(Failed::Down(last)),
                            Over::Call | Over::Connection if is_again => break,
                            Over::Call | Over::Connection | Over::Answer => is_again = true,
                        }
                    }
                    Err(Unanswered::Failed(failed, over)) => {
                        // Whether it is the server that is too slow, and not the call alone.
                        let is_hung = matches!(failed, Failed::Slow(_)) && server.is_silent_since(before);
                        if server.is_to_blame(over, is_fresh, before) || is_hung && self.has_others() {
                            self.pass_over(server, failed.why(), exchange);
                        } else if is_hung {
                            server.leave_shared();
                        }
                        return Err(failed);
                    }
                }
            }
        }
        Err(Failed::Down(last))
    }

    pub(super) fn has_others(&self) -> bool {
        self.servers.len() > 1
    }

    /// Has the calls that come go to others, where there are any. Of a server that has none its calls tell.
    #[cold]
    pub(super) fn pass_over(&self, server: &Server, why: &str, exchange: &Exchange) {
        let (bridge, name) = (exchange.bridge(), server.authority());
        let now = bridge.clock.monotonic();
        server.refused(now);
        if self.has_others() {
            let why = why.strip_prefix(name).and_then(|why| why.strip_prefix(": ")).unwrap_or(why);
            bridge.edge.server_passed_over(name, why, now);
        }
    }

    fn answered(&self, server: &Server, before: Before, (exchange, status): (&Exchange, StatusCode)) {
        let bridge = exchange.bridge();
        self.crowd.has_answered();
        bridge.metrics.api_answered(server.authority(), status.as_u16());
        if server.answered(before) && self.has_others() {
            bridge.edge.server_back(server.authority());
        }
    }

    async fn ask(
        &self,
        line: Line,
        (asking, flow): (Asking<'_>, Flow<Stream>),
        (server, exchange): (&Arc<Server>, &Exchange),
        progress: &Arc<Progress>,
    ) -> Result<(Response<Stream>, Option<Wire>), Unanswered> {
        let (idle, tasks) = (self.bounds.idle_timeout, exchange.tasks());
        let back = |body| {
            let flow = Flow::answering(body, idle, progress);
            let (server, progress, tasks) = (Arc::clone(server), Arc::clone(progress), tasks.clone());
            Stream::Api(Box::new(Answer {
                flow: Some(flow),
                broken: None,
                is_whole: false,
                bridge: Arc::clone(exchange.bridge()),
                server,
                progress,
                tasks,
                idle,
                place: None,
                call: Default::default(),
            }))
        };
        let of = (&**server, &**progress, asking.waiting);
        match line {
            Line::Own(wire) => Ok(match self.in_time(pin!(wire.ask(asking, flow)), of).await? {
                wire::Answer::Whole(response, kept) => {
                    if let Some(wire) = kept.filter(|_| !tasks.stop().is_cancelled()) {
                        server.give_back(Line::Own(wire));
                    }
                    (response.map(Stream::Whole), None)
                }
                wire::Answer::Begun(head, rest) => (Response::from_parts(head, back(Source::Own(rest))), None),
                wire::Answer::Switched(head, wire) => (Response::from_parts(head, Stream::nothing()), Some(wire)),
            }),
            Line::Shared(mut shared, load) => {
                // Bigger than the other, which shall not carry the room for it.
                let response = self.in_time(Box::pin(shared.ask(asking, flow)), of).await?;
                Ok((response.map(|body| back(Source::Shared(Http2Body(body), shared, load))), None))
            }
        }
    }

    /// The answer, unless it takes too long.
    async fn in_time<T>(
        &self,
        mut answer: Pin<impl DerefMut<Target: Future<Output = Result<T, NoAnswer>>>>,
        (server, progress, waiting): (&Server, &Progress, Option<&Flag>),
    ) -> Result<T, Unanswered> {
        let (mut due, mut left) = (None, self.bounds.timeout);
        loop {
            let step = LONG.min(left);
            // Each second there is a look at the connection of whoever waits: not every reset wakes.
            let answered = match due {
                None => timeout(step, answer.as_mut()).await,
                Some(due) => match timeout_at(due, timeout(LONG, answer.as_mut())).await {
                    Ok(Err(_)) => continue,
                    answered => answered.and_then(|looked| looked),
                },
            };
            match answered {
                Ok(Ok(answered)) => return Ok(answered),
                Ok(Err(NoAnswer::NotSent(body, over, why))) => return Err(Unanswered::NotSent(body, over, why)),
                Ok(Err(NoAnswer::Unfit(unfit))) => return Err(Unanswered::Failed(Failed::Unfit(unfit), Over::Call)),
                Ok(Err(NoAnswer::Lost(..))) if let Some(why) = progress.broken() => {
                    return Err(Unanswered::Failed(Failed::Client(why.clone()), Over::Call));
                }
                Ok(Err(NoAnswer::Unheard(why, over))) => {
                    let why = format!("{}: no answer began: {why}", server.authority());
                    return Err(Unanswered::Failed(Failed::Unheard(why), over));
                }
                Ok(Err(NoAnswer::Lost(why, over))) => {
                    let why = format!("{}: the answer broke off: {why}", server.authority());
                    return Err(Unanswered::Failed(Failed::Down(why), over));
                }
                Err(_) if due.is_none() && left > step => {
                    left -= step;
                    waiting.inspect(|waiting| waiting.set(true));
                }
                // A server has its time from the last part of a request on: a long body is no slow answer.
                Err(_) if progress.due() != due => due = progress.due(),
                // While its client is waited for nobody can say that it is slow; how long that goes on, the body's own flow knows.
                Err(_) if progress.is_awaited() => (due, left) = (None, self.bounds.timeout),
                Err(_) => {
                    let why = format!("{}: no answer within `gateway.timeout`", server.authority());
                    return Err(Unanswered::Failed(Failed::Slow(why), Over::Call));
                }
            }
        }
    }
}

enum Unanswered {
    NotSent(Flow<Stream>, Over, String),
    Failed(Failed, Over),
}

/// Where an answer comes from.
enum Source {
    Own(Box<Reading>),
    Shared(Http2Body, Shared, Load),
}

impl Body for Source {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body).poll_frame(cx),
            Self::Shared(body, ..) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Shared(body, ..) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Shared(body, ..) => body.size_hint(),
        }
    }
}

/// An answer's body; gives its connection back where both bodies have passed whole.
pub struct Answer {
    /// Gone with the answer.
    flow: Option<Flow<Source>>,
    /// Why it broke off, until what came before is on its way to the client: hyper drops what it has not sent when a body breaks off.
    broken: Option<Broken>,
    is_whole: bool,
    bridge: Arc<Bridge>,
    server: Arc<Server>,
    progress: Arc<Progress>,
    tasks: Tasks,
    idle: Duration,
    /// What the rest of the request keeps.
    pub(super) place: Option<Place>,
    /// The call that it answers, when that is written down.
    pub(super) call: (Trail, StatusCode),
}

impl Answer {
    /// Over HTTP/2 nobody says so before the end.
    pub(super) fn is_last_word(&self) -> bool {
        match self.flow.as_ref().map(Flow::inner) {
            Some(Source::Own(reading)) => reading.is_last_word(),
            Some(Source::Shared(..)) | None => false,
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(why) = self.broken.take() {
            return Poll::Ready(Some(Err(why)));
        }
        let Some(flow) = self.flow.as_mut() else { return Poll::Ready(None) };
        let polled = Pin::new(flow).poll_frame(cx);
        if let Poll::Ready(Some(Err(why))) = polled {
            let this = &mut *self;
            tell_cut(&mut this.call, (this.server.authority(), &why), this.progress.broken(), &this.bridge.edge);
            self.broken = Some(why);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.is_whole |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.flow.as_ref().is_none_or(Flow::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.flow.as_ref().map_or_else(SizeHint::default, Flow::size_hint)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let is_whole = self.is_whole || self.is_end_stream();
        let Some(flow) = self.flow.take().filter(|_| is_whole && !self.tasks.stop().is_cancelled()) else { return };
        match flow.into_inner() {
            Source::Own(reading) => match reading.end() {
                wire::End::Kept(wire) => self.server.give_back(Line::Own(wire)),
                wire::End::Unsent(rest) => {
                    let place = self.place.take();
                    self.tasks.run(finish(rest, Arc::clone(&self.progress), self.idle, place));
                }
                wire::End::Closed => {}
            },
            Source::Shared(_, shared, load) if self.progress.is_done() => {
                self.server.give_back(Line::Shared(shared, load));
            }
            Source::Shared(..) => {}
        }
    }
}

/// Sends the rest of a request that was answered early, as long as that goes on.
async fn finish(mut rest: Box<Reading>, progress: Arc<Progress>, idle: Duration, _place: Option<Place>) {
    loop {
        let before = progress.parts();
        if timeout(idle, rest.send_rest()).await.is_ok() || progress.parts() == before {
            return;
        }
    }
}
