//! Introspection (RFC 7662) of what was handed out, answered from the bridge's own record.

use std::sync::Arc;

use super::access::Standing;
use super::{Exchange, Known, store_failed};
use crate::domain::dialect::Slot;
use crate::domain::family::{AccessRecord, Family, RefreshRecord};
use crate::domain::opaque::{OpaqueToken, TokenUse};
use crate::domain::refresh::{Flight, RefreshDecision, decide_refresh};
use crate::domain::refusal::Refusal;
use crate::domain::scope;
use crate::domain::wiped::Wiped;
use crate::keycloak::wire;
use crate::legacy::reply::{self, Reply, Says, Value};
use crate::store::Versioned;
use crate::telemetry::Trail;
use crate::telemetry::trail::Note;

impl Exchange {
    pub(super) async fn introspect(self: &Arc<Self>, known: &Known<'_>, trail: &mut Trail) -> Result<Reply, Refusal> {
        let parameters = &known.request.parameters;
        let token = parameters.value("token").ok_or_else(|| known.request.lacks("token"))?;
        let Some(token) = OpaqueToken::parse(token) else { return Ok(inactive(known)) };
        // Without the hint a refresh token is not active, so that no API takes it for an access token (CONTRACT section 2).
        if parameters.value("token_type_hint") == Some("refresh_token") {
            return self.introspect_refresh(known, &token, trail).await;
        }
        self.introspect_access(known, &token, trail).await
    }

    async fn introspect_access(
        self: &Arc<Self>,
        known: &Known<'_>,
        token: &OpaqueToken,
        trail: &mut Trail,
    ) -> Result<Reply, Refusal> {
        let fingerprint = token.fingerprint(TokenUse::Access);
        trail.token = Some(fingerprint);
        let Some(record) = self.bridge.store.look_up(&fingerprint).await.map_err(store_failed)? else {
            return Ok(inactive(known));
        };
        trail.family = Some(record.family);
        if !may_see(known, &record.client, trail) {
            return Ok(inactive(known));
        }
        match self.standing_of(token, record).await? {
            Standing::Good(jwt) => {
                let mut opened = Wiped::default();
                jwt.open_behind(&mut opened)?;
                Ok(self.describe_access(known, &jwt.record, &opened))
            }
            Standing::Over(_) | Standing::Unknown => Ok(inactive(known)),
        }
    }

    fn describe_access(&self, known: &Known<'_>, record: &AccessRecord, jwt: &[u8]) -> Reply {
        let claims = wire::claims(std::str::from_utf8(jwt).unwrap_or_default());
        // The realm may have taken a scope from the client since the UUID was told: the JWT behind it has it no more.
        let snapshot = self.bridge.snapshot.load();
        let opens = claims.scope.as_ref().and_then(serde_json::Value::as_str);
        let scope = match snapshot.table.client(&record.client) {
            Some(owner) => scope::still_granted(owner, &record.scope, opens).into(),
            None => Arc::clone(&record.scope),
        };
        let dialect = &known.client.dialect;
        let mut values = vec![
            (Slot::Scope, Value::Text(&scope)),
            (Slot::ClientId, Value::Text(&record.client)),
            (Slot::TokenType, Value::Text(&dialect.tokens.token_type)),
            (Slot::Exp, Value::Number(record.until.secs())),
            (Slot::Iat, Value::Number(record.issued.secs())),
        ];
        values.extend(claims.preferred_username.as_deref().map(|name| (Slot::Username, Value::Text(name))));
        values.extend(claims.sub.as_deref().map(|subject| (Slot::Subject, Value::Text(subject))));
        reply::success(dialect, Says::Active(&values))
    }

    async fn introspect_refresh(
        self: &Arc<Self>,
        known: &Known<'_>,
        token: &OpaqueToken,
        trail: &mut Trail,
    ) -> Result<Reply, Refusal> {
        let fingerprint = token.fingerprint(TokenUse::Refresh);
        let Some(record) = self.bridge.store.refresh(&fingerprint).await.map_err(store_failed)? else {
            // A hint that is wrong hides no token (RFC 7662 section 2.1).
            return self.introspect_access(known, token, trail).await;
        };
        trail.token = Some(fingerprint);
        if !may_see(known, &record.client, trail) {
            return Ok(inactive(known));
        }
        trail.family = Some(record.family);
        let family = self.bridge.store.family(record.family).await.map_err(store_failed)?;
        let family = family.map(|family| self.bridge.flights.unspent.as_it_is(family));
        let usable = |family: &Versioned<Family>| {
            let asking = self.bridge.flights.asking(&record.family);
            let flight = Flight { asking, rotation: self.bridge.policy.load().rotation };
            let grace = known.client.dialect.tokens.refresh_grace;
            match decide_refresh(&family.value, &record, self.bridge.clock.now(), grace, flight) {
                RefreshDecision::Ask | RefreshDecision::Wait => true,
                RefreshDecision::Lose
                | RefreshDecision::Replay
                | RefreshDecision::Reuse
                | RefreshDecision::Refuse(_) => false,
            }
        };
        match family.filter(usable) {
            Some(family) => Ok(describe_refresh(known, &record, &family.value)),
            None => Ok(inactive(known)),
        }
    }
}

fn describe_refresh(known: &Known<'_>, record: &RefreshRecord, family: &Family) -> Reply {
    let mut values = vec![
        (Slot::Scope, Value::Text(&family.scope)),
        (Slot::ClientId, Value::Text(&record.client)),
        (Slot::TokenType, Value::Text("refresh_token")),
        (Slot::Iat, Value::Number(record.issued.secs())),
    ];
    values.extend(family.renewal_until.ends().map(|until| (Slot::Exp, Value::Number(until.secs()))));
    reply::success(&known.client.dialect, Says::Active(&values))
}

/// A client may ask about its own tokens; about any, where its mapping says so.
fn may_see(known: &Known<'_>, owner: &str, trail: &mut Trail) -> bool {
    let may = known.client.may_introspect || *known.client.legacy_id == *owner;
    if !may {
        trail.notes.push(Note::Foreign);
    }
    may
}

fn inactive(known: &Known<'_>) -> Reply {
    reply::success(&known.client.dialect, Says::Inactive)
}
