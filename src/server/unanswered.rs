//! A request until it is answered, so that none ends without a word: one that the end of a drain cuts off is written down too, one whose caller is
//! gone, and one that a panic ends.

use std::thread;

use http::StatusCode;

use super::turn::Turn;
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::exchange::Bridge;
use crate::lifecycle::{Tasks, others_first};
use crate::telemetry::Trail;
use crate::telemetry::trail::{Note, Passed};

/// What is told of a request that a panic has ended.
pub(super) const PANIC: &str = "a panic while answering";

/// The same of one that a drain has.
const CUT_OFF: &str = "cut off: the time that `server.drain` gives to what is in flight was over";

/// The status of a request that nobody has answered.
const NONE: u16 = 0;

/// Its status where nobody was there to hear an answer, as nginx's log has it.
const GONE: u16 = 499;

/// A request that somebody works for.
pub(super) struct Unanswered<'s> {
    pub(super) trail: Trail,
    bridge: &'s Bridge,
    tasks: &'s Tasks,
    is_answered: bool,
    /// The work for it is done, and stands; whether anybody hears of that is not known yet.
    is_done: bool,
}

impl<'s> Unanswered<'s> {
    pub(super) fn new(bridge: &'s Bridge, tasks: &'s Tasks, trail: Trail) -> Self {
        let trail = Trail { began: bridge.clock.monotonic(), ..trail };
        Self { trail, bridge, tasks, is_answered: false, is_done: false }
    }

    /// Looks, where the work for it took a while, whether whoever asked over this connection has broken it off meanwhile. This ends here then.
    pub(super) async fn done(&mut self, turn: &Turn) {
        self.is_done = true;
        turn.waiting().set(true);
        // Hyper has a look at the connection before it comes back.
        others_first().await;
        turn.waiting().set(false);
    }

    /// Writes down what it was answered, unless nobody was there to hear it.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.is_answered = true;
        let is_gone = self.trail.refusal.as_ref().is_some_and(|refusal| refusal.cause == Cause::CallerGone);
        self.write(if is_gone { GONE } else { status.as_u16() });
    }

    fn write(&self, status: u16) {
        let took = self.bridge.clock.monotonic().saturating_sub(self.trail.began);
        self.bridge.edge.request(&self.trail, status, took);
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let (refusal, status) = if thread::panicking() || self.tasks.are_cut_off() {
            // It is we who are gone.
            self.trail.passed.take_if(|passed| passed.said == Err(Passed::GONE));
            let why = if thread::panicking() { PANIC } else { CUT_OFF };
            (Refusal::server(Fault::Ourselves, why), NONE)
        } else if self.is_done {
            self.trail.notes.push(Note::Unheard);
            return self.write(GONE);
        } else {
            // Whoever was waited for may have been told of by now.
            let told = self.trail.refusal.take().filter(|refusal| refusal.cause == Cause::CallerGone);
            (told.unwrap_or(const { Refusal::caller_gone() }), GONE)
        };
        self.trail.refusal = Some(refusal);
        self.write(status);
    }
}
