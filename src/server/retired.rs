//! Tables that a reload has replaced, until the last request that holds one has ended: freeing a hundred thousand clients takes
//! longer than an answer, so no worker shall be the last to let go of one.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::lifecycle::aside;
use crate::mapping::Snapshot;

/// Replaced tables.
#[derive(Debug)]
pub(super) struct Retired<T = Snapshot>(Mutex<Vec<Arc<T>>>);

impl<T> Default for Retired<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Send + Sync + 'static> Retired<T> {
    /// Keeps one that nobody can find any more, for as long as somebody may still hold it.
    pub(super) fn keep(&self, replaced: Arc<T>) {
        self.0.lock().push(replaced);
    }

    /// Frees those that nobody else holds, on a thread that steps back.
    pub(super) fn free(&self) {
        let alone: Vec<Arc<T>> = self.0.lock().extract_if(.., |replaced| Arc::strong_count(replaced) == 1).collect();
        if !alone.is_empty() {
            aside(move || drop(alone));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{self, ThreadId};

    use super::*;

    /// Tells which thread freed it.
    struct Told(Sender<ThreadId>);

    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }

    #[test]
    fn a_thread_of_its_own_frees_it_and_neither_who_held_it_last_nor_who_looks() {
        let (tell, told) = channel();
        let (retired, table) = (Retired::default(), Arc::new(Told(tell)));
        let held = Arc::clone(&table);
        retired.keep(table);
        retired.free();
        assert!(told.try_recv().is_err(), "somebody holds it");
        thread::scope(|scope| drop(scope.spawn(move || drop(held)).join()));
        assert!(told.try_recv().is_err(), "the last holder let go, and freed nothing");
        retired.free();
        assert_ne!(told.recv().unwrap(), thread::current().id());
    }
}
