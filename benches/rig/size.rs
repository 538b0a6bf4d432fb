//! What the bridge takes while it does nothing: memory, and the time until it is ready.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Wanted;
use crate::load;
use crate::peers::{AccessLog, Bridge, Nginx, logins};
use crate::process::Process;
use crate::report::{Bar, Report};
use crate::rounds::Spread;
use crate::site::{Site, folder};
use crate::upstream;

const MAPPINGS: usize = 10_000;
const IDLE: usize = 2_000;
const NOTHING: &[u8] = b"GET /nothing HTTP/1.1\r\nHost: legacy.example\r\n\r\n";
const MIB: f64 = 1024.0 * 1024.0;

pub fn run(wanted: &Wanted, report: &mut Report) {
    let work = folder();
    let realm = upstream::start();
    let url = format!("http://{realm}/auth/realms/SSO");
    let site = |name: &str, clients: usize| {
        let mut site = Site::new(work.path(), name, url.clone());
        site.clients = clients;
        site
    };
    let starts = (0..wanted.rounds(7)).map(|n| Bridge::start(&site(&format!("start-{n}"), MAPPINGS)));
    let mut resident = Vec::new();
    let starts = Spread::of(starts.map(|bridge| {
        // Idle is what it holds once the allocator has given back what loading took.
        std::thread::sleep(Duration::from_secs(3));
        resident.push(bridge.process.resident() as f64 / MIB);
        bridge.start.as_secs_f64() * 1e3
    }));
    report.spread(
        "size",
        "start to ready, 10,000 mappings, each with a file of its own",
        "ms",
        starts,
        Bar::AtMost(300.0),
    );
    report.spread("size", "memory of a fresh bridge, 10,000 mappings", "MiB", Spread::of(resident), Bar::AtMost(30.0));

    let bridge = Bridge::start(&site("memory", 100));
    let resident = |process: &Process| process.resident() as f64 / MIB;
    report.once("size", "memory of a fresh bridge, 100 mappings", "MiB", resident(&bridge.process), Bar::AtMost(30.0));
    load::run(&logins(bridge.legacy, 100_000, 100));
    std::thread::sleep(Duration::from_secs(3));
    let after = resident(&bridge.process);
    report.once("size", "memory after 100,000 logins, cache and all", "MiB", after, Bar::None);

    let nginx = Nginx::start(&work.path().join("nginx"), realm, AccessLog::Off);
    let fresh = Bridge::start(&site("idle", 100));
    for (name, process, address, bar) in [
        ("nginx", &nginx.process, nginx.address, Bar::None),
        ("passbridge", &fresh.process, fresh.legacy, Bar::AtMost(24.0)),
    ] {
        let each = of_idle(process, address, NOTHING, IDLE);
        report.once("size", &format!("memory of an idle connection: {name}"), "KiB", each, bar);
    }
}

/// What a connection that is idle takes, in KiB.
pub fn of_idle(process: &Process, address: SocketAddr, message: &[u8], count: usize) -> f64 {
    // What was taken once for all is not a connection's.
    drop(idle(address, message, 64));
    let before = process.resident();
    let connections = idle(address, message, count);
    process.resident().saturating_sub(before) as f64 / 1024.0 / connections.len() as f64
}

/// Connections that were asked once and are idle now.
fn idle(to: SocketAddr, message: &[u8], count: usize) -> Vec<TcpStream> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(message).unwrap();
        let mut buffer = [0; 4096];
        assert!(stream.read(&mut buffer).unwrap() > 0);
        connections.push(stream);
    }
    std::thread::sleep(Duration::from_millis(300));
    connections
}
