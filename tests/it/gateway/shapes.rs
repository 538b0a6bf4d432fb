//! Shapes of requests that one server reads otherwise than the next: refused, or sent on as one thing and nothing else.

use std::io::Write;

use super::http2::{ask, getting, on_http2};
use super::{call, connect, get, open, plan, refused, told, until, uuid};
use crate::support::api2::Http2Api;
use crate::support::frames::{self, Frames};
use crate::support::{Connection, FakeApi, World};

/// What a request must not be followed by: it would be answered as another's.
const SMUGGLED: &str = "GET /api/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Sends this, and reads one answer; then the connection is over.
#[track_caller]
fn only_answer(world: &World, bytes: &[u8], what: &str) -> u16 {
    let mut connection = connect(world);
    connection.write(bytes);
    let reply = connection.reply().unwrap_or_else(|| panic!("{what}: no answer"));
    if reply.status != 200 {
        assert_eq!(refused(&reply), told(400, "invalid_request", "3003103"), "{what}");
    }
    assert!(connection.is_closed(), "{what}: one answer and no more");
    reply.status
}

#[test]
fn a_body_whose_end_is_in_doubt_ends_the_connection_and_what_follows_is_nobodys_request() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let token = format!("Host: a\r\nAuthorization: Bearer {}\r\n", uuid(&world));
    for framing in [
        "Content-Length: 3, 3",
        "Content-Length: 3\r\nContent-Length: 0",
        "Content-Length: 0x3",
        "Content-Length: 3 3",
        "Content-Length: -3",
        "Content-Length: \"3\"",
        "Content-Length: 18446744073709551619",
        "Content-Length: 3;",
        "Content-Length:\u{b}3",
        "Content-Length\t: 3",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity",
        // The API would hear of neither, for chunks are all that it is told of.
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding:\u{b}chunked",
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "X: a\rTransfer-Encoding: chunked",
        "Transfer\u{0}-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
    ] {
        let request = format!("POST /api HTTP/1.1\r\n{token}{framing}\r\n\r\n0\r\n\r\n{SMUGGLED}");
        assert_eq!(only_answer(&world, request.as_bytes(), framing), 400, "{framing:?}");
    }
    assert!(api.seen().is_empty(), "{:?}", api.seen());
}

#[test]
fn a_coding_that_http_1_0_does_not_have_is_no_body_and_no_second_request() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let token = format!("Host: a\r\nAuthorization: Bearer {}\r\n", uuid(&world));
    let request = format!("POST /api HTTP/1.0\r\n{token}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}");
    assert_eq!(only_answer(&world, request.as_bytes(), "HTTP/1.0"), 400);
    assert!(api.seen().is_empty(), "{:?}", api.seen());
}

#[test]
fn chunks_that_are_none_end_the_connection() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let token = format!("Host: a\r\nAuthorization: Bearer {}\r\n", uuid(&world));
    let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(64 * 1024));
    let flood = format!("0\r\n{}\r\n", (0..5_000).map(|number| format!("X-{number}: 1\r\n")).collect::<String>());
    for chunks in [
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "3_0\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "3\rabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "3;a=\"\nb\"\r\nabc\r\n0\r\n\r\n",
        "0\r\nX : 1\r\n\r\n",
        &long,
        &flood,
    ] {
        let request = format!("POST /api HTTP/1.1\r\n{token}Transfer-Encoding: chunked\r\n\r\n{chunks}{SMUGGLED}");
        assert_eq!(only_answer(&world, request.as_bytes(), &chunks[..chunks.len().min(20)]), 400);
    }
    assert!(api.seen().iter().all(|seen| !seen.head.contains("smuggled")), "{:?}", api.seen());
}

