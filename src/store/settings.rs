//! Where the store is: pure data, filled by `config`.

use std::path::PathBuf;

/// Which store, and where (OPERATOR section 3, `[store]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSettings {
    /// Files of this machine, for one instance.
    Embedded {
        /// The directory. Made where it does not exist, for the owner alone.
        path: PathBuf,
        /// How much of it is kept in memory, in bytes.
        cache_bytes: u64,
    },
}
