//! UUIDs that the bridge does not know, while the old API lives.

use std::fs;
use std::io::Write;
use std::sync::mpsc::channel;

use http::Request;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use passbridge::domain::opaque::{OpaqueToken, TokenUse};

use super::http2::{ask, on_http2};
use super::{call, connect, get, nowhere, open, plan, refused, told, until, uuid};
use crate::support::frames::{CANCEL, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM};
use crate::support::tls::{Authority, TlsFront};
use crate::support::world::REVOKE;
use crate::support::{Connection, FakeApi, Look, OLD_ID, OLD_SECRET, PATIENCE, Plan, World, eventually, post};

/// A token of the old server.
const OLDS: &str = "01d00000-0000-4000-8000-000000000001";
const ANSWER: &[u8] =
    b"HTTP/1.1 299 Very Old\r\nX-B: 2\r\nX-A: 1\r\nX-B: 1\r\nVia: 1.0 old\r\nConnection: keep-alive, X-Hop\r\n\
    X-Hop: 1\r\nContent-Length: 3\r\n\r\nold";

/// A gateway to a new API below `/api`, and to an old one.
fn with_old(api: &FakeApi, old: &str) -> Plan {
    plan(api, "").set("otk", "url", "\"http://127.0.0.1:1\"").set("otk", "api", &format!("\"{old}\""))
}

fn between(api: &FakeApi, old: &FakeApi) -> World {
    let world = with_old(api, &old.url()).start();
    world.plant_text(OLDS);
    world
}

/// The lines of a head in small letters, but for the first.
fn lines(head: &str) -> Vec<String> {
    let small = |line: &str| line.split_once(": ").map(|(name, value)| format!("{}: {value}", name.to_lowercase()));
    head.lines().skip(1).filter_map(small).collect()
}

#[test]
fn a_uuid_that_nobody_here_knows_goes_to_the_old_api_unchanged_and_so_does_the_answer_come_back() {
    let (api, old) = (FakeApi::good(), FakeApi::saying(ANSWER));
    let world = between(&api, &old);
    let sent = format!(
        "PATCH //old/./a%2fb/..;x?q=%41&&+ HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1\r\nHost: Old.example.org\r\n\
         Cookie: b=2\r\nAuthorization: bearer {OLDS}\r\nCookie: a=1\r\nForwarded: for=x\r\nX-Hop: 1\r\n\
         Connection: keep-alive, x-hop\r\nContent-Length: 4\r\n\r\na\0\r\n"
    );
    let reply = call(&world, sent.as_bytes());
    let seen = old.only();
    assert!(seen.head.starts_with("PATCH //old/./a%2fb/..;x?q=%41&&+ HTTP/1.1\r\n"), "{}", seen.head);
    let mut heard = lines(&seen.head);
    heard.sort();
    let mut expected = [
        format!("authorization: bearer {OLDS}"),
        "content-length: 4".to_owned(),
        "cookie: a=1".to_owned(),
        "cookie: b=2".to_owned(),
        "forwarded: for=x".to_owned(),
        "host: Old.example.org".to_owned(),
        "x-forwarded-for: 192.0.2.1".to_owned(),
    ];
    expected.sort();
    assert_eq!(heard, expected, "nothing is added, and only what is meant for one connection is missing");
    let cookies: Vec<_> = lines(&seen.head).into_iter().filter(|line| line.starts_with("cookie")).collect();
    assert_eq!(cookies, ["cookie: b=2", "cookie: a=1"], "equal names keep their order");
    assert_eq!(seen.body, b"a\0\r\n");
    assert!(reply.head.starts_with("HTTP/1.1 299 Very Old\r\n"), "{}", reply.head);
    let answered: Vec<_> = lines(&reply.head).into_iter().filter(|line| !line.starts_with("date: ")).collect();
    let equals: Vec<_> = answered.iter().filter(|line| line.starts_with("x-b")).collect();
    assert_eq!(equals, ["x-b: 2", "x-b: 1"]);
    let mut answered = answered;
    answered.sort();
    assert_eq!(answered, ["content-length: 3", "via: 1.0 old", "x-a: 1", "x-b: 1", "x-b: 2"]);
    assert_eq!(reply.body, "old");
    assert!(api.seen().is_empty(), "though its path is no route's");
}

