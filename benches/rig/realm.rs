//! Logins and refreshes a second on a real Keycloak: through the bridge, through nginx, and asking Keycloak directly.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Wanted;
use crate::load;
use crate::load::Load;
use crate::messages::Messages;
use crate::peers::{AccessLog, Bridge, Nginx};
use crate::process::Process;
use crate::report::{Bar, Report};
use crate::rounds::{self, Contestant, Round, Spread};
use crate::site::{self, Passport, Site, folder, free, in_memory, post, repository};

/// So many at a time, until the JVM has compiled what a login needs, or a refresh: what its compilers do meanwhile goes by time, and would be put
/// down to whoever takes longer.
const WARM_UP: usize = 3_000;
/// It compiles no more when that is less than such a part of what it does.
const COMPILED: f64 = 0.02;
/// And whatever it does then, it is as warm as it gets.
const WARM_UPS: usize = 20;
/// Many short rounds: how fast Keycloak is drifts, and a ratio is of two that follow each other.
const REQUESTS: usize = 400;
/// Enough that Keycloak always has work: its rate is compared then, not the time that one request takes.
const CONNECTIONS: usize = 16;
const PASSPORTS: usize = 20;
/// Logins that are refreshed in turn, each way its own: each has a few refreshes behind it in the end, as a client's has.
const REFRESHED: usize = 400;

/// Who is held to the bar.
const BRIDGE: &str = "through passbridge";

const REALM_TOKEN: &str = "/auth/realms/SSO/protocol/openid-connect/token";

pub fn run(wanted: &Wanted, report: &mut Report) {
    let work = folder();
    let passports = Passport::real(PASSPORTS);
    let (keycloak, port) = keycloak(work.path());
    let realm = format!("http://127.0.0.1:{port}/auth/realms/SSO");
    let bridge = Bridge::start(&Site::new(work.path(), "bridge", realm.clone()));
    let direct = ([127, 0, 0, 1], port).into();
    // What any proxy costs there.
    let nginx = Nginx::start(&work.path().join("nginx"), direct, AccessLog::Off);
    let asked: Vec<_> = passports.iter().map(|passport| to_realm(REALM_TOKEN, passport)).collect();
    let by_nginx: Vec<_> = passports.iter().map(|passport| to_realm(site::TOKEN, passport)).collect();
    let through: Vec<_> = passports.iter().map(|passport| site::login(0, passport)).collect();
    let contestant = |name, load| Contestant { name, process: &keycloak, load };
    let logins = [
        contestant("Keycloak itself", load(direct, asked.clone().into(), REQUESTS)),
        contestant("through nginx", load(nginx.address, by_nginx.into(), REQUESTS)),
        contestant(BRIDGE, load(bridge.legacy, through.clone().into(), REQUESTS)),
    ];
    warm("logins", &logins[0]);
    let rounds = wanted.rounds(30);
    tell(report, &Told { what: "logins", one: "login", bar: Bar::AtLeast(0.95) }, &logins, rounds);

    // What is said of the realm's rotation spares the bridge one durable write of two.
    let mut site = Site::new(work.path(), "rotation-off", realm);
    site.realm_further = "rotation = \"off\"\n";
    let knowing = Bridge::start(&site);
    // What durable writing costs on this disk.
    let memory = in_memory();
    let mut site = Site::new(work.path(), "undurable", site.realm);
    site.store = memory.path().join("store");
    let undurable = Bridge::start(&site);
    let chained = |to, logins: &[Vec<u8>], refresh: fn(&str) -> Vec<u8>| {
        let logins = logins.iter().cycle().take(REFRESHED).cloned().collect();
        load(to, Messages::chained(logins, refresh), REQUESTS)
    };
    let by_client: fn(&str) -> Vec<u8> = |token| site::refresh(0, token);
    let refreshes = [
        contestant("Keycloak itself", chained(direct, &asked, realm_refresh)),
        contestant(BRIDGE, chained(bridge.legacy, &through, by_client)),
        contestant("through passbridge, rotation known to be off", chained(knowing.legacy, &through, by_client)),
        contestant("through passbridge, store in memory", chained(undurable.legacy, &through, by_client)),
    ];
    for contestant in &refreshes {
        // The first message of each is its login.
        load::run(&Load { requests: REFRESHED, ..contestant.load.clone() });
    }
    warm("refreshes", &refreshes[0]);
    tell(report, &Told { what: "refreshes", one: "refresh", bar: Bar::None }, &refreshes, rounds);
}

