//! passbridge lets legacy passport clients keep logging in while everything behind them moves to Keycloak.
//!
//! The reader's map, in reading order:

pub mod domain;

pub mod legacy;

pub mod exchange;

pub mod gateway;

pub mod keycloak;
pub mod mapping;
pub mod otk;
pub mod relay;
pub mod store;

pub mod config;
pub mod disk;
pub mod document;
pub mod lifecycle;
pub mod secrets;

pub mod ops;
pub mod server;
pub mod telemetry;

pub mod cli;
