//! What is written down: by the files of the audit, as an operator reads them.

mod audit;
mod chain;
