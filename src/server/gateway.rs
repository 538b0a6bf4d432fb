//! The listeners of API calls and of authorization questions: who calls from where, and the trail of it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;

use super::address::{client_address, is_trusted};
use super::connection::Peer;
use super::legacy::Tuning;
use crate::domain::time::Clock;
use crate::exchange::Bridge;
use crate::gateway::{Broken, From, Gateway};
use crate::telemetry::Trail;

/// What one worker's handlers need.
#[derive(Clone, Debug)]
pub(super) struct GatewayService {
    pub(super) gateway: Arc<Gateway>,
    pub(super) bridge: Arc<Bridge>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tuning: Arc<ArcSwap<Tuning>>,
    pub(super) is_secure: bool,
}

pub(super) fn calls(service: GatewayService) -> Router {
    Router::new().fallback(call).with_state(Arc::new(service))
}

pub(super) fn questions(service: GatewayService) -> Router {
    Router::new().fallback(question).with_state(Arc::new(service))
}

impl GatewayService {
    fn from(&self, Peer(peer): Peer, headers: &HeaderMap) -> From {
        let tuning = self.tuning.load();
        From {
            peer,
            address: client_address(peer, headers, &tuning.trusted),
            is_trusted: is_trusted(peer, &tuning.trusted),
            is_secure: self.is_secure,
        }
    }
}

async fn call(
    State(service): State<Arc<GatewayService>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let started = service.clock.monotonic();
    let from = service.from(peer, request.headers());
    let mut trail = Trail { address: Some(from.address), ..Trail::default() };
    // RFC 9112 section 6.1, as for legacy clients: of two lengths hyper has taken one away by now.
    let close = request.headers().contains_key(header::TRANSFER_ENCODING);
    let request = request.map(|body| body.map_err(|error| Broken::new(&error)).boxed_unsync());
    let mut response = service.gateway.call(request, &from, &mut trail).await;
    let took = service.clock.monotonic().saturating_sub(started);
    service.bridge.edge.request(&trail, response.status().as_u16(), took);
    // What was not read of a refused request is not to be taken for the next one.
    if (close || trail.refusal.is_some()) && !response.headers().contains_key(header::UPGRADE) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(Body::new)
}

async fn question(
    State(service): State<Arc<GatewayService>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let started = service.clock.monotonic();
    let (head, _body) = request.into_parts();
    let mut trail = Trail { address: Some(service.from(peer, &head.headers).address), ..Trail::default() };
    let response = service.gateway.authorize(&head, &mut trail).await;
    let took = service.clock.monotonic().saturating_sub(started);
    service.bridge.edge.request(&trail, response.status().as_u16(), took);
    response.map(Body::new)
}
