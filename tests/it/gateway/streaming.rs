//! Bodies as they come, both ways; and tunnels.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::SockRef;

use super::{connect, get, open, plan, until, uuid, web_socket};
use crate::support::api::Caller;
use crate::support::frames::{self, Frames};
use crate::support::{FakeApi, OLD_ID, PATIENCE, World, eventually};

#[test]
fn an_answer_is_seen_before_it_has_ended() {
    let (open_gate, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let api = FakeApi::start(move |mut caller| {
        caller.request();
        caller.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        let _ = gate.lock().recv();
        caller.say(b"6\r\nsecond\r\n0\r\n\r\n");
    });
    let world = plan(&api, "").start();
    let mut stream = open(&world);
    stream.write_all(&get("/api", &uuid(&world))).unwrap();
    assert!(!until(&mut stream, "first").contains("second"));
    open_gate.send(()).unwrap();
    until(&mut stream, "second\r\n0\r\n\r\n");
}

#[test]
fn a_request_is_seen_before_it_has_ended() {
    let (say, heard) = channel::<u8>();
    let say = Mutex::new(say);
    let api = FakeApi::start(move |mut caller| {
        let mut line = String::new();
        while !line.ends_with("\r\n\r\n") {
            std::io::BufRead::read_line(&mut caller.stream, &mut line).unwrap();
        }
        let mut body = [0; 1];
        for _ in 0..2 {
            caller.stream.read_exact(&mut body).unwrap();
            say.lock().send(body[0]).unwrap();
        }
        caller.say(b"HTTP/1.1 204 No Content\r\n\r\n");
    });
    let world = plan(&api, "").start();
    let mut stream = open(&world);
    let head = format!("PUT /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", uuid(&world));
    stream.write_all(format!("{head}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n").as_bytes()).unwrap();
    until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"a").unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), b'a');
    stream.write_all(b"b").unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), b'b');
    until(&mut stream, "HTTP/1.1 204");
}

/// Eight times within two seconds and a half.
fn now_and_then(mut play: impl FnMut()) {
    let began = Instant::now();
    for number in 1..=8 {
        eventually("it takes its time", || began.elapsed() >= number * Duration::from_millis(300));
        play();
    }
}

