//! Who sends many requests ahead on one connection, beside everybody else on the same worker.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::raw::answered_meanwhile;
use crate::support::{Connection, PATIENCE, Plan};

/// Requests that are answered without waiting for anything.
const AHEAD: &[u8] = b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n";

/// Counts the answers that come, until the connection ends.
fn count(mut stream: TcpStream, answers: &AtomicUsize) {
    let (mut piece, mut held) = (vec![0; 64 << 10], Vec::new());
    while let Ok(read) = stream.read(&mut piece)
        && read > 0
    {
        held.extend_from_slice(&piece[..read]);
        let found = held.windows(9).filter(|window| window == b"HTTP/1.1 ").count();
        answers.fetch_add(found, Ordering::Relaxed);
        held.drain(..held.len().saturating_sub(8));
    }
}

#[test]
fn whoever_sends_ahead_keeps_nobody_waiting_on_the_same_worker() {
    let world = Plan::new().start();
    let flood = TcpStream::connect(world.legacy()).unwrap();
    flood.set_read_timeout(Some(PATIENCE)).unwrap();
    let answers = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let ahead = AHEAD.repeat(1_000);
            while (&flood).write_all(&ahead).is_ok() {}
        });
        scope.spawn(|| count(flood.try_clone().unwrap(), &answers));
        let meanwhile = answered_meanwhile(&mut Connection::open(world.legacy()), AHEAD, &answers);
        flood.shutdown(Shutdown::Both).unwrap();
        assert!(answers.load(Ordering::Relaxed) > 0, "they are answered");
        // A quarter of them, for the machine may have kept this thread waiting.
        assert!(meanwhile[10] < 300, "so many of the one are answered for each of the other: {meanwhile:?}");
    });
}
