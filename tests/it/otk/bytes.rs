//! Unchanged, both ways, as it is on the wire.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::world;
use crate::support::raw::header;
use crate::support::{FakeOld, OLD_ID, OLD_SECRET, OldMood, PATIENCE, TOKEN, passport, post};

/// A head's lines of one name, values as they are.
fn values<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// Names of a head, in small letters, sorted.
fn names(head: &str) -> Vec<String> {
    let mut names: Vec<String> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    names.sort();
    names
}

#[test]
fn a_request_reaches_the_old_server_as_it_was_sent() {
    let old = FakeOld::start();
    let world = world(&old, "legacy");
    let body = format!(
        "client_id={OLD_ID}&client_secret={OLD_SECRET}&grant_type=passport&odd=%zz&odd=%zz&signature=a+b%2fC==&&="
    );
    let target = format!("{TOKEN}?a=%2F..%2f;x&b='|{{}}&c");
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: old.example.org:8443\r\nContent-Type: application/x-www-form-urlencoded; Charset=utf-8\r\nContent-Length: {}\r\nX-Forwarded-For: 192.0.2.7, 10.0.0.1\r\nCookie: b=2\r\nX-Odd:   two  blanks \r\nCookie: a=1\r\nConnection: keep-alive, X-Own, X-Forwarded-For\r\nX-Own: 1\r\nKeep-Alive: 5\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    let reply = world.connect().ask(&[head.as_bytes(), body.as_bytes()].concat());
    assert_eq!(reply.status, 200, "{}", reply.body);
    let seen = old.last();
    assert_eq!(seen.head.lines().next(), Some(format!("POST {target} HTTP/1.1").as_str()));
    assert_eq!(String::from_utf8_lossy(&seen.body), body);
    assert_eq!(values(&seen.head, "cookie"), ["b=2", "a=1"]);
    assert_eq!(
        values(&seen.head, "x-odd"),
        ["two  blanks"],
        "blanks around a value are none of it (RFC 9112 section 5.1)"
    );
    assert_eq!(values(&seen.head, "x-forwarded-for"), ["192.0.2.7, 10.0.0.1"], "unchanged, so nothing is added");
    assert_eq!(values(&seen.head, "content-type"), ["application/x-www-form-urlencoded; Charset=utf-8"]);
    let expected = ["content-length", "content-type", "cookie", "cookie", "host", "x-forwarded-for", "x-odd"];
    assert_eq!(names(&seen.head), expected, "nothing is added, and only what was for one connection is gone");
    assert_eq!(values(&seen.head, "host"), ["old.example.org:8443"]);
}

