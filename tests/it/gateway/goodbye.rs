//! The end of a connection whose caller has not said everything: closed at once, the kernel would tell him by a reset, and what he has not
//! read by then is lost to him (RFC 9112 section 9.6).

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::{get, open, plan, routes, until, uuid};
use crate::support::{FakeApi, PATIENCE, TOKEN, eventually};

const STRANGER: &str = "00000000-0000-4000-8000-000000000000";

/// Begins to send this, hears the refusal and the end behind it, and only then sends the rest; as a client does that reads nothing until
/// it has said everything.
#[track_caller]
fn sends_on(mut stream: TcpStream, begin: &str, rest: usize, hears: &str) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(begin.as_bytes()).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert!(heard.starts_with(hears), "{heard}");
    for _ in 0..rest / 1024 {
        stream.write_all(&[b'x'; 1024]).expect("somebody still listens");
    }
    stream.shutdown(Shutdown::Write).expect("nobody has reset the connection");
    assert_eq!(stream.read(&mut [0; 1]).expect("nor now"), 0);
}

#[test]
fn whoever_is_refused_in_mid_body_may_say_it_to_its_end() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let length = 512 * 1024;
    let begin = format!(
        "POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nAuthorization: Bearer {STRANGER}\r\n\r\n"
    );
    sends_on(open(&world), &begin, length, "HTTP/1.1 401");
    let begin = format!("POST {TOKEN} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    sends_on(TcpStream::connect(world.legacy()).unwrap(), &begin, length, "HTTP/1.1 400");
    for stream in [open(&world), TcpStream::connect(world.legacy()).unwrap()] {
        sends_on(stream, "GET /no http at all\r\n", length, "HTTP/1.1 400");
    }
    assert!(api.seen().is_empty());
}

#[test]
fn whoever_does_not_say_it_to_its_end_is_not_waited_for() {
    let api = FakeApi::good();
    let route = format!("{{ prefix = \"/api\", upstream = \"{}\" }}", api.url());
    let plan = routes(&route).set("gateway", "idle_timeout", "\"300ms\"").set("limits", "connections", "2");
    let world = plan.start();
    let uuid = uuid(&world);
    let mut silent = open(&world);
    let head =
        format!("POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nAuthorization: Bearer {STRANGER}\r\n\r\n");
    silent.write_all(head.as_bytes()).unwrap();
    until(&mut silent, "invalid_token");
    let mut other = open(&world);
    other.write_all(&get("/api", &uuid)).unwrap();
    until(&mut other, "good");
    // A third one takes the place of the first.
    eventually("its place is free", || {
        let mut third = open(&world);
        let _turned_away = third.write_all(&get("/api", &uuid));
        third.read(&mut [0; 16]).is_ok_and(|read| read > 0)
    });
}
