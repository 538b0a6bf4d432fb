//! What the machine does not give without end: open files, and the connections that are made of them. Says so when they run out,
//! and what to do.

use std::io;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::domain::time::Clock;
use crate::telemetry::{Metrics, News, log};

/// Files that connections of callers leave to the store, to the realm and to APIs: a quarter of all, within these.
const SPARED: (u64, u64) = (64, 4096);

/// Takes as many open files as the machine allows, as a proxy should; how many those are. `None`: there is no limit.
///
/// The limit that a process begins with is small for the sake of programs that use `select`; there is none here.
fn open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current == limit.maximum || setrlimit(Resource::Nofile, wanted).is_err() {
        return limit.current;
    }
    limit.maximum
}

/// How many connections are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// All together.
    pub(super) connections: usize,
    /// They are fewer than are wanted, as no more files may be open.
    few_files: bool,
}

impl Room {
    /// As many as are wanted, where the machine allows so many open files; else that is told.
    pub(super) fn for_connections(wanted: usize) -> Self {
        let files = open_files();
        let taken = connections(wanted, files);
        if let Some(files) = files.filter(|_| taken < wanted) {
            log::few_files(files, taken, wanted);
        }
        Self { connections: taken, few_files: taken < wanted }
    }
}

/// How many connections are taken where so many are wanted and so many files may be open.
fn connections(wanted: usize, files: Option<u64>) -> usize {
    let Some(files) = files else { return wanted };
    let spared = (files / 4).clamp(SPARED.0, SPARED.1);
    wanted.min(usize::try_from(files.saturating_sub(spared)).unwrap_or(usize::MAX).max(1))
}

/// What there is too little of, each told by itself.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Want {
    /// Connections, all together.
    Connections,
    /// Those of a listener with a bound of its own.
    Room,
    /// What a connection needs to be accepted.
    Files,
}

/// Tells operators what callers cannot be given.
#[derive(Debug)]
pub(super) struct Scarcity {
    pub(super) room: Room,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// Which want was told.
    news: News<Want>,
}

impl Scarcity {
    pub(super) fn new(room: Room, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { room, clock, metrics, news: News::default() }
    }

    /// A connection was closed, as there are as many as may be: at this listener, or at all whose bound is `limits.connections`.
    pub(super) fn turned_away(&self, listener: Option<&str>) {
        self.metrics.turned_away.inc();
        let want = if listener.is_some() { Want::Room } else { Want::Connections };
        if self.news.is_news(want, self.clock.monotonic()) {
            let Room { connections, few_files } = self.room;
            log::turned_away(listener, (connections, few_files), self.metrics.turned_away.get());
        }
    }

    /// The kernel has a connection for us and we could not take it.
    pub(super) fn not_accepted(&self, error: &io::Error) {
        self.metrics.not_accepted.inc();
        if self.news.is_news(Want::Files, self.clock.monotonic()) {
            log::not_accepted(error, getrlimit(Resource::Nofile).current, self.metrics.not_accepted.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_to_what_stands_behind_them() {
        for (wanted, files, taken) in [
            (10_000, None, 10_000),
            (10_000, Some(1 << 20), 10_000),
            (10_000, Some(20_000), 10_000),
            (10_000, Some(12_000), 9_000),
            (10_000, Some(1_024), 768),
            (100, Some(1_024), 100),
            (10_000, Some(100), 36),
            (10_000, Some(10), 1),
        ] {
            assert_eq!(connections(wanted, files), taken, "{wanted} of {files:?}");
        }
    }

    #[test]
    fn as_many_files_may_be_open_as_the_machine_allows() {
        assert_eq!(open_files(), getrlimit(Resource::Nofile).maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
    }
}
