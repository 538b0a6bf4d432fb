//! Birth and death of tasks, and of threads with a runtime. They are started here, and waited for at the end. Plain threads of the store, the guard and
//! the log are started and ended where their work is.
//!
//! Must not: know what runs.

use std::future::Future;
use std::hint::black_box;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Builder, JoinHandle, ScopedJoinHandle};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use rustix::io::Errno;
use tokio::runtime::{self, Runtime};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long after a panic a task begins anew that works for everybody.
const ANEW: Duration = Duration::from_secs(1);

/// The first nap of a thread that waits for something that nobody tells it of, and the longest.
const NAPS: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(20)];

/// A thread that has ended is gone by then.
const GONE: Duration = Duration::from_millis(2);

/// How long a thread that looks names up is kept idle, and how often one of them has something to do, so that the last one is kept.
const KEPT: Duration = Duration::from_secs(90);
const KEEPING: Duration = Duration::from_secs(60);

/// Whether it becomes so within this time; the thread that asks sleeps meanwhile. Naps double: a busy machine adds a millisecond to each, and thousands
/// of short ones would be several times as long as they say.
#[must_use]
pub fn within(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let (mut waited, [mut nap, longest]) = (Duration::ZERO, NAPS);
    while !is_so() {
        if waited >= patience {
            return false;
        }
        thread::park_timeout(nap);
        waited += nap;
        nap = longest.min(nap * 2);
    }
    true
}

/// The tasks of one thread, and the word that they shall end.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    cut_off: Arc<AtomicBool>,
}

impl Tasks {
    /// Tasks that end when this token says so.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), stop, cut_off: Arc::default() }
    }

    /// Runs beside whoever asks, on the same thread; is waited for at the end.
    #[expect(clippy::disallowed_methods, reason = "every task is started here")]
    pub fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(self.tracker.track_future(task)));
    }

    /// The same of what works for everybody, so that nobody would miss it alone: where a panic ends it, it begins anew after a second, until the end.
    pub fn keep<F: Future<Output = ()> + Send + 'static>(&self, begin: impl Fn() -> F + Send + 'static) {
        let stop = self.stop.clone();
        self.run(async move {
            while AssertUnwindSafe(begin()).catch_unwind().await.is_err() {
                if stop.run_until_cancelled(sleep(ANEW)).await.is_none() {
                    return;
                }
            }
        });
    }

    /// Says that no new work is to be begun.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// The same tasks, some of which end by another word: it may come before that for all of them.
    #[must_use]
    pub fn ending_by(&self, stop: CancellationToken) -> Self {
        Self { stop, ..self.clone() }
    }

    /// Waits until every task has ended.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Says that their time is over: those that have not ended end with the runtime. So many they are.
    pub fn cut_off(&self) -> usize {
        self.cut_off.store(true, Ordering::Relaxed);
        self.tracker.len()
    }

    /// Whether they end because their time is over.
    #[must_use]
    pub fn are_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }
}

/// What a connection needs beside itself runs where a drain can count it.
impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.run(task);
    }
}

/// A runtime for a thread of this name. To look names up it has others, of which some may still wait for an answer that nobody waits for any more when
/// it ends: who drops it waits for them, `shutdown_background` does not.
///
/// # Errors
/// The machine gives none.
pub fn runtime(name: &str) -> io::Result<Runtime> {
    let names = format!("{name}-names");
    runtime::Builder::new_current_thread().enable_all().thread_name(names).thread_keep_alive(KEPT).build()
}

