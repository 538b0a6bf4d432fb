//! A connection that all share: made once for all who want it, and dropped by who saw this very one fail.
//!
//! Whoever comes while it is made waits for that one, and does not make another; nobody drops what was made since.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use redis::RedisResult;

use super::link::failed;

pub(super) struct Kept<C: Clone>(Mutex<Place<C>>);

struct Place<C: Clone> {
    /// Of the newest one.
    number: u64,
    newest: Option<Shared<BoxFuture<'static, RedisResult<C>>>>,
}

impl<C: Clone> Default for Kept<C> {
    fn default() -> Self {
        Self(Mutex::new(Place { number: 0, newest: None }))
    }
}

impl<C: Clone + 'static> Kept<C> {
    /// The connection and its number; made by this where there is none.
    pub(super) async fn connection(
        &self,
        make: impl FnOnce() -> BoxFuture<'static, RedisResult<C>>,
    ) -> RedisResult<(u64, C)> {
        let (number, newest) = {
            let mut place = self.0.lock();
            if let Some(newest) = &place.newest {
                (place.number, newest.clone())
            } else {
                // Once it has panicked a shared future does so for whoever comes, for good: it fails instead, and is made again.
                let made = AssertUnwindSafe(make()).catch_unwind();
                let made = made.map(|made| made.unwrap_or_else(|_panic| Err(failed("a panic while connecting"))));
                let newest = made.boxed().shared();
                place.number += 1;
                place.newest = Some(newest.clone());
                (place.number, newest)
            }
        };
        let made = newest.await;
        if made.is_err() {
            self.forget(number);
        }
        made.map(|connection| (number, connection))
    }

    /// Drops the connection of this number; the next who wants one makes another.
    pub(super) fn forget(&self, number: u64) {
        let mut place = self.0.lock();
        if place.number == number {
            place.newest = None;
        }
    }

    /// Drops the connection, if it is such a one.
    pub(super) fn forget_if(&self, is_such: impl FnOnce(&C) -> bool) {
        let mut place = self.0.lock();
        let made = place.newest.as_ref().and_then(Shared::peek);
        if made.is_some_and(|made| made.as_ref().is_ok_and(is_such)) {
            place.newest = None;
        }
    }

    /// Whether there is one.
    pub(super) fn is_there(&self) -> bool {
        self.0.lock().newest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::{join, join_all};
    use tokio::sync::oneshot;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn all_who_come_while_a_connection_is_made_wait_for_that_one() {
        let (kept, made) = (Kept::<usize>::default(), AtomicUsize::new(0));
        let (sender, receiver) = oneshot::channel::<usize>();
        let receiver = Mutex::new(Some(receiver));
        let make = || {
            made.fetch_add(1, Ordering::Relaxed);
            let receiver = receiver.lock().take().unwrap();
            async move { Ok(receiver.await.unwrap()) }.boxed()
        };
        let all = join_all((0..30).map(|_| kept.connection(make)));
        let (found, ()) = block_on(join(all, async { sender.send(7).unwrap() }));
        assert!(found.into_iter().all(|found| found == Ok((1, 7))));
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn who_saw_an_older_connection_fail_does_not_drop_the_newer_one() {
        let kept = Kept::<&str>::default();
        let next = |name| kept.connection(move || ready(Ok(name)).boxed());
        assert_eq!(block_on(next("first")), Ok((1, "first")));
        kept.forget(1);
        assert_eq!(block_on(next("second")), Ok((2, "second")));
        kept.forget(1);
        assert_eq!(block_on(next("third")), Ok((2, "second")));
        kept.forget_if(|name| *name == "first");
        assert!(kept.is_there());
        kept.forget_if(|name| *name == "second");
        assert_eq!(block_on(next("fourth")), Ok((3, "fourth")));
    }

    #[test]
    fn one_that_could_not_be_made_is_made_again_by_the_next() {
        let kept = Kept::<usize>::default();
        let error = || redis::RedisError::from((redis::ErrorKind::Io, "refused"));
        assert!(block_on(kept.connection(|| ready(Err(error())).boxed())).is_err());
        assert_eq!(block_on(kept.connection(|| ready(Ok(1)).boxed())), Ok((2, 1)));
    }

    #[test]
    fn one_whose_making_panicked_is_made_again_by_the_next() {
        let kept = Kept::<usize>::default();
        let broken = || async { panic!("a fault of the program") }.boxed();
        assert!(block_on(kept.connection(broken)).is_err());
        assert_eq!(block_on(kept.connection(|| ready(Ok(1)).boxed())), Ok((2, 1)));
    }
}
