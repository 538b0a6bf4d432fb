//! Logins a second on a real Keycloak: through the bridge, and asking Keycloak directly.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Wanted;
use crate::load;
use crate::load::Load;
use crate::peers::Bridge;
use crate::process::Process;
use crate::report::{Bar, Report};
use crate::rounds::{self, Contestant, Round, Spread};
use crate::site::{self, Passport, Site, free, post, repository};

/// Enough for the JVM to have compiled what a login needs.
const WARM_UP: usize = 6_000;
const REQUESTS: usize = 800;
/// Enough that Keycloak always has work: its rate is compared then, not the time that one login takes.
const CONNECTIONS: usize = 16;
const PASSPORTS: usize = 20;

pub fn run(wanted: &Wanted, report: &mut Report) {
    let work = tempfile::Builder::new().prefix("passbridge-bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let passports = Passport::real(PASSPORTS);
    let (keycloak, port) = keycloak(work.path());
    let site = Site::new(work.path(), "bridge", format!("http://127.0.0.1:{port}/auth/realms/SSO"));
    let bridge = Bridge::start(&site);
    let load = |to, messages: Vec<Vec<u8>>, requests| Load {
        to,
        connections: CONNECTIONS,
        requests,
        messages: messages.into(),
        expect: "\"access_token\":\"",
        pause: None,
    };
    let direct = ([127, 0, 0, 1], port).into();
    let asked = |requests| load(direct, passports.iter().map(to_realm).collect(), requests);
    let through = load(bridge.legacy, passports.iter().map(|passport| site::login(0, passport)).collect(), REQUESTS);
    let warm = load::run(&asked(WARM_UP));
    eprintln!("bench: Keycloak is warm at {:.0} logins/s", warm.per_second());
    let contestants = [
        Contestant { name: "Keycloak itself", process: &keycloak, load: asked(REQUESTS) },
        Contestant { name: "through passbridge", process: &keycloak, load: through },
    ];
    let all = rounds::run(&contestants, wanted.rounds(12));
    let rate = |round: &Round| round.served.per_second();
    for (contestant, rounds) in contestants.iter().zip(&all) {
        let what = format!("logins on a real Keycloak: {}", contestant.name);
        report.spread("realm", &what, "logins/s", Spread::over(rounds, rate), Bar::None);
        let millis = Spread::over(rounds, |round| round.served.percentile(50).as_secs_f64() * 1e3);
        report.spread("realm", &format!("{what}, p50"), "ms", millis, Bar::None);
        report.spread(
            "realm",
            &format!("{what}, Keycloak's CPU"),
            "us/login",
            Spread::over(rounds, Round::cost),
            Bar::None,
        );
    }
    let ratio = Spread::ratio(&all[1], &all[0], rate);
    report.spread(
        "realm",
        "logins on a real Keycloak: through passbridge / itself",
        "ratio",
        ratio,
        Bar::AtLeast(0.95),
    );
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
fn to_realm(passport: &Passport) -> Vec<u8> {
    post(
        "/auth/realms/SSO/protocol/openid-connect/token",
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
