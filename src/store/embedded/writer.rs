//! The one thread that writes: it takes whatever waits, makes it durable together, then answers everybody (group commit).
//!
//! An answer is sent only after the group is on the disk. One failed group answers all of its members with the failure; what
//! could not be written is not in memory either.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::super::change::Swept;
use super::super::error::{CommitError, StoreError};
use super::answer;
use super::expiry::ExpiryIndex;
use super::files::Entry;
use super::job::{self, Decided, Due, Job, Reply};
use super::keys;
use super::shared::Shared;
use crate::domain::family::FamilyId;
use crate::domain::time::Timestamp;

/// As many entries become durable together at most: about 2 MiB, so that no answer waits for a whole crowd's bytes.
const GROUP: usize = 4096;

/// How often a disk that refused is asked again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What is done once the group is durable, or failed.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(super) struct Writer {
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
    group: Group,
    expiry: ExpiryIndex,
    closing: Option<oneshot::Sender<()>>,
    /// When a write failed, or the last try to open the files anew since was over.
    failed: Option<Duration>,
    warming: Warming,
}

/// How far access records from before this opening are laid where one read finds them.
#[derive(Debug)]
enum Warming {
    /// Begins with the first sweep: who only looks into a store does not sweep it.
    Unasked,
    /// Up to this key.
    From(Vec<u8>),
    Over,
}

