//! Accepts connections and serves them, each within bounds, until it is told to stop.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::coop::unconstrained;
use tokio::time::timeout;

use super::answer::{Answering, Answers, Peer};
use super::hearing::HEARD_OUT;
use super::http2;
use super::listener::BACKLOG;
use super::malformed::Refuse;
use super::reset::Reset;
use super::scarcity::Scarcity;
use super::spoken::Spoken;
use super::tls::Tls;
use crate::config::Config;
use crate::lifecycle::{Tasks, others_first};

/// So long whoever is in the middle of a head may take to end it, once the end is told.
const HALF_SAID: Duration = Duration::from_secs(1);
/// Until a connection that could not be accepted is tried again.
const NEXT_TRY: Duration = Duration::from_millis(20);

/// What one connection may cost.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// For the head of a request, and for a TLS handshake. Also how long an idle connection is kept.
    pub head_timeout: Duration,
    /// Bytes of a head.
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// How long who is answered may take nothing of it.
    pub unread_timeout: Duration,
    /// Bytes that are still heard of a request that is answered before its end.
    pub heard_out: usize,
}

impl ConnectionLimits {
    pub(super) fn of(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            head_timeout: limits.head_timeout,
            head_bytes: limits.head,
            headers: limits.headers,
            unread_timeout: limits.head_timeout,
            heard_out: limits.body.max(HEARD_OUT),
        }
    }
}

/// What connections are served with.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Answers requests.
    pub answers: Answers,
    /// Answers what is no HTTP; `None`: hyper does.
    pub refuse: Option<Refuse>,
    /// Bounds.
    pub limits: ConnectionLimits,
    /// Where TLS is spoken.
    pub tls: Option<Tls>,
    /// How many connections may be open, over all workers.
    pub permits: Arc<Semaphore>,
    /// Of those, how many it leaves to other listeners: whoever waits for an API that hangs is not to keep anybody from logging in.
    pub spared: usize,
    /// The listener, where that is a bound of its own; `None`: `limits.connections`, over all of them.
    pub bounded_alone: Option<&'static str>,
    /// HTTP/2 is spoken too, with whoever begins with its preface.
    pub http2: bool,
    /// Who hears of connections that cannot be had.
    pub(super) scarcity: Arc<Scarcity>,
}

/// Accepts from now on, and after a panic of its own too: those who come meanwhile wait in the kernel.
pub(super) fn open(listener: TcpListener, serving: Serving, tasks: &Tasks) {
    let (listener, inner) = (Arc::new(listener), tasks.clone());
    tasks.keep(move || accept(Arc::clone(&listener), serving.clone(), inner.clone()));
}

/// Accepts until told to stop; what the kernel has queued by then is still served.
async fn accept(listener: Arc<TcpListener>, serving: Serving, tasks: Tasks) {
    let stop = tasks.stop().clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(connection) => begin(connection, &serving, &tasks),
            // The caller has gone again; the next may be there already.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            // Out of files, or of memory. It stays with the kernel, and waiting a little is all that helps.
            Err(error) => {
                serving.scarcity.not_accepted(&error);
                tokio::time::sleep(NEXT_TRY).await;
            }
        }
    }
    // Has the runtime look once more who has come.
    others_first().await;
    // As many as can be queued, so that who comes all the time does not hold up the end; without tokio's budget, which would have it seem
    // that nobody is there after 128 of them.
    for _ in 0..=BACKLOG {
        let Some(Ok(connection)) = unconstrained(listener.accept()).now_or_never() else { break };
        begin(connection, &serving, &tasks);
    }
}

/// One of these, unless there are no more than are spared.
pub(super) fn permit(permits: &Arc<Semaphore>, spared: usize) -> Option<OwnedSemaphorePermit> {
    if permits.available_permits() <= spared {
        return None;
    }
    Arc::clone(permits).try_acquire_owned().ok()
}

fn begin((stream, peer): (TcpStream, SocketAddr), serving: &Serving, tasks: &Tasks) {
    // A connection beyond the bound is closed at once: better than one that waits for an answer that will not come.
    let Some(permit) = permit(&serving.permits, serving.spared) else {
        return serving.scarcity.turned_away(serving.bounded_alone);
    };
    let _ = stream.set_nodelay(true);
    let serving = serving.clone();
    let inner = tasks.clone();
    tasks.run(async move {
        let peer = Peer::new(peer.ip());
        match &serving.tls {
            None => serve((stream, permit), peer, &serving, &inner).await,
            // Big, and who speaks clear text shall not pay for it.
            Some(tls) => {
                Box::pin(async {
                    let shaken = tokio::select! {
                        biased;
                        shaken = tls.accept(stream, peer.address, serving.limits.head_timeout) => shaken,
                        // Who has not shaken hands has asked for nothing.
                        () = inner.stop().cancelled() => return,
                    };
                    let Some((stream, disowned)) = shaken else { return };
                    let stop = inner.stop().child_token();
                    let inner = inner.ending_by(stop.clone());
                    let mut served = pin!(serve((stream, permit), peer, &serving, &inner));
                    // Whoever is let in by an authority that counts no more ends as at the end of all.
                    if disowned.run_until_cancelled(served.as_mut()).await.is_none() {
                        stop.cancel();
                        served.await;
                    }
                })
                .await;
            }
        }
    });
}

