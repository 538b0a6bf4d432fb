//! How those are answered whose entries the writer wrote.
//!
//! To wake somebody on another thread is a system call, and the thread looks for it once more each time. So of all who wait on
//! one thread the writer tells the first alone, who tells the others there: one wake-up for a thread and a group. Whoever has
//! gone meanwhile tells them all the same, by being dropped.

use std::mem;
use std::thread::{self, ThreadId};

use tokio::sync::oneshot::{self, Receiver, Sender};

use super::super::error::StoreError;

type Written = Result<(), StoreError>;

/// Where an answer goes.
#[derive(Debug)]
pub(super) struct Reply {
    asker: ThreadId,
    sender: Sender<Told>,
}

/// An answer that is waited for.
#[derive(Debug)]
pub(super) struct Awaited(Receiver<Told>);

/// What was written, and who else on this thread is to hear the same.
#[derive(Debug)]
struct Told {
    written: Written,
    others: Vec<Sender<Told>>,
}

impl Drop for Told {
    fn drop(&mut self) {
        for other in mem::take(&mut self.others) {
            tell_one(other, &self.written, Vec::new());
        }
    }
}

/// For somebody who asks on this thread.
pub(super) fn awaited() -> (Reply, Awaited) {
    let (sender, receiver) = oneshot::channel();
    (Reply { asker: thread::current().id(), sender }, Awaited(receiver))
}

impl Awaited {
    pub(super) async fn written(self) -> Written {
        self.0.await.map_err(|_| StoreError::Closed)?.written.clone()
    }
}

/// Tells all what became of what they asked for.
pub(super) fn tell(replies: Vec<Reply>, written: &Written) {
    let mut threads: Vec<(ThreadId, Vec<Sender<Told>>)> = Vec::new();
    for Reply { asker, sender } in replies {
        match threads.iter_mut().find(|(thread, _)| *thread == asker) {
            Some((_, askers)) => askers.push(sender),
            None => threads.push((asker, vec![sender])),
        }
    }
    for (_, askers) in threads {
        let mut askers = askers.into_iter();
        if let Some(first) = askers.next() {
            tell_one(first, written, askers.collect());
        }
    }
}

/// Where this one has gone, `Told` comes back, and is dropped here.
fn tell_one(sender: Sender<Told>, written: &Written, others: Vec<Sender<Told>>) {
    drop(sender.send(Told { written: written.clone(), others }));
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(awaited: Pin<&mut impl Future<Output = Written>>, woken: &Arc<Woken>) -> Poll<Written> {
        let waker = Waker::from(Arc::clone(woken));
        awaited.poll(&mut Context::from_waker(&waker))
    }

    fn is_written(polled: &Poll<Written>) -> bool {
        matches!(polled, Poll::Ready(Ok(())))
    }

    #[test]
    fn the_writer_wakes_one_of_those_who_wait_on_a_thread_and_that_one_wakes_the_others() {
        let woken = Arc::new(Woken::default());
        let (mut replies, mut waiting) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let (reply, awaited) = awaited();
            replies.push(reply);
            waiting.push(Box::pin(awaited.written()));
        }
        let (elsewhere, there) = thread::scope(|scope| scope.spawn(awaited).join().unwrap());
        replies.push(elsewhere);
        let mut there = pin!(there.written());
        assert!(waiting.iter_mut().all(|awaited| poll(awaited.as_mut(), &woken).is_pending()));
        assert!(poll(there.as_mut(), &woken).is_pending());
        tell(replies, &Ok(()));
        assert_eq!(woken.0.load(Ordering::Relaxed), 2, "one for each thread");
        assert!(is_written(&poll(waiting[0].as_mut(), &woken)));
        assert_eq!(woken.0.load(Ordering::Relaxed), 6);
        assert!(waiting[1..].iter_mut().all(|awaited| is_written(&poll(awaited.as_mut(), &woken))));
        assert!(is_written(&poll(there, &woken)));
    }

    #[test]
    fn whoever_goes_without_hearing_the_answer_leaves_nobody_waiting() {
        let woken = Arc::new(Woken::default());
        // The first has gone before: the writer tells the other itself.
        let ((first, gone), (reply, other)) = (awaited(), awaited());
        drop(gone);
        tell(vec![first, reply], &Err(StoreError::Refusing { cause: None }));
        assert!(matches!(poll(pin!(other.written()), &woken), Poll::Ready(Err(StoreError::Refusing { .. }))));
        // The first goes with the answer unread.
        let ((first, unheard), (reply, other)) = (awaited(), awaited());
        let mut other = pin!(other.written());
        tell(vec![first, reply], &Ok(()));
        assert!(poll(other.as_mut(), &woken).is_pending(), "the first has it");
        drop(unheard);
        assert!(is_written(&poll(other, &woken)));
    }

    #[test]
    fn a_writer_that_has_gone_leaves_nobody_waiting() {
        let (reply, awaited) = awaited();
        drop(reply);
        let woken = Arc::new(Woken::default());
        assert!(matches!(poll(pin!(awaited.written()), &woken), Poll::Ready(Err(StoreError::Closed))));
    }
}
