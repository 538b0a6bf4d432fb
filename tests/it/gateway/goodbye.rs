//! The end of a connection whose caller has not said everything: closed at once, the kernel would tell him by a reset, and what he has not
//! read by then is lost to him (RFC 9112 section 9.6).

use std::io::{BufRead, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

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
    assert!(heard.starts_with(hears) && heard.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{heard}");
    says_the_rest(stream, rest);
}

/// To whoever has said that it was his last word.
#[track_caller]
fn says_the_rest(mut stream: TcpStream, rest: usize) {
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
    // As Java's client does of itself, and curl with --http2: then hyper leaves the connection's end to whoever would speak it.
    for also in
        ["", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"]
    {
        let head = format!("HTTP/1.1\r\nHost: a\r\n{also}Content-Length: {length}\r\n");
        let begin = format!("POST /api {head}Authorization: Bearer {STRANGER}\r\n\r\n");
        sends_on(open(&world), &begin, length, "HTTP/1.1 401");
        sends_on(
            TcpStream::connect(world.legacy()).unwrap(),
            &format!("POST {TOKEN} {head}\r\n"),
            length,
            "HTTP/1.1 400",
        );
    }
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

/// An API that answers as soon as it has the head, and is gone.
fn early(answer: &'static [u8]) -> FakeApi {
    FakeApi::start(move |mut caller| {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            caller.stream.read_line(&mut head).unwrap();
        }
        caller.say(answer);
    })
}

#[test]
fn whoever_an_api_answers_in_mid_body_may_say_it_to_its_end() {
    let length = 512 * 1024;
    for (answer, is_told) in [
        (&b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\nlong"[..], true),
        (b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nlong", false),
    ] {
        let api = early(answer);
        let world = plan(&api, "").start();
        let mut stream = open(&world);
        let bearer = uuid(&world);
        let head = format!(
            "POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nAuthorization: Bearer {bearer}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let heard = until(&mut stream, "long");
        assert!(heard.starts_with("HTTP/1.1 413"), "{heard}");
        assert_eq!(heard.contains("Connection: close\r\n"), is_told, "{heard}");
        // The API is gone, which is seen once more is sent there.
        stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        eventually("the end is heard", || {
            stream.write_all(b"x").expect("somebody still listens");
            stream.read(&mut [0; 1]).is_ok_and(|read| read == 0)
        });
        says_the_rest(stream, length - 64 * 1024);
    }
}

#[test]
fn a_question_whose_body_is_not_all_there_is_the_last_of_its_connection_and_is_told_so() {
    let world = plan(&FakeApi::good(), "").start();
    let line = format!("Host: a\r\nX-Original-URI: /api\r\nAuthorization: Bearer {}", uuid(&world));
    let ask = |length: usize, body: &str| {
        let stream = TcpStream::connect(world.running().addresses().authz.unwrap()).unwrap();
        (stream, format!("POST / HTTP/1.1\r\n{line}\r\nContent-Length: {length}\r\n\r\n{body}"))
    };
    let (stream, begin) = ask(64 * 1024, "");
    sends_on(stream, &begin, 64 * 1024, "HTTP/1.1 200");
    let (mut stream, whole) = ask(3, "abc");
    for _ in 0..2 {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(whole.as_bytes()).unwrap();
        let heard = until(&mut stream, "\r\n\r\n");
        assert!(heard.starts_with("HTTP/1.1 200") && !heard.contains("close"), "{heard}");
    }
}

/// As clients do that would rather speak another protocol: of the connection's end they are told like everybody else.
#[test]
fn whoever_asked_for_another_protocol_in_vain_hears_a_whole_answer_as_whole() {
    let api = FakeApi::saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n");
    let world = plan(&api, "").start();
    let call = String::from_utf8(get("/api", &uuid(&world))).unwrap();
    let mut stream = open(&world);
    let asking = call.replace("Host: ", "Connection: Upgrade\r\nUpgrade: h2c\r\nHost: ");
    stream.write_all(asking.as_bytes()).unwrap();
    until(&mut stream, "0\r\n\r\n");
    stream.write_all(call.replace("HTTP/1.1", "HTTP/1.0").as_bytes()).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).expect("an end, and no reset");
    assert!(all.ends_with("\r\n\r\ngood"), "{all}");
}