#[test]
fn a_target_without_a_path_reaches_the_old_api_as_the_root() {
    let old = FakeApi::saying(ANSWER);
    let world = between(&FakeApi::good(), &old);
    assert_eq!(call(&world, &get("http://old.example.org?c=a", OLDS)).body, "old");
    assert!(old.only().head.starts_with("GET /?c=a HTTP/1.1\r\nHost: old.example.org\r\n"), "{}", old.only().head);
}

#[test]
fn the_old_api_is_asked_below_a_route_too_and_its_refusal_is_the_answer() {
    let (api, old) = (
        FakeApi::good(),
        FakeApi::saying(b"HTTP/1.1 401 Unauthorized\r\nX-Ca-Err: 3003990\r\nContent-Length: 0\r\n\r\n"),
    );
    let world = between(&api, &old);
    let mut connection = connect(&world);
    for _ in 0..2 {
        let reply = connection.ask(&get("/api/x", OLDS));
        assert_eq!((reply.status, reply.header("x-ca-err").as_deref()), (401, Some("3003990")));
    }
    assert_eq!(
        (old.seen().len(), old.connections(), api.seen().len()),
        (2, 1, 0),
        "asked once each, on one connection"
    );
}

#[test]
fn a_uuid_of_the_bridge_is_swapped_as_ever_and_never_seen_by_the_old_api() {
    let (api, old) = (FakeApi::good(), FakeApi::saying(ANSWER));
    let world = between(&api, &old);
    let login = world.login();
    let (access, refresh) = (login.text("access_token"), login.text("refresh_token"));
    assert_eq!(call(&world, &get("/api", &access)).body, "good");
    assert!(api.only().header("authorization").unwrap().starts_with("Bearer eyJ"));
    assert_eq!(refused(&call(&world, &get("/other", &access))), told(404, "not_found", "3003000"), "no route");
    assert_eq!(refused(&call(&world, &get("/api/../x", &access))), told(400, "invalid_request", "3003103"));
    assert_eq!(refused(&call(&world, &get("/api", &refresh))), told(401, "invalid_token", "3003992"), "for no call");
    let revoking = [("client_id", OLD_ID), ("client_secret", OLD_SECRET), ("token", access.as_str())];
    assert_eq!(world.ask(&post(REVOKE, &revoking)).status, 200);
    for path in ["/api", "/other"] {
        assert_ne!(call(&world, &get(path, &access)).status, 299, "{path}");
        assert_ne!(call(&world, &get(path, &refresh)).status, 299, "{path}");
    }
    assert_eq!(refused(&call(&world, &get("/api", &access))), told(401, "invalid_token", "3003990"));
    assert!(old.seen().is_empty());
}

#[test]
fn what_carries_no_uuid_is_none_of_the_old_apis() {
    let (api, old) = (FakeApi::good(), FakeApi::saying(ANSWER));
    let world = between(&api, &old);
    for line in ["", "Authorization: Bearer a.b.c\r\n", "Authorization: Basic eDp5\r\n", "Authorization: Bearer x\r\n"]
    {
        for (path, status) in [("/api", 401), ("/other", 404)] {
            let reply = call(&world, format!("GET {path} HTTP/1.1\r\nHost: a\r\n{line}\r\n").as_bytes());
            assert_eq!(refused(&reply).0, status, "{path} {line}");
        }
    }
    let twice = format!("GET /api HTTP/1.1\r\nHost: a\r\n{0}{0}\r\n", format_args!("Authorization: Bearer {OLDS}\r\n"));
    assert_eq!(refused(&call(&world, twice.as_bytes())).0, 400);
    assert!(old.seen().is_empty() && api.seen().is_empty());
}

