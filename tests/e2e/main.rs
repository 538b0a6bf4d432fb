//! The same promises on real servers, started by the tests themselves: Keycloak with the realm of `keycloak/`, Redis, curl.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and plays the outside world"
)]

mod login;
mod refusals;
mod store;
mod support;
mod token_life;
