//! The token store: one contract for every variant, and what each variant must survive.

mod contract;
mod crash;
mod damage;
mod embedded;
mod record;
mod refusal;
mod world;
