//! The real program, as an operator runs it: a process that hears signals and can be killed.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::{Connection, NEW_SECRET, OLD_SECRET, RawReply, World, eventually};

/// `passbridge serve` on the files of a world that runs no bridge itself. Killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    /// Where what it says is read no further, until this is dropped.
    unread: Option<Sender<()>>,
    pub legacy: SocketAddr,
    pub ops: SocketAddr,
}

impl Program {
    /// Starts it and waits until it serves.
    #[track_caller]
    pub fn serve(world: &World) -> Self {
        Self::serve_by(world, Command::new(env!("CARGO_BIN_EXE_passbridge")))
    }

    /// The same, by a command that in the end becomes the program.
    #[track_caller]
    pub fn serve_by(world: &World, command: Command) -> Self {
        Self::begin(world, command).serving()
    }

    #[track_caller]
    fn serving(mut self) -> Self {
        eventually("the program serves", || {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {}", self.log());
            !self.lines("started").is_empty()
        });
        let started = self.lines("started").remove(0);
        self.legacy = started["legacy"].as_str().unwrap().parse().unwrap();
        self.ops = started["ops"].as_str().unwrap().parse().unwrap();
        self
    }

    /// Starts it, and has nobody read what it says once it serves.
    #[track_caller]
    pub fn serve_unread(world: &World) -> Self {
        let (unread, read_on) = channel();
        let command = Command::new(env!("CARGO_BIN_EXE_passbridge"));
        let mut program = Self::begin_with(world, command, Some(read_on));
        program.unread = Some(unread);
        program.serving()
    }

    /// Has somebody read on.
    pub fn read_on(&mut self) {
        drop(self.unread.take());
    }

    /// Limits the size of its files, as a full disk would; or lifts the limit (`unlimited`).
    pub fn limit(&self, bytes: &str) {
        let pid = self.id().to_string();
        let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status();
        assert!(limited.unwrap().success());
    }

    /// Starts it, and does not wait.
    pub fn begin(world: &World, command: Command) -> Self {
        Self::begin_with(world, command, None)
    }

    fn begin_with(world: &World, mut command: Command, read_on: Option<Receiver<()>>) -> Self {
        command.args(["serve", "--config"]).arg(world.config());
        bare(&mut command);
        command.env("OLD_SECRET", OLD_SECRET).env("NEW_SECRET", NEW_SECRET).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::<Mutex<String>>::default();
        let reader = std::thread::spawn({
            let (stderr, log) = (child.stderr.take().unwrap(), Arc::clone(&log));
            move || read(stderr, &log, read_on)
        });
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { child, log, reader: Some(reader), unread: None, legacy: unknown, ops: unknown }
    }

    /// Where it takes API calls.
    #[track_caller]
    pub fn gateway(&self) -> SocketAddr {
        eventually("it says where", || !self.lines("gateway").is_empty());
        self.lines("gateway")[0]["gateway"].as_str().unwrap().parse().unwrap()
    }

    /// All that it has said.
    pub fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// Its log lines of this event.
    pub fn lines(&self, event: &str) -> Vec<serde_json::Value> {
        let lines = self.log();
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.filter(|line| line["event"] == event).collect()
    }

    /// Sends it a signal: `HUP`, `TERM`, `KILL`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Whether a signal is caught by now, as Linux tells it (proc(5), `SigCgt`).
    pub fn catches(&self, signal: u32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() >> (signal - 1) & 1 == 1
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.read_on();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status.unwrap()
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn ask(&self, request: &[u8]) -> RawReply {
        let reply = Connection::open(self.legacy).ask(request);
        reply.check();
        reply
    }

    /// What an operator is told at a path.
    #[track_caller]
    pub fn told(&self, path: &str) -> RawReply {
        Connection::open(self.ops).ask(format!("GET {path} HTTP/1.1\r\nHost: ops\r\n\r\n").as_bytes())
    }
}

/// Takes the environment away, but for the mark by which `.ci/run` finds what a test has left.
pub fn bare(command: &mut Command) -> &mut Command {
    const MARK: &str = "PASSBRIDGE_RUN";
    command.env_clear().envs(std::env::var_os(MARK).map(|mark| (MARK, mark)))
}

fn read(stderr: impl Read, log: &Mutex<String>, mut read_on: Option<Receiver<()>>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        {
            let mut log = log.lock();
            log.push_str(&line);
            log.push('\n');
        }
        if line.contains("\"started\"") {
            let _until_it_is_dropped = read_on.take().map(|read_on| read_on.recv());
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.read_on();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if !std::thread::panicking() {
            let log = self.log();
            for secret in ["eyJ", "planted"] {
                assert!(!log.contains(secret), "a secret in the log: {secret}");
            }
        }
    }
}
