//! An API call with a UUID beside what a site could build instead: CPU of the whole process tree, latency, memory, and many live UUIDs.

mod api;
mod peers;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use peers::{Bearer, Bodies, Peer, haproxy, nginx};

use crate::Wanted;
use crate::introspection::{self, HOT, MESSAGES, filled};
use crate::load::{self, Load};
use crate::messages::drawn;
use crate::peers::Bridge;
use crate::process::Process;
use crate::report::{Bar, Report};
use crate::rounds::{self, Contestant, Round, Spread};
use crate::site::{Calls, Site, folder, lives};
use crate::size;

const REQUESTS: usize = 12_000;
const LARGE_REQUESTS: usize = 2_000;
/// UUIDs that are called with, where their number is not the question.
const LIVE: usize = 1_000;
const IDLE: usize = 2_000;
/// What an API says to a JWT of 1.5 KB, and to a UUID.
const SWAPPED: &str = "{\"bearer\":15";
const PLAIN: &str = "{\"bearer\":36,";

/// A bridge with a gateway before the API, its store filled.
pub struct Gateway {
    pub bridge: Bridge,
    pub calls: Calls,
    /// The UUIDs that live.
    pub tokens: Vec<String>,
}

impl Gateway {
    /// Of another build, if one is given.
    pub fn start(work: &Path, name: &str, live: usize, program: Option<&Path>) -> Self {
        Self::of(site(work, name), live, program)
    }

    fn of(mut site: Site, live: usize, program: Option<&Path>) -> Self {
        let calls = Calls::before(api::start());
        site.calls = Some(calls);
        let tokens = filled(&site, live);
        let bridge = match program {
            Some(program) => Bridge::start_program(program, &site),
            None => Bridge::start(&site),
        };
        Self { bridge, calls, tokens }
    }

    /// Calls with so many of its UUIDs, as chance has it.
    pub fn load(&self, among: usize, requests: usize) -> Load {
        let calls = drawn(among).take(MESSAGES).map(|index| call("GET", "/api/me", &self.tokens[index], ""));
        small(self.calls.gateway, requests, calls.collect(), SWAPPED)
    }

    /// Calls with 100 KB both ways.
    pub fn large(&self, requests: usize) -> Load {
        let body = "b".repeat(api::LARGE);
        let messages = self.tokens.iter().take(64).map(|token| call("POST", "/api/large", token, &body)).collect();
        small(self.calls.gateway, requests, messages, SWAPPED)
    }

    /// Small calls, as another proxy asks about them.
    pub fn asked(&self, among: usize, requests: usize) -> Load {
        Load { to: self.calls.authz, expect: "uthorization: Bearer e", ..self.load(among, requests) }
    }
}

/// One whose realm nobody asks.
fn site(work: &Path, name: &str) -> Site {
    Site::new(work, name, "http://127.0.0.1:1".to_owned())
}

fn call(method: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: api.example.org\r\nUser-Agent: legacy-client/1.0\r\nAccept: application/json\r\n\
         Authorization: Bearer {token}\r\n{length}\r\n{body}"
    )
    .into_bytes()
}

fn small(to: SocketAddr, requests: usize, messages: Vec<Vec<u8>>, expect: &'static str) -> Load {
    Load { to, connections: 64, requests, messages: messages.into(), expect, pause: None }
}

pub fn run(wanted: &Wanted, report: &mut Report) {
    let work = folder();
    let work = work.path();
    let gateway = Gateway::start(work, "bridge", LIVE, None);
    let peers = Peers::start(work, &gateway);
    cost(wanted, report, &gateway, &peers);
    large(wanted, report, work, &gateway);
    latency(wanted, report, &gateway, &peers);
    drop(peers);
    idle(report, work);
    two_workers(wanted, report, work);
    many(wanted, report, work);
}

struct Peers {
    plain: Peer,
    again: Peer,
    carrying: Peer,
    lua: Peer,
    haproxy: Peer,
}

impl Peers {
    fn start(work: &Path, gateway: &Gateway) -> Self {
        let api = gateway.calls.api;
        let jwt = format!("{:x<1504}", "eyJ.e30.");
        let pairs: Vec<_> = gateway.tokens.iter().map(|uuid| (uuid.clone(), jwt.clone())).collect();
        Self {
            plain: nginx(&work.join("plain"), api, Bearer::AsItCame, Bodies::AsItIs),
            again: nginx(&work.join("again"), api, Bearer::AsItCame, Bodies::AsItIs),
            carrying: nginx(&work.join("carrying"), api, Bearer::Fixed(&jwt), Bodies::AsItIs),
            lua: nginx(&work.join("lua"), api, Bearer::Lua(&pairs), Bodies::AsItIs),
            haproxy: haproxy(&work.join("haproxy"), api, &pairs),
        }
    }
}

