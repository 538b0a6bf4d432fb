//! The new dialect outward: the realm's token endpoint, asked once for each grant.
//!
//! The only call outward of a login. Must not: know the legacy dialect's texts, decide what a client hears beyond the rows that
//! the dialect gives it, or send anything twice that may have been spent.

mod client;
mod endpoints;
mod form;
mod kept;
mod keys;
pub mod logout_token;
pub mod probe;
mod repeated;
pub mod wire;

pub use client::{Granted, Keycloak, RealmSettings, RealmStatus, Unusable};
pub use endpoints::{is_askable, is_secure};
pub use keys::Keys;
pub use repeated::Sent;
