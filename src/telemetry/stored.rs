//! The metrics of the token store.

use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::labels::OutcomeLabels;
use super::metrics::histogram;

/// How long the store is waited for, as it observes it, and what it counts by itself.
#[derive(Debug)]
pub struct StoreMetrics {
    /// What it takes to have writes durable.
    pub write_seconds: Histogram,
    /// What a round trip to a Redis takes.
    pub redis_seconds: Histogram,
    /// Round trips to a Redis that failed.
    pub redis_failed: Counter,
    writable: Gauge,
    disk_bytes: Gauge,
    writes: Family<OutcomeLabels, Counter>,
    cache: Family<OutcomeLabels, Counter>,
}

/// What a store counts by itself.
#[derive(Clone, Copy, Debug)]
pub struct StoreFigures {
    /// Whether it takes writes.
    pub writable: bool,
    /// Bytes on the disk.
    pub disk_bytes: u64,
    /// Writes that were acknowledged, and that failed.
    pub writes: [u64; 2],
    /// Look-ups that were answered from memory, and that were not.
    pub look_ups: [u64; 2],
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            write_seconds: histogram(),
            redis_seconds: histogram(),
            redis_failed: Counter::default(),
            writable: Gauge::default(),
            disk_bytes: Gauge::default(),
            writes: Family::default(),
            cache: Family::default(),
        }
    }
}

impl StoreMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("store_writable", "1: the store takes writes; 0: it refuses", self.writable.clone());
        registry.register("store_writes", "Writes by outcome (ok, failed)", self.writes.clone());
        registry.register(
            "store_write_seconds",
            "Until a group of writes was durable or had failed; with a Redis, until a write was answered",
            self.write_seconds.clone(),
        );
        registry.register(
            "store_disk_bytes",
            "What the store has on its disk, looked at every half minute; 0 with a Redis",
            self.disk_bytes.clone(),
        );
        registry.register(
            "store_cache",
            "Look-ups of access UUIDs by outcome: hit (answered from memory), miss; none with a Redis",
            self.cache.clone(),
        );
        registry.register(
            "store_redis_seconds",
            "What a round trip to a Redis took, whether it was answered or not",
            self.redis_seconds.clone(),
        );
        registry.register("store_redis_failed", "Round trips to a Redis that failed", self.redis_failed.clone());
    }

    /// Takes down what the store has counted by now.
    pub fn show(&self, figures: &StoreFigures) {
        self.writable.set(i64::from(figures.writable));
        self.disk_bytes.set(i64::try_from(figures.disk_bytes).unwrap_or(i64::MAX));
        set(&self.writes, ["ok", "failed"], figures.writes);
        set(&self.cache, ["hit", "miss"], figures.look_ups);
    }
}

fn set(counters: &Family<OutcomeLabels, Counter>, outcomes: [&'static str; 2], counts: [u64; 2]) {
    for (outcome, count) in outcomes.into_iter().zip(counts) {
        counters.get_or_create(&OutcomeLabels { outcome }).inner().store(count, Ordering::Relaxed);
    }
}
