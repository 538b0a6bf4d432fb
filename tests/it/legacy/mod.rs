//! The old dialect in and out, byte for byte.

mod dialects;
mod golden;
mod habits;
mod input;
