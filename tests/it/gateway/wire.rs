//! The connection to an API, as the API sees it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use parking_lot::Mutex;

use super::{call, connect, get, open, plan, posting, routes, until, uuid};
use crate::support::{FakeApi, eventually};

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";

#[test]
fn a_connection_is_used_again_after_every_answer_that_tells_its_end() {
    for (answer, end) in [
        (&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\ngood\r\n0\r\n\r\n"[..], "good\r\n0\r\n\r\n"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "\r\n\r\n"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", "\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\ngood", "good"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood", "good"),
    ] {
        let api = FakeApi::saying(answer);
        let world = plan(&api, "").start();
        let uuid = uuid(&world);
        let mut stream = open(&world);
        for _ in 0..3 {
            stream.write_all(&get("/api", &uuid)).unwrap();
            let said = until(&mut stream, end);
            assert!(!said.contains("103") && !said.contains("x=y"), "{said}");
        }
        assert_eq!((api.connections(), api.seen().len()), (1, 3), "{}", String::from_utf8_lossy(answer));
    }
}

#[test]
fn a_connection_is_not_used_again_where_the_api_closes_it_or_says_more_than_it_was_asked() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngood"[..],
        b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\ngood",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 200 Unasked\r\nContent-Length: 0\r\n\r\n",
    ] {
        let api = FakeApi::saying(answer);
        let world = plan(&api, "").start();
        let uuid = uuid(&world);
        for _ in 0..2 {
            let reply = call(&world, &get("/api", &uuid));
            assert_eq!((reply.status, reply.body.as_str()), (200, "good"));
        }
        assert_eq!(api.connections(), 2, "{}", String::from_utf8_lossy(answer));
    }
}

#[test]
fn a_body_that_ends_with_its_connection_comes_whole() {
    let api = FakeApi::closing(b"HTTP/1.1 200 OK\r\n\r\nall that there is");
    let world = plan(&api, "").start();
    let mut stream = open(&world);
    stream.write_all(&get("/api", &uuid(&world))).unwrap();
    // Framed anew, so that its end can be told from a cut.
    until(&mut stream, "\r\nall that there is\r\n0\r\n\r\n");
}

#[test]
fn a_connection_that_the_api_has_closed_is_not_taken() {
    let closed = std::sync::Arc::new(AtomicUsize::new(0));
    let api = {
        let closed = std::sync::Arc::clone(&closed);
        FakeApi::start(move |mut caller| {
            caller.request();
            caller.say(GOOD);
            drop(caller);
            closed.fetch_add(1, Ordering::Relaxed);
        })
    };
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    for times in 1..=3 {
        assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
        eventually("the API closes", || closed.load(Ordering::Relaxed) == times);
    }
    assert_eq!(api.seen().len(), 3, "none was lost, and none was sent twice");
}

#[test]
fn a_connection_that_is_five_minutes_old_is_not_used_for_another_call() {
    let api = FakeApi::saying(GOOD);
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    for (later, connections) in [(0, 1), (299, 1), (1, 2), (299, 2), (1, 3)] {
        world.turn(later);
        assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
        assert_eq!(api.connections(), connections);
    }
}

#[test]
fn an_old_connection_is_better_than_none_and_then_for_as_long_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Nobody else gets in.
        drop(listener);
        let mut line = String::new();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        while lines.read_line(&mut line).unwrap() > 0 {
            if std::mem::take(&mut line) == "\r\n" {
                stream.write_all(GOOD).unwrap();
            }
        }
    });
    let world = routes(&format!("{{ prefix = \"/api\", upstream = \"{upstream}\" }}")).start();
    let uuid = uuid(&world);
    for _ in 0..3 {
        for later in [0, 300, 0] {
            world.turn(later);
            assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
        }
    }
}

