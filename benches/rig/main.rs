//! The measuring rig: starts what is compared side by side, loads both alike, and prints ratios from one run.
//!
//!     cargo bench --bench rig -- [CHAPTER...] [--large] [--short]
//!
//! A chapter is a file here. What each measures, and how to read it: docs/PERFORMANCE.md.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a benchmark fails by panicking, drives the outside world, and talks to whoever runs it"
)]

mod guard;
mod introspection;
mod load;
mod login;
mod peers;
mod process;
mod realm;
mod report;
mod rounds;
mod site;
mod size;
mod upstream;

use report::Report;

/// What the command line said.
struct Wanted {
    chapters: Vec<String>,
    /// 1 M live families too.
    large: bool,
    /// A third of the rounds: to see whether it works, not what it costs.
    short: bool,
}

impl Wanted {
    fn rounds(&self, usual: usize) -> usize {
        if self.short { usual.div_ceil(3) } else { usual }
    }
}

type Chapter = (&'static str, fn(&Wanted, &mut Report));

const CHAPTERS: [Chapter; 5] = [
    ("login", login::run),
    ("guard", guard::run),
    ("introspection", introspection::run),
    ("size", size::run),
    ("realm", realm::run),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| words.iter().any(|word| word == name);
    let wanted = Wanted {
        chapters: words.iter().filter(|word| !word.starts_with('-')).cloned().collect(),
        large: flag("--large"),
        short: flag("--short"),
    };
    for unknown in wanted.chapters.iter().filter(|name| CHAPTERS.iter().all(|(known, _)| known != name)) {
        panic!("there is no chapter `{unknown}`; there are {:?}", CHAPTERS.map(|(name, _)| name));
    }
    let mut report = Report::begin();
    for (name, run) in CHAPTERS {
        if wanted.chapters.is_empty() || wanted.chapters.iter().any(|chapter| chapter == name) {
            eprintln!("bench: {name}");
            run(&wanted, &mut report);
        }
    }
    report.write();
}