/// In whichever of the protocols the other side begins with.
async fn serve(
    (stream, permit): (impl Reset + AsyncRead + AsyncWrite + Unpin + Send + 'static, OwnedSemaphorePermit),
    peer: Peer,
    serving: &Serving,
    tasks: &Tasks,
) {
    if !serving.http2 {
        return serve_http1((stream, permit), peer, serving, tasks).await;
    }
    let heard = tokio::select! {
        biased;
        heard = timeout(serving.limits.head_timeout, http2::listened(stream)) => heard,
        () = tasks.stop().cancelled() => return,
    };
    match heard {
        Ok(Ok((true, stream))) => {
            // Beside the other kind it is big, and whoever speaks that kind shall not pay for it.
            Box::pin(http2::serve(stream, peer, serving, tasks)).await;
        }
        Ok(Ok((false, stream))) => serve_http1((stream, permit), peer, serving, tasks).await,
        Ok(Err(_)) | Err(_) => {}
    }
}

async fn serve_http1(
    (stream, permit): (impl Reset + AsyncRead + AsyncWrite + Unpin + Send + 'static, OwnedSemaphorePermit),
    peer: Peer,
    serving: &Serving,
    tasks: &Tasks,
) {
    let Peer { address, turn, .. } = peer.clone();
    let answering = Arc::new(Answering { answers: serving.answers.clone(), peer, streams: None });
    // Long bodies go out as they came; elsewhere an answer is one short piece.
    let is_long = matches!(&answering.answers, Answers::Calls(_));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(serving.limits.head_timeout)
        .max_headers(serving.limits.headers)
        .max_header_size(serving.limits.head_bytes)
        .half_close(true) // who has said everything may shut his side and is still answered
        .title_case_headers(true);
    let (refuse, patience) = (serving.refuse.clone(), serving.limits.unread_timeout);
    let stream = Spoken::new(stream, (refuse, address), turn.clone(), patience, Some(permit))
        .hears_out(serving.limits.heard_out);
    let stream = if is_long { stream.in_pieces() } else { stream };
    let served =
        http.serve_connection(TokioIo::new(stream), service_fn(|request| Arc::clone(&answering).answer(request)));
    let mut connection = pin!(served.with_upgrades());
    tokio::select! {
        // What was sent to us by now is read before hyper hears of the end: it closes a connection of which it has read nothing.
        biased;
        _ended = connection.as_mut() => {}
        () = tasks.stop().cancelled() => {
            connection.as_mut().graceful_shutdown();
            let is_over = timeout(HALF_SAID, connection.as_mut()).await.is_ok();
            // Whoever has not said a whole head by then has asked for nothing.
            if !is_over && turn.is_asked() {
                let _ = connection.await;
            }
        }
    }
    // Hyper leaves it to whoever asked for another protocol, though nobody spoke it.
    if let Some(Ok(left)) = turn.switch().take().and_then(FutureExt::now_or_never) {
        let _ = TokioIo::new(left).shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use arc_swap::ArcSwap;
    use axum::Router;
    use tokio_util::sync::CancellationToken;

    use super::super::listener::listen;
    use super::super::routed::Routed;
    use super::super::tuning::Tuning;
    use super::*;
    use crate::server::SystemClock;
    use crate::telemetry::Metrics;

    fn serving(http2: bool) -> Serving {
        let limits = ConnectionLimits {
            head_timeout: Duration::from_secs(10),
            head_bytes: 16 * 1024,
            headers: 100,
            unread_timeout: Duration::from_secs(10),
            heard_out: 0,
        };
        let tuning = Tuning { body: 0, body_timeout: Duration::from_secs(10), trusted: Vec::new() };
        let router = Router::new().fallback(|| async { "heard" });
        let routed = Routed { router, longest: 0, tuning: Arc::new(ArcSwap::from_pointee(tuning)) };
        Serving {
            answers: Answers::Router(Arc::new(routed)),
            refuse: None,
            limits,
            tls: None,
            permits: Arc::new(Semaphore::new(1_000)),
            spared: 0,
            bounded_alone: None,
            http2,
            scarcity: Arc::new(Scarcity::new(
                crate::server::scarcity::Room::for_connections(1_000),
                Arc::new(SystemClock::default()),
                Arc::new(Metrics::new()),
            )),
        }
    }

    /// What callers hear whose request lies in the kernel's queue when the end is told.
    fn heard(http2: bool) -> Vec<io::Result<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut callers = Vec::new();
        runtime.block_on(async {
            let listener = listen("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
            let listener = Arc::new(TcpListener::from_std(listener).unwrap());
            // More than a task of tokio's has a budget for in one turn.
            for _ in 0..200 {
                let mut caller = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                caller.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                callers.push(caller);
            }
            let stop = CancellationToken::new();
            stop.cancel();
            let tasks = Tasks::new(stop);
            accept(listener, serving(http2), tasks.clone()).await;
            tasks.ended().await;
        });
        callers.into_iter().map(io::read_to_string).collect()
    }

    #[test]
    fn a_request_that_was_sent_before_the_end_is_answered() {
        for http2 in [false, true] {
            for said in heard(http2) {
                assert!(said.as_ref().is_ok_and(|said| said.ends_with("heard")), "HTTP/2 spoken: {http2}; {said:?}");
            }
        }
    }
}
