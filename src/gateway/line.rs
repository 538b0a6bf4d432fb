//! A connection to a server: of its own for one request after another (HTTP/1.1), or shared by many at once (HTTP/2).

use std::error::Error as _;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use h2::Reason;
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Stream;
use super::flow::Flow;
use super::request::Asking;
use super::wire::{NoAnswer, Over, Wire};
use crate::lifecycle::Tasks;
use crate::relay::ANSWER_HEAD;

/// Requests at once on a shared connection, at most; a server may take fewer (RFC 9113 section 6.5.2).
pub(super) const STREAMS: usize = 100;
/// Bytes of an answer that may lie unread here. Each of those requests has as much: a slow reader is not to hold up another.
const WINDOW: u32 = 128 << 10;
/// So many times the bytes of all requests may lie unread on a connection, by what is told to its server. There are never so many; but `h2` ends a connection,
/// and all its requests, over small frames that lie unread by a measure of its own, which is made of this: below some 32 bytes each, as of events.
const SMALL: u32 = 16;
/// Bytes of a request that may wait for the server.
const SEND_BUFFER: usize = 64 << 10;

/// A way to send a request.
#[derive(Debug)]
pub(super) enum Line {
    /// For one at a time.
    Own(Wire),
    /// For one among others.
    Shared(Shared, Load),
}

/// A connection for many requests at once.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    sender: http2::SendRequest<Flow<Stream>>,
    scheme: Scheme,
    /// The server's own name, for a client that names none.
    authority: Authority,
    places: Arc<Places>,
    /// When, by the monotonic clock.
    pub(super) opened: Duration,
    /// When somebody last began to open another in its place.
    pub(super) replaced: Option<Duration>,
}

/// The places on a connection.
#[derive(Debug)]
struct Places {
    taken: AtomicUsize,
    /// How many there are, by what the server has said last, over any connection.
    most: Arc<AtomicUsize>,
}

impl Places {
    /// A server that takes none for now has calls wait for it: more connections would not help.
    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed).clamp(1, STREAMS)
    }
}

/// Takes a place as long as the answer has not passed.
#[derive(Debug)]
pub(super) struct Load(Arc<Places>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether nobody uses it.
    pub(super) fn is_idle(&self) -> bool {
        self.places.taken.load(Ordering::Relaxed) == 0
    }

    /// Whether half of it is free.
    pub(super) fn has_much_room(&self) -> bool {
        !self.is_closed() && self.places.taken.load(Ordering::Relaxed) <= self.places.most() / 2
    }

    /// A place on it, while there is one.
    pub(super) fn board(&self) -> Option<Line> {
        let is_free = !self.is_closed() && self.places.taken.load(Ordering::Relaxed) < self.places.most();
        is_free.then(|| {
            self.places.taken.fetch_add(1, Ordering::Relaxed);
            Line::Shared(self.clone(), Load(Arc::clone(&self.places)))
        })
    }
}

