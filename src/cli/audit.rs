//! `passbridge audit`: reads the audit's files, whether a bridge runs or not.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Format, NO, WRONG_USE, now, show};
use crate::config;
use crate::secrets::Environment;
use crate::telemetry::audit::{Verdict, files, verify};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Asked {
    #[command(subcommand)]
    action: Option<Action>,
    /// Only what this legacy client did, or somebody in its name
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Only what happened since then: 2026-11-24T12:00:00Z, 2026-11-24T15:00:00+03:00, or so long ago: 2h
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// How records are written; json: as they stand in the files, one on a line
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check that no record was removed or changed
    Verify {
        /// How the verdict is written
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
}

pub(super) fn run(path: &Path, environment: &Environment, asked: &Asked) -> Result<ExitCode, ExitCode> {
    let Some(settings) = super::in_part(path, environment, config::audit_alone)? else {
        return Err(show::failed(WRONG_USE, "no audit is kept\n  hint: [audit] enabled = true"));
    };
    let unreadable = |error: io::Error| {
        let hint = "hint: it lies where the bridge writes it (`audit.path`): run this there, as the bridge's user";
        let (path, words) = (settings.path.display(), show::words(&error));
        show::failed(WRONG_USE, format!("the audit in {path} cannot be read: {words}\n  {hint}"))
    };
    if let Some(Action::Verify { format }) = asked.action {
        let verdict = verify(&settings.path).map_err(unreadable)?;
        return Ok(show::ended(tell(&verdict, format), if verdict.faults.is_empty() { 0 } else { NO }));
    }
    let since = asked.since.as_deref().map(since).transpose().map_err(|text| {
        let hint = "hint: --since 2026-11-24T12:00:00Z, 2026-11-24T15:00:00+03:00, or 2h";
        show::failed(WRONG_USE, format!("`{text}` is neither a time nor a duration\n  {hint}"))
    })?;
    let written = files(&settings.path).and_then(|files| list(&files, asked, since)).map_err(unreadable)?;
    Ok(show::ended(written, 0))
}

fn since(text: &str) -> Result<SystemTime, &str> {
    let ago = || now().system().checked_sub(humantime::parse_duration(text).ok()?);
    moment(text).or_else(ago).ok_or(text)
}

/// A time of RFC 3339 (section 5.6), at whatever offset and in small letters too; `date --rfc-3339` has a blank for its T.
fn moment(text: &str) -> Option<SystemTime> {
    let text = text.to_ascii_uppercase().replacen(' ', "T", 1);
    let utc = |local: &str| humantime::parse_rfc3339(&format!("{local}Z")).ok();
    if let Some(local) = text.strip_suffix('Z') {
        return utc(local);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let (sign, offset) = offset.split_at_checked(1)?;
    let of_a_day = humantime::parse_rfc3339(&format!("1970-01-01T{offset}:00Z")).ok()?;
    let offset = of_a_day.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    match sign {
        "+" => utc(local)?.checked_sub(offset),
        "-" => utc(local)?.checked_add(offset),
        _ => None,
    }
}

/// Writes the records that are meant, until they cannot be written.
///
/// # Errors
/// They cannot be read.
fn list(files: &[std::path::PathBuf], asked: &Asked, since: Option<SystemTime>) -> io::Result<io::Result<()>> {
    let mut out = show::data();
    for path in files {
        let mut file = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line)? > 0 {
            // What a crash cut off is `verify`'s to tell.
            if let Ok(record) = serde_json::from_slice::<Value>(&line)
                && is_meant(&record, asked.client.as_deref(), since)
            {
                let written = match asked.format {
                    Format::Json => out.write_all(&line),
                    Format::Human => writeln!(out, "{}", sentence(&record)),
                };
                if written.is_err() {
                    return Ok(written);
                }
            }
            line.clear();
        }
    }
    Ok(Ok(()))
}

fn is_meant(record: &Value, client: Option<&str>, since: Option<SystemTime>) -> bool {
    let named = |name: &str| record[name].as_str().is_some_and(|id| Some(id) == client);
    let time = || record["time"].as_str().and_then(|time| humantime::parse_rfc3339(time).ok());
    (client.is_none() || named("client") || named("claimed")) && since.is_none_or(|since| time() >= Some(since))
}

/// When, what, how it ended, who, and the rest by name.
fn sentence(record: &Value) -> String {
    let text = |name: &str| record[name].as_str().unwrap_or_default();
    let mut words = vec![text("time").to_owned(), text("what").to_owned()];
    let mut push = |name: &str, word: String| {
        if !record[name].is_null() {
            words.push(word);
        }
    };
    push("outcome", text("outcome").to_owned());
    push("client", text("client").to_owned());
    push("claimed", format!("somebody as {:?}", text("claimed")));
    push("address", format!("from {}", text("address")));
    for name in ["stage_before", "stage", "grant", "family", "token", "generation", "digest", "clients", "errors"] {
        push(name, format!("{name}={}", plain(&record[name])));
    }
    // `realm_told` is an older version's.
    for name in ["directory", "version", "clean", "torn", "lost", "removed", "through", "realm", "realm_told", "fault"]
    {
        push(name, format!("{name}={}", plain(&record[name])));
    }
    push("notes", format!("notes={}", record["notes"]));
    push("why", format!("({})", text("why")));
    // Ids come from outside, and could move a terminal's cursor; what nobody proved to be is quoted, so that it ends where it ends.
    show::plain(&words.join(" "))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn tell(verdict: &Verdict, format: Format) -> io::Result<()> {
    let mut out = show::data();
    let Verdict { files, records, first, last, hash, tears, crashes, lost, removed, faults } = verdict;
    if format == Format::Json {
        let faults: Vec<Value> = faults
            .iter()
            .map(|fault| json!({"file": fault.file.to_string_lossy(), "line": fault.line, "message": fault.message}))
            .collect();
        let body = json!({
            "intact": faults.is_empty(), "files": files, "records": records, "first": first, "last": last,
            "hash": hash, "tears": tears, "unclean_ends": crashes, "lost": lost, "removed": removed,
            "faults": faults,
        });
        return writeln!(out, "{body:#}");
    }
    for fault in faults {
        let line = fault.line.map(|line| format!(":{line}")).unwrap_or_default();
        writeln!(out, "{}{line}: {}", fault.file.display(), fault.message)?;
    }
    writeln!(out, "{records} records in {files} files, {first} to {last}; the last one's hash is {hash}")?;
    writeln!(
        out,
        "{crashes} unclean ends, {tears} cut-off lines, {lost} records that could not be written, or were left out"
    )?;
    show::say(if faults.is_empty() {
        "nothing was removed or changed"
    } else if *records == 0 {
        "hint: is `audit.path` where the bridge writes? A bridge that ran left the record of its start there"
    } else {
        "this is not what was written"
    });
    Ok(())
}
