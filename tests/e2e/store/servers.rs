//! Real redis-servers on free ports, ended with the test that began them.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use passbridge::store::{RedisMode, RedisSettings, StoreSettings};

use crate::support::{bound_to_us, eventually, free_ports, place};

/// A redis-server.
#[derive(Debug)]
pub struct Server {
    pub port: u16,
    child: Child,
    directory: tempfile::TempDir,
    arguments: Vec<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// One that keeps nothing on the disk.
    pub fn start() -> Self {
        let [port] = free_ports();
        Self::with(port, &["--port", &port.to_string()])
    }

    /// One with these arguments, one of which names the port.
    pub fn with(port: u16, arguments: &[&str]) -> Self {
        Self::within(place(), port, arguments)
    }

    /// The same, with what else it needs in this directory.
    pub fn within(directory: tempfile::TempDir, port: u16, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let child = begin(directory.path(), &arguments);
        let server = Self { port, child, directory, arguments };
        eventually("redis-server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        server
    }

    /// Killed at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Begun again at the same port, with nothing in it.
    pub fn restart_empty(&mut self) {
        self.child = begin(self.directory.path(), &self.arguments);
        let port = self.port;
        eventually("redis-server listens again", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// Stopped in the middle of whatever it does, or set going again.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    pub fn cli(&self, arguments: &[&str]) -> Output {
        Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(arguments).output().expect("redis-cli runs")
    }

    /// How long a key has to live, in milliseconds; -1 where it has no end, -2 where it is not there.
    pub fn ttl(&self, key: &str) -> i64 {
        String::from_utf8(self.cli(&["PTTL", key]).stdout).unwrap().trim().parse().unwrap()
    }
}

fn begin(place: &Path, arguments: &[String]) -> Child {
    let mut all: Vec<String> = Vec::new();
    // A configuration file comes first, where there is one.
    all.extend(arguments.iter().filter(|argument| argument.ends_with(".conf")).cloned());
    let usual = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no", "--dir"];
    all.extend(usual.map(str::to_owned));
    all.push(place.display().to_string());
    all.extend(arguments.iter().filter(|argument| !argument.ends_with(".conf")).cloned());
    let mut command = bound_to_us("redis-server", &all);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server starts")
}

/// Settings for these ports.
pub fn settings(mode: RedisMode, ports: &[u16]) -> RedisSettings {
    RedisSettings {
        urls: ports.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect(),
        mode,
        username: None,
        password: None,
        sentinel_username: None,
        sentinel_password: None,
        ca: None,
        wait: None,
    }
}

/// Settings for a single server.
pub fn single(server: &Server) -> StoreSettings {
    StoreSettings::Redis(settings(RedisMode::Single, &[server.port]))
}
