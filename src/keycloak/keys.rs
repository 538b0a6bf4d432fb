//! The realm's public keys (RFC 7517), fetched when one is needed that is not known yet.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::JwkSet;
use tokio::sync::Mutex;

use super::Keycloak;

/// A flood of invented key ids makes no more than one question in this time.
const AT_MOST_EVERY: Duration = Duration::from_secs(5);

/// The keys that are known.
#[derive(Debug)]
pub struct Keys {
    known: ArcSwap<JwkSet>,
    asked: Mutex<Option<Duration>>,
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
    pub async fn with(&self, key_id: &str, keycloak: &Keycloak, now: Duration) -> Arc<JwkSet> {
        let known = self.known.load_full();
        if known.find(key_id).is_some() {
            return known;
        }
        let mut asked = self.asked.lock().await;
        let known = self.known.load_full();
        if known.find(key_id).is_some() || asked.is_some_and(|asked| now.saturating_sub(asked) < AT_MOST_EVERY) {
            return known;
        }
        *asked = Some(now);
        if let Some(keys) = keycloak.keys().await {
            self.known.store(Arc::new(keys));
        }
        self.known.load_full()
    }
}