/// What looks names up: from now on, and as long as it lasts, a thread for that is there. Where the machine gives no other, names wait for this one.
/// Without any, tokio panics, and what would have been sent is taken for lost. To be called inside of the runtime.
///
/// # Errors
/// The machine gives no thread.
pub fn looking_up_names<F: Future>(work: F) -> io::Result<impl Future<Output = F::Output> + use<F>> {
    // Tried before, so that it is an error, and no panic. The machine counts it for a moment longer.
    thread::scope(|scope| Builder::new().spawn_scoped(scope, || ()).map(drop))?;
    thread::park_timeout(GONE);
    keep_one()?;
    Ok(async move {
        let mut work = pin!(work);
        loop {
            if let Ok(given) = timeout(KEEPING, work.as_mut()).await {
                return given;
            }
            let _a_later_one = keep_one();
        }
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "there is nothing to be done, nor to be waited for: the thread shall be there"
)]
fn keep_one() -> io::Result<()> {
    let kept = catch_unwind(|| drop(spawn_blocking(|| ())));
    kept.map_err(|_no_thread| Errno::AGAIN.into())
}

/// Starts a thread with a runtime of its own, which ends when the future does. What makes the future runs at once, on the thread of whoever
/// asks and inside of that runtime: so it can take sockets, and say that it cannot. What the future gives is let go behind the last task. Whatever it
/// still looks up then is not waited for.
///
/// # Errors
/// The machine gives no thread or no runtime, or no future is made.
pub fn thread<F>(name: &str, begin: impl FnOnce() -> io::Result<F>) -> io::Result<JoinHandle<()>>
where
    F: Future + Send + 'static,
{
    let mut unused = Unused(Some(runtime(name)?));
    let body = {
        let _inside = unused.0.as_ref().map(Runtime::enter);
        begin()?
    };
    #[expect(clippy::disallowed_methods, reason = "every thread of the server is started here")]
    Builder::new().name(name.to_owned()).spawn(move || {
        if let Some(runtime) = unused.0.take() {
            let given = runtime.block_on(body);
            runtime.shutdown_background();
            drop(given);
        }
    })
}

/// A runtime that no thread has begun with. Whoever asked for that thread may stand in a runtime too, where no other one may be dropped as usual.
struct Unused(Option<Runtime>);

impl Drop for Unused {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Has everybody else go first who has something to do by now. A call does so before it writes: then what can be read is read, and what all of
/// them write goes out in one go. Who receives it is woken once for many, and takes this thread's core away as seldom.
pub async fn others_first() {
    tokio::task::yield_now().await;
}

/// How far such a thread steps back (nice) from where the process is: it gets a tenth of what a worker gets that wants the same core.
const BACK: i32 = 10;

fn step_back() {
    // Of this thread alone, says Linux. Where it may not, the work is done all the same.
    let _as_it_is = rustix::process::getpriority_process(None)
        .and_then(|now| rustix::process::setpriority_process(None, now + BACK));
}

/// Does something that takes much memory for a while on a thread of its own, which ends then: a thread that lives on would keep some of it. Where the
/// machine gives no thread it is done on this one.
///
/// # Panics
/// Where the work does.
pub fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    elsewhere(work, || ())
}

/// Does something long on a thread of its own, and on those that it starts, which step back for every other thread: it may take
/// longer, and no answer shall. Where the machine gives no thread it is done on this one.
///
/// # Panics
/// Where the work does.
pub fn patiently<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    elsewhere(work, step_back)
}

