//! The listener that only the realm calls: `POST /backchannel-logout` (OpenID Connect Back-Channel Logout 1.0).

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{StatusCode, header};
use serde_json::json;

use crate::domain::refusal::{Cause, Refusal};
use crate::exchange::Exchange;
use crate::legacy::form;
use crate::telemetry::Trail;

/// No logout request is longer.
pub(super) const LONGEST: usize = 16 * 1024;

pub(super) fn router(exchange: Arc<Exchange>) -> Router {
    Router::new().route("/backchannel-logout", post(logout)).with_state(exchange)
}

async fn logout(State(exchange): State<Arc<Exchange>>, body: Bytes) -> Response {
    let mut trail = Trail::default();
    let heard = match form::parse(&body).map(|form| form.value("logout_token").map(str::to_owned)) {
        Ok(Some(token)) => exchange.hear_logout(&token, &mut trail).await,
        Ok(None) | Err(_) => Err(Refusal::client(Cause::InvalidRequest, "the request carries no `logout_token`")),
    };
    trail.refusal = heard.err();
    exchange.bridge().edge.logout(&trail);
    answer(trail.refusal)
}

/// What section 2.8 of the specification says; the sentence helps whoever reads the realm's log.
fn answer(refusal: Option<Refusal>) -> Response {
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    let Some(refusal) = refusal else { return (StatusCode::OK, no_store).into_response() };
    let (status, error, description) = if refusal.cause == Cause::ServerError {
        let description = "the logout could not be taken; the bridge's log says why";
        (StatusCode::INTERNAL_SERVER_ERROR, "server_error", description)
    } else {
        (StatusCode::BAD_REQUEST, "invalid_request", &*refusal.detail)
    };
    let body = json!({"error": error, "error_description": description}).to_string();
    (status, no_store, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
