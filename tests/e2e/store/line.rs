//! A line between a bridge and a server of its, Redis or the realm: it counts what passes, can be cut or held up, and stops the
//! bridge in the middle of a question.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};

/// How the program says in Redis what a family is now: that it is asking, as a rule, or is not.
pub const COMMIT: &str = "redis.call('HGET', KEYS[1], 'v')";

/// How the program keeps a token in Redis: the first thing that it says of what the realm gave.
pub const KEEP: &str = "redis.call('GETRANGE', KEYS[1], 0, 0)";

/// How the program asks for a lease in Redis, and gives it back.
pub const LEASE: &str = "redis.call('INCR', KEYS[2])";
pub const RELEASE: &str = "redis.call('DEL', KEYS[1])";

/// How the program renews a lease in Redis.
pub const RENEW: &str = "redis.call('PEXPIRE', KEYS[1], ARGV[2])";

/// A line at a port of its own, as long as the tests run.
#[derive(Debug)]
pub struct Line {
    pub port: u16,
    passed: Arc<Mutex<Passed>>,
    mended: Arc<Condvar>,
}

#[derive(Debug, Default)]
struct Passed {
    round_trips: usize,
    /// The newest bytes were an answer.
    answered: bool,
    /// The first word of each command.
    commands: Vec<String>,
    /// The answer to the next request with this text is lost, and the connection with it.
    cut_after: Option<(&'static str, Cut)>,
    /// The next answer is lost.
    losing: bool,
    /// Nobody gets through.
    dead: bool,
    hold: Hold,
    /// With the next request with this text in it, this process is stopped.
    stops: Option<(&'static str, u32)>,
}

/// Whether answers wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hold {
    #[default]
    Off,
    /// From the next request with this text on.
    At(&'static str),
    On,
}

/// For how long a line is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Whoever connects anew gets through.
    Once,
    UntilMended,
}

impl Line {
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let passed = Arc::new(Mutex::new(Passed { answered: true, ..Passed::default() }));
        let mended = Arc::new(Condvar::new());
        let (shared, waits) = (Arc::clone(&passed), Arc::clone(&mended));
        thread::spawn(move || {
            for store in listener.incoming() {
                let Ok(store) = store else { return };
                if !shared.lock().dead {
                    let redis = TcpStream::connect(("127.0.0.1", server)).unwrap();
                    carry(&store, &redis, &shared, &waits);
                }
            }
        });
        Self { port, passed, mended }
    }

    /// Round trips since the last time.
    pub fn round_trips(&self) -> usize {
        std::mem::take(&mut self.passed.lock().round_trips)
    }

    /// Commands since the last time, but for what goes on by itself in the background.
    pub fn commands(&self) -> Vec<String> {
        let mut commands = std::mem::take(&mut self.passed.lock().commands);
        commands.retain(|command| !["ZRANGEBYSCORE", "HVALS", "CLIENT", "TIME"].contains(&command.as_str()));
        commands
    }

    /// Redis will do the next command with this text in it, and nobody hears of that.
    pub fn cut_after(&self, text: &'static str, cut: Cut) {
        self.passed.lock().cut_after = Some((text, cut));
    }

    /// The process will be stopped, as by `kill -STOP`, once it has sent the next request with this text in it. The request goes on.
    pub fn stop_at(&self, text: &'static str, process: u32) {
        self.passed.lock().stops = Some((text, process));
    }

    /// From the next request with this text in it on, no answer gets through until the line is mended.
    pub fn hold_at(&self, text: &'static str) {
        self.passed.lock().hold = Hold::At(text);
    }

    pub fn is_held(&self) -> bool {
        self.passed.lock().hold == Hold::On
    }

    pub fn mend(&self) {
        let mut passed = self.passed.lock();
        (passed.dead, passed.hold) = (false, Hold::Off);
        self.mended.notify_all();
    }

    /// Whether it was cut, or will not be.
    pub fn was_cut(&self) -> bool {
        self.passed.lock().cut_after.is_none()
    }
}

/// Carries bytes both ways until one side ends, or the line is cut.
fn carry(store: &TcpStream, redis: &TcpStream, passed: &Arc<Mutex<Passed>>, mended: &Arc<Condvar>) {
    let pair = || (store.try_clone().unwrap(), redis.try_clone().unwrap(), Arc::clone(passed));
    let (mut from, mut to, shared) = pair();
    thread::spawn(move || {
        each(&mut from, |bytes| {
            shared.lock().asks(bytes);
            to.write_all(bytes).is_ok()
        });
        let _ = to.shutdown(Shutdown::Both);
    });
    let (mut to, mut from, shared) = pair();
    let mended = Arc::clone(mended);
    thread::spawn(move || {
        each(&mut from, |bytes| {
            let mut passed = shared.lock();
            mended.wait_while(&mut passed, |passed| passed.hold == Hold::On);
            let gets_through = passed.answers();
            drop(passed);
            gets_through && to.write_all(bytes).is_ok()
        });
        let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    });
}

fn each(from: &mut TcpStream, mut pass: impl FnMut(&[u8]) -> bool) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(read) = from.read(&mut bytes) {
        if read == 0 || !pass(&bytes[..read]) {
            return;
        }
    }
}

/// Sends a signal.
pub fn signal(signal: &str, process: u32) {
    let sent = Command::new("kill").args([signal, &process.to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

impl Passed {
    fn asks(&mut self, bytes: &[u8]) {
        self.round_trips += usize::from(std::mem::take(&mut self.answered));
        let text = String::from_utf8_lossy(bytes);
        if let Some((_, process)) = self.stops.take_if(|(at, _)| text.contains(*at)) {
            signal("-STOP", process);
        }
        if matches!(self.hold, Hold::At(at) if text.contains(at)) {
            self.hold = Hold::On;
        }
        // A command is `*3`, then `$3`, then its first word, each on a line.
        let lines: Vec<&str> = text.split("\r\n").collect();
        let begins = |line: &str| line.strip_prefix('*').is_some_and(|count| count.parse::<u32>().is_ok());
        self.commands.extend(lines.windows(3).filter(|next| begins(next[0])).map(|next| next[2].to_owned()));
        if let Some((_, cut)) = self.cut_after.take_if(|(after, _)| text.contains(*after)) {
            self.losing = true;
            self.dead = cut == Cut::UntilMended;
        }
    }

    /// Whether the answer gets through.
    fn answers(&mut self) -> bool {
        self.answered = true;
        !std::mem::take(&mut self.losing)
    }
}
