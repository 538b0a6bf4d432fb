//! A caller that waits for its answer, and what it says of a server where he waits in vain.

use std::time::Duration;

use super::flow::Progress;
use super::forward::Way;
use super::pool::{Before, Server};
use crate::domain::refusal::Refusal;
use crate::exchange::Exchange;
use crate::relay::IN_VAIN;
use crate::telemetry::Trail;

/// How long an answer may take until it is worth a look whether anybody still waits for it.
pub(super) const LONG: Duration = Duration::from_secs(1);

/// A call that a server is asked. Where it is let go before its end its caller has left, who may have less patience than `gateway.timeout`.
pub(super) struct Awaited<'a> {
    way: &'a Way,
    exchange: &'a Exchange,
    server: &'a Server,
    before: Before,
    progress: &'a Progress,
    /// When this server's turn came.
    since: Duration,
    /// `None`: it has ended.
    trail: Option<&'a mut Trail>,
}

impl<'a> Awaited<'a> {
    /// `since` then, of a server that fared like that before.
    pub(super) fn new(
        (way, exchange): (&'a Way, &'a Exchange),
        (server, before): (&'a Server, Before),
        (progress, trail): (&'a Progress, &'a mut Trail),
        since: Duration,
    ) -> Self {
        Self { way, exchange, server, before, progress, since, trail: Some(trail) }
    }

    /// What became of it others tell.
    pub(super) fn end(mut self) {
        self.trail = None;
    }

    /// Says in the trail whom the call waited for, until it was let go.
    fn tell(&self, trail: &mut Trail, now: Duration, in_vain: bool) {
        let (name, after) = (self.server.authority(), now.saturating_sub(trail.began));
        trail.refusal = Some(match &mut trail.passed {
            None => Refusal::left_waiting(name, after, in_vain),
            Some(passed) => {
                passed.took = after;
                Refusal::left_waiting(&format!("the old API (`otk.api`), {name},"), after, in_vain)
            }
        });
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        let Some(trail) = self.trail.take().filter(|_| !self.exchange.tasks().are_cut_off()) else { return };
        // Whoever has not said everything was waited for himself.
        if self.progress.is_awaited() {
            return;
        }
        let (now, last_part) = (self.exchange.bridge().clock.monotonic(), self.progress.last_part());
        // As with a call that waits to its end: a server is waited for from the last part of the request on, and no part of it is a sign of life.
        let in_vain = now.saturating_sub(self.since.max(last_part)) >= IN_VAIN;
        self.tell(trail, now, in_vain);
        if in_vain && self.way.has_others() && self.server.is_silent_since(self.before) {
            self.way.pass_over(
                self.server,
                "nobody was answered while a caller waited, until he broke off",
                self.exchange,
            );
        }
    }
}
