//! The nouns of the bridge and its decisions, as pure functions of values, time and chance.
//!
//! Must not: do input or output, look at a clock, draw a random number that it was not handed, or know a wire format.

pub mod canary;
pub mod chance;
pub mod client;
pub mod dialect;
pub mod family;
pub mod form;
pub mod grant;
pub mod horizon;
pub mod issue;
pub mod last_use;
pub mod learned;
pub mod opaque;
mod packed;
pub mod promise;
pub mod refresh;
pub mod refusal;
pub mod scope;
pub mod seal;
pub mod set_back;
pub mod shadow;
pub mod table;
pub mod time;
pub mod translate;
pub mod unseen;
pub mod wiped;
