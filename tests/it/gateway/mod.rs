//! API calls through the gateway, and the questions of other proxies.

mod abuse;
mod authz;
mod crowds;
mod doubt;
mod errors;
mod floods;
mod framing;
mod goodbye;
mod grpc;
mod hangs;
mod headers;
mod http2;
mod http2_ends;
mod http2_out;
mod http2_slow;
mod interim;
mod liars;
mod many;
mod old_api;
mod reload;
mod secure;
mod shapes;
mod streaming;
mod swap;
mod tunnels;
mod wire;

use std::io::Read;
use std::net::TcpStream;

use crate::support::{Connection, FakeApi, PATIENCE, Plan, RawReply, World};

/// A world with a gateway to one API below `/api`. `more`: further keys of the route.
pub fn plan(api: &FakeApi, more: &str) -> Plan {
    routes(&format!("{{ prefix = \"/api\", upstream = \"{}\"{more} }}", api.url()))
}

fn routes(routes: &str) -> Plan {
    Plan::new().set("listen", "gateway", "\"127.0.0.1:0\"").set("listen", "authz", "\"127.0.0.1:0\"").set(
        "gateway",
        "route",
        &format!("[{routes}]"),
    )
}

/// Two routes to one API: everybody's, and that of one host, for somebody else's client alone.
fn two_ways(api: &FakeApi) -> String {
    let upstream = format!("prefix = \"/api\", upstream = \"{}\"", api.url());
    let vip = |host: &str| format!("{{ {upstream}, host = \"{host}\", clients = [\"somebody\"] }}");
    format!("{{ {upstream} }}, {}, {}", vip("VIP.example.org."), vip("[::1]"))
}

/// How a host of [`two_ways`] may be written.
const FOR_ANOTHER: [&str; 8] = [
    "vip.example.org",
    "VIP.Example.ORG",
    "vip.example.org.",
    "vip.example.org:8443",
    "vip.example.org.:80",
    "vip.example.org:",
    "[::1]:443",
    "[0:0::0001]",
];

/// What is no host, and may be that one to some server.
const NONE: [&str; 20] = [
    "vip.example.org:80x",
    "vip.example.org:80:80",
    "u@vip.example.org",
    "vip.example.org,z",
    "z, vip.example.org",
    "vip.example.org/x",
    "vip.example.org\\x",
    "vip.example.org#x",
    "vip.example.org?x",
    "vip.example.org z",
    "vip.example.org;z",
    "\"vip.example.org\"",
    "vip.example.org%2e",
    "vip%2eexample.org",
    "vip.example.org%3a80",
    "vip.example.org..",
    "vip..example.org",
    "vip\u{3002}example.org",
    "[::1%25lo]",
    "[::1]x",
];

#[track_caller]
fn connect(world: &World) -> Connection {
    Connection::open(world.running().addresses().gateway.expect("there is a gateway"))
}

#[track_caller]
fn open(world: &World) -> TcpStream {
    let stream = TcpStream::connect(world.running().addresses().gateway.unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads on until this has come.
#[track_caller]
fn until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        let mut piece = [0; 1024];
        let count = stream.read(&mut piece).expect("it comes in time");
        assert!(count > 0, "closed before `{text}`: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(read).unwrap()
}

/// A GET with this token.
fn get(path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: api.example.org\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes()
}

/// A POST with this token. `framing`: further lines of the head, their end, and the body.
fn posting(uuid: &str, framing: &str) -> Vec<u8> {
    format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {uuid}\r\n{framing}").into_bytes()
}

#[track_caller]
fn call(world: &World, request: &[u8]) -> RawReply {
    connect(world).ask(request)
}

/// A login's access UUID.
#[track_caller]
pub fn uuid(world: &World) -> String {
    world.login().text("access_token")
}

/// A refusal in the dialect's words: status, error, number.
#[track_caller]
fn refused(reply: &RawReply) -> (u16, String, String) {
    reply.check();
    (reply.status, reply.text("error"), reply.header("x-ca-err").unwrap_or_default())
}

fn told(status: u16, error: &str, number: &str) -> (u16, String, String) {
    (status, error.to_owned(), number.to_owned())
}

/// How many requests had no answer as their caller was gone.
fn gone(world: &World, endpoint: &str, client: &str) -> u64 {
    let labels = format!("endpoint=\"{endpoint}\",client=\"{client}\",outcome=\"caller_gone\"");
    world.metric(&format!("passbridge_requests_total{{{labels}}}")).to_string().parse().unwrap()
}

/// An API that agrees to a WebSocket, says hello, and says four bytes after its caller.
fn web_socket() -> FakeApi {
    FakeApi::start(|mut caller| {
        caller.request();
        caller.say(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
        let mut word = [0; 4];
        caller.stream.read_exact(&mut word).unwrap();
        caller.say(&word);
    })
}

/// A URL where nobody listens: a port that no system hands out by itself. One that was just given back may be another test's next.
fn nowhere() -> String {
    "http://127.0.0.1:1".to_owned()
}
