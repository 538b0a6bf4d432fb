//! What is learned of an old secret that nobody knows any more: hashes of what the old server accepted, the newest first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// So long what was learned here counts; then it is looked whether another instance has learned more.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Of two lists of hashes as they are kept, the first one with what the second has beside it. `None`: one of the two is no list, or the first one is
/// empty, which says that they were forgotten, and nobody can say which is newer.
#[must_use]
pub fn both(first: &[u8], second: &[u8]) -> Option<Vec<u8>> {
    let mut hashes: Vec<String> = postcard::from_bytes(first).ok()?;
    let more: Vec<String> = postcard::from_bytes(second).ok()?;
    if hashes.is_empty() && !more.is_empty() {
        return None;
    }
    for hash in more {
        if !hashes.contains(&hash) {
            hashes.push(hash);
        }
    }
    postcard::to_stdvec(&hashes).ok()
}

/// What stands behind one `{ learn = true }`: one thing for a client, whatever table it stands in.
#[derive(Default)]
pub struct Learned(Mutex<Arc<Shared>>);

#[derive(Default)]
struct Shared {
    hashes: Mutex<Vec<String>>,
    /// When the store was last asked, by the monotonic clock.
    looked: Mutex<Option<Duration>>,
    /// Whether it has answered once: before that, nothing is known of any secret.
    is_read: AtomicBool,
    is_learning: AtomicBool,
    /// One that the store may have or not: it did not say.
    in_doubt: Mutex<Option<String>>,
}

impl std::fmt::Debug for Learned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Learned({})", self.hashes().len())
    }
}

impl Learned {
    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0.lock())
    }

    /// Is the same from now on as in the table before, also for whoever is learning there. No more than `most` are left.
    pub fn continues(&self, before: &Self, most: usize) {
        let shared = before.shared();
        shared.hashes.lock().truncate(most);
        *self.0.lock() = shared;
    }

    /// Every hash, in PHC text, the newest first.
    #[must_use]
    pub fn hashes(&self) -> Vec<String> {
        self.shared().hashes.lock().clone()
    }

    /// What there would be with one more: no more than `most`, the newest first.
    #[must_use]
    pub fn with(&self, hash: String, most: usize) -> Vec<String> {
        let mut hashes = self.hashes();
        hashes.insert(0, hash);
        hashes.truncate(most);
        hashes
    }

    /// Takes what is kept. What is known here and not kept any more counts until the end of the process, as far as there is room.
    pub fn take(&self, mut kept: Vec<String>, most: usize) {
        let shared = self.shared();
        let mut hashes = shared.hashes.lock();
        for known in hashes.drain(..) {
            if !kept.contains(&known) {
                kept.push(known);
            }
        }
        kept.truncate(most);
        *hashes = kept;
        shared.is_read.store(true, Ordering::Release);
    }

    /// The store did not say that it has this one.
    pub fn doubts(&self, hash: &str) {
        *self.shared().in_doubt.lock() = Some(hash.to_owned());
    }

    /// Whether it has it, by what is kept; yes is said once.
    pub fn turns_up(&self, kept: &[String]) -> bool {
        self.shared().in_doubt.lock().take_if(|hash| kept.contains(hash)).is_some()
    }

    /// Whether what is kept was ever taken.
    pub fn is_read(&self) -> bool {
        self.shared().is_read.load(Ordering::Acquire)
    }

    /// Whether it is time to ask the store; whoever hears yes does. Until it has answered once, that is whoever needs to know.
    pub fn is_due(&self, now: Duration) -> bool {
        let shared = self.shared();
        let mut looked = shared.looked.lock();
        let is_due = !shared.is_read.load(Ordering::Acquire)
            || looked.is_none_or(|looked| now.saturating_sub(looked) >= LOOK_AGAIN);
        if is_due {
            *looked = Some(now);
        }
        is_due
    }

    /// Begins to learn; `None`: somebody does already.
    pub fn begin(&self) -> Option<Learning> {
        let shared = self.shared();
        let is_free = !shared.is_learning.swap(true, Ordering::AcqRel);
        is_free.then(|| Learning(shared))
    }
}

/// Somebody learns, until this is dropped: in whatever way that ends.
pub struct Learning(Arc<Shared>);

impl Drop for Learning {
    fn drop(&mut self) {
        self.0.is_learning.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(of: &[&str]) -> Vec<String> {
        of.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn the_newest_are_kept_and_what_is_kept_speaks_before_what_is_known_here() {
        let learned = Learned::default();
        learned.take(learned.with("a".to_owned(), 2), 2);
        learned.take(learned.with("b".to_owned(), 2), 2);
        assert_eq!(learned.with("c".to_owned(), 2), texts(&["c", "b"]));
        assert_eq!(learned.hashes(), texts(&["b", "a"]), "only thought");
        learned.take(Vec::new(), 2);
        assert_eq!(learned.hashes(), texts(&["b", "a"]), "what the store has lost still counts");
        learned.take(texts(&["d"]), 2);
        assert_eq!(learned.hashes(), texts(&["d", "b"]));
        learned.take(texts(&["b", "e"]), 2);
        assert_eq!(learned.hashes(), texts(&["b", "e"]));
    }

    #[test]
    fn what_the_store_may_have_turns_up_once() {
        let learned = Learned::default();
        learned.doubts("a");
        assert!(!learned.turns_up(&texts(&["b"])));
        assert!(learned.turns_up(&texts(&["b", "a"])) && !learned.turns_up(&texts(&["b", "a"])));
    }

    #[test]
    fn tables_that_follow_each_other_share_it() {
        let [first, second] = [Learned::default(), Learned::default()];
        first.take(texts(&["b", "a"]), 2);
        let learning = first.begin().unwrap();
        second.continues(&first, 1);
        assert!(second.begin().is_none() && second.hashes() == texts(&["b"]));
        first.take(first.with("c".to_owned(), 1), 1);
        drop(learning);
        assert!(second.begin().is_some() && second.hashes() == texts(&["c"]));
    }

    #[test]
    fn two_lists_are_one_with_the_first_ones_hashes_in_front() {
        let kept = |hashes: &[&str]| postcard::to_stdvec(hashes).unwrap();
        assert_eq!(both(&kept(&["b", "a"]), &kept(&["a", "c"])), Some(kept(&["b", "a", "c"])));
        assert_eq!(both(&kept(&["a"]), &kept(&[])), Some(kept(&["a"])));
        assert_eq!(both(&kept(&[]), &kept(&["a"])), None, "what was forgotten there stays so, and is told");
        assert_eq!(both(&kept(&["a"]), &[9]), None);
    }

    #[test]
    fn one_learns_at_a_time_and_the_store_is_asked_now_and_then() {
        let learned = Learned::default();
        let learning = learned.begin();
        assert!(learning.is_some() && learned.begin().is_none());
        drop(learning);
        assert!(learned.begin().is_some());
        let at = Duration::from_secs;
        assert!(learned.is_due(at(0)) && learned.is_due(at(0)), "until it has been read, by whoever needs it");
        learned.take(Vec::new(), 2);
        assert_eq!([1, 4, 5, 9].map(|second| learned.is_due(at(second))), [false, false, true, false]);
    }
}
