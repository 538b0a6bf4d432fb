//! Listeners, reload and drain, from the outside.

mod dashboard;
mod drain;
mod reload;
mod tls;