#[test]
fn an_answer_that_comes_before_the_request_has_ended_is_passed_on_at_once() {
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let api = FakeApi::start(move |mut caller| {
        let mut line = String::new();
        while !line.ends_with("\r\n\r\n") {
            BufRead::read_line(&mut caller.stream, &mut line).unwrap();
        }
        caller.say(b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nearly");
        let mut body = [0; 4];
        caller.stream.read_exact(&mut body).unwrap();
        assert_eq!(&body, b"body");
        let _ = gate.lock().recv();
    });
    let world = plan(&api, "").start();
    let mut stream = open(&world);
    stream.write_all(&posting(&uuid(&world), "Content-Length: 4\r\n\r\nbo")).unwrap();
    let answer = until(&mut stream, "early");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    stream.write_all(b"dy").unwrap();
    go.send(()).unwrap();
}

#[test]
fn what_an_api_says_that_is_no_http_is_told_as_that() {
    for answer in [
        &b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let api = FakeApi::saying(answer);
        let world = plan(&api, "").start();
        let reply = call(&world, &get("/api", &uuid(&world)));
        assert_eq!(reply.status, 502, "{}", String::from_utf8_lossy(answer));
    }
}

#[test]
fn a_head_that_does_not_end_is_given_up() {
    let api = FakeApi::start(|mut caller| {
        caller.request();
        caller.say(b"HTTP/1.1 200 OK\r\n");
        for _ in 0..200 {
            caller.say(format!("X: {}\r\n", "x".repeat(1000)).as_bytes());
        }
    });
    let world = plan(&api, "").start();
    assert_eq!(call(&world, &get("/api", &uuid(&world))).status, 502);
}

#[test]
fn a_chunk_that_is_none_cuts_the_answer() {
    let api = FakeApi::saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfirst\r\n0\r\n\r\n");
    let world = plan(&api, "").start();
    let mut stream = open(&world);
    stream.write_all(&get("/api", &uuid(&world))).unwrap();
    let mut all = String::new();
    let _ = stream.read_to_string(&mut all);
    assert!(!all.ends_with("0\r\n\r\n"), "it must not look whole: {all}");
}

#[test]
fn of_two_lengths_the_client_hears_the_one_that_counted() {
    let api = FakeApi::saying(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n",
    );
    let world = plan(&api, "").start();
    let mut stream = open(&world);
    stream.write_all(&get("/api", &uuid(&world))).unwrap();
    let said = until(&mut stream, "4\r\ngood\r\n0\r\n\r\n");
    assert!(!said.to_ascii_lowercase().contains("content-length"), "{said}");
}

#[test]
fn the_reason_that_an_api_gives_reaches_the_client() {
    // The last two are in no ASCII: UTF-8, and what was meant by whoever wrote it.
    for line in [&b"200 Very Well"[..], b"200 ", b"299 Sehr sch\xc3\xb6n", b"404 \xcd\xe5\xf2 \xf2\xe0\xea\xee\xe3\xee"]
    {
        let said = [b"HTTP/1.1 ", line, b"\r\n"].concat();
        let answer = [b"\r\n", &said[..], b"Content-Length: 0\r\n\r\n"].concat().leak();
        let api = FakeApi::saying(answer);
        let world = plan(&api, "").start();
        let mut stream = open(&world);
        stream.write_all(&get("/api", &uuid(&world))).unwrap();
        let mut heard = vec![0; said.len()];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(heard.escape_ascii().to_string(), said.escape_ascii().to_string());
    }
}

#[test]
fn blanks_behind_a_name_in_an_answer_go_no_further() {
    let api = FakeApi::saying(b"HTTP/1.1 200 OK\r\nX-A : 1\r\nX-B\t \t:2\r\nContent-Length : 4\r\n\r\ngood");
    let world = plan(&api, "").start();
    let mut connection = connect(&world);
    for _ in 0..2 {
        let reply = connection.ask(&get("/api", &uuid(&world)));
        assert_eq!((reply.status, reply.body.as_str()), (200, "good"), "{}", reply.head);
        assert!(reply.head.contains("\r\nX-A: 1\r\nX-B: 2\r\n"), "{}", reply.head);
    }
}

#[test]
fn a_body_in_chunks_reaches_the_api_whatever_the_method_and_its_trailers_too() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let framing = "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\nX-Other: 7\r\n\r\n";
    let mut connection = connect(&world);
    for method in ["POST", "GET"] {
        let request = String::from_utf8(posting(&uuid, framing)).unwrap().replacen("POST", method, 1);
        let reply = connection.ask(request.as_bytes());
        assert_eq!((reply.status, reply.header("connection")), (200, None), "{method}: the connection is kept");
    }
    for seen in api.seen() {
        assert_eq!(String::from_utf8_lossy(&seen.body), "3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n", "{}", seen.head);
    }
}

#[test]
fn a_long_body_passes_whole_both_ways() {
    let api = FakeApi::start(|mut caller| {
        while let Some(seen) = caller.request() {
            caller.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.body.len()).as_bytes());
            caller.say(&seen.body);
        }
    });
    let world = plan(&api, "").start();
    let body: String = (0..60_000).map(|number| format!("{number:06} ")).collect();
    let head = format!("Content-Length: {}\r\n\r\n", body.len());
    let mut connection = connect(&world);
    for _ in 0..2 {
        let reply = connection.ask(&[posting(&uuid(&world), &head), body.clone().into_bytes()].concat());
        assert!(reply.status == 200 && reply.body == body);
    }
    assert_eq!(api.connections(), 1);
}

