//! Not a measurement: keeps a bridge busy with logins while `perf` looks at it, or compares two builds of the bridge.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Wanted;
use crate::load;
use crate::peers::{Bridge, logins};
use crate::report::{Bar, Report};
use crate::rounds::{self, Contestant, Round, Spread};
use crate::site::{Site, repository};
use crate::upstream;

const LOGINS: usize = 60_000;

/// `cargo build --profile profiling`, then this with `--program` of it; writes target/bench/perf.data.
pub fn run(wanted: &Wanted, report: &mut Report) {
    let work = tempfile::Builder::new().prefix("passbridge-bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let url = format!("http://{}/auth/realms/SSO", upstream::start());
    let site = |name| Site::new(work.path(), name, url.clone());
    let program = wanted.program.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_passbridge")));
    let bridge = Bridge::start_program(&program, &site("bridge"));
    if let Some(other) = &wanted.against {
        let other = Bridge::start_program(other, &site("other"));
        compare(wanted, &bridge, &other, report);
        return;
    }
    load::run(&logins(bridge.legacy, 5_000, 100));
    let file = repository().join("target/bench/perf.data");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-e", "cpu-clock", "-F", "4000", "-g", "-p", &bridge.process.id().to_string(), "-o"]);
    let mut perf = perf.arg(&file).stdout(Stdio::null()).spawn().expect("perf is there: apt-get install linux-perf");
    std::thread::sleep(std::time::Duration::from_millis(500));
    load::run(&logins(bridge.legacy, LOGINS, 100));
    let _ = Command::new("kill").args(["-INT", &perf.id().to_string()]).status();
    let _ = perf.wait();
    eprintln!("bench: now: perf report --no-children -i {}", file.display());
}

fn compare(wanted: &Wanted, this: &Bridge, other: &Bridge, report: &mut Report) {
    let load = |bridge: &Bridge| logins(bridge.legacy, 6_000, 100);
    let contestants = [
        Contestant { name: "this build", process: &this.process, load: load(this) },
        Contestant { name: "other build", process: &other.process, load: load(other) },
    ];
    let all = rounds::run(&contestants, wanted.rounds(20));
    for (contestant, rounds) in contestants.iter().zip(&all) {
        for (thread, prefix) in [("all", ""), ("worker", "worker"), ("writer", "store-writer"), ("fjall", "fjall")] {
            let cost = Spread::over(rounds, |round| round.cost_of(prefix));
            report.spread("profile", &format!("{}, {thread}", contestant.name), "CPU us/login", cost, Bar::None);
        }
    }
    report.spread("profile", "this / other", "ratio", Spread::ratio(&all[0], &all[1], Round::cost), Bar::None);
    let worker = Spread::ratio(&all[0], &all[1], |round| round.cost_of("worker"));
    report.spread("profile", "this / other, worker", "ratio", worker, Bar::None);
}
