//! A site: configuration, mappings and store of one bridge in a folder of its own, and what its clients send.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use passbridge::mapping;
use passbridge::secrets::age;
use passbridge::server::SystemEntropy;
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;

pub const SECRET: &str = "an-old-secret-nobody-remembers";
pub const TOKEN: &str = "/auth/oauth/v2/token";
pub const INTROSPECT: &str = "/auth/oauth/v2/token/introspect";

/// The old id of the client with this number.
pub fn legacy_id(number: usize) -> String {
    format!("l7xx{number:08x}")
}

/// The variable, where there is one.
pub const VARIABLE: &str = "BENCH_NEW_SECRET";

/// Where the clients' secrets at the realm are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum NewSecrets {
    /// A file for each.
    Files,
    /// One variable of the environment for all of them.
    Environment,
    /// Sealed, where they stand.
    Sealed,
}

/// Where a bridge's files are.
pub struct Site {
    pub folder: PathBuf,
    /// Where the store is.
    pub store: PathBuf,
    /// Where logins are asked for.
    pub realm: String,
    /// Further lines of `[realm]`.
    pub realm_further: &'static str,
    /// Further lines of `[store]`.
    pub store_further: &'static str,
    pub clients: usize,
    pub connections: usize,
    pub workers: usize,
    pub new_secrets: NewSecrets,
    /// Where API calls come in and go, if they do.
    pub calls: Option<Calls>,
}

/// How many UUIDs live in a store, the lines of `[store]` that it is asked with, and what that is called.
pub type Live = (usize, &'static str, &'static str);

/// A thousand, and many: with the cache that there is by default, and with one that has room for a hot set of 50,000.
pub fn lives(large: bool) -> Vec<Live> {
    const ROOMY: &str = "cache = \"256MiB\"\n";
    let mut lives = vec![(1_000, "", "1 k"), (100_000, "", "100 k"), (100_000, ROOMY, "100 k (cache 256 MiB)")];
    if large {
        lives.extend([(1_000_000, "", "1 M"), (1_000_000, ROOMY, "1 M (cache 256 MiB)")]);
    }
    lives
}

/// The way of API calls.
#[derive(Clone, Copy)]
pub struct Calls {
    pub gateway: SocketAddr,
    pub authz: SocketAddr,
    pub api: SocketAddr,
}

impl Calls {
    pub fn before(api: SocketAddr) -> Self {
        Self { gateway: free(), authz: free(), api }
    }

    fn config(&self) -> (String, String) {
        let Self { gateway, authz, api } = self;
        let listen = format!("gateway = \"{gateway}\"\nauthz = \"{authz}\"\n");
        (listen, format!("[[gateway.route]]\nprefix = \"/api\"\nupstream = \"http://{api}\"\n"))
    }
}

impl Site {
    /// A site with 100 clients and a store on the disk, in front of this realm.
    pub fn new(work: &Path, name: &str, realm: String) -> Self {
        let folder = work.join(name);
        Self {
            store: folder.join("store"),
            folder,
            realm,
            realm_further: "",
            store_further: "",
            clients: 100,
            connections: 10_000,
            workers: 1,
            new_secrets: NewSecrets::Files,
            calls: None,
        }
    }

