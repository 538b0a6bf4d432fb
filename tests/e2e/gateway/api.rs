//! An API that takes only the realm's JWTs, and remembers what it was sent.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use parking_lot::Mutex;

use super::super::support::{Keycloak, send};

/// What it answers slowly, a letter a second: for longer than the 15 s that a proxy may wait for an answer where nobody says otherwise.
pub const SLOW: (&str, usize) = ("GET /api/slow", 17);

/// What it answers as a stream of events: by one letter, and by the other once the test has said that it came.
pub const HELD: &str = "GET /api/held/";

/// A running API. It says whose token it got, and how long the body was; through a WebSocket, what it is told.
#[derive(Clone, Debug)]
pub struct Api {
    pub port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    /// Whose first letter has come.
    pub heard: Arc<Mutex<HashSet<String>>>,
}

impl Api {
    pub fn before(keycloak: &Keycloak) -> Self {
        let keys = send(keycloak.port, "GET", "/auth/realms/SSO/protocol/openid-connect/certs", &[], "");
        let keys: Arc<JwkSet> = Arc::new(serde_json::from_str(&keys.body).expect("the realm publishes its keys"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = Self { port: listener.local_addr().unwrap().port(), heads: Arc::default(), heard: Arc::default() };
        let (heads, heard) = (Arc::clone(&api.heads), Arc::clone(&api.heard));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (keys, heads, heard) = (Arc::clone(&keys), Arc::clone(&heads), Arc::clone(&heard));
                thread::spawn(move || answer(stream, &keys, (&heads, &heard)));
            }
        });
        api
    }

    /// The heads of all requests since this was asked last.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.heads.lock())
    }
}

/// The values of a header, in a head.
pub fn values(head: &str, name: &str) -> Vec<String> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).collect()
}

fn answer(mut stream: TcpStream, keys: &JwkSet, (heads, heard): (&Mutex<Vec<String>>, &Mutex<HashSet<String>>)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let length = values(&head, "content-length").first().and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut sent = vec![0; length];
    if reader.read_exact(&mut sent).is_err() {
        return;
    }
    let bearers = values(&head, "authorization");
    let slow = head.starts_with(SLOW.0);
    let socket = values(&head, "upgrade").iter().any(|protocol| protocol.eq_ignore_ascii_case("websocket"));
    let held = head.strip_prefix(HELD).and_then(|rest| rest.split(' ').next()).map(str::to_owned);
    heads.lock().push(head);
    let user = match bearers.as_slice() {
        [one] => one.strip_prefix("Bearer ").and_then(|token| subject(token, keys)),
        _ => None,
    };
    // Where this cannot be written, nobody is there who would mind.
    let _ = match user {
        None => whole(&mut stream, "401 Unauthorized", "no token of the realm's"),
        Some(_) if socket => echo(reader, stream),
        Some(_) if slow => slowly(&mut stream),
        Some(_) if held.is_some() => hold(&mut stream, held.as_deref(), heard),
        Some(user) => whole(&mut stream, "200 OK", &format!("{user} sent {length}")),
    };
}

fn whole(stream: &mut TcpStream, status: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn slowly(stream: &mut TcpStream) -> io::Result<()> {
    let length = SLOW.1;
    write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")?;
    for _ in 0..length {
        stream.write_all(b"s")?;
        thread::park_timeout(Duration::from_secs(1));
    }
    Ok(())
}

fn hold(stream: &mut TcpStream, name: Option<&str>, heard: &Mutex<HashSet<String>>) -> io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\ns")?;
    let mut patience = 300;
    while patience > 0 && !name.is_some_and(|name| heard.lock().contains(name)) {
        thread::park_timeout(Duration::from_millis(100));
        patience -= 1;
    }
    stream.write_all(b"s")
}

/// The key that this accepts is RFC 6455's own (section 1.3).
fn echo(mut reader: impl Read, mut stream: TcpStream) -> io::Result<()> {
    let accepted = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{accepted}\r\n\r\n"
    )?;
    io::copy(&mut reader, &mut stream).map(drop)
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
