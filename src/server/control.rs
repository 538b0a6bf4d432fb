//! The thread of operators: their listener, the sweep, and the end of the store once every worker has ended.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Answers;
use super::connection::{ConnectionLimits, Serving, open};
use super::listener::taken;
use super::realm;
use super::reload::Reloading;
use super::routed::Routed;
use super::tls::Tls;
use crate::exchange::Bridge;
use crate::lifecycle::Tasks;
use crate::ops;
use crate::store::TokenStore;
use crate::telemetry::log;

/// How often what has expired is swept out of the store.
const SWEEP: Duration = Duration::from_secs(30);

/// How often the store is told that nothing was spent, or that a canary is over, where it did not hear of it.
const TAKE_BACK: Duration = Duration::from_secs(1);

/// How often it is looked whether the store takes writes, whether the audit's disk hangs, or that of the files, and whether a replaced table is free.
const LOOK: Duration = Duration::from_secs(1);

/// How long operators may finish what they asked.
const DRAIN: Duration = Duration::from_secs(2);

/// More connections than operators and their machines need, or the realm.
const CONNECTIONS: usize = 256;

#[derive(Clone, Debug)]
pub(super) struct Control {
    pub(super) reloading: Arc<Reloading>,
    pub(super) limits: ConnectionLimits,
    pub(super) workers: TaskTracker,
}

impl Control {
    /// Takes the listeners. What comes of it runs until every worker has ended.
    ///
    /// # Errors
    /// The machine does not let it listen.
    pub(super) fn begin(
        self,
        ops: Vec<TcpListener>,
        realm: Vec<TcpListener>,
    ) -> io::Result<impl Future<Output = ()> + Send> {
        let [for_ops, for_realm] = self.serving();
        let doors = ops.into_iter().map(|listener| (listener, for_ops.clone()));
        let doors = doors.chain(realm.into_iter().map(|listener| (listener, for_realm.clone())));
        let doors = taken(doors.collect())?;
        Ok(self.run(doors))
    }

    /// What operators are served with, and the realm.
    fn serving(&self) -> [Serving; 2] {
        let shared = &self.reloading.shared;
        let serving = |listener, router, longest, tls: &Option<Tls>| Serving {
            answers: Answers::Router(Arc::new(Routed { router, longest, tuning: Arc::clone(&shared.tuning) })),
            refuse: None,
            limits: self.limits.clone(),
            tls: tls.clone(),
            http2: false,
            // Each its own: whoever reaches the realm's listener shuts no operator out.
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
            spared: 0,
            bounded_alone: Some(listener),
            scarcity: Arc::clone(&shared.scarcity),
        };
        let for_ops = serving("ops", ops::router(Arc::clone(&self.reloading.ops)), ops::MANY, &shared.tls_ops);
        let for_realm =
            serving("realm", realm::router(Arc::clone(&self.reloading.ways.teller)), realm::LONGEST, &shared.tls_realm);
        [for_ops, for_realm]
    }

    async fn run(self, doors: Vec<(tokio::net::TcpListener, Serving)>) {
        let shared = &self.reloading.shared;
        let end = CancellationToken::new();
        let tasks = Tasks::new(end.clone());
        for (listener, serving) in doors {
            open(listener, serving, &tasks);
        }
        keep(&tasks, &shared.bridge, sweep);
        keep(&tasks, &shared.bridge, try_out);
        keep(&tasks, &shared.bridge, take_back);
        keep(&tasks, &self.reloading, look);
        let teller = &self.reloading.ways.teller;
        keep(&tasks, teller, |teller, end| async move { teller.show_canaries(&end).await });
        keep(&tasks, teller, |teller, end| async move { teller.tell(&end).await });
        shared.stop.cancelled().await;
        log::draining();
        self.workers.close();
        self.workers.wait().await;
        end.cancel();
        if timeout(DRAIN, tasks.ended()).await.is_err() {
            log::cut_off(tasks.cut_off());
        }
        let Bridge { store, flights, edge, canaries, shadows, .. } = &*shared.bridge;
        // What this process alone knows, the next one shall know.
        let tell = async {
            flights.unspent.take_all_back(store).await;
            canaries.forget_over(store).await;
            shadows.forget_over(store).await;
        };
        let _in_time = timeout(DRAIN, tell).await;
        store.close().await;
        edge.close();
    }
}

/// Has something done with this until the end, or its own.
fn keep<T, F>(tasks: &Tasks, with: &Arc<T>, work: impl Fn(Arc<T>, CancellationToken) -> F + Send + 'static)
where
    T: Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (with, end) = (Arc::clone(with), tasks.stop().clone());
    tasks.keep(move || work(Arc::clone(&with), end.clone()));
}

async fn take_back(bridge: Arc<Bridge>, end: CancellationToken) {
    let mut ticks = interval(TAKE_BACK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while end.run_until_cancelled(ticks.tick()).await.is_some() {
        bridge.flights.unspent.take_all_back(&bridge.store).await;
        bridge.canaries.forget_over(&bridge.store).await;
        bridge.shadows.forget_over(&bridge.store).await;
    }
}

/// Looks, once a second, at what nobody waits for: has it told once that the store refuses, that the audit's disk hangs, or that of the files; and frees
/// what a reload has replaced.
async fn look(reloading: Arc<Reloading>, end: CancellationToken) {
    let bridge = &reloading.shared.bridge;
    let mut told = (false, false);
    while end.run_until_cancelled(sleep(LOOK)).await.is_some() {
        told = look_at_store(&bridge.store, told);
        bridge.edge.look_at_audit();
        reloading.look_at_reading();
        reloading.retired.free();
    }
}

/// Has the log tell once that the store refuses, and why, once that its disk hangs, and once that it takes writes again: whether it does the first two,
/// before and now.
fn look_at_store(store: &TokenStore, before: (bool, bool)) -> (bool, bool) {
    let failure = store.newest_failure();
    let now = (failure.is_some(), store.hangs().is_some());
    match failure {
        Some(failure) if now != before => log::store_refuses(&failure),
        None if now != before => log::store_takes_writes(),
        Some(_) | None => {}
    }
    now
}

/// Gives a store whose newest write failed something else to write, so that it is seen when it takes writes again though nobody logs in. A disk that
/// hangs is heard when it answers.
async fn try_out(bridge: Arc<Bridge>, end: CancellationToken) {
    let store = &bridge.store;
    while end.run_until_cancelled(sleep(LOOK)).await.is_some() {
        if !store.takes_writes() && store.hangs().is_none() && !store.has_ended() {
            let _look_tells_it = store.try_out().await;
        }
    }
}

async fn sweep(bridge: Arc<Bridge>, end: CancellationToken) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while end.run_until_cancelled(ticks.tick()).await.is_some() {
        // A few at a time, so that logins are not held up by what nobody needs any more.
        loop {
            match bridge.store.sweep(bridge.clock.now()).await {
                Ok(swept) => {
                    if swept.damaged > 0 {
                        log::damaged("sweeping what has expired", swept.damaged);
                    }
                    if !swept.more || end.is_cancelled() {
                        break;
                    }
                }
                Err(error) => {
                    log::store("sweeping what has expired", &error);
                    break;
                }
            }
        }
    }
}