    /// Writes the files; answers where the bridge will listen.
    pub fn write(&self) -> (SocketAddr, SocketAddr) {
        let clients = self.folder.join("mappings/clients");
        fs::create_dir_all(&clients).unwrap();
        let (legacy, ops) = (free(), free());
        let hash = mapping::hash(&SecretString::from(SECRET), &SystemEntropy).unwrap();
        let secrets = self.folder.join("secrets");
        fs::create_dir_all(&secrets).unwrap();
        let mut text = String::new();
        let recipient = (self.new_secrets == NewSecrets::Sealed).then(|| self.identity());
        for number in 0..self.clients {
            // As the test realm has it: client 0 is a real one.
            let (client, secret) = match number {
                0 => ("test_api".to_owned(), "test-api-secret".to_owned()),
                _ => (format!("client_{number}"), format!("client-{number}-secret")),
            };
            let file = secrets.join(&client);
            let new = if let Some(recipient) = recipient {
                let sealed = age::seal(secret.as_bytes(), &[recipient], &SystemEntropy).unwrap();
                format!("sealed = \"{}\"", age::encoded(&sealed))
            } else if self.new_secrets == NewSecrets::Environment {
                format!("env = \"{VARIABLE}\"")
            } else {
                private(&file, &secret);
                format!("file = \"{}\"", file.display())
            };
            let old = legacy_id(number);
            write!(text, "[[client]]\nlegacy_id = \"{old}\"\nlegacy_secret = {{ hash = \"{hash}\" }}\nclient_id = \"{client}\"\nclient_secret = {{ {new} }}\nstage = \"live\"\n\n").unwrap();
        }
        fs::write(clients.join("all.toml"), text).unwrap();
        let (listen, routes) = self.calls.as_ref().map(Calls::config).unwrap_or_default();
        let config = format!(
            "[listen]\n{listen}legacy = \"{legacy}\"\nops = \"{ops}\"\n[server]\nworkers = {}\n[limits]\nconnections = {}\n\
             [realm]\nurls = [\"{}\"]\n{}[mappings]\npath = \"mappings\"\n{}[store]\npath = \"{}\"\n{}{routes}",
            self.workers,
            self.connections,
            self.realm,
            self.realm_further,
            if recipient.is_some() { "[secrets]\nidentity = { file = \"age.key\" }\n" } else { "" },
            self.store.display(),
            self.store_further,
        );
        fs::write(self.config(), config).unwrap();
        (legacy, ops)
    }

    /// Makes what opens sealed secrets; whom they are sealed to.
    fn identity(&self) -> age::Recipient {
        let identity = age::Identity::new(&SystemEntropy).unwrap();
        private(&self.folder.join("age.key"), identity.text().unwrap().expose_secret());
        identity.recipient()
    }

    pub fn config(&self) -> PathBuf {
        self.folder.join("passbridge.toml")
    }
}

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// An address that is free now.
pub fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap()
}

/// A POST of a form, as an old client sends it.
pub fn post(path: &str, form: &[(&str, &str)]) -> Vec<u8> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    format!(
        "POST {path} HTTP/1.1\r\nHost: legacy.example\r\nUser-Agent: legacy-client/1.0\r\nAccept: */*\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A login with this passport.
pub fn login(client: usize, passport: &Passport) -> Vec<u8> {
    let form = [
        ("client_id", legacy_id(client).as_str()),
        ("client_secret", SECRET),
        ("grant_type", "passport"),
        ("certificate", &passport.certificate),
        ("algorithm", &passport.algorithm),
        ("signature", &passport.signature),
        ("scope", "client_registration"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    post(TOKEN, &form.each_ref().map(|(name, value)| (*name, value.as_str())))
}

/// A refresh.
pub fn refresh(client: usize, token: &str) -> Vec<u8> {
    let id = legacy_id(client);
    let form = [("client_id", id.as_str()), ("client_secret", SECRET), ("grant_type", "refresh_token")];
    post(TOKEN, &[form[0], form[1], form[2], ("refresh_token", token)])
}

/// A cookie and a signature by it.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Passport {
    pub certificate: String,
    pub algorithm: String,
    pub signature: String,
}

impl Passport {
    /// As long as a real one: 204 and 2884 characters, of base64's alphabet.
    pub fn invented() -> Self {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let text = |length: usize| (0..length).map(|n| char::from(alphabet[n * 37 % 64])).collect::<String>();
        let certificate = text(204).replace('+', "-").replace('/', "_");
        Self { certificate, algorithm: "RSA".to_owned(), signature: text(2884) }
    }

    /// Real ones, each of another user, good for an hour.
    pub fn real(count: usize) -> Vec<Self> {
        let user = |n: usize| 90501 + n % 20;
        (0..count)
            .map(|n| {
                let wish = format!(r#"{{"user":"{}","expires_in":3600}}"#, user(n));
                let output = Command::new(repository().join("scripts/passport"))
                    .args(["batch", &wish, "1"])
                    .stderr(Stdio::inherit())
                    .output()
                    .unwrap();
                serde_json::from_slice(&output.stdout).unwrap()
            })
            .collect()
    }
}

/// A folder of its own for what a chapter writes, on the disk; it goes when this is dropped.
pub fn folder() -> TempDir {
    folder_in(env!("CARGO_TARGET_TMPDIR"))
}

/// The same in memory.
pub fn in_memory() -> TempDir {
    folder_in("/dev/shm")
}

fn folder_in(place: &str) -> TempDir {
    tempfile::Builder::new().prefix("passbridge-bench-").tempdir_in(place).unwrap()
}

/// The top of the work tree.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
