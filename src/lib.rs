//! passbridge lets legacy passport clients keep logging in while everything behind them moves to Keycloak.
//!
//! The reader's map, in reading order:

pub mod domain;
pub mod document;
pub mod keycloak;
pub mod legacy;
pub mod mapping;
pub mod store;
pub mod telemetry;
