//! The old dialect in and out, byte for byte.

mod dialects;
mod golden;
mod input;
mod habits;
