//! What a reply of the old server promises, by the names that the dialect's own replies have.

use std::time::Duration;

use serde_json::Value;

use crate::domain::dialect::{Dialect, Piece, Slot};
use crate::domain::shadow::Told;

/// Reads a reply with tokens. What is not there, or is not JSON, is not told.
#[must_use]
pub fn read(dialect: &Dialect, body: &[u8]) -> Told {
    let reply: Value = serde_json::from_slice(body).unwrap_or_default();
    let found = |slot| name(dialect, slot).and_then(|name| reply.get(name));
    Told {
        scope: found(Slot::Scope).and_then(Value::as_str).map(str::to_owned),
        expires_in: found(Slot::ExpiresIn)
            .and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()))
            .map(Duration::from_secs),
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
