//! `passbridge check`: configuration and mappings, offline.

use std::path::Path;
use std::process::ExitCode;

use super::{Format, NO, WRONG_USE, show};
use crate::config::{self, Examined};
use crate::document::{Findings, Severity};
use crate::mapping;
use crate::secrets::{Environment, Means};

/// Prints every finding; errors make the answer a "no", warnings do not.
pub(super) fn run(path: &Path, environment: &Environment, format: Format) -> ExitCode {
    let findings = Findings::new();
    // Where the configuration is wrong the mappings are looked at all the same.
    let Examined { mappings, identities, .. } = config::examine(path, environment, &findings);
    let loaded = mapping::load(&mappings, Means { environment, identities: &identities }, &findings);
    let findings = findings.into_sorted();
    if show::findings(&findings, format, &mut show::data()).is_err() {
        return ExitCode::from(WRONG_USE);
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    let clients = loaded.map_or(0, |loaded| loaded.table.len());
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    if errors == 0 {
        show::say(&format!("{}, {}: fine", plural(clients, "client"), plural(warnings, "warning")));
        ExitCode::SUCCESS
    } else {
        show::say(&format!("{}, {}: a bridge would refuse this", plural(errors, "error"), plural(warnings, "warning")));
        ExitCode::from(if config::unopened(&findings) { WRONG_USE } else { NO })
    }
}
