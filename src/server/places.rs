//! How many connections may be open, and who gives way where there are as many: whoever has been idle longest. Else somebody who opens them and says
//! nothing would shut out everybody else.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::scarcity::Scarcity;
use super::turn::Turn;

/// Of so many places API calls leave one to logins and to the questions of other proxies: whoever waits for an API that hangs is not to keep anybody from
/// logging in.
const SPARED: usize = 8;
/// So many connections are looked at for one that gives way.
const LOOKED_AT: usize = 128;
/// So many that gave way, at least and at most, may still be about to end: they are open, and count no more.
const ENDING: (usize, usize) = (32, 128);

/// The places of all connections that share a bound.
#[derive(Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    /// Of those, what API calls may take up.
    calls: Arc<Semaphore>,
    guests: Mutex<Guests>,
    /// The listener, where that has a bound of its own; `None`: `limits.connections`, over all of them.
    listener: Option<&'static str>,
    scarcity: Arc<Scarcity>,
}

/// One of them, for a connection, or for a request over HTTP/2.
#[derive(Debug)]
pub(super) struct Place {
    all: OwnedSemaphorePermit,
    call: Option<OwnedSemaphorePermit>,
}

/// A connection that has a place, until it gives way.
#[derive(Debug)]
pub(super) struct Guest {
    place: Mutex<Option<Place>>,
    turn: Turn,
    end: CancellationToken,
}

#[derive(Debug, Default)]
struct Guests {
    /// In the order in which they came, or were last seen to have asked for something.
    order: VecDeque<Weak<Guest>>,
    /// When those that have gone are to be thrown out.
    sweep_at: usize,
    ending: Vec<Weak<Guest>>,
    /// So many of them there may be.
    most_ending: usize,
}

impl Places {
    pub(super) fn new(count: usize, listener: Option<&'static str>, scarcity: Arc<Scarcity>) -> Self {
        let (all, calls) = (Arc::new(Semaphore::new(count)), Arc::new(Semaphore::new(count - count / SPARED)));
        let most_ending = (count / SPARED).clamp(ENDING.0, ENDING.1);
        let guests = Mutex::new(Guests { most_ending, ..Guests::default() });
        Self { all, calls, guests, listener, scarcity }
    }

    /// A place, if need be of a connection that idles. `None`: there is none.
    pub(super) fn take(&self, is_call: bool) -> Option<Place> {
        let call = match is_call.then(|| Arc::clone(&self.calls).try_acquire_owned()) {
            Some(Err(_none_left)) => return self.given_up(true),
            free => free.and_then(Result::ok),
        };
        let all = match Arc::clone(&self.all).try_acquire_owned() {
            Ok(all) => all,
            Err(_none_left) => self.given_up(false)?.all,
        };
        Some(Place { all, call })
    }

    /// Those that API calls may take up.
    pub(super) fn for_calls(&self) -> Arc<Semaphore> {
        Arc::clone(&self.calls)
    }

    /// Whether some of those who come get none but of others.
    pub(super) fn are_full(&self) -> bool {
        self.all.available_permits() == 0 || self.calls.available_permits() == 0
    }

    /// Says that somebody got none.
    pub(super) fn turned_away(&self) {
        self.scarcity.turned_away(self.listener);
    }

    /// A connection that was just accepted takes its place. It gives way by this word.
    pub(super) fn seat(&self, place: Place, turn: Turn, end: CancellationToken) -> Arc<Guest> {
        let guest = Arc::new(Guest { place: Mutex::new(Some(place)), turn, end });
        let guests = &mut *self.guests.lock();
        if guests.order.len() >= guests.sweep_at {
            guests.order.retain(|guest| guest.strong_count() > 0);
            guests.sweep_at = 2 * guests.order.len() + LOOKED_AT;
        }
        guests.order.push_back(Arc::downgrade(&guest));
        guest
    }

    /// The place of whoever has been idle longest, of those who call where a call wants it: he ends as at a drain.
    fn given_up(&self, is_call: bool) -> Option<Place> {
        let place = self.guests.lock().given_up(is_call)?;
        self.scarcity.gave_way(self.listener);
        Some(place)
    }
}

impl Guests {
    fn given_up(&mut self, is_call: bool) -> Option<Place> {
        self.ending.retain(|guest| guest.strong_count() > 0);
        if self.ending.len() >= self.most_ending {
            return None;
        }
        for _ in 0..LOOKED_AT {
            let there = self.order.pop_front()?;
            let Some(guest) = there.upgrade() else { continue };
            if let Some(place) = guest.given_up(is_call) {
                self.ending.push(there);
                return Some(place);
            }
            self.order.push_back(there);
        }
        None
    }
}

impl Guest {
    fn given_up(&self, is_call: bool) -> Option<Place> {
        let mut place = self.place.lock();
        let may_be = !is_call || place.as_ref().is_some_and(|place| place.call.is_some());
        let given = place.take_if(|_| may_be && self.turn.gives_way())?;
        self.end.cancel();
        Some(given)
    }
}
