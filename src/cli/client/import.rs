//! `client import`: a table of clients into the mapping, whole or not at all; dry unless told otherwise.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};

use clap::Args;
use parking_lot::Mutex;
use secrecy::SecretString;
use serde_json::json;

use super::super::{Format, NO, WRONG_USE, secret, show};
use super::rows::{self, Row};
use super::{Undone, counted, file_name, plain, stage_word, stages, taken, twice};
use crate::config::Config;
use crate::document::{Finding, Findings, Severity};
use crate::mapping;
use crate::mapping::edit::{Addition, Changed, Desk, NewClient, NewSecret};
use crate::mapping::entries::entries;
use crate::secrets::Means;
use crate::secrets::age::Recipient;
use crate::server::SystemEntropy;

/// A table and what becomes of it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// `.csv` or `.json` with `legacy_id`, `legacy_secret`, `client_id`, `client_secret`, `scopes`, `stage`, `dialect`
    file: PathBuf,
    /// Change the mapping; without this it is only shown what would change
    #[arg(long)]
    write: bool,
    /// The stage of clients for which the table has none
    #[arg(long, value_name = "STAGE", value_parser = stages())]
    stage: Option<&'static str>,
    /// The file of the mapping that they go into
    #[arg(long, value_name = "FILE", default_value = "imported.toml", value_parser = file_name)]
    into: String,
    /// How changes and problems are written
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// What is wrong with a row, or to be known of it.
struct Problem {
    line: u64,
    message: String,
}

impl Problem {
    fn of(finding: &Finding, line: u64) -> Self {
        Self { line, message: format!("{}\n  hint: {}", finding.message, finding.hint) }
    }
}

/// A client whose secrets, where the table has them in clear, are not hashed and sealed yet.
struct Planned {
    line: u64,
    client: NewClient,
    clear: Clear,
}

/// The secrets of a row that are in clear, and not hashed or sealed yet.
#[derive(Default)]
struct Clear {
    old: Option<SecretString>,
    new: Option<SecretString>,
}

/// What stands in place of secrets that are not hashed or sealed yet.
struct Dummies {
    hash: String,
    /// `None`: no identity is configured, so nothing is sealed.
    sealed: Option<String>,
}

/// A directory is opened as a file is, and cannot be read.
fn no_directory(opened: &File) -> io::Result<()> {
    if opened.metadata()?.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(()) }
}

/// Shows what would change, and changes it with `--write`.
pub(super) fn run(config: &Config, means: Means<'_>, import: &Import) -> Result<ExitCode, Undone> {
    if let Err(error) = File::open(&import.file).and_then(|file| no_directory(&file)) {
        let hint = "hint: a CSV or JSON file of clients; docs/MIGRATION.md has its columns";
        let path = import.file.display();
        return Err(Undone::Misused(format!("{path} cannot be read: {}\n  {hint}", show::words(&error))));
    }
    let rows = rows::read(&import.file).map_err(Undone::Misused)?;
    let recipient = config.identities.recipient();
    let sealed = |recipient| secret::sealed(&SecretString::from("nobody's"), &[recipient]);
    let dummies = Dummies { hash: mapping::hash_of_nobody(), sealed: recipient.map(sealed).transpose()? };
    let (mut planned, mut problems) = plan(config, import, &rows, &dummies);
    // With a hash of nobody's in place of those that cost time.
    let clients: Vec<_> = planned.iter().map(|planned| planned.client.clone()).collect();
    let addition = Addition::new(&config.mappings, &import.into, &clients)?;
    let (mut warnings, mut others) = (Vec::new(), Vec::new());
    for finding in addition.check(&config.mappings, means).unwrap_or_else(|errors| errors) {
        let row = addition.client_of(&finding).and_then(|index| planned.get(index)).map(|row| row.line);
        match (finding.severity, row) {
            (Severity::Error, row) => problems.push(Problem::of(&finding, row.unwrap_or(0))),
            (Severity::Warning, Some(line)) => warnings.push(Problem::of(&finding, line)),
            (Severity::Warning, None) => others.push(finding),
        }
    }
    problems.sort_by_key(|problem| problem.line);
    let unfit: HashSet<u64> = problems.iter().map(|problem| problem.line).collect();
    planned.retain(|planned| !unfit.contains(&planned.line));
    let write = import.write && problems.is_empty() && !planned.is_empty();
    // Before it is said to be written: somebody else may hold the files, or the disk be full.
    let written = write.then(|| add(config, means, import, &mut planned, recipient)).transpose();
    if write {
        // They are told with the lines of the file, which is there now.
        warnings.clear();
    }
    let changed = matches!(written, Ok(Some(_)));
    let told = report(import, &planned, (&problems, &warnings), changed);
    let answer = if let Some(changed) = written? {
        taken::wait(config, &changed, &format!("{} added", counted(planned.len(), "client")))
    } else if problems.is_empty() {
        show::tell(&others);
        let dry = if planned.is_empty() { "nothing to do" } else { "nothing was changed\n  hint: --write adds them" };
        show::say(&format!("{}: {dry}", counted(planned.len(), "client")));
        ExitCode::SUCCESS
    } else {
        show::failed(NO, format!("nothing was changed: {}", counted(problems.len(), "problem")))
    };
    let ended = show::ended(told, answer);
    if changed && ended == ExitCode::from(WRONG_USE) {
        // Which means to whoever hears it that nothing was done.
        show::say("note: the clients are added all the same");
        return Ok(ExitCode::from(NO));
    }
    Ok(ended)
}

