//! What nobody would send who means well: refused in the dialect's words, within bounds, and never taken for another's request.

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;

use parking_lot::Mutex;

use super::{call, connect, get, open, plan, refused, told, until, uuid};
use crate::support::{Connection, FakeApi, PATIENCE, World, eventually};

/// How hyper itself would refuse, and how an API may.
const BARE: &str =
    "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";

fn doors(world: &World) -> [SocketAddr; 2] {
    let addresses = world.running().addresses();
    [addresses.gateway.unwrap(), addresses.authz.unwrap()]
}

fn flood(lines: usize) -> String {
    (0..lines).map(|number| format!("X-Flood-{number}: 1\r\n")).collect()
}

#[test]
fn what_is_no_http_is_refused_in_the_dialects_words() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let long = "x".repeat(64 * 1024);
    for request in [
        "\u{16}\u{3}\u{1}\u{2}\r\n\r\n".to_owned(),
        "GET /api\r\n\r\n".to_owned(),
        "GET /api HTTP/1.1\r\nHost : a\r\n\r\n".to_owned(),
        format!("GET /api HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n"),
        format!("GET /api?{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET /api HTTP/1.1\r\nHost: a\r\n{}\r\n", flood(200)),
    ] {
        for door in doors(&world) {
            let mut connection = Connection::open(door);
            let reply = connection.ask(request.as_bytes());
            let begin = &request[..request.len().min(40)];
            assert_eq!(refused(&reply), told(400, "invalid_request", "3003103"), "{begin:?}");
            assert!(connection.is_closed(), "{begin:?}");
        }
    }
    assert!(api.seen().is_empty());
    for why in ["no HTTP that can be read", "longer than `limits.head`, or has more lines than `limits.headers`"] {
        eventually(why, || !world.log(why).is_empty());
    }
    for endpoint in ["api", "authz"] {
        let labels = format!("endpoint=\"{endpoint}\",client=\"unknown\",outcome=\"invalid_request\"");
        let count = world.metric(&format!("passbridge_requests_total{{{labels}}}"));
        assert!((count - 6.0).abs() < 0.5, "{endpoint}: {count}");
    }
}

#[test]
fn garbage_behind_a_call_is_refused_in_the_dialects_words_too() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let mut connection = connect(&world);
    assert_eq!(connection.ask(&get("/api", &uuid(&world))).body, "good");
    assert_eq!(refused(&connection.ask(b"GET\r\n\r\n")), told(400, "invalid_request", "3003103"));
    assert!(connection.is_closed());
}

#[test]
fn garbage_sent_ahead_behind_a_call_is_refused_in_the_dialects_words_however_slowly_the_answer_is_read() {
    let api = FakeApi::start(|mut caller| {
        while let Some(seen) = caller.request() {
            let times: usize = seen.head.split(['/', ' ']).nth(3).unwrap().parse().unwrap();
            caller.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", times * BARE.len()).as_bytes());
            caller.say(BARE.repeat(times).as_bytes());
        }
    });
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    // From what fits into the sockets to what fits into neither of them nor into the bridge.
    for times in [1, 100, 1_000, 3_000, 10_000, 30_000, 60_000, 100_000] {
        let mut connection = connect(&world);
        connection.write(&[get(&format!("/api/{times}"), &uuid), b"GET\r\n\r\n".to_vec()].concat());
        assert!(connection.reply().unwrap().body == BARE.repeat(times), "{times}: as the API said it");
        assert_eq!(refused(&connection.reply().expect("a word")), told(400, "invalid_request", "3003103"), "{times}");
        assert!(connection.is_closed(), "{times}");
    }
}

#[test]
fn an_api_may_answer_as_hyper_refuses() {
    let empty = FakeApi::saying(BARE.as_bytes());
    let world = plan(&empty, "").start();
    let reply = call(&world, &get("/api", &uuid(&world)));
    assert_eq!((reply.status, reply.body.as_str(), reply.header("x-ca-err")), (400, "", None));

    let quoting = FakeApi::start(|mut caller| {
        while caller.request().is_some() {
            caller.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{BARE}", BARE.len()).as_bytes());
        }
    });
    let world = plan(&quoting, "").start();
    let uuid = uuid(&world);
    let mut connection = connect(&world);
    for _ in 0..3 {
        assert_eq!(connection.ask(&get("/api", &uuid)).body, BARE);
    }
}

