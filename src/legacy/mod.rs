//! The old dialect in and out: bytes into a request, a cause or a pair of tokens into exact bytes.
//!
//! Pure. Must not: know who a client is, ask the realm, or hold a text that a dialect file could say.

pub mod credentials;
pub mod form;
pub mod glance;
pub mod reply;
pub mod request;
pub mod sole;
pub mod told;
