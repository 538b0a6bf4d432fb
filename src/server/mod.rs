//! The composition root: configuration into threads, listeners and layers; and their end.
//!
//! One single-threaded runtime for each core: a connection lives on the worker that accepted it, from its first byte to the
//! realm and back. Shared is what must be: the table, the guard, the store, the metrics. A thread of its own serves operators, so
//! that they are heard when every worker is busy.
//!
//! Must not: know what a request means.

mod address;
mod answer;
mod body;
mod clock;
mod connection;
mod control;
mod gateway;
mod grpc;
mod handshake;
mod hearing;
mod http2;
mod leaving;
mod legacy;
mod listener;
mod loads;
mod malformed;
mod moves;
mod realm;
mod reload;
mod reset;
mod retired;
mod routed;
mod scarcity;
mod shared;
mod spoken;
mod start;
mod streamed;
mod tls;
mod tuning;
mod turn;
mod unanswered;
mod worker;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use clock::{SystemClock, SystemEntropy};
pub use loads::Loads;
pub use start::{Start, StartError, hinted, start};
pub use tls::provide_tls;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::Listen;
use crate::document::{Finding, Footing};
use crate::exchange::Bridge;
use crate::telemetry::log::Writing;
use reload::Reloading;

/// How often it is looked whether a thread has ended.
const LOOK: Duration = Duration::from_secs(1);

/// A load that changed nothing.
#[derive(Debug)]
pub struct RefusedLoad {
    /// All that it found, errors and warnings.
    pub findings: Vec<Finding>,
    /// What it rests on, each path as it was just before it was read: what differs from that has not been told yet.
    pub footing: Footing,
}

/// A bridge that serves. Dropping it does not end it: [`Running::stop`] and [`Running::wait`] do.
#[derive(Debug)]
pub struct Running {
    addresses: Listen,
    bridge: Arc<Bridge>,
    reloading: Arc<Reloading>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
    /// The one that writes the audit, which ends last.
    audit: Option<JoinHandle<()>>,
    /// Ends with the last word of all threads.
    _logging: Writing,
}

impl Running {
    /// Where it listens, ports chosen.
    #[must_use]
    pub fn addresses(&self) -> Listen {
        self.addresses
    }

    /// What all workers share.
    #[must_use]
    pub fn bridge(&self) -> &Arc<Bridge> {
        &self.bridge
    }

    /// Reads the files again and takes them into use, whole or not at all.
    ///
    /// # Errors
    /// The findings, where there are errors among them: what was in use stays in use.
    pub fn reload(&self) -> Result<(), RefusedLoad> {
        self.reloading.reload()
    }

    /// Has the files read again by this thread when they change, from now on.
    pub fn load_by(&self, loads: &mut Loads) {
        loads.begin(Arc::clone(&self.reloading));
    }

    /// Waits until a panic has ended a thread without which nobody is served, or nobody logs in; answers its name. Whoever starts the process anew
    /// helps. That of the audit is none of them: it stops no login.
    pub async fn broken(&self) -> String {
        loop {
            if self.bridge.store.has_ended() {
                return "store-writer".to_owned();
            }
            if let Some(ended) = self.threads.iter().find(|thread| thread.is_finished()) {
                return name(ended);
            }
            sleep(LOOK).await;
        }
    }

    /// Stops accepting; what is in flight is finished.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for the end of all threads, which comes after [`Running::stop`]; for one that stands in a call to a disk that hangs, some seconds.
    ///
    /// # Errors
    /// The names of threads that ended by a panic.
    pub fn wait(self) -> Result<(), String> {
        let mut broken = Vec::new();
        for thread in self.threads {
            let name = name(&thread);
            if thread.join().is_err() {
                broken.push(name);
            }
        }
        if self.audit.is_some_and(|audit| self.bridge.edge.wait(audit).is_err()) {
            broken.push("audit".to_owned());
        }
        if broken.is_empty() { Ok(()) } else { Err(broken.join(", ")) }
    }
}

fn name(thread: &JoinHandle<()>) -> String {
    thread.thread().name().unwrap_or("unnamed").to_owned()
}
