//! Who speaks HTTP/2 and ends a connection or a call before its time, frame by frame: APIs, and clients.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use parking_lot::Mutex;

use super::{call, get, open, routes, uuid};
use crate::support::frames::{
    CANCEL, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, NO_ERROR, REFUSED_STREAM, RST_STREAM, SETTINGS,
    frame, head,
};
use crate::support::{FakeApi, PATIENCE, Plan, World, eventually};

fn to(apis: &[&FakeApi]) -> Plan {
    let urls: Vec<String> = apis.iter().map(|api| format!("\"{}\"", api.url())).collect();
    routes(&format!("{{ prefix = \"/api\", upstream = [{}], http2 = true }}", urls.join(", ")))
}

/// Answers without a body.
fn answer(frames: &mut Frames, stream: u32) -> bool {
    frames.send(HEADERS, END_HEADERS | END_STREAM, stream, &head(&[(":status", "200")]))
}

/// Says a head that is none: with a name in capitals.
fn no_answer(frames: &mut Frames, stream: u32) -> bool {
    frames.send(HEADERS, END_HEADERS | END_STREAM, stream, &head(&[(":status", "200"), ("X-A", "b")]))
}

/// What so many calls hear.
fn heard(world: &World, uuid: &str, method: &str) -> Vec<u16> {
    let request = String::from_utf8(get("/api", uuid)).unwrap().replacen("GET", method, 1);
    (0..6).map(|_| call(world, request.as_bytes()).status).collect()
}

#[test]
fn a_server_that_takes_calls_over_http2_and_answers_none_is_passed_over_too() {
    let silent = || Frames::api(|_, _| false);
    let wrong = || FakeApi::closing(b"SSH-2.0-OpenSSH_9.2\r\n");
    for broken in [silent(), wrong(), Frames::api(no_answer)] {
        let good = Frames::api(answer);
        let world = to(&[&broken, &good]).start();
        let uuid = uuid(&world);
        assert_eq!(heard(&world, &uuid, "GET"), [200; 6], "a safe call is sent to the next");
        assert_eq!(broken.connections(), 1, "and no second one comes here");
        world.turn(5);
        let said = heard(&world, &uuid, "POST");
        let lost = said.iter().filter(|status| **status != 200).count();
        assert_eq!((lost, broken.connections()), (1, 2), "one call may have done something: {said:?}");
    }
}

#[test]
fn a_safe_call_on_a_kept_connection_that_breaks_is_sent_once_more() {
    // Each connection answers its first call, and closes on its second.
    let api = Frames::api(|frames, stream| stream == 1 && answer(frames, stream));
    let world = to(&[&api]).start();
    let uuid = uuid(&world);
    assert_eq!((heard(&world, &uuid, "GET"), api.connections()), (vec![200; 6], 6));
    let said = heard(&world, &uuid, "POST");
    assert!(said.contains(&502), "it may have done something: {said:?}");
}

/// What is heard of a call, to its connection's end. `more`: of its head, and of a body.
fn to_the_end(world: &World, uuid: &str, (method, more): (&str, &str)) -> String {
    let (mut stream, mut heard) = (open(world), String::new());
    let head = format!("{method} /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {uuid}\r\nConnection: close\r\n");
    stream.write_all(format!("{head}{more}").as_bytes()).unwrap();
    stream.read_to_string(&mut heard).unwrap();
    heard
}

/// As over HTTP/1.1 (`streaming`): what an event stream said last counts, even where it is given up right behind.
#[test]
fn what_an_api_said_before_it_gave_a_call_up_reaches_the_client() {
    for (code, why) in [(CANCEL, "stream no longer needed"), (NO_ERROR, "NO_ERROR")] {
        let api = Frames::api(move |frames, stream| {
            let said = [
                frame(HEADERS, END_HEADERS, stream, &head(&[(":status", "200")])),
                frame(DATA, 0, stream, b"event"),
                frame(RST_STREAM, 0, stream, &code.to_be_bytes()),
            ];
            frames.say(&said.concat())
        });
        let world = to(&[&api]).start();
        let uuid = uuid(&world);
        for _ in 0..5 {
            let heard = to_the_end(&world, &uuid, ("GET", "\r\n"));
            let is_cut = heard.starts_with("HTTP/1.1 200") && heard.ends_with("\r\n\r\n5\r\nevent\r\n");
            assert!(is_cut, "cut, not ended: {heard}");
        }
        let of_it = |line: &&serde_json::Value| line["server"] == api.address().to_string();
        let lines = world.log("answer_cut");
        let told: Vec<_> = lines.iter().filter(of_it).map(|line| line["detail"].as_str().unwrap()).collect();
        assert!(told.len() == 5 && told.iter().all(|detail| detail.contains(why)), "{lines:?}");
    }
}

