//! Frames of HTTP/2 that cost who reads them more than who sends them: bounded, and felt by nobody else.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use futures_util::FutureExt;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};

use super::http2::{Sender, ask, getting, on_http2};
use super::many::{is_served, passbridge, resident, serving};
use super::{call, get, plan, routes, uuid};
use crate::support::frames::{self, Frames};
use crate::support::raw::answered_meanwhile;
use crate::support::{Connection, FakeApi, World};

const RST_OF: u8 = frames::RST_STREAM;
const WHOLE: u8 = frames::END_STREAM | frames::END_HEADERS;
const PRIORITY: u8 = 2;

const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;

fn frames(world: &World) -> Frames {
    Frames::open(world.running().addresses().gateway.unwrap())
}

fn head(method: &str, uuid: &str) -> Vec<u8> {
    let bearer = format!("Bearer {uuid}");
    frames::head(&[
        (":method", method),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/api"),
        ("authorization", &bearer),
    ])
}

#[test]
fn frames_that_ask_for_an_answer_do_not_pile_up_where_nobody_reads_them() {
    let api = FakeApi::good();
    let (_world, program, uuid) = serving(plan(&api, ""), passbridge());
    is_served(program.gateway(), &uuid);
    for (what, kind, body) in [
        ("pings", frames::PING, [7u8; 8].as_slice()),
        ("settings", frames::SETTINGS, &[0, 3, 0, 0, 0, 9]),
        ("empty", frames::SETTINGS, &[]),
    ] {
        let before = resident(program.id());
        let mut flood = Frames::open(program.gateway()).impatient();
        // Nothing is read of what they are answered with, and then they are not read either.
        let sent = (0..300_000).take_while(|_| flood.send(kind, 0, 0, body)).count();
        let grown = resident(program.id()).saturating_sub(before);
        assert!(grown < 8 << 20, "{what}: {grown} bytes more after {sent} of them");
        is_served(program.gateway(), &uuid);
    }
}

#[test]
fn frames_that_say_nothing_hold_nobody_up() {
    let api = FakeApi::good();
    let world = plan(&api, "").set("gateway", "idle_timeout", "\"1s\"").start();
    let uuid = uuid(&world);
    let mut flood = frames(&world);
    flood.send(frames::HEADERS, frames::END_HEADERS, 1, &head("POST", &uuid));
    for number in 0..50_000u32 {
        let is_open = match number % 3 {
            0 => flood.send(frames::DATA, 0, 1, b""),
            1 => flood.send(PRIORITY, 0, 3, &[0, 0, 0, 0, 1]),
            _ => flood.send(0xbe, 0, 0, b"unknown"),
        };
        if !is_open {
            break;
        }
    }
    assert_eq!(call(&world, &get("/api", &uuid)).body, "good", "others are served");
    flood.send(frames::DATA, frames::END_STREAM, 1, b"abc");
    let ended = std::iter::from_fn(|| flood.next())
        .find(|frame| [frames::HEADERS, frames::RST_STREAM, frames::GOAWAY].contains(&frame.kind));
    let ended = ended.expect("it is not left hanging");
    assert_eq!((ended.kind, ended.code()), (frames::GOAWAY, frames::ENHANCE_YOUR_CALM));
}

#[test]
fn a_window_beyond_all_bounds_is_an_error_of_its_connection_or_stream() {
    let api = FakeApi::start(|mut caller| while caller.request().is_some() {});
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let wide = 0x7fff_ffff_u32.to_be_bytes();
    for stream in [0, 1] {
        let mut client = frames(&world);
        client.send(frames::HEADERS, WHOLE, 1, &head("GET", &uuid));
        client.send(frames::WINDOW_UPDATE, 0, stream, &wide);
        client.send(frames::WINDOW_UPDATE, 0, stream, &wide);
        let told = client.until(if stream == 0 { frames::GOAWAY } else { RST_OF }).expect("it is told");
        assert_eq!(told.code(), FLOW_CONTROL_ERROR);
    }
}