#[test]
fn extensions_of_chunks_go_no_further_and_are_bounded_over_all_chunks() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let token = format!("Host: a\r\nAuthorization: Bearer {}\r\n", uuid(&world));
    let head = format!("POST /api HTTP/1.1\r\n{token}Transfer-Encoding: chunked\r\n\r\n");
    let mut connection = connect(&world);
    let chunks = "1;a=b\r\na\r\n2 ;c\r\nbc\r\n0;last\r\n\r\n";
    assert_eq!(connection.ask(format!("{head}{chunks}").as_bytes()).body, "good");
    let sent = String::from_utf8(api.only().body).unwrap();
    assert!(!sent.contains([';', '=', ' ']) && sent.ends_with("0\r\n\r\n"), "framed anew: {sent}");
    // Many small ones: each is short, and all of them are more than anybody needs, or listens to behind the refusal.
    let world = plan(&api, "").set("gateway", "body", "1024").start();
    let mut stream = open(&world);
    let chunk = format!("1;{}\r\na\r\n", "x".repeat(1_000));
    stream.write_all(head.as_bytes()).unwrap();
    let sent = (0..10_000).take_while(|_| stream.write_all(chunk.as_bytes()).is_ok()).count();
    assert!(sent < 10_000, "somebody reads extensions without an end");
}

#[test]
fn a_body_where_none_is_usual_is_a_body_and_not_the_next_request() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    for method in ["GET", "DELETE", "OPTIONS", "PROPFIND"] {
        let mut connection = connect(&world);
        let request = format!(
            "{method} /api/{method} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {uuid}\r\nContent-Length: {}\r\n\r\n{SMUGGLED}",
            SMUGGLED.len()
        );
        assert_eq!(connection.ask(request.as_bytes()).body, "good", "{method}");
        assert_eq!(connection.ask(&get("/api/next", &uuid)).body, "good", "{method}");
    }
    let seen = api.seen();
    assert_eq!(seen.len(), 8);
    for (index, seen) in seen.iter().enumerate() {
        let body = if index % 2 == 0 { SMUGGLED } else { "" };
        assert_eq!(String::from_utf8_lossy(&seen.body), body, "{}", seen.head);
    }
}