/// What a call costs, beside the peers, and what an answer to another proxy costs.
fn cost(wanted: &Wanted, report: &mut Report, gateway: &Gateway, peers: &Peers) {
    let calls = gateway.load(LIVE, REQUESTS);
    let to = |peer: &Peer, expect| Load { to: peer.address, expect, ..calls.clone() };
    let asked = gateway.asked(LIVE, REQUESTS);
    let of = |name, process, load| Contestant { name, process, load };
    let contestants = [
        of("nginx", &peers.plain.process, to(&peers.plain, PLAIN)),
        of("nginx again", &peers.again.process, to(&peers.again, PLAIN)),
        of("nginx carrying the JWT", &peers.carrying.process, to(&peers.carrying, SWAPPED)),
        of("nginx with Lua and a shared dict", &peers.lua.process, to(&peers.lua, SWAPPED)),
        of("HAProxy with a map", &peers.haproxy.process, to(&peers.haproxy, SWAPPED)),
        of("passbridge", &gateway.bridge.process, calls.clone()),
        of("passbridge, forward-auth answer", &gateway.bridge.process, asked),
    ];
    let all = rounds::run(&contestants, wanted.rounds(15));
    for (contestant, rounds) in contestants.iter().zip(&all) {
        let cost = Spread::over(rounds, Round::cost);
        report.spread("swap", &format!("swap: {}", contestant.name), "CPU us/request", cost, Bar::None);
    }
    let [plain, again, carrying, lua, haproxy, bridge, asked] = &all[..] else { panic!("seven contestants") };
    let mut ratio = |what: &str, of: &[Round], to: &[Round], bar| {
        report.spread("swap", &format!("swap: {what}"), "ratio", Spread::ratio(of, to, Round::cost), bar);
    };
    ratio("nginx / itself (noise)", again, plain, Bar::None);
    ratio("nginx carrying the JWT / nginx", carrying, plain, Bar::None);
    ratio("passbridge / nginx", bridge, plain, Bar::None);
    ratio("passbridge / nginx carrying the JWT", bridge, carrying, Bar::AtMost(1.1));
    ratio("passbridge / HAProxy with a map", bridge, haproxy, Bar::AtMost(1.0));
    ratio("passbridge / nginx with Lua", bridge, lua, Bar::AtMost(0.95));
    ratio("forward-auth answer / whole swap", asked, bridge, Bar::AtMost(0.5));
    let worker = Spread::over(bridge, |round| round.cost_of("worker"));
    report.spread("swap", "swap: of passbridge's, worker", "CPU us/request", worker, Bar::None);
    for (name, rounds) in [("nginx carrying the JWT", carrying), ("passbridge", bridge)] {
        let rate = Spread::over(rounds, |round| round.served.per_second());
        report.spread("swap", &format!("swap: {name}, 64 connections"), "requests/s", rate, Bar::None);
    }
}

/// 100 KB both ways, beside nginx as it is, and nginx that was given room. The bars are about the former two.
fn large(wanted: &Wanted, report: &mut Report, work: &Path, gateway: &Gateway) {
    let load = gateway.large(LARGE_REQUESTS);
    let kinds = [
        ("nginx", Bodies::AsItIs, Bar::AtMost(0.8)),
        ("nginx with room for a request", Bodies::RequestInMemory, Bar::AtMost(0.8)),
        ("nginx with room for both", Bodies::InMemory, Bar::None),
    ];
    let peers: Vec<_> = kinds
        .iter()
        .map(|(name, bodies, _)| {
            nginx(&work.join(name.replace(' ', "-")), gateway.calls.api, Bearer::AsItCame, *bodies)
        })
        .collect();
    let mut contestants: Vec<_> = kinds
        .iter()
        .zip(&peers)
        .map(|((name, ..), peer)| Contestant {
            name,
            process: &peer.process,
            load: Load { to: peer.address, expect: PLAIN, ..load.clone() },
        })
        .collect();
    contestants.push(Contestant { name: "passbridge", process: &gateway.bridge.process, load });
    let all = rounds::run(&contestants, wanted.rounds(9));
    for (contestant, rounds) in contestants.iter().zip(&all) {
        let what = format!("swap, 100 KB both ways: {}", contestant.name);
        report.spread("swap", &what, "CPU us/request", Spread::over(rounds, Round::cost), Bar::None);
    }
    for ((name, _, bar), rounds) in kinds.into_iter().zip(&all) {
        let what = format!("swap, 100 KB both ways: passbridge / {name}");
        report.spread("swap", &what, "ratio", Spread::ratio(&all[kinds.len()], rounds, Round::cost), bar);
    }
}

