//! What operators wait for, and what clients feel of it: a large mapping looked up in, checked, and reloaded; `doctor`.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use passbridge::document::Findings;
use passbridge::domain::client::{Credentials, Placement, Presented};
use passbridge::mapping::{self, Guard, GuardLimits, Rate, Snapshot};
use passbridge::secrets::Environment;
use passbridge::server::{SystemClock, SystemEntropy};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Wanted;
use crate::load::{self, Load, Served};
use crate::peers::{self, Bridge, logins};
use crate::process::eventually;
use crate::report::{Bar, Report};
use crate::rounds::Spread;
use crate::site::{NewSecrets, SECRET, Site, VARIABLE, folder, in_memory, legacy_id};
use crate::upstream::{self, whole};

const MANY: usize = 100_000;
const FEW: usize = 10;
const DOCTORED: usize = 1_000;

/// Clients that log in while the mapping is reloaded, and their connections.
const BUSY: usize = 16;

pub fn run(wanted: &Wanted, report: &mut Report) {
    let work = folder();
    look_up(work.path(), wanted, report);
    check(work.path(), wanted, report);
    doctor(work.path(), wanted, report);
}

/// The chapter of reloads alone.
pub fn reloads(wanted: &Wanted, report: &mut Report) {
    let (work, memory) = (folder(), in_memory());
    reload(work.path(), None, wanted, report);
    reload(work.path(), Some(memory.path()), wanted, report);
}

fn site(work: &Path, name: &str, realm: String, clients: usize) -> Site {
    let mut site = Site::new(work, name, realm);
    (site.clients, site.new_secrets) = (clients, NewSecrets::Environment);
    site
}

/// A table of this size, and ten of its clients that have shown their secrets before.
struct Asked {
    snapshot: Snapshot,
    guard: Guard,
    clients: Vec<String>,
}

impl Asked {
    fn of(work: &Path, size: usize) -> Self {
        let site = site(work, &format!("table-{size}"), "http://127.0.0.1:1".to_owned(), size);
        site.write();
        let place = mapping::Place::new(site.folder.join("mappings"));
        let environment = Environment::from_iter([(VARIABLE.to_owned(), "a-new-secret".to_owned())]);
        let loaded = mapping::load(&place, &environment, &Findings::new()).unwrap();
        let rate = Rate { count: u32::MAX, period: Duration::from_secs(60) };
        let limits = GuardLimits { per_client: rate, per_address: rate };
        Self {
            snapshot: Snapshot::new(loaded, &SystemEntropy),
            guard: Guard::new(limits, 1, Arc::new(SystemClock::new())).unwrap(),
            clients: (0..FEW).map(|number| legacy_id(number * size / FEW)).collect(),
        }
    }

    /// Microseconds for each of so many requests.
    fn cost(&self, runtime: &tokio::runtime::Runtime, requests: usize) -> f64 {
        let address = IpAddr::from([127, 0, 0, 1]);
        let presented: Vec<Presented> = self
            .clients
            .iter()
            .map(|id| {
                let reading = Credentials { id: id.clone(), secret: SecretString::from(SECRET) };
                Presented { placement: Placement::Parameters, readings: vec![reading] }
            })
            .collect();
        let begun = Instant::now();
        runtime.block_on(async {
            for number in 0..requests {
                let presented = &presented[number % presented.len()];
                assert!(self.guard.authenticate(&self.snapshot, presented, address).await.is_ok());
            }
        });
        begun.elapsed().as_secs_f64() * 1e6 / requests as f64
    }
}