/// Hashes, seals and writes what is planned.
fn add(
    config: &Config,
    means: Means<'_>,
    import: &Import,
    planned: &mut [Planned],
    recipient: Option<Recipient>,
) -> Result<Changed, Undone> {
    hash(planned, recipient)?;
    let clients: Vec<_> = planned.iter().map(|planned| planned.client.clone()).collect();
    let desk = Desk::open(&config.mappings, means)?;
    Ok(desk.add(&Addition::new(&config.mappings, &import.into, &clients)?)?)
}

/// Every row as a client, or what is wrong with it.
fn plan(config: &Config, import: &Import, rows: &[Row], dummies: &Dummies) -> (Vec<Planned>, Vec<Problem>) {
    let mapped = entries(&config.mappings, &Findings::new());
    let mut known: HashMap<&str, String> =
        mapped.iter().map(|entry| (entry.legacy_id.as_str(), format!("mapped already, at {}", entry.origin))).collect();
    let (mut planned, mut problems) = (Vec::new(), Vec::new());
    for row in rows {
        match client(row, import.stage, dummies) {
            Ok((client, clear)) => {
                let id = row.field("legacy_id").unwrap_or_default();
                if let Some(where_) = known.insert(id, format!("in line {} already", row.line)) {
                    problems
                        .push(Problem { line: row.line, message: format!("the client `{}` is {where_}", plain(id)) });
                } else {
                    planned.push(Planned { line: row.line, client, clear });
                }
            }
            Err(messages) => {
                problems.extend(messages.into_iter().map(|message| Problem { line: row.line, message }));
            }
        }
    }
    (planned, problems)
}

/// A row as a client. Secrets are in no message.
fn client(row: &Row, stage: Option<&str>, dummies: &Dummies) -> Result<(NewClient, Clear), Vec<String>> {
    if let Some(malformed) = &row.malformed {
        return Err(vec![format!("the row {malformed}")]);
    }
    let mut wrong = Vec::new();
    let mut needed = |column: &str| {
        let field = row.field(column).unwrap_or_default();
        if field.is_empty() {
            wrong.push(format!("`{column}` is missing"));
        }
        field
    };
    let (legacy_id, old, client_id, new) =
        (needed("legacy_id"), needed("legacy_secret"), needed("client_id"), needed("client_secret"));
    wrong.extend(slips(row));
    let mut clear = Clear::default();
    let legacy_secret = match NewSecret::old_reference(old) {
        Some(reference) => reference,
        None if old.starts_with("$argon2") => NewSecret::Hash(old.to_owned()),
        None => {
            clear.old = Some(SecretString::from(old));
            NewSecret::Hash(dummies.hash.clone())
        }
    };
    let client_secret = NewSecret::reference(new).or_else(|| {
        let sealed = dummies.sealed.clone().filter(|_| !new.is_empty())?;
        clear.new = Some(SecretString::from(new));
        Some(NewSecret::Sealed(sealed))
    });
    if client_secret.is_none() && !new.is_empty() {
        let hint = "hint: [secrets] identity = { file = \"age.key\" }, and it is sealed; or put it into a file or a variable of the bridge, and say file:PATH or env:NAME";
        wrong.push(format!("`client_secret` is a secret in clear text, which no mapping may contain\n  {hint}"));
    }
    let stage = row.field("stage").or(stage);
    let word = stage.map(stage_word);
    match &word {
        None => wrong.push("`stage` is missing\n  hint: --stage STAGE is for those that have none".to_owned()),
        Some(Err(known)) => wrong.push(format!("`stage` is not {known}")),
        Some(Ok(_)) => {}
    }
    let scopes = row.scopes();
    if let Some(word) = twice(&scopes) {
        wrong.push(format!("`scopes` has `{}` twice\n  hint: each legacy word is one word at the realm", plain(word)));
    }
    let (Some(client_secret), Some(Ok(stage)), true) = (client_secret, word, wrong.is_empty()) else {
        return Err(wrong);
    };
    let client = NewClient {
        legacy_id: legacy_id.to_owned(),
        legacy_secret,
        client_id: client_id.to_owned(),
        client_secret,
        stage: stage.to_owned(),
        dialect: row.field("dialect").map(str::to_owned),
        scopes,
    };
    Ok((client, clear))
}

