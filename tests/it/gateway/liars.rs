//! APIs that answer what nobody should believe: cut off or refused, and never the beginning of another's answer.

use std::io::{Read, Write};
use std::sync::mpsc::channel;

use parking_lot::Mutex;

use super::{call, connect, get, open, plan, refused, told, uuid};
use crate::support::{FakeApi, PATIENCE, eventually};

#[test]
fn a_head_that_is_none_or_means_two_things_is_no_answer() {
    let long: &str = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20)).leak();
    let many: &str =
        format!("HTTP/1.1 200 OK\r\n{}\r\n", (0..5_000).map(|number| format!("X-{number}: 1\r\n")).collect::<String>())
            .leak();
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\ngood",
        "HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\ngood",
        "HTTP/1.1 200 OK\r\nContent-Length: 4, 5\r\n\r\ngood",
        "HTTP/1.1 20 OK\r\nContent-Length: 4\r\n\r\ngood",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/3.0 200 OK\r\n\r\n",
        "220 mail.example.org ESMTP\r\n",
        "HTTP/1.1 200 OK\r\nX Y: 1\r\nContent-Length: 4\r\n\r\ngood",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 4\r\n\r\ngood",
        long,
        many,
    ] {
        let api = FakeApi::closing(head.as_bytes());
        let world = plan(&api, "").start();
        let reply = call(&world, &get("/api", &uuid(&world)));
        let what = &head[..head.len().min(60)];
        assert_eq!(refused(&reply), told(502, "temporarily_unavailable", "3003000"), "{what:?}");
        api.only();
    }
}

#[test]
fn a_head_without_an_end_is_not_read_without_an_end() {
    let (say, heard) = channel::<usize>();
    let say = Mutex::new(say);
    let api = FakeApi::start(move |mut caller| {
        caller.request();
        caller.say(b"HTTP/1.1 200 OK\r\n");
        let line = format!("X-Flood: {}\r\n", "x".repeat(1_000));
        let sent = (0..100_000).take_while(|_| caller.stream.get_mut().write_all(line.as_bytes()).is_ok()).count();
        say.lock().send(sent).unwrap();
    });
    let world = plan(&api, "").start();
    let reply = call(&world, &get("/api", &uuid(&world)));
    assert_eq!(refused(&reply), told(502, "temporarily_unavailable", "3003000"));
    let sent = heard.recv_timeout(PATIENCE).expect("the API's connection is closed");
    assert!(sent < 20_000, "{sent} KB of a head were taken");
}

#[test]
fn interim_answers_without_an_end_are_not_waited_for_without_an_end() {
    let (say, heard) = channel::<()>();
    let say = Mutex::new(say);
    let api = FakeApi::start(move |mut caller| {
        caller.request();
        while caller.stream.get_mut().write_all(b"HTTP/1.1 102 Processing\r\n\r\n").is_ok() {}
        say.lock().send(()).unwrap();
    });
    let world = plan(&api, "").set("gateway", "timeout", "\"500ms\"").start();
    let reply = call(&world, &get("/api", &uuid(&world)));
    assert_eq!(refused(&reply), told(504, "temporarily_unavailable", "3003000"));
    heard.recv_timeout(PATIENCE).expect("the API's connection is closed");
}

/// Old clients take them for the answer (RFC 8297 section 3). A route that passes them: `interim`.
#[test]
fn early_hints_are_left_out_where_nobody_wants_them_and_the_final_answer_comes_whole() {
    let api = FakeApi::start(|mut caller| {
        while caller.request().is_some() {
            for _ in 0..3 {
                caller.say(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nContent-Length: 9\r\n\r\n");
            }
            caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Final: yes\r\n\r\ngood");
        }
    });
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let mut connection = connect(&world);
    for _ in 0..3 {
        let reply = connection.ask(&get("/api", &uuid));
        assert_eq!((reply.status, reply.body.as_str()), (200, "good"));
        assert_eq!((reply.header("x-final").as_deref(), reply.header("link")), (Some("yes"), None), "{}", reply.head);
    }
    super::http2::on_http2(&world, async |mut sender: super::http2::Sender| {
        let answer = super::http2::ask(&mut sender, super::http2::getting("/api", &uuid)).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, b"good".as_slice()));
        assert!(answer.headers.get("link").is_none() && answer.headers["x-final"] == "yes", "{answer:?}");
    });
    assert_eq!(api.connections(), 1, "its connection is used again");
}

#[test]
fn chunks_of_an_answer_that_are_none_cut_it_off() {
    for chunks in [
        "zz\r\ngood\r\n0\r\n\r\n",
        "4\r\ngoodX\r\n0\r\n\r\n",
        "4\r\ngood\r\n",
        "fffffffffffffffff\r\ngood",
        "-4\r\ngood",
        "\r\n\r\n",
        ";x\r\n\r\n",
        " 0\r\n\r\n",
        "4;a\n;b\r\ngood\r\n0\r\n\r\n",
    ] {
        let answer: &str = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").leak();
        let api = FakeApi::closing(answer.as_bytes());
        let world = plan(&api, "").start();
        let mut stream = open(&world);
        stream.write_all(&get("/api", &uuid(&world))).unwrap();
        let mut all = Vec::new();
        let _cut = stream.read_to_end(&mut all);
        let all = String::from_utf8(all).unwrap();
        assert!(!all.ends_with("0\r\n\r\n"), "{chunks:?} does not end well: {all}");
    }
}

