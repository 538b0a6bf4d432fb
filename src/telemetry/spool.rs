//! Log lines on their way to standard error: gathered, and written by a thread of their own.
//!
//! A line for itself costs whoever logs it a system call, and whoever reads it a wake-up; and a reader who falls behind would hold up
//! logins at once. A line that comes alone is written at once. A killed process loses the lines of its last milliseconds.
//!
//! Must not: wait without end for a reader. The bridge exists so that clients keep logging in, and a log that nobody reads is no reason to stop.

use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

/// How long what follows a write is gathered for the next one.
const GATHERED: Duration = Duration::from_millis(5);

/// Bytes that wait, at most; who logs beyond it waits for a reader.
const MOST: usize = 1 << 20;

/// How long a reader is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// By who logs, for room. Then lines are left out, and nobody waits, until a reader has made some.
    pub(super) line: Duration,
    /// By the end, for what is left to be taken.
    pub(super) end: Duration,
}

/// Bytes of memory that are kept for the next lines.
const KEPT: usize = 64 << 10;

/// Takes lines, from any thread.
#[derive(Clone, Debug)]
pub(super) struct Spool(Arc<Lines>);

/// Ends the writing when it is dropped: what waits is written first, where somebody reads it.
#[derive(Debug)]
pub struct Writing {
    spool: Spool,
    thread: Option<JoinHandle<()>>,
}

struct Lines {
    waiting: Mutex<Waiting>,
    /// The first line came, or the end.
    came: Condvar,
    /// There is room again.
    room: Condvar,
    /// It is over: nothing more is gathered.
    over: Condvar,
    /// All is written.
    ended: Condvar,
    patience: Patience,
    /// Counts the lines that were left out.
    left_out: Counter,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    is_over: bool,
    has_ended: bool,
    /// Nobody made room in time, and nobody has since.
    is_stuck: bool,
    /// Lines that were left out since it was last told how many.
    left_out: u64,
}

impl Waiting {
    fn is_full(&self) -> bool {
        self.bytes.len() >= MOST
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

impl Spool {
    /// Starts the thread that writes into `sink`. Lines that find no room are counted, and where there is room again `tell` is asked to say how
    /// many they were.
    #[expect(
        clippy::disallowed_methods,
        reason = "it blocks on who reads the log, so it is a thread; `Writing` waits for it, within bounds"
    )]
    pub(super) fn start(
        sink: impl Write + Send + 'static,
        patience: Patience,
        left_out: Counter,
        tell: impl Fn(u64) + Send + 'static,
    ) -> io::Result<(Self, Writing)> {
        let [came, room, over, ended] = Default::default();
        let spool = Self(Arc::new(Lines { waiting: Mutex::default(), came, room, over, ended, patience, left_out }));
        let lines = Arc::clone(&spool.0);
        let thread = Builder::new().name("log".to_owned()).spawn(move || lines.write_into(sink, tell))?;
        Ok((spool.clone(), Writing { spool, thread: Some(thread) }))
    }
}

impl Lines {
    fn write_into(&self, sink: impl Write, tell: impl Fn(u64)) {
        let mut sink = Sink { sink, is_torn: false };
        let mut bytes = Vec::new();
        // How the newest write went, and what is told by the next: where nothing can be written, that would be written in vain, too.
        let (mut has_taken, mut telling) = (true, 0);
        loop {
            let mut waiting = self.waiting.lock();
            while waiting.bytes.is_empty() {
                if waiting.is_over {
                    waiting.has_ended = true;
                    self.ended.notify_all();
                    return;
                }
                self.came.wait(&mut waiting);
            }
            mem::swap(&mut waiting.bytes, &mut bytes);
            waiting.is_stuck = false;
            let told = mem::take(&mut telling);
            if has_taken {
                telling = mem::take(&mut waiting.left_out);
            }
            drop(waiting);
            self.room.notify_all();
            if telling > 0 {
                tell(telling);
            }
            let lost = sink.write(&bytes);
            has_taken = lost == 0;
            bytes.clear();
            bytes.shrink_to(KEPT);
            let mut waiting = self.waiting.lock();
            if lost > 0 {
                self.left_out.inc_by(lost);
                waiting.left_out += lost + told;
            }
            if !waiting.is_over {
                self.over.wait_for(&mut waiting, GATHERED);
            }
        }
    }
}

/// Where lines go, which may be a disk that is full.
struct Sink<W> {
    sink: W,
    /// The end of what was written is no line's.
    is_torn: bool,
}

impl<W: Write> Sink<W> {
    /// Writes lines, as far as they are taken; answers how many were not. What comes behind a torn one is a line of its own.
    fn write(&mut self, lines: &[u8]) -> u64 {
        let begin: &[u8] = if self.is_torn { b"\n" } else { b"" };
        let rest = if self.take(begin).is_empty() { self.take(lines) } else { lines };
        rest.iter().map(|byte| u64::from(*byte == b'\n')).sum()
    }

