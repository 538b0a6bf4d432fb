//! How far the time of day is believed where something is dropped for good: by a sweep of the store, and of old files of the audit;
//! what Redis shall forget by itself; a revocation that the realm has not heard.
//!
//! Pure. What is dropped is gone, and clocks are set wrong by people and by machines. So a clock that leaps ahead is
//! believed only after it has kept its lead for an hour; one that steps back is believed at once, because then nothing
//! is dropped too early.

use std::time::Duration;

use super::time::Timestamp;

/// A lead that is no leap.
const ORDINARY: Duration = Duration::from_mins(5);

/// How long a leap must last to be believed.
const BELIEVED_AFTER: Duration = Duration::from_hours(1);

/// What was seen of the clock so far.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    day: Timestamp,
    running: Duration,
    ahead_since: Option<Duration>,
}

impl Horizon {
    /// This time of day is believed.
    #[must_use]
    pub const fn new(day: Timestamp, running: Duration) -> Self {
        Self { day, running, ahead_since: None }
    }

    /// What was over before the answer may be dropped, when the time of day is `day` and time that only runs forward says
    /// `running`.
    pub fn at(&mut self, day: Timestamp, running: Duration) -> Timestamp {
        let expected = self.day.plus(running.saturating_sub(self.running));
        if day > expected.plus(ORDINARY) {
            let since = *self.ahead_since.get_or_insert(running);
            if running.saturating_sub(since) < BELIEVED_AFTER {
                return expected;
            }
        }
        *self = Self::new(day, running);
        day
    }
}
