//! What is learned of old secrets. For operators who show the ops token.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, json};

use super::OpsService;
use super::tokens::{Authorized, Said, answer, denied};

/// Whose secrets, and whether what was learned of them is to be forgotten.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    client: String,
    #[serde(default)]
    forget: bool,
}

/// `GET /api/v1/clients/learned`: how many are learned of each client whose mapping says so, by its old id.
pub(super) async fn counts(_: Authorized, State(service): State<Arc<OpsService>>) -> Response {
    let snapshot = service.bridge.snapshot.load_full();
    let mut clients = Map::new();
    for client in snapshot.table.clients() {
        if let Some(hashes) = service.exchange.learned(client).await {
            clients.insert(client.legacy_id.to_string(), hashes.len().into());
        }
    }
    answer(StatusCode::OK, &json!({"generation": snapshot.generation, "clients": clients}))
}

/// `POST /api/v1/clients/learned` takes `{"client": ID}` and answers the hashes, the newest first. With `"forget": true` what is
/// kept of a client whose mapping has all of it, and does not say any more that it is learned, is deleted.
pub(super) async fn hashes(
    Authorized(by): Authorized,
    State(service): State<Arc<OpsService>>,
    Said(body): Said,
) -> Response {
    let Ok(asked) = serde_json::from_slice::<Asked>(&body) else {
        return denied(StatusCode::BAD_REQUEST, "say {\"client\": \"ID\"}");
    };
    let snapshot = service.bridge.snapshot.load_full();
    let Some(client) = snapshot.table.client(&asked.client) else {
        return denied(StatusCode::NOT_FOUND, "the bridge has no such client");
    };
    if asked.forget {
        return match service.exchange.forget_learned(client).await {
            Ok(()) => {
                service.bridge.edge.learned_forgotten(&client.legacy_id, by);
                answer(StatusCode::OK, &json!({"client": client.legacy_id, "hashes": []}))
            }
            Err(sentence) => denied(StatusCode::CONFLICT, sentence),
        };
    }
    match service.exchange.learned(client).await {
        Some(hashes) => {
            service.bridge.edge.learned_read(&client.legacy_id, by);
            answer(StatusCode::OK, &json!({"client": client.legacy_id, "hashes": hashes}))
        }
        None => {
            let sentence = "the mapping that the bridge uses has no { learn = true } for this client";
            denied(StatusCode::CONFLICT, sentence)
        }
    }
}
