//! The threads that verify: few, with a short queue in which networks take turns, so that a flood waits for itself. Callers who
//! ask the same have one place in it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::argon::Argon;

/// Callers that may wait, and those of one network among them. One takes some 20 ms of a thread, so that the last one waits
/// for some ten seconds of it.
const WAITING: usize = 512;
const WAITING_OF_ONE: usize = 256;

/// A thread that found nothing to do for so long gives its memory back.
const IDLE: Duration = Duration::from_secs(1);

type Work<A> = Box<dyn FnOnce(&mut Argon) -> A + Send>;

/// What is asked, as a keyed hash.
pub(super) type Key = [u8; 32];

struct Job<A> {
    work: Work<A>,
    /// `None`: nobody else asks the same.
    key: Option<Key>,
    answers: Vec<oneshot::Sender<A>>,
}

/// Where a caller waits.
pub(super) struct Waiting<A> {
    /// Whether somebody who asked the same waited already: this caller's work is not done, that one's answer is for both.
    pub(super) has_joined: bool,
    pub(super) answer: oneshot::Receiver<A>,
}

/// Who waits. The network whose turn it is stands in front.
struct Queue<A> {
    waiting: HashMap<IpAddr, VecDeque<Job<A>>>,
    turns: VecDeque<IpAddr>,
    /// Who came later to each that waits with a key.
    joined: HashMap<Key, Vec<oneshot::Sender<A>>>,
    length: usize,
    closed: bool,
}

impl<A> Queue<A> {
    fn new() -> Self {
        Self { waiting: HashMap::new(), turns: VecDeque::new(), joined: HashMap::new(), length: 0, closed: false }
    }

    fn push(&mut self, network: IpAddr, job: Job<A>) -> bool {
        let own = self.waiting.get(&network).map_or(0, VecDeque::len);
        if self.closed || own >= WAITING_OF_ONE || self.length >= WAITING && !self.makes_room_beside(own) {
            return false;
        }
        let line = self.waiting.entry(network).or_default();
        if line.is_empty() {
            self.turns.push_back(network);
        }
        self.joined.extend(job.key.map(|key| (key, Vec::new())));
        line.push_back(job);
        self.length += 1;
        true
    }

    /// Sends the last one of the longest line away, for a line that stays shorter with one more: where the queue is full the flood has filled it.
    fn makes_room_beside(&mut self, own: usize) -> bool {
        let longest = self.waiting.values_mut().max_by_key(|line| line.len());
        let Some(sent_away) = longest.filter(|line| line.len() > own + 1).and_then(VecDeque::pop_back) else {
            return false;
        };
        sent_away.key.and_then(|key| self.joined.remove(&key));
        self.length = self.length.saturating_sub(1);
        true
    }

    fn pop(&mut self) -> Option<Job<A>> {
        let network = self.turns.pop_front()?;
        let line = self.waiting.get_mut(&network)?;
        let job = line.pop_front();
        if line.is_empty() {
            self.waiting.remove(&network);
        } else {
            self.turns.push_back(network);
        }
        self.length = self.length.saturating_sub(usize::from(job.is_some()));
        let mut job = job?;
        let joined = job.key.and_then(|key| self.joined.remove(&key));
        job.answers.extend(joined.into_iter().flatten());
        Some(job)
    }
}

struct Shared<A> {
    queue: Mutex<Queue<A>>,
    wake: Condvar,
}

/// The threads. They end with the pool.
pub(super) struct Pool<A> {
    shared: Arc<Shared<A>>,
    threads: Vec<JoinHandle<()>>,
}

impl<A> fmt::Debug for Pool<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} threads)", self.threads.len())
    }
}

