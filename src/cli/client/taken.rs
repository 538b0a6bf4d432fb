//! Waits until the running bridge has what was changed.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::thread::park_timeout;
use std::time::Duration;

use serde_json::Value;

use super::super::{NO, ask, show};
use super::{Format, plain};
use crate::config::Config;
use crate::mapping::{self, edit::Changed};

/// How often it is asked, a quarter of a second apart: a change is taken after files have rested that long.
const TRIES: u32 = 48;

/// Says what changed; the answer is "no" where a bridge runs that does not take it.
pub(super) fn wait(config: &Config, changed: &Changed, what: &str) -> ExitCode {
    let _ = show::findings(&changed.warnings, Format::Human, &mut anstream::stderr());
    show::say(&format!("{}: {what}", changed.file.display()));
    let address = config.listen.ops;
    let mut refused = Vec::new();
    let mut seen = Value::Null;
    for look in 1..=TRIES {
        let answer = match ask::get(config, "/readyz") {
            Ok(answer) => answer,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                show::say(&format!(
                    "no bridge answers at {address} ({}): the next one that starts has the change",
                    show::words(&error)
                ));
                return ExitCode::SUCCESS;
            }
            Err(error) => {
                let hint = "hint: `passbridge diff` says whether it has, once it answers";
                show::complain(&format!(
                    "the file is changed, but it is not known whether the bridge at {address} has it: {}\n  {hint}",
                    show::words(&error)
                ));
                return ExitCode::from(NO);
            }
        };
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let mappings = &body["mappings"];
        // Another command may have changed the files since: who has what they say now has this change too. All of them are read
        // for that, so only where the bridge has something new, or there is no other look.
        let is_news = mappings["digest"] != seen || look == TRIES;
        seen = mappings["digest"].clone();
        if seen == *changed.digest || is_news && seen == *mapping::digest(&config.mappings) {
            show::say(&format!("the bridge at {address} has it, as generation {}", mappings["generation"]));
            return ExitCode::SUCCESS;
        }
        refused = mappings["refused"].as_array().cloned().unwrap_or_default();
        park_timeout(Duration::from_millis(250));
    }
    for finding in refused.iter().filter_map(Value::as_str) {
        show::say(&plain(finding).replace("\\n", "\n"));
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
    ExitCode::from(NO)
}