#[test]
fn frames_out_of_order_or_of_the_wrong_length_end_their_connection() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let block = head("GET", &uuid);
    let (first, second) = block.split_at(10);
    type Play<'a> = &'a dyn Fn(&mut Frames);
    let cases: [(&str, u32, Play<'_>); 10] = [
        ("data on no stream", frames::PROTOCOL_ERROR, &|client| {
            client.send(frames::DATA, 0, 0, b"a");
        }),
        ("data on a stream that was never opened", frames::PROTOCOL_ERROR, &|client| {
            client.send(frames::DATA, 0, 1, b"a");
        }),
        ("a head on a stream of ours", frames::PROTOCOL_ERROR, &|client| {
            client.send(frames::HEADERS, WHOLE, 2, &block);
        }),
        ("a continuation of nothing", frames::PROTOCOL_ERROR, &|client| {
            client.send(frames::CONTINUATION, frames::END_HEADERS, 1, second);
        }),
        ("a frame in the middle of a head", frames::PROTOCOL_ERROR, &|client| {
            client.send(frames::HEADERS, frames::END_STREAM, 1, first);
            client.send(frames::PING, 0, 0, &[0; 8]);
        }),
        ("a head of another stream in the middle of a head", frames::PROTOCOL_ERROR, &|client| {
            client.send(frames::HEADERS, frames::END_STREAM, 1, first);
            client.send(frames::CONTINUATION, frames::END_HEADERS, 3, second);
        }),
        ("a stream that goes back", frames::PROTOCOL_ERROR, &|client| {
            client.send(frames::HEADERS, WHOLE, 5, &block);
            client.send(frames::HEADERS, WHOLE, 3, &block);
        }),
        // RFC 9113 section 6.7 has FRAME_SIZE_ERROR for it; h2 says this.
        ("a ping of seven bytes", frames::PROTOCOL_ERROR, &|client| {
            client.send(frames::PING, 0, 0, &[0; 7]);
        }),
        ("a frame longer than agreed", FRAME_SIZE_ERROR, &|client| {
            client.send(frames::HEADERS, WHOLE, 1, &vec![0; (1 << 14) + 1]);
        }),
        // RFC 9113 section 4.3 has COMPRESSION_ERROR for it; h2 says this.
        ("a head that is no HPACK", frames::PROTOCOL_ERROR, &|client| {
            client.send(frames::HEADERS, WHOLE, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        }),
    ];
    for (what, code, play) in cases {
        let mut client = frames(&world);
        play(&mut client);
        let told = client.until(frames::GOAWAY).unwrap_or_else(|| panic!("{what}: closed without a word"));
        assert_eq!(told.code(), code, "{what}");
    }
    assert_eq!(call(&world, &get("/api", &uuid)).body, "good", "others are served");
}

#[test]
fn small_heads_that_unpack_to_large_ones_are_bounded() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let mut client = frames(&world);
    // One field of 4000 bytes is remembered (RFC 7541 section 6.2.1), and then meant a thousand times, a byte each.
    let remembered = frames::head(&[("x", &"y".repeat(4_000))]);
    let mut block = head("GET", &uuid);
    block.push(0x40);
    block.extend_from_slice(&remembered[1..]);
    block.extend(std::iter::repeat_n(0xbe, 1_000));
    client.send(frames::HEADERS, WHOLE, 1, &block);
    let told =
        std::iter::from_fn(|| client.next()).find(|frame| [frames::HEADERS, frames::GOAWAY].contains(&frame.kind));
    assert!(told.is_some(), "it is told");
    assert!(api.seen().is_empty(), "4 MB of a head went on");
    assert_eq!(call(&world, &get("/api", &uuid)).body, "good", "others are served");
}

#[test]
fn a_length_that_the_body_does_not_have_is_no_request_for_the_next_to_end() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    for body in ["abcd", "ab"] {
        let bearer = format!("Bearer {uuid}");
        let block = frames::head(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/api"),
            ("authorization", &bearer),
            ("content-length", "3"),
        ]);
        let mut client = frames(&world);
        client.send(frames::HEADERS, frames::END_HEADERS, 1, &block);
        client.send(frames::DATA, frames::END_STREAM, 1, body.as_bytes());
        let told = client.until(RST_OF).expect("its stream is ended");
        assert_eq!((told.stream, told.code()), (1, frames::PROTOCOL_ERROR), "{body}");
        client.send(frames::HEADERS, WHOLE, 3, &head("GET", &uuid));
        let answer = client.until(frames::DATA).expect("the next is answered");
        assert_eq!((answer.stream, answer.body.as_slice()), (3, b"good".as_slice()));
        client.send(frames::PING, frames::ACK, 0, &[0; 8]);
    }
    assert!(api.seen().iter().all(|seen| seen.head.starts_with("GET ")), "{:?}", api.seen());
}

