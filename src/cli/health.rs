//! `passbridge health`: asks the running bridge whether it is ready, for health checks of containers that hold nothing else.

use std::path::Path;
use std::process::ExitCode;

use super::{NO, ask, show};
use crate::secrets::Environment;

/// Ready: 0. Not ready or not there: 1.
pub(super) fn run(path: &Path, environment: &Environment) -> ExitCode {
    let config = match super::configured(path, environment) {
        Ok(config) => config,
        Err(status) => return status,
    };
    match ask::get(&config, "/readyz") {
        Ok(answer) if answer.status == 200 => ExitCode::SUCCESS,
        Ok(_) => {
            show::complain("the bridge is not ready");
            ExitCode::from(NO)
        }
        Err(error) => super::unanswered(&config, &error),
    }
}
