//! The store's contract on real Redis servers: single, with TLS and an access control list, by Sentinel, as a cluster.

mod cluster;
#[path = "../../it/store/contract.rs"]
#[expect(dead_code, reason = "Redis itself measures how long a lease lives, so the quick suite alone turns that clock")]
pub mod contract;
mod faults;
mod leftovers;
pub mod line;
mod round_trips;
mod sentinel;
pub mod servers;
mod single;
#[path = "../../it/store/world.rs"]
pub mod world;
