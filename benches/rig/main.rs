//! The measuring rig: starts what is compared side by side, loads both alike, and prints ratios from one run.
//!
//!     cargo bench --bench rig -- [CHAPTER...] [--large] [--short] [--calls] [--program=PATH] [--against=PATH]
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
    clippy::too_many_arguments,
    reason = "a benchmark fails by panicking, drives the outside world, and talks to whoever runs it"
)]

mod guard;
mod introspection;
mod jwt;
mod load;
mod login;
mod messages;
mod ops;
mod peers;
mod process;
mod profile;
mod realm;
mod report;
mod rounds;
mod site;
mod size;
mod steps;
mod swap;
mod train;
mod upstream;

use std::path::PathBuf;

use report::Report;

/// What the command line said.
struct Wanted {
    chapters: Vec<String>,
    /// 1 M live families too.
    large: bool,
    /// A third of the rounds: to see whether it works, not what it costs.
    short: bool,
    /// For `profile`: what keeps a bridge busy.
    work: Work,
    /// For `profile`: another build to compare with.
    against: Option<PathBuf>,
}

impl Wanted {
    fn rounds(&self, usual: usize) -> usize {
        if self.short { usual.div_ceil(3) } else { usual }
    }
}

/// What a bridge is busy with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Logins.
    Logins,
    /// API calls.
    Calls,
    /// What another proxy asks about them.
    Questions,
}

type Chapter = (&'static str, fn(&Wanted, &mut Report));

const CHAPTERS: [Chapter; 11] = [
    ("login", login::run),
    ("swap", swap::run),
    ("steps", steps::run),
    ("guard", guard::run),
    ("introspection", introspection::run),
    ("size", size::run),
    ("ops", ops::run),
    ("reloads", ops::reloads),
    ("realm", realm::run),
    ("profile", profile::run),
    ("train", train::run),
];

/// Those that measure nothing: run only when they are named.
const SPECIAL: [&str; 2] = ["profile", "train"];

fn main() {
    // As the program does; the chapter `steps` makes a realm client of its own.
    passbridge::server::provide_tls();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| words.iter().any(|word| word == name);
    let path = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)).map(PathBuf::from);
    let wanted = Wanted {
        chapters: words.iter().filter(|word| !word.starts_with('-')).cloned().collect(),
        large: flag("--large"),
        short: flag("--short"),
        work: match (flag("--calls"), flag("--questions")) {
            (true, _) => Work::Calls,
            (_, true) => Work::Questions,
            _ => Work::Logins,
        },
        against: path("--against="),
    };
    let unknown = wanted.chapters.iter().find(|name| CHAPTERS.iter().all(|(known, _)| known != name));
    if let Some(unknown) = unknown {
        panic!("there is no chapter `{unknown}`; there are {:?}", CHAPTERS.map(|(name, _)| name));
    }
    peers::measure(path("--program="));
    let mut report = Report::begin();
    for (name, run) in CHAPTERS {
        if (wanted.chapters.is_empty() && !SPECIAL.contains(&name))
            || wanted.chapters.iter().any(|chapter| chapter == name)
        {
            eprintln!("bench: {name}");
            run(&wanted, &mut report);
        }
    }
    report.write();
}
