//! What a request leaves behind: its trail, from which one log line, the metrics and a row of the audit are made, at the edge.
//!
//! Must not: hold a token, a secret, a passport or a signature; change what a client is told.

pub mod audit;
mod edge;
mod labels;
mod line;
pub mod log;
pub mod metrics;
mod news;
mod spool;
mod stored;
pub mod trail;

pub use edge::Edge;
pub use metrics::Metrics;
pub use news::News;
pub use stored::{StoreFigures, StoreMetrics};
pub use trail::Trail;
