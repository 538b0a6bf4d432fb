//! What a store observes beside its [`Statistics`](super::Statistics): how long it is waited for.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

/// Where it goes; who measures has them registered.
#[derive(Clone, Debug)]
pub struct Measures {
    /// Seconds until a group of writes was durable, or had failed; with a Redis, until a write was answered.
    pub write_seconds: Histogram,
    /// Seconds until a Redis had answered what it was sent together, or had failed to.
    pub redis_seconds: Histogram,
    /// How often it failed to.
    pub redis_failed: Counter,
}
