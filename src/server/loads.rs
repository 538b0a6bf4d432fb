//! Loads: the files are read again when they change, or when somebody says so, on a thread of their own. One of them may lie on a disk that does not
//! answer. That is told, what is in use stays in use, signals are heard, and the end comes without it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::reload::Reloading;
use crate::domain::time::Clock;
use crate::lifecycle::thread;
use crate::mapping::watch::{Watch, wait};

/// Files that have not been read for so long are told to hang.
pub(super) const LONG: Duration = Duration::from_secs(10);

/// How long the end waits for a load that is under way.
const END: Duration = Duration::from_secs(2);

/// What is being read, and whether that hangs.
#[derive(Debug)]
pub(super) struct Reading {
    clock: Arc<dyn Clock>,
    /// Since when, and whether it is told.
    begun: Mutex<Option<(Duration, bool)>>,
}

impl Reading {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, begun: Mutex::default() }
    }

    /// Does something that reads files, one at a time; and says whether it was told to hang.
    pub(super) fn of<T>(&self, read: impl FnOnce() -> T) -> (T, bool) {
        *self.begun.lock() = Some((self.clock.monotonic(), false));
        let read = read();
        let begun = self.begun.lock().take();
        (read, begun.is_some_and(|(_, is_told)| is_told))
    }

    /// Tells it, once, if it hangs. It does not end meanwhile: what is told by whoever reads comes behind this.
    pub(super) fn look(&self, tell: impl FnOnce()) {
        if let Some((since, is_told @ false)) = &mut *self.begun.lock()
            && self.clock.monotonic().saturating_sub(*since) >= LONG
        {
            *is_told = true;
            tell();
        }
    }
}

/// The thread that loads.
#[derive(Debug)]
pub struct Loads {
    /// What is to be loaded, until it is known.
    reloading: Option<oneshot::Sender<Arc<Reloading>>>,
    again: mpsc::Sender<()>,
    is_over: oneshot::Receiver<()>,
}

impl Loads {
    /// Has the thread, which waits for a bridge. It ends with this, or with the process.
    ///
    /// # Errors
    /// The machine gives none.
    pub fn new() -> io::Result<Self> {
        let ((reloading, born), (again, heard)) = (oneshot::channel::<Arc<Reloading>>(), mpsc::channel(1));
        let (over, is_over) = oneshot::channel();
        let _nobody_waits = thread("loads", || {
            Ok(async move {
                if let Ok(reloading) = born.await {
                    follow(&reloading, heard).await;
                }
                drop(over);
            })
        })?;
        Ok(Self { reloading: Some(reloading), again, is_over })
    }

    pub(super) fn begin(&mut self, reloading: Arc<Reloading>) {
        if let Some(waits) = self.reloading.take() {
            drop(waits.send(reloading));
        }
    }

    /// Has everything loaded again, whether or not it has changed.
    pub fn again(&self) {
        let _one_is_to_come = self.again.try_send(());
    }

    /// Waits until it loads no more, which before its end comes of a panic alone.
    pub async fn broken(&mut self) {
        let _never_said = (&mut self.is_over).await;
    }

    /// Begins no other load. One that is under way is waited for, unless it takes long.
    pub async fn end(self) {
        drop(self.again);
        let _in_time = timeout(END, self.is_over).await;
    }
}

/// Loads until nobody can say so any more. Findings are in the log, the metrics and `/readyz`.
async fn follow(reloading: &Reloading, mut again: mpsc::Receiver<()>) {
    let bridge = &reloading.shared.bridge;
    let mut pause = wait(Duration::ZERO);
    let mut watch = Watch::new(Arc::clone(&bridge.snapshot.load().footing));
    loop {
        let is_due = tokio::select! {
            said = again.recv() => match said {
                Some(()) => true,
                None => return,
            },
            () = sleep(pause) => {
                let begun = bridge.clock.monotonic();
                let (differs, has_hung) = reloading.reading.of(|| watch.look());
                let took = bridge.clock.monotonic().saturating_sub(begun);
                // What hung and does no more is loaded, as it was told that it is not.
                pause = wait(if has_hung { Duration::ZERO } else { took });
                watch.observe(differs, bridge.clock.monotonic()) || has_hung
            }
        };
        if is_due {
            match reloading.reload() {
                Ok(()) => watch.taken(Arc::clone(&bridge.snapshot.load().footing)),
                // By what it read itself: what was changed since is another change, mended or not.
                Err(refused) => watch.loaded(refused.footing),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::domain::time::Timestamp;

    #[derive(Debug, Default)]
    struct Hand(Mutex<Duration>);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(0)
        }

        fn monotonic(&self) -> Duration {
            *self.0.lock()
        }
    }

    #[test]
    fn what_is_read_for_long_is_told_once_to_hang_and_whoever_reads_hears_of_it() {
        let clock = Arc::new(Hand::default());
        let reading = Reading::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let told = || {
            let mut told = false;
            reading.look(|| told = true);
            told
        };
        let ((begun, has_begun), (end, ends)) = (mpsc::channel(), mpsc::channel());
        let hangs = move || {
            begun.send(()).unwrap();
            ends.recv().unwrap()
        };
        std::thread::scope(|scope| {
            let reading = &reading;
            let reader = scope.spawn(move || reading.of(hangs));
            has_begun.recv().unwrap();
            *clock.0.lock() = LONG.saturating_sub(Duration::from_millis(1));
            assert!(!told());
            *clock.0.lock() = LONG;
            assert_eq!([told(), told()], [true, false]);
            end.send("read").unwrap();
            assert_eq!(reader.join().unwrap(), ("read", true));
        });
        *clock.0.lock() = 3 * LONG;
        assert!(!told(), "nothing is read");
        assert_eq!(reading.of(told), (false, false), "each reading has its own time");
    }
}
