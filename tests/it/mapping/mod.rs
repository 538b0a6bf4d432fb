//! The mapping at work: who a caller is, and what a flood of strangers may cost.

mod guard;
mod load;