#[test]
fn a_body_where_there_is_none_is_nobodys_answer() {
    for (method, head) in [
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"),
    ] {
        let api = FakeApi::start(move |mut caller| {
            caller.request();
            caller.say(&[head.as_bytes(), b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"].concat());
            let _until_closed = caller.request();
        });
        let world = plan(&api, "").start();
        let uuid = uuid(&world);
        let mut connection = connect(&world);
        for _ in 0..5 {
            connection.write(String::from_utf8(get("/api", &uuid)).unwrap().replace("GET", method).as_bytes());
            let reply = connection.reply_without_body().unwrap();
            assert!(head.contains(&format!(" {} ", reply.status)), "{method} {head:?}: {reply:?}");
        }
        assert_eq!(api.connections(), 5, "none of these connections is used again");
    }
}

#[test]
fn what_an_api_says_unasked_is_nobodys_answer() {
    let (ready, evil_is_out) = channel::<()>();
    let (go, begin) = channel::<()>();
    let (ready, begin) = (Mutex::new(ready), Mutex::new(begin));
    let api = FakeApi::start(move |mut caller| {
        // What is said after the next request has come is an answer to it for all that anybody can tell (docs/adr/0010).
        caller.stream.get_ref().set_nodelay(true).unwrap();
        while let Some(seen) = caller.request() {
            caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
            if seen.head.starts_with("GET /api/first ") {
                begin.lock().recv().unwrap();
                caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
                ready.lock().send(()).unwrap();
            }
        }
    });
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    for _ in 0..10 {
        // The answer has been read, and its connection waits for the next call: that is when the API speaks again.
        assert_eq!(call(&world, &get("/api/first", &uuid)).body, "good");
        go.send(()).unwrap();
        evil_is_out.recv_timeout(PATIENCE).unwrap();
        let mut connection = connect(&world);
        for _ in 0..3 {
            let reply = connection.ask(&get("/api/next", &uuid));
            assert_eq!(reply.body, "good");
        }
    }
    eventually("calls go on", || call(&world, &get("/api/next", &uuid)).body == "good");
}

/// None is asked for but chunks. Taken as it is, the coded bytes would reach the client as the API's own.
#[test]
fn a_coding_that_nobody_asked_for_is_no_answer() {
    for (version, coding) in [
        ("1.1", "Transfer-Encoding: gzip, chunked"),
        ("1.1", "Transfer-Encoding: gzip"),
        ("1.1", "Transfer-Encoding: chunked, chunked"),
        ("1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        ("1.1", "Transfer-Encoding:"),
        ("1.1", "Transfer-Encoding: xchunked"),
        ("1.1", "Transfer-Encoding: chunked;q=1"),
        ("1.0", "Transfer-Encoding: chunked"),
    ] {
        let answer: &str = format!("HTTP/{version} 200 OK\r\n{coding}\r\n\r\n4\r\ngood\r\n0\r\n\r\n").leak();
        let api = FakeApi::closing(answer.as_bytes());
        let world = plan(&api, "").start();
        let reply = call(&world, &get("/api", &uuid(&world)));
        assert_eq!(refused(&reply), told(502, "temporarily_unavailable", "3003000"), "{coding:?}");
    }
}

/// RFC 9110 section 8.6: what was said twice goes on once, and with 204 no length is told.
#[test]
fn a_length_that_is_said_twice_reaches_the_client_once() {
    for (method, status, lengths, heard) in [
        ("GET", "200 OK", "Content-Length: 4\r\nContent-Length: 4\r\n", Some("4")),
        ("GET", "200 OK", "Content-Length: 4, 4\r\n", Some("4")),
        ("HEAD", "200 OK", "Content-Length: 4\r\nContent-Length: 4\r\n", Some("4")),
        ("HEAD", "200 OK", "Content-Length: 4 ,4\r\n", Some("4")),
        ("HEAD", "200 OK", "Transfer-Encoding: chunked\r\nContent-Length: 7\r\n", None),
        ("GET", "304 Not Modified", "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n", None),
        ("GET", "304 Not Modified", "Content-Length: 4, 4\r\n", Some("4")),
        ("HEAD", "204 No Content", "Content-Length: 4\r\n", None),
        ("GET", "204 No Content", "Content-Length: 4\r\n", None),
    ] {
        let body = if method == "GET" && status == "200 OK" { "good" } else { "" };
        let answer: &str = format!("HTTP/1.1 {status}\r\n{lengths}\r\n{body}").leak();
        let api = FakeApi::saying(answer.as_bytes());
        let world = plan(&api, "").start();
        let mut connection = connect(&world);
        connection.write(String::from_utf8(get("/api", &uuid(&world))).unwrap().replacen("GET", method, 1).as_bytes());
        let reply = if body.is_empty() { connection.reply_without_body() } else { connection.reply() };
        let reply = reply.unwrap_or_else(|| panic!("{method} {lengths:?}: no answer"));
        assert_eq!((reply.header("content-length").as_deref(), reply.body.as_str()), (heard, body), "{}", reply.head);
        assert!(reply.head.to_ascii_lowercase().matches("content-length").count() < 2, "{}", reply.head);
    }
}
