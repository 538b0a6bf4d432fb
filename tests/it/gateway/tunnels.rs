//! Tunnels: what they count as, and that each ends.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::sync::Notify;

use super::{get, open, plan, until, uuid, web_socket};
use crate::support::tls::{Authority, TlsFront};
use crate::support::{FakeApi, PATIENCE, Plan, World, block_on, eventually};

const AGREED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";

/// A tunnel through which the API has said hello.
#[track_caller]
fn dug(world: &World, uuid: &str) -> TcpStream {
    dug_at(world, uuid, "/api")
}

#[track_caller]
fn dug_at(world: &World, uuid: &str, path: &str) -> TcpStream {
    let mut stream = open(world);
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer {uuid}\r\n\r\n"
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

/// An API that agrees, and breaks its connection off when it has read four bytes.
fn breaking_off() -> FakeApi {
    FakeApi::start(|mut caller| {
        caller.request();
        caller.say(AGREED);
        caller.stream.read_exact(&mut [0; 4]).unwrap();
        SockRef::from(caller.stream.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    })
}

/// How a connection ends from which nothing more comes.
#[track_caller]
fn end(stream: &mut TcpStream) -> Result<usize, ErrorKind> {
    stream.read(&mut [0; 16]).map_err(|error| error.kind())
}

/// Whoever reads to the end would take for whole what is not.
#[test]
fn a_tunnel_that_one_side_breaks_off_is_broken_off_for_the_other_and_one_that_ends_has_an_end() {
    let cut = breaking_off();
    let world = plan(&cut, "").start();
    let mut tunnel = dug(&world, &uuid(&world));
    tunnel.write_all(b"ping").unwrap();
    assert_eq!(end(&mut tunnel), Err(ErrorKind::ConnectionReset), "by the API");

    let whole = web_socket();
    let world = plan(&whole, "").start();
    let mut tunnel = dug(&world, &uuid(&world));
    tunnel.write_all(b"ping").unwrap();
    until(&mut tunnel, "ping");
    assert_eq!(end(&mut tunnel), Ok(0), "its end");

    let (say, heard) = channel();
    let say = Mutex::new(say);
    let listening = FakeApi::start(move |mut caller| {
        caller.request();
        caller.say(AGREED);
        say.lock().send(end(caller.stream.get_mut())).unwrap();
    });
    let mut world = plan(&listening, "").start();
    let uuid = uuid(&world);
    let tunnel = dug(&world, &uuid);
    SockRef::from(&tunnel).set_linger(Some(Duration::ZERO)).unwrap();
    drop(tunnel);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Err(ErrorKind::ConnectionReset), "by the client");
    drop(dug(&world, &uuid));
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Ok(0), "his end");
    let mut tunnel = dug(&world, &uuid);
    world.end();
    assert_eq!((end(&mut tunnel), heard.recv_timeout(PATIENCE).unwrap()), (Ok(0), Ok(0)), "a drain");
}

/// What is lost of a message is not to look like its end.
#[test]
fn a_tunnel_whose_client_takes_nothing_more_is_broken_off_and_not_ended() {
    let (say, is_over) = channel();
    let say = Mutex::new(say);
    let api = FakeApi::start(move |mut caller| {
        caller.request();
        caller.say(AGREED);
        while caller.stream.get_mut().write_all(&vec![0; 64 * 1024]).is_ok() {}
        say.lock().send(()).unwrap();
    });
    let world = plan(&api, "").set("gateway", "idle_timeout", "\"300ms\"").start();
    let mut tunnel = dug(&world, &uuid(&world));
    is_over.recv_timeout(PATIENCE).expect("the API is let go");
    let mut read = Vec::new();
    let end = tunnel.read_to_end(&mut read).map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset), "behind {} bytes", read.len());
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

/// Speaks until nothing more is taken, or the connection has gone.
fn fill(stream: &mut TcpStream) {
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let piece = vec![7; 64 * 1024];
    while stream.write(&piece).is_ok() {}
}

/// Reads to the end, and answers how that is.
#[track_caller]
fn last(stream: &mut TcpStream) -> Result<u64, ErrorKind> {
    std::io::copy(stream, &mut std::io::sink()).map_err(|error| error.kind())
}

/// Two tunnels that are full, one to the API and one from it, whose far sides read on only when they are told to; and how they end.
#[track_caller]
fn full_ones(idle: &str, end: impl FnOnce(&mut World)) {
    let (say, heard) = channel();
    let (full, read_on) = (Mutex::new(say), Arc::new(Notify::new()));
    let reads_on = Arc::clone(&read_on);
    let api = FakeApi::start(move |mut caller| {
        let speaks = caller.request().is_some_and(|seen| seen.head.contains("/speaks "));
        caller.say(AGREED);
        if speaks {
            fill(caller.stream.get_mut());
            full.lock().send(None).unwrap();
        } else {
            block_on(reads_on.notified());
            full.lock().send(Some(last(caller.stream.get_mut()))).unwrap();
        }
    });
    let mut world = plan(&api, "").set("gateway", "idle_timeout", idle).start();
    let uuid = uuid(&world);
    let mut listens = dug_at(&world, &uuid, "/api/speaks");
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), None);
    let mut speaks = dug(&world, &uuid);
    fill(&mut speaks);
    end(&mut world);
    assert_eq!(last(&mut listens), Err(ErrorKind::ConnectionReset), "what the client hears");
    read_on.notify_one();
    let cut = Some(Err(ErrorKind::ConnectionReset));
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), cut, "what the API hears");
}

#[test]
fn a_tunnel_that_is_cut_while_something_is_on_its_way_does_not_end_in_order() {
    full_ones("\"300ms\"", |_| {});
    full_ones("\"60s\"", World::end);
}
