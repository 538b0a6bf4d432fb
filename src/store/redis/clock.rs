//! How far a time of day is believed: no further than Redis's own clock has come, which is one for all instances.

use std::time::Duration;

use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue, RedisResult, Value, cmd};

use super::Redis;
use crate::domain::horizon::Horizon;
use crate::domain::time::{Clock, Timestamp};

/// What is known of the time of day.
#[derive(Debug)]
pub(super) struct Days {
    ours: Mutex<Horizon>,
    /// How far ours is believed where Redis does not say what time it is: a first look proves nothing.
    alone: Mutex<Horizon>,
    /// What Redis said, and when by time that only runs forward. `None`: it does not say.
    theirs: Mutex<Option<(Timestamp, Duration)>>,
}

/// Asks Redis what time it is.
pub(super) fn asked() -> Cmd {
    cmd("TIME")
}

impl Days {
    pub(super) fn new(clock: &dyn Clock) -> Self {
        let (day, running) = (clock.now(), clock.monotonic());
        let (ours, alone) = (Horizon::new(day, running), Horizon::unproven(day, running));
        Self { ours: Mutex::new(ours), alone: Mutex::new(alone), theirs: Mutex::new(None) }
    }

    /// Takes down what Redis answered. Where this user may not ask, our own clock counts alone.
    pub(super) fn heard(&self, answer: RedisResult<Vec<Value>>, running: Duration) {
        let said = answer.ok().and_then(|answers| answers.into_iter().next());
        let parts = said.and_then(|said| <(u64, u64)>::from_redis_value(said).ok());
        if let Some((seconds, micros)) = parts {
            let day = Timestamp::from_millis(seconds.saturating_mul(1_000).saturating_add(micros / 1_000));
            *self.theirs.lock() = Some((day, running));
        }
    }

    fn theirs(&self, running: Duration) -> Option<Timestamp> {
        self.theirs.lock().map(|(day, then)| day.plus(running.saturating_sub(then)))
    }

    /// From when on Redis is told how long to remember something: it shall be as long as was promised, and no longer.
    pub(super) fn counted_from(&self, now: Timestamp, running: Duration) -> Timestamp {
        let ours = self.ours.lock().at(now, running);
        self.theirs(running).map_or(ours, |theirs| ours.min(theirs))
    }

    fn believed(&self, now: Timestamp, running: Duration) -> Timestamp {
        let (ours, alone) = (self.counted_from(now, running), self.alone.lock().at(now, running));
        self.theirs(running).map_or(ours.min(alone), |_| ours)
    }
}

impl Redis {
    pub(in super::super) fn believed(&self, now: Timestamp) -> Timestamp {
        self.days.believed(now, self.clock.monotonic())
    }

    /// Looks at Redis's clock again.
    pub(super) async fn look_at_the_clock(&self) {
        let answer = self.link.run(vec![asked()]).await;
        self.days.heard(answer, self.clock.monotonic());
    }
}