impl<A: Copy + Send + 'static> Pool<A> {
    pub(super) fn start(threads: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::new(Queue::new()), wake: Condvar::new() });
        let mut pool = Self { shared, threads: Vec::with_capacity(threads) };
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            #[expect(
                clippy::disallowed_methods,
                reason = "hashing blocks; these threads end with the pool, which joins them"
            )]
            let thread = Builder::new().name(format!("secrets-{number}")).spawn(move || shared.work())?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Queues work for a caller from this network; `None` where too much waits already. Work whose caller has gone is not done.
    pub(super) fn run(
        &self,
        network: IpAddr,
        work: impl FnOnce(&mut Argon) -> A + Send + 'static,
    ) -> Option<oneshot::Receiver<A>> {
        let (answer, receiver) = oneshot::channel();
        let job = Job { work: Box::new(work), key: None, answers: vec![answer] };
        let queued = self.shared.queue.lock().push(network, job);
        self.shared.wake.notify_one();
        queued.then_some(receiver)
    }

    /// The same; a caller who asks what another one asks who waits, from whichever network, takes no place and has that one's answer.
    /// Whoever of them goes, the others are answered.
    pub(super) fn run_once(
        &self,
        key: Key,
        network: IpAddr,
        work: impl FnOnce(&mut Argon) -> A + Send + 'static,
    ) -> Option<Waiting<A>> {
        let (answer, receiver) = oneshot::channel();
        let mut queue = self.shared.queue.lock();
        if let Some(joined) = queue.joined.get_mut(&key) {
            joined.push(answer);
            return Some(Waiting { has_joined: true, answer: receiver });
        }
        let queued = queue.push(network, Job { work: Box::new(work), key: Some(key), answers: vec![answer] });
        drop(queue);
        self.shared.wake.notify_one();
        queued.then_some(Waiting { has_joined: false, answer: receiver })
    }
}

impl<A> Drop for Pool<A> {
    fn drop(&mut self) {
        {
            let mut queue = self.shared.queue.lock();
            queue.closed = true;
            queue.waiting.clear();
            queue.turns.clear();
            queue.joined.clear();
        }
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // Of a panic it was told where it happened.
            let _ = thread.join();
        }
    }
}

impl<A: Copy> Shared<A> {
    fn work(&self) {
        let mut argon = Argon::default();
        while let Some(job) = self.next(&mut argon) {
            if job.answers.iter().all(oneshot::Sender::is_closed) {
                continue;
            }
            // A panic ends this work alone: whoever waits for it hears that it is lost, and the thread goes on to the next with new memory.
            let Ok(found) = catch_unwind(AssertUnwindSafe(|| (job.work)(&mut argon))) else {
                argon = Argon::default();
                continue;
            };
            for answer in job.answers {
                let _caller_gone = answer.send(found);
            }
        }
    }