#[test]
fn whoever_asks_for_another_proxy_hears_that_such_a_uuid_is_unknown() {
    let (api, old) = (FakeApi::good(), FakeApi::saying(ANSWER));
    let world = between(&api, &old);
    let mut connection = Connection::open(world.running().addresses().authz.unwrap());
    assert_eq!(refused(&connection.ask(&get("/api", OLDS))), told(401, "invalid_token", "3003992"));
    assert!(old.seen().is_empty());
}

#[test]
fn bodies_stream_both_ways_to_the_old_api_and_back() {
    let (say, heard) = channel::<Vec<u8>>();
    let (go, gate) = channel::<()>();
    let (say, gate) = (Mutex::new(say), Mutex::new(gate));
    let old = FakeApi::start(move |mut caller| {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            std::io::BufRead::read_line(&mut caller.stream, &mut head).unwrap();
        }
        for length in [10, 15] {
            let mut part = vec![0; length];
            std::io::Read::read_exact(&mut caller.stream, &mut part).unwrap();
            say.lock().send(part).unwrap();
        }
        caller.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        let _ = gate.lock().recv();
        caller.say(b"6\r\nsecond\r\n0\r\n\r\n");
    });
    let world = between(&FakeApi::good(), &old);
    let mut stream = open(&world);
    let head =
        format!("POST /old HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {OLDS}\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(format!("{head}5\r\nabcde\r\n").as_bytes()).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), b"5\r\nabcde\r\n", "before it has ended");
    stream.write_all(b"5\r\nfghij\r\n0\r\n\r\n").unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), b"5\r\nfghij\r\n0\r\n\r\n");
    assert!(!until(&mut stream, "first").contains("second"));
    go.send(()).unwrap();
    until(&mut stream, "second\r\n0\r\n\r\n");
}

#[test]
fn a_tunnel_is_dug_to_the_old_api_where_both_want_one_and_never_unasked() {
    let old = FakeApi::start(|mut caller| {
        caller.request();
        caller.say(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: old\r\n\r\nhello");
        let mut word = [0; 4];
        if std::io::Read::read_exact(&mut caller.stream, &mut word).is_ok() {
            caller.say(&word);
        }
    });
    let world = between(&FakeApi::good(), &old);
    let mut stream = open(&world);
    let asking = format!("Connection: Upgrade\r\nUpgrade: old\r\nAuthorization: Bearer {OLDS}\r\n\r\n");
    stream.write_all(format!("GET /old HTTP/1.1\r\nHost: a\r\n{asking}").as_bytes()).unwrap();
    until(&mut stream, "hello");
    stream.write_all(b"ping").unwrap();
    until(&mut stream, "ping");
    assert!((world.metric("passbridge_old_api_total{answer=\"1xx\"}") - 1.0).abs() < 0.1, "no 5xx");
    assert_eq!(refused(&call(&world, &get("/old", OLDS))), told(502, "temporarily_unavailable", "3003000"));
}

#[test]
fn an_old_api_that_is_down_is_named_in_the_log_and_one_that_is_slow_too() {
    let mut world = with_old(&FakeApi::good(), &nowhere()).set("gateway", "timeout", "\"300ms\"").start();
    assert_eq!(refused(&call(&world, &get("/old/down", OLDS))), told(502, "temporarily_unavailable", "3003000"));
    let hanging = FakeApi::start(|mut caller| while caller.request().is_some() {});
    world.change("otk", "api", &format!("\"{}\"", hanging.url()));
    world.running().reload().unwrap();
    assert_eq!(refused(&call(&world, &get("/old/slow", OLDS))), told(504, "temporarily_unavailable", "3003000"));
    assert_eq!(hanging.seen().len(), 1, "asked once");
    for (word, outcome) in [("down", "api_down"), ("slow", "api_slow")] {
        let lines = world.log("the old API (`otk.api`)");
        let line = lines.iter().find(|line| line["outcome"] == outcome && line["old_server"] == word);
        assert_eq!(line.expect("the log tells it")["fault"], "upstream");
        assert!((world.metric(&format!("passbridge_old_api_total{{answer=\"{word}\"}}")) - 1.0).abs() < 0.1, "{word}");
    }
}

#[test]
fn an_old_api_whose_caller_leaves_before_it_answers_is_named_and_counted() {
    let hanging = FakeApi::start(|mut caller| while caller.request().is_some() {});
    let world = between(&FakeApi::good(), &hanging);
    let mut client = Frames::open(world.running().addresses().gateway.unwrap());
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, &super::http2::head("GET", OLDS, &[]));
    eventually("it waits", || hanging.seen().len() == 1);
    world.turn(12);
    client.send(RST_STREAM, 0, 1, &CANCEL.to_be_bytes());
    let gone = "passbridge_old_api_total{answer=\"gone\"}";
    eventually("it is counted", || (world.metric(gone) - 1.0).abs() < 0.1);
    let lines = world.log(&hanging.address().to_string());
    let line = lines.iter().find(|line| line["status"] == 499).expect("the log tells it");
    assert_eq!((&line["old_server"], &line["fault"]), (&"gone".into(), &"upstream".into()), "{line}");
    let detail =
        format!("the caller was gone after 12.0 s; the old API (`otk.api`), {}, had not answered", hanging.address());
    assert_eq!((&line["detail"], line["old_ms"].as_f64()), (&detail.into(), Some(12_000.0)));
}

