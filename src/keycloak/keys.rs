//! The realm's public keys (RFC 7517), fetched when one is needed that is not known yet.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::JwkSet;
use tokio::sync::Mutex;

use super::Keycloak;
use crate::domain::refusal::Refusal;

/// A flood of invented key ids makes no more than one question in this time.
const AT_MOST_EVERY: Duration = Duration::from_secs(5);

/// The keys that are known.
#[derive(Debug)]
pub struct Keys {
    known: ArcSwap<JwkSet>,
    /// When the realm was last asked, and why it gave none.
    asked: Mutex<Option<(Duration, Option<Refusal>)>>,
}

impl Default for Keys {
    fn default() -> Self {
        Self { known: ArcSwap::from_pointee(JwkSet { keys: Vec::new() }), asked: Mutex::new(None) }
    }
}

impl Keys {
    /// The keys, with the one of this id among them if the realm has it. `now` is of the monotonic clock.
    ///
    /// Who comes while somebody asks waits for the answer: a logout that is refused is not told again.
    ///
    /// # Errors
    /// The keys that are known have none of this id, and others could not be had.
    pub async fn with(&self, key_id: &str, keycloak: &Keycloak, now: Duration) -> Result<Arc<JwkSet>, Refusal> {
        let known = self.known.load_full();
        if known.find(key_id).is_some() {
            return Ok(known);
        }
        let mut asked = self.asked.lock().await;
        let known = self.known.load_full();
        if known.find(key_id).is_some() {
            return Ok(known);
        }
        if let Some((at, why)) = &*asked
            && now.saturating_sub(*at) < AT_MOST_EVERY
        {
            return why.clone().map_or(Ok(known), Err);
        }
        *asked = Some((now, None));
        match keycloak.keys().await {
            Ok(keys) => {
                self.known.store(Arc::new(keys));
                Ok(self.known.load_full())
            }
            Err(failure) => {
                let Refusal { fault, detail, .. } = failure.refusal;
                let refusal = Refusal::server(fault, format!("the realm's keys cannot be had: {detail}"));
                *asked = Some((now, Some(refusal.clone())));
                Err(refusal)
            }
        }
    }
}
