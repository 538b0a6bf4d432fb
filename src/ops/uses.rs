//! `POST /api/v1/clients/uses`: when each secret of a client was last right. For operators who show the ops token.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::OpsService;
use super::tokens::{Authorized, Said, answer, denied};
use crate::domain::last_use::LastUse;
use crate::domain::time::Timestamp;

/// Whose secrets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    client: String,
}

/// Takes `{"client": ID}`; for each slot a time, or null where its secret was not used since the start. Reloads keep it.
pub(super) async fn uses(_: Authorized, State(service): State<Arc<OpsService>>, Said(body): Said) -> Response {
    let Ok(asked) = serde_json::from_slice::<Asked>(&body) else {
        return denied(StatusCode::BAD_REQUEST, "say {\"client\": \"ID\"}");
    };
    let snapshot = service.bridge.snapshot.load();
    let Some(client) = snapshot.table.client(&asked.client) else {
        return denied(StatusCode::NOT_FOUND, "the bridge has no such client");
    };
    let body = json!({
        "client": client.legacy_id,
        "since": service.since.rfc3339(),
        "legacy_secrets": times(&client.legacy_uses, client.legacy_secrets.len()),
        "client_secrets": times(&client.client_uses, client.client_secrets.len()),
    });
    answer(StatusCode::OK, &body)
}

fn times(uses: &LastUse, slots: usize) -> Vec<Option<String>> {
    (0..slots).map(|slot| uses.at(slot).map(Timestamp::rfc3339)).collect()
}
