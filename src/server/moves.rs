//! Which clients came to another stage: by a load, or while no bridge took the files into use.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::domain::client::{Client, Moved, Stage};
use crate::domain::opaque::Fingerprint;
use crate::domain::table::Table;
use crate::mapping::Snapshot;
use crate::telemetry::{Edge, audit};

/// Beside the audit's files: the stage of each client in use and the change that brought it there, so that the next start knows what is
/// new. No time would tell it: a load may have been refused, and an entry be older than the files that bring it.
const FILE: &str = "moves";

/// A client that is at another stage than before; or that a command staged anew where it is, as it does with a canary.
pub(super) struct Move {
    pub(super) client: Arc<str>,
    /// Before and now.
    pub(super) stages: (Stage, Stage),
    /// Where a command moved it.
    pub(super) why: Option<String>,
}

/// `told`: a change by command that was not there before. One that was there is about another move than this one.
fn moved(client: &Client, was: Stage, told: Option<&Moved>) -> Option<Move> {
    // There and back again is no move, but for a canary, which begins anew.
    let begins_anew = client.stage == Stage::Canary && told.is_some();
    (was != client.stage || begins_anew).then(|| Move {
        client: client.legacy_id.clone(),
        stages: (was, client.stage),
        why: told.map(|moved| moved.why.clone()),
    })
}

/// Those that a load brings.
pub(super) fn between(before: &Table, now: &Table) -> Vec<Move> {
    let moved = |client: &Arc<Client>| {
        let was = before.client(&client.legacy_id)?;
        moved(client, was.stage, client.moved.as_ref().filter(|moved| was.moved.as_ref() != Some(moved)))
    };
    now.clients().filter_map(moved).collect()
}

/// So many of those that a load leaves out are told by name: more are a directory that is away.
const MOST_GONE: usize = 1_000;

/// Those that a load leaves out.
pub(super) fn gone(before: &Table, now: &Table) -> Vec<Arc<Client>> {
    let gone = before.clients().filter(|client| now.client(&client.legacy_id).is_none());
    gone.take(MOST_GONE).cloned().collect()
}

/// The table that was in use last, as far as it is remembered.
pub(super) struct Remembered {
    path: PathBuf,
    /// Each client's stage, and the change by command that stood beside it.
    clients: HashMap<String, (Stage, Option<String>)>,
    /// What versions before wrote: one fingerprint of client, stage and change, for each change.
    older: HashSet<String>,
    /// Nothing is: the audit is new, or of a version that remembered nothing.
    is_missing: bool,
    /// When the audit was written last.
    written: Option<SystemTime>,
}

impl Remembered {
    /// To be asked before this process writes to the audit.
    pub(super) fn read(audit: &Path) -> Self {
        let (path, mut clients, mut older) = (audit.join(FILE), HashMap::new(), HashSet::new());
        for line in fs::read_to_string(&path).unwrap_or_default().lines() {
            match serde_json::from_str::<(String, String, Option<String>)>(line) {
                Ok((id, word, change)) => {
                    let stage = Stage::WORDS.iter().find(|(known, _)| *known == word);
                    clients.extend(stage.map(|(_, stage)| (id, (*stage, change))));
                }
                Err(_) => {
                    older.insert(line.to_owned());
                }
            }
        }
        // A power cut may leave a file with nothing in it.
        let is_missing = clients.is_empty() && older.is_empty();
        Self { path, clients, older, is_missing, written: written(audit).filter(|_| is_missing) }
    }

    /// Those since then. Of a client that is not remembered, what a command says of it.
    pub(super) fn since(&self, now: &Table) -> Vec<Move> {
        self.moves_of(now.clients())
    }

    /// Those of clients that a load brings back, which the one before left out.
    pub(super) fn back(&self, before: &Table, now: &Table) -> Vec<Move> {
        let is_back = |id: &str| before.client(id).is_none() && self.clients.contains_key(id);
        self.moves_of(now.clients().filter(|client| is_back(&client.legacy_id)))
    }

    fn moves_of<'a>(&self, clients: impl Iterator<Item = &'a Arc<Client>>) -> Vec<Move> {
        let moved = |client: &Arc<Client>| {
            let told = client.moved.as_ref();
            if let Some((stage, change)) = self.clients.get(&*client.legacy_id) {
                return moved(client, *stage, told.filter(|moved| *change != Some(change_of(moved))));
            }
            let told = told?;
            if let Some(stage) = self.stage_of(client, told) {
                return moved(client, stage, None);
            }
            (!self.is_missing || self.is_younger(told)).then(|| moved(client, told.from?, Some(told))).flatten()
        };
        clients.filter_map(moved).collect()
    }

    /// Where a client was when this change was remembered by a version before.
    fn stage_of(&self, client: &Client, told: &Moved) -> Option<Stage> {
        let line = |stage: Stage| {
            Fingerprint::of("move", format!("{:?} {stage:?} {told:?}", client.legacy_id).as_bytes()).to_string()
        };
        let stages = Stage::WORDS.iter().map(|(_, stage)| *stage);
        stages.filter(|_| !self.older.is_empty()).find(|stage| self.older.contains(&line(*stage)))
    }

    /// Commands know whole seconds.
    fn is_younger(&self, told: &Moved) -> bool {
        let written = self.written.map(|written| written.checked_sub(Duration::from_secs(1)).unwrap_or(written));
        written.zip(humantime::parse_rfc3339(&told.at).ok()).is_some_and(|(written, at)| at > written)
    }

    /// Remembers the table in use, and of whom it does not have what was remembered: its file may only be away for a while. What cannot be
    /// remembered is told once more by the next start.
    fn remember(self, now: &Table) {
        let gone = self.clients.into_iter().filter(|(id, _)| now.client(id).is_none());
        let gone = gone.filter_map(|(id, (stage, change))| line(&id, stage, change));
        let here = now.clients();
        let here =
            here.filter_map(|client| line(&client.legacy_id, client.stage, client.moved.as_ref().map(change_of)));
        let draft = self.path.with_extension("new");
        let text = here.chain(gone).collect::<String>();
        let _told_again = fs::write(&draft, text).and_then(|()| fs::rename(&draft, &self.path));
    }
}

/// Remembers what is in use once the audit has what was told of it: where a process is killed before, the next one tells it.
pub(super) fn remember(edge: &Edge, audit: &Path, now: Arc<Snapshot>) {
    let audit = audit.to_owned();
    edge.then(Box::new(move || Remembered::read(&audit).remember(&now.table)));
}

fn written(audit: &Path) -> Option<SystemTime> {
    let newest = audit::files(audit).ok()?.pop()?;
    newest.metadata().ok()?.modified().ok()
}

fn line(id: &str, stage: Stage, change: Option<String>) -> Option<String> {
    serde_json::to_string(&(id, stage.word(), change)).ok().map(|line| line + "\n")
}

fn change_of(moved: &Moved) -> String {
    Fingerprint::of("stage_change", format!("{moved:?}").as_bytes()).to_string()
}
