//! TOML documents, read with every finding at once.
//!
//! A serde error stops at the first fault and knows no line of a value; an operator at 3 a.m. wants all of them, each with
//! its place. So a document is parsed into a [`Table`] whose values know their [`Origin`], and a [`Reader`] takes typed
//! values out of it; what nobody took is an unknown key.
//!
//! Must not: open files, read the environment, or know what a key means.

mod finding;
mod lists;
mod reader;
mod salvage;
mod slip;
mod stamp;
mod units;
mod value;

pub use finding::{Finding, Findings, Origin, Severity};
pub use reader::Reader;
pub use salvage::{Lost, salvaged};
pub use stamp::{Footing, Stamp};
pub use value::{BYTE_ORDER_MARK, Spotted, Table, Value, parse, parse_part};
