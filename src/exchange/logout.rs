//! Back-channel logout: the realm says that a session ended, and its UUIDs are over at once.

use std::sync::Arc;

use dashmap::DashMap;

use super::{Exchange, store_failed};
use crate::domain::family::Ending;
use crate::domain::opaque::Fingerprint;
use crate::domain::refusal::{Cause, Refusal};
use crate::domain::time::Timestamp;
use crate::keycloak::logout_token::{self, LogoutToken};
use crate::telemetry::Trail;

/// Logout tokens that were heard, until they mean nothing any more.
#[derive(Debug, Default)]
pub struct Heard(DashMap<Fingerprint, Timestamp>);

/// So many are remembered before those that are over are swept out.
const SWEEP_ABOVE: usize = 10_000;

impl Heard {
    /// Whether this is the first time.
    fn first_time(&self, token: &LogoutToken, now: Timestamp) -> bool {
        if self.0.len() > SWEEP_ABOVE {
            self.0.retain(|_, until| *until > now);
        }
        self.0.insert(Self::name(token), token.until).is_none()
    }

    /// What could not be done shall be told again.
    fn forget(&self, token: &LogoutToken) {
        self.0.remove(&Self::name(token));
    }

    fn name(token: &LogoutToken) -> Fingerprint {
        Fingerprint::of("logout", token.id.as_bytes())
    }
}

impl Exchange {
    /// Hears a logout token. Never waits for a flight: the realm calls while it answers one.
    ///
    /// # Errors
    /// The token is not the realm's, not for us, not new, or the store fails.
    pub async fn hear_logout(self: &Arc<Self>, token: &str, trail: &mut Trail) -> Result<(), Refusal> {
        let bridge = &self.bridge;
        let key_id = logout_token::key_id(token).map_err(refused)?;
        let keys = bridge.keys.with(&key_id, &self.keycloak.load_full(), bridge.clock.monotonic()).await;
        let now = bridge.clock.now();
        let token = logout_token::read(token, &keys, now).map_err(refused)?;
        if !bridge.policy.load().issuers.contains(&token.issuer) {
            return Err(refused(
                "the logout token is of another realm; set `realm.public_url` where the realm has another public name",
            ));
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

    async fn end_session(&self, token: &LogoutToken, trail: &mut Trail) -> Result<(), Refusal> {
        let bridge = &self.bridge;
        let session = Fingerprint::of("session", token.session.as_bytes());
        let Some(family) = bridge.store.session(&session).await.map_err(store_failed)? else { return Ok(()) };
        trail.family = Some(family);
        let ended = bridge.store.end(family, Ending::SessionEnded).await.map_err(store_failed)?;
        let snapshot = bridge.snapshot.load();
        trail.client = ended.and_then(|family| snapshot.table.client(&family.client).map(Arc::clone));
        Ok(())
    }
}

fn refused(reason: &'static str) -> Refusal {
    Refusal::client(Cause::InvalidRequest, reason)
}
