//! One program for every target: `FUZZ_TARGET` says which.
#![no_main]

#[path = "../../tests/it/fuzzed/targets.rs"]
mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    targets::named(&name).unwrap_or_else(|| panic!("FUZZ_TARGET=`{name}` is none of {:?}", targets::names()))
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));
