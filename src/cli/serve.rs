//! `passbridge serve`: runs the bridge until a signal ends it.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::{Format, NO, WRONG_USE, show};
use crate::config::survey;
use crate::domain::time::Clock;
use crate::mapping::watch::{LOOK, Watch};
use crate::secrets::Environment;
use crate::server::{Running, Start, StartError, SystemClock, SystemEntropy, start};

/// Starts, serves, reloads on SIGHUP and when files change, drains on SIGTERM or SIGINT.
pub(super) fn run(config: PathBuf, environment: Environment) -> ExitCode {
    let clock = Arc::new(SystemClock::new());
    let watching = Watching { path: config.clone(), environment: environment.clone(), clock: Arc::clone(&clock) };
    let running = match start(Start { config, environment, clock, entropy: Arc::new(SystemEntropy) }) {
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
    if let Err(error) = signals(&running, &watching) {
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

/// Where everything is read from, for looking whether it changed.
struct Watching {
    path: PathBuf,
    environment: Environment,
    clock: Arc<SystemClock>,
}

impl Watching {
    /// Loads everything again. Findings are in the log, the metrics and `/readyz`.
    fn reload(&self, running: &Running, watch: &mut Watch) {
        for _try in 0..2 {
            if running.reload().is_ok() {
                watch.taken(running.bridge().snapshot.load().footing.clone());
                return;
            }
            let (footing, fine) = survey(&self.path, &self.environment);
            watch.loaded(footing);
            // Where nothing is wrong any more, it was mended between the two looks, which nobody would notice later.
            if !fine {
                return;
            }
        }
    }
}

/// Hears signals, and looks at the files, until a signal means the end.
fn signals(running: &Running, watching: &Watching) -> io::Result<()> {
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (mut end, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut hangup = signal(SignalKind::hangup())?;
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = Watch::new(running.bridge().snapshot.load().footing.clone());
        loop {
            tokio::select! {
                _ = end.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = hangup.recv() => watching.reload(running, &mut watch),
                _tick = ticks.tick() => {
                    if watch.observe(watch.look(), watching.clock.monotonic()) {
                        watching.reload(running, &mut watch);
                    }
                }
            }
        }
    })
}