/// RFC 9113 section 8.1: so a server ends the request of a call that it has answered whole.
#[test]
fn an_answer_that_has_ended_is_whole_though_a_reset_without_an_error_follows() {
    let api = Frames::api(|frames, stream| {
        let said = [
            frame(HEADERS, END_HEADERS, stream, &head(&[(":status", "200")])),
            frame(DATA, END_STREAM, stream, b"event"),
            frame(RST_STREAM, 0, stream, &NO_ERROR.to_be_bytes()),
        ];
        frames.say(&said.concat())
    });
    let world = to(&[&api]).start();
    let uuid = uuid(&world);
    for call in [("GET", "\r\n"), ("POST", "Content-Length: 10\r\n\r\nhalf")] {
        let heard = to_the_end(&world, &uuid, call);
        assert!(heard.ends_with("\r\n\r\n5\r\nevent\r\n0\r\n\r\n"), "whole: {heard}");
    }
}

/// Turns away a call that it has not looked at (RFC 9113 section 8.7): this one alone, or all that come over this connection.
fn turn_away(frames: &mut Frames, stream: u32, alone: bool) -> bool {
    if alone {
        frames.send(RST_STREAM, 0, stream, &REFUSED_STREAM.to_be_bytes())
    } else {
        frames.send(GOAWAY, 0, 0, &[0; 8])
    }
}

fn post(body: &[u8], uuid: &str) -> Vec<u8> {
    let head = String::from_utf8(get("/api", uuid)).unwrap().replacen("GET", "POST", 1);
    let length = format!("\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.trim_end().as_bytes(), length.as_bytes(), body].concat()
}

/// A server that is restarted, or has had enough of a connection, says so under way: nobody shall notice.
#[test]
fn a_call_that_a_server_has_not_looked_at_is_sent_once_more_with_its_small_body() {
    for alone in [true, false] {
        let asked = AtomicUsize::new(0);
        let api = Frames::api(move |frames, stream| match asked.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => turn_away(frames, stream, alone),
            _ => answer(frames, stream),
        });
        let url = api.url();
        let route = format!("{{ prefix = \"/api\", upstream = \"{url}\", http2 = true, bearer_jwt = \"pass\" }}");
        let world = routes(&route).start();
        // Over a connection that was just opened too.
        assert_eq!(call(&world, &get("/api", &uuid(&world))).status, 200, "{alone}");
        for carried in [uuid(&world).as_str(), "a.b.c"] {
            for body in [&b"abc"[..], &vec![b'x'; 2000], b""] {
                let said = call(&world, &post(body, carried)).status;
                assert_eq!(said, 200, "{alone}, {carried}, {} bytes", body.len());
            }
            assert_eq!(call(&world, &post(&vec![b'x'; 70_000], carried)).status, 502, "of that no copy is kept");
            // Turned away once, that one: the next is answered at once.
            assert_eq!(call(&world, &post(b"", carried)).status, 200);
        }
    }
}

