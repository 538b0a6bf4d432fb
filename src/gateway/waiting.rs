//! A caller that waits for its answer, and what it says of a server where he waits in vain.

use std::time::Duration;

use super::flow::Progress;
use super::forward::Way;
use super::pool::{Before, Server};
use crate::exchange::Exchange;

/// How long an answer may take until it is worth a look whether anybody still waits for it.
pub(super) const LONG: Duration = Duration::from_secs(1);

/// So long a caller has to have waited until his leaving says anything of the server: whoever leaves at once says nothing.
const IN_VAIN: Duration = Duration::from_secs(2);

/// A call that a server was asked. Where it is let go before its end its caller has left, who may have less patience than `gateway.timeout`.
pub(super) struct Awaited<'a> {
    way: &'a Way,
    exchange: &'a Exchange,
    server: &'a Server,
    before: Before,
    progress: &'a Progress,
    /// `None`: it has ended, or there is no other server.
    since: Option<Duration>,
}

impl<'a> Awaited<'a> {
    /// From now on, of a server that fared like that before.
    pub(super) fn new(
        (way, exchange): (&'a Way, &'a Exchange),
        (server, before): (&'a Server, Before),
        progress: &'a Progress,
    ) -> Self {
        let since = way.has_others().then(|| exchange.bridge().clock.monotonic());
        Self { way, exchange, server, before, progress, since }
    }

    /// What became of it others tell.
    pub(super) fn end(mut self) {
        self.since = None;
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        let Some(since) = self.since.filter(|_| !self.exchange.tasks().are_cut_off()) else { return };
        // As with a call that waits to its end: a server is waited for from the last part of the request on, and no part of it is a sign of life.
        let since = since.max(self.progress.last_part());
        let waited = self.exchange.bridge().clock.monotonic().saturating_sub(since);
        if waited >= IN_VAIN && !self.progress.is_awaited() && self.server.is_silent_since(self.before) {
            self.way.pass_over(
                self.server,
                "nobody was answered while a caller waited, until he broke off",
                self.exchange,
            );
        }
    }
}
