//! Notices that files changed: the configuration, the mapping directory, every file that they name.
//!
//! What a load rests on is written down while it is made (`Findings::rests_on`), each path as it was just before it was read.
//! So nothing is missed: what changes while it is read differs from what was written down. Whoever drives this looks four times
//! a second, less often where a look takes long; a change counts once nothing has moved for [`REST`], so that files that are
//! written one after the other, or in pieces, are taken together. Renames, truncations and swapped symbolic links (as Kubernetes
//! does it) all show.

use std::sync::Arc;
use std::time::Duration;

use crate::document::Footing;
use crate::secrets::files;

/// For so long nothing must have changed before a change counts (OPERATOR section 4).
pub const REST: Duration = Duration::from_millis(250);

/// How often to look.
const LOOK: Duration = Duration::from_millis(250);

/// How long to wait after a look that took so long: a hundred thousand secrets in files of their own are looked at for a sixth of a
/// second, which shall be a tenth of a core and not two thirds.
#[must_use]
pub fn wait(took: Duration) -> Duration {
    LOOK.max(took.saturating_mul(9))
}

/// What is in use rests on these files; have they changed?
#[derive(Debug)]
pub struct Watch {
    footing: Arc<Footing>,
    moved: Option<(Footing, Duration)>,
}

impl Watch {
    /// Watches what a load rests on.
    #[must_use]
    pub fn new(footing: Arc<Footing>) -> Self {
        Self { footing, moved: None }
    }

    /// Looks at every path, and answers those that are not as they were. The only part that touches files.
    #[must_use]
    pub fn look(&self) -> Footing {
        let looked = self.footing.iter().map(|(path, was)| (path, was, files::look(path)));
        looked.filter(|(_, was, now)| *was != now).map(|(path, _, now)| (path.clone(), now)).collect()
    }

    /// Whether what was seen to differ `now` from what is in use has rested. `now` is monotonic time.
    pub fn observe(&mut self, differs: Footing, now: Duration) -> bool {
        if differs.is_empty() {
            self.moved = None;
            return false;
        }
        let since = match self.moved.take() {
            Some((before, since)) if before == differs => since,
            Some(_) | None => now,
        };
        let rested = now.saturating_sub(since) >= REST;
        self.moved = Some((differs, since));
        rested
    }

    /// A load was made of the files, whatever became of it. Paths that a refused one did not get to are watched on as they were
    /// seen last, so that mending any of them is noticed, and the same fault is not told again and again.
    pub fn loaded(&mut self, footing: Footing) {
        let watched = Arc::make_mut(&mut self.footing);
        if let Some((differs, _)) = self.moved.take() {
            watched.extend(differs);
        }
        watched.extend(footing);
    }

