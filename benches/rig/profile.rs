//! Not a measurement: keeps a bridge busy with logins, with API calls, or with authorization questions, while `perf` looks at it, or compares two builds of the bridge.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::load::{self, Load};
use crate::peers::{self, Bridge, logins};
use crate::process::Process;
use crate::report::{Bar, Report};
use crate::rounds::{self, Contestant, Round, Spread};
use crate::site::{Site, folder, repository};
use crate::swap::Gateway;
use crate::upstream;
use crate::{Wanted, Work};

const LOGINS: usize = 60_000;
const CALLS: usize = 200_000;

/// A bridge with something to do.
struct Busy {
    process: Process,
    /// The load, of so many requests.
    load: Load,
}

impl Busy {
    fn start(wanted: &Wanted, work: &Path, name: &str, program: &Path) -> Self {
        if wanted.work != Work::Logins {
            let gateway = Gateway::start(work, name, 1_000, Some(program));
            let is_asked = wanted.work == Work::Questions;
            let load = if is_asked { gateway.asked(1_000, CALLS) } else { gateway.load(1_000, CALLS) };
            return Self { load, process: gateway.bridge.process };
        }
        let site = Site::new(work, name, upstream::realm());
        let bridge = Bridge::start_program(program, &site);
        Self { load: logins(bridge.legacy, LOGINS, 100), process: bridge.process }
    }

    fn load(&self, requests: usize) -> Load {
        Load { requests, ..self.load.clone() }
    }
}

/// `cargo build --profile profiling`, then this with `--program` of it; writes target/bench/perf.data.
pub fn run(wanted: &Wanted, report: &mut Report) {
    let work = folder();
    let bridge = Busy::start(wanted, work.path(), "bridge", peers::program());
    if let Some(other) = &wanted.against {
        let other = Busy::start(wanted, work.path(), "other", other);
        compare(wanted, &bridge, &other, report);
        return;
    }
    load::run(&bridge.load(5_000));
    let file = repository().join("target/bench/perf.data");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-e", "cpu-clock", "-F", "4000", "-g", "-p", &bridge.process.id().to_string(), "-o"]);
    let mut perf = perf.arg(&file).stdout(Stdio::null()).spawn().expect("perf is there: apt-get install linux-perf");
    std::thread::sleep(std::time::Duration::from_millis(500));
    load::run(&bridge.load);
    let _ = Command::new("kill").args(["-INT", &perf.id().to_string()]).status();
    let _ = perf.wait();
    eprintln!("bench: now: perf report --no-children -i {}", file.display());
}

fn compare(wanted: &Wanted, this: &Busy, other: &Busy, report: &mut Report) {
    let requests = if wanted.work == Work::Logins { 6_000 } else { 12_000 };
    let contestants = [
        Contestant { name: "this build", process: &this.process, load: this.load(requests) },
        Contestant { name: "other build", process: &other.process, load: other.load(requests) },
    ];
    let all = rounds::run(&contestants, wanted.rounds(20));
    for (contestant, rounds) in contestants.iter().zip(&all) {
        for (thread, prefix) in [("all", ""), ("worker", "worker"), ("writer", "store-writer"), ("fjall", "fjall")] {
            let cost = Spread::over(rounds, |round| round.cost_of(prefix));
            report.spread("profile", &format!("{}, {thread}", contestant.name), "CPU us/request", cost, Bar::None);
        }
    }
    report.spread("profile", "this / other", "ratio", Spread::ratio(&all[0], &all[1], Round::cost), Bar::None);
    let worker = Spread::ratio(&all[0], &all[1], |round| round.cost_of("worker"));
    report.spread("profile", "this / other, worker", "ratio", worker, Bar::None);
}
