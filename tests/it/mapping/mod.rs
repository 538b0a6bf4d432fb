//! The mapping at work: who a caller is, and what a flood of strangers may cost.

mod dialect;
mod guard;
mod load;
