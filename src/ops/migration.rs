//! `GET /api/v1/migration`: how clients fare that are on their way. For operators who show the ops token.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::OpsService;
use super::tokens::{Authorized, answer};
use crate::domain::canary::StepBack;
use crate::domain::shadow::{Differing, Outcome, Tally};
use crate::exchange::Fares;

/// Every client of which there is something to tell, by its old id. docs/OPERATIONS.md has this shape.
pub(super) async fn migration(_: Authorized, State(service): State<Arc<OpsService>>) -> Response {
    let snapshot = service.bridge.snapshot.load_full();
    let mut clients = Map::new();
    for client in snapshot.table.clients() {
        let fares = service.exchange.fares(client).await;
        let tally = service.exchange.tally(client).await;
        if fares.is_some() || tally.is_some() {
            let (canary, shadow) = (fares.as_ref().map(canary), tally.as_ref().map(shadow));
            let told = json!({"stage": client.stage.word(), "canary": canary, "shadow": shadow});
            clients.insert(client.legacy_id.to_string(), told);
        }
    }
    answer(StatusCode::OK, &json!({"generation": snapshot.generation, "clients": clients}))
}

fn canary(fares: &Fares) -> Value {
    let stepped_back =
        fares.step_back.as_ref().map(|StepBack { at, figures, .. }| json!({"at": at.rfc3339(), "figures": figures}));
    json!({"figures": fares.figures, "stepped_back": stepped_back})
}

fn shadow(tally: &Tally) -> Value {
    let counts: Map<String, Value> =
        Outcome::ALL.iter().map(|outcome| (outcome.word().to_owned(), tally.count(*outcome).into())).collect();
    let last = |one: &Differing| {
        json!({
            "at": one.at.rfc3339(), "outcome": one.outcome.word(), "cause": one.cause, "words": one.words,
            "old_ms": one.took.old_ms, "realm_ms": one.took.realm_ms,
        })
    };
    let mean = |sum: u64| sum.checked_div(tally.asked);
    json!({
        "since": tally.since.rfc3339(), "differing": tally.differing(), "counts": counts,
        "asked": {"count": tally.asked, "old_ms": mean(tally.old_ms), "realm_ms": mean(tally.realm_ms)},
        "last": tally.last.iter().map(last).collect::<Value>(),
    })
}
