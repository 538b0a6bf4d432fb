//! Whose words a connection over HTTP/1 carries. An API or the old server may say, in its head or in its body, what hyper says by itself of bytes that are
//! no HTTP: so while one speaks, nothing is looked for ([`Turn`]).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::gateway::{Flag, Interim, Switch};

/// Whose words a connection carries: hyper's own, unless somebody else has taken the turn.
#[derive(Clone, Debug, Default)]
pub struct Turn(Arc<Words>);

#[derive(Debug, Default)]
struct Words {
    whose: AtomicU8,
    /// How far the last request has come.
    request: AtomicU8,
    /// They were said before their caller had said everything, and he is not listened to any more.
    cut_short: Flag,
    /// Nothing but the end of the connection tells theirs.
    to_the_close: AtomicBool,
    /// Their caller has been waiting for long.
    waiting: Flag,
    /// What is said to theirs before they are.
    interim: Interim,
    switch: Switch,
}

/// What is written, if anything is, comes from hyper.
const FREE: u8 = 0;
/// Somebody else's answer is under way.
const TAKEN: u8 = 1;
/// It has been handed over whole, and is not all written yet.
const ENDED: u8 = 2;

/// None is here whole, or the last one's answer is written.
const NONE: u8 = 0;
/// Somebody looks for an answer.
const ASKED: u8 = 1;
/// It is found, and not all written yet.
const ANSWERED: u8 = 2;

impl Turn {
    /// A request is here, its head whole.
    pub(super) fn asked(&self) {
        drop(self.0.interim.take());
        self.0.request.store(ASKED, Ordering::Relaxed);
    }

    /// It has an answer, of which hyper begins to write at once.
    pub(super) fn answered(&self) {
        self.0.request.store(ANSWERED, Ordering::Relaxed);
    }

    /// Whether somebody waits here for the rest of an answer, or is heard out behind it.
    pub(super) fn is_asked(&self) -> bool {
        self.0.request.load(Ordering::Relaxed) != NONE || self.unread().is_set()
    }

    /// Somebody else speaks, until the body that [`Turn::until_end_of`] wraps has ended.
    pub(super) fn take(&self) {
        self.0.whose.store(TAKEN, Ordering::Relaxed);
        // Hyper has passed over what was left of the request before.
        self.0.cut_short.set(false);
    }

    /// Gives the turn back behind this body.
    pub(super) fn until_end_of<B>(self, body: B) -> Speech<B> {
        Speech { body, turn: self, is_bare: false }
    }

    /// What is said now is the last of this connection, and its caller may still be speaking.
    pub(super) fn cuts_short(&self) {
        self.0.cut_short.set(true);
    }

    /// Whether it was cut short, for whoever holds the body of a request.
    pub(super) fn unread(&self) -> &Flag {
        &self.0.cut_short
    }

    /// For whoever works on what is said next.
    pub(super) fn waiting(&self) -> &Flag {
        &self.0.waiting
    }

    /// For whoever hears what is to be said before the next answer.
    pub(super) fn interim(&self) -> &Interim {
        &self.0.interim
    }

    /// Who may have the connection behind an answer.
    pub(super) fn switch(&self) -> &Switch {
        &self.0.switch
    }

    /// What is said now goes on until the connection is closed: to an HTTP/1.0 client, where no length is told.
    pub(super) fn goes_to_the_close(&self) {
        self.0.to_the_close.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_to_the_close(&self) -> bool {
        self.0.to_the_close.load(Ordering::Relaxed)
    }

    /// All that was said so far is written.
    pub(super) fn written(&self) {
        if self.0.whose.load(Ordering::Relaxed) == ENDED {
            self.0.whose.store(FREE, Ordering::Relaxed);
        }
        if self.is_free() && self.0.request.load(Ordering::Relaxed) == ANSWERED {
            self.0.request.store(NONE, Ordering::Relaxed);
            // What found no place before it has none behind it.
            drop(self.0.interim.take());
        }
    }

    /// Of an answer nothing is written, where all that was said so far is.
    pub(super) fn is_before_an_answer(&self) -> bool {
        self.0.request.load(Ordering::Relaxed) != ANSWERED
    }

    pub(super) fn is_free(&self) -> bool {
        self.0.whose.load(Ordering::Relaxed) == FREE
    }
}

/// The body of an answer that has the turn.
pub(super) struct Speech<B> {
    body: B,
    turn: Turn,
    is_bare: bool,
}

impl<B> Speech<B> {
    /// Keeps the length that its head tells, though there is no body: where hyper knows of none it takes that away, and where it may
    /// still come hyper writes it. To be said only of an answer that has no body whatever it tells.
    pub(super) fn bare(mut self) -> Self {
        self.is_bare = true;
        self
    }
}

impl<B> Drop for Speech<B> {
    fn drop(&mut self) {
        self.turn.0.whose.store(ENDED, Ordering::Relaxed);
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Speech<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        !self.is_bare && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_bare { SizeHint::default() } else { self.body.size_hint() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_found_no_place_before_an_answer_is_not_said_behind_it() {
        let turn = Turn::default();
        turn.asked();
        turn.take();
        turn.interim().say(b"HTTP/1.1 103 Early Hints\r\n\r\n");
        turn.answered();
        drop(turn.clone().until_end_of(()));
        turn.written();
        assert!(turn.is_before_an_answer());
        assert_eq!(turn.interim().take(), None);
    }

    #[test]
    fn whoever_is_heard_out_behind_his_last_answer_has_asked_for_something() {
        let turn = Turn::default();
        assert!(!turn.is_asked());
        turn.cuts_short();
        assert!(turn.is_asked());
        turn.written();
        assert!(turn.is_asked(), "until the connection ends");
    }
}
