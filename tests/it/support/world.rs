//! A world: files in a directory of their own, a fake realm, and a bridge between it and whoever calls.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use passbridge::server::{Running, Start, StartError, start};

use super::raw::post_body;
use super::realm::FakeRealm;
use super::{Connection, ManualClock, RawReply, Seeded, capture, eventually, post};

/// The token endpoint of the shipped dialects.
pub const TOKEN: &str = "/auth/oauth/v2/token";
/// The revocation endpoint of the shipped dialects.
pub const REVOKE: &str = "/auth/oauth/v2/token/revoke";
/// The introspection endpoint of the shipped dialects.
pub const INTROSPECT: &str = "/auth/oauth/v2/token/introspect";
/// The old id of the client that every world has.
pub const OLD_ID: &str = "l7xx3c0ffee";
/// Its old secret.
pub const OLD_SECRET: &str = "planted-old-secret";
/// Its id at the realm.
pub const NEW_ID: &str = "test_api";
/// Its secret at the realm.
pub const NEW_SECRET: &str = "planted-new-secret";

/// The mapping of a client in clear-text secrets of the environment. `more`: further lines.
pub fn client(old_id: &str, more: &str) -> String {
    let secret = if more.contains("legacy_secret") { "" } else { "legacy_secret = { env = \"OLD_SECRET\" }\n" };
    let new = if more.contains("client_secret") { "" } else { "client_secret = { env = \"NEW_SECRET\" }\n" };
    let new_id = if more.contains("client_id") { String::new() } else { format!("client_id = \"{NEW_ID}\"\n") };
    let stage = if more.contains("stage") { "" } else { "stage = \"live\"\n" };
    format!("[[client]]\nlegacy_id = \"{old_id}\"\n{secret}{new_id}{new}{stage}{more}\n")
}

/// A good passport request of a client, credentials in the body.
pub fn passport<'a>(id: &'a str, secret: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", "passport"),
        ("client_id", id),
        ("client_secret", secret),
        ("scope", "client_registration"),
        ("certificate", "planted-certificate_MicexPassportCert"),
        ("algorithm", "GOST"),
        ("signature", "planted+signature/with=signs=="),
    ]
}

/// What a world will be like.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    settings: BTreeMap<String, BTreeMap<String, String>>,
    clients: Vec<String>,
    dialects: Vec<(String, String)>,
    environment: BTreeMap<String, String>,
    planted: Vec<String>,
}

impl Plan {
    /// One client with the shipped dialect, one worker, free ports.
    pub fn new() -> Self {
        Self::default()
            .set("listen", "legacy", "\"127.0.0.1:0\"")
            .set("listen", "ops", "\"127.0.0.1:0\"")
            .set("server", "workers", "1")
            .set("store", "cache", "\"1MiB\"")
            .environment("OLD_SECRET", OLD_SECRET)
            .environment("NEW_SECRET", NEW_SECRET)
            .client(&client(OLD_ID, ""))
    }

    /// A setting of `passbridge.toml`, as TOML; a later one takes the place of an earlier one.
    pub fn set(mut self, section: &str, key: &str, value: &str) -> Self {
        self.change(section, key, value);
        self
    }

    fn change(&mut self, section: &str, key: &str, value: &str) {
        self.settings.entry(section.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
    }

    /// One more client.
    pub fn client(mut self, text: &str) -> Self {
        self.clients.push(text.to_owned());
        self
    }

    /// No client but those that follow.
    pub fn without_clients(mut self) -> Self {
        self.clients.clear();
        self
    }

    /// One more dialect file.
    pub fn dialect(mut self, name: &str, text: &str) -> Self {
        self.dialects.push((name.to_owned(), text.to_owned()));
        self
    }

    /// A variable of the environment. Its value is a secret that must show nowhere.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self.planted.push(value.to_owned());
        self
    }

    /// Writes the files and starts a bridge beside a new realm.
    #[track_caller]
    pub fn start(self) -> World {
        let mut world = self.files();
        world.begin();
        world
    }

    /// Writes the files and starts nothing but the realm.
    pub fn files(mut self) -> World {
        let log = capture::begin();
        let realm = FakeRealm::start();
        if !self.settings.get("realm").is_some_and(|realm| realm.contains_key("urls")) {
            self.change("realm", "urls", &format!("[\"{}\"]", realm.url()));
        }
        // In memory where there is such a place: a test waits for no disk.
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let world = World {
            directory,
            realm,
            clock: Arc::default(),
            entropy: Arc::new(Seeded::new(42)),
            running: None,
            planted: Mutex::new(std::mem::take(&mut self.planted)),
            plan: self,
            log,
            copies: 1,
        };
        world.write();
        world
    }
}

