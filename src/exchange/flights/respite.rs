//! How long the realm is left alone by what can wait.

use std::time::Duration;

use dashmap::DashMap;
use parking_lot::Mutex;

/// So long the realm is asked nothing that can wait, once it was away or has let somebody wait in vain.
const BACK_OFF: Duration = Duration::from_secs(10);

/// Whom it is not asked for.
#[derive(Debug, Default)]
pub struct Respite {
    /// Until when the realm is asked nothing that can wait, for anybody.
    for_all: Mutex<Duration>,
    /// Until when it is asked nothing that can wait for a client, no more of them than there are.
    by_client: DashMap<String, Duration>,
    /// For which client the realm failed last in such a way that it may have heard, and when.
    last: Mutex<Option<(String, Duration)>>,
}

impl Respite {
    /// The realm let somebody wait in vain. Each question may cost a login, whoever's.
    pub fn begin(&self, now: Duration) {
        *self.for_all.lock() = now.saturating_add(BACK_OFF);
    }

    /// The realm was away for a client. What it cannot answer for one it may well for the others, whose sessions are still to be rechecked: unless
    /// it may have heard, so that this may have cost a login, and it was so for another a short while ago.
    pub fn failed(&self, client: &str, may_have_heard: bool, now: Duration) {
        self.by_client.insert(client.to_owned(), now.saturating_add(BACK_OFF));
        if may_have_heard {
            let before = self.last.lock().replace((client.to_owned(), now));
            if before.is_some_and(|(whose, when)| whose != client && now.saturating_sub(when) < BACK_OFF) {
                self.begin(now);
            }
        }
    }

    /// Whether either was so for this client a short while ago.
    pub fn is_needed(&self, client: &str, now: Duration) -> bool {
        now < *self.for_all.lock() || self.by_client.get(client).is_some_and(|until| now < *until)
    }
}
