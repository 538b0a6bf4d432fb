//! The quick suite: the whole bridge against a fake realm, found by the path of the code that a test is about.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::string_slice,
    clippy::float_cmp,
    clippy::items_after_statements,
    clippy::needless_pass_by_value,
    clippy::format_collect,
    clippy::cast_possible_truncation,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "a test fails by panicking, and plays the outside world"
)]

mod architecture;
mod cli;
mod config;
mod docs;
mod exchange;
mod fuzzed;
mod gateway;
mod keycloak;
mod legacy;
mod life;
mod mapping;
mod otk;
mod server;
mod store;
mod support;
mod telemetry;
