//! How far the time of day is believed where something is dropped for good: by a sweep of the store, and of old files of the audit;
//! what Redis shall forget by itself; a revocation that the realm has not heard.
//!
//! Pure. What is dropped is gone, and clocks are set wrong by people and by machines. So a clock that leaps ahead is
//! believed only after it has kept its lead for an hour; one that steps back is believed at once, because then nothing
//! is dropped too early. The first look at a clock nobody can check: a machine may start before its time was set.

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
    /// Where a leap led, and when.
    leap: Option<(Timestamp, Duration)>,
}

impl Horizon {
    /// This time of day is believed.
    #[must_use]
    pub const fn new(day: Timestamp, running: Duration) -> Self {
        Self { day, running, leap: None }
    }

    /// This one was looked at for the first time: it is one that has leapt.
    #[must_use]
    pub const fn unproven(day: Timestamp, running: Duration) -> Self {
        Self { day: Timestamp::from_millis(0), running, leap: Some((day, running)) }
    }

    /// What was over before the answer may be dropped, when the time of day is `day` and time that only runs forward says
    /// `running`.
    pub fn at(&mut self, day: Timestamp, running: Duration) -> Timestamp {
        let expected = self.day.plus(running.saturating_sub(self.running));
        if day > expected.plus(ORDINARY) {
            let went_on = |(led, since): (Timestamp, Duration)| led.plus(running.saturating_sub(since));
            // Another leap begins another hour.
            let kept = self.leap.filter(|leap| day <= went_on(*leap).plus(ORDINARY));
            let (_, since) = *self.leap.insert(kept.unwrap_or((day, running)));
            if running.saturating_sub(since) < BELIEVED_AFTER {
                return expected;
            }
        }
        *self = Self::new(day, running);
        day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const BEGIN: Timestamp = Timestamp::from_secs(1_700_000_000);

    #[test]
    fn the_first_look_at_a_clock_is_believed_after_an_hour() {
        let mut horizon = Horizon::unproven(BEGIN, Duration::ZERO);
        for minutes in [0, 30, 59] {
            assert!(horizon.at(BEGIN.plus(minutes * MINUTE), minutes * MINUTE) < BEGIN, "{minutes}");
        }
        assert_eq!(horizon.at(BEGIN.plus(60 * MINUTE), 60 * MINUTE), BEGIN.plus(60 * MINUTE));
    }

    #[test]
    fn a_second_leap_begins_another_hour() {
        let mut horizon = Horizon::new(BEGIN, Duration::ZERO);
        let (near, far) = (BEGIN.plus(600 * MINUTE), BEGIN.plus(600_000 * MINUTE));
        assert_eq!(horizon.at(near, Duration::ZERO), BEGIN);
        assert_eq!(horizon.at(far, 59 * MINUTE), BEGIN.plus(59 * MINUTE));
        assert_eq!(horizon.at(far.plus(MINUTE), 60 * MINUTE), BEGIN.plus(60 * MINUTE));
        assert_eq!(horizon.at(far.plus(60 * MINUTE), 119 * MINUTE), far.plus(60 * MINUTE));
    }

    #[test]
    fn a_clock_that_is_set_back_is_believed_at_once() {
        let mut horizon = Horizon::unproven(BEGIN.plus(600 * MINUTE), Duration::ZERO);
        assert!(horizon.at(BEGIN, MINUTE) < BEGIN, "still it was never proved");
        let mut proved = Horizon::new(BEGIN, Duration::ZERO);
        assert_eq!(proved.at(BEGIN.minus(600 * MINUTE), MINUTE), BEGIN.minus(600 * MINUTE));
    }
}
