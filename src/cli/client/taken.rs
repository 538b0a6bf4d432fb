//! Waits until the running bridge has what was changed.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::thread::park_timeout;
use std::time::Duration;

use serde_json::Value;

use super::super::{NO, ask, show};
use crate::config::Config;
use crate::mapping::{self, edit::Changed};

/// How often it is asked, a quarter of a second apart: a change is taken after files have rested that long.
const TRIES: u32 = 48;

/// What the bridge at the ops address has of what the files say.
enum Look {
    /// All of it, as this generation.
    Has(Value),
    /// Nobody is there, in the system's words.
    Nobody(String),
    /// Who is there does not say.
    Unknown(String),
    /// Not all; for these reasons, where it refused the files.
    Lacks(Vec<Value>),
}

/// Says what changed; the answer is "no" where a bridge runs that does not take it.
pub(super) fn wait(config: &Config, changed: &Changed, what: &str) -> ExitCode {
    show::tell(&changed.warnings);
    let file = changed.file.display();
    show::say(&format!("{file}: {what}"));
    if let Some(note) = &changed.note {
        show::say(&format!("note: {file}: {note}"));
    }
    let address = config.listen.ops;
    match look(config, &changed.digest) {
        Look::Has(generation) => {
            show::say(&format!("the bridge at {address} has it, as generation {generation}"));
            return ExitCode::SUCCESS;
        }
        Look::Nobody(words) => {
            show::say(&format!("no bridge answers at {address} ({words}): the next one that starts has the change"));
            return ExitCode::SUCCESS;
        }
        Look::Unknown(words) => {
            let hint = "hint: `passbridge diff` says whether it has, once it answers";
            show::complain(&format!(
                "the file is changed, but it is not known whether the bridge at {address} has it: {words}\n  {hint}"
            ));
        }
        Look::Lacks(refused) => {
            for finding in refused.iter().filter_map(Value::as_str) {
                show::say(finding);
            }
            show::complain(&if refused.is_empty() {
                format!(
                    "the file is changed, but the bridge at {address} still uses another table\n  hint: SIGHUP makes it read its files; does it read this directory?"
                )
            } else {
                format!(
                    "the file is changed, but the bridge at {address} refuses the table for the reasons above and keeps the last good one\n  hint: mend them, and the bridge takes all by itself"
                )
            });
        }
    }
    ExitCode::from(NO)
}

/// Whether the running bridge, if there is one, has what the files say before anything is changed; waits for that.
///
/// # Errors
/// It has not, or does not say; in one sentence.
pub(super) fn settled(config: &Config) -> Result<(), String> {
    let address = config.listen.ops;
    let hint = "hint: `passbridge check` says what is wrong with the files; --yes does it all the same";
    match look(config, &mapping::digest(&config.mappings)) {
        Look::Has(_) | Look::Nobody(_) => Ok(()),
        Look::Unknown(words) => Err(format!(
            "nothing was changed: it is not known whether the bridge at {address} has what the files say: {words}\n  {hint}"
        )),
        Look::Lacks(_) => Err(format!(
            "nothing was changed: the bridge at {address} uses another table than the files have\n  {hint}"
        )),
    }
}

/// Says where a bridge runs that uses something else than the files say.
pub(super) fn note(config: &Config) {
    let Ok(answer) = ask::get(config, "/readyz") else { return };
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let used = body["mappings"]["digest"].as_str();
    if used.is_some_and(|used| used != mapping::digest(&config.mappings)) {
        let address = config.listen.ops;
        show::say(&format!(
            "note: this is what the files say; the bridge at {address} uses others\n  hint: `passbridge diff` says what it has, and whether it refuses these"
        ));
    }
}

/// A load may be under way when it is asked for the first time, and have read the files before; whichever is taken into use behind that
/// one read them afterwards.
const LOADS: u64 = 2;

/// Looks until the bridge has files of this digest, or has read them since, for 12 seconds.
fn look(config: &Config, digest: &str) -> Look {
    let mut refused = Vec::new();
    let mut seen = Value::Null;
    let mut enough = None;
    for look in 1..=TRIES {
        let answer = match ask::get(config, "/readyz") {
            Ok(answer) => answer,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Look::Nobody(show::words(&error)),
            Err(error) => return Look::Unknown(show::words(&error)),
        };
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let mappings = &body["mappings"];
        // Another command may have changed the files since: who has what they say now has this change too. All of them are read
        // for that, so only where the bridge has something new, or there is no other look.
        let is_news = mappings["digest"] != seen || look == TRIES;
        seen = mappings["digest"].clone();
        // Where others go on changing them, no look may find the two agree.
        let generation = mappings["generation"].as_u64();
        enough = enough.or(generation.map(|first| first.saturating_add(LOADS)));
        let is_later = generation.zip(enough).is_some_and(|(now, enough)| now >= enough);
        if seen == *digest || is_later || is_news && seen == *mapping::digest(&config.mappings) {
            return Look::Has(mappings["generation"].clone());
        }
        refused = mappings["refused"].as_array().cloned().unwrap_or_default();
        park_timeout(Duration::from_millis(250));
    }
    Look::Lacks(refused)
}
