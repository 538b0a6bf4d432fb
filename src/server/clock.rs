//! The real clock and the real chance: the one place where the program looks at either.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::chance::Entropy;
use crate::domain::time::{Clock, Timestamp, millis};

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// Begins to count.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place where time comes in")]
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where time comes in")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(millis(since))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place where time comes in")]
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The machine's random numbers (aws-lc's generator, seeded by the kernel).
#[derive(Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(
        clippy::disallowed_methods,
        clippy::expect_used,
        reason = "the one place where chance comes in; without it nothing may be issued"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("the machine's random generator answers");
    }
}
