//! The thread that writes. What it cannot write it keeps and tries again each second; a disk that is full stops no login.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::chain::{self, Head};
use super::directory::{DAY, Directory, Open};
use super::disk::Disk;
use super::entry::Entry;
use super::missing::{Missing, Why};
use super::{AuditSettings, Handed, Then};
use crate::domain::horizon::Horizon;
use crate::domain::time::{Clock, Timestamp};
use crate::telemetry::{Metrics, log};

/// How often what was written is made durable, and what could not be written is tried again.
const TICK: Duration = Duration::from_secs(1);

/// How long what follows a write is gathered for the next one. Without it every login woke this thread: 7 us of CPU.
const GATHERED: Duration = Duration::from_millis(5);

/// Entries in one write, at most.
const BATCH: usize = 1_024;

pub(super) struct Writer {
    directory: Directory,
    settings: AuditSettings,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    missing: Arc<Missing>,
    disk: Arc<Disk>,
    /// Left out and counted, and in no record yet.
    unsaid: BTreeMap<Why, u64>,
    /// The minute in which it was last said what is left out by rule.
    said: u64,
    /// Not written yet.
    pending: VecDeque<Entry>,
    /// Not done yet, as what came before it is not written.
    after: Vec<Then>,
    /// `None`: to be found on disk, at the start and after a failure.
    open: Option<Open>,
    /// The last record that was written.
    head: Head,
    /// The last record of which this process knows that no failure of the disk takes it.
    durable: u64,
    /// A sync has failed: what was written before it may be in memory alone, whatever the next one says.
    unsure: bool,
    /// When this process began; `None`: its record is on its way.
    began: Option<Timestamp>,
    failing: bool,
    /// How far the time of day is believed where files are forgotten.
    horizon: Horizon,
    /// The day on which old files were last looked for.
    tidied: Option<u64>,
}

impl Writer {
    pub(super) fn new(
        directory: Directory,
        settings: AuditSettings,
        (clock, metrics): (Arc<dyn Clock>, Arc<Metrics>),
        (missing, disk): (Arc<Missing>, Arc<Disk>),
    ) -> Self {
        metrics.audit_writable.set(1);
        // Not when its thread gets to it: records of what came after would be the earlier ones.
        let began = Some(clock.now());
        let horizon = Horizon::unproven(clock.now(), clock.monotonic());
        Self {
            directory,
            settings,
            clock,
            metrics,
            missing,
            disk,
            unsaid: BTreeMap::new(),
            said: 0,
            pending: VecDeque::new(),
            after: Vec::new(),
            open: None,
            head: Head::default(),
            durable: 0,
            unsure: false,
            began,
            failing: false,
            horizon,
            tidied: None,
        }
    }

