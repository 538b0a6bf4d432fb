//! Files into a table: the mapping of legacy clients and the dialects they speak.

pub mod dialect;
mod layout;