#[test]
fn bare_line_feeds_make_one_request_or_none() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let token = format!("Authorization: Bearer {}", uuid(&world));
    let head = call(&world, format!("GET /api/lf HTTP/1.1\nHost: a\n{token}\n\n").as_bytes());
    assert_eq!(head.status, 200, "RFC 9112 section 2.2: it may be taken for a line's end");
    let seen = api.only();
    assert!(seen.head.starts_with("GET /api/lf HTTP/1.1\r\n"), "and goes on as it should be: {}", seen.head);
    let posting = format!("POST /api HTTP/1.1\r\nHost: a\r\n{token}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let smuggled = "GET /api/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for body in ["3\nabc\n0\n\n", "3;x\nyz\r\nabc\r\n0\r\n\r\n", "3\r\nabc\n0\r\n\r\n", "0\n\n"] {
        let reply = call(&world, format!("{posting}{body}{smuggled}").as_bytes());
        assert_eq!(refused(&reply), told(400, "invalid_request", "3003103"), "{body:?}");
    }
    assert!(api.seen().iter().all(|seen| !seen.head.contains("smuggled")), "{:?}", api.seen());
}

#[test]
fn trailers_pass_in_both_directions() {
    let api = FakeApi::saying(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n4\r\ngood\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    let world = plan(&api, "").start();
    let token = format!("Authorization: Bearer {}\r\n", uuid(&world));
    let mut stream = open(&world);
    let body = "3\r\nabc\r\n0\r\nX-Mark: 9\r\n\r\n";
    let head = format!(
        "POST /api HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: X-Mark\r\n{token}Transfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let answer = until(&mut stream, "\r\n0\r\n");
    let answer = if answer.ends_with("\r\n\r\n") { answer } else { answer + &until(&mut stream, "\r\n\r\n") };
    assert!(answer.to_ascii_lowercase().ends_with("4\r\ngood\r\n0\r\nx-sum: 7\r\n\r\n"), "{answer}");
    let seen = api.only();
    let sent = String::from_utf8_lossy(&seen.body).to_ascii_lowercase();
    assert!(sent.ends_with("0\r\nx-mark: 9\r\n\r\n"), "{sent}");
    assert_eq!(seen.header("te").as_deref(), Some("trailers"));
}

#[test]
fn old_clients_are_served_as_they_ask() {
    let api = FakeApi::saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n");
    let world = plan(&api, "").start();
    let token = format!("Authorization: Bearer {}\r\n", uuid(&world));
    for line in ["", "Connection: keep-alive\r\n"] {
        let mut stream = open(&world);
        stream.write_all(format!("GET /api HTTP/1.0\r\n{line}{token}\r\n").as_bytes()).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).expect("it is closed behind the answer");
        let small = all.to_ascii_lowercase();
        assert!(small.starts_with("http/1.0 200 ok\r\n") && small.ends_with("\r\n\r\ngood"), "{all}");
        assert!(
            !small.contains("transfer-encoding") && !small.contains("keep-alive"),
            "what is promised is kept: {all}"
        );
    }
    let mut stream = open(&world);
    stream.write_all(format!("GET /api HTTP/1.1\r\nHost: a\r\n{token}Connection: close\r\n\r\n").as_bytes()).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).expect("it is closed behind the answer");
    assert!(all.to_ascii_lowercase().contains("connection: close") && all.ends_with("4\r\ngood\r\n0\r\n\r\n"), "{all}");
    assert_eq!(api.connections(), 1, "the API's connection is kept all the same");
}

#[test]
fn an_old_client_keeps_its_connection_where_an_answer_tells_its_end() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let token = format!("Authorization: Bearer {}\r\n", uuid(&world));
    let mut connection = connect(&world);
    for method in ["GET", "HEAD", "GET"] {
        connection.write(format!("{method} /api HTTP/1.0\r\nConnection: keep-alive\r\n{token}\r\n").as_bytes());
        let reply = if method == "HEAD" { connection.reply_without_body() } else { connection.reply() };
        let reply = reply.expect("it is open");
        assert_eq!((reply.status, reply.header("connection").as_deref()), (200, Some("keep-alive")), "{}", reply.head);
    }
}

