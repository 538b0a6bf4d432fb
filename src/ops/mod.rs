//! What operators and their machines ask: health, readiness, metrics, the dashboard. Never public.
//!
//! Must not: show a secret or a token, or be needed by a legacy client.

mod backup;
mod dashboard;
mod learned;
mod migration;
mod table;
mod tokens;
mod uses;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{StatusCode, header};
use secrecy::SecretString;
use serde_json::json;
use tokio_util::sync::CancellationToken;

pub use self::table::Comparisons;
use self::tokens::{answer, denied};
use crate::document::Finding;
use crate::domain::refusal::sentence;
use crate::domain::time::Timestamp;
use crate::exchange::{Bridge, Exchange};
use crate::keycloak::RealmStatus;
use crate::telemetry::{News, StoreFigures};

/// What the ops listener looks at.
#[derive(Debug)]
pub struct OpsService {
    /// The bridge.
    pub bridge: Arc<Bridge>,
    /// The realm, as the workers saw it last.
    pub realm: Arc<RealmStatus>,
    /// For what is asked about logins.
    pub exchange: Arc<Exchange>,
    /// What an operator must show to ask that; `None`: nobody may.
    pub token: ArcSwap<Option<SecretString>>,
    /// Directories that the bridge reads by itself what is in them: no copy goes there.
    pub own: ArcSwap<Vec<PathBuf>>,
    /// Errors of the last load, where it was refused.
    pub refused: parking_lot::Mutex<Vec<Finding>>,
    /// Sections that differ from what is in use until a restart.
    pub needs_restart: parking_lot::Mutex<Vec<&'static str>>,
    /// Of whom the log has told that they did not show the token.
    pub refused_callers: News<IpAddr>,
    /// How often secrets were compared of late.
    pub comparisons: Comparisons,
    /// When the bridge started.
    pub since: Timestamp,
    /// Set when the bridge drains.
    pub stop: CancellationToken,
}

/// Who is at the other end of the connection that a request came by.
#[derive(Clone, Copy, Debug)]
pub struct Caller(pub IpAddr);

/// No request of an operator is longer.
const LONGEST: usize = 16 * 1024;

/// ... but proofs for a thousand clients: the longest of all.
pub const MANY: usize = 1024 * 1024;

/// So many reasons are told.
const REASONS: usize = 100;

impl OpsService {
    /// Why the last load was refused, a text for each error; nothing where it was not.
    fn reasons(&self) -> Vec<String> {
        let refused = self.refused.lock();
        let mut reasons: Vec<String> = refused.iter().take(REASONS).map(ToString::to_string).collect();
        let more = refused.len().saturating_sub(REASONS);
        if more > 0 {
            reasons.push(format!("and {more} more\n  hint: `passbridge check` shows all"));
        }
        reasons
    }
}

/// The dashboard at `/`, `/healthz`, `/readyz`, `/metrics`, `/api/v1`.
pub fn router(service: Arc<OpsService>) -> Router {
    Router::new()
        .route("/", get(dashboard::page))
        .route("/dashboard.css", get(dashboard::style))
        .route("/dashboard.js", get(dashboard::script))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/tokens/find", post(tokens::find))
        .route("/api/v1/tokens/revoke", post(tokens::revoke))
        .route("/api/v1/clients/uses", post(uses::uses))
        .route("/api/v1/clients/learned", get(learned::counts).post(learned::hashes))
        .route("/api/v1/store/backup", post(backup::backup))
        .layer(DefaultBodyLimit::max(LONGEST))
        .route("/api/v1/migration", get(migration::migration))
        .route("/api/v1/table", get(table::table))
        .route("/api/v1/table/secrets", post(table::secrets).layer(DefaultBodyLimit::max(MANY)))
        .fallback(async || denied(StatusCode::NOT_FOUND, "there is no such path"))
        .method_not_allowed_fallback(async || {
            denied(StatusCode::METHOD_NOT_ALLOWED, "this path does not answer this method")
        })
        .with_state(service)
}

/// 200 while requests are served, 503 while draining. A refused load shows in the body and changes no status: what was good is
/// still served.
async fn readyz(State(service): State<Arc<OpsService>>) -> Response {
    let snapshot = service.bridge.snapshot.load();
    let draining = service.stop.is_cancelled();
    let refuses = service.bridge.store.newest_failure().map(|failure| sentence(&failure));
    let refused = service.reasons();
    let body = json!({
        "ready": !draining,
        "mappings": {
            "generation": snapshot.generation,
            "digest": snapshot.digest,
            "clients": snapshot.table.len(),
            "current": refused.is_empty(),
            "refused": refused,
        },
        "realm": service.realm.word(),
        "audit": service.bridge.edge.audit_word(),
        "store": if refuses.is_some() { "refusing" } else { "writable" },
        "store_refuses": refuses,
    });
    let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    answer(status, &body)
}

async fn metrics(State(service): State<Arc<OpsService>>) -> Response {
    let store = service.bridge.store.statistics();
    service.bridge.metrics.store.show(&StoreFigures {
        writable: store.writable,
        disk_bytes: store.disk_bytes,
        writes: [store.writes, store.failed_writes],
        look_ups: [store.cache_hits, store.cache_misses],
    });
    let text = service.bridge.metrics.text();
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
