//! A bridge: the real program, with files of its own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use parking_lot::Mutex;
use std::thread;

use super::eventually;
use super::http::{Answer, form, send, try_send};
use super::keycloak::Keycloak;
use super::passport::{Passport, Wish};
use super::process::ended;

/// A client of the old world, and who it is in the new one.
#[derive(Clone, Copy, Debug)]
pub struct Old {
    pub id: &'static str,
    pub client_id: &'static str,
    /// Further lines of its mapping.
    pub further: &'static str,
}

impl Old {
    /// The secret that all of them have.
    pub const SECRET: &'static str = "an-old-secret-nobody-remembers";

    pub const fn of(client_id: &'static str) -> Self {
        Self { id: client_id, client_id, further: "" }
    }

    pub const fn with(client_id: &'static str, further: &'static str) -> Self {
        Self { id: client_id, client_id, further }
    }
}

/// A running bridge.
#[derive(Debug)]
pub struct Bridge {
    pub legacy: u16,
    pub ops: u16,
    pub realm: Option<u16>,
    child: Child,
    directory: tempfile::TempDir,
    log: Arc<Mutex<String>>,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bridge {
    /// With these clients before this Keycloak.
    pub fn before(keycloak: &Keycloak, clients: &[Old]) -> Self {
        Self::configured(&keycloak.url(), clients, "rotation = \"off\"", "")
    }

    /// With further lines of `[realm]` and of the file.
    pub fn configured(url: &str, clients: &[Old], realm: &str, further: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        fs::create_dir_all(place.join("mappings/clients")).unwrap();
        fs::create_dir_all(place.join("mappings/dialects")).unwrap();
        for dialect in ["otk-passport.toml", "otk-old.toml"] {
            let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings/dialects").join(dialect);
            fs::copy(shipped, place.join("mappings/dialects").join(dialect)).unwrap();
        }
        // The first login finds a cold Keycloak, perhaps on a busy machine.
        let patience = if realm.contains("timeout") { "" } else { "timeout = \"60s\"\n" };
        // `# gateway at PORT` among the further lines: a listener that is off otherwise.
        let doors: String = ["gateway", "authz"]
            .iter()
            .filter_map(|door| {
                let port = further.lines().find_map(|line| line.strip_prefix(&format!("# {door} at ")))?;
                Some(format!("{door} = \"127.0.0.1:{port}\"\n"))
            })
            .collect();
        let config = format!(
            "[listen]\n{doors}legacy = \"127.0.0.1:0\"\nops = \"127.0.0.1:0\"\n{}\n[realm]\nurls = [\"{url}\"]\n{patience}{realm}\n[server]\nworkers = 2\n{further}\n",
            if further.contains("# back-channel") { "realm = \"127.0.0.1:0\"" } else { "" }
        );
        fs::write(place.join("passbridge.toml"), config).unwrap();
        fs::write(place.join("mappings/clients/all.toml"), clients.iter().map(mapping).collect::<String>()).unwrap();
        fs::write(place.join("mappings/clients/old.secret"), Old::SECRET).unwrap();
        let (child, log, ports) = begin(place);
        let [legacy, ops] = [ports[0].unwrap(), ports[1].unwrap()];
        Self { legacy, ops, realm: ports[2], child, directory, log }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Killed at once, as by a power cut. What it held is free afterwards.
    pub fn kill(&self) {
        let id = self.child.id();
        let killed = Command::new("kill").args(["-9", &id.to_string()]).status();
        assert!(killed.expect("kill runs").success());
        eventually("nothing but its exit status is left", || ended(id));
    }

    /// Limits the size of its files, as a full disk would; or lifts the limit.
    pub fn limit_files(&self, limit: &str) {
        let pid = self.child.id().to_string();
        let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}")]).status();
        assert!(limited.expect("prlimit runs").success());
    }

    /// Another configuration beside the first: as that, with these lines added.
    pub fn also_configured(&self, name: &str, further: &str) {
        let first = fs::read_to_string(self.directory.path().join("passbridge.toml")).unwrap();
        fs::write(self.directory.path().join(name), format!("{first}\n{further}\n")).unwrap();
    }

    /// Runs the program on this bridge's files.
    pub fn program(&self, arguments: &[&str]) -> Output {
        self.program_told(arguments, "")
    }

    /// The same, with this on its standard input.
    pub fn program_told(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_passbridge"));
        know_secrets(&mut command);
        command.env("PASSBRIDGE__LISTEN__OPS", format!("127.0.0.1:{}", self.ops));
        command.current_dir(self.directory.path()).args(arguments);
        // Its configuration has any free port.
        command.env("PASSBRIDGE__LISTEN__OPS", format!("127.0.0.1:{}", self.ops));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        child.stdin.take().unwrap().write_all(input.as_bytes()).expect("the program reads");
        child.wait_with_output().expect("the program ends")
    }

    /// Begun again with another of its configurations.
    pub fn restart_with(self, name: &str) -> Self {
        fs::copy(self.directory.path().join(name), self.directory.path().join("passbridge.toml")).unwrap();
        self.restart()
    }

    /// Begun again on the same files. Ports are new.
    pub fn restart(mut self) -> Self {
        self.child.wait().unwrap();
        let (child, log, ports) = begin(self.directory.path());
        self.child = child;
        self.log = log;
        (self.legacy, self.ops, self.realm) = (ports[0].unwrap(), ports[1].unwrap(), ports[2]);
        self
    }

    /// Both.
    pub fn kill_and_restart(self) -> Self {
        self.kill();
        self.restart()
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// Waits until the log says this.
    #[track_caller]
    pub fn says(&self, words: &str) {
        eventually(&format!("the log says: {words}"), || self.log().contains(words));
    }

    /// Posts a form with the client's credentials in front.
    pub fn post(&self, endpoint: &str, client: &str, fields: &[(&str, &str)]) -> Answer {
        let mut all = vec![("client_id", client), ("client_secret", Old::SECRET)];
        all.extend_from_slice(fields);
        let answer = send(self.legacy, "POST", endpoint, &[FORM], &form(&all));
        assert!(!answer.body.contains("eyJ") && !answer.head.contains("eyJ"), "a JWT where a client reads: {answer:?}");
        answer
    }

    /// Logs in.
    pub fn login(&self, client: &str, passport: &Passport, scope: &str) -> Answer {
        let mut fields = passport_fields(passport).to_vec();
        if !scope.is_empty() {
            fields.push(("scope", scope));
        }
        self.post("/auth/oauth/v2/token", client, &fields)
    }

    /// Logs in; nothing where the bridge went away.
    pub fn try_login(&self, client: &str, passport: &Passport) -> Option<Answer> {
        let mut fields = vec![("client_id", client), ("client_secret", Old::SECRET)];
        fields.extend(passport_fields(passport));
        try_send(self.legacy, "POST", "/auth/oauth/v2/token", &[FORM], &form(&fields))
    }

    /// Logs in, which must succeed; answers the pair.
    #[track_caller]
    pub fn pair(&self, client: &str, user: &'static str) -> (String, String) {
        let answer = self.login(client, &Passport::of(&Wish { user, ..Wish::default() }), "client_registration");
        assert_eq!(answer.status, 200, "{answer:?}\n{}", self.log());
        (answer.text("access_token"), answer.text("refresh_token"))
    }

    /// Refreshes.
    pub fn refresh(&self, client: &str, token: &str) -> Answer {
        self.post("/auth/oauth/v2/token", client, &[("grant_type", "refresh_token"), ("refresh_token", token)])
    }

    /// Whether an access UUID is alive.
    pub fn active(&self, client: &str, token: &str) -> bool {
        let answer = self.post("/auth/oauth/v2/token/introspect", client, &[("token", token)]);
        assert_eq!(answer.status, 200, "{answer:?}\n{}", self.log());
        answer.json()["active"].as_bool().unwrap()
    }
}

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn passport_fields(passport: &Passport) -> [(&str, &str); 4] {
    [
        ("grant_type", "passport"),
        ("certificate", &passport.certificate),
        ("algorithm", &passport.algorithm),
        ("signature", &passport.signature),
    ]
}

fn mapping(old: &Old) -> String {
    let Old { id, client_id, further } = old;
    let secret = format!("client_secret = {{ env = \"NEW_{}\" }}\n", client_id.to_uppercase());
    let secret = if further.contains("client_secret") { String::new() } else { secret };
    let stage = if further.contains("stage = ") { "" } else { "stage = \"live\"\n" };
    let old = if further.contains("legacy_secret") { "" } else { "legacy_secret = { file = \"old.secret\" }\n" };
    format!("[[client]]\nlegacy_id = \"{id}\"\n{old}client_id = \"{client_id}\"\n{secret}{stage}{further}\n")
}

type Begun = (Child, Arc<Mutex<String>>, [Option<u16>; 3]);

fn begin(place: &Path) -> Begun {
    let mut command = Command::new(env!("CARGO_BIN_EXE_passbridge"));
    command.arg("serve").arg("--config").arg(place.join("passbridge.toml"));
    know_secrets(&mut command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the bridge starts");
    let log = Arc::new(Mutex::new(String::new()));
    let (sender, receiver) = channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let written = Arc::clone(&log);
    thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            if line.contains("\"event\":\"started\"") {
                let _ = sender.send(line.clone());
            }
            written.lock().push_str(&format!("{line}\n"));
        }
    });
    let ports = ports(&receiver, &log);
    (child, log, ports)
}

/// The secrets of the realm's clients, and a wrong one.
fn know_secrets(command: &mut Command) {
    for client in [
        "test_api",
        "market_terminal",
        "back_office",
        "no_direct_grants",
        "switched_off",
        "short_lived",
        "flow_not_bound",
        "once_only",
        "announced",
        "public_app",
        "ca",
    ] {
        command.env(format!("NEW_{}", client.to_uppercase()), format!("{}-secret", client.replace('_', "-")));
    }
    command.env("WRONG", "this-is-not-the-secret");
}

fn ports(receiver: &Receiver<String>, log: &Mutex<String>) -> [Option<u16>; 3] {
    let line = receiver.recv().unwrap_or_else(|_| panic!("the bridge did not start:\n{}", log.lock()));
    let started: serde_json::Value = serde_json::from_str(&line).unwrap();
    ["legacy", "ops", "realm"].map(|name| started[name].as_str()?.rsplit(':').next()?.parse().ok())
}