/// What is added to the API's own latency while both do half of what the slower of them can.
fn latency(wanted: &Wanted, report: &mut Report, gateway: &Gateway, peers: &Peers) {
    let calls = gateway.load(LIVE, REQUESTS);
    let carrying = Load { to: peers.carrying.address, ..calls.clone() };
    let direct = Load { to: gateway.calls.api, expect: PLAIN, ..calls.clone() };
    let most = [&calls, &carrying].map(|load| load::run(load).per_second()).into_iter().fold(f64::MAX, f64::min);
    let pause = Duration::from_secs_f64(calls.connections as f64 / (most / 2.0));
    let paced = |load: &Load| Load { pause: Some(pause), ..load.clone() };
    let of = |name, process, load| Contestant { name, process, load };
    let contestants = [
        // Asked without anybody in between; whose process is counted does not matter here.
        of("the API itself", &peers.plain.process, paced(&direct)),
        of("nginx carrying the JWT", &peers.carrying.process, paced(&carrying)),
        of("passbridge", &gateway.bridge.process, paced(&calls)),
    ];
    let all = rounds::run(&contestants, wanted.rounds(9));
    let slow = |round: &Round| round.served.percentile(99).as_secs_f64() * 1e6;
    for (contestant, rounds) in contestants.iter().zip(&all) {
        let what = format!("swap at half load, p99: {}", contestant.name);
        report.spread("swap", &what, "us", Spread::over(rounds, slow), Bar::None);
    }
    let added = |rounds: &[Round]| {
        rounds.iter().zip(&all[0]).map(|(round, direct)| (slow(round) - slow(direct)).max(1.0)).collect::<Vec<_>>()
    };
    let ratio = added(&all[2]).into_iter().zip(added(&all[1])).map(|(ours, theirs)| ours / theirs);
    report.spread(
        "swap",
        "swap at half load, added p99: passbridge / nginx",
        "ratio",
        Spread::of(ratio),
        Bar::AtMost(1.2),
    );
}

/// What a connection takes that was called over once and is idle.
fn idle(report: &mut Report, work: &Path) {
    // Fresh ones: memory that was taken for a load would be given to these connections.
    let gateway = Gateway::start(work, "idle", LIVE, None);
    let plain = nginx(&work.join("idle-nginx"), gateway.calls.api, Bearer::AsItCame, Bodies::AsItIs);
    let message = call("GET", "/api/me", &gateway.tokens[0], "");
    let contestants: [(&str, &Process, SocketAddr, Bar); 2] = [
        ("nginx", &plain.process, plain.address, Bar::None),
        ("passbridge", &gateway.bridge.process, gateway.calls.gateway, Bar::AtMost(24.0)),
    ];
    for (name, process, address, bar) in contestants {
        let each = size::of_idle(process, address, &message, IDLE);
        report.once("swap", &format!("memory of an idle connection of the gateway: {name}"), "KiB", each, bar);
    }
}

/// Does a call cost more where two workers share what they must? Requests a second tell that only where the load and the API leave both a
/// core of their own.
fn two_workers(wanted: &Wanted, report: &mut Report, work: &Path) {
    let of = |workers: usize| Gateway::of(Site { workers, ..site(work, &format!("workers-{workers}")) }, LIVE, None);
    let (one, two) = (of(1), of(2));
    let contestants = [("one worker", &one), ("two workers", &two)].map(|(name, gateway)| Contestant {
        name,
        process: &gateway.bridge.process,
        load: gateway.load(LIVE, REQUESTS),
    });
    let all = rounds::run(&contestants, wanted.rounds(15));
    let cost = Spread::ratio(&all[1], &all[0], Round::cost);
    report.spread("swap", "swap: two workers / one, CPU a request", "ratio", cost, Bar::None);
    let rate = Spread::ratio(&all[1], &all[0], |round| round.served.per_second());
    report.spread("swap", "swap: two workers / one, requests/s", "ratio", rate, Bar::None);
}

/// Does it cost more when many UUIDs live?
fn many(wanted: &Wanted, report: &mut Report, work: &Path) {
    let lived: Vec<_> = lives(wanted.large)
        .into_iter()
        .map(|(live, store_further, name)| {
            let site = Site { store_further, ..site(work, &format!("live {name}")) };
            (Gateway::of(site, live, None), name)
        })
        .collect();
    let mut contestants = Vec::new();
    for (gateway, name) in &lived {
        let live = gateway.tokens.len();
        for among in [live, live.min(HOT)] {
            contestants.push(Contestant {
                name,
                process: &gateway.bridge.process,
                load: gateway.load(among, REQUESTS),
            });
        }
    }
    introspection::compare(wanted, report, ("swap", "called with"), &contestants);
}
