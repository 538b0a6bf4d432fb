//! Who is compared: the bridge as it ships, and nginx.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::process::{Process, eventually};
use crate::site::{Site, TOKEN, VARIABLE, free};
use crate::{load, site};

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Says which build it is all about; by default the one that cargo has made beside the rig.
pub fn measure(program: Option<PathBuf>) {
    PROGRAM.set(program.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_passbridge")))).expect("it is said once");
}

/// That build.
pub fn program() -> &'static Path {
    PROGRAM.get().expect("`measure` comes first")
}

/// A running bridge.
pub struct Bridge {
    pub process: Process,
    pub legacy: SocketAddr,
    pub ops: SocketAddr,
    /// From the start of the process until it said that it is ready.
    pub start: Duration,
}

impl Bridge {
    /// Starts the build that is measured with one worker; its log goes to a file, as an operator's would.
    pub fn start(site: &Site) -> Self {
        Self::start_program(program(), site)
    }

    /// Starts another build.
    pub fn start_program(program: &Path, site: &Site) -> Self {
        let (legacy, ops) = site.write();
        let mut command = Command::new(program);
        let log = File::create(site.folder.join("log")).unwrap();
        command
            .env(VARIABLE, "a-new-secret")
            // Where a build that counts leaves what it counted (scripts/build-static).
            .envs(std::env::var_os("COUNTS").map(|file| ("LLVM_PROFILE_FILE", file)))
            .arg("serve")
            .arg("--config")
            .arg(site.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let begun = Instant::now();
        let mut process = Process::start(command);
        eventually("the bridge is ready", Duration::from_secs(30), || {
            assert!(process.running(), "the bridge ended; its log is {}", site.folder.join("log").display());
            ready(ops)
        });
        Self { process, legacy, ops, start: begun.elapsed() }
    }
}

fn ready(ops: SocketAddr) -> bool {
    use std::io::{Read, Write};
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(ops)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// A running nginx.
pub struct Nginx {
    pub process: Process,
    pub address: SocketAddr,
}

/// What nginx does beside passing on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    Off,
    On,
}

impl Nginx {
    /// One worker that passes what comes to the old token endpoint on to this realm, with connections that stay open on both sides.
    pub fn start(folder: &Path, realm: SocketAddr, log: AccessLog) -> Self {
        fs::create_dir_all(folder).unwrap();
        let address = free();
        let folder = folder.display();
        let access_log = match log {
            AccessLog::Off => "off".to_owned(),
            AccessLog::On => format!("{folder}/access.log"),
        };
        let token = "/auth/realms/SSO/protocol/openid-connect/token";
        let text = format!(
            "daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\nuser root;\n\
             worker_rlimit_nofile 20000;\nevents {{ worker_connections 12000; }}\n\
             http {{\n access_log {access_log};\n keepalive_requests 1000000000;\n keepalive_timeout 300s;\n tcp_nodelay on;\n\
             client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
             upstream realm {{ server {realm}; keepalive 128; keepalive_requests 1000000000; }}\n\
             server {{ listen {address};\n\
             location = /nothing {{ return 200 'nothing'; }}\n\
             location = {TOKEN} {{ proxy_pass http://realm{token}; proxy_http_version 1.1; proxy_set_header Connection ''; }}\n}}\n}}\n"
        );
        let config = format!("{folder}/nginx.conf");
        fs::write(&config, text).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command.args(["-c", &config]).stdin(Stdio::null()).stderr(Stdio::inherit());
        let process = Process::start(command);
        eventually("nginx listens", Duration::from_secs(10), || TcpStream::connect(address).is_ok());
        Self { process, address }
    }
}

/// A load of logins from 64 connections, by as many clients as the site has.
pub fn logins(to: SocketAddr, requests: usize, clients: usize) -> load::Load {
    let passport = site::Passport::invented();
    let messages = (0..clients).map(|client| site::login(client, &passport)).collect::<Vec<_>>();
    load::Load { to, connections: 64, requests, messages: messages.into(), expect: "\"access_token\":\"", pause: None }
}
