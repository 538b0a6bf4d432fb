//! Who reads an answer over HTTP/2 slowly and steadily: he gets all of it.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::http2::head;
use super::{plan, uuid};
use crate::support::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, SETTINGS, WINDOW_UPDATE,
};
use crate::support::{FakeApi, World, eventually};

/// Bytes that may be sent to whoever has said nothing of it (RFC 9113 section 6.9.2).
const FIRST_WINDOW: usize = 65_535;

/// An API that answers with so many bytes.
fn long(length: usize) -> FakeApi {
    FakeApi::start(move |mut caller| {
        caller.request();
        caller.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes());
        caller.say(&vec![b'x'; length]);
    })
}

/// The same, and it says so before the request has ended.
fn early(length: usize) -> FakeApi {
    FakeApi::start(move |mut caller| {
        let Some(head) = caller.head() else { return };
        caller.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes());
        caller.rest(head);
        caller.say(&vec![b'x'; length]);
    })
}

/// Calls, and has read as much as comes by itself.
fn begun(world: &World) -> Frames {
    let uuid = uuid(world);
    let mut client = Frames::open(world.running().addresses().gateway.unwrap());
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &head("GET", &uuid, &[]));
    read(&mut client, FIRST_WINDOW);
    client
}

#[track_caller]
fn read(client: &mut Frames, length: usize) {
    let mut left = length;
    while left > 0 {
        let part = client.until(DATA).unwrap_or_else(|| panic!("it is cut with {left} of {length} bytes to come"));
        left -= part.body.len();
    }
}

/// Reads what is left of the answer, so much of it whenever so long has passed.
#[track_caller]
fn read_slowly(client: &mut Frames, left: usize, (step, pause): (usize, Duration)) {
    let began = Instant::now();
    for (number, from) in (1..).zip((0..left).step_by(step)) {
        eventually("it takes its time", || began.elapsed() >= pause * number);
        let window = u32::try_from(step).unwrap().to_be_bytes();
        assert!(client.send(WINDOW_UPDATE, 0, 0, &window) && client.send(WINDOW_UPDATE, 0, 1, &window));
        read(client, step.min(left - from));
    }
}

/// The last part of an answer is out of our hands when one byte of it can be sent, and not when all of it is.
#[test]
fn a_connection_that_is_told_to_go_leaves_a_slow_reader_the_end_of_its_answer() {
    let api = long(100_000);
    let mut world = plan(&api, "").start();
    let mut client = begun(&world);
    world.running().stop();
    assert_eq!(client.until(GOAWAY).expect("it is told").code(), 0);
    read_slowly(&mut client, 100_000 - FIRST_WINDOW, (3_500, Duration::from_millis(350)));
    while client.next().is_some() {}
    world.end();
}

#[test]
fn a_slow_reader_gets_the_end_of_an_answer_that_began_before_his_request_had_ended() {
    let api = early(FIRST_WINDOW + 8_000);
    let mut world = plan(&api, "").start();
    let uuid = uuid(&world);
    let mut client = Frames::open(world.running().addresses().gateway.unwrap());
    client.send(HEADERS, END_HEADERS, 1, &head("POST", &uuid, &[]));
    client.until(HEADERS).expect("the answer has begun");
    client.send(DATA, END_STREAM, 1, b"the end");
    read(&mut client, FIRST_WINDOW);
    world.running().stop();
    assert_eq!(client.until(GOAWAY).expect("it is told").code(), 0);
    read_slowly(&mut client, 8_000, (800, Duration::from_millis(350)));
    while client.next().is_some() {}
    world.end();
}

/// As over HTTP/1.1: cut off is who takes nothing for so long, and not who takes less than there is.
#[test]
fn a_client_that_reads_little_at_a_time_keeps_its_answer() {
    let api = long(FIRST_WINDOW + 300_000);
    let world = plan(&api, "").set("gateway", "idle_timeout", "\"1500ms\"").start();
    let mut client = begun(&world);
    read_slowly(&mut client, 80_000, (800, Duration::from_millis(40)));
    read_slowly(&mut client, 220_000, (220_000, Duration::ZERO));
}

/// A client with room for megabytes, at the end of a line that takes little at once.
fn at_the_end_of_a_slow_line(world: &World) -> Frames {
    let line = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    line.set_recv_buffer_size(32 << 10).unwrap();
    line.connect(&world.running().addresses().gateway.unwrap().into()).unwrap();
    let mut client = Frames::over(TcpStream::from(line));
    let window = (8_u32 << 20).to_be_bytes();
    client.send(SETTINGS, 0, 0, &[&4_u16.to_be_bytes()[..], &window].concat());
    client.send(WINDOW_UPDATE, 0, 0, &window);
    client
}

/// Reads the answer at this pace, and says all the while how much he has read, as clients do.
fn read_to_the_end(world: &World, client: &mut Frames, length: usize, (is_drained, hears): (bool, bool)) {
    const STEP: (usize, Duration) = (1_000, Duration::from_millis(15));
    let (began, mut got) = (Instant::now(), 0);
    while got < length {
        let frame = client.next().unwrap_or_else(|| panic!("it is cut after {got} of {length} bytes"));
        match frame.kind {
            DATA => {
                let part = frame.body.len();
                if got == 0 && is_drained {
                    world.running().stop();
                }
                got += part;
                let steps = u32::try_from(got / STEP.0).unwrap();
                eventually("it takes its time", || began.elapsed() >= STEP.1 * steps);
                let window = u32::try_from(part).unwrap().to_be_bytes();
                assert!(client.send(WINDOW_UPDATE, 0, 0, &window), "closed after {got} of {length} bytes");
            }
            PING if hears => assert!(client.send(PING, ACK, 0, &frame.body)),
            _ => {}
        }
    }
    while client.next().is_some() {}
}

/// He has all the windows that he needs, and it is the kernel that holds what he has not read.
#[test]
fn a_connection_that_is_told_to_go_leaves_a_reader_on_a_slow_line_the_end_of_his_answer() {
    const LENGTH: usize = 400_000;
    let read = |(idle, is_drained, hears): (&str, bool, bool)| {
        let api = long(LENGTH);
        let mut world = plan(&api, "").set("limits", "head_timeout", &format!("\"{idle}\"")).start();
        let uuid = uuid(&world);
        let mut client = at_the_end_of_a_slow_line(&world);
        client.send(HEADERS, END_STREAM | END_HEADERS, 1, &head("GET", &uuid, &[]));
        read_to_the_end(&world, &mut client, LENGTH, (is_drained, hears));
        world.end();
    };
    thread::scope(|scope| {
        for case in [("60s", true, true), ("60s", true, false), ("200ms", false, true)] {
            scope.spawn(move || read(case));
        }
    });
}
