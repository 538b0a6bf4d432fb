//! A login: the passport grant and whatever a dialect makes of it.

use super::{Exchange, Known, store_failed};
use crate::domain::dialect::{Grant, Slot};
use crate::domain::issue::{self, Asked, TokenReply};
use crate::domain::refusal::Refusal;
use crate::domain::translate;
use crate::legacy::reply::{self, Reply, Says, Value};
use crate::telemetry::Trail;
use crate::telemetry::trail::Note;

impl Exchange {
    pub(super) async fn login(
        &self,
        known: &Known<'_>,
        grant_type: &str,
        grant: &Grant,
        trail: &mut Trail,
    ) -> Result<Reply, Refusal> {
        let bridge = &self.bridge;
        let address = Some(known.address);
        let wish = translate::to_realm(
            known.client,
            grant,
            &known.request.parameters,
            address,
            bridge.policy.load().parameter,
        )?; // the same wish in new words
        if wish.over_long.is_some() {
            trail.notes.push(Note::OverLong);
        }
        let asked_at = bridge.clock.monotonic();
        let answer = self.keycloak.load_full().grant(&wish.request).await; // the one call outward
        trail.realm = Some(bridge.clock.monotonic().saturating_sub(asked_at));
        let granted = answer?;
        if granted.slot > 0 {
            trail.notes.push(Note::SecondSecret);
        }
        let asked = Asked { client: known.client, grant_type, scope: wish.asked_scope.as_deref() };
        let issued = issue::mint(asked, &granted.grant, self.moment(granted.asked));
        if !issued.promise_kept {
            trail.notes.push(Note::PromiseShort);
        }
        trail.family = Some(issued.family.family.id);
        trail.token = Some(issued.family.access.0);
        bridge.store.put(issued.family).await.map_err(store_failed)?; // durable before anyone hears of it
        Ok(token_reply(known, &issued.reply))
    }
}

/// A pair of tokens in the words of the client's dialect.
pub(super) fn token_reply(known: &Known<'_>, told: &TokenReply) -> Reply {
    let dialect = &known.client.dialect;
    let mut values = vec![
        (Slot::GrantType, Value::Text(&told.grant_type)),
        (Slot::AccessToken, Value::Text(told.access.expose())),
        (Slot::TokenType, Value::Text(&dialect.tokens.token_type)),
        (Slot::ExpiresIn, Value::Number(told.expires_in.as_secs())),
        (Slot::Scope, Value::Text(&told.scope)),
    ];
    values.extend(told.refresh.as_ref().map(|token| (Slot::RefreshToken, Value::Text(token.expose()))));
    reply::success(dialect, Says::Token(&values))
}