    /// Waits for work; `None`: the pool is at its end.
    fn next(&self, argon: &mut Argon) -> Option<Job<A>> {
        let mut queue = self.queue.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.pop() {
                return Some(job);
            }
            if argon.is_empty() {
                self.wake.wait(&mut queue);
            } else if self.wake.wait_for(&mut queue, IDLE).timed_out() && queue.length == 0 {
                parking_lot::MutexGuard::unlocked(&mut queue, || argon.release());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: u8) -> Job<u8> {
        Job { work: Box::new(move |_| name), key: None, answers: Vec::new() }
    }

    fn drained(queue: &mut Queue<u8>) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop()).map(|job| (job.work)(&mut Argon::default())).collect()
    }

    #[test]
    fn networks_take_turns() {
        let (flood, honest) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut queue = Queue::new();
        for name in 1..=4 {
            assert!(queue.push(flood, job(name)));
        }
        assert!(queue.push(honest, job(100)) && queue.push(honest, job(101)));
        assert_eq!(drained(&mut queue), [1, 100, 2, 101, 3, 4]);
        assert!(queue.waiting.is_empty() && queue.turns.is_empty() && queue.length == 0);
    }

    #[test]
    fn one_network_cannot_fill_the_queue_and_all_together_cannot_make_it_longer() {
        let mut queue = Queue::new();
        let network = |number: u8| IpAddr::from([192, 0, 2, number]);
        let mut fill = |number: u8| (0..WAITING).filter(|_| queue.push(network(number), job(0))).count();
        assert_eq!([fill(1), fill(2)], [WAITING_OF_ONE, WAITING - WAITING_OF_ONE]);
        assert_eq!([fill(3), fill(1)], [WAITING / 3, 0], "as many as the others have then");
        assert_eq!(queue.length, WAITING);
    }

    #[test]
    fn whoever_comes_to_a_full_queue_has_the_place_of_the_last_one_of_the_longest_line() {
        let mut queue = Queue::new();
        let network = |number: u8| IpAddr::from([192, 0, 2, number]);
        for number in [1, 2] {
            assert!((0..WAITING_OF_ONE).all(|_| queue.push(network(number), job(number))));
        }
        assert!(queue.push(network(3), job(3)));
        assert_eq!(drained(&mut queue)[..4], [1, 2, 3, 1]);
    }

    #[test]
    fn whoever_is_sent_away_hears_of_it_and_so_does_whoever_asked_the_same() {
        let pool = Pool::start(1).unwrap();
        let network = |number: u8| IpAddr::from([192, 0, 2, number]);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let begun = pool.run(network(9), move |_| held.recv().is_err()).unwrap();
        while pool.shared.queue.lock().length > 0 {
            std::thread::yield_now();
        }
        let wait = |number: u8| pool.run(network(number), |_| true).unwrap();
        let others: Vec<_> =
            [1, 2].into_iter().flat_map(|number| vec![number; WAITING_OF_ONE - 1]).chain([5]).map(wait).collect();
        let last = pool.run_once([7; 32], network(2), |_| true).unwrap();
        let joined = pool.run_once([7; 32], network(4), |_| true).unwrap();
        let newcomer = pool.run(network(3), |_| true).unwrap();
        assert!(last.answer.blocking_recv().is_err() && joined.answer.blocking_recv().is_err());
        assert!(pool.shared.queue.lock().joined.is_empty());
        drop(release);
        assert!([begun, newcomer].into_iter().chain(others).all(|one| one.blocking_recv() == Ok(true)));
    }

    #[test]
    fn work_whose_caller_has_gone_is_not_done() {
        let pool = Pool::start(1).unwrap();
        let network = IpAddr::from([192, 0, 2, 1]);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let first = pool.run(network, move |_| held.recv().is_ok()).unwrap();
        let gone = pool.run(network, |_| panic!("nobody waits for this")).unwrap();
        let last = pool.run(network, |_| true).unwrap();
        drop(gone);
        release.send(()).unwrap();
        assert_eq!((first.blocking_recv(), last.blocking_recv()), (Ok(true), Ok(true)));
    }

    #[test]
    fn who_asks_the_same_takes_no_place_and_is_answered_though_whoever_asked_first_has_gone() {
        let pool = Pool::start(1).unwrap();
        let network = |number: u8| IpAddr::from([192, 0, 2, number]);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let _first = pool.run(network(1), move |_| u8::from(held.recv().is_err())).unwrap();
        let ask = |key: u8, number: u8| pool.run_once([key; 32], network(number), move |_| number).unwrap();
        let leads = ask(7, 1);
        let follow: Vec<_> = (2..200).map(|number| ask(7, number)).collect();
        let (other, length) = (ask(8, 1), pool.shared.queue.lock().length);
        assert!(!leads.has_joined && follow.iter().all(|one| one.has_joined) && !other.has_joined);
        assert!(length <= 3, "the one that is held, if it was not begun yet, and one for each key: {length}");
        drop(leads);
        release.send(()).unwrap();
        assert!(follow.into_iter().all(|one| one.answer.blocking_recv() == Ok(1)));
        assert_eq!(other.answer.blocking_recv(), Ok(1));
        assert!(pool.shared.queue.lock().joined.is_empty());
        assert!(!ask(7, 3).has_joined, "nobody waits any more");
    }

    #[test]
    fn a_panic_ends_the_verification_that_it_was_in_and_no_other() {
        let pool = Pool::start(1).unwrap();
        let network = IpAddr::from([192, 0, 2, 1]);
        let broken = pool.run_once([7; 32], network, |_| panic!("a fault of the program")).unwrap();
        let next = pool.run_once([8; 32], network, |argon| argon.is_empty()).unwrap();
        assert!(broken.answer.blocking_recv().is_err(), "nobody waits for what will not come");
        assert_eq!(next.answer.blocking_recv(), Ok(true));
    }

    #[test]
    fn nothing_is_kept_of_who_finds_no_place() {
        let pool = Pool::start(1).unwrap();
        let network = IpAddr::from([192, 0, 2, 1]);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let _first = pool.run(network, move |_| held.recv().is_err()).unwrap();
        let waiting: Vec<_> = (0..WAITING).map_while(|_| pool.run(network, |_| true)).collect();
        assert!(waiting.len() < WAITING && pool.run_once([7; 32], network, |_| true).is_none());
        assert!(pool.shared.queue.lock().joined.is_empty());
        drop(release);
    }
}
