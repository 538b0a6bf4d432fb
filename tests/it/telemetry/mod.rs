//! What is written down: by the files of the audit, as an operator reads them, and by the log.

mod audit;
mod chain;
mod refused;
