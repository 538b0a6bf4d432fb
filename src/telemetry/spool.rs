//! Log lines on their way to standard error: gathered, and written by a thread of their own.
//!
//! A line for itself costs whoever logs it a system call, and whoever reads it a wake-up; and a reader who falls behind would hold up
//! logins at once. A line that comes alone is written at once. A killed process loses the lines of its last milliseconds.

use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// How long what follows a write is gathered for the next one.
const GATHERED: Duration = Duration::from_millis(5);

/// Bytes that wait, at most; who logs beyond it waits for a reader.
const MOST: usize = 1 << 20;

/// Bytes of memory that are kept for the next lines.
const KEPT: usize = 64 << 10;

/// Takes lines, from any thread.
#[derive(Clone, Debug)]
pub(super) struct Spool(Arc<Lines>);

/// Ends the writing when it is dropped: what waits is written first.
#[derive(Debug)]
pub struct Writing {
    spool: Spool,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Lines {
    waiting: Mutex<Waiting>,
    /// The first line came, or the end.
    came: Condvar,
    /// There is room again.
    room: Condvar,
    /// It is over: nothing more is gathered.
    over: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    is_over: bool,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

impl Spool {
    /// Starts the thread that writes into `sink`.
    #[expect(
        clippy::disallowed_methods,
        reason = "it blocks on who reads the log, so it is a thread; `Writing` waits for it"
    )]
    pub(super) fn start(sink: impl Write + Send + 'static) -> io::Result<(Self, Writing)> {
        let spool = Self(Arc::default());
        let lines = Arc::clone(&spool.0);
        let thread = Builder::new().name("log".to_owned()).spawn(move || lines.write_into(sink))?;
        Ok((spool.clone(), Writing { spool, thread: Some(thread) }))
    }
}

impl Lines {
    fn write_into(&self, mut sink: impl Write) {
        let mut bytes = Vec::new();
        loop {
            let mut waiting = self.waiting.lock();
            while waiting.bytes.is_empty() {
                if waiting.is_over {
                    return;
                }
                self.came.wait(&mut waiting);
            }
            mem::swap(&mut waiting.bytes, &mut bytes);
            drop(waiting);
            self.room.notify_all();
            // Whoever should read it has gone: there is nobody left to tell.
            let _ = sink.write_all(&bytes);
            bytes.clear();
            bytes.shrink_to(KEPT);
            let mut waiting = self.waiting.lock();
            if !waiting.is_over {
                self.over.wait_for(&mut waiting, GATHERED);
            }
        }
    }
}

impl Write for Spool {
    /// Takes a line whole. What comes after the end goes straight to standard error.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.waiting.lock();
        while waiting.bytes.len() >= MOST && !waiting.is_over {
            self.0.room.wait(&mut waiting);
        }
        if waiting.is_over {
            return io::stderr().write(line);
        }
        let is_first = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(line);
        drop(waiting);
        if is_first {
            self.0.came.notify_one();
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
    fn drop(&mut self) {
        let lines = &self.spool.0;
        lines.waiting.lock().is_over = true;
        lines.came.notify_all();
        lines.over.notify_all();
        lines.room.notify_all();
        if let Some(thread) = self.thread.take() {
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

    fn slow() -> (Spool, Writing, Receiver<Vec<u8>>, Sender<()>) {
        let ((begun, begins), (allow, may_end)) = (channel(), channel());
        let (spool, writing) = Spool::start(Slow { begun, may_end }).unwrap();
        (spool, writing, begins, allow)
    }

    #[test]
    fn a_line_that_comes_alone_is_written_at_once_and_those_that_come_meanwhile_together() {
        let (mut spool, writing, begins, allow) = slow();
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
        let (mut spool, writing, begins, allow) = slow();
        spool.write_all(b"one\n").unwrap();
        begins.recv().unwrap();
        spool.write_all(&vec![b'x'; MOST]).unwrap();
        let mut beyond = spool.clone();
        thread::scope(|scope| {
            let late = scope.spawn(move || beyond.write_all(b"beyond\n").unwrap());
            assert!(!late.is_finished());
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
    fn the_end_writes_what_waits() {
        let (mut spool, writing, begins, allow) = slow();
        spool.write_all(b"one\n").unwrap();
        begins.recv().unwrap();
        spool.write_all(b"last\n").unwrap();
        allow.send(()).unwrap();
        allow.send(()).unwrap();
        drop(writing);
        assert_eq!(begins.recv().unwrap(), b"last\n");
    }
}
