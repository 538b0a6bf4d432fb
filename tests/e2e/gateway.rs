//! API calls with the UUIDs: an API that takes only the realm's JWTs, behind our own gateway and behind nginx.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};

use super::support::{Bridge, Keycloak, Old, eventually, free_ports, repository, send};

/// Begins an API that says whose token it got, and takes only those that the realm has signed.
fn api(keycloak: &Keycloak) -> u16 {
    let keys = send(keycloak.port, "GET", "/auth/realms/SSO/protocol/openid-connect/certs", &[], "");
    let keys: JwkSet = serde_json::from_str(&keys.body).expect("the realm publishes its keys");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            answer(stream, &keys);
        }
    });
    port
}

fn answer(mut stream: TcpStream, keys: &JwkSet) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let bearer = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.strip_prefix("Bearer ").unwrap_or_default().to_owned())
    });
    let (status, body) = match bearer.and_then(|token| subject(&token, keys)) {
        Some(user) => ("200 OK", user),
        None => ("401 Unauthorized", "no token of the realm's".to_owned()),
    };
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
}

/// The user of a token, where the realm has signed it and it is not over.
fn subject(token: &str, keys: &JwkSet) -> Option<String> {
    let header = decode_header(token).ok()?;
    let key = DecodingKey::from_jwk(keys.find(&header.kid?)?).ok()?;
    let mut validation = Validation::new(header.alg);
    validation.validate_aud = false;
    let claims = decode::<serde_json::Value>(token, &key, &validation).ok()?.claims;
    claims["preferred_username"].as_str().map(str::to_owned)
}

/// An nginx with the shipped example, on other ports. It ends with its test.
#[derive(Debug)]
struct Nginx {
    child: Child,
    _directory: tempfile::TempDir,
}

impl Nginx {
    fn start(port: u16, authz: u16, api: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let shipped = fs::read_to_string(Path::new(repository()).join("deploy/nginx/passbridge.conf")).unwrap();
        let mut example = shipped;
        for (there, here) in [(8088, port), (8082, authz), (8090, api)] {
            let (there, here) = (format!("127.0.0.1:{there};"), format!("127.0.0.1:{here};"));
            assert!(example.contains(&there));
            example = example.replace(&there, &here);
        }
        fs::write(place.join("passbridge.conf"), example).unwrap();
        let dir = place.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {dir}/{kind};\n"))
            .concat();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {dir}/pid;\nerror_log {dir}/error.log;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}include {dir}/passbridge.conf;\n}}\n"
        );
        fs::write(place.join("nginx.conf"), config).unwrap();
        let log = File::create(place.join("said.log")).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command.args(["-p", &dir.to_string(), "-e", &format!("{dir}/error.log"), "-c", &format!("{dir}/nginx.conf")]);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let nginx = Self { child: child.expect("nginx starts"), _directory: directory };
        eventually("nginx listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_uuid_calls_an_api_through_the_gateway_and_through_nginx_until_it_is_revoked() {
    let keycloak = Keycloak::shared();
    let api = api(keycloak);
    let [gateway, authz, front] = free_ports();
    let routes = format!(
        "[gateway]\nroute = [{{ prefix = \"/api\", upstream = \"http://127.0.0.1:{api}\" }}]\n# gateway at {gateway}\n# authz at {authz}\n"
    );
    let bridge = Bridge::configured(&keycloak.url(), &[Old::of("test_api")], "rotation = \"off\"", &routes);
    let _nginx = Nginx::start(front, authz, api);
    let (access, _) = bridge.pair("test_api", "90519");
    let bearer = format!("Bearer {access}");
    let call = |port: u16, token: &str| send(port, "GET", "/api/me?x=1", &[("Authorization", token)], "");
    assert_eq!(call(api, &bearer).status, 401, "the API itself knows no UUIDs");
    for port in [gateway, front] {
        let answer = call(port, &bearer);
        assert_eq!((answer.status, answer.body.as_str()), (200, "90519"), "{answer:?}\n{}", bridge.log());
        let unknown = call(port, "Bearer 7c9e6679-7425-40de-944b-e07fc1f90ae7");
        assert_eq!(unknown.refusal(), (401, "3003992".to_owned(), "invalid_token".to_owned()), "{unknown:?}");
        assert_eq!(unknown.header("www-authenticate").as_deref(), Some("Bearer"));
    }
    assert_eq!(bridge.post("/auth/oauth/v2/token/revoke", "test_api", &[("token", &access)]).status, 200);
    for port in [gateway, front] {
        // At once, so within a second.
        let over = call(port, &bearer);
        assert_eq!(over.refusal(), (401, "3003990".to_owned(), "invalid_token".to_owned()), "{over:?}");
    }
    let log = bridge.log();
    assert!(!log.contains(&access) && !log.contains("eyJ"));
}
