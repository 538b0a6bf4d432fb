//! `GET /api/v1/migration`: how clients fare that are on their way. For operators who show the ops token.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::OpsService;
use super::tokens::{answer, authorized};
use crate::domain::canary::{Figures, StepBack};
use crate::exchange::Fares;

/// Every client of which there is something to tell, by its old id. docs/OPERATIONS.md has this shape.
pub(super) async fn migration(State(service): State<Arc<OpsService>>, headers: HeaderMap) -> Response {
    if let Err(denied) = authorized(&service, &headers) {
        return denied.answer();
    }
    let snapshot = service.bridge.snapshot.load_full();
    let mut clients = Map::new();
    for client in snapshot.table.clients() {
        if let Some(fares) = service.exchange.fares(client).await {
            clients.insert(client.legacy_id.clone(), json!({"stage": client.stage.word(), "canary": canary(&fares)}));
        }
    }
    answer(StatusCode::OK, &json!({"generation": snapshot.generation, "clients": clients}))
}

fn canary(fares: &Fares) -> Value {
    let stepped_back = fares.step_back.as_ref().map(|StepBack { at, figures: then, .. }| {
        json!({"at": humantime::format_rfc3339_seconds(at.system()).to_string(), "figures": figures(*then)})
    });
    json!({"figures": figures(fares.figures), "stepped_back": stepped_back})
}

fn figures(of: Figures) -> Value {
    json!({"realm": of.realm, "without_tokens": of.without_tokens, "old": of.old, "refused": of.refused})
}
