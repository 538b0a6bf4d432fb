//! When each secret of a client was last right: what somebody who ends one wants to know first.

use std::sync::atomic::{AtomicU64, Ordering};

use super::client::MOST_SECRETS;
use super::time::{CLOCKS_DIFFER, Timestamp};

/// For each slot, when its secret was last right. Shared by all who hold the client; a later use counts.
#[derive(Debug, Default)]
pub struct LastUse([AtomicU64; MOST_SECRETS]);

impl LastUse {
    /// The secret of this slot was right now.
    pub fn mark(&self, slot: usize, now: Timestamp) {
        // A use that is still to come was while the clock was ahead: before this one, and nobody knows when.
        for time in &self.0 {
            if time.load(Ordering::Relaxed) > now.plus(CLOCKS_DIFFER).secs() {
                time.store(now.secs().saturating_sub(1), Ordering::Relaxed);
            }
        }
        self.was(slot, now);
    }

    /// It was right then.
    pub fn was(&self, slot: usize, then: Timestamp) {
        // Seconds are enough, and most requests of a second then only read.
        if let Some(time) = self.0.get(slot)
            && time.load(Ordering::Relaxed) < then.secs()
        {
            time.fetch_max(then.secs(), Ordering::Relaxed);
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
    #[test]
    fn a_use_while_the_clock_was_ahead_is_before_those_that_came_once_it_was_right() {
        let uses = LastUse::default();
        uses.mark(1, Timestamp::from_secs(30_000_000));
        uses.mark(0, Timestamp::from_secs(100));
        assert_eq!((uses.at(0), uses.at(1)), (Some(Timestamp::from_secs(100)), Some(Timestamp::from_secs(99))));
        uses.mark(1, Timestamp::from_secs(161));
        uses.mark(0, Timestamp::from_secs(101));
        assert_eq!(uses.at(1), Some(Timestamp::from_secs(161)), "threads look at the clock one after the other");
    }
}
