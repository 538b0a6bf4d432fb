//! Listeners, reload and drain, from the outside.

mod ahead;
mod broken;
mod dashboard;
mod drain;
mod operators;
mod reload;
mod tls;
mod unheard;