/// An API that says its head at once, words now and then where it is one that talks, and the rest when it has read eight bytes.
fn says_its_head_first(talks: bool) -> [(FakeApi, &'static str); 2] {
    let one = FakeApi::start(move |mut caller| {
        let mut line = String::new();
        while !line.ends_with("\r\n\r\n") {
            std::io::BufRead::read_line(&mut caller.stream, &mut line).unwrap();
        }
        caller.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        if talks {
            now_and_then(|| caller.say(b"4\r\nword\r\n"));
            caller.say(b"4\r\nlast\r\n");
        }
        if caller.stream.read_exact(&mut [0; 8]).is_ok() {
            caller.say(b"4\r\ngood\r\n0\r\n\r\n");
        }
    });
    let two = Frames::api(move |api, stream| {
        api.send(frames::HEADERS, frames::END_HEADERS, stream, &frames::head(&[(":status", "200")]));
        if talks {
            now_and_then(|| assert!(api.send(frames::DATA, 0, stream, b"word")));
            api.send(frames::DATA, 0, stream, b"last");
        }
        let mut left = 8;
        while left > 0 {
            let Some(part) = api.until(frames::DATA) else { return false };
            left -= part.body.len();
        }
        api.send(frames::DATA, frames::END_STREAM, stream, b"good")
    });
    [(one, ""), (two, ", http2 = true")]
}

/// A call with eight bytes to come whose answer has begun, through a gateway that lets nobody be silent for longer than a second.
fn begun(api: &FakeApi, more: &str) -> (World, TcpStream) {
    let world = plan(api, more).set("gateway", "idle_timeout", "\"1s\"").start();
    let mut stream = open(&world);
    let head = format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", uuid(&world));
    stream.write_all(format!("{head}Content-Length: 8\r\n\r\n").as_bytes()).unwrap();
    until(&mut stream, "\r\n\r\n");
    (world, stream)
}

#[test]
fn an_answer_that_waits_for_the_rest_of_its_request_waits_as_long_as_that_goes_on() {
    for (api, more) in says_its_head_first(false) {
        let (_world, mut stream) = begun(&api, more);
        now_and_then(|| stream.write_all(b"x").unwrap());
        until(&mut stream, "good");
    }
}

/// As whoever has asked for events does, and says more when he has heard some.
#[test]
fn a_request_may_pause_as_long_as_its_answer_goes_on() {
    for (api, more) in says_its_head_first(true) {
        let (_world, mut stream) = begun(&api, more);
        until(&mut stream, "last");
        stream.write_all(b"the rest").unwrap();
        until(&mut stream, "good");
    }
}

#[test]
fn an_answer_shorter_than_it_said_is_cut_and_not_ended() {
    let api = FakeApi::closing(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort");
    let world = plan(&api, "").start();
    let mut stream = open(&world);
    stream.write_all(&get("/api", &uuid(&world))).unwrap();
    let mut all = String::new();
    let _ = stream.read_to_string(&mut all);
    assert!(all.contains("Content-Length: 10") && all.ends_with("short"), "{all}");
    is_told_as_cut(&world, &api);
}

/// An HTTP/1.0 client knows of no chunks: where no length is told the end of the connection is all that it has (RFC 9112 section 6.3).
#[test]
fn an_answer_that_is_cut_is_no_whole_one_for_whoever_knows_its_end_by_the_connections() {
    type End = fn(&mut Caller);
    let ways: [(&[u8], End, bool); 4] = [
        (b"Transfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n", |_| {}, true),
        (b"Transfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n", |_| {}, false),
        (b"\r\ngood", |caller| SockRef::from(caller.stream.get_ref()).set_linger(Some(Duration::ZERO)).unwrap(), false),
        (b"\r\ngood", |caller| assert!(caller.request().is_none(), "it is silent until it is given up"), false),
    ];
    for (answer, end, is_whole) in ways {
        let answer = [b"HTTP/1.1 200 OK\r\n", answer].concat();
        let api = FakeApi::start(move |mut caller| {
            caller.request();
            caller.say(&answer);
            end(&mut caller);
        });
        let world = plan(&api, "").set("gateway", "idle_timeout", "\"300ms\"").start();
        let request = String::from_utf8(get("/api", &uuid(&world))).unwrap().replace("HTTP/1.1", "HTTP/1.0");
        let mut stream = open(&world);
        stream.write_all(request.as_bytes()).unwrap();
        let mut all = String::new();
        let ended = stream.read_to_string(&mut all);
        assert_eq!(
            ended.map_err(|error| error.kind()).err(),
            (!is_whole).then_some(ErrorKind::ConnectionReset),
            "{all}"
        );
        assert!(!is_whole || all.starts_with("HTTP/1.0 200 OK\r\n") && all.ends_with("\r\n\r\ngood"), "{all}");
    }
}

/// The kernel tells a reset once. Whoever was sending may have heard it, and then what is read ends like any other answer.
#[test]
fn an_answer_that_a_reset_cuts_while_its_request_is_still_sent_is_no_whole_one() {
    let api = FakeApi::start(|mut caller| {
        caller.head();
        caller.say(b"HTTP/1.1 200 OK\r\n\r\npart");
        // So long the rest of the request goes on.
        assert!(caller.stream.read_exact(&mut vec![0; 512 * 1024]).is_ok());
        SockRef::from(caller.stream.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let world = plan(&api, "").start();
    let head = format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", uuid(&world));
    for _ in 0..10 {
        let mut stream = open(&world);
        stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).unwrap();
        let mut sender = stream.try_clone().unwrap();
        let chunk = [b"4000\r\n", &[b'x'; 0x4000][..], b"\r\n"].concat();
        let sending = std::thread::spawn(move || while sender.write_all(&chunk).is_ok() {});
        let mut all = Vec::new();
        let _cut = stream.read_to_end(&mut all);
        let all = String::from_utf8(all).unwrap();
        assert!(all.contains("part") && !all.ends_with("0\r\n\r\n"), "{all}");
        let _ = stream.shutdown(std::net::Shutdown::Both);
        sending.join().unwrap();
    }
}

/// The call's own line was written with its head, and says that all went well.
#[track_caller]
fn is_told_as_cut(world: &World, api: &FakeApi) {
    let lines = world.log("answer_cut");
    let of_it: Vec<_> = lines.iter().filter(|line| line["server"] == api.address().to_string()).collect();
    assert!(of_it.len() == 1 && of_it[0]["level"] == "WARN", "{lines:?}");
    assert_eq!(of_it[0]["detail"], "the answer broke off");
    let whose = ["client", "address", "status"].map(|member| of_it[0][member].to_string());
    assert_eq!(whose, [format!("\"{OLD_ID}\""), "\"127.0.0.1\"".to_owned(), "200".to_owned()], "{lines:?}");
    let logins = world.log("\"grant\":");
    assert!(logins.iter().any(|login| ["family", "token"].iter().all(|member| login[member] == of_it[0][member])));
    assert!((world.metric("passbridge_api_answers_cut_total") - 1.0).abs() < 0.1);
}

#[test]
fn an_api_is_not_blamed_for_a_caller_that_breaks_off_while_it_answers() {
    let api = FakeApi::start(|mut caller| {
        caller.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
        while caller.stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
    });
    let world = plan(&api, "").start();
    let bearer = uuid(&world);
    let mut stream = open(&world);
    let head =
        format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {bearer}\r\nContent-Length: 10\r\n\r\nabc");
    stream.write_all(head.as_bytes()).unwrap();
    until(&mut stream, "\r\na\r\n");
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest);
    assert!(!rest.contains("0\r\n\r\n"), "cut, not ended: {rest}");
    assert!(world.metric("passbridge_api_answers_cut_total") < 0.1, "{:?}", world.log("answer_cut"));
}

/// Its head was told, and the call's line with it: somebody has to say why there is no more of the answer.
#[test]
fn an_answer_that_is_cut_as_its_request_became_too_long_is_told_once_as_the_clients_fault() {
    let one = FakeApi::start(|mut caller| {
        caller.head();
        caller.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nword\r\n");
        while caller.stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
    });
    let two = Frames::api(|api, stream| {
        api.send(frames::HEADERS, frames::END_HEADERS, stream, &frames::head(&[(":status", "200")]));
        api.send(frames::DATA, 0, stream, b"word")
    });
    for (api, more) in [(one, ""), (two, ", http2 = true")] {
        let world = plan(&api, more).set("gateway", "body", "1024").start();
        let head = format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", uuid(&world));
        let mut stream = open(&world);
        stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).unwrap();
        until(&mut stream, "word");
        stream.write_all(format!("401\r\n{}\r\n", "x".repeat(1025)).as_bytes()).unwrap();
        let mut rest = String::new();
        let _ = stream.read_to_string(&mut rest);
        assert!(!rest.contains("0\r\n\r\n"), "cut, not ended: {rest}");
        is_told_as_the_clients(&world);
    }
}

#[track_caller]
fn is_told_as_the_clients(world: &World) {
    let detail = "the body is longer than `gateway.body`";
    let record = || world.audit().into_iter().filter(|record| record["what"] == "api_call").collect::<Vec<_>>();
    eventually("it is in the audit", || !record().is_empty());
    let (lines, records) = (world.log("call_cut"), record());
    let family = records[0]["family"].clone();
    let of_it: Vec<_> = lines.iter().filter(|line| line["family"] == family).collect();
    assert!(of_it.len() == 1 && of_it[0]["level"] == "INFO" && records.len() == 1, "{lines:?} {records:?}");
    let said = ["outcome", "fault", "detail", "client", "address"].map(|member| of_it[0][member].as_str().unwrap());
    assert_eq!(said, ["invalid_request", "client", detail, OLD_ID, "127.0.0.1"]);
    assert_eq!((&of_it[0]["status"], &of_it[0]["token"]), (&200.into(), &records[0]["token"]));
    assert_eq!(
        ["outcome", "fault", "why"].map(|member| records[0][member].as_str().unwrap()),
        [said[0], said[1], detail]
    );
    let requests =
        format!("passbridge_requests_total{{endpoint=\"api\",client=\"{OLD_ID}\",outcome=\"invalid_request\"}}");
    let faults = format!("passbridge_faults_total{{client=\"{OLD_ID}\",fault=\"client\"}}");
    for metric in [&requests, &faults] {
        assert!((world.metric(metric) - 1.0).abs() < 0.1, "{metric}");
    }
    assert!(world.metric("passbridge_api_answers_cut_total") < 0.1, "the API is not blamed");
}

#[test]
fn an_answer_longer_than_it_said_is_not_the_next_ones_beginning() {
    let api = FakeApi::closing(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 500 Smuggled\r\n\r\n");
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let mut connection = connect(&world);
    for _ in 0..3 {
        let reply = connection.ask(&get("/api", &uuid));
        assert_eq!((reply.status, reply.body.as_str()), (200, "good"));
    }
    assert_eq!(api.connections(), 3);
}

#[test]
fn a_head_request_has_a_length_and_no_body() {
    let api = FakeApi::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n");
    let world = plan(&api, "").start();
    let head = String::from_utf8(get("/api", &uuid(&world))).unwrap().replace("GET", "HEAD");
    let mut connection = connect(&world);
    for _ in 0..2 {
        connection.write(head.as_bytes());
        let reply = connection.reply_without_body().unwrap();
        assert_eq!(reply.header("content-length").as_deref(), Some("1234"));
    }
    assert_eq!(api.connections(), 1);
}

#[test]
fn a_web_socket_is_dug_through() {
    let api = web_socket();
    let world = plan(&api, "").start();
    let mut stream = open(&world);
    let request = format!(
        "GET /api HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\
         Authorization: Bearer {}\r\n\r\n",
        uuid(&world)
    );
    stream.write_all(request.as_bytes()).unwrap();
    let head = until(&mut stream, "hello").to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"), "{head}");
    stream.write_all(b"ping").unwrap();
    until(&mut stream, "ping");
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0, "the API has closed");
    let seen = api.only();
    assert_eq!(seen.header("upgrade").as_deref(), Some("websocket"));
    assert!(seen.header("authorization").unwrap().starts_with("Bearer eyJ"));
}

/// RFC 9110 sections 7.8 and 15.5.22: both must say it.
#[test]
fn to_what_an_api_switches_or_wants_to_is_said_or_it_is_no_answer() {
    for (answer, status, upgrade) in [
        (&b"HTTP/1.1 101 Switching Protocols\r\n\r\nhello"[..], 502, None),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nhello", 502, None),
        (
            b"HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
            426,
            Some("websocket"),
        ),
    ] {
        let api = FakeApi::closing(answer);
        let world = plan(&api, "").start();
        let asking = "Connection: Upgrade\r\nUpgrade: websocket\r\nAuthorization";
        let request = String::from_utf8(get("/api", &uuid(&world))).unwrap().replace("Authorization", asking);
        let reply = connect(&world).ask(request.as_bytes());
        assert_eq!((reply.status, reply.header("upgrade").as_deref()), (status, upgrade), "{}", reply.head);
        let connection = reply.header("connection").map(|said| said.to_ascii_lowercase());
        assert_eq!(connection.is_some_and(|said| said.contains("upgrade")), upgrade.is_some(), "{}", reply.head);
    }
}

/// Whoever gets such a tunnel sends an API whatever he likes, with any credentials and to any path (RFC 9113 appendix B has done away
/// with it).
#[test]
fn no_second_http_is_spoken_through_a_tunnel() {
    let api = FakeApi::start(|mut caller| {
        while let Some(seen) = caller.request() {
            caller.say(match seen.header("upgrade") {
                Some(_) => {
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n".as_slice()
                }
                None => b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood",
            });
        }
    });
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    for (version, wanted) in [
        ("1.1", "h2c"),
        ("1.1", "H2C"),
        ("1.1", "h2"),
        // By the names of its drafts, which servers of that age grant.
        ("1.1", "h2c-14"),
        ("1.1", "H2-16"),
        ("1.1", "websocket, h2c"),
        ("1.1", "HTTP/2.0"),
        ("1.1", "TLS/1.3"),
        // RFC 9110 section 7.8: there is nothing to be upgraded in HTTP/1.0.
        ("1.0", "websocket"),
    ] {
        let request = format!(
            "GET /api HTTP/{version}\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {wanted}\r\n\
             HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nAuthorization: Bearer {uuid}\r\n\r\n"
        );
        assert_eq!(connect(&world).ask(request.as_bytes()).body, "good", "{wanted}");
    }
    let is_plain = |name| api.seen().iter().all(|seen| seen.header(name).is_none());
    assert!(is_plain("connection") && is_plain("http2-settings"), "{:?}", api.seen());
}
