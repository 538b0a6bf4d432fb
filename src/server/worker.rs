//! One worker: a thread that accepts, serves, and drains.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::connection::{Serving, open};
use super::listener::taken;
use crate::gateway::Gateway;
use crate::lifecycle::Tasks;
use crate::telemetry::log;

pub(super) struct Worker {
    /// Its listeners, and what each is served with.
    pub(super) doors: Vec<(TcpListener, Serving)>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) tasks: Tasks,
    /// How long what is in flight may take at the end.
    pub(super) drain: Duration,
    pub(super) alive: TaskTrackerToken,
    /// Changes once the whole bridge is there.
    pub(super) born: watch::Receiver<()>,
}

impl Worker {
    /// Takes its listeners. What comes of it waits until the bridge is born, and runs until told to stop and what is in flight has ended, or has
    /// had its time. What it gives is to be let go when nothing of it is left.
    ///
    /// # Errors
    /// The machine does not let it listen.
    pub(super) fn begin(self) -> io::Result<impl Future<Output = TaskTrackerToken> + Send> {
        let Self { doors, gateway, tasks, drain, alive, mut born } = self;
        let doors = taken(doors)?;
        Ok(async move {
            // Nobody is there to say so any more: something else failed, and nobody is served.
            if born.changed().await.is_err() {
                return alive;
            }
            for (listener, serving) in doors {
                open(listener, serving, &tasks);
            }
            tasks.run(gateway.look_after_idle());
            tasks.stop().cancelled().await;
            if timeout(drain, tasks.ended()).await.is_err() {
                log::cut_off(tasks.cut_off());
            }
            alive
        })
    }
}
