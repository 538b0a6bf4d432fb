//! What the running bridge has learned of old secrets.

use std::path::Path;

use serde_json::json;

use super::super::{ask, show};
use crate::config::Config;
use crate::mapping::edit::Refused;
use crate::mapping::entries::{Entry, SecretKind};

const PATH: &str = "/api/v1/clients/learned";

/// Whether a client learns.
pub(super) fn is_learned(entry: &Entry) -> bool {
    entry.legacy_secrets.iter().any(|kind| matches!(kind, SecretKind::Learn(_)))
}

/// Fills in how many are learned of each client, where any is; says why not where nobody tells.
pub(super) fn count(config: Option<&Config>, entries: &mut [Entry]) {
    if !entries.iter().any(is_learned) {
        return;
    }
    let config = config.ok_or_else(|| "the configuration has errors".to_owned());
    let told = config.and_then(|config| ask::told(config, PATH, None));
    match told {
        Ok(told) => {
            for entry in entries {
                let count = told["clients"][entry.legacy_id.as_str()].as_u64();
                for kind in &mut entry.legacy_secrets {
                    if let SecretKind::Learn(known) = kind {
                        *known = count;
                    }
                }
            }
        }
        Err(reason) => show::say(&format!("note: how many old secrets are learned is not known: {reason}")),
    }
}

/// The hashes that are learned of a client, the newest first, and never none.
pub(super) fn hashes(config: &Config, id: &str) -> Result<Vec<String>, Refused> {
    let told = ask::told(config, PATH, Some(&json!({ "client": id }))).map_err(|reason| {
        let hint = format!("\n  hint: `passbridge client show {id}` says how its secrets are kept");
        let hint = if reason.contains("hint: ") { "" } else { &hint };
        format!("what is learned of `{id}` is not known: {reason}{hint}")
    })?;
    let hashes: Vec<String> = serde_json::from_value(told["hashes"].clone()).unwrap_or_default();
    if hashes.is_empty() {
        let hint = "hint: it is as soon as the client gets tokens from the old server";
        return Err(format!("nothing is learned of `{id}` yet\n  {hint}").into());
    }
    Ok(hashes)
}

/// Has the bridge delete what it keeps, now that the file has it; not where that may be gone after a power cut, and is nowhere else then. Whether it has.
pub(super) fn forget(config: &Config, id: &str, file: &Path, unsure: Option<&str>) -> bool {
    let forgotten = match unsure {
        Some(note) => Err(format!("{}: {note}", file.display())),
        None => ask::told(config, PATH, Some(&json!({ "client": id, "forget": true }))),
    };
    if let Err(reason) = &forgotten {
        let hint = if reason.contains("hint: ") {
            ""
        } else {
            "\n  hint: said again once that is mended, it has it forgotten"
        };
        show::say(&format!("note: the store still has what was learned: {reason}{hint}"));
    }
    forgotten.is_ok()
}