fn look_up(work: &Path, wanted: &Wanted, report: &mut Report) {
    let (few, many) = (Asked::of(work, FEW), Asked::of(work, MANY));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // The first time each is verified; never again.
    for asked in [&few, &many] {
        asked.cost(&runtime, FEW);
    }
    let (mut costs, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..wanted.rounds(60) {
        let (few, many) = (few.cost(&runtime, 10_000), many.cost(&runtime, 10_000));
        costs.push(many);
        ratios.push(many / few);
    }
    report.spread("ops", "authentication in a table of 100,000 clients", "us", Spread::of(costs), Bar::None);
    report.spread("ops", "authentication: 100,000 clients / 10", "ratio", Spread::of(ratios), Bar::AtMost(1.15));
}

fn check(work: &Path, wanted: &Wanted, report: &mut Report) {
    for (kept, what, bar) in [
        (NewSecrets::Environment, "check of 100,000 clients", Bar::AtMost(2.0)),
        (NewSecrets::Files, "check of 100,000 clients, each with a secret file of its own", Bar::None),
        (NewSecrets::Sealed, "check of 100,000 clients, each with a sealed secret", Bar::None),
    ] {
        let mut site = site(work, "check", "http://127.0.0.1:1/realms/SSO".to_owned(), MANY);
        site.new_secrets = kept;
        site.write();
        let seconds = |_| took(&site, "check");
        report.spread("ops", what, "s", Spread::of((0..wanted.rounds(7)).map(seconds)), bar);
        std::fs::remove_dir_all(&site.folder).unwrap();
    }
}

/// Seconds that a command takes which ends well.
fn took(site: &Site, command: &str) -> f64 {
    let mut program = Command::new(peers::program());
    program.env(VARIABLE, "a-new-secret").arg(command).arg("--config").arg(site.config()).stdin(Stdio::null());
    let begun = Instant::now();
    let output = program.output().unwrap();
    let took = begun.elapsed().as_secs_f64();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    took
}

/// What a reload adds to a login. A disk makes some logins wait for longer than that by itself; where the store lies in `memory`, nothing
/// else does.
fn reload(work: &Path, memory: Option<&Path>, wanted: &Wanted, report: &mut Report) {
    let realm = upstream::realm();
    let (on, folder) = memory.map_or(("", "reload"), |_| (", store in memory", "reload-memory"));
    let mut site = site(work, folder, realm, MANY);
    if let Some(memory) = memory {
        site.store = memory.join("store");
    }
    let bridge = Bridge::start(&site);
    let load = Load { connections: BUSY, ..logins(bridge.legacy, 20_000, BUSY) };
    load::run(&load);
    let (mut calm, mut busy, mut reloads) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..wanted.rounds(15) {
        calm.push(load::run(&load));
        let (served, times) = while_reloading(&bridge, &load);
        busy.push(served);
        reloads.extend(times);
    }
    let mut spread = |name: &str, spread, bar| report.spread("ops", &format!("{name}{on}"), "ms", spread, bar);
    spread("reload of 100,000 clients, from SIGHUP to in use, under load", Spread::of(reloads), Bar::None);
    let figure =
        |of: &[Served], permille| Spread::of(of.iter().map(|served| served.permille(permille).as_secs_f64() * 1e3));
    for (name, permille) in [("p50", 500), ("p99.9", 999), ("longest", 1000)] {
        let name = |when: &str| format!("logins {when} a table of 100,000: {name}");
        spread(&name("with no reload of"), figure(&calm, permille), Bar::None);
        spread(&name("during reloads of"), figure(&busy, permille), Bar::None);
    }
    let pause = calm
        .iter()
        .zip(&busy)
        .map(|(calm, busy)| busy.permille(1000).saturating_sub(calm.permille(1000)).as_secs_f64() * 1e3);
    let name = "pause by reloads: the longest login during them, less that without";
    spread(name, Spread::of(pause), Bar::AtMost(10.0));
}

/// Runs the load while the bridge reloads again and again; how it went, and how long each reload took.
fn while_reloading(bridge: &Bridge, load: &Load) -> (Served, Vec<f64>) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reloading = scope.spawn(|| {
            let mut times = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let before = generation(bridge.ops);
                let begun = Instant::now();
                let sent = Command::new("kill").args(["-HUP", &bridge.process.id().to_string()]).status().unwrap();
                assert!(sent.success());
                eventually("the reload is in use", Duration::from_secs(60), || generation(bridge.ops) > before);
                times.push(begun.elapsed().as_secs_f64() * 1e3);
            }
            times
        });
        let served = load::run(load);
        done.store(true, Ordering::Relaxed);
        (served, reloading.join().unwrap())
    })
}

fn generation(ops: SocketAddr) -> u64 {
    let mut stream = TcpStream::connect(ops).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    body["mappings"]["generation"].as_u64().unwrap_or_default()
}

fn doctor(work: &Path, wanted: &Wanted, report: &mut Report) {
    let realm = healthy();
    let site = site(work, "doctor", format!("http://{realm}/realms/SSO"), DOCTORED);
    site.write();
    let seconds = |_| took(&site, "doctor");
    let seconds = Spread::of((0..wanted.rounds(7)).map(seconds));
    report.spread("ops", "doctor of 1,000 clients before a realm that answers at once", "s", seconds, Bar::None);
}

/// A realm that takes every client and asks for a passport, on a thread of its own.
fn healthy() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let run = async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut buffer, mut filled) = (vec![0; 64 * 1024], 0);
                while let Ok(read @ 1..) = stream.read(&mut buffer[filled..]).await {
                    filled += read;
                    if whole(&buffer[..filled]) {
                        let answer = said(address, &String::from_utf8_lossy(&buffer[..filled]));
                        filled = 0;
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::Builder::new().name("healthy".to_owned()).spawn(move || runtime.block_on(run)).unwrap();
    address
}

fn said(address: SocketAddr, request: &str) -> String {
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, body) = if path.ends_with("openid-configuration") {
        ("200 OK", format!("{{\"issuer\":\"http://{address}/realms/SSO\"}}"))
    } else if path.ends_with("introspect") {
        ("200 OK", "{\"active\":false}".to_owned())
    } else {
        let body = "{\"error\":\"invalid_request\",\"error_description\":\"Missing parameter: certificate\"}";
        ("400 Bad Request", body.to_owned())
    };
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
