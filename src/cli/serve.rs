//! `passbridge serve`: runs the bridge until a signal ends it.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::{Format, NO, WRONG_USE, show};
use crate::secrets::Environment;
use crate::server::{Running, Start, StartError, SystemClock, SystemEntropy, start};

/// Starts, serves, reloads on SIGHUP, drains on SIGTERM or SIGINT.
pub(super) fn run(config: PathBuf, environment: Environment) -> ExitCode {
    let running = match start(Start {
        config,
        environment,
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(SystemEntropy),
    }) {
        Ok(running) => running,
        Err(StartError::Refused(findings)) => {
            let _ = show::findings(&findings, Format::Human, &mut anstream::stderr());
            show::complain("the configuration is refused; nothing was started");
            return ExitCode::from(WRONG_USE);
        }
        Err(StartError::Failed(reason)) => {
            show::complain(&reason);
            return ExitCode::from(NO);
        }
    };
    if let Err(error) = signals(&running) {
        show::complain(&format!("signals cannot be heard: {error}"));
    }
    running.stop();
    match running.wait() {
        Ok(()) => ExitCode::SUCCESS,
        Err(threads) => {
            show::complain(&format!("these threads ended by a panic: {threads}"));
            ExitCode::from(NO)
        }
    }
}

/// Hears signals until one of them means the end.
fn signals(running: &Running) -> io::Result<()> {
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (mut end, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                _ = end.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                // Findings are in the log, the metrics and /readyz.
                _ = hangup.recv() => drop(running.reload()),
            }
        }
    })
}