#[test]
fn an_answer_of_many_headers_comes_whole_and_of_too_many_not_at_all() {
    for (lines, status) in [(255, 200), (256, 502)] {
        let head = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 4\r\n\r\ngood", "X-Own: a\r\n".repeat(lines));
        let api = FakeApi::saying(head.leak().as_bytes());
        let world = plan(&api, "").start();
        let mut stream = open(&world);
        stream.write_all(&get("/api", &uuid(&world))).unwrap();
        let said = until(&mut stream, if status == 200 { "good" } else { "}" });
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{said}");
        assert_eq!(said.to_ascii_lowercase().matches("\r\nx-own: a").count(), if status == 200 { 255 } else { 0 });
    }
}

/// Answers the first call of each connection, and hangs up on the second one once it has heard it.
fn hanging_up_on_the_second() -> FakeApi {
    FakeApi::start(|mut caller| {
        caller.request();
        caller.say(GOOD);
        caller.request();
    })
}

#[test]
fn a_safe_call_that_a_kept_connection_does_not_answer_goes_out_on_another() {
    let api = hanging_up_on_the_second();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    for _ in 0..5 {
        assert_eq!(call(&world, &get("/api", &uuid)).body, "good");
    }
    assert_eq!((api.connections(), api.seen().len()), (5, 9), "every second one is sent twice");
}

/// RFC 9112 section 9.3.1: what was sent again and failed is not sent again. A call that no server survives must not be shown to all of them.
#[test]
fn a_safe_call_is_not_tried_on_one_kept_connection_after_the_other() {
    const KEPT: usize = 5;
    let together = std::sync::Arc::new(std::sync::Barrier::new(KEPT));
    let api = FakeApi::start(move |mut caller| {
        let first = caller.request().is_some_and(|seen| seen.head.starts_with("GET /api/first "));
        if first {
            together.wait();
        }
        caller.say(GOOD);
        caller.request();
    });
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    std::thread::scope(|scope| {
        for _ in 0..KEPT {
            scope.spawn(|| assert_eq!(call(&world, &get("/api/first", &uuid)).body, "good"));
        }
    });
    assert_eq!(call(&world, &get("/api/second", &uuid)).body, "good");
    let second = api.seen().iter().filter(|seen| seen.head.starts_with("GET /api/second ")).count();
    assert_eq!(
        (second, api.connections()),
        (2, KEPT + 1),
        "once where it was not answered, and once on a new connection"
    );
}

#[test]
fn a_call_that_may_have_done_something_is_not_sent_again() {
    for framing in ["Content-Length: 0\r\n\r\n", "Content-Length: 4\r\n\r\nbody"] {
        let api = hanging_up_on_the_second();
        let world = plan(&api, "").start();
        let uuid = uuid(&world);
        assert_eq!(call(&world, &get("/api", &uuid)).body, "good");
        assert_eq!(call(&world, &posting(&uuid, framing)).status, 502);
        assert_eq!(api.seen().len(), 2);
    }
}

#[test]
fn a_safe_call_that_one_server_does_not_answer_goes_to_the_next_and_no_further() {
    let silent = || {
        FakeApi::start(|mut caller| {
            caller.request();
        })
    };
    let (one, other, good) = (silent(), silent(), FakeApi::good());
    let route = |apis: &[&FakeApi]| {
        let upstreams: Vec<String> = apis.iter().map(|api| format!("\"{}\"", api.url())).collect();
        routes(&format!("{{ prefix = \"/api\", upstream = [{}] }}", upstreams.join(", "))).start()
    };
    let world = route(&[&one, &good]);
    let uuid_here = uuid(&world);
    for _ in 0..4 {
        assert_eq!(call(&world, &get("/api", &uuid_here)).body, "good");
    }
    let heard = one.seen().len();
    let world = route(&[&one, &other]);
    assert_eq!(call(&world, &get("/api", &uuid(&world))).status, 502);
    assert_eq!((one.seen().len(), other.seen().len()), (heard + 1, 1), "each is asked once");
}

/// Else whatever stands between, a firewall say, forgets a connection that is silent for long, and tells nobody: the next call on it would
/// wait for its answer to the end.
#[test]
fn a_connection_that_waits_is_kept_alive_by_the_kernel() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    assert_eq!(call(&world, &get("/api", &uuid(&world))).status, 200);
    let port = format!(":{:04X}", api.address().port());
    // proc_pid_net(5): the second address is the other side's; a timer of the kind 2 is that of keep-alive.
    let is_ours = |fields: &[&str]| fields.get(2).is_some_and(|other| other.ends_with(&port)) && fields[3] == "01";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let timers: Vec<String> = lines.filter(|fields| is_ours(fields)).map(|fields| fields[5].to_owned()).collect();
    assert!(timers.len() == 1 && timers[0].starts_with("02:"), "{timers:?}");
}
