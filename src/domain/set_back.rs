//! When the clock was last set back, as far as this process saw it: what the realm gave before that ends sooner than the clock says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::time::{CLOCKS_DIFFER, Timestamp, millis};

/// Time that only runs forward begins here, lest its beginning lie before that of 1970 where a clock is set back so far.
const BEGIN: Timestamp = Timestamp::from_millis(1 << 50);

/// What was seen. Shared by all workers.
#[derive(Debug)]
pub struct SetBack {
    /// What time it was when time that only runs forward began, by what the clock says now, in milliseconds from [`BEGIN`].
    began: AtomicU64,
    /// What the clock said when it was found set back, in milliseconds; 0: never.
    found: AtomicU64,
}

impl SetBack {
    /// The clock is looked at for the first time.
    #[must_use]
    pub fn new(now: Timestamp, running: Duration) -> Self {
        Self { began: AtomicU64::new(began(now, running)), found: AtomicU64::new(0) }
    }

    /// What the clock said when it was last found set back by more than clocks differ, where it says `now`, and time that only runs forward `running`.
    pub fn found(&self, now: Timestamp, running: Duration) -> Timestamp {
        let (known, began) = (self.began.load(Ordering::Relaxed), began(now, running));
        if began.abs_diff(known) > millis(CLOCKS_DIFFER) {
            self.began.store(began, Ordering::Relaxed);
            if began < known {
                self.found.store(now.millis(), Ordering::Relaxed);
            }
        }
        Timestamp::from_millis(self.found.load(Ordering::Relaxed))
    }
}

fn began(now: Timestamp, running: Duration) -> u64 {
    BEGIN.plus(Duration::from_millis(now.millis())).minus(running).millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
    const NEVER: Timestamp = Timestamp::from_millis(0);

    #[test]
    fn a_step_back_is_found_and_none_forward_nor_what_is_little() {
        let seen = SetBack::new(NOW, HOUR);
        assert_eq!(seen.found(NOW.plus(HOUR), 2 * HOUR), NEVER);
        assert_eq!(seen.found(NOW.plus(HOUR).minus(CLOCKS_DIFFER), 2 * HOUR), NEVER);
        assert_eq!(seen.found(NOW.plus(9 * HOUR), 2 * HOUR), NEVER, "it was set ahead");
        assert_eq!(seen.found(NOW.plus(8 * HOUR), 2 * HOUR), NOW.plus(8 * HOUR));
        assert_eq!(seen.found(NOW.plus(9 * HOUR), 3 * HOUR), NOW.plus(8 * HOUR));
        assert_eq!(seen.found(NOW.plus(10 * HOUR), 3 * HOUR), NOW.plus(8 * HOUR), "it was set ahead");
        assert_eq!(seen.found(Timestamp::from_secs(100), 3 * HOUR), Timestamp::from_secs(100), "to 1970");
    }
}
