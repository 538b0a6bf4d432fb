//! Who is slow, silent or too many: given up within a bound.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::SockRef;

use super::{call, connect, get, gone, open, plan, refused, routes, told, until, uuid};
use crate::support::api2::Http2Api;
use crate::support::frames::{
    self, CANCEL, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, NO_ERROR, PING, RST_STREAM,
};
use crate::support::{Connection, FakeApi, OLD_ID, OLD_SECRET, PATIENCE, TOKEN, World, eventually, passport, post};

#[test]
fn a_caller_that_stops_reading_is_cut_off_and_the_api_let_go() {
    let (say, heard) = channel::<usize>();
    let say = Mutex::new(say);
    let api = FakeApi::start(move |mut caller| {
        caller.request();
        caller.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let part = [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat();
        let mut sent = 0;
        while caller.stream.get_mut().write_all(&part).is_ok() {
            sent += part.len();
        }
        say.lock().send(sent).unwrap();
    });
    let world = plan(&api, "").set("gateway", "idle_timeout", "\"300ms\"").start();
    let mut stream = open(&world);
    stream.write_all(&get("/api", &uuid(&world))).unwrap();
    let sent = heard.recv_timeout(PATIENCE).expect("the API's connection is closed");
    assert!(sent < 64 << 20, "{sent} bytes were taken for somebody who reads nothing");
    let mut rest = Vec::new();
    let _cut = stream.read_to_end(&mut rest);
    assert!(rest.starts_with(b"HTTP/1.1 200") && !rest.ends_with(b"0\r\n\r\n"), "cut, and not ended");
}

#[test]
fn a_caller_that_reads_on_now_and_then_is_not_cut_off() {
    const LENGTH: usize = 24 << 20;
    let api = FakeApi::start(move |mut caller| {
        caller.request();
        caller.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").as_bytes());
        caller.say(&vec![b'x'; LENGTH]);
    });
    let world = plan(&api, "").set("gateway", "idle_timeout", "\"2s\"").start();
    let mut stream = open(&world);
    stream.write_all(&get("/api", &uuid(&world))).unwrap();
    until(&mut stream, "\r\n\r\n");
    let (mut read, mut piece) = (0, vec![0; 1 << 20]);
    while read < LENGTH - 1024 {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "cut off after {read}");
        read += count;
        std::thread::yield_now();
    }
}

#[test]
fn a_slow_head_and_a_silent_connection_are_cut_off() {
    let api = FakeApi::good();
    let world = plan(&api, "").set("limits", "head_timeout", "\"200ms\"").start();
    let uuid = uuid(&world);
    let addresses = world.running().addresses();
    for door in [addresses.gateway.unwrap(), addresses.authz.unwrap()] {
        assert!(Connection::open(door).is_closed(), "silent from the beginning");
        let mut slow = TcpStream::connect(door).unwrap();
        slow.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = get("/api", &uuid);
        eventually("a head that comes byte by byte ends", || {
            let at = 0;
            slow.write_all(&head[at..=at]).is_err()
        });
    }
    let mut idle = connect(&world);
    assert_eq!(idle.ask(&get("/api", &uuid)).status, 200);
    assert!(idle.is_closed(), "silent behind a call");
}

#[test]
fn a_body_that_comes_drop_by_drop_may_go_on_and_one_that_stops_may_not() {
    let api = FakeApi::good();
    let world = plan(&api, "").set("gateway", "idle_timeout", "\"2s\"").start();
    let uuid = uuid(&world);
    let head = format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {uuid}\r\nContent-Length: 200\r\n\r\n");
    let mut slow = open(&world);
    slow.write_all(head.as_bytes()).unwrap();
    for _ in 0..200 {
        slow.write_all(b"x").unwrap();
        std::thread::yield_now();
    }
    until(&mut slow, "good");
    assert_eq!(api.only().body.len(), 200);
}

#[test]
fn an_api_has_its_time_from_the_last_part_of_a_request_on() {
    let api = FakeApi::good();
    let world = plan(&api, "").set("gateway", "timeout", "\"3s\"").start();
    let uuid = uuid(&world);
    let mut slow = open(&world);
    let began = Instant::now();
    let head = format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {uuid}\r\n");
    slow.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    eventually("a long body", || {
        slow.write_all(b"1\r\nx\r\n").unwrap();
        began.elapsed() >= Duration::from_millis(3500)
    });
    slow.write_all(b"0\r\n\r\n").unwrap();
    until(&mut slow, "good");
}

