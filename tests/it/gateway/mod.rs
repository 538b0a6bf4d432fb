//! API calls through the gateway, and the questions of other proxies.

mod authz;
mod errors;
mod framing;
mod headers;
mod streaming;
mod swap;

use std::net::TcpListener;

use crate::support::{Connection, FakeApi, Plan, RawReply, World};

/// A world with a gateway to one API below `/api`. `more`: further keys of the route.
fn plan(api: &FakeApi, more: &str) -> Plan {
    routes(&format!("{{ prefix = \"/api\", upstream = \"{}\"{more} }}", api.url()))
}

fn routes(routes: &str) -> Plan {
    Plan::new().set("listen", "gateway", "\"127.0.0.1:0\"").set("listen", "authz", "\"127.0.0.1:0\"").set(
        "gateway",
        "route",
        &format!("[{routes}]"),
    )
}

#[track_caller]
fn connect(world: &World) -> Connection {
    Connection::open(world.running().addresses().gateway.expect("there is a gateway"))
}

/// A GET with this token.
fn get(path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: api.example.org\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes()
}

#[track_caller]
fn call(world: &World, request: &[u8]) -> RawReply {
    connect(world).ask(request)
}

/// A login's access UUID.
#[track_caller]
fn uuid(world: &World) -> String {
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

/// A URL where nobody listens.
fn nowhere() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}
