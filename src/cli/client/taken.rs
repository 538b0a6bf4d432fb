//! Waits until the running bridge has what was changed.

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
    for _ in 0..TRIES {
        let answer = match ask::get(config, "/readyz") {
            Ok(answer) => answer,
            Err(error) => {
                show::say(&format!(
                    "no bridge answers at {address} ({}): the next one that starts has the change",
                    show::words(&error)
                ));
                return ExitCode::SUCCESS;
            }
        };
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let mappings = &body["mappings"];
        // Another command may have changed the files since: who has what they say now has this change too.
        if mappings["digest"] == *changed.digest || mappings["digest"] == *mapping::digest(&config.mappings) {
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
