//! `POST /api/v1/tokens/find` and `/revoke`: logins for operators who show the ops token. Answers provenance, never a token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::{Caller, OpsService};
use crate::domain::family::{Ending, Family, FamilyState};
use crate::domain::opaque::{OpaqueToken, TokenUse};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::exchange::{Bridge, Ended, Revoked, Selector};

/// Which logins are meant: exactly one of these.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Asked {
    Token(String),
    Fingerprint(String),
    Client(String),
    User(String),
}

pub(super) async fn find(_: Authorized, State(service): State<Arc<OpsService>>, Said(body): Said) -> Response {
    let selector = match asked(&body) {
        Ok(selector) => selector,
        Err(sentence) => return denied(StatusCode::BAD_REQUEST, sentence),
    };
    match service.exchange.find_logins(&selector).await {
        Ok(found) => {
            let families: Vec<Value> = found.families.iter().map(describe).collect();
            answer(StatusCode::OK, &json!({"logins": families, "more": found.more, "damaged": found.damaged}))
        }
        Err(refusal) => failed(&refusal),
    }
}

pub(super) async fn revoke(
    Authorized(by): Authorized,
    State(service): State<Arc<OpsService>>,
    Said(body): Said,
) -> Response {
    let selector = match asked(&body) {
        Ok(selector) => selector,
        Err(sentence) => return denied(StatusCode::BAD_REQUEST, sentence),
    };
    match service.exchange.end_logins(&selector, by).await {
        Ok(Revoked { logins, ended, over, damaged }) => {
            let more = ended > logins.len();
            let logins: Vec<Value> = logins.iter().map(describe_ended).chain(over.iter().map(describe)).collect();
            answer(StatusCode::OK, &json!({"logins": logins, "ended": ended, "more": more, "damaged": damaged}))
        }
        Err(refusal) => failed(&refusal),
    }
}

fn asked(body: &[u8]) -> Result<Selector, &'static str> {
    let asked = serde_json::from_slice(body).map_err(|_| "say one of token, fingerprint, client, user")?;
    Ok(match asked {
        Asked::Token(text) => Selector::Token(OpaqueToken::parse(&text).ok_or("that is no UUID of ours")?),
        Asked::Fingerprint(prefix) => {
            if prefix.len() < 6 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err("a fingerprint is at least 6 hexadecimal digits");
            }
            Selector::Fingerprint(prefix.to_ascii_lowercase())
        }
        Asked::Client(client) => Selector::Client(client),
        Asked::User(user) => Selector::User(user),
    })
}

/// What is to be shown, as a 401 has to say (RFC 9110 section 15.5.2, RFC 6750 section 3). No browser asks a person for it.
const CHALLENGE: &str = "Bearer realm=\"passbridge\"";

/// The ops token was shown, by a caller from here. It stands before the body among what a handler takes, so that nothing is read of whoever does not
/// show it.
pub(super) struct Authorized(pub(super) Option<IpAddr>);

impl FromRequestParts<Arc<OpsService>> for Authorized {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<OpsService>) -> Result<Self, Response> {
        let address = parts.extensions.get::<Caller>().map(|caller| caller.0);
        authorized(service, &parts.headers).map_err(|sentence| {
            let Bridge { metrics, clock, edge, .. } = &*service.bridge;
            metrics.ops_refused.inc();
            if let Some(address) = address
                && service.refused_callers.is_news(address, clock.monotonic())
            {
                edge.operator_refused(address, parts.uri.path(), sentence);
            }
            ([(header::WWW_AUTHENTICATE, CHALLENGE)], denied(StatusCode::UNAUTHORIZED, sentence)).into_response()
        })?;
        Ok(Self(address))
    }
}

/// The body of a request, which came whole.
pub(super) struct Said(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Said {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let body = Bytes::from_request(request, state).await;
        body.map(Self).map_err(|refused| {
            let status = refused.status();
            let is_long = status == StatusCode::PAYLOAD_TOO_LARGE;
            let sentence = if is_long { "the body is too long" } else { "the body cannot be read" };
            denied(status, sentence)
        })
    }
}

fn authorized(service: &OpsService, headers: &HeaderMap) -> Result<(), &'static str> {
    let token = service.token.load();
    let token = token.as_ref().as_ref().ok_or("no `ops.token` is configured, so nobody may ask this")?;
    let shown = headers.get(header::AUTHORIZATION).and_then(|line| line.to_str().ok()?.split_once(' '));
    let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let shown = shown.map(|(_, shown)| shown.trim_start()).unwrap_or_default();
    let is_it = bool::from(token.expose_secret().as_bytes().ct_eq(shown.as_bytes()));
    is_it.then_some(()).ok_or("the ops token is wrong or missing")
}

/// Why nothing was done.
pub(super) fn denied(status: StatusCode, sentence: &str) -> Response {
    answer(status, &json!({"error": sentence}))
}

pub(super) fn answer(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, "application/json")];
    (status, headers, format!("{body}\n")).into_response()
}

fn failed(refusal: &Refusal) -> Response {
    denied(StatusCode::INTERNAL_SERVER_ERROR, &refusal.detail)
}

/// The documented shape (docs/OPERATIONS.md).
fn describe(family: &Family) -> Value {
    let time = |at: Timestamp| at.ends().map_or_else(|| "never".to_owned(), Timestamp::rfc3339);
    let members: Vec<Value> = family
        .members
        .iter()
        .map(|member| {
            let token_use = match member.token_use {
                TokenUse::Access => "access",
                TokenUse::Refresh => "refresh",
            };
            json!({"use": token_use, "fingerprint": member.fingerprint.short(), "until": time(member.until)})
        })
        .collect();
    json!({
        "family": family.id.to_string(),
        "client": family.client,
        "born": time(family.born),
        "scope": family.scope,
        "state": state(&family.state),
        "refreshed": family.generation,
        "refreshable_until": is_refreshable(family).then(|| time(family.renewal_until)),
        "tokens": members,
    })
}

/// Whether the realm can still be asked for it.
fn is_refreshable(family: &Family) -> bool {
    match family.state {
        FamilyState::Resting | FamilyState::Asking { .. } => family.renewal.is_some(),
        FamilyState::Unrefreshable | FamilyState::Over(_) => false,
    }
}

fn describe_ended(ended: &Ended) -> Value {
    let mut described = describe(&ended.family);
    if let Some(object) = described.as_object_mut() {
        object.insert("realm".to_owned(), ended.realm().into());
    }
    described
}

fn state(state: &FamilyState) -> &'static str {
    match state {
        FamilyState::Resting => "alive",
        FamilyState::Asking { .. } => "asking the realm",
        FamilyState::Unrefreshable => "not refreshable: an answer of the realm was lost, or had no refresh token",
        FamilyState::Over(Ending::Revoked) => "revoked",
        FamilyState::Over(Ending::RevokedByOperator) => "revoked by an operator",
        FamilyState::Over(Ending::SessionEnded) => "ended by the realm",
        FamilyState::Over(Ending::Reused) => "ended: a used refresh token came again",
        FamilyState::Over(Ending::Replaced) => "replaced",
    }
}