/// One who has hung up looks the same, so his call is not given up before its answer.
#[test]
fn a_caller_that_shuts_his_side_behind_his_request_is_still_answered() {
    let (say, heard) = channel::<()>();
    let (open_gate, gate) = channel::<()>();
    let (say, gate) = (Mutex::new(say), Mutex::new(gate));
    let api = FakeApi::start(move |mut caller| {
        caller.request();
        say.lock().send(()).unwrap();
        let _ = gate.lock().recv();
        caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
    });
    let world = plan(&api, "").start();
    let mut connection = connect(&world);
    connection.write(&get("/api", &uuid(&world)));
    connection.half_close();
    heard.recv_timeout(PATIENCE).unwrap();
    // Whoever listens for the end has heard it by the time that another call is answered.
    assert_eq!(connect(&world).ask(&get("/none", "none")).status, 404);
    open_gate.send(()).unwrap();
    assert_eq!(connection.reply().map(|reply| reply.body).as_deref(), Some("good"));
}

/// Whoever only shuts his side may wait; whoever breaks his connection off waits for nothing.
#[test]
fn a_caller_that_breaks_off_does_not_keep_his_place_until_the_api_answers() {
    let api = FakeApi::start(|mut caller| while caller.request().is_some() {});
    let world = plan(&api, "").set("limits", "connections", "2").set("gateway", "timeout", "\"10m\"").start();
    let uuid = uuid(&world);
    let mut callers = [(); 2].map(|()| {
        let mut caller = open(&world);
        caller.write_all(&get("/api", &uuid)).unwrap();
        caller
    });
    eventually("both wait", || api.seen().len() == 2);
    // What nobody has read yet lies before the end of this one.
    callers[1].write_all(b"\r\n").unwrap();
    for caller in callers {
        SockRef::from(&caller).set_linger(Some(Duration::ZERO)).unwrap();
    }
    eventually("both places are free", || {
        let mut others = [connect(&world), connect(&world)];
        others
            .iter_mut()
            .all(|other| other.write(&get("/none", "none")) && other.reply().is_some_and(|reply| reply.status == 404))
    });
    eventually("it is counted", || gone(&world, "api", OLD_ID) == 2);
    let detail = format!("the caller was gone after 0.0 s; {} had not answered", api.address());
    assert_eq!(left(&world, "api", &detail), "client", "no time has passed by the bridge's clock");
}

#[test]
fn an_api_that_lets_its_callers_wait_until_they_leave_is_named_and_to_blame() {
    let api = FakeApi::start(|mut caller| while caller.request().is_some() {});
    let world = plan(&api, "").set("gateway", "timeout", "\"10m\"").start();
    let uuid = uuid(&world);
    let mut client = Frames::open(world.running().addresses().gateway.unwrap());
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, &super::http2::head("GET", &uuid, &[]));
    eventually("it waits", || api.seen().len() == 1);
    world.turn(12);
    client.send(RST_STREAM, 0, 1, &CANCEL.to_be_bytes());
    eventually("it is gone", || gone(&world, "api", OLD_ID) == 1);
    let detail = format!("the caller was gone after 12.0 s; {} had not answered", api.address());
    assert_eq!(left(&world, "api", &detail), "upstream");
    let blamed = |fault| world.metric(&format!("passbridge_faults_total{{client=\"{OLD_ID}\",fault=\"{fault}\"}}"));
    assert!((blamed("upstream") - 1.0).abs() < 0.1 && blamed("client") < 0.1);
}

#[test]
fn a_caller_that_leaves_in_the_middle_of_his_body_blames_no_api_however_long_he_took() {
    let api = FakeApi::start(|mut caller| {
        caller.head();
        let _cut = caller.stream.read_to_end(&mut Vec::new());
    });
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let mut client = Frames::open(world.running().addresses().gateway.unwrap());
    client.send(HEADERS, END_HEADERS, 1, &super::http2::head("POST", &uuid, &[]));
    client.send(DATA, 0, 1, b"abc");
    eventually("it is on its way", || api.connections() == 1);
    world.turn(12);
    client.send(RST_STREAM, 0, 1, &CANCEL.to_be_bytes());
    eventually("it is gone", || gone(&world, "api", OLD_ID) == 1);
    told_as_gone(&world, "api");
    let named = world.log(&api.address().to_string());
    assert!(named.iter().all(|line| line["outcome"] != "caller_gone"), "{named:?}");
}

