//! A fake API that speaks HTTP/2: it keeps what it reads, and answers as its test says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::runtime::{self, OwnRuntime};
use super::tls::Shown;

/// Requests at once on one connection, as servers are used to.
const STREAMS: u32 = 200;

/// Frames of 32 bytes before an answer whose path has the word.
const SMALL: usize = 10_000;

/// A request that was read whole.
#[derive(Clone, Debug)]
pub struct Seen2 {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

#[derive(Debug)]
struct State {
    seen: Mutex<Vec<Seen2>>,
    connections: AtomicUsize,
    closed: AtomicUsize,
    /// One for each answer; none are taken where there is no gate.
    gate: Option<Semaphore>,
    waiting: AtomicUsize,
    /// Small frames of answers that were taken from it.
    small: AtomicUsize,
    /// Requests at once on one connection, as it tells them.
    streams: u32,
    /// Tells the connections so far to go.
    away: Mutex<CancellationToken>,
    /// Says nothing any more on the connections so far, and reads nothing.
    silent: Mutex<CancellationToken>,
    /// Connections come by here once they are accepted, before anything is said.
    door: tokio::sync::Mutex<()>,
}

/// An API. Answers `good` with the trailer `grpc-status: 0`; a path with `reset` in it by giving the stream up,
/// one with `small` begins with many small frames; one with `unnamed` by a status that has no name.
#[derive(Debug)]
pub struct Http2Api {
    address: SocketAddr,
    state: Arc<State>,
    _runtime: OwnRuntime,
}

impl Http2Api {
    /// In clear text, with prior knowledge.
    pub fn start() -> Self {
        Self::begin(None, None, STREAMS)
    }

    /// Over TLS, for who chooses it.
    pub fn over_tls(shown: &Shown) -> Self {
        Self::begin(Some(shown), None, STREAMS)
    }

    /// In clear text; nothing is answered until it is let go.
    pub fn gated() -> Self {
        Self::narrow(STREAMS)
    }

    /// The same, with so many requests at once on a connection.
    pub fn narrow(streams: u32) -> Self {
        Self::begin(None, Some(Semaphore::new(0)), streams)
    }

    fn begin(shown: Option<&Shown>, gate: Option<Semaphore>, streams: u32) -> Self {
        passbridge::server::provide_tls();
        let runtime = OwnRuntime::start();
        let listener = runtime::listen(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = listener.local_addr().unwrap();
        let acceptor = shown.map(|shown| TlsAcceptor::from(Arc::new(shown.config(&["h2"]))));
        let state = Arc::new(State {
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            gate,
            waiting: AtomicUsize::new(0),
            small: AtomicUsize::new(0),
            streams,
            away: Mutex::default(),
            silent: Mutex::default(),
            door: tokio::sync::Mutex::default(),
        });
        let handle = runtime.handle.clone();
        let api = Self { address, state: Arc::clone(&state), _runtime: runtime };
        handle.clone().spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                state.connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, state, away) = (acceptor.clone(), Arc::clone(&state), state.away.lock().clone());
                handle.spawn(async move {
                    drop(state.door.lock().await);
                    match acceptor {
                        None => serve(stream, Arc::clone(&state), away).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, Arc::clone(&state), away).await;
                            }
                        }
                    }
                    state.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        api
    }

    /// Its URL by this host name.
    pub fn url(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}", self.address.port())
    }

    pub fn seen(&self) -> Vec<Seen2> {
        self.state.seen.lock().clone()
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Connections that are closed by now.
    pub fn closed(&self) -> usize {
        self.state.closed.load(Ordering::SeqCst)
    }

    /// Requests that wait for their answer.
    pub fn waiting(&self) -> usize {
        self.state.waiting.load(Ordering::SeqCst)
    }

    /// Small frames that were taken from it.
    pub fn small(&self) -> usize {
        self.state.small.load(Ordering::SeqCst)
    }

    /// Answers so many.
    pub fn let_go(&self, count: usize) {
        self.state.gate.as_ref().expect("there is a gate").add_permits(count);
    }

    /// Accepts connections as before, and says nothing on those that come until this is dropped.
    pub fn mute(&self) -> impl Drop + '_ {
        self.state.door.blocking_lock()
    }

    /// Falls silent on every connection so far, and keeps them open.
    pub fn fall_silent(&self) {
        std::mem::take(&mut *self.state.silent.lock()).cancel();
    }

    /// Tells every connection so far to go.
    pub fn go_away(&self) {
        std::mem::take(&mut *self.state.away.lock()).cancel();
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, state: Arc<State>, away: CancellationToken) {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.max_concurrent_streams(state.streams);
    let silent = state.silent.lock().clone();
    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ended = connection.as_mut() => return,
        () = silent.cancelled() => std::future::pending().await,
        () = away.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

type Answer = Response<UnsyncBoxBody<Bytes, std::convert::Infallible>>;

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Answer, &'static str> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| "cut off")?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let [is_reset, is_unnamed, is_small] = ["reset", "unnamed", "small"].map(|word| head.uri.path().contains(word));
    let body = body.to_bytes();
    state.seen.lock().push(Seen2 { method: head.method, uri: head.uri, headers: head.headers, body, trailers });
    if is_reset {
        return Err("the test wants this");
    }
    if let Some(gate) = &state.gate {
        state.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&state.waiting);
        gate.acquire().await.unwrap().forget();
    }
    let told = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from(0))]);
    // Of no length that is known before, as whoever has trailers answers.
    let frames = [Frame::data(Bytes::from_static(b"good")), Frame::trailers(told)];
    let taken = Arc::clone(&state);
    let small = std::iter::repeat_with(move || {
        taken.small.fetch_add(1, Ordering::SeqCst);
        Frame::data(Bytes::from_static(&[b'.'; 32]))
    });
    let small = small.take(if is_small { SMALL } else { 0 });
    let body = StreamBody::new(futures_util::stream::iter(small.chain(frames).map(Ok)));
    let status = if is_unnamed { 520 } else { 200 };
    Ok(Response::builder()
        .status(status)
        .header("x-api", "yes")
        .header("trailer", "grpc-status")
        .body(body.boxed_unsync())
        .unwrap())
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