/// A bridge, its files, and the realm behind it. At its end nothing secret may have shown anywhere.
#[derive(Debug)]
pub struct World {
    directory: tempfile::TempDir,
    pub realm: FakeRealm,
    pub clock: Arc<ManualClock>,
    entropy: Arc<Seeded>,
    running: Option<Running>,
    planted: Mutex<Vec<String>>,
    plan: Plan,
    log: usize,
    copies: usize,
}

/// Copies a directory with all that is in it.
pub fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_files(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

impl World {
    /// The usual one.
    #[track_caller]
    pub fn new() -> Self {
        Plan::new().start()
    }

    /// The directory of its files.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `passbridge.toml`.
    pub fn config(&self) -> PathBuf {
        self.path().join("passbridge.toml")
    }

    /// Writes all files anew, as the plan says now.
    fn write(&self) {
        let mut text = String::new();
        for (section, settings) in &self.plan.settings {
            let _ = writeln!(text, "[{section}]");
            for (key, value) in settings {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        std::fs::write(self.config(), text).unwrap();
        let mappings = self.path().join("mappings");
        for folder in ["clients", "dialects"] {
            std::fs::create_dir_all(mappings.join(folder)).unwrap();
        }
        std::fs::write(mappings.join("clients/all.toml"), self.plan.clients.join("\n")).unwrap();
        for (name, text) in &self.plan.dialects {
            std::fs::write(mappings.join(format!("dialects/{name}.toml")), text).unwrap();
        }
    }

    /// Changes a setting in the file; a reload or a start takes it.
    pub fn change(&mut self, section: &str, key: &str, value: &str) {
        self.plan.change(section, key, value);
        self.write();
    }

    /// Changes the clients in the file; a reload or a start takes them.
    pub fn change_clients(&mut self, clients: &[String]) {
        self.plan.clients = clients.to_vec();
        self.write();
    }

    /// Starts a bridge, or says why none was born.
    pub fn try_begin(&mut self) -> Result<(), StartError> {
        let environment = self.plan.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let start = start(Start {
            config: self.config(),
            environment,
            clock: Arc::<ManualClock>::clone(&self.clock),
            entropy: Arc::<Seeded>::clone(&self.entropy),
        });
        self.running = Some(start?);
        Ok(())
    }

    #[track_caller]
    pub fn begin(&mut self) {
        self.try_begin().expect("the bridge starts");
    }

    /// Stops the bridge in order; the files stay.
    pub fn end(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            running.wait().expect("no thread panics");
        }
    }

    /// The same of one of whose threads a panic has ended some: their names.
    #[track_caller]
    pub fn end_broken(&mut self) -> String {
        let running = self.running.take().expect("the bridge runs");
        running.stop();
        running.wait().expect_err("a thread panicked")
    }

    /// Stops it and starts another on the same files.
    #[track_caller]
    pub fn restart(&mut self) {
        self.end();
        // A program that another test is just starting has our open files until it becomes that program, the store's lock among them.
        eventually("the store is free", || match self.try_begin() {
            Ok(()) => true,
            Err(StartError::Failed(sentence)) if sentence.contains("belongs to another process") => false,
            Err(refused) => panic!("the bridge starts: {refused:?}"),
        });
    }

    /// Starts another bridge on the files as they are this moment, as if this one had been killed.
    #[track_caller]
    pub fn crash(&mut self) {
        let copy = format!("data-{}", self.copies);
        self.copies += 1;
        copy_files(&self.store(), &self.path().join(&copy));
        let killed = self.running.take().expect("the bridge runs");
        self.change("server", "drain", "\"0s\"");
        self.change("store", "path", &format!("\"{copy}\""));
        self.begin();
        killed.stop();
        drop(killed.wait());
    }

    /// The directory of the store in use.
    pub fn store(&self) -> PathBuf {
        let store = self.plan.settings.get("store").and_then(|store| store.get("path"));
        self.path().join(store.map_or("data", |path| path.trim_matches('"')))
    }

    /// The bridge.
    #[track_caller]
    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("the bridge runs")
    }

    /// Hashes of old secrets that were verified so far.
    pub fn verifications(&self) -> u64 {
        self.running().bridge().guard.verifications()
    }

    /// Where legacy clients call.
    #[track_caller]
    pub fn legacy(&self) -> SocketAddr {
        self.running().addresses().legacy
    }

    /// Where operators ask, while the bridge runs.
    pub fn ops_address(&self) -> Option<SocketAddr> {
        self.running.as_ref().map(|running| running.addresses().ops)
    }

    /// A connection to the legacy listener.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.legacy())
    }

    /// Sends bytes on a connection of their own; the reply is checked as every reply is.
    #[track_caller]
    pub fn ask(&self, request: &[u8]) -> RawReply {
        let reply = self.connect().ask(request);
        self.checked(reply)
    }

    /// Posts a form to the token endpoint.
    #[track_caller]
    pub fn token(&self, fields: &[(&str, &str)]) -> RawReply {
        self.ask(&post(TOKEN, fields))
    }

    /// Posts a body that calls itself a form to the token endpoint.
    #[track_caller]
    pub fn token_body(&self, body: &[u8]) -> RawReply {
        self.ask(&post_body(TOKEN, &[], body))
    }

    /// A login that must succeed.
    #[track_caller]
    pub fn login(&self) -> RawReply {
        let reply = self.token(&passport(OLD_ID, OLD_SECRET));
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply
    }

    /// Asks about a token in the name of the usual client.
    #[track_caller]
    pub fn introspect(&self, token: &str, hint: &str) -> RawReply {
        let fields =
            [("client_id", OLD_ID), ("client_secret", OLD_SECRET), ("token", token), ("token_type_hint", hint)];
        self.ask(&post(INTROSPECT, &fields))
    }

    /// Whether a token is active.
    #[track_caller]
    pub fn active(&self, token: &str) -> bool {
        self.introspect(token, "").json("active").as_bool().expect("`active` is there")
    }

    /// Checks a reply, and remembers its tokens as secrets.
    #[track_caller]
    pub fn checked(&self, reply: RawReply) -> RawReply {
        reply.check();
        self.plant(&reply);
        reply
    }

    /// Remembers the tokens of a reply as secrets.
    pub fn plant(&self, reply: &RawReply) {
        if let Ok(body) = serde_json::from_str::<serde_json::Value>(&reply.body) {
            let mut planted = self.planted.lock();
            let tokens = ["access_token", "refresh_token"];
            planted.extend(tokens.iter().filter_map(|name| body[name].as_str()).map(str::to_owned));
        }
    }

    /// Remembers a text that must show nowhere.
    pub fn plant_text(&self, secret: &str) {
        self.planted.lock().push(secret.to_owned());
    }

    /// What an operator is told at a path.
    #[track_caller]
    pub fn ops(&self, path: &str) -> RawReply {
        let mut connection = Connection::open(self.running().addresses().ops);
        connection.ask(format!("GET {path} HTTP/1.1\r\nHost: ops\r\n\r\n").as_bytes())
    }

    /// The value of a metric, by its name and the labels as they are written; 0 where it is not there.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.ops("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Log lines with this text in them, since this world began; other worlds' among them.
    pub fn log(&self, text: &str) -> Vec<serde_json::Value> {
        let log = capture::since(self.log);
        log.lines().filter(|line| line.contains(text)).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Every record of the audit so far, from its files.
    pub fn audit(&self) -> Vec<serde_json::Value> {
        let text = self.audit_text();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn audit_text(&self) -> String {
        let files = passbridge::telemetry::audit::files(&self.store().join("audit")).unwrap_or_default();
        files.iter().map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect()
    }

    /// Turns the clock.
    pub fn turn(&self, seconds: u64) {
        self.clock.turn(Duration::from_secs(seconds));
    }

    fn scan(&self) {
        let mut secrets = self.planted.lock().clone();
        secrets.extend(self.realm.tokens());
        secrets.extend(["planted-certificate", "planted+signature", "planted%2Bsignature"].map(str::to_owned));
        let mut places = vec![("the log", capture::since(self.log)), ("the audit", self.audit_text())];
        if self.running.is_some() {
            places.push(("/metrics", self.ops("/metrics").body));
            places.push(("/readyz", self.ops("/readyz").body));
        }
        for (place, text) in places {
            let jwt = text.lines().find(|line| line.split("eyJ").skip(1).any(is_a_jwts));
            assert_eq!(jwt, None, "a JWT in {place}");
            for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
                assert!(!text.contains(secret.as_str()), "a secret in {place}: {secret}");
            }
        }
    }
}

/// Whether a JWT goes on so behind its first three letters. Three letters alone are in the name of a temporary directory now and then.
fn is_a_jwts(rest: &str) -> bool {
    const MORE: usize = 8;
    let is_of_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    rest.bytes().take(MORE).filter(|byte| is_of_base64(*byte)).count() == MORE
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.running.iter().for_each(Running::stop);
            return;
        }
        self.scan();
        self.end();
    }
}