/// Whose fault it is that somebody has left, who is told of like that: other worlds have lines too.
#[track_caller]
fn left(world: &World, endpoint: &str, detail: &str) -> String {
    let lines = world.log("\"status\":499");
    let line = lines.iter().find(|line| line["endpoint"] == endpoint && line["detail"] == detail);
    let line = line.unwrap_or_else(|| panic!("the log tells it: {lines:?}"));
    assert_eq!(line["outcome"], "caller_gone", "{line}");
    line["fault"].as_str().unwrap().to_owned()
}

/// The log says what it was, and not that it was a bad request.
#[track_caller]
fn told_as_gone(world: &World, endpoint: &str) {
    assert_eq!(left(world, endpoint, "the caller was gone before its answer"), "client");
}

/// His body is no bad one: he has not said all of it.
#[test]
fn a_caller_that_breaks_off_in_the_middle_of_his_body_is_gone_too() {
    let api = FakeApi::start(|mut caller| {
        caller.head();
        let _cut = caller.stream.read_to_end(&mut Vec::new());
    });
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let addresses = world.running().addresses();
    let begun = |head: &str, address| {
        let mut caller = TcpStream::connect(address).unwrap();
        caller.set_read_timeout(Some(PATIENCE)).unwrap();
        caller.write_all(format!("{head}Content-Length: 6\r\nExpect: 100-continue\r\n\r\n").as_bytes()).unwrap();
        until(&mut caller, "100 Continue");
        caller.write_all(b"abc").unwrap();
        SockRef::from(&caller).set_linger(Some(Duration::ZERO)).unwrap();
    };
    begun(&format!("POST {TOKEN} HTTP/1.1\r\nHost: a\r\n"), addresses.legacy);
    eventually("at the legacy listener", || gone(&world, "token", "unknown") == 1);
    told_as_gone(&world, "token");
    let head = format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {uuid}\r\n");
    begun(&head, addresses.gateway.unwrap());
    eventually("at the gateway", || gone(&world, "api", OLD_ID) == 1);
    for code in [CANCEL, NO_ERROR] {
        let (before, asked) = (gone(&world, "api", OLD_ID), api.connections());
        let mut client = Frames::open(addresses.gateway.unwrap());
        client.send(HEADERS, END_HEADERS, 1, &super::http2::head("POST", &uuid, &[]));
        client.send(DATA, 0, 1, b"abc");
        eventually("it is on its way", || api.connections() > asked);
        client.send(RST_STREAM, 0, 1, &code.to_be_bytes());
        eventually("over HTTP/2", || gone(&world, "api", OLD_ID) > before);
    }
    told_as_gone(&world, "api");
    eventually("another proxy that asks", || {
        let mut client = Frames::open(addresses.authz.unwrap());
        let bearer = format!("Bearer {uuid}");
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/envoy.service.auth.v3.Authorization/Check"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("authorization", &bearer),
        ];
        client.send(HEADERS, END_HEADERS, 1, &frames::head(&fields));
        client.send(PING, 0, 0, &[0; 8]);
        client.until(PING);
        client.send(RST_STREAM, 0, 1, &CANCEL.to_be_bytes());
        gone(&world, "authz", "unknown") > 0
    });
    told_as_gone(&world, "authz");
}

#[test]
fn an_api_has_that_time_once() {
    let (one, two) = (FakeApi::start(|mut caller| while caller.request().is_some() {}), Http2Api::gated());
    for route in [
        format!("upstream = \"{}\"", one.url()),
        format!("upstream = \"{}\", http2 = true", two.url("http", "127.0.0.1")),
    ] {
        let world = routes(&format!("{{ prefix = \"/api\", {route} }}")).set("gateway", "timeout", "\"1s\"").start();
        let head = format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", uuid(&world));
        let began = Instant::now();
        let reply = call(&world, format!("{head}Content-Length: 3\r\n\r\nabc").as_bytes());
        let took = began.elapsed().as_millis();
        assert!(reply.status == 504 && (1000..1900).contains(&took), "{route}: {} after {took} ms", reply.status);
    }
}