#[test]
fn targets_that_are_no_path_reach_no_api() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let (uuid, mut wrong) = (uuid(&world), Vec::new());
    for (line, status) in [
        ("OPTIONS * HTTP/1.1", 400),
        ("CONNECT internal.example.org:443 HTTP/1.1", 405),
        ("GET api HTTP/1.1", 400),
        ("GET /api\\..\\x HTTP/1.1", 400),
        ("GET http:///api HTTP/1.1", 400),
        ("GET ftp://a/api HTTP/1.1", 400),
        ("GET /api HTTP/1.1 HTTP/1.1", 400),
        ("GET  /api HTTP/1.1", 400),
        ("GET\t/api HTTP/1.1", 400),
        ("GET /api\u{7f} HTTP/1.1", 400),
        ("G\u{e4}T /api HTTP/1.1", 400),
        // docs/adr/0010.
        ("GET /api?q=\"a\" HTTP/1.1", 400),
        ("GET /api?q=<a> HTTP/1.1", 400),
        ("GET /api HTTP/2.0", 400),
        ("GET /api HTTP/0.9", 400),
        ("GET /api http/1.1", 400),
    ] {
        let mut connection = connect(&world);
        let request = format!("{line}\r\nHost: a\r\nAuthorization: Bearer {uuid}\r\n\r\n");
        let reply = connection.ask(request.as_bytes());
        if reply.header("x-ca-err").is_none() || reply.status != status {
            wrong.push((line, reply));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(api.seen().is_empty(), "{:?}", api.seen());
}

#[test]
fn a_target_without_a_path_goes_on_as_the_root() {
    let (old, new) = (FakeApi::good(), Http2Api::start());
    let world = super::routes(&format!(
        "{{ prefix = \"/\", upstream = \"{}\" }}, {{ prefix = \"/\", host = \"new.example.org\", upstream = \"{}\", http2 = true }}",
        old.url(),
        new.url("http", "127.0.0.1")
    ))
    .start();
    let uuid = uuid(&world);
    for host in ["old.example.org", "new.example.org"] {
        for target in ["?x=1", "?", "?/../a", "", "/?x=1"] {
            let reply = call(&world, &get(&format!("http://{host}{target}"), &uuid));
            assert_eq!(reply.status, 200, "{host}{target}: {}", reply.head);
        }
    }
    let options = format!("OPTIONS http://old.example.org HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {uuid}\r\n\r\n");
    assert_eq!(call(&world, options.as_bytes()).status, 200, "docs/adr/0010");
    // What HTTP/2 forbids (RFC 9113 section 8.3.1) is heard, and goes no further.
    let answer = on_http2(&world, async |mut sender| ask(&mut sender, getting("?x=1", &uuid)).await);
    assert_eq!(answer.status, 200);
    let lines: Vec<_> = old.seen().iter().map(|seen| seen.head.lines().next().unwrap().to_owned()).collect();
    let paths: Vec<_> = new.seen().iter().map(|seen| seen.uri.path_and_query().unwrap().as_str().to_owned()).collect();
    let told = ["GET /?x=1", "GET /?", "GET /?/../a", "GET /", "GET /?x=1", "OPTIONS /", "GET /?x=1"];
    let told = told.map(|line| format!("{line} HTTP/1.1"));
    assert_eq!(
        (lines.as_slice(), paths),
        (&told[..], ["/?x=1", "/?", "/?/../a", "/", "/?x=1"].map(str::to_owned).to_vec())
    );
}

#[test]
fn a_fragment_goes_no_further() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    for target in ["/api/a#/../../b", "/api/a?b#c?d"] {
        assert_eq!(call(&world, &get(target, &uuid)).body, "good");
    }
    let (address, bearer) = (world.running().addresses().gateway.unwrap(), format!("Bearer {uuid}"));
    let head = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/api/a#b")];
    let head = frames::head(&[&head[..], &[("authorization", &bearer)]].concat());
    let mut frames = Frames::open(address);
    frames.send(frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, 1, &head);
    frames.until(frames::HEADERS).expect("an answer");
    let lines: Vec<_> = api.seen().iter().map(|seen| seen.head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(lines, ["GET /api/a HTTP/1.1", "GET /api/a?b HTTP/1.1", "GET /api/a HTTP/1.1"]);
}

#[test]
fn hosts_that_are_none_are_refused() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    for host in ["a b", "a/b", "user@a", "a, b", "a:b", "a#b", "a?b", "http://a", "[::1", "a\u{1}b"] {
        let request = format!("GET /api HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {uuid}\r\n\r\n");
        let reply = Connection::open(world.running().addresses().gateway.unwrap()).ask(request.as_bytes());
        assert_eq!(refused(&reply), told(400, "invalid_request", "3003103"), "{host:?}");
    }
    assert!(api.seen().is_empty(), "{:?}", api.seen());
}

#[test]
fn trailers_cannot_say_what_a_head_would_decide() {
    let (old, new) = (FakeApi::good(), Http2Api::start());
    let world = super::routes(&format!(
        "{{ prefix = \"/api\", upstream = \"{}\" }}, {{ prefix = \"/new\", upstream = \"{}\", http2 = true }}",
        old.url(),
        new.url("http", "127.0.0.1")
    ))
    .start();
    let uuid = uuid(&world);
    let names = ["Authorization", "Host", "Content-Length", "Transfer-Encoding", "X-Forwarded-For", "Cookie", "X-Mark"];
    let trailers: String = names.iter().map(|name| format!("{name}: {uuid}\r\n")).collect();
    for path in ["/api", "/new"] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {uuid}\r\nTE: trailers\r\n");
        let told = format!("Trailer: {}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", names.join(", "));
        let mut stream = open(&world);
        stream.write_all(format!("{head}{told}{trailers}\r\n").as_bytes()).unwrap();
        until(&mut stream, "good");
    }
    let sent = String::from_utf8(old.only().body).unwrap().to_ascii_lowercase();
    assert!(sent.ends_with(&format!("0\r\nx-mark: {uuid}\r\n\r\n")), "{sent}");
    let seen = new.seen().remove(0);
    assert_eq!(seen.trailers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["x-mark"]);
}
