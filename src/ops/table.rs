//! `GET /api/v1/table`: the table in use; `POST /api/v1/table/secrets`: whether somebody has the same secrets. For operators who
//! show the ops token.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use super::OpsService;
use super::tokens::{Authorized, Said, answer, denied};
use crate::exchange::Bridge;
use crate::mapping::{dialect_digest, proves, shown};

/// Of a minute. `diff` asks once for a thousand clients; who guesses secrets would ask as often as the machine can.
const COMPARISONS: u32 = 60;

/// How often secrets were compared, and in which minute.
#[derive(Debug, Default)]
pub struct Comparisons(Mutex<(u64, u32)>);

impl Comparisons {
    /// Counts one, unless there were too many in this minute.
    fn may_go_on(&self, now: Duration) -> bool {
        let mut counted = self.0.lock();
        let minute = now.as_secs() / 60;
        if counted.0 != minute {
            *counted = (minute, 0);
        }
        let goes_on = counted.1 < COMPARISONS;
        counted.1 += u32::from(goes_on);
        goes_on
    }
}

/// The table in use, clients by their old ids. Nothing of a secret is in it.
pub(super) async fn table(_: Authorized, State(service): State<Arc<OpsService>>) -> Response {
    let snapshot = service.bridge.snapshot.load_full();
    let clients: Map<String, Value> =
        snapshot.table.clients().map(|client| (client.legacy_id.to_string(), shown(client).into())).collect();
    let dialects: Map<String, Value> = snapshot
        .table
        .dialects()
        .iter()
        .map(|(name, dialect)| (name.clone(), dialect_digest(dialect).into()))
        .collect();
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "generation": snapshot.generation,
        "digest": snapshot.digest,
        "refused": service.reasons(),
        "needs_restart": &*service.needs_restart.lock(),
        "dialects": dialects,
        "clients": clients,
    });
    answer(StatusCode::OK, &body)
}

/// Takes `{ID: proof}` and answers the ids whose secrets are others here. A client that is not here has none.
pub(super) async fn secrets(
    Authorized(by): Authorized,
    State(service): State<Arc<OpsService>>,
    Said(body): Said,
) -> Response {
    let Ok(proofs) = serde_json::from_slice::<BTreeMap<String, String>>(&body) else {
        let sentence = "say {\"ID\": \"proof\"} for each client";
        return denied(StatusCode::BAD_REQUEST, sentence);
    };
    let Bridge { clock, edge, .. } = &*service.bridge;
    if !service.comparisons.may_go_on(clock.monotonic()) {
        let sentence = "secrets were compared sixty times in this minute: ask in the next one";
        return denied(StatusCode::TOO_MANY_REQUESTS, sentence);
    }
    let token = service.token.load_full();
    let key = token.as_ref().as_ref().map(|token| token.expose_secret().as_bytes()).unwrap_or_default();
    let snapshot = service.bridge.snapshot.load_full();
    let same = |id: &str, proof: &str| snapshot.table.client(id).is_some_and(|client| proves(client, key, proof));
    let differ: Vec<&String> = proofs.iter().filter(|(id, proof)| !same(id, proof)).map(|(id, _)| id).collect();
    edge.secrets_compared(proofs.len(), differ.len(), by);
    answer(StatusCode::OK, &json!({"generation": snapshot.generation, "differ": differ}))
}
