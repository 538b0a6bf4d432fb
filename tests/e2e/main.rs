//! The same promises on real servers, started by the tests themselves: Keycloak with the realm of `keycloak/`, Redis, curl.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::string_slice,
    clippy::needless_pass_by_value,
    clippy::format_push_string,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "a test fails by panicking, and plays the outside world"
)]

mod clients;
mod dashboard;
mod doctor;
mod gateway;
mod learned;
mod login;
mod passport_step;
mod paused;
mod read_only;
mod realm;
mod refusals;
mod sealed;
mod shadow;
mod stages;
mod store;
mod support;
mod token;
mod token_life;
