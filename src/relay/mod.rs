//! What all have in common who hear what is to be sent on, and who send it: which headers stay behind, which body can be sent on, where a call
//! came from, how a server is reached that may have several addresses, and whom TLS trusts.
//!
//! Must not: know what is sent on, to whom, or why; keep a connection.

mod dial;
pub mod forwarded;
pub mod hops;
mod trust;

pub use dial::dial;
#[cfg(test)]
pub(crate) use dial::tests::silent;
pub use trust::{BadCertificate, Trust, speaks_no_tls};
