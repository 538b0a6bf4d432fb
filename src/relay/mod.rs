//! What all have in common who send on what others said: which headers stay behind, and whom TLS trusts.
//!
//! Must not: know what is sent on, to whom, or why; open a connection.

pub mod hops;
mod trust;

pub use trust::{BadCertificate, Trust, speaks_no_tls};
