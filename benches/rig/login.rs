//! A login, durable, beside nginx that passes the same bytes to the same upstream: CPU of the whole process tree.

use crate::peers::{AccessLog, Bridge, Nginx, logins};
use crate::report::{Bar, Report};
use crate::rounds::{self, Contestant, Round, Spread};
use crate::site::{Site, folder, in_memory};
use crate::{Wanted, upstream};

const REQUESTS: usize = 8_000;
const CLIENTS: usize = 100;

pub fn run(wanted: &Wanted, report: &mut Report) {
    let work = folder();
    let memory = in_memory();
    let realm = upstream::start();
    let url = format!("http://{realm}/auth/realms/SSO");
    let nginx = Nginx::start(&work.path().join("nginx"), realm, AccessLog::Off);
    let again = Nginx::start(&work.path().join("again"), realm, AccessLog::Off);
    let logging = Nginx::start(&work.path().join("logging"), realm, AccessLog::On);
    let bridge = Bridge::start(&Site::new(work.path(), "bridge", url.clone()));
    let mut site = Site::new(work.path(), "undurable", url);
    site.store = memory.path().join("store");
    let undurable = Bridge::start(&site);

    let load = |to| logins(to, REQUESTS, CLIENTS);
    let contestants = [
        Contestant { name: "nginx", process: &nginx.process, load: load(nginx.address) },
        Contestant { name: "nginx again", process: &again.process, load: load(again.address) },
        Contestant { name: "nginx with its access log", process: &logging.process, load: load(logging.address) },
        Contestant { name: "passbridge", process: &bridge.process, load: load(bridge.legacy) },
        Contestant { name: "passbridge, store in memory", process: &undurable.process, load: load(undurable.legacy) },
    ];
    let all = rounds::run(&contestants, wanted.rounds(15));
    tell(&contestants, &all, report);
}

fn tell(contestants: &[Contestant<'_>], all: &[Vec<Round>], report: &mut Report) {
    let mut spread = |what: &str, unit, spread, bar| report.spread("login", what, unit, spread, bar);
    for (contestant, rounds) in contestants.iter().zip(all) {
        let cost = Spread::over(rounds, Round::cost);
        spread(&format!("login: {}", contestant.name), "CPU us/request", cost, Bar::None);
    }
    let [nginx, again, logging, bridge, undurable] = all else { panic!("five contestants") };
    spread("login: nginx / itself (noise)", "ratio", Spread::ratio(again, nginx, Round::cost), Bar::None);
    spread("login: passbridge, durable / nginx", "ratio", Spread::ratio(bridge, nginx, Round::cost), Bar::AtMost(3.0));
    let with_log = Spread::ratio(bridge, logging, Round::cost);
    spread("login: passbridge, durable / nginx with its access log", "ratio", with_log, Bar::None);
    let memory = Spread::ratio(undurable, nginx, Round::cost);
    spread("login: passbridge, store on /dev/shm / nginx", "ratio", memory, Bar::None);
    for (thread, prefix) in [("worker", "worker"), ("store's writer", "store-writer"), ("fjall's own threads", "fjall")]
    {
        let cost = Spread::over(bridge, |round| round.cost_of(prefix));
        spread(&format!("login: of passbridge's, {thread}"), "CPU us/request", cost, Bar::None);
    }
    for (name, rounds) in [("nginx", nginx), ("passbridge, durable", bridge)] {
        let rate = Spread::over(rounds, |round| round.served.per_second());
        spread(&format!("login: {name}, 64 connections"), "requests/s", rate, Bar::None);
        for percent in [50, 99] {
            let millis = Spread::over(rounds, |round| round.served.percentile(percent).as_secs_f64() * 1e3);
            spread(&format!("login: {name}, p{percent} when saturated"), "ms", millis, Bar::None);
        }
    }
}
