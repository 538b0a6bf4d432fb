//! `passbridge health`: asks the running bridge whether it is ready, for health checks of containers that hold nothing else.
//!
//! Must not: fail because of what is wrong on the disk. A bridge that refused it goes on, and whoever ends it for that makes an outage
//! of a refused change.

use std::path::Path;
use std::process::ExitCode;

use super::{NO, WRONG_USE, ask, show};
use crate::config;
use crate::document::Findings;
use crate::secrets::Environment;

/// Ready: 0. Not ready or not there: 1. Where to ask is not known: 2.
pub(super) fn run(path: &Path, environment: &Environment) -> ExitCode {
    let findings = Findings::new();
    let door = config::ops_door(path, environment, &findings);
    let answer = door.map(|door| (door.address, ask::get_at(door, "/readyz")));
    if !matches!(answer, Some((_, Ok(_)))) {
        show::tell(&findings.into_sorted());
    }
    match answer {
        Some((_, Ok(answer))) if answer.status == 200 => ExitCode::SUCCESS,
        Some((_, Ok(_))) => show::failed(NO, "the bridge is not ready"),
        Some((address, Err(error))) => super::unanswered(address, &error),
        None => show::failed(
            WRONG_USE,
            "where the bridge answers operators (`listen.ops`) is not known\n  hint: PASSBRIDGE__LISTEN__OPS=ADDRESS:PORT says it without a file",
        ),
    }
}
