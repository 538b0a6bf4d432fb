//! Back-channel logout: the realm says that a session ended, and its UUIDs are over at once.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::sleep;

use super::seldom::Seldom;
use super::{Exchange, store_failed};
use crate::domain::family::{Ending, Family};
use crate::domain::opaque::Fingerprint;
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::domain::time::Timestamp;
use crate::keycloak::logout_token::{self, LogoutToken};
use crate::store::StoreError;
use crate::telemetry::{Trail, log};

/// Logout tokens that were heard, until they mean nothing any more.
#[derive(Debug, Default)]
pub struct Heard {
    tokens: DashMap<Fingerprint, Timestamp>,
    /// When each session was heard to have ended, on the monotonic clock, and until when that means anything.
    sessions: DashMap<Fingerprint, (Duration, Timestamp)>,
    /// The sweeps, by the time of day.
    swept: Seldom,
}

/// So long after a logout that found no login it is looked for again.
const LATER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// So many are remembered before those that are over are swept out.
const SWEEP_ABOVE: usize = 10_000;

impl Heard {
    /// Whether this is the first time.
    fn first_time(&self, token: &LogoutToken, now: Timestamp) -> bool {
        if self.is_to_be_swept(now) {
            self.tokens.retain(|_, until| *until > now);
            self.sessions.retain(|_, (_, until)| *until > now);
        }
        self.tokens.insert(Self::name(token), token.until).is_none()
    }

    /// In a flood none of them may be over: that all are looked at shall not be the price of each.
    fn is_to_be_swept(&self, now: Timestamp) -> bool {
        self.tokens.len().max(self.sessions.len()) > SWEEP_ABOVE && self.swept.is_first_in(now.secs())
    }

    /// Whether it was heard that this session has ended since the realm was asked for it: no logout finds a login that is still being kept.
    pub(super) fn has_ended(&self, session: &Fingerprint, asked: Duration) -> bool {
        self.sessions.get(session).is_some_and(|heard| heard.0 > asked)
    }

    /// What could not be done shall be told again.
    fn forget(&self, token: &LogoutToken) {
        self.tokens.remove(&Self::name(token));
    }

    fn name(token: &LogoutToken) -> Fingerprint {
        Fingerprint::of("logout", token.id.as_bytes())
    }
}

impl Exchange {
    /// Hears a logout token. Never waits for a flight: the realm calls while it answers one.
    ///
    /// # Errors
    /// The token is not the realm's, not for us, not new, its key cannot be had, or the store fails.
    pub async fn hear_logout(self: &Arc<Self>, token: &str, trail: &mut Trail) -> Result<(), Refusal> {
        let bridge = &self.bridge;
        let key_id = logout_token::key_id(token).map_err(refused)?;
        let keys = bridge.keys.with(&key_id, &self.keycloak.load_full(), bridge.clock.monotonic()).await?;
        let now = bridge.clock.now();
        let token = logout_token::read(token, &keys, now).map_err(refused)?;
        if !bridge.policy.load().issuers.contains(&token.issuer) {
            let reason =
                "the logout token is of another realm; set `realm.public_url` where the realm has another public name";
            return Err(Refusal { fault: Fault::Operator, ..refused(reason) });
        }
        let snapshot = bridge.snapshot.load_full();
        if !snapshot.table.clients().any(|client| token.audience.contains(&client.client_id)) {
            return Err(refused("the logout token is meant for none of our clients"));
        }
        if !bridge.heard.first_time(&token, now) {
            return Err(refused("the logout token was heard before"));
        }
        let ended = self.end_session(&token, trail).await;
        if ended.is_err() {
            bridge.heard.forget(&token);
        }
        ended
    }

    async fn end_session(self: &Arc<Self>, token: &LogoutToken, trail: &mut Trail) -> Result<(), Refusal> {
        let bridge = &self.bridge;
        let session = Fingerprint::of("session", token.session.as_bytes());
        bridge.heard.sessions.insert(session, (bridge.clock.monotonic(), token.until));
        let ended = self.end_login_of(&session).await.map_err(store_failed)?;
        if ended.is_none() && bridge.store.is_shared() {
            self.end_later(session);
        }
        trail.family = ended.as_ref().map(|family| family.id);
        let snapshot = bridge.snapshot.load();
        trail.client = ended.and_then(|family| snapshot.table.client(&family.client).map(Arc::clone));
        Ok(())
    }

    /// Ends the login of a session, where one is kept.
    async fn end_login_of(&self, session: &Fingerprint) -> Result<Option<Family>, StoreError> {
        let store = &self.bridge.store;
        match store.session(session).await? {
            Some(family) => store.end(family, Ending::SessionEnded).await,
            None => Ok(None),
        }
    }

    /// Another instance may just be keeping that login, and has not heard of its end.
    fn end_later(self: &Arc<Self>, session: Fingerprint) {
        let exchange = Arc::clone(self);
        self.tasks.run(async move {
            for wait in LATER {
                let is_over = exchange.tasks.stop().run_until_cancelled(sleep(wait)).await.is_none();
                match exchange.end_login_of(&session).await {
                    Ok(None) if !is_over => {}
                    Ok(_) => return,
                    Err(error) => log::store("ending the login of a session that the realm has ended", &error),
                }
            }
        });
    }
}

fn refused(reason: &'static str) -> Refusal {
    Refusal::client(Cause::InvalidRequest, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_logouts_is_swept_once_a_second() {
        let heard = Heard::default();
        let [now, next] = [1_000_000, 1_000_001].map(Timestamp::from_secs);
        for number in 0..=SWEEP_ABOVE {
            assert!(!heard.is_to_be_swept(now));
            heard.tokens.insert(Fingerprint::of("logout", &number.to_be_bytes()), next);
        }
        assert_eq!([now, now, next, next].map(|at| heard.is_to_be_swept(at)), [true, false, true, false]);
    }
}