    /// The same for a load that was taken into use: what it did not look at matters no more.
    pub fn taken(&mut self, footing: Arc<Footing>) {
        *self = Self::new(footing);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::*;
    use crate::document::Stamp;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn footing(stamps: &[(&str, u64)]) -> Footing {
        let stamp = |size| Stamp::File([1, 1, size], [(0, 0), (0, 0)]);
        stamps.iter().map(|(path, size)| (PathBuf::from(path), stamp(*size))).collect()
    }

    fn shared(stamps: &[(&str, u64)]) -> Arc<Footing> {
        Arc::new(footing(stamps))
    }

    #[test]
    fn a_change_counts_once_it_has_rested() {
        let mut watch = Watch::new(shared(&[("a", 1), ("b", 1)]));
        assert!(!watch.observe(footing(&[]), at(0)));
        assert!(!watch.observe(footing(&[("a", 2)]), at(250)), "just changed");
        assert!(!watch.observe(footing(&[("a", 2)]), at(499)));
        assert!(watch.observe(footing(&[("a", 2)]), at(500)));
        watch.taken(shared(&[("a", 2), ("b", 1)]));
        assert!(!watch.observe(footing(&[]), at(10_000)), "once");
    }

    #[test]
    fn files_that_are_written_one_after_the_other_are_taken_together() {
        let mut watch = Watch::new(shared(&[("a", 1), ("b", 1)]));
        for step in 2..50 {
            assert!(!watch.observe(footing(&[("a", step)]), at(step * 200)), "still moving");
        }
        assert!(!watch.observe(footing(&[("a", 49), ("b", 2)]), at(10_000)));
        assert!(watch.observe(footing(&[("a", 49), ("b", 2)]), at(10_250)));
    }

    #[test]
    fn looking_takes_no_more_than_a_tenth_of_a_core() {
        assert_eq!(wait(Duration::ZERO), LOOK);
        assert_eq!(wait(Duration::from_millis(20)), LOOK);
        assert_eq!(wait(Duration::from_millis(170)), Duration::from_millis(1_530));
    }

    #[test]
    fn what_is_put_back_as_it_was_is_no_change() {
        let mut watch = Watch::new(shared(&[("a", 1)]));
        assert!(!watch.observe(footing(&[("a", 2)]), at(0)));
        assert!(!watch.observe(footing(&[]), at(100)));
        assert!(!watch.observe(footing(&[("a", 2)]), at(260)), "it rests from here on");
        assert!(watch.observe(footing(&[("a", 2)]), at(510)));
    }

    #[test]
    fn a_refused_load_is_not_tried_again_until_something_changes() {
        let mut watch = Watch::new(shared(&[("config", 1), ("client", 1)]));
        watch.observe(footing(&[("config", 2)]), at(0));
        assert!(watch.observe(footing(&[("config", 2)]), at(250)));
        // The configuration could not be read, so the load never got to the clients.
        watch.loaded(footing(&[("config", 2)]));
        assert_eq!(*watch.footing, footing(&[("config", 2), ("client", 1)]), "the clients are watched on");
        assert!(!watch.observe(footing(&[("client", 2)]), at(2_000)));
        assert!(watch.observe(footing(&[("client", 2)]), at(2_250)));
    }

    #[test]
    fn what_changes_while_it_is_loaded_is_noticed_afterwards() {
        let mut watch = Watch::new(shared(&[("a", 1)]));
        watch.taken(shared(&[("a", 2)]));
        assert!(!watch.observe(footing(&[("a", 3)]), at(0)));
        assert!(watch.observe(footing(&[("a", 3)]), at(250)));
    }

    #[test]
    fn every_way_of_writing_a_file_shows() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let file = path("a.toml");
        let mut last = files::look(&file);
        let mut changed = |what: &str| {
            let now = files::look(&file);
            assert_ne!(now, last, "{what}");
            last = now;
        };
        fs::write(&file, "one").unwrap();
        changed("made");
        fs::write(&file, "longer").unwrap();
        changed("truncated and written");
        fs::write(path(".a.toml.new"), "longer").unwrap();
        fs::rename(path(".a.toml.new"), &file).unwrap();
        changed("another renamed over it");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        changed("its mode");
        fs::remove_file(&file).unwrap();
        changed("removed");
        // As Kubernetes mounts a ConfigMap: a.toml -> ..data/a.toml, ..data -> ..2026_1, and ..data is swapped by a rename.
        for version in ["..2026_1", "..2026_2"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("a.toml"), "mounted").unwrap();
        }
        symlink("..2026_1", path("..data")).unwrap();
        symlink("..data/a.toml", &file).unwrap();
        changed("a link in its place");
        symlink("..2026_2", path("..data_new")).unwrap();
        fs::rename(path("..data_new"), path("..data")).unwrap();
        changed("the link's link swapped");
    }

    #[test]
    fn a_directory_shows_what_is_added_removed_and_renamed_and_not_what_editors_leave() {
        let directory = tempfile::tempdir().unwrap();
        let names = |names: &[&str]| Stamp::Directory(names.iter().map(OsString::from).collect());
        let look = || files::look(directory.path());
        assert_eq!(look(), names(&[]));
        for name in ["b.toml", "a.toml", ".a.toml.swp", "a.toml~", "#a.toml#", ".#a.toml", "README.md"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(look(), names(&["a.toml", "b.toml"]));
        fs::rename(directory.path().join("b.toml"), directory.path().join("c.toml")).unwrap();
        assert_eq!(look(), names(&["a.toml", "c.toml"]));
    }
}
