//! One real Keycloak for the whole binary, with the realm SSO of `keycloak/`; and its administrator.

use std::fs::File;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::http::{Answer, form, send};
use super::process::{begin_for_good, bound_to_us, free_ports, place, repository};

/// A Keycloak that is ready.
#[derive(Debug)]
pub struct Keycloak {
    pub port: u16,
    /// Where its database is.
    directory: tempfile::TempDir,
}

impl Keycloak {
    /// The one that all tests share; rotation is off there.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Keycloak> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[]))
    }

    /// The other one, whose refresh tokens may be used once.
    pub fn rotating() -> &'static Self {
        static ROTATING: OnceLock<Keycloak> = OnceLock::new();
        ROTATING.get_or_init(|| Self::start(&["--rotation", "on"]))
    }

    fn start(further: &[&str]) -> Self {
        let ports = free_ports();
        let (keycloak, id) = Self::boot(ports, further);
        let script = format!("{}/scripts/keycloak", repository());
        let (management, id) = (ports[1].to_string(), id.to_string());
        let ready = Command::new(&script)
            .args(["wait", "--management-port", &management, "--timeout", "180", "--pid", &id])
            .status();
        let log = std::fs::read_to_string(keycloak.directory.path().join("keycloak.log")).unwrap_or_default();
        assert!(ready.expect("the script runs").success(), "Keycloak did not start:\n{log}");
        keycloak
    }

    /// One of the test's own at these ports: for clients, and for its health. It only begins to start. Answers its id, too.
    pub fn boot([port, management]: [u16; 2], further: &[&str]) -> (Self, u32) {
        let directory = place();
        let mut arguments: Vec<String> = vec!["start".to_owned()];
        let (port_text, management_text) = (port.to_string(), management.to_string());
        let place = directory.path().join("keycloak").display().to_string();
        for (name, value) in [("--port", &port_text), ("--management-port", &management_text), ("--dir", &place)] {
            arguments.extend([name.to_owned(), value.clone()]);
        }
        arguments.extend(further.iter().map(|&argument| argument.to_owned()));
        let log = File::create(directory.path().join("keycloak.log")).unwrap();
        let mut command = bound_to_us(&format!("{}/scripts/keycloak", repository()), &arguments);
        command.env("KEYCLOAK_QUICK", "1").stdout(log.try_clone().unwrap()).stderr(log);
        #[expect(clippy::zombie_processes, reason = "it ends with the binary, or by the test that began it")]
        let child = begin_for_good(command);
        (Self { port, directory }, child.id())
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/auth/realms/SSO", self.port)
    }

    /// One more realm on this server, as SSO is but for what is changed: for settings that all logins of a realm have in common.
    /// Answers its URL.
    pub fn other_realm(&self, change: impl FnOnce(&mut Value)) -> String {
        static OTHERS: AtomicU32 = AtomicU32::new(1);
        let number = OTHERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("OTHER-{number}");
        let file = std::fs::read_to_string(format!("{}/keycloak/realm/SSO-realm.json", repository())).unwrap();
        // A flow's id is the server's, not the realm's; the default role has the realm's name.
        let file =
            file.replace("7d1f5b56", &format!("{number:08x}")).replace("roles-sso", &format!("roles-other-{number}"));
        let mut realm: Value = serde_json::from_str(&file).unwrap();
        realm["realm"] = name.clone().into();
        change(&mut realm);
        let made = self.administrator("POST", "", &realm);
        assert_eq!(made.status, 201, "{made:?}");
        self.url().replace("SSO", &name)
    }

    /// Asks the administrator's API of the realm.
    pub fn admin(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.administrator(method, &format!("/SSO{path}"), body)
    }

    fn administrator(&self, method: &str, path: &str, body: &Value) -> Answer {
        let fields = [
            ("grant_type", "password"),
            ("client_id", "admin-cli"),
            ("username", "admin"),
            ("password", "admin-password"),
        ];
        let form_type = [("Content-Type", "application/x-www-form-urlencoded")];
        let token =
            send(self.port, "POST", "/auth/realms/master/protocol/openid-connect/token", &form_type, &form(&fields));
        let bearer = format!("Bearer {}", token.text("access_token"));
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        send(self.port, method, &format!("/auth/admin/realms{path}"), &headers, &body)
    }

    /// The realm's own id of a client.
    pub fn client(&self, client_id: &str) -> Value {
        self.admin("GET", &format!("/clients?clientId={client_id}"), &Value::Null).json()[0].clone()
    }

    /// The sessions of a user.
    pub fn sessions(&self, username: &str) -> Vec<Value> {
        let users = self.admin("GET", &format!("/users?username={username}&exact=true"), &Value::Null).json();
        let id = users[0]["id"].as_str().expect("the user exists").to_owned();
        self.admin("GET", &format!("/users/{id}/sessions"), &Value::Null).json().as_array().cloned().unwrap_or_default()
    }

    /// What the realm wrote down of a user's doings, the newest first: kind, client, the address it came from.
    pub fn events(&self, kind: &str, client: &str) -> Vec<Value> {
        let told = self.admin("GET", &format!("/events?type={kind}&client={client}&max=100"), &Value::Null).json();
        told.as_array().cloned().unwrap_or_default()
    }

    /// From now on the realm writes down what its users do.
    pub fn keep_events(&self) {
        let kinds = ["LOGIN", "LOGIN_ERROR", "REFRESH_TOKEN", "LOGOUT"];
        let wish = serde_json::json!({"eventsEnabled": true, "eventsExpiration": 3600, "enabledEventTypes": kinds});
        assert_eq!(self.admin("PUT", "/events/config", &wish).status, 204);
    }
}
