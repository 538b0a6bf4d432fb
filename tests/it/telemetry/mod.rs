//! What is written down: by the files of the audit, as an operator reads them, by the log, and for whoever looks for a bug.

mod audit;
mod bounded;
mod chain;
mod claimed;
mod documented;
mod printed;
mod refused;