fn load(to: SocketAddr, messages: Messages, requests: usize) -> Load {
    Load { to, connections: CONNECTIONS, requests, messages, expect: "\"access_token\":\"", pause: None }
}

fn warm(what: &str, contestant: &Contestant<'_>) {
    let load = Load { requests: WARM_UP, ..contestant.load.clone() };
    for number in 1..=WARM_UPS {
        let before = contestant.process.cpu();
        let served = load::run(&load);
        let cpu = contestant.process.cpu().since(&before);
        let compiling = ["C1 Compiler", "C2 Compiler"].iter().map(|name| cpu.of(name).as_secs_f64()).sum::<f64>();
        let part = compiling / cpu.all().as_secs_f64();
        let rate = served.per_second();
        eprintln!("bench: Keycloak after {} {what}: {rate:.0}/s, {:.1} % of it compiles", number * WARM_UP, part * 1e2);
        if part < COMPILED {
            return;
        }
    }
}

/// What is compared, how one of it is called, and what the ratio shall be.
struct Told {
    what: &'static str,
    one: &'static str,
    bar: Bar,
}

fn tell(report: &mut Report, told: &Told, contestants: &[Contestant<'_>], rounds: usize) {
    let Told { what, one, bar } = *told;
    let all = rounds::run(contestants, rounds);
    let rate = |round: &Round| round.served.per_second();
    let mut row = |row: &str, unit: &str, spread, bar| {
        report.spread("realm", &format!("{what} on a real Keycloak: {row}"), unit, spread, bar);
    };
    for (contestant, rounds) in contestants.iter().zip(&all) {
        let name = contestant.name;
        row(name, &format!("{what}/s"), Spread::over(rounds, rate), Bar::None);
        let millis = Spread::over(rounds, |round| round.served.percentile(50).as_secs_f64() * 1e3);
        row(&format!("{name}, p50"), "ms", millis, Bar::None);
        let cost = Spread::over(rounds, Round::cost);
        row(&format!("{name}, Keycloak's CPU"), &format!("us/{one}"), cost, Bar::None);
    }
    let itself = &all[0];
    for (contestant, through) in contestants.iter().zip(&all).skip(1) {
        let name = contestant.name;
        let bar = if name == BRIDGE { bar } else { Bar::None };
        row(&format!("{name} / itself"), "ratio", Spread::ratio(through, itself, rate), bar);
        let cost = Spread::ratio(through, itself, Round::cost);
        row(&format!("Keycloak's CPU, {name} / itself"), "ratio", cost, Bar::None);
    }
}

/// A real Keycloak with the test realm, ready.
fn keycloak(work: &Path) -> (Process, u16) {
    let (port, management) = (free().port(), free().port());
    let script = || {
        let mut command = Command::new(repository().join("scripts/keycloak"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        command
    };
    let mut start = script();
    start.env_remove("KEYCLOAK_QUICK").arg("start").args(["--port", &port.to_string()]);
    start.args(["--management-port", &management.to_string()]).arg("--dir").arg(work.join("keycloak"));
    start.stderr(File::create(work.join("keycloak.log")).unwrap());
    eprintln!("bench: starts Keycloak");
    let process = Process::start(start);
    let (management, id) = (management.to_string(), process.id().to_string());
    let ready = script().args(["wait", "--management-port", &management, "--pid", &id]).status().unwrap();
    assert!(ready.success(), "Keycloak did not start");
    (process, port)
}

/// What the bridge would send for this login.
fn to_realm(path: &str, passport: &Passport) -> Vec<u8> {
    post(
        path,
        &[
            ("client_id", "test_api"),
            ("client_secret", "test-api-secret"),
            ("grant_type", "password"),
            ("grant_type_moex", "passport"),
            ("certificate", &passport.certificate),
            ("algorithm", &passport.algorithm),
            ("signature", &passport.signature),
            ("scope", "client_registration"),
        ],
    )
}

/// What the bridge would send for a refresh.
fn realm_refresh(token: &str) -> Vec<u8> {
    let client = [("client_id", "test_api"), ("client_secret", "test-api-secret")];
    post(REALM_TOKEN, &[client[0], client[1], ("grant_type", "refresh_token"), ("refresh_token", token)])
}
