//! Gives back what dropped and overwritten records still take on the disk.
//!
//! fjall rewrites a value file once enough of it is stale, but only while it merges all the tables that point into the file. Small
//! trees are merged whole all the time; a large one is merged piece by piece, keys are random, and so no file of it would ever
//! be rewritten. Nor is anything in a store where no more is written. So after a sweep each tree that has become twice what was
//! live in it when it was last tidied is merged whole, which also tells exactly what is live.
//!
//! While a tree is merged whole, its new tables wait in memory: writes go on until four memtables are full.

use serde::{Deserialize, Serialize};

use super::super::error::StoreError;
use super::files::{Entry, Files, Tree};
use super::keys;

/// A tree is left alone while it is no larger than this and twice its live bytes.
const SLACK: u64 = 64 << 20;

/// One merge rewrites a quarter of the stale files, the oldest; so it may take some.
const MERGES: usize = 12;

/// Bytes that were live when each tree was last merged whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Live {
    access: u64,
    others: u64,
}

impl Live {
    /// As the store remembers it; nothing where it was never tidied.
    pub(super) fn remembered(files: &Files) -> Result<Self, StoreError> {
        Ok(files.get(keys::LIVE)?.unwrap_or_default())
    }

    /// Whether a tree has outgrown it.
    pub(super) fn is_outgrown(self, files: &Files) -> bool {
        Tree::ALL.into_iter().any(|tree| self.is_outgrown_in(tree, files))
    }

    fn is_outgrown_in(mut self, tree: Tree, files: &Files) -> bool {
        let stored = files.stored(tree);
        let live = (*self.of(tree)).min(stored.bytes.saturating_sub(stored.stale));
        stored.bytes > live.saturating_mul(2).saturating_add(SLACK)
    }

    const fn of(&mut self, tree: Tree) -> &mut u64 {
        match tree {
            Tree::Access => &mut self.access,
            Tree::Others => &mut self.others,
        }
    }
}

/// Tidies the trees that have outgrown what was live in them, and remembers what is live now. Takes seconds a gigabyte; stops
/// early where `closed` says so.
pub(super) fn tidy(files: &Files, before: Live, closed: impl Fn() -> bool) -> Result<(), StoreError> {
    let mut live = before;
    for tree in Tree::ALL.into_iter().filter(|tree| before.is_outgrown_in(*tree, files)) {
        // What is in memory only would not be merged.
        files.flush();
        // The first merge finds out what is stale; each gives back what the one before has found to be so.
        let mut stale = u64::MAX;
        for _ in 0..MERGES {
            if closed() {
                return Ok(());
            }
            files.merge_whole(tree)?;
            let stored = files.stored(tree);
            *live.of(tree) = stored.bytes.saturating_sub(stored.stale);
            // fjall lets go of the files from before once something newer was flushed.
            files.write(vec![Entry::record(keys::LIVE, &live)])?;
            files.flush();
            if stored.stale <= stored.bytes / 3 || stored.stale >= stale {
                break;
            }
            stale = stored.stale;
        }
    }
    Ok(())
}