#[test]
fn an_old_api_that_ends_by_closing_is_read_to_its_end() {
    let api = FakeApi::closing(b"HTTP/1.0 200 OK\r\n\r\ngood");
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    for _ in 0..2 {
        let mut stream = open(&world);
        stream.write_all(&get("/api", &uuid)).unwrap();
        assert!(until(&mut stream, "4\r\ngood\r\n0\r\n\r\n").starts_with("HTTP/1.1 200"), "in our own version");
    }
}

#[test]
fn a_caller_that_resets_in_mid_body_ends_its_own_request_and_no_other() {
    let (say, begun) = channel::<()>();
    let say = Mutex::new(say);
    let api = FakeApi::start(move |mut caller| {
        while caller.stream.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {
            say.lock().send(()).unwrap();
            if caller.request().is_none() {
                return;
            }
            caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
        }
    });
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let head = format!("POST /api/cut HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {uuid}\r\n");
    for framing in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let mut stream = open(&world);
        stream.write_all(format!("{head}{framing}").as_bytes()).unwrap();
        begun.recv_timeout(PATIENCE).expect("it is on its way");
        reset(stream);
        assert_eq!(call(&world, &get("/api/next", &uuid)).body, "good");
        begun.recv_timeout(PATIENCE).expect("so is the next");
    }
    let seen = api.seen();
    assert!(seen.len() == 2 && seen.iter().all(|seen| seen.head.starts_with("GET /api/next ")), "{seen:?}");
}

#[test]
fn an_api_that_resets_in_mid_answer_cuts_that_answer_and_no_other() {
    for framing in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let (seen, gate) = channel::<()>();
        let gate = Mutex::new(gate);
        let api = FakeApi::start(move |mut caller| {
            while let Some(seen) = caller.request() {
                if seen.head.starts_with("GET /api/cut ") {
                    caller.say(format!("HTTP/1.1 200 OK\r\n{framing}").as_bytes());
                    gate.lock().recv().unwrap();
                    return reset(caller.stream.into_inner());
                }
                caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
            }
        });
        let world = plan(&api, "").start();
        let uuid = uuid(&world);
        let (mut stream, mut other) = (open(&world), connect(&world));
        stream.write_all(&get("/api/cut", &uuid)).unwrap();
        until(&mut stream, "abc");
        assert_eq!(other.ask(&get("/api/other", &uuid)).body, "good");
        seen.send(()).unwrap();
        let mut rest = Vec::new();
        let _cut = stream.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest == b"\r\n", "cut, and not ended: {}", String::from_utf8_lossy(&rest));
        assert_eq!(other.ask(&get("/api/other", &uuid)).body, "good");
    }
}

#[test]
fn under_abuse_everybody_gets_his_own_answer() {
    let api = FakeApi::start(|mut caller| {
        while let Some(seen) = caller.request() {
            let path = seen.head.split(' ').nth(1).unwrap_or_default().to_owned();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
            let (first, second) = answer.split_at(answer.len() - 2);
            caller.say(first.as_bytes());
            caller.say(second.as_bytes());
        }
    });
    let world = plan(&api, "").set("server", "workers", "2").start();
    let uuid = uuid(&world);
    let address = world.running().addresses().gateway.unwrap();
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let uuid = &uuid;
            scope.spawn(move || {
                let mut connection = Connection::open(address);
                for number in 0..30 {
                    let path = format!("/api/{caller}/{number}");
                    assert_eq!(connection.ask(&get(&path, uuid)).body, path);
                    let mut bad = TcpStream::connect(address).unwrap();
                    let whole = get(&format!("/api/gone/{caller}/{number}"), uuid);
                    let _ = bad.write_all(&whole[..whole.len() - number % 3]);
                    reset(bad);
                }
            });
        }
    });
}

/// Closes with a reset in place of an end.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(stream);
}