/// What would be taken as it stands, and is hardly meant so: a blank behind a comma, which nobody sees, `ENV:NAME`, or scopes with commas between.
fn slips(row: &Row) -> Vec<String> {
    let mut wrong = Vec::new();
    for column in ["legacy_id", "legacy_secret", "client_id", "client_secret"] {
        let text = row.field(column).unwrap_or_default();
        if text.trim() != text {
            let hint = "hint: take it away; a secret that has one is for a file (file:PATH)";
            wrong.push(format!("`{column}` begins or ends with a blank\n  {hint}"));
        } else if is_nearly_a_reference(column, text) {
            let hint = "hint: as `env:NAME`, `file:PATH`, `sealed:TEXT`, an old one as `learn`; a secret that reads so is for a file";
            wrong.push(format!("`{column}` is no reference, and looks like one\n  {hint}"));
        }
    }
    if let Some(sign) = row.separator() {
        let what = if sign == '=' { "two `=`".to_owned() } else { format!("`{sign}`") };
        let hint = "hint: blanks alone separate its words (`a=b c`); a scope that has such a sign goes into an object, in JSON";
        wrong.push(format!("`scopes` has {what} within a word\n  {hint}"));
    }
    wrong
}

fn is_nearly_a_reference(column: &str, text: &str) -> bool {
    let reference = match column {
        "legacy_secret" => NewSecret::old_reference(text),
        "client_secret" => NewSecret::reference(text),
        _ => return false,
    };
    let word = text.split_once(':').map_or(text, |(word, _)| word).trim_end();
    let words = if word.len() < text.len() { &["env", "file", "sealed"][..] } else { &["learn"] };
    reference.is_none() && words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Hashes and seals what is in clear, on every core, and shows how far it is.
fn hash(planned: &mut [Planned], recipient: Option<Recipient>) -> Result<(), String> {
    let all = planned.iter().filter(|planned| planned.clear.old.is_some()).count();
    let (done, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let shown = io::stderr().is_terminal();
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let left = Mutex::new(planned.iter_mut());
    let next = || left.lock().next();
    let some = || {
        while let Some(planned) = next() {
            if let (Some(clear), Some(recipient)) = (planned.clear.new.take(), recipient) {
                match secret::sealed(&clear, &[recipient]) {
                    Ok(sealed) => planned.client.client_secret = NewSecret::Sealed(sealed),
                    Err(reason) => *failed.lock() = Some(reason),
                }
            }
            let Some(clear) = planned.clear.old.take() else { continue };
            match mapping::hash(&clear, &SystemEntropy) {
                Ok(hash) => planned.client.legacy_secret = NewSecret::Hash(hash),
                Err(reason) => *failed.lock() = Some(reason),
            }
            let count = done.fetch_add(1, Ordering::Relaxed) + 1;
            if shown {
                show::progress(&format!("hashed {count} of {}", counted(all, "old secret")));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..cores {
            // Where the machine gives none, those that there are do the work.
            let _helper = Builder::new().spawn_scoped(scope, some);
        }
        some();
    });
    if shown && all > 0 {
        show::say("");
    }
    failed.into_inner().map_or(Ok(()), Err)
}

fn report(
    import: &Import,
    planned: &[Planned],
    (problems, warnings): (&[Problem], &[Problem]),
    written: bool,
) -> io::Result<()> {
    let (file, mut out) = (import.file.display().to_string(), show::data());
    if import.format == Format::Json {
        let change = |planned: &Planned| {
            let NewClient { legacy_id, client_id, stage, scopes, dialect, .. } = &planned.client;
            let mut told =
                json!({"line": planned.line, "legacy_id": legacy_id, "client_id": client_id, "stage": stage});
            if !scopes.is_empty() {
                told["scopes"] = scopes.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
            }
            if let Some(dialect) = dialect {
                told["dialect"] = dialect.as_str().into();
            }
            told
        };
        let changes: Vec<_> = planned.iter().map(change).collect();
        let [problems, warnings] = [problems, warnings].map(|told| {
            let problem = |problem: &Problem| json!({"line": problem.line, "message": problem.message});
            told.iter().map(problem).collect::<Vec<_>>()
        });
        let told = json!({"add": changes, "problems": problems, "warnings": warnings, "write": written});
        return writeln!(out, "{told:#}");
    }
    for Planned { client, .. } in planned {
        let (old, new) = (plain(&client.legacy_id), plain(&client.client_id));
        write!(out, "add {old} as {new}, at stage {}", client.stage)?;
        for (number, (old, new)) in client.scopes.iter().enumerate() {
            write!(out, "{} {}={}", if number == 0 { ", scopes" } else { "" }, plain(old), plain(new))?;
        }
        if let Some(dialect) = &client.dialect {
            write!(out, ", dialect {}", plain(dialect))?;
        }
        writeln!(out)?;
    }
    for (word, told) in [("error", problems), ("warning", warnings)] {
        for Problem { line, message } in told {
            writeln!(out, "{}:{line}: {word}: {}", plain(&file), show::lines(message))?;
        }
    }
    Ok(())
}
