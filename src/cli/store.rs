//! `passbridge store`: a backup while the bridge runs, a move while none does.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;
use tokio::runtime;

use super::{NO, WRONG_USE, ask, configured, in_part, ops_token, private, show, unanswered};
use crate::config;
use crate::domain::learned;
use crate::domain::refusal::sentence;
use crate::domain::time::{Clock, Timestamp};
use crate::secrets::Environment;
use crate::server::{SystemClock, provide_tls};
use crate::store::{Bundle, Memo, StoreError, StoreSettings, TokenStore};

/// Families in one step.
const STEP: usize = 500;

/// What was copied.
#[derive(Default)]
struct Copied {
    logins: usize,
    /// Left behind: forgotten by now, and only not swept yet.
    forgotten: usize,
    /// Left as they are where they were copied to: they have gone on there.
    newer: usize,
    untold: usize,
    /// What else is remembered of clients, left as it is there for the same reason.
    differing: usize,
    /// Records that cannot be read, and were left behind.
    damaged: usize,
}

/// Has the running bridge copy its store.
pub(super) fn backup(path: &Path, environment: &Environment, directory: &Path) -> Result<ExitCode, ExitCode> {
    let access = in_part(path, environment, config::ops_access)?;
    let token = ops_token(&access)?;
    let whole = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    if whole.to_str().is_none() {
        return Err(show::failed(WRONG_USE, "the directory's name is not UTF-8\n  hint: name another"));
    }
    let question = serde_json::json!({ "directory": whole }).to_string();
    let answer = ask::post(&access, "/api/v1/store/backup", token, &question);
    let answer = answer.map_err(|error| unanswered(access.address, &error))?;
    // The last line says what became of it.
    let last: Value = answer.body.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let Some(done) = last.get("done") else {
        let sentence = last["error"].as_str().unwrap_or("the bridge went away before the backup was whole");
        return Err(show::failed(NO, format!("{}{}", show::plain(sentence), answer.hint())));
    };
    let number = |name: &str| done[name].as_u64().unwrap_or_default();
    show::say(&format!("{} records, {} bytes in {}", number("records"), number("bytes"), whole.display()));
    if number("damaged") > 0 {
        let damaged = number("damaged");
        return Err(show::failed(NO, format!("{damaged} of them are damaged, and were copied as they are")));
    }
    Ok(ExitCode::SUCCESS)
}

/// Copies every login of the configured store into the store of another configuration. Both bridges must be stopped: an embedded
/// store says so itself, and what a running one would write in the meantime would be missing.
pub(super) fn copy(path: &Path, environment: &Environment, to: &Path) -> Result<ExitCode, ExitCode> {
    if let Err(error) = std::fs::metadata(to) {
        let hint = "hint: --to FILE names the configuration of the store that is copied to";
        let sentence = format!("{} cannot be read: {}\n  {hint}", to.display(), show::words(&error));
        return Err(show::failed(WRONG_USE, sentence));
    }
    let (from, to) = (configured(path, environment), configured(to, environment));
    let (from, to) = (from?, to?);
    if is_one(&from.store, &to.store) {
        let said = environment.with_prefix("PASSBRIDGE__STORE__").map(|(name, _)| format!("${name}"));
        let said = said.collect::<Vec<_>>().join(", ");
        let hint = if said.is_empty() {
            "--to names the configuration of the other one".to_owned()
        } else {
            format!("{said} says so for both of them: unset it for this command")
        };
        return Err(show::failed(WRONG_USE, format!("both configurations name one store\n  hint: {hint}")));
    }
    private::keep();
    provide_tls();
    let clock = Arc::new(SystemClock::new());
    let source = TokenStore::open_source(&from.store, clock.clone());
    let source = source.map_err(|error| not_opened(&from.store, &error))?;
    let opened = TokenStore::open(&to.store, clock.clone()).map_err(|error| to.store.not_opened(&error));
    let copied = opened.and_then(|to| run(&source, &to, clock.now()).map_err(|error| sentence(&error)));
    Ok(told(&copied.map_err(|sentence| show::failed(NO, sentence))?, clock.now()))
}

