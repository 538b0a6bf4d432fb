//! When each secret of a client was last right: what somebody who ends one wants to know first.

use std::sync::atomic::{AtomicU64, Ordering};

use super::client::MOST_SECRETS;
use super::time::Timestamp;

/// For each slot, when its secret was last right. Shared by all who hold the client; a later use counts.
#[derive(Debug, Default)]
pub struct LastUse([AtomicU64; MOST_SECRETS]);

impl LastUse {
    /// The secret of this slot was right now.
    pub fn mark(&self, slot: usize, now: Timestamp) {
        // Seconds are enough, and most requests of a second then only read.
        if let Some(time) = self.0.get(slot)
            && time.load(Ordering::Relaxed) < now.secs()
        {
            time.fetch_max(now.secs(), Ordering::Relaxed);
        }
    }

    /// When the secret of this slot was last right, to the second; `None`: not since anybody looks.
    #[must_use]
    pub fn at(&self, slot: usize) -> Option<Timestamp> {
        let seconds = self.0.get(slot)?.load(Ordering::Relaxed);
        (seconds > 0).then(|| Timestamp::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_remembers_its_latest_use_and_no_other() {
        let uses = LastUse::default();
        assert_eq!((uses.at(0), uses.at(1), uses.at(2)), (None, None, None));
        uses.mark(1, Timestamp::from_secs(20));
        uses.mark(1, Timestamp::from_secs(10));
        uses.mark(2, Timestamp::from_secs(30));
        assert_eq!((uses.at(0), uses.at(1), uses.at(2)), (None, Some(Timestamp::from_secs(20)), None));
    }
}
