//! What all have in common who hear what is to be sent on, and who send it: which headers stay behind, which body can be sent on, where a call
//! came from, how a server is reached that may have several addresses, what TLS shows, and whom it trusts.
//!
//! Must not: know what is sent on, to whom, or why; keep a connection.

pub mod certificate;
mod dial;
pub mod forwarded;
pub mod hops;
mod material;
mod trust;

#[cfg(test)]
pub(crate) use dial::tests::silent;
pub use dial::{ANSWER_HEAD, IN_VAIN, OLD, PASSED_OVER, dial};
pub use material::{Piece, TlsMaterial, UnfitMaterial};
pub use trust::{BadCertificate, NO_TLS, Trust, speaks_no_tls, trusted_by_the_system};
