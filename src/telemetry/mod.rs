//! What a request leaves behind: its trail, from which one log line and the metrics are made.
//!
//! Must not: hold a token, a secret, a passport or a signature; change what a client is told.

pub mod log;
pub mod metrics;
pub mod trail;

pub use metrics::Metrics;
pub use trail::Trail;
