//! Which clients came to another stage: by a load, or by what a command wrote while no bridge took it into use.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::domain::client::{Client, Moved, Stage};
use crate::domain::opaque::Fingerprint;
use crate::domain::table::Table;

/// Beside the audit's files: a line for each move that stands in the table in use, so that the next start knows which are new. No
/// time would tell it: a load may have been refused, and an entry be older than the files that bring it.
const FILE: &str = "moves";

/// A client that is at another stage than before; or that a command staged anew where it is, as it does with a canary.
pub(super) struct Move {
    pub(super) client: Arc<str>,
    /// Before and now.
    pub(super) stages: (Stage, Stage),
    /// Where a command moved it.
    pub(super) why: Option<String>,
}

/// Those that a load brings.
pub(super) fn between(before: &Table, now: &Table) -> Vec<Move> {
    let moved = |client: &Arc<Client>| {
        let was = before.client(&client.legacy_id)?;
        // What stood there already is about another change.
        let told = client.moved.as_ref().filter(|moved| was.moved.as_ref() != Some(moved));
        if was.stage == client.stage && told.is_none() {
            return None;
        }
        let why = told.map(|moved| moved.why.clone());
        Some(Move { client: client.legacy_id.clone(), stages: (was.stage, client.stage), why })
    };
    now.clients().filter_map(moved).collect()
}

/// Those by command that the process before never had in use. None where nothing is remembered yet.
pub(super) fn since_last_time(audit: &Path, now: &Table) -> Vec<Move> {
    let Ok(known) = fs::read_to_string(audit.join(FILE)) else { return Vec::new() };
    let known: HashSet<&str> = known.lines().collect();
    let moved = |client: &Arc<Client>| {
        let moved = client.moved.as_ref().filter(|moved| !known.contains(&*line(client, moved)))?;
        Some(Move {
            client: client.legacy_id.clone(),
            stages: (moved.from?, client.stage),
            why: Some(moved.why.clone()),
        })
    };
    now.clients().filter_map(moved).collect()
}

/// Remembers those of the table in use. What cannot be remembered is told once more by the next start.
pub(super) fn remember(audit: &Path, now: &Table) {
    let lines = now.clients().filter_map(|client| Some(line(client, client.moved.as_ref()?) + "\n"));
    let draft = audit.join(format!("{FILE}.new"));
    let _told_again = fs::write(&draft, lines.collect::<String>()).and_then(|()| fs::rename(&draft, audit.join(FILE)));
}

fn line(client: &Client, moved: &Moved) -> String {
    Fingerprint::of("move", format!("{:?} {:?} {moved:?}", client.legacy_id, client.stage).as_bytes()).to_string()
}