/// Of a call with this token that nobody has answered: its line.
#[track_caller]
fn unanswered(world: &World, token: &str) -> serde_json::Value {
    let token = OpaqueToken::parse(token).unwrap().fingerprint(TokenUse::Access).short();
    let lines = || world.log(&format!("\"token\":\"{token}\"")).into_iter().filter(|line| line["status"] == 0);
    eventually("it is told", || lines().count() > 0);
    lines().next().unwrap()
}

#[test]
fn a_call_that_ends_by_our_own_fault_says_nothing_of_an_old_api_that_was_to_answer_it() {
    const DRAINED: &str = "01d00000-0000-4000-8000-0000000d2a1d";
    const PANICKED: &str = "01d00000-0000-4000-8000-0000000fa171";
    let (answer, word) = channel::<()>();
    let word = Mutex::new(word);
    let old = FakeApi::start(move |mut caller| {
        while caller.request().is_some() && word.lock().recv().is_ok() {
            caller.say(ANSWER);
        }
    });
    let mut world = with_old(&FakeApi::good(), &old.url()).set("server", "drain", "\"0s\"").start();
    let begin = |world: &World, token: &str, asked: usize| {
        world.plant_text(token);
        let mut caller = connect(world);
        caller.write(&get("/old", token));
        eventually("it waits", || old.seen().len() == asked);
        caller
    };
    let mut caller = begin(&world, PANICKED, 1);
    world.clock.break_at("worker-0", Look::Passed);
    answer.send(()).unwrap();
    assert!(caller.is_closed() && world.clock.has_broken());
    let line = unanswered(&world, PANICKED);
    assert_eq!((&line["detail"], &line["fault"]), (&"a panic while answering".into(), &"ourselves".into()), "{line}");
    assert_eq!(line.get("old_server"), None, "{line}");
    assert!(world.metric("passbridge_old_api_total{answer=\"gone\"}") < 0.1);
    let mut caller = begin(&world, DRAINED, 2);
    world.end();
    assert!(caller.is_closed());
    let line = unanswered(&world, DRAINED);
    assert!(line["detail"].as_str().unwrap().starts_with("cut off: ") && line["fault"] == "ourselves", "{line}");
    assert_eq!(line.get("old_server"), None, "{line}");
}

