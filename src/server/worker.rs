//! One worker: a thread that accepts, serves, and drains.

use std::net::TcpListener;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::connection::{Serving, accept};
use crate::lifecycle::Tasks;

/// Runs until told to stop and what is in flight has ended, or has had its time.
pub(super) async fn run(
    listener: TcpListener,
    serving: Serving,
    tasks: Tasks,
    drain: Duration,
    alive: TaskTrackerToken,
) {
    let _alive = alive;
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    tasks.run(accept(listener, serving, tasks.clone()));
    tasks.stop().cancelled().await;
    let _ended_in_time = timeout(drain, tasks.ended()).await;
}