    /// Writes what it can; answers the rest.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.sink.write(rest) {
                Ok(count) if count > 0 => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    let taken = bytes.strip_suffix(rest).unwrap_or_default();
                    self.is_torn = taken.last().map_or(self.is_torn, |last| *last != b'\n');
                    return rest;
                }
            }
        }
        self.is_torn = false;
        rest
    }
}

impl Write for Spool {
    /// Takes a line whole, or leaves it out. What comes after the end goes straight to standard error.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let lines = &self.0;
        let mut waiting = lines.waiting.lock();
        if waiting.is_full() && !waiting.is_stuck {
            let waits = |waiting: &mut Waiting| waiting.is_full() && !waiting.is_stuck && !waiting.is_over;
            lines.room.wait_while_for(&mut waiting, waits, lines.patience.line);
            waiting.is_stuck = waiting.is_full();
        }
        if waiting.has_ended {
            drop(waiting);
            return io::stderr().write(line);
        }
        if waiting.is_full() {
            waiting.left_out += 1;
            lines.left_out.inc();
            return Ok(line.len());
        }
        let is_first = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(line);
        drop(waiting);
        if is_first {
            lines.came.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Spool {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Drop for Writing {
    /// A thread that is held up by its reader ends with the process.
    fn drop(&mut self) {
        let lines = &self.spool.0;
        let mut waiting = lines.waiting.lock();
        waiting.is_over = true;
        lines.came.notify_all();
        lines.over.notify_all();
        lines.room.notify_all();
        lines.ended.wait_while_for(&mut waiting, |waiting| !waiting.has_ended, lines.patience.end);
        let has_ended = waiting.has_ended;
        drop(waiting);
        if let Some(thread) = self.thread.take().filter(|_| has_ended) {
            // Its panic was reported where it happened.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use super::*;

    /// Tells of each write, which lasts until it is allowed to end.
    struct Slow {
        begun: Sender<Vec<u8>>,
        may_end: Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.begun.send(bytes.to_vec()).unwrap();
            self.may_end.recv().unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A spool whose writes last until they are allowed to end, for whoever waits so long for room. Lines that were left out are told by a
    /// number in the log, as they are by the program.
    fn slow(patience: Patience) -> (Spool, Writing, Receiver<Vec<u8>>, Sender<()>) {
        let ((begun, begins), (allow, may_end)) = (channel(), channel());
        let told = Arc::new(Mutex::new(None::<Spool>));
        let tell = {
            let told = Arc::clone(&told);
            move |count: u64| writeln!(told.lock().clone().unwrap(), "{count} left out").unwrap()
        };
        let (spool, writing) = Spool::start(Slow { begun, may_end }, patience, Counter::default(), tell).unwrap();
        *told.lock() = Some(spool.clone());
        (spool, writing, begins, allow)
    }

    /// Longer than any test lasts.
    const EVER: Duration = Duration::from_hours(1);
    const PATIENT: Patience = Patience { line: EVER, end: EVER };
    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn a_line_that_comes_alone_is_written_at_once_and_those_that_come_meanwhile_together() {
        let (mut spool, writing, begins, allow) = slow(PATIENT);
        spool.write_all(b"one\n").unwrap();
        assert_eq!(begins.recv().unwrap(), b"one\n");
        for _ in 0..100 {
            spool.write_all(b"more\n").unwrap();
        }
        allow.send(()).unwrap();
        assert_eq!(begins.recv().unwrap(), b"more\n".repeat(100), "though nobody had read the first");
        allow.send(()).unwrap();
        drop(writing);
    }

    #[test]
    fn a_reader_who_falls_behind_holds_up_who_logs_only_when_a_mebibyte_waits() {
        let (mut spool, writing, begins, allow) = slow(PATIENT);
        spool.write_all(b"one\n").unwrap();
        begins.recv().unwrap();
        spool.write_all(&vec![b'x'; MOST]).unwrap();
        let mut beyond = spool.clone();
        thread::scope(|scope| {
            let late = scope.spawn(move || beyond.write_all(b"beyond\n").unwrap());
            // Woken without room it waits again.
            for _ in 0..2 {
                while !spool.0.room.notify_one() {
                    assert!(!late.is_finished(), "it waits for room");
                    thread::yield_now();
                }
            }
            allow.send(()).unwrap();
            assert_eq!(begins.recv().unwrap().len(), MOST, "nothing came between");
            allow.send(()).unwrap();
            late.join().unwrap();
        });
        assert_eq!(begins.recv().unwrap(), b"beyond\n");
        allow.send(()).unwrap();
        drop(writing);
    }

    #[test]
    fn a_reader_who_stops_holds_up_one_line_for_a_while_and_those_that_find_no_room_are_counted() {
        let (mut spool, writing, begins, allow) = slow(Patience { line: MOMENT, end: EVER });
        spool.write_all(b"one\n").unwrap();
        begins.recv().unwrap();
        spool.write_all(&vec![b'x'; MOST]).unwrap();
        spool.write_all(b"waits, and is left out\n").unwrap();
        // So long that this test would fail if they waited too.
        assert!(spool.0.waiting.lock().is_stuck);
        for _ in 0..10_000 {
            spool.write_all(b"left out at once\n").unwrap();
        }
        assert_eq!(spool.0.left_out.get(), 10_001);
        allow.send(()).unwrap();
        assert_eq!(begins.recv().unwrap().len(), MOST, "what had room is there");
        spool.write_all(b"has room again\n").unwrap();
        allow.send(()).unwrap();
        assert_eq!(begins.recv().unwrap(), b"10001 left out\nhas room again\n");
        allow.send(()).unwrap();
        drop(writing);
        assert_eq!(spool.0.left_out.get(), 10_001);
    }

    /// A disk that is full after so many bytes, until there is room again.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn room(&self, bytes: usize) {
            self.0.lock().1 = bytes;
        }

        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.0.lock().0.clone()).unwrap().lines().map(str::to_owned).collect()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, room) = &mut *self.0.lock();
            let count = bytes.len().min(*room);
            written.extend_from_slice(&bytes[..count]);
            *room -= count;
            if count > 0 { Ok(count) } else { Err(io::ErrorKind::StorageFull.into()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted_and_told_and_spoils_no_other_line() {
        let disk = Disk::default();
        let mut sink = Sink { sink: disk.clone(), is_torn: false };
        disk.room(10);
        assert_eq!(sink.write(b"whole\ntorn in two\nnot there\n"), 2);
        assert_eq!(sink.write(b"not there either\n"), 1);
        disk.room(usize::MAX);
        assert_eq!(sink.write(b"whole again\n"), 0);
        assert_eq!(disk.lines(), ["whole", "torn", "whole again"]);
    }

    #[test]
    fn that_lines_were_lost_is_told_once_it_can_be_written() {
        let disk = Disk::default();
        let told = Arc::new(Mutex::new(None::<Spool>));
        let tell = {
            let told = Arc::clone(&told);
            move |count: u64| writeln!(told.lock().clone().unwrap(), "{count} left out").unwrap()
        };
        let (mut spool, writing) = Spool::start(disk.clone(), PATIENT, Counter::default(), tell).unwrap();
        *told.lock() = Some(spool.clone());
        let until = |done: &dyn Fn() -> bool| {
            while !done() {
                thread::yield_now();
            }
        };
        for lost in 1..=3 {
            spool.write_all(b"lost\n").unwrap();
            until(&|| spool.0.waiting.lock().left_out == lost);
        }
        disk.room(usize::MAX);
        spool.write_all(b"there\n").unwrap();
        until(&|| disk.lines() == ["there"]);
        disk.room(0);
        spool.write_all(b"lost with what is told\n").unwrap();
        // Both, and what should have been told.
        until(&|| spool.0.waiting.lock().left_out == 5);
        disk.room(usize::MAX);
        spool.write_all(b"there again\n").unwrap();
        until(&|| disk.lines().len() == 2);
        drop(writing);
        assert_eq!(spool.0.left_out.get(), 5);
        assert_eq!(disk.lines()[..2], ["there", "there again"]);
    }

    #[test]
    fn a_reader_who_stops_does_not_hold_up_the_end() {
        let (mut spool, writing, begins, allow) = slow(Patience { line: EVER, end: MOMENT });
        spool.write_all(b"one\n").unwrap();
        begins.recv().unwrap();
        spool.write_all(&vec![b'x'; MOST]).unwrap();
        drop(writing);
        spool.write_all(b"of a thread that goes on behind the end\n").unwrap();
        assert_eq!(spool.0.left_out.get(), 1);
        allow.send(()).unwrap();
        assert_eq!(begins.recv().unwrap().len(), MOST, "there for who reads on as long as the process lives");
        allow.send(()).unwrap();
        assert_eq!(begins.recv().unwrap(), b"1 left out\n");
        allow.send(()).unwrap();
    }

    #[test]
    fn the_end_writes_what_waits() {
        let (mut spool, writing, begins, allow) = slow(PATIENT);
        spool.write_all(b"one\n").unwrap();
        begins.recv().unwrap();
        spool.write_all(b"last\n").unwrap();
        allow.send(()).unwrap();
        allow.send(()).unwrap();
        drop(writing);
        assert_eq!(begins.recv().unwrap(), b"last\n");
    }
}