/// Speaks HTTP/2 over a connection that was opened just now. `most`: how many requests at once its server takes on one, as far as that is known; it is told
/// anew.
pub(super) async fn shared(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (scheme, authority): (Scheme, Authority),
    (most, opened): (&Arc<AtomicUsize>, Duration),
    tasks: &Tasks,
) -> Result<Shared, String> {
    let places = Arc::new(Places { taken: AtomicUsize::new(0), most: Arc::clone(most) });
    // No pings: gRPC servers take more than two in five minutes for abuse, and end all calls of the connection (`too_many_pings`). A connection that is
    // silent is left behind a call that was not answered in time (`Server::leave_shared`).
    let mut http = http2::Builder::new(tasks.clone());
    http.timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(ANSWER_HEAD).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(SMALL * WINDOW * u32::try_from(STREAMS).unwrap_or(1))
        .initial_max_send_streams(places.most())
        .max_send_buf_size(SEND_BUFFER);
    let (sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let most = Arc::clone(most);
    tasks.run(async move {
        let mut connection = pin!(connection);
        poll_fn(|cx| {
            let polled = connection.as_mut().poll(cx);
            most.store(connection.current_max_send_streams(), Ordering::Relaxed);
            polled.map(drop)
        })
        .await;
    });
    Ok(Shared { sender, scheme, authority, places, opened, replaced: None })
}

impl Shared {
    /// Sends a request.
    ///
    /// # Errors
    /// There is no answer; the body of what surely was not sent comes back.
    pub(super) async fn ask(&mut self, asking: Asking<'_>, body: Flow<Stream>) -> Result<Response<Incoming>, NoAnswer> {
        let (head, has_body) = (asking.head, !body.is_end_stream());
        let mut request = self.request(asking, body);
        if let Some(bearer) = asking.bearer {
            let value = bearer.value().map_err(NoAnswer::Unfit)?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let sent = self.sender.try_send_request(request).await;
        sent.map_err(|mut error| {
            let message = error.take_message();
            let error = error.error();
            let over = over(error);
            // Of a call that waited for its place when the connection ended hyper says merely that it is gone.
            let is_safe = head.method.is_safe() && (over != Over::Call || error.is_user());
            let (is_unseen, why) = (is_unseen(error), said(error));
            match message {
                Some(request) => NoAnswer::NotSent(request.into_body(), over, why),
                // What the server says that it has not looked at may be sent again, and what is safe, where nothing of it is gone.
                None if !has_body && (is_safe || is_unseen) => NoAnswer::NotSent(Flow::nothing(), over, why),
                None if is_unseen => NoAnswer::Unheard(why, over),
                None => NoAnswer::Lost(why, over),
            }
        })
    }

    /// HTTP/2 says the host in its target, and nothing about the connection.
    fn request(&self, asking: Asking<'_>, body: Flow<Stream>) -> Request<Flow<Stream>> {
        let head = asking.head;
        let mut request = Request::new(body);
        request.method_mut().clone_from(&head.method);
        request.headers_mut().clone_from(&head.headers);
        request.headers_mut().remove(header::CONNECTION);
        request.headers_mut().extend(asking.origin.lines().map(|(name, value)| (name.clone(), value.clone())));
        let named = asking.host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let mut target = Parts::default();
        target.scheme = Some(self.scheme.clone());
        target.authority = Some(named.unwrap_or_else(|| self.authority.clone()));
        target.path_and_query = head.uri.path_and_query().cloned().or(Some(PathAndQuery::from_static("/")));
        if let Ok(target) = Uri::from_parts(target) {
            *request.uri_mut() = target;
        }
        *request.version_mut() = Version::HTTP_2;
        request
    }
}

/// What hyper says, and behind it the reason: hyper knows no more than that it was HTTP/2. What a server adds in words of its own
/// may be anything, and is left out.
pub(super) fn said(error: &hyper::Error) -> String {
    let within = error.source();
    let reason = within.and_then(|within| within.downcast_ref::<h2::Error>()).and_then(h2::Error::reason);
    match (reason, within) {
        (Some(reason), _) => format!("{error}: {reason}"),
        (None, Some(within)) => format!("{error}: {within}"),
        (None, None) => error.to_string(),
    }
}

/// Whether the connection broke, or what came over it is no HTTP/2: not where one call, or each, is told to go elsewhere. Where a head has a name in
/// capitals, say, h2 ends the connection, and all of its calls hear the same of that (docs/adr/0010).
fn over(error: &hyper::Error) -> Over {
    let Some(source) = error.source() else { return Over::Call };
    let ends = |error: &&h2::Error| error.is_go_away() && error.reason() != Some(Reason::NO_ERROR);
    match source.downcast_ref().filter(ends) {
        Some(error) if error.is_library() && error.reason() == Some(Reason::PROTOCOL_ERROR) => Over::Answer,
        Some(_) => Over::Connection,
        None if source.is::<std::io::Error>() => Over::Connection,
        None => Over::Call,
    }
}

/// Whether the server has told that it did not look at a request (RFC 9113 section 8.7).
fn is_unseen(error: &hyper::Error) -> bool {
    let within = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    within.is_some_and(|error| {
        let went = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
        error.is_remote() && (went || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM))
    })
}
