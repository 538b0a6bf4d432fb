//! Shapes by which one request might be taken for two, or for another.

use std::io::{Read, Write};

use super::{call, connect, get, open, plan, refused, told, uuid};
use crate::support::{FakeApi, eventually};

#[test]
fn what_is_no_clear_http_never_reaches_the_api() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let token = format!("Authorization: Bearer {}\r\n", uuid(&world));
    for (what, request) in [
        (
            "lengths that conflict",
            format!("POST /api HTTP/1.1\r\nHost: a\r\n{token}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        ),
        ("a length that is none", format!("POST /api HTTP/1.1\r\nHost: a\r\n{token}Content-Length: +3\r\n\r\nabc")),
        ("a folded line", format!("GET /api HTTP/1.1\r\nHost: a\r\n{token}X-A: b\r\n c\r\n\r\n")),
        ("a blank before the colon", format!("GET /api HTTP/1.1\r\nHost: a\r\n{token}X-A : b\r\n\r\n")),
        ("two hosts", format!("GET /api HTTP/1.1\r\nHost: a\r\nHost: b\r\n{token}\r\n")),
        ("no host", format!("GET /api HTTP/1.1\r\n{token}\r\n")),
        ("two tokens", format!("GET /api HTTP/1.1\r\nHost: a\r\n{token}{token}\r\n")),
        (
            "a coding that is not the last",
            format!("POST /api HTTP/1.1\r\nHost: a\r\n{token}Transfer-Encoding: chunked, gzip\r\n\r\n"),
        ),
    ] {
        assert_eq!(call(&world, request.as_bytes()).status, 400, "{what}");
    }
    assert!(api.seen().is_empty(), "{:?}", api.seen());
}

#[test]
fn two_lengths_are_one_body_and_the_end_of_the_connection() {
    for lengths in
        ["Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"]
    {
        let api = FakeApi::good();
        let world = plan(&api, "").start();
        let request = format!(
            "POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n{lengths}\r\n\
             3;ext=1\r\nabc\r\n0\r\n\r\nGET /api/smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
            uuid(&world)
        );
        let mut connection = connect(&world);
        let reply = connection.ask(request.as_bytes());
        assert_eq!((reply.status, reply.header("connection").as_deref()), (200, Some("close")));
        assert!(connection.is_closed());
        let seen = api.only();
        assert_eq!(
            (seen.header("content-length"), seen.header("transfer-encoding").as_deref()),
            (None, Some("chunked"))
        );
        assert_eq!(seen.body, b"3\r\nabc\r\n0\r\n\r\n", "framed anew");
    }
}

#[test]
fn the_targets_own_host_counts() {
    let api = FakeApi::good();
    let world = plan(&api, ", host = \"api.example.org\"").start();
    let uuid = uuid(&world);
    let target = |host: &str| {
        let head = format!("GET http://{host}/api HTTP/1.1\r\nHost: other\r\nAuthorization: Bearer {uuid}\r\n\r\n");
        call(&world, head.as_bytes()).status
    };
    assert_eq!((target("api.example.org:8081"), target("evil.example.org")), (200, 404));
    let seen = api.only();
    assert!(seen.head.starts_with("GET /api HTTP/1.1\r\n"), "{}", seen.head);
    assert_eq!(seen.header("host").as_deref(), Some("api.example.org:8081"));
}

#[test]
fn nothing_reflects_the_jwt() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let get = String::from_utf8(get("/api", &uuid(&world))).unwrap();
    // Methods are of their very letters (RFC 9110 section 9.1), and not to every server.
    for method in ["TRACE", "trace", "Trace", "connect"] {
        let call = call(&world, get.replace("GET", method).as_bytes());
        assert_eq!(refused(&call), told(405, "invalid_request", "3003103"), "{method}");
    }
    assert!(api.seen().is_empty());
}

#[test]
fn a_body_beyond_the_bound_is_refused() {
    let api = FakeApi::good();
    let world = plan(&api, "").set("gateway", "body", "1024").start();
    let uuid = uuid(&world);
    let head = format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {uuid}\r\n");
    let long = call(&world, format!("{head}Content-Length: 1025\r\n\r\n").as_bytes());
    assert_eq!(refused(&long), told(400, "invalid_request", "3003103"));
    assert!(api.seen().is_empty());
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025));
    assert_eq!(refused(&call(&world, chunked.as_bytes())), told(400, "invalid_request", "3003103"));
    eventually("the API is let go", || api.seen().is_empty());
}

#[test]
fn a_sender_that_stops_in_the_middle_is_given_up() {
    let api = FakeApi::good();
    let world = plan(&api, "").set("gateway", "idle_timeout", "\"200ms\"").start();
    let head = format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", uuid(&world));
    let reply = call(&world, format!("{head}Content-Length: 10\r\n\r\nabc").as_bytes());
    assert_eq!(refused(&reply), told(400, "invalid_request", "3003103"));
    assert!(api.seen().is_empty());
}

/// RFC 9112 section 2.2 lets a mere LF be a line's end. Where it is the empty line behind the chunks, hyper reads on for a while.
#[test]
fn a_request_behind_chunks_that_end_in_a_mere_line_feed_is_not_swallowed() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let token = format!("Host: a\r\nAuthorization: Bearer {}\r\n", uuid(&world));
    let post = format!("POST /api HTTP/1.1\r\n{token}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n");
    let mut connection = connect(&world);
    connection.write(format!("{post}\nGET /api/next HTTP/1.1\r\n{token}\r\n").as_bytes());
    assert_eq!(refused(&connection.reply().unwrap()), told(400, "invalid_request", "3003103"));
    assert!(connection.is_closed(), "so that whoever sent the next one knows");
    assert!(api.seen().is_empty());
    let trailers = connect(&world).ask(format!("{post}X-Sum: 1\r\n\r\n").as_bytes());
    assert_eq!(trailers.status, 200);
}

/// A client library that reads when it has sent everything, as most do, logs in again only where it hears 990 (CONTRACT section 3).
#[test]
fn whoever_uploads_more_than_a_connection_holds_hears_that_its_login_is_over() {
    let world = plan(&FakeApi::good(), "").start();
    let uuid = uuid(&world);
    world.turn(3600);
    let mut stream = open(&world);
    let (head, body) = (String::from_utf8(get("/api", &uuid)).unwrap(), vec![b'x'; 20 << 20]);
    let head = head.replacen("GET", "POST", 1).replacen("\r\n", "\r\nContent-Length: 20971520\r\n", 1);
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body).expect("all of it is taken");
    let mut heard = String::new();
    stream.read_to_string(&mut heard).expect("no reset takes the answer away");
    assert!(heard.starts_with("HTTP/1.1 401 ") && heard.to_lowercase().contains("x-ca-err: 3003990"), "{heard}");
}

#[test]
fn whoever_goes_on_and_on_behind_a_refusal_is_not_listened_to_for_ever() {
    let plan = plan(&FakeApi::good(), "").set("gateway", "body", "1024");
    let head = b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n\r\n";
    let a_flood = plan.clone().start();
    let mut stream = open(&a_flood);
    stream.write_all(head).unwrap();
    while stream.write_all(&[b'x'; 8 << 10]).is_ok() {}
    let a_trickle = plan.set("gateway", "idle_timeout", "\"300ms\"").start();
    let mut stream = open(&a_trickle);
    stream.write_all(head).unwrap();
    eventually("who never falls silent is cut off", || stream.write_all(b"x").is_err());
}
