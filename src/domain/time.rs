//! Time, as a thing that the core is handed.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Timestamp(u64);

/// `9999-12-31T23:59:59Z`.
const LAST: Timestamp = Timestamp::from_secs(253_402_300_799);

/// The clocks of two instances differ by less.
pub const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

impl Timestamp {
    /// The end of time: what never ends.
    pub const NEVER: Self = Self(u64::MAX);

    /// From milliseconds since 1970.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From whole seconds since 1970, as `exp` and `iat` say it (RFC 7519 section 2).
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000))
    }

    /// From a moment of the standard library; nothing before 1970.
    #[must_use]
    pub fn of(moment: SystemTime) -> Option<Self> {
        let since = moment.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok().map(Self)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0 / 1_000
    }

    /// So much later; stops at [`Timestamp::NEVER`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// So much earlier; stops at the beginning of 1970.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// This, unless it is [`Timestamp::NEVER`].
    #[must_use]
    pub fn ends(self) -> Option<Self> {
        (self != Self::NEVER).then_some(self)
    }

    /// As the standard library tells time.
    #[must_use]
    pub fn system(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0)
    }

    /// As people and programs read it, e.g. `2026-11-24T12:00:00Z`: UTC, to the second (RFC 3339). What lies beyond the year 9999,
    /// which that cannot say, is told as its last second.
    #[must_use]
    pub fn rfc3339(self) -> String {
        humantime::format_rfc3339_seconds(self.min(LAST).system()).to_string()
    }

    /// How long from `earlier` to this; nothing where that lies later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Whole milliseconds of a duration, rounded down; the most that there are where it is longer.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// Where time comes from. The one real implementation stands in `server`; tests bring a clock that they turn by hand.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time of day. May step back when somebody sets the machine's clock.
    fn now(&self) -> Timestamp;

    /// Time that only runs forward, from an arbitrary start: for measuring how long something took.
    fn monotonic(&self) -> Duration;
}

/// A clock that stands, for tests to which time is nothing.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct NoTime;

#[cfg(test)]
impl Clock for NoTime {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(0)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}
