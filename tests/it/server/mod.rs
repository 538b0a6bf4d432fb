//! Listeners, reload and drain, from the outside.

mod drain;
mod reload;
mod tls;
