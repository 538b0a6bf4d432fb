//! The realm's public keys (RFC 7517), fetched when one is needed that is not known yet, and anew from time to time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::JwkSet;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Keycloak;
use crate::domain::refusal::{Fault, Refusal};

/// A flood of invented key ids makes no more than one question in this time. The realm waits a few seconds for its logout to be heard.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// So long a logout whose key is known waits for the realm to say that it still has it: a realm that hangs holds up none.
const WHILE_KNOWN: Duration = Duration::from_secs(3);
/// So long a key counts that the realm may have taken away meanwhile.
const GOOD_FOR: Duration = Duration::from_mins(5);

/// The keys that are known.
#[derive(Debug)]
pub struct Keys {
    known: ArcSwap<Known>,
    /// How many times somebody has begun to ask the realm.
    begun: AtomicU64,
    /// Held by whoever asks.
    asked: Mutex<Asked>,
}

#[derive(Debug)]
struct Known {
    keys: Arc<JwkSet>,
    /// When they were fetched, by the monotonic clock.
    since: Duration,
}

impl Known {
    fn has(&self, key_id: &str) -> bool {
        self.keys.find(key_id).is_some()
    }

    fn has_lately(&self, key_id: &str, now: Duration) -> bool {
        now.saturating_sub(self.since) < GOOD_FOR && self.has(key_id)
    }
}

/// What became of the newest question.
#[derive(Debug, Default)]
struct Asked {
    /// The number of the newest that was answered.
    number: u64,
    /// When it was asked, and why the realm gave none.
    at: Option<(Duration, Option<Refusal>)>,
}

impl Default for Keys {
    fn default() -> Self {
        let keys = Arc::new(JwkSet { keys: Vec::new() });
        let known = ArcSwap::from_pointee(Known { keys, since: Duration::ZERO });
        Self { known, begun: AtomicU64::new(0), asked: Mutex::default() }
    }
}

impl Keys {
    /// The keys, with the one of this id among them if the realm has it. `now` is of the monotonic clock.
    ///
    /// A logout that is refused is not told again. So an unknown key is refused by no answer but to a question that was asked after it came; who comes while
    /// somebody waits shares that one's. Where the realm gives no keys, one that it gave before counts on.
    ///
    /// # Errors
    /// The keys that are known have none of this id, and others could not be had.
    pub async fn with(&self, key_id: &str, keycloak: &Keycloak, now: Duration) -> Result<Arc<JwkSet>, Refusal> {
        let known = self.known.load_full();
        if known.has_lately(key_id, now) {
            return Ok(Arc::clone(&known.keys));
        }
        let begun_before = self.begun.load(Ordering::SeqCst);
        let mut asked = match self.asked.try_lock() {
            Ok(asked) => asked,
            Err(_somebody_asks) if known.has(key_id) => return Ok(Arc::clone(&known.keys)),
            Err(_somebody_asks) => self.asked.lock().await,
        };
        let known = self.known.load_full();
        if known.has_lately(key_id, now) {
            return Ok(Arc::clone(&known.keys));
        }
        let mut at = now;
        if let Some((last, why)) = &asked.at {
            let failed_lately = why.is_some() && now.saturating_sub(*last) < AT_MOST_EVERY;
            if failed_lately || asked.number > begun_before {
                return answered(&known, key_id, why.as_ref());
            }
            at = now.max(last.saturating_add(AT_MOST_EVERY));
            tokio::time::sleep(at.saturating_sub(now).min(AT_MOST_EVERY)).await;
        }
        // Whoever asks and is called off has heard nothing: the number is said behind the answer.
        asked.at = Some((at, None));
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let patience = if known.has(key_id) { WHILE_KNOWN } else { Duration::MAX };
        let why = match timeout(patience, keycloak.keys()).await {
            Ok(Ok(keys)) => {
                self.known.store(Arc::new(Known { keys: Arc::new(keys), since: at }));
                None
            }
            Ok(Err(failure)) => {
                let Refusal { fault, detail, .. } = failure.refusal;
                Some(Refusal::server(fault, format!("the realm's keys cannot be had: {detail}")))
            }
            Err(_late) => Some(Refusal::server(Fault::Upstream, "the realm's keys cannot be had: it is slow")),
        };
        let answer = answered(&self.known.load_full(), key_id, why.as_ref());
        *asked = Asked { number, at: Some((at, why)) };
        answer
    }
}

/// What is known behind a question, whether or not the realm gave its keys.
fn answered(known: &Known, key_id: &str, why: Option<&Refusal>) -> Result<Arc<JwkSet>, Refusal> {
    match why {
        Some(why) if !known.has(key_id) => Err(why.clone()),
        Some(_) | None => Ok(Arc::clone(&known.keys)),
    }
}