#[test]
fn a_call_that_is_passed_on_is_seen_as_that() {
    let (api, old) = (FakeApi::good(), FakeApi::saying(ANSWER));
    let world = between(&api, &old);
    assert_eq!(call(&world, &get("/seen", OLDS)).status, 299);
    let requests = "passbridge_requests_total{endpoint=\"api\",client=\"unknown\",outcome=\"passed\"}";
    for name in [requests, "passbridge_old_api_total{answer=\"2xx\"}"] {
        assert!((world.metric(name) - 1.0).abs() < 0.1, "{name}");
    }
    let old_server = "passbridge_old_server_total{client=\"unknown\",answer=\"2xx\"}";
    assert!(world.metric(old_server) < 0.1, "that counts unknown clients");
    let lines = world.log("\"passed\"");
    assert!(lines.iter().any(|line| line["endpoint"] == "api" && line["old_server"] == "299"), "{lines:?}");
}

#[test]
fn the_old_api_comes_and_goes_with_a_reload() {
    let (api, old) = (FakeApi::good(), FakeApi::saying(ANSWER));
    let mut world = plan(&api, "").start();
    world.plant_text(OLDS);
    assert_eq!(refused(&call(&world, &get("/api", OLDS))), told(401, "invalid_token", "3003992"));
    world.change("otk", "url", "\"http://127.0.0.1:1\"");
    world.change("otk", "api", &format!("\"{}\"", old.url()));
    world.running().reload().unwrap();
    assert_eq!(call(&world, &get("/api", OLDS)).status, 299);
    assert!(world.log("needs_restart").iter().all(|line| line["section"] != "gateway"));
    world.change("realm", "recheck_after", "\"10m\"");
    world.running().reload().unwrap();
    assert_eq!(call(&world, &get("/api", OLDS)).status, 299);
    assert_eq!((old.seen().len(), old.connections()), (2, 1), "the connection is kept where nothing changed");
    assert_eq!(call(&world, &get("/api", &uuid(&world))).body, "good");
}

#[test]
fn an_old_api_behind_tls_is_trusted_by_the_ca_of_otk() {
    let (api, old, authority) = (FakeApi::good(), FakeApi::saying(ANSWER), Authority::new());
    let front = TlsFront::start(&authority.shown("localhost", None), old.address());
    let mut world = with_old(&api, &front.url("localhost")).set("otk", "ca", "\"old-ca.pem\"").files();
    fs::write(world.path().join("old-ca.pem"), &authority.pem).unwrap();
    world.begin();
    assert_eq!(call(&world, &get("/old", OLDS)).body, "old");
    fs::write(world.path().join("old-ca.pem"), &Authority::new().pem).unwrap();
    world.running().reload().unwrap();
    assert_eq!(refused(&call(&world, &get("/old", OLDS))), told(502, "temporarily_unavailable", "3003000"));
    assert_eq!(old.seen().len(), 1);
}

#[test]
fn a_call_over_http2_reaches_the_old_api_with_its_host() {
    let (api, old) = (FakeApi::good(), FakeApi::saying(ANSWER));
    let world = between(&api, &old);
    let answer = on_http2(&world, async |mut sender| {
        let request =
            Request::get("http://old.example.org/old?x=%20").header("authorization", format!("Bearer {OLDS}"));
        ask(&mut sender, request.body(http_body_util::Empty::new().boxed_unsync()).unwrap()).await
    });
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (299, b"old".as_slice()));
    let seen = old.only();
    assert!(seen.head.starts_with("GET /old?x=%20 HTTP/1.1\r\n"), "{}", seen.head);
    let mut heard = lines(&seen.head);
    heard.sort();
    assert_eq!(heard, [format!("authorization: Bearer {OLDS}"), "host: old.example.org".to_owned()]);
}
