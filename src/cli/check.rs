//! `passbridge check`: configuration and mappings, offline.

use std::path::Path;
use std::process::ExitCode;

use super::show::counted;
use super::{Format, NO, WRONG_USE, now, show};
use crate::config::{self, Examined};
use crate::document::{Findings, Severity, Spotted};
use crate::mapping;
use crate::secrets::{Environment, Means};

/// Prints every finding; errors make the answer a "no", warnings do not.
pub(super) fn run(path: &Path, environment: &Environment, format: Format) -> ExitCode {
    let findings = Findings::new();
    // Where the configuration is wrong the mappings are looked at all the same.
    let Examined { config, mappings, identities } = config::examine(path, environment, now(), &findings);
    let means = Means { environment, identities: &identities };
    let loaded = mappings.as_ref().and_then(|mappings| mapping::load(mappings, means, &findings));
    if let (Some(config), Some(loaded)) = (&config, &loaded) {
        let is_unknown = |named: &&Spotted<String>| loaded.table.client(&named.value).is_none();
        for named in config.route_clients.iter().filter(is_unknown) {
            let message = format!("no mapping has the client `{}`, so that the route is not for it", named.value);
            let hint = "name `legacy_id` of a mapping; `passbridge client list` shows them";
            findings.warning("unknown-route-client", &named.origin, message, hint);
        }
    }
    let findings = findings.into_sorted();
    let written = show::findings(&findings, format, &mut show::data());
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    let clients = loaded.map_or(0, |loaded| loaded.table.len());
    if mappings.is_none() {
        show::say("note: the mappings were not looked at: where they are says the configuration");
    }
    if errors == 0 {
        show::say(&format!("{}, {}: fine", counted(clients, "client"), counted(warnings, "warning")));
        show::ended(written, 0)
    } else {
        show::say(&format!(
            "{}, {}: a bridge would refuse this",
            counted(errors, "error"),
            counted(warnings, "warning")
        ));
        show::ended(written, if config::unopened(&findings) { WRONG_USE } else { NO })
    }
}
