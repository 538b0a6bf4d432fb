//! A login: the passport grant and whatever a dialect makes of it.

use std::sync::Arc;

use super::seldom::Seldom;
use super::{Bridge, Exchange, Known, store_failed};
use crate::domain::client::Client;
use crate::domain::dialect::{Grant, Slot};
use crate::domain::family::{Ending, FamilyId};
use crate::domain::grant::RealmGrant;
use crate::domain::issue::{self, Asked, TokenReply};
use crate::domain::refusal::Refusal;
use crate::domain::{scope, translate};
use crate::legacy::reply::{self, Reply, Says, Value};
use crate::telemetry::trail::Note;
use crate::telemetry::{Trail, log};

/// Who has asked a store, of late, whether it takes writes again: by the time of day.
#[derive(Debug, Default)]
pub struct StoreTries(Seldom);

impl Exchange {
    pub(super) async fn login(
        self: &Arc<Self>,
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
        self.could_keep_it().await?; // a passport may be good once only
        let asked_at = bridge.clock.monotonic();
        let answer = self.keycloak.load_full().grant(&wish.request).await; // the one call outward
        trail.realm = Some(bridge.clock.monotonic().saturating_sub(asked_at));
        let asked_scope = wish.asked_scope.as_deref();
        let granted = answer.map_err(|failure| scope::whose_fault(failure.refusal, known.client, asked_scope))?;
        if granted.slot > 0 {
            trail.notes.push(Note::SecondSecret);
        }
        let asked = Asked { client: known.client, grant_type, scope: asked_scope };
        let issued = issue::mint(asked, &granted.grant, self.moment(granted.asked));
        if !issued.promise_kept {
            trail.notes.push(Note::PromiseShort);
        }
        let (family, access) = (issued.family.family.id, issued.family.access.0);
        let session = issued.family.family.session;
        trail.family = Some(family);
        if let Err(error) = bridge.store.put(issued.family).await {
            self.end_unkept(known.client, family, granted.grant);
            return Err(store_failed(error));
        }
        // A logout from here on finds the login; one of before has left word.
        if session.is_some_and(|session| bridge.heard.has_ended(&session, asked_at)) {
            bridge.store.end(family, Ending::SessionEnded).await.map_err(store_failed)?;
        }
        trail.token = Some(access); // durable before anyone hears of it
        Ok(token_reply(known, &issued.reply))
    }

    /// Whether a login could be kept, as far as anybody knows. A store whose newest write failed is given something else to write first, once a second;
    /// who else comes by then is refused without a question to it.
    async fn could_keep_it(&self) -> Result<(), Refusal> {
        let Bridge { store, store_tries, clock, .. } = &*self.bridge;
        if store.takes_writes() {
            return Ok(());
        }
        // A disk that hangs is not asked for more: it is heard when it answers.
        if store.hangs().is_some() || !store_tries.0.is_first_in(clock.now().secs()) {
            return Err(store_failed(store.refusing()));
        }
        store.try_out().await.map_err(store_failed)
    }

    /// Ends the session of a login that nobody hears of, beside its answer.
    fn end_unkept(self: &Arc<Self>, client: &Arc<Client>, family: FamilyId, grant: RealmGrant) {
        let (exchange, client) = (Arc::clone(self), Arc::clone(client));
        self.tasks.run(async move {
            if exchange.end_at_once(&client, family, &grant).await {
                let detail = "the realm has ended the session of a login that could not be kept";
                log::revocation(&client.legacy_id, family, "told", detail);
            }
        });
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
