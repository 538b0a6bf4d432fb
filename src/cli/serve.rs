//! `passbridge serve`: runs the bridge until a signal ends it.

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{NO, WRONG_USE, private, show};
use crate::secrets::Environment;
use crate::server::{Loads, Start, StartError, SystemClock, SystemEntropy, hinted, start};
use crate::telemetry::log;

/// Starts, serves, reloads on SIGHUP and when files change, drains on SIGTERM or SIGINT.
pub(super) fn run(config: PathBuf, environment: Environment) -> Result<ExitCode, ExitCode> {
    private::keep();
    // Before anything starts: whoever sends a signal as soon as the bridge answers must not end it by that.
    let signals = Signals::hear();
    let signals = signals.map_err(|error| show::failed(NO, format!("signals cannot be heard: {error}")))?;
    let mut loads =
        Loads::new().map_err(|error| show::failed(NO, format!("no thread `loads`: {error}{}", hinted(&error))))?;
    let clock = Arc::new(SystemClock::new());
    let running = start(Start { config, environment, clock, entropy: Arc::new(SystemEntropy) });
    let running = running.map_err(|error| match error {
        StartError::Refused(findings) => {
            show::tell(&findings);
            show::failed(WRONG_USE, "the configuration is refused; nothing was started")
        }
        StartError::Failed(reason) => show::failed(NO, reason),
    })?;
    log::panics(running.bridge().metrics.panics.clone());
    running.load_by(&mut loads);
    let broken = signals.until_the_end(loads, running.broken());
    running.stop();
    let ended = running.wait();
    match (broken, ended) {
        (None, Ok(())) => Ok(ExitCode::SUCCESS),
        (Some(thread), _) => Err(show::failed(NO, format!("the thread `{thread}` ended by a panic"))),
        (None, Err(threads)) => Err(show::failed(NO, format!("these threads ended by a panic: {threads}"))),
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

    /// Has everything loaded again when one says so, until one means the end, or until a thread has ended by a panic without which the bridge is not what it
    /// shall be: whoever starts it anew helps. Its name, then.
    fn until_the_end(mut self, mut loads: Loads, broken: impl Future<Output = String>) -> Option<String> {
        self.runtime.block_on(async {
            let mut broken = pin!(broken);
            loop {
                tokio::select! {
                    _ = self.terminate.recv() => break,
                    _ = self.interrupt.recv() => break,
                    _ = self.hangup.recv() => loads.again(),
                    () = loads.broken() => return Some("loads".to_owned()),
                    thread = &mut broken => return Some(thread),
                }
            }
            loads.end().await;
            None
        })
    }
}
