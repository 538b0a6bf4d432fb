//! x
use crate::Wanted;
use crate::report::Report;
pub fn run(_w: &Wanted, _r: &mut Report) {}
