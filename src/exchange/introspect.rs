//! Introspection (RFC 7662) of what was handed out, answered from the bridge's own record.

use super::{Exchange, Known, store_failed};
use crate::domain::dialect::Slot;
use crate::domain::family::{AccessFate, AccessRecord, RefreshRecord};
use crate::domain::issue::{ACCESS_JWT, ACCESS_KEY, binding};
use crate::domain::opaque::{OpaqueToken, TokenUse};
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::domain::seal::SealingKey;
use crate::keycloak::wire;
use crate::legacy::reply::{self, Reply, Says, Value};
use crate::telemetry::Trail;
use crate::telemetry::trail::Note;

impl Exchange {
    pub(super) async fn introspect(&self, known: &Known<'_>, trail: &mut Trail) -> Result<Reply, Refusal> {
        let parameters = &known.request.parameters;
        let token =
            parameters.value("token").ok_or_else(|| Refusal::client(Cause::InvalidRequest, "`token` is missing"))?;
        let Some(token) = OpaqueToken::parse(token) else { return Ok(inactive(known)) };
        // Without the hint a refresh token is not active, so that no API takes it for an access token (CONTRACT section 2).
        if parameters.value("token_type_hint") == Some("refresh_token") {
            return self.introspect_refresh(known, &token, trail).await;
        }
        let fingerprint = token.fingerprint(TokenUse::Access);
        trail.token = Some(fingerprint);
        match self.bridge.store.access(&fingerprint).await.map_err(store_failed)? {
            Some(record) if may_see(known, &record.client, trail) => {
                self.describe_access(known, &token, &record, trail)
            }
            Some(_) | None => Ok(inactive(known)),
        }
    }

    fn describe_access(
        &self,
        known: &Known<'_>,
        token: &OpaqueToken,
        record: &AccessRecord,
        trail: &mut Trail,
    ) -> Result<Reply, Refusal> {
        trail.family = Some(record.family);
        let AccessFate::Live { jwt, key, .. } = &record.fate else { return Ok(inactive(known)) };
        if self.bridge.clock.now() >= record.until {
            return Ok(inactive(known));
        }
        let wrapping = SealingKey::of_token(token, TokenUse::Access);
        let opened = wrapping
            .unwrap_key(key, binding(ACCESS_KEY, &record.family))
            .and_then(|data_key| data_key.open(jwt, binding(ACCESS_JWT, &record.family)))
            .map_err(|error| Refusal::server(Fault::Ourselves, error.to_string()))?;
        let claims = wire::claims(std::str::from_utf8(&opened).unwrap_or_default());
        let dialect = &known.client.dialect;
        let mut values = vec![
            (Slot::Scope, Value::Text(&record.scope)),
            (Slot::ClientId, Value::Text(&record.client)),
            (Slot::TokenType, Value::Text(&dialect.tokens.token_type)),
            (Slot::Exp, Value::Number(record.until.secs())),
            (Slot::Iat, Value::Number(record.issued.secs())),
        ];
        values.extend(claims.preferred_username.as_deref().map(|name| (Slot::Username, Value::Text(name))));
        values.extend(claims.sub.as_deref().map(|subject| (Slot::Subject, Value::Text(subject))));
        Ok(reply::success(dialect, Says::Active(&values)))
    }

    async fn introspect_refresh(
        &self,
        known: &Known<'_>,
        token: &OpaqueToken,
        trail: &mut Trail,
    ) -> Result<Reply, Refusal> {
        let fingerprint = token.fingerprint(TokenUse::Refresh);
        trail.token = Some(fingerprint);
        let found = self.bridge.store.refresh(&fingerprint).await.map_err(store_failed)?;
        let Some(record) = found.filter(|record| may_see(known, &record.client, trail)) else {
            return Ok(inactive(known));
        };
        trail.family = Some(record.family);
        let family = self.bridge.store.family(record.family).await.map_err(store_failed)?;
        let Some(family) = family.filter(|family| family.value.refreshable(&record, self.bridge.clock.now())) else {
            return Ok(inactive(known));
        };
        Ok(describe_refresh(known, &record, &family.value.scope))
    }
}

fn describe_refresh(known: &Known<'_>, record: &RefreshRecord, scope: &str) -> Reply {
    let mut values = vec![
        (Slot::Scope, Value::Text(scope)),
        (Slot::ClientId, Value::Text(&record.client)),
        (Slot::TokenType, Value::Text("refresh_token")),
        (Slot::Iat, Value::Number(record.issued.secs())),
    ];
    values.extend(record.until.ends().map(|until| (Slot::Exp, Value::Number(until.secs()))));
    reply::success(&known.client.dialect, Says::Active(&values))
}

/// A client may ask about its own tokens; about any, where its mapping says so.
fn may_see(known: &Known<'_>, owner: &str, trail: &mut Trail) -> bool {
    let may = known.client.may_introspect || known.client.legacy_id == owner;
    if !may {
        trail.notes.push(Note::Foreign);
    }
    may
}

fn inactive(known: &Known<'_>) -> Reply {
    reply::success(&known.client.dialect, Says::Inactive)
}
