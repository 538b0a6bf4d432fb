//! One worker: a thread that accepts, serves, and drains.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::connection::{Serving, accept};
use crate::gateway::Gateway;
use crate::lifecycle::Tasks;

/// Runs until told to stop and what is in flight has ended, or has had its time.
pub(super) async fn run(
    doors: Vec<(TcpListener, Serving)>,
    gateway: Arc<Gateway>,
    tasks: Tasks,
    drain: Duration,
    alive: TaskTrackerToken,
) {
    let _alive = alive;
    for (listener, serving) in doors {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        tasks.run(accept(listener, serving, tasks.clone()));
    }
    tasks.run(gateway.close_at_end());
    tasks.stop().cancelled().await;
    let _ended_in_time = timeout(drain, tasks.ended()).await;
}
