//! `passbridge serve`: runs the bridge until a signal ends it.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::{Format, NO, WRONG_USE, private, show};
use crate::domain::time::Clock;
use crate::mapping::watch::{Watch, wait};
use crate::secrets::Environment;
use crate::server::{Running, Start, StartError, SystemClock, SystemEntropy, start};
use crate::telemetry::log;

/// Starts, serves, reloads on SIGHUP and when files change, drains on SIGTERM or SIGINT.
pub(super) fn run(config: PathBuf, environment: Environment) -> ExitCode {
    private::keep();
    // Before anything starts: whoever sends a signal as soon as the bridge answers must not end it by that.
    let signals = match Signals::hear() {
        Ok(signals) => signals,
        Err(error) => {
            show::complain(&format!("signals cannot be heard: {error}"));
            return ExitCode::from(NO);
        }
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let running =
        match start(Start { config, environment, clock: Arc::clone(&clock), entropy: Arc::new(SystemEntropy) }) {
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
    log::panics();
    signals.until_the_end(&running, &*clock);
    running.stop();
    match running.wait() {
        Ok(()) => ExitCode::SUCCESS,
        Err(threads) => {
            show::complain(&format!("these threads ended by a panic: {threads}"));
            ExitCode::from(NO)
        }
    }
}

/// Loads everything again. Findings are in the log, the metrics and `/readyz`.
fn reload(running: &Running, watch: &mut Watch) {
    match running.reload() {
        Ok(()) => watch.taken(Arc::clone(&running.bridge().snapshot.load().footing)),
        // By what it read itself: what was changed since is another change, mended or not.
        Err(refused) => watch.loaded(refused.footing),
    }
}

/// The signals that mean something, heard on a runtime of this thread.
struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on they are kept until somebody asks for them.
    fn hear() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let hear = |kind| {
            let _inside = runtime.enter();
            signal(kind)
        };
        let (terminate, interrupt) = (hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?);
        let hangup = hear(SignalKind::hangup())?;
        Ok(Self { runtime, terminate, interrupt, hangup })
    }

    /// Reloads when one says so or files change, until one means the end.
    fn until_the_end(mut self, running: &Running, clock: &dyn Clock) {
        self.runtime.block_on(async {
            let mut pause = wait(Duration::ZERO);
            let mut watch = Watch::new(Arc::clone(&running.bridge().snapshot.load().footing));
            loop {
                tokio::select! {
                    _ = self.terminate.recv() => return,
                    _ = self.interrupt.recv() => return,
                    _ = self.hangup.recv() => reload(running, &mut watch),
                    () = sleep(pause) => {
                        let begun = clock.monotonic();
                        let differs = watch.look();
                        pause = wait(clock.monotonic().saturating_sub(begun));
                        if watch.observe(differs, clock.monotonic()) {
                            reload(running, &mut watch);
                        }
                    }
                }
            }
        });
    }
}