fn elsewhere<T: Send>(work: impl FnOnce() -> T + Send, first: fn()) -> T {
    let work = Mutex::new(Some(work));
    #[expect(clippy::expect_used, reason = "a thread that was not had has not taken it")]
    let taken = || work.lock().take().expect("one takes it");
    let done = thread::scope(|scope| {
        let there = || {
            first();
            let done = taken()();
            give_back();
            done
        };
        let begun = Builder::new().spawn_scoped(scope, there);
        begun.map_or_else(|_| Ok(taken()()), ScopedJoinHandle::join)
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The same as [`patiently`] beside whoever asks, and nobody waits for it: what it leaves undone ends with the process.
pub fn aside(work: impl FnOnce() + Send + 'static) {
    let stepped_back = || {
        step_back();
        work();
        give_back();
    };
    #[expect(clippy::disallowed_methods, reason = "every thread of the server is started here")]
    let _dropped_undone = Builder::new().name("aside".to_owned()).spawn(stepped_back);
}

/// Has the allocator give back to the machine at once what nobody uses. Left to itself it does so once that has been free for a second and somebody frees
/// more, and of a bridge that rests nobody does (docs/adr/0007). It also does so, and looks once more, before it says that there is no room, and for as much as
/// is asked for here there never is any: its own function for it would be unsafe to call.
pub fn give_back() {
    let mut nothing = Vec::<u8>::new();
    let _no_room = black_box(&mut nothing).try_reserve_exact(isize::MAX.unsigned_abs());
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn whoever_waits_looks_less_and_less_often_so_that_a_busy_machine_adds_little() {
        let mut looks = 0;
        let never = || {
            looks += 1;
            false
        };
        assert!(!within(Duration::from_millis(100), never));
        assert_eq!(looks, 12, "seven naps that double, from 0.2 ms on, and four of 20 ms");
        assert!(within(Duration::ZERO, || true), "it is so already");
    }

    #[test]
    fn whoever_can_read_reads_before_anybody_writes() {
        let (said, tasks) = (Arc::<Mutex<Vec<&str>>>::default(), Tasks::new(CancellationToken::new()));
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for (reads, writes) in [("a reads", "a writes"), ("b reads", "b writes")] {
                let said = Arc::clone(&said);
                tasks.run(async move {
                    said.lock().push(reads);
                    others_first().await;
                    said.lock().push(writes);
                });
            }
            tasks.ended().await;
        });
        assert_eq!(said.lock()[..2], ["a reads", "b reads"]);
    }

    #[test]
    fn what_works_for_everybody_begins_anew_after_a_panic_and_no_more_once_the_end_is_told() {
        let stop = CancellationToken::new();
        let (begun, tasks) = (Arc::<Mutex<usize>>::default(), Tasks::new(stop.clone()));
        let runtime = runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let count = Arc::clone(&begun);
            tasks.keep(move || {
                *count.lock() += 1;
                let is_last = *count.lock() == 3;
                let stop = stop.clone();
                async move {
                    if is_last {
                        stop.cancel();
                    }
                    panic!("a fault of the program");
                }
            });
            tasks.ended().await;
        });
        assert_eq!(*begun.lock(), 3);
    }

    #[test]
    fn a_thread_that_does_not_begin_is_an_error_to_whoever_asks_for_it_inside_of_a_runtime() {
        let outer = runtime::Builder::new_current_thread().build().unwrap();
        let begin = || Err::<std::future::Ready<()>, _>(io::Error::other("no socket is to be had"));
        let refused = outer.block_on(async { thread("never", begin) }).unwrap_err();
        assert_eq!(refused.to_string(), "no socket is to be had");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "as who looks a name up")]
    fn a_thread_ends_with_its_work_and_waits_for_no_name_that_is_looked_up_still() {
        let ((silent, answer), (told, ended)) = (channel::<()>(), channel());
        let begin = || Ok(async move { drop(spawn_blocking(move || answer.recv())) });
        let ends = thread("ends", begin).unwrap();
        thread::scope(|scope| {
            scope.spawn(move || told.send(ends.join().is_ok()).unwrap());
            assert_eq!(ended.recv_timeout(Duration::from_secs(30)), Ok(true));
            drop(silent);
        });
    }

    /// Threads of this process that have such a name.
    fn named(name: &str) -> usize {
        let names = fs::read_dir("/proc/self/task").unwrap().filter_map(|task| {
            // One may end meanwhile.
            fs::read_to_string(task.ok()?.path().join("comm")).ok()
        });
        names.filter(|there| there.trim_end() == name).count()
    }

    #[test]
    fn whoever_looks_names_up_has_a_thread_for_it_before_the_first_and_as_long_as_it_lasts() {
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        let looks = thread("looks", || looking_up_names(ends)).unwrap();
        // Begun, it names itself.
        assert!(within(Duration::from_secs(10), || named("looks-names") > 0));
        assert_eq!(named("looks-names"), 1);
        drop(end);
        looks.join().unwrap();
    }

    #[test]
    fn whoever_has_memory_given_back_keeps_what_is_in_use() {
        let (kept, freed) = apart(|| (vec![7_u8; 1 << 20], vec![8_u8; 1 << 24]));
        drop(freed);
        give_back();
        assert!(kept.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn what_is_done_patiently_steps_back_with_the_threads_that_it_starts_and_nobody_else_does() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let before = priority();
        let inner = patiently(|| (priority(), thread::scope(|scope| scope.spawn(priority).join().unwrap())));
        // Of 19 there is no further back.
        let back = (before + BACK).min(19);
        assert_eq!(inner, (back, back));
        assert_eq!(priority(), before);
    }
}
