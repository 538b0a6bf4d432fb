//! The quick suite: the whole bridge against a fake realm, found by the path of the code that a test is about.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and plays the outside world"
)]

mod exchange;
mod keycloak;
mod legacy;
mod support;
