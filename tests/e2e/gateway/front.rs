//! The proxies that sites run, each started with its shipped example of `deploy/` on other ports.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::super::support::{eventually, repository};

/// Where everything listens in a test, instead of at the examples' ports.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    pub front: u16,
    pub gateway: u16,
    pub authz: u16,
    pub api: u16,
}

impl Places {
    /// A shipped file with these ports. By way of names, so that no new port is taken for an old one.
    fn put_into(self, shipped: &str) -> String {
        let ports = [
            ("8088", self.front, "<1>"),
            ("8081", self.gateway, "<2>"),
            ("8082", self.authz, "<3>"),
            ("8090", self.api, "<4>"),
        ];
        let named = ports.iter().fold(shipped.to_owned(), |text, (port, _, name)| text.replace(port, name));
        ports.iter().fold(named, |text, (_, port, name)| text.replace(name, &port.to_string()))
    }
}

/// A running proxy. It ends with its test.
#[derive(Debug)]
pub struct Front {
    child: Child,
    directory: tempfile::TempDir,
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Front {
    pub fn nginx(places: Places) -> Self {
        Self::nginx_with(places, "passbridge.conf")
    }

    /// `example`: which of its files.
    pub fn nginx_with(places: Places, example: &str) -> Self {
        Self::nginx_edited(places, example, &[])
    }

    /// With these words in the place of those.
    pub fn nginx_edited(places: Places, example: &str, edits: &[(&str, &str)]) -> Self {
        Self::edited("/usr/sbin/nginx", "nginx", places, edits, |dir| {
            let main = format!("include {dir}/{example};\n");
            fs::write(format!("{dir}/nginx.conf"), nginx_around(dir, &main)).unwrap();
            vec![
                "-p".into(),
                dir.into(),
                "-e".into(),
                format!("{dir}/error.log"),
                "-c".into(),
                format!("{dir}/nginx.conf"),
            ]
        })
    }

    pub fn caddy(places: Places) -> Self {
        Self::begin(&fetched("caddy"), "caddy", places, |dir| {
            vec!["run".into(), "--config".into(), format!("{dir}/Caddyfile")]
        })
    }

    /// Caddy as shipped, but for the protocol that it asks by.
    pub fn caddy_over_http2(places: Places) -> Self {
        Self::edited(&fetched("caddy"), "caddy", places, &[("forward_auth 127", "forward_auth h2c://127")], |dir| {
            vec!["run".into(), "--config".into(), format!("{dir}/Caddyfile")]
        })
    }

    /// Envoy as shipped, with these words in the place of those.
    pub fn envoy_with(places: Places, example: &str, edits: &[(&str, &str)]) -> Self {
        Self::edited(&fetched("envoy"), "envoy", places, edits, |dir| envoys(dir, example))
    }

    pub fn traefik(places: Places) -> Self {
        Self::begin(&fetched("traefik"), "traefik", places, |dir| vec![format!("--configFile={dir}/traefik.yml")])
    }

    pub fn haproxy(places: Places) -> Self {
        Self::begin("/usr/sbin/haproxy", "haproxy", places, |dir| vec!["-f".into(), format!("{dir}/haproxy.cfg")])
    }

    /// `example`: which of its files.
    pub fn envoy(places: Places, example: &str) -> Self {
        Self::begin(&fetched("envoy"), "envoy", places, |dir| envoys(dir, example))
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("said.log")).unwrap_or_default()
    }

    fn begin(program: &str, example: &str, places: Places, arguments: impl FnOnce(&str) -> Vec<String>) -> Self {
        Self::edited(program, example, places, &[], arguments)
    }

    fn edited(
        program: &str,
        example: &str,
        places: Places,
        edits: &[(&str, &str)],
        arguments: impl FnOnce(&str) -> Vec<String>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let dir = place.display().to_string();
        let shipped = fs::read_dir(Path::new(repository()).join("deploy").join(example)).unwrap();
        for file in shipped.map(|file| file.unwrap().path()) {
            let text = fs::read_to_string(&file).unwrap();
            let text = edits.iter().fold(text, |text, (shipped, other)| text.replace(shipped, other));
            let text = places.put_into(&text).replace("/etc/traefik", &dir).replace("/run/", &format!("{dir}/"));
            fs::write(place.join(file.file_name().unwrap()), text).unwrap();
        }
        let log = File::create(place.join("said.log")).unwrap();
        let mut command = Command::new(program);
        command.args(arguments(&dir)).current_dir(place).env("HOME", place).env("XDG_DATA_HOME", place);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; `make test` installs it"));
        let front = Self { child, directory };
        eventually(&format!("{example} asks the bridge"), || is_ready(places.front));
        front
    }
}

fn envoys(dir: &str, example: &str) -> Vec<String> {
    let options = ["-c", &format!("{dir}/{example}"), "--disable-hot-restart", "--concurrency", "1"];
    options.map(str::to_owned).to_vec()
}

/// Whether a call gets through to the bridge, and a refusal back.
fn is_ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = String::new();
    stream.write_all(b"GET /api/ready HTTP/1.1\r\nHost: ready\r\nConnection: close\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 401 ")
}

/// A program that `scripts/install test` has fetched.
fn fetched(program: &str) -> String {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("there is a home")).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    cache.join("passbridge/venv-proxies/bin").join(program).display().to_string()
}

/// An nginx's main file around what stands in its `http`.
fn nginx_around(dir: &str, http: &str) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {dir}/{kind};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\npid {dir}/pid;\nerror_log {dir}/error.log;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}{http}}}\n"
    )
}