/// One that speaks HTTP/1.1, and one that speaks HTTP/2: each answers when it has all of a request.
fn either(one: &FakeApi, two: &Http2Api) -> [String; 2] {
    let (one, two) = (one.url(), two.url("http", "127.0.0.1"));
    [
        format!("{{ prefix = \"/api\", upstream = \"{one}\" }}"),
        format!("{{ prefix = \"/api\", upstream = \"{two}\", http2 = true }}"),
    ]
}

/// A bridge before an API that has little time, and the first lines of an upload to it, whose caller may pause for so long.
fn uploading(route: &str, idle: &str) -> (World, String) {
    let world = routes(route).set("gateway", "timeout", "\"300ms\"").set("gateway", "idle_timeout", idle).start();
    let head = format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", uuid(&world));
    (world, head)
}

#[test]
fn an_api_has_its_time_once_its_caller_has_said_everything() {
    for route in either(&FakeApi::good(), &Http2Api::start()) {
        let (world, head) = uploading(&route, "\"5s\"");
        for begun in ["", "abc"] {
            let mut slow = open(&world);
            let began = Instant::now();
            slow.write_all(format!("{head}Content-Length: 6\r\n\r\n{begun}").as_bytes()).unwrap();
            eventually("it pauses", || began.elapsed() >= Duration::from_secs(1));
            slow.write_all(&b"abcdef"[begun.len()..]).unwrap();
            until(&mut slow, "good");
        }
    }
}

/// One is for who set the bound, the other for who looks after the client's line.
#[test]
fn why_a_body_was_given_up_is_told() {
    let api = FakeApi::good();
    let world = plan(&api, "").set("gateway", "body", "\"4B\"").set("gateway", "idle_timeout", "\"300ms\"").start();
    let head = format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", uuid(&world));
    for (body, detail) in [
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n", "the body is longer than `gateway.body`"),
        ("Content-Length: 4\r\n\r\nabc", "no further part of the body came within `gateway.idle_timeout`"),
    ] {
        let reply = call(&world, format!("{head}{body}").as_bytes());
        assert_eq!(refused(&reply), told(400, "invalid_request", "3003103"));
        eventually(detail, || {
            world.log("request").iter().any(|line| line["detail"] == detail && line["status"] == 400)
        });
    }
}

/// Whoever of the two is looked at first: as long as a caller has not said everything it is he that is waited for.
#[test]
fn a_caller_that_stops_is_told_so_and_its_api_is_not_blamed() {
    for route in either(&FakeApi::good(), &Http2Api::start()) {
        let (world, head) = uploading(&route, "\"300ms\"");
        for begun in ["", "abc", "", "abc", "", "abc"] {
            let reply = call(&world, format!("{head}Content-Length: 6\r\n\r\n{begun}").as_bytes());
            assert_eq!(refused(&reply), told(400, "invalid_request", "3003103"), "{route}: {begun}");
        }
    }
}

#[test]
fn idle_connections_beyond_the_bound_are_closed_at_once_and_the_others_are_served() {
    const MANY: usize = 1_000;
    let api = FakeApi::good();
    // An eighth is left to logins.
    let world = plan(&api, "").set("limits", "connections", &(MANY * 8 / 7).to_string()).start();
    let uuid = uuid(&world);
    let before = resident();
    let mut idle: Vec<Connection> = Vec::with_capacity(MANY);
    eventually("a thousand are open", || {
        // Those of the login may still be about to end.
        idle.push(connect(&world));
        idle.len() >= MANY
    });
    let mut beyond = connect(&world);
    assert!(beyond.is_closed());
    for connection in idle.iter_mut().step_by(97) {
        assert_eq!(connection.ask(&get("/api", &uuid)).body, "good");
    }
    let mut login = world.connect();
    assert_eq!(login.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))).status, 200, "calls keep nobody from logging in");
    drop(login);
    let each = resident().saturating_sub(before) / MANY;
    assert!(each < 128 * 1024, "{each} bytes for each, both sides of it");
    idle.truncate(MANY / 2);
    eventually("there is room again", || {
        let mut connection = connect(&world);
        connection.write(&get("/api", &uuid)) && connection.reply().is_some_and(|reply| reply.status == 200)
    });
    assert_eq!(call(&world, &get("/api", &uuid)).body, "good");
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
