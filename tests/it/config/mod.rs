//! `passbridge.toml`: what is taken, what is said of every fault, and the files that are shipped.

mod footing;
mod load;
mod shipped;
