//! Listeners, reload and drain, from the outside.

mod dashboard;
mod drain;
mod operators;
mod reload;
mod tls;
