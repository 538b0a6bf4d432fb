//! Sends a call on and streams its answer back.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::flow::{Broken, Flow, Progress};
use super::line::{Line, NoAnswer};
use super::pool::Server;
use super::routes::Upstream;
use super::{Bounds, Stream};
use crate::exchange::Exchange;
use crate::relay::Trust;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// No server can be reached, or the one that was asked cut its answer.
    Down(String),
    /// No head in time.
    Slow,
    /// The client's own body broke off.
    Client,
}

/// The servers of one route, or of the old API.
#[derive(Debug)]
pub(super) struct Way {
    servers: Vec<Arc<Server>>,
    next: AtomicUsize,
    bounds: Bounds,
}

impl Way {
    /// `http2`: spoken with them; `trust`: who vouches for those that speak TLS.
    pub(super) fn new(upstreams: &[Upstream], trust: Option<&Trust>, http2: bool, bounds: Bounds) -> Self {
        let server = |upstream: &Upstream| Arc::new(Server::new(upstream.clone(), trust.cloned(), http2));
        let servers = upstreams.iter().map(server).collect();
        Self { servers, next: AtomicUsize::new(0), bounds }
    }

    pub(super) fn close(&self) {
        self.servers.iter().for_each(|server| server.close());
    }

    /// One server after the other, as long as surely nothing was sent.
    pub(super) async fn send(&self, request: Request<Stream>, exchange: &Exchange) -> Result<Response<Stream>, Failed> {
        let (head, body) = request.into_parts();
        let flow = Flow::new(body, self.bounds.idle_timeout, self.bounds.body);
        let progress = flow.progress();
        // Nobody who wants another protocol shares his connection.
        let own = head.headers.contains_key(header::UPGRADE);
        let own_host = !head.headers.contains_key(header::HOST);
        let mut request = Request::from_parts(head, flow);
        let mut last = "the route has no server".to_owned();
        for server in self.in_turn(exchange) {
            if own_host && let Ok(host) = HeaderValue::from_str(server.authority()) {
                request.headers_mut().insert(header::HOST, host);
            }
            loop {
                let (mut line, is_fresh) = match server.take(own) {
                    Some(line) => (line, false),
                    // Seldom, and big with its TLS: a call that needs none shall not carry the room for it.
                    None => match Box::pin(server.connect(own, self.bounds.connect_timeout, exchange.tasks())).await {
                        Ok(line) => (line, true),
                        Err(error) => {
                            server.refused(exchange.bridge().clock.monotonic());
                            last = format!("{}: {error}", server.authority());
                            break;
                        }
                    },
                };
                match self.ask(&mut line, request, &progress).await {
                    Ok(response) => {
                        let end =
                            GiveBack { line: Some(line), server, progress, stopped: exchange.tasks().stop().clone() };
                        return Ok(response.map(|body| self.back(body, end)));
                    }
                    Err(Unanswered::NotSent(again)) => {
                        request = *again;
                        last = format!("{}: the connection closed before anything was sent", server.authority());
                        if is_fresh {
                            break;
                        }
                    }
                    Err(Unanswered::Failed(failed)) => return Err(failed),
                }
            }
        }
        Err(Failed::Down(last))
    }

    /// Those that are well, each first in its turn; all of them where none is.
    fn in_turn(&self, exchange: &Exchange) -> Vec<Arc<Server>> {
        let now = exchange.bridge().clock.monotonic();
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.servers.len().max(1);
        let (before, from) = self.servers.split_at_checked(first).unwrap_or_default();
        let (well, ill): (Vec<_>, Vec<_>) = from.iter().chain(before).cloned().partition(|server| server.is_well(now));
        if well.is_empty() { ill } else { well }
    }

    async fn ask(
        &self,
        line: &mut Line,
        request: Request<Flow<Stream>>,
        progress: &Progress,
    ) -> Result<Response<Incoming>, Unanswered> {
        if !line.is_ready().await {
            return Err(Unanswered::NotSent(Box::new(request)));
        }
        let mut answer = std::pin::pin!(line.send(request));
        loop {
            let before = progress.parts();
            match timeout(self.bounds.timeout, answer.as_mut()).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(NoAnswer::NotSent(request))) => return Err(Unanswered::NotSent(request)),
                Ok(Err(NoAnswer::Lost(_))) if progress.is_broken() => return Err(Unanswered::Failed(Failed::Client)),
                Ok(Err(NoAnswer::Lost(why))) => {
                    return Err(Unanswered::Failed(Failed::Down(format!("the answer broke off: {why}"))));
                }
                // A long body that goes on is no slow answer.
                Err(_) if !progress.is_done() && progress.parts() != before => {}
                Err(_) => return Err(Unanswered::Failed(Failed::Slow)),
            }
        }
    }

    fn back(&self, body: Incoming, end: GiveBack) -> Stream {
        let flow = Flow::new(body, self.bounds.idle_timeout, u64::MAX);
        Answer { flow, end, is_whole: false }.boxed_unsync()
    }
}

enum Unanswered {
    NotSent(Box<Request<Flow<Stream>>>),
    Failed(Failed),
}

/// The connection, until its answer has passed.
struct GiveBack {
    line: Option<Line>,
    server: Arc<Server>,
    progress: Arc<Progress>,
    stopped: tokio_util::sync::CancellationToken,
}

/// An answer's body; gives its connection back where both bodies have passed whole.
struct Answer {
    flow: Flow<Incoming>,
    end: GiveBack,
    is_whole: bool,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = Pin::new(&mut self.flow).poll_frame(cx);
        self.is_whole |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.flow.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.flow.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let is_whole = self.is_whole || self.flow.is_end_stream();
        if is_whole
            && self.end.progress.is_done()
            && !self.end.stopped.is_cancelled()
            && let Some(line) = self.end.line.take()
        {
            self.end.server.give_back(line);
        }
    }
}