/// Says what became of it.
fn told(copied: &Copied, now: Timestamp) -> ExitCode {
    let Copied { logins, forgotten, newer, untold, differing, damaged } = *copied;
    show::say(&format!("{logins} logins copied, and {untold} revocations that the realm must still be told"));
    let none_else = logins + newer + damaged == 0;
    if forgotten > 0 {
        let words = format!("{forgotten} logins are forgotten by now, and were left behind");
        if none_else {
            let hint = format!("hint: is this machine's clock right? It says {}", now.rfc3339());
            show::complain(&format!("{words}: all that there are\n  {hint}"));
        } else {
            show::say(&words);
        }
    }
    if newer > 0 {
        let hint = "hint: was it meant the other way round?";
        show::say(&format!("{newer} logins have gone on there, and were left as they are\n  {hint}"));
    }
    if differing > 0 {
        let what = "how clients fare, or what was learned of their secrets,";
        show::say(&format!("{} of {what} is another there, and was left", show::counted(differing, "record")));
    }
    if damaged > 0 {
        show::complain(&format!("{} cannot be read, and stayed behind", show::counted(damaged, "record")));
    }
    if damaged > 0 || forgotten > 0 && none_else { ExitCode::from(NO) } else { ExitCode::SUCCESS }
}

/// Whether two settings are of one store, however its path is written.
fn is_one(one: &StoreSettings, other: &StoreSettings) -> bool {
    match (one, other) {
        (StoreSettings::Embedded { path: one, .. }, StoreSettings::Embedded { path: other, .. }) => {
            let place = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
            place(one) == place(other)
        }
        (StoreSettings::Embedded { .. } | StoreSettings::Redis(_), _) => one == other,
    }
}

/// Why nothing can be copied from there.
fn not_opened(settings: &StoreSettings, error: &StoreError) -> ExitCode {
    let StoreError::NotThere { .. } = error else {
        return show::failed(NO, settings.not_opened(error));
    };
    let hint = match settings {
        StoreSettings::Embedded { .. } => {
            "`store.path` of --config FILE; a path begins at the configuration's directory"
        }
        StoreSettings::Redis(_) => "`store.urls` of --config FILE; the number behind a URL is the database",
    };
    show::failed(WRONG_USE, format!("{error}\n  hint: {hint}"))
}

fn run(from: &TokenStore, to: &TokenStore, now: Timestamp) -> Result<Copied, StoreError> {
    let no_runtime = |error: std::io::Error| StoreError::CannotWrite { cause: Arc::new(error) };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
    runtime.block_on(async {
        let mut copied = Copied::default();
        let mut after = None;
        loop {
            let bundles = from.export(after, STEP).await?;
            copied.damaged += bundles.damaged;
            let Some(last) = bundles.records.last() else { break };
            after = Some(last.family.id);
            let read = bundles.records.len();
            let moving: Vec<Bundle> =
                bundles.records.into_iter().filter_map(|bundle| bundle.to_be_moved(now)).collect();
            for bundle in &moving {
                if has_gone_on(to, bundle).await? {
                    copied.newer += 1;
                } else {
                    to.import(bundle).await?;
                    copied.logins += 1;
                }
            }
            copied.forgotten += read - moving.len();
            if std::io::stderr().is_terminal() {
                show::progress(&format!("{} logins", copied.logins));
            }
            if read < STEP {
                break;
            }
        }
        let outbox = from.outbox().await?;
        copied.damaged += outbox.damaged;
        for pending in outbox.records {
            to.outbox_put(&pending).await?;
            copied.untold += 1;
        }
        let memos = from.memos().await?;
        copied.damaged += memos.damaged;
        for memo in memos.records {
            copied.differing += usize::from(!bring(to, memo).await?);
        }
        to.close().await;
        from.close().await;
        Ok(copied)
    })
}

/// Brings what is remembered of a client where nothing is yet: nobody can say which of two is newer. Learned secrets are brought
/// beside those that are there. Whether all of it is there now.
async fn bring(to: &TokenStore, mut memo: Memo) -> Result<bool, StoreError> {
    if let Some(there) = to.memo(&memo.name).await? {
        let is_learned = memo.name.starts_with("learned/");
        match learned::both(&there, &memo.value).filter(|_| is_learned) {
            Some(both) if both != there => memo.value = both,
            None if memo.value != there => return Ok(false),
            Some(_) | None => return Ok(true),
        }
    }
    to.memo_put(&memo).await?;
    Ok(true)
}

/// Whether a login is further in this store than where it is copied from. One that cannot be read there is written anew.
async fn has_gone_on(to: &TokenStore, bundle: &Bundle) -> Result<bool, StoreError> {
    match to.family(bundle.family.id).await {
        Ok(there) => Ok(there.is_some_and(|there| bundle.is_behind(&there.value))),
        Err(StoreError::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
