//! Tunnels: what they count as, and that each ends.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::{get, open, plan, until, uuid, web_socket};
use crate::support::tls::{Authority, TlsFront};
use crate::support::{FakeApi, Plan, World, eventually};

const AGREED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";

/// A tunnel through which the API has said hello.
#[track_caller]
fn dug(world: &World, uuid: &str) -> TcpStream {
    let mut stream = open(world);
    let head = format!(
        "GET /api HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer {uuid}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    until(&mut stream, "hello");
    stream
}

#[test]
fn a_tunnel_counts_as_an_open_connection_until_it_ends() {
    let api = web_socket();
    let world = plan(&api, "").set("limits", "connections", "2").start();
    let uuid = uuid(&world);
    let (mut tunnel, _other) = (dug(&world, &uuid), dug(&world, &uuid));
    let mut third = open(&world);
    let _closed = third.write_all(&get("/api", &uuid));
    assert!(!third.read(&mut [0; 16]).is_ok_and(|read| read > 0), "it is turned away");
    tunnel.write_all(b"ping").unwrap();
    until(&mut tunnel, "ping");
    drop(tunnel);
    eventually("its place is free", || {
        let mut next = open(&world);
        let _turned_away = next.write_all(&get("/none", &uuid));
        next.read(&mut [0; 16]).is_ok_and(|read| read > 0)
    });
}

#[test]
fn a_tunnel_to_an_api_that_takes_nothing_more_ends_over_tls_too() {
    let authority = Authority::new();
    let api = FakeApi::start(|mut caller| {
        caller.request();
        caller.say(AGREED);
        // It reads nothing, and lives as long as its test does.
        std::thread::park();
    });
    let front = TlsFront::start(&authority.shown("localhost", None), api.address());
    let route = format!("[{{ prefix = \"/api\", upstream = \"{}\", ca = \"api-ca.pem\" }}]", front.url("localhost"));
    let plan = Plan::new().set("listen", "gateway", "\"127.0.0.1:0\"").set("gateway", "route", &route);
    let mut world = plan.set("gateway", "idle_timeout", "\"300ms\"").files();
    fs::write(world.path().join("api-ca.pem"), &authority.pem).unwrap();
    world.begin();
    let uuid = uuid(&world);
    let mut stream = dug(&world, &uuid);
    stream.set_nonblocking(true).unwrap();
    eventually("both sides are let go", || {
        stream.write(&vec![0; 64 * 1024]).is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
    });
}