/// A proxy has one connection for many clients, and this server is not all there is behind it.
#[test]
fn uploads_that_their_api_does_not_read_hold_up_no_other_on_their_connection() {
    const FIRST_WINDOW: usize = 65_535;
    let read = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&read);
    // It takes what may be sent unasked, and never says that there may be more.
    let stuck = Frames::api(move |api, _| {
        while let Some(frame) = api.next() {
            if frame.kind == frames::DATA {
                seen.fetch_add(frame.body.len(), Ordering::SeqCst);
            }
        }
        false
    });
    let good = FakeApi::good();
    let stuck = format!("{{ prefix = \"/stuck\", upstream = \"{}\", http2 = true }}", stuck.url());
    let world = routes(&format!("{stuck}, {{ prefix = \"/api\", upstream = \"{}\" }}", good.url())).start();
    let uuid = uuid(&world);
    let post = |path: &str, body: Vec<u8>| {
        let mut request = getting(path, &uuid).map(|_| Full::from(body).boxed_unsync());
        *request.method_mut() = http::Method::POST;
        request
    };
    on_http2(&world, async |sender: Sender| {
        let upload = || {
            let (mut sender, request) = (sender.clone(), post("/stuck", vec![b'x'; 1 << 20]));
            async move { ask(&mut sender, request).await.status }
        };
        let others = async {
            let mut beyond = 0;
            while beyond < 20 {
                beyond += usize::from(read.load(Ordering::SeqCst) == FIRST_WINDOW);
                assert_eq!(ask(&mut sender.clone(), post("/api", b"abc".to_vec())).await.body, "good");
            }
        };
        let stuck = join_all((0..5).map(|_| upload()));
        let others = tokio::time::timeout(crate::support::PATIENCE, others);
        tokio::select! {
            ended = stuck.fuse() => panic!("nobody reads them: {ended:?}"),
            others = others => others.expect("others are served"),
        }
    });
}

#[test]
fn answers_to_pings_that_nobody_sent_are_no_lines_in_the_log() {
    let api = FakeApi::good();
    let (_world, mut program, _uuid) = serving(plan(&api, ""), passbridge());
    let mut flood = Frames::open(program.gateway());
    assert!(flood.say(&frames::frame(frames::PING, frames::ACK, 0, b"planted.").repeat(1_000)));
    flood.send(frames::PING, 0, 0, &[7; 8]);
    assert!(flood.until(frames::PING).is_some(), "they were read, and what comes behind them is answered");
    program.signal("TERM");
    assert!(program.ended().success());
    let log = program.log();
    assert!(log.contains("draining") && !log.contains("ping") && !log.contains("planted"), "{log}");
}

#[test]
fn whoever_says_nothing_but_pings_keeps_nobody_waiting_on_the_same_worker() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let flood = TcpStream::connect(world.running().addresses().gateway.unwrap()).unwrap();
    let _said_its_preface = Frames::over(flood.try_clone().unwrap());
    let (ping, answers) = (frames::frame(frames::PING, 0, 0, &[7; 8]), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| while (&flood).write_all(&ping.repeat(4_000)).is_ok() {});
        scope.spawn(|| {
            // But for some at the beginning all that is said are pings.
            let mut piece = vec![0; 64 << 10];
            while let Ok(read) = (&flood).read(&mut piece)
                && read > 0
            {
                answers.fetch_add(read / ping.len(), Ordering::Relaxed);
            }
        });
        let meanwhile = answered_meanwhile(
            &mut Connection::open(world.legacy()),
            b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
            &answers,
        );
        flood.shutdown(Shutdown::Both).unwrap();
        assert!(answers.load(Ordering::Relaxed) > 0, "they are answered");
        // A quarter of them, for the machine may have kept this thread waiting.
        assert!(meanwhile[10] < 9_000, "so many of the one are answered for each of the other: {meanwhile:?}");
    });
}
