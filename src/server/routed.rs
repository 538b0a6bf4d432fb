//! What a router answers: the realm's listener, and that of operators. A body is read once the router wants it, within bounds.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use futures_util::stream;
use http::{Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use serde_json::json;
use tower::ServiceExt;

use super::answer::Peer;
use super::body::{Unread, whole};
use super::tuning::Tuning;
use crate::ops::Caller;
use crate::relay::hops::{NOT_PLAIN, is_framed_plainly};

/// Answers on one listener.
#[derive(Debug)]
pub struct Routed {
    /// Who answers.
    pub router: Router,
    /// Bytes of a body.
    pub longest: usize,
    /// How long a body may take.
    pub tuning: Arc<ArcSwap<Tuning>>,
}

impl Routed {
    pub(super) async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let turn = &peer.turn;
        if !is_framed_plainly(request.headers()) {
            turn.cuts_short();
            return Ok(refused(Unread::Coded));
        }
        let (longest, patience) = (self.longest, self.tuning.load().body_timeout);
        let is_empty = request.body().is_end_stream();
        let read = Arc::new(OnceLock::new());
        let told = Arc::clone(&read);
        let mut request = request.map(|body| {
            Body::from_stream(stream::once(async move {
                let body = whole(body, longest, patience).await;
                told.get_or_init(|| body.as_ref().map(|_| ()).map_err(|unread| *unread));
                // The router takes it for any other failure, and what it says of it is not what is sent.
                body.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
            }))
        });
        request.extensions_mut().insert(Caller(peer.address));
        let response = self.router.clone().oneshot(request).await?;
        let read = read.get().copied();
        // It may still be coming, and whoever sends it shall hear the answer all the same.
        if !is_empty && read != Some(Ok(())) {
            turn.cuts_short();
        }
        Ok(if let Some(Err(unread)) = read { refused(unread) } else { response })
    }
}

fn refused(unread: Unread) -> Response<Body> {
    let (status, sentence) = match unread {
        Unread::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"),
        Unread::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body came too slowly"),
        Unread::Broken | Unread::Gone => {
            (StatusCode::BAD_REQUEST, "the body ended before its length, or its framing is broken")
        }
        Unread::Coded => (StatusCode::BAD_REQUEST, NOT_PLAIN),
    };
    let headers = [
        (header::CONNECTION, "close"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_TYPE, "application/json"),
    ];
    (status, headers, format!("{}\n", json!({"error": sentence}))).into_response()
}