#[test]
fn a_call_that_is_turned_away_again_is_given_up_and_the_log_says_why() {
    let api = Frames::api(|frames, stream| turn_away(frames, stream, true));
    let world = to(&[&api]).start();
    let uuid = uuid(&world);
    for (request, why) in [(post(b"abc", &uuid), "refused stream"), (get("/api", &uuid), "refused stream")] {
        assert_eq!(call(&world, &request).status, 502);
        let lines = world.log("api_down");
        let detail = lines.last().expect("the log tells it")["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(&format!("{}: ", api.address())) && detail.contains(why), "{detail}");
    }
    let wrong =
        Frames::api(|frames, stream| frames.send(HEADERS, END_HEADERS | END_STREAM, stream, &head(&[("a", "b")])));
    let world = to(&[&wrong]).start();
    assert_eq!(call(&world, &get("/api", &super::uuid(&world))).status, 502);
    assert!(!world.log("unspecific protocol error").is_empty(), "{:?}", world.log("api_down"));
    // What it says in its own words may be anything.
    let chatty = Frames::api(|frames, _| frames.send(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\x02planted-words"));
    let world = to(&[&chatty]).start();
    assert_eq!(call(&world, &post(b"abc", &super::uuid(&world))).status, 502);
    assert!(!world.log("unexpected internal error").is_empty(), "{:?}", world.log("api_down"));
    let told = world.log("api_down");
    assert!(told.iter().all(|line| !line.to_string().contains("planted-words")), "{told:?}");
}

/// RFC 9113 section 8.1.1 has a stream end by that, and h2 the connection: all of its calls hear the same, and each safe one is sent once more, alone.
#[test]
fn an_answer_that_is_none_costs_no_safe_call_of_others() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (say, last_is_here) = channel();
    let (say, last_is_here) = (Mutex::new(say), Mutex::new(last_is_here));
    let api = Frames::api(move |frames, stream| match count.fetch_add(1, Ordering::SeqCst) {
        1 => true,
        2 => no_answer(frames, stream),
        3 => {
            last_is_here.lock().recv_timeout(PATIENCE).expect("the other comes over a connection of its own");
            no_answer(frames, stream)
        }
        4 => {
            say.lock().send(()).unwrap();
            answer(frames, stream)
        }
        _ => answer(frames, stream),
    });
    let world = to(&[&api]).start();
    let uuid = uuid(&world);
    let get = get("/api", &uuid);
    assert_eq!(call(&world, &get).status, 200);
    let mut said = thread::scope(|scope| {
        let other = scope.spawn(|| call(&world, &get).status);
        eventually("another waits", || asked.load(Ordering::SeqCst) == 2);
        [call(&world, &get).status, other.join().unwrap()]
    });
    said.sort_unstable();
    assert_eq!(said, [200, 502], "which of the two it was only the API knows");
    assert_eq!((asked.load(Ordering::SeqCst), api.connections()), (5, 3));
    assert_eq!(call(&world, &get).status, 200);
}

/// A server that takes no call for now, and then goes: the one that waited for its place was never sent, and is sent to whoever comes next.
#[test]
fn a_safe_call_that_waits_for_its_place_on_a_connection_that_goes_is_sent_over_another() {
    let asked = AtomicUsize::new(0);
    let (tell, go) = channel();
    let go = Mutex::new(go);
    let api = Frames::api(move |frames, stream| {
        if asked.fetch_add(1, Ordering::SeqCst) > 0 {
            return answer(frames, stream);
        }
        // `SETTINGS_MAX_CONCURRENT_STREAMS` of 0.
        frames.send(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 0]);
        answer(frames, stream);
        go.lock().recv_timeout(PATIENCE).expect("it is told to go");
        frames.send(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
        false
    });
    let world = to(&[&api]).start();
    let uuid = uuid(&world);
    let get = get("/api", &uuid);
    assert_eq!(call(&world, &get).status, 200);
    thread::scope(|scope| {
        let mut calls = Vec::new();
        // The first of these waits, and others, until it is known that no more are taken.
        eventually("one comes over another connection", || {
            calls.push(scope.spawn(|| call(&world, &get).status));
            api.connections() >= 2
        });
        tell.send(()).unwrap();
        for call in calls {
            assert_eq!(call.join().unwrap(), 200);
        }
    });
    let mut ours = world.log(&api.address().to_string());
    ours.retain(|line| line["outcome"] == "api_down");
    assert!(ours.is_empty(), "{ours:?}");
}

/// An API that answers GET; of the first call of another method it tells what it reads, up to `half` and to the end.
fn halved(say: &Sender<Vec<u8>>) -> FakeApi {
    let say = Mutex::new(say.clone());
    FakeApi::start(move |mut caller| {
        let (mut read, mut byte) = (Vec::new(), [0]);
        while !read.ends_with(b"half") {
            if caller.stream.read_exact(&mut byte).is_err() {
                return;
            }
            read.extend(byte);
            if read.starts_with(b"GET ") && read.ends_with(b"\r\n\r\n") {
                caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
                read.clear();
            }
        }
        say.lock().send(read.clone()).unwrap();
        let _cut = caller.stream.read_to_end(&mut read);
        say.lock().send(read).unwrap();
    })
}

/// A client's half of a body, and then a reset that is no error, as hyper also has it of who does not answer its pings: no end.
#[test]
fn a_body_that_its_client_gives_up_without_an_error_is_cut_and_not_ended() {
    for (length, end) in [(&[][..], "4\r\nhalf\r\n"), (&[("content-length", "10")][..], "\r\n\r\nhalf")] {
        let (say, read) = channel();
        let apis = [halved(&say), halved(&say)];
        let urls = apis.each_ref().map(|api| format!("\"{}\"", api.url())).join(", ");
        let world = routes(&format!("{{ prefix = \"/api\", upstream = [{urls}] }}")).start();
        let uuid = uuid(&world);
        let mut client = Frames::open(world.running().addresses().gateway.unwrap());
        client.send(HEADERS, END_HEADERS, 1, &super::http2::head("POST", &uuid, length));
        client.send(DATA, 0, 1, b"half");
        read.recv_timeout(PATIENCE).expect("it is on its way");
        client.send(RST_STREAM, 0, 1, &NO_ERROR.to_be_bytes());
        let all = read.recv_timeout(PATIENCE).expect("the API's connection is closed");
        let all = String::from_utf8(all).unwrap();
        assert!(all.ends_with(end), "cut, not ended: {all}");
        let asked = apis.iter().find(|api| api.connections() > 0).expect("one of them was asked");
        let is_blamed = |line: &serde_json::Value| line["detail"].to_string().contains(&asked.address().to_string());
        assert_eq!(heard(&world, &uuid, "GET"), [200; 6]);
        let blamed: Vec<_> = world.log("api_down").into_iter().filter(is_blamed).collect();
        assert!(blamed.is_empty(), "{blamed:?}");
        assert_eq!(asked.connections(), 2, "it is not passed over");
    }
}