#[test]
fn an_answer_comes_back_as_the_old_server_gave_it() {
    let old = FakeOld::start();
    let world = world(&old, "legacy");
    let body = "\u{feff}{ not even JSON \r\n";
    let said = format!(
        "HTTP/1.1 418 Odd\r\nX-Ca-Err: 3003999\r\nSet-Cookie: b=2\r\nContent-Type: text/odd\r\nSet-Cookie: a=1\r\nContent-Encoding: gzip\r\nX-Powered-By: Old\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nConnection: X-Own\r\nX-Own: 1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    old.next(OldMood::Says(said.into_bytes()));
    let reply = world.connect().ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    assert_eq!((reply.status, reply.body.as_str()), (418, body));
    assert_eq!(values(&reply.head, "set-cookie"), ["b=2", "a=1"]);
    assert_eq!(values(&reply.head, "date"), ["Tue, 15 Nov 1994 08:12:31 GMT"]);
    let expected = [
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "set-cookie",
        "set-cookie",
        "x-ca-err",
        "x-powered-by",
    ];
    assert_eq!(names(&reply.head), expected);
}

#[test]
fn old_habits_of_the_old_server_are_no_hindrance() {
    let old = FakeOld::start();
    let world = world(&old, "legacy");
    let many: String = (0..300).map(|number| format!("X-Odd: {number}\r\n")).collect();
    let numbers: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    for (said, heard) in [
        ("X-Odd : 1\r\n", vec!["1"]),
        ("X-Odd: 1\r\n  2\r\n\t3\r\n", vec!["1 2 3"]),
        (many.as_str(), numbers.iter().map(String::as_str).collect()),
    ] {
        old.next(OldMood::Says(format!("HTTP/1.1 200 OK\r\n{said}Content-Length: 2\r\n\r\n{{}}").into_bytes()));
        let reply = world.connect().ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
        assert_eq!((reply.status, reply.body.as_str()), (200, "{}"), "{said}");
        assert_eq!(values(&reply.head, "x-odd"), heard, "{said}");
    }
}

#[test]
fn every_shape_of_an_answer_comes_back() {
    let old = FakeOld::start();
    let world = world(&old, "legacy");
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let to_the_end = b"HTTP/1.0 200 OK\r\n\r\nabcde";
    for mood in [OldMood::Says(chunked.to_vec()), OldMood::SaysAndCloses(to_the_end.to_vec())] {
        old.next(mood);
        let reply = world.connect().ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
        assert_eq!((reply.status, reply.body.as_str()), (200, "abcde"));
    }
    old.next(OldMood::SaysAndCloses(
        b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec(),
    ));
    let mut closing = post(TOKEN, &passport(OLD_ID, OLD_SECRET));
    let at = closing.windows(2).position(|window| window == b"\r\n").unwrap();
    closing.splice(at..at, b"\r\nConnection: close".iter().copied());
    let reply = world.connect().ask(&closing);
    assert_eq!((reply.status, reply.body.as_str()), (401, ""), "an empty refusal of the old server stays empty");
    for own in ["", "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"] {
        let bare = format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{own}", own.len());
        old.next(OldMood::Says(bare.into_bytes()));
        let reply = world.connect().ask(&closing);
        assert_eq!((reply.status, reply.body.as_str()), (400, own), "the old server may speak as hyper does");
    }
    old.next(OldMood::Says(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()));
    let reply = world.connect().ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    assert_eq!((reply.status, header(&reply.head, "content-length")), (204, None));
}

#[test]
fn old_habits_of_clients_are_no_hindrance() {
    let old = FakeOld::start();
    let world = world(&old, "legacy");
    let body = format!("client_id={OLD_ID}&client_secret={OLD_SECRET}&grant_type=passport");
    let ask = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(world.legacy()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let plain = ask(format!("POST {TOKEN} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    assert!(plain.contains(" 200 ") && plain.contains("01d00000-"), "{plain}");
    assert_eq!(
        values(&old.last().head, "host"),
        [old.url().trim_start_matches("http://")],
        "who names no host means this one"
    );
    let chunked = format!(
        "POST {TOKEN} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert!(ask(chunked.as_bytes()).contains("01d00000-"));
    assert_eq!(old.last().body, body.as_bytes(), "whole, with its length");
    assert_eq!(values(&old.last().head, "content-length"), [body.len().to_string()]);
    let absolute = format!(
        "POST http://old.example.org{TOKEN}?x=1 HTTP/1.1\r\nHost: old.example.org\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(ask(absolute.as_bytes()).contains("01d00000-"));
    assert!(old.last().head.starts_with(&format!("POST {TOKEN}?x=1 HTTP/1.1\r\n")));
}

#[test]
fn a_header_that_comes_twice_is_the_old_servers_to_answer() {
    let old = FakeOld::start();
    let world = world(&old, "legacy");
    let request = String::from_utf8(post(TOKEN, &passport(OLD_ID, OLD_SECRET))).unwrap();
    let twice = "\r\nHost: other\r\nContent-Type: text/plain\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n";
    let reply = world.connect().ask(request.replacen("\r\n\r\n", twice, 1).as_bytes());
    assert!(reply.body.contains("01d00000-"), "{}", reply.body);
    let seen = old.last();
    assert_eq!(values(&seen.head, "host"), ["old.example.org", "other"]);
    assert_eq!(values(&seen.head, "content-type"), ["application/x-www-form-urlencoded", "text/plain"]);
    assert_eq!(values(&seen.head, "authorization"), ["a", "b"]);
}

#[test]
fn a_body_in_a_coding_that_cannot_go_on_unchanged_goes_to_nobody() {
    for stage in ["legacy", "shadow", "live"] {
        let old = FakeOld::start();
        let world = world(&old, stage);
        for id in [OLD_ID, "stranger"] {
            let body = format!("client_id={id}&client_secret={OLD_SECRET}&grant_type=passport");
            let head = format!("POST {TOKEN} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n");
            let mut connection = world.connect();
            let reply =
                world.checked(connection.ask(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes()));
            assert_eq!(reply.said(), (400, "invalid_request".to_owned()), "{stage} {id}");
            assert_eq!(reply.header("connection").as_deref(), Some("close"), "{stage} {id}");
            assert!(connection.is_closed(), "{stage} {id}");
        }
        assert_eq!((old.count(), world.realm.count()), (0, 0), "{stage}");
    }
}

#[test]
fn connections_to_the_old_server_are_kept_for_a_while() {
    let old = FakeOld::start();
    let world = world(&old, "legacy");
    let ask = || assert_eq!(world.connect().ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))).status, 200);
    ask();
    ask();
    assert_eq!(old.connections(), 1);
    world.turn(5);
    ask();
    assert_eq!(old.connections(), 2, "one that was idle for long may be about to close");
}

#[test]
fn a_connection_to_an_old_server_that_says_how_long_it_keeps_it_is_used_no_longer() {
    let old = FakeOld::start();
    let world = world(&old, "legacy");
    for (turn, connections) in [(0, 1), (1, 1), (2, 2)] {
        let says = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=3, max=99\r\nContent-Length: 2\r\n\r\n{}";
        old.next(OldMood::Says(says.as_bytes().to_vec()));
        world.turn(turn);
        assert_eq!(world.connect().ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))).status, 200);
        assert_eq!(old.connections(), connections, "a second less than it says");
    }
}
