//! The token store: one contract for every variant, and what each variant must survive.

mod backup;
mod churn;
mod contract;
mod crash;
pub mod damage;
mod embedded;
mod record;
mod refusal;
mod upgrade;
pub mod world;