    pub(super) async fn run(mut self, mut queue: Receiver<Handed>, end: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut gathering = pin!(sleep(Duration::ZERO));
        let mut ended = pin!(end.cancelled());
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                _tick = ticks.tick() => self.tick(),
                () = &mut ended => break,
                // While nothing can be written the queue holds what comes, as long as it can.
                count = async { gathering.as_mut().await; queue.recv_many(&mut batch, BATCH).await }, if !self.failing => {
                    if count == 0 {
                        break;
                    }
                    batch.drain(..).for_each(|handed| self.take(handed));
                    self.attempt(false);
                    gathering.set(sleep(GATHERED));
                }
            }
        }
        queue.close();
        while let Some(handed) = queue.recv().await {
            self.take(handed);
        }
        // The next process believes the `stop`: all that is before it shall be on the disk by then.
        self.attempt(true);
        self.say_what_is_missing(true);
        self.pending.push_back(Entry::new(self.clock.now(), "stop"));
        self.attempt(true);
        if self.failing {
            self.attempt(true);
        }
        if !self.pending.is_empty() {
            log::audit_lost(self.pending.len());
        }
    }

    fn take(&mut self, handed: Handed) {
        match handed {
            Handed::Entry(entry) => self.pending.push_back(entry),
            Handed::Then(then) => self.after.push(then),
        }
    }

    fn tick(&mut self) {
        let believed = self.horizon.at(self.clock.now(), self.clock.monotonic());
        self.say_what_is_missing(false);
        self.attempt(true);
        let today = believed.secs() / DAY;
        if !self.failing && self.tidied != Some(today) {
            self.ask();
            let forgotten = self.forget(believed);
            self.answered();
            match forgotten {
                Ok(()) => self.tidied = Some(today),
                Err(error) => self.failed(&error),
            }
        }
    }

    /// Counts it at once. The record is made when it can be written: until then one a second would pile up; and of what is left out by rule once a
    /// minute, or at the `end`, or the gaps would be as many as what they stand for.
    fn say_what_is_missing(&mut self, end: bool) {
        for (why, lost) in self.missing.take() {
            let counter = if why.is_a_rule() { &self.metrics.audit_left_out } else { &self.metrics.audit_lost };
            counter.inc_by(lost);
            *self.unsaid.entry(why).or_default() += lost;
        }
        if self.failing {
            return;
        }
        let minute = self.clock.monotonic().as_secs() / 60;
        let is_due = end || self.said != minute;
        self.said = minute;
        let unsaid = std::mem::take(&mut self.unsaid).into_iter();
        let (told, later): (BTreeMap<Why, u64>, _) = unsaid.partition(|(why, _)| is_due || !why.is_a_rule());
        self.unsaid = later;
        for (why, lost) in told {
            let (client, lost, said) = (why.client(), Some(lost), Some(why.to_string()));
            self.pending.push_back(Entry { client, lost, why: said, ..Entry::new(self.clock.now(), "gap") });
        }
    }

    fn attempt(&mut self, durable: bool) {
        let durable = durable || !self.after.is_empty();
        self.ask();
        let done = self.write().and_then(|()| if durable { self.sync() } else { Ok(()) });
        if done.is_ok() {
            self.after.drain(..).for_each(|then| then());
        }
        self.answered();
        match done {
            Ok(()) if self.failing => {
                self.failing = false;
                self.metrics.audit_writable.set(1);
                log::audit_recovered();
            }
            Ok(()) => {}
            Err(error) => self.failed(&error),
        }
    }

    fn ask(&self) {
        self.disk.is_asked(self.clock.monotonic(), self.pending.len());
    }

    /// One that was told to hang fails until something is written again.
    fn answered(&mut self) {
        self.failing |= self.disk.has_answered();
    }

    /// What is on disk is found anew before the next try.
    fn failed(&mut self, error: &io::Error) {
        self.open = None;
        if !self.failing {
            self.failing = true;
            self.metrics.audit_writable.set(0);
            let what = format!("{}: {error}", self.settings.path.display());
            log::audit_failed(&io::Error::new(error.kind(), what));
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.open.as_ref().is_some_and(Open::is_removed) {
            // That was no failure of the disk.
            (self.open, self.durable) = (None, self.head.seq);
        }
        if self.open.is_none() {
            self.resume()?;
        }
        while let Some(entry) = self.pending.front() {
            // A tear is told where it is, and ended there, on whatever day and however long that file is.
            let tells = entry.torn.is_some();
            let mut open = match self.open.take() {
                Some(open) if tells || is_of(&open, entry) && open.length < self.settings.file_size => open,
                followed => self.follow(followed, entry.at.secs() / DAY)?,
            };
            let (mut head, mut text) = (self.head.clone(), String::new());
            if open.unended {
                text.push('\n');
            }
            let (mut count, most) = (0, if tells { 1 } else { BATCH });
            for entry in self.pending.iter().take(most).take_while(|entry| tells || is_of(&open, entry)) {
                if open.length + text.len() as u64 >= self.settings.file_size && count > 0 {
                    break;
                }
                text.push_str(&chain::seal(&mut head, entry)?);
                count += 1;
            }
            open.file.write_all(text.as_bytes())?;
            open.length += text.len() as u64;
            self.pending.drain(..count);
            self.metrics.audit_records.inc_by(count as u64);
            (open.unended, open.unsynced) = (false, true);
            (self.open, self.head) = (Some(open), head);
        }
        Ok(())
    }

    /// Another day, or enough of this file.
    fn follow(&mut self, followed: Option<Open>, day: u64) -> io::Result<Open> {
        if let Some(open) = followed {
            self.open = Some(open);
            self.sync()?;
            log::audit_followed(self.head.seq, &self.head.hash);
        }
        self.directory.begin(self.head.seq + 1, day)
    }

    /// Finds the end of the chain on disk, and what it is to go on with.
    fn resume(&mut self) -> io::Result<()> {
        let mut found = self.directory.resume()?;
        // What the process before did not end in order may have failed, too.
        let unsure = self.unsure || self.began.is_some() && !found.clean;
        if let Some(open) = found.open.as_mut().filter(|_| unsure) {
            open.write_anew()?;
        }
        self.unsure = false;
        if let Some(began) = self.began.take() {
            let version = Some(env!("CARGO_PKG_VERSION"));
            self.pending.push_front(Entry { version, clean: Some(found.clean), ..Entry::new(began, "start") });
        } else {
            // What of the last write is there is not written again, nor what was to be said of an earlier tear.
            let written = usize::try_from(found.head.seq.saturating_sub(self.head.seq)).unwrap_or(usize::MAX);
            let written = written.min(self.pending.len());
            self.pending.drain(..written);
            self.metrics.audit_records.inc_by(written as u64);
            if self.pending.front().is_some_and(|entry| entry.torn.is_some()) {
                self.pending.pop_front();
            }
            self.tell_what_is_gone(&found.head);
        }
        if found.torn > 0 {
            let bytes = found.torn + u64::from(found.open.as_ref().is_some_and(|open| open.unended));
            let why = Some("a write was cut off here".to_owned());
            self.pending.push_front(Entry { torn: Some(bytes), why, ..Entry::new(self.clock.now(), "torn") });
        }
        self.durable = self.durable.min(found.head.seq);
        (self.head, self.open) = (found.head, found.open);
        Ok(())
    }

    /// What a disk that fails may lose is what was not durable yet. Whatever else is not there any more somebody removed or changed.
    fn tell_what_is_gone(&mut self, found: &Head) {
        let gap = |why: &str| Entry { why: Some(why.to_owned()), ..Entry::new(self.clock.now(), "gap") };
        let lost = self.head.seq.saturating_sub(self.durable.max(found.seq));
        if lost > 0 {
            self.pending.push_front(Entry { lost: Some(lost), ..gap("the disk lost what it had taken") });
        }
        let is_other = found.seq == self.head.seq && found.hash != self.head.hash;
        let removed = self.durable.saturating_sub(found.seq).max(u64::from(is_other));
        if removed > 0 {
            log::audit_removed(removed, found.seq);
            let why = "this process had written them, and they are not in the files any more";
            self.pending.push_front(Entry { removed: Some(removed), ..gap(why) });
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(open) = self.open.as_mut().filter(|open| open.unsynced) {
            self.unsure = true;
            open.file.sync_data()?;
            (self.unsure, open.unsynced) = (false, false);
        }
        self.durable = self.head.seq;
        Ok(())
    }

    /// Removes files that are old enough; the chain says so first. One that cannot be removed is no want of writing.
    fn forget(&mut self, now: Timestamp) -> io::Result<()> {
        let mut files = self.directory.list()?;
        let (today, mut behind) = (now.secs() / DAY, None);
        for file in files.iter_mut().rev() {
            // The clock may have been wrong, but the file behind it is of no earlier day: each is kept after that, and one of a day to come is of that.
            let day = behind.filter(|_| file.day > today + 1).unwrap_or(file.day);
            file.day = behind.unwrap_or(day).max(day + 1);
            behind = Some(day);
        }
        let is_old = |over: u64| (over * DAY).saturating_add(self.settings.keep.as_secs()) <= now.secs();
        // Never the last, which is written to.
        let old: Vec<_> = files.windows(2).take_while(|pair| is_old(pair[0].day)).collect();
        let Some([_, kept]) = old.last() else { return Ok(()) };
        let through = Some(kept.first.saturating_sub(1));
        self.pending.push_back(Entry { through, ..Entry::new(self.clock.now(), "forgotten") });
        self.write()?;
        self.sync()?;
        for named in old.iter().filter_map(|pair| pair.first()) {
            match fs::remove_file(&named.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => log::audit_kept(&named.path, &error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Whether a record is of the day of this file. Of one that comes a little late, about midnight, the day before is not begun again; but a clock that
/// was days ahead for a moment has left a file that is nobody's.
fn is_of(open: &Open, entry: &Entry) -> bool {
    let day = entry.at.secs() / DAY;
    day <= open.day && open.day <= day + 1
}
