//! Places of the gateway: one API that does not answer takes them from the calls to all others, unless somebody counts those that wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::forward::Failed;
use super::routes::Upstream;
use crate::domain::time::millis;

/// Of so many places the calls of one API may have one, however few are free.
const FEW: usize = 8;
/// An API that has answered nobody for so long hangs: one that is merely slow, or much asked, is asked on.
const HANGS: Duration = Duration::from_secs(2);

/// The places that calls have, over all workers: a connection each, or over HTTP/2 a call.
#[derive(Clone, Debug)]
pub struct Room {
    free: Arc<Semaphore>,
    /// So many of those that are free are not for calls.
    spared: usize,
    all: usize,
    workers: usize,
}

impl Room {
    /// All but those that are spared, none of which is taken yet.
    #[must_use]
    pub fn new(free: Arc<Semaphore>, spared: usize, workers: usize) -> Self {
        let all = free.available_permits().saturating_sub(spared);
        Self { free, spared, all, workers }
    }

    /// Whether one API has its share, for which so many calls of one worker wait: half of the places are taken, and no more are free than its
    /// calls have. So one API that hangs leaves half of them, two leave a third.
    fn is_short_beside(&self, waiting: usize) -> bool {
        // Each worker has as many, more or less.
        let waiting = waiting.saturating_mul(self.workers);
        waiting > self.all / FEW && {
            let free = self.free.available_permits().saturating_sub(self.spared);
            free < self.all / 2 && waiting > free
        }
    }
}

/// How many calls of one worker wait for one API.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    waiting: AtomicUsize,
    /// It has answered somebody since somebody last looked.
    has_answered: AtomicBool,
    /// Since then it has answered nobody who waited, as far as somebody has looked; milliseconds of the monotonic clock.
    silent_since: AtomicU64,
    /// When it was last asked all the same: it may merely have been waiting for what slow callers send.
    tried: AtomicU64,
    /// Its servers.
    names: String,
}

impl Crowd {
    pub(super) fn at(upstreams: &[Upstream]) -> Self {
        let names: Vec<&str> = upstreams.iter().map(|upstream| upstream.authority.as_str()).collect();
        Self { names: names.join(", "), ..Self::default() }
    }

    /// One call more, unless it hangs and those before it leave too few of these places to the calls of other APIs. `None`: there are no others.
    pub(super) fn join(&self, room: Option<&Room>, now: Duration) -> Result<Waiting<'_>, Failed> {
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting == 0 {
            self.silent_since.store(millis(now), Ordering::Relaxed);
        }
        if room.is_some_and(|room| room.is_short_beside(waiting)) && self.hangs(now) {
            let names = &self.names;
            return Err(Failed::Slow(format!("{names}: so many calls wait for it that others would find no place")));
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Ok(Waiting(&self.waiting))
    }

    /// Somebody has an answer of it.
    pub(super) fn has_answered(&self) {
        self.has_answered.store(true, Ordering::Relaxed);
    }

    fn hangs(&self, now: Duration) -> bool {
        if self.has_answered.swap(false, Ordering::Relaxed) {
            self.silent_since.store(millis(now), Ordering::Relaxed);
        }
        let is_long_ago =
            |at: &AtomicU64| now.saturating_sub(Duration::from_millis(at.load(Ordering::Relaxed))) >= HANGS;
        if !is_long_ago(&self.silent_since) {
            return false;
        }
        let tries = is_long_ago(&self.tried);
        if tries {
            self.tried.store(millis(now), Ordering::Relaxed);
        }
        !tries
    }
}

/// A call that waits for the head of its answer.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many calls may wait at each of these APIs where they come in turns, and what is free then.
    fn taken(apis: usize, workers: usize, idle: u32) -> (Vec<usize>, usize) {
        let free = Arc::new(Semaphore::new(800));
        let room = Room::new(Arc::clone(&free), 100, workers);
        free.try_acquire_many(idle).unwrap().forget();
        let crowds: Vec<Crowd> = (0..apis * workers).map(|_| Crowd::default()).collect();
        let mut waiting: Vec<Vec<Waiting<'_>>> = crowds.iter().map(|_| Vec::new()).collect();
        for time in 0..800 {
            for (crowd, waiting) in crowds.iter().zip(&mut waiting) {
                if free.available_permits() <= 100 {
                    break;
                }
                free.try_acquire().unwrap().forget();
                match crowd.join(Some(&room), HANGS * u32::from(time > 0)) {
                    Ok(call) => waiting.push(call),
                    Err(_) => free.add_permits(1),
                }
            }
        }
        let of_one = waiting.chunks(workers).map(|of_one| of_one.iter().map(Vec::len).sum()).collect();
        (of_one, free.available_permits() - 100)
    }

    #[test]
    fn apis_that_hang_leave_places_to_the_calls_of_others() {
        // Each worker tries one more.
        assert_eq!(taken(1, 1, 0), (vec![351], 349));
        assert_eq!(taken(1, 2, 0), (vec![352], 348));
        let (two, free) = taken(2, 1, 0);
        assert!(two.iter().all(|of_one| (230..=236).contains(of_one)) && free > 230, "{two:?} {free}");
        let (four, free) = taken(4, 4, 0);
        assert!(free > 120, "{four:?} {free}");
    }

    #[test]
    fn an_api_that_is_not_waited_for_by_many_is_asked_however_few_places_are_free() {
        assert_eq!(taken(1, 1, 650), (vec![50], 0));
    }

    #[test]
    fn who_has_left_is_not_counted() {
        let free = Arc::new(Semaphore::new(2));
        let room = Room::new(Arc::clone(&free), 0, 1);
        free.try_acquire_many(2).unwrap().forget();
        let crowd = Crowd::default();
        let at = Duration::from_secs;
        let first = crowd.join(Some(&room), at(0));
        assert!(first.is_ok() && crowd.join(Some(&room), at(2)).is_ok(), "one tries");
        assert!(crowd.join(Some(&room), at(2)).is_err());
        assert!(crowd.join(None, at(2)).is_ok(), "nobody else is there whom it could cost anything");
        drop(first);
        assert!(crowd.join(Some(&room), at(2)).is_ok());
    }

    #[test]
    fn an_api_that_answers_is_asked_however_many_wait_for_it() {
        let free = Arc::new(Semaphore::new(2));
        let room = Room::new(Arc::clone(&free), 0, 1);
        free.try_acquire_many(2).unwrap().forget();
        let (crowd, at) = (Crowd::default(), Duration::from_millis);
        let _waits = crowd.join(Some(&room), at(0));
        assert!(crowd.join(Some(&room), at(1_999)).is_ok(), "it may answer yet");
        assert!(crowd.join(Some(&room), at(2_000)).is_ok(), "one tries");
        assert!(crowd.join(Some(&room), at(2_001)).is_err());
        assert!(crowd.join(Some(&room), at(4_000)).is_ok(), "and another");
        assert!(crowd.join(Some(&room), at(4_001)).is_err());
        crowd.has_answered();
        assert!(crowd.join(Some(&room), at(9_000)).is_ok());
        assert!(crowd.join(Some(&room), at(10_999)).is_ok());
        assert!(crowd.join(Some(&room), at(11_000)).is_ok(), "one tries");
        assert!(crowd.join(Some(&room), at(11_001)).is_err(), "nobody was answered since");
    }
}