#[derive(Default)]
struct Group {
    entries: Vec<Entry>,
    /// Who is told that it was written, and no more.
    replies: Vec<answer::Reply>,
    answers: Vec<Answer>,
    /// Families that are to be entered in the expiry index.
    expiring: Vec<(Timestamp, FamilyId)>,
    /// Families whose stored state this group changes: nobody may decide on the stored one before the group is written.
    changed: HashSet<FamilyId>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, expiry: ExpiryIndex, jobs: mpsc::Receiver<Job>) -> Self {
        Self { shared, jobs, group: Group::default(), expiry, closing: None, failed: None, warming: Warming::Unasked }
    }

    /// Works until it is told to close, or nobody is left who could ask.
    pub(super) fn run(mut self) {
        while let Some(job) = self.next() {
            self.recover();
            self.take(job);
            while self.group.entries.len() < GROUP
                && let Ok(job) = self.jobs.try_recv()
            {
                self.take(job);
            }
            self.write();
            self.shared.disk.step();
            if self.closing.is_some() {
                self.jobs.close();
            }
        }
        self.shared.close();
        if let Some(reply) = self.closing {
            reply.send(()).ok();
        }
    }

    /// What to do next. While nobody asks for anything, records are laid out in portions.
    fn next(&mut self) -> Option<Job> {
        while let Warming::From(key) = &self.warming {
            match self.jobs.try_recv() {
                Ok(job) => return Some(job),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {
                    self.warming = self.shared.lay_out(key).map_or(Warming::Over, Warming::From);
                    self.shared.disk.step();
                }
            }
        }
        self.jobs.blocking_recv()
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Put { family, until, entries, reply } => {
                self.group.expiring.push((until, family));
                self.write_for(reply, entries);
            }
            Job::Write { entries, reply } => self.write_for(reply, entries),
            Job::Commit { change, waiting, reply } => {
                self.settle(change.family.id);
                let decided = self
                    .shared
                    .files()
                    .map_err(CommitError::Store)
                    .and_then(|files| job::commit(&files, &self.shared.leases, &change));
                match decided {
                    Ok(decided) => {
                        let entries = self.changed(change.family.id, decided);
                        self.add(entries, move |written| {
                            drop(waiting);
                            drop(reply.send(written.map_err(CommitError::Store)));
                        });
                    }
                    Err(error) => {
                        drop(waiting);
                        drop(reply.send(Err(error)));
                    }
                }
            }
            Job::End { family, ending, reply } => {
                self.settle(family);
                match self.shared.files().and_then(|files| job::end(&files, family, ending)) {
                    Ok(Some((decided, former))) => {
                        let entries = self.changed(family, decided);
                        self.add(entries, move |written| drop(reply.send(written.map(|()| Some(former)))));
                    }
                    Ok(None) => drop(reply.send(Ok(None))),
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Job::Told { pending, reply } => {
                self.write(); // a newer one may wait in the group
                match self.shared.files().and_then(|files| job::told(&files, &pending)) {
                    Ok(entries) => self.add(entries, move |written| drop(reply.send(written))),
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Job::Sweep { horizon, limit, reply } => self.sweep(horizon, limit, reply),
            Job::Close { reply } => self.closing = Some(reply),
        }
    }

    fn write_for(&mut self, reply: answer::Reply, entries: Vec<Entry>) {
        self.group.entries.extend(entries);
        self.group.replies.push(reply);
    }

    fn add(&mut self, entries: Vec<Entry>, answer: impl FnOnce(Result<(), StoreError>) + Send + 'static) {
        self.group.entries.extend(entries);
        self.group.answers.push(Box::new(answer));
    }

    /// Takes down that the group changes this family; what is to be written for it.
    fn changed(&mut self, family: FamilyId, decided: Decided) -> Vec<Entry> {
        self.group.changed.insert(family);
        self.group.expiring.extend(decided.ends.map(|until| (until, family)));
        decided.entries
    }

    /// Writes the group at once where it changes this family: whoever decides on the family must see it.
    fn settle(&mut self, family: FamilyId) {
        if self.group.changed.contains(&family) {
            self.write();
        }
    }

    /// Makes the group durable, then answers everybody. Answers whether that went well.
    fn write(&mut self) -> bool {
        let Group { mut entries, replies, answers, expiring, .. } = mem::take(&mut self.group);
        let asked = replies.len() + answers.len();
        if asked == 0 {
            return true;
        }
        let begun = self.shared.clock.monotonic();
        entries.extend(self.expiry.enter(expiring));
        let written = if entries.is_empty() {
            Ok(()) // says nothing of the disk, so it does not count
        } else {
            let written = self.shared.write(entries);
            self.shared.disk.step();
            self.shared.counts.count(&written, asked);
            if let Some(measures) = self.shared.measures.get() {
                let took = self.shared.clock.monotonic().saturating_sub(begun);
                measures.write_seconds.observe(took.as_secs_f64());
            }
            written
        };
        if written.is_err() {
            self.warming = Warming::Unasked;
            self.failed.get_or_insert(begun);
        }
        answer::tell(replies, &written);
        for answer in answers {
            answer(written.clone());
        }
        written.is_ok()
    }

    /// After a failed write: tries the disk again, once in a while. Before a group, whatever is asked: what the group does is
    /// decided on the files as they are then, and where they could not be opened no read leads to a write that would try.
    fn recover(&mut self) {
        if let Some(failed) = self.failed
            && self.shared.clock.monotonic().saturating_sub(failed) >= TRY_AGAIN
        {
            self.failed = self.shared.reopen().is_err().then(|| self.shared.clock.monotonic());
        }
    }

    fn sweep(&mut self, horizon: Timestamp, limit: usize, reply: Reply<Swept, StoreError>) {
        // The index is read as it is stored: whatever waits must be there first.
        self.write();
        if matches!(self.warming, Warming::Unasked) && self.failed.is_none() {
            self.warming = Warming::From(vec![keys::ACCESS]);
        }
        let due = self.shared.files().and_then(|files| Ok((self.expiry.due(&files, horizon, limit)?, files)));
        let (due, files) = match due {
            Ok(found) => found,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let mut swept = Swept { families: 0, damaged: due.damaged, more: due.more_from.is_some() };
        let mut entries = due.entries;
        for family in due.families {
            match job::expire(&files, family, horizon) {
                Ok(Due::Dropped(dropped)) => {
                    swept.families += 1;
                    entries.extend(dropped);
                }
                Ok(Due::Extended(until)) => self.group.expiring.push((until, family)),
                Ok(Due::Gone) => {}
                Err(StoreError::Corrupt { .. }) => swept.damaged += 1,
                Err(error) => return drop(reply.send(Err(error))),
            }
        }
        drop(files);
        self.add(entries, move |written| drop(reply.send(written.map(|()| swept))));
        if self.write() {
            self.shared.look_at_disk();
            self.expiry.swept_to(due.more_from.unwrap_or(horizon));
        }
    }
}
