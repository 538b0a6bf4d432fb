//! What a reply of the old server promises, by the names that the dialect's own replies have.

use std::time::Duration;

use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use serde_json::{Map, Value};

use crate::domain::dialect::{Dialect, Piece, Slot};
use crate::domain::shadow::Told;

/// Whether a reply has an access token, as far as anybody can tell.
#[must_use]
pub fn has_token(dialect: &Dialect, headers: &HeaderMap, body: &[u8]) -> bool {
    let is_empty =
        |reply: &Map<String, Value>| reply.get(name(dialect, Slot::AccessToken)?)?.as_str().map(str::is_empty);
    members(headers, body).is_ok_and(|reply| is_empty(&reply) == Some(false))
}

/// Reads a reply with tokens.
///
/// # Errors
/// Why nobody can tell what it says.
pub fn read(dialect: &Dialect, headers: &HeaderMap, body: &[u8]) -> Result<Told, &'static str> {
    let reply = members(headers, body)?;
    let scope =
        name(dialect, Slot::Scope).map(|name| reply.get(name).and_then(Value::as_str).unwrap_or_default().to_owned());
    let expires_in = name(dialect, Slot::ExpiresIn)
        .and_then(|name| reply.get(name))
        .and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()))
        .map(Duration::from_secs);
    Ok(Told { scope, expires_in })
}

fn members(headers: &HeaderMap, body: &[u8]) -> Result<Map<String, Value>, &'static str> {
    if headers.get_all(CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err("it is packed (Content-Encoding)");
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(reply)) => Ok(reply),
        _ => Err("it is no JSON object"),
    }
}

/// The name before a value, e.g. of `"scope":{scope}`.
fn name(dialect: &Dialect, slot: Slot) -> Option<&str> {
    let has = |pieces: &[Piece]| pieces.contains(&Piece::Value(slot));
    let member = dialect.layout.token.iter().find(|member| has(&member.0))?;
    match member.0.first()? {
        Piece::Text(text) => text.split('"').nth(1),
        Piece::Value(_) => None,
    }
}
