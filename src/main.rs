//! The program. Everything is in the library but its allocator.

use std::process::ExitCode;

/// A login's memory is taken by a worker and given back by the store's threads, which glibc's allocator makes dear
/// (docs/PERFORMANCE.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    passbridge::cli::run()
}
