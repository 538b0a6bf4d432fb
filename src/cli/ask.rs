//! Asks the running bridge over its ops listener.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

/// For a connection, and for each piece of an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer: its status, and its body.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Asks for something that needs no token.
pub(super) fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    exchange(address, &format!("GET {path} HTTP/1.0\r\n\r\n"))
}

/// Asks for something that needs the ops token.
pub(super) fn post(address: SocketAddr, path: &str, token: &SecretString, body: &str) -> io::Result<Answer> {
    let (token, length) = (token.expose_secret(), body.len());
    let head = format!("POST {path} HTTP/1.0\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n");
    exchange(address, &format!("{head}{body}"))
}

fn exchange(address: SocketAddr, request: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&reachable(address), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "that was no answer of a bridge");
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(unreadable)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(unreadable)?;
    Ok(Answer { status, body: body.to_owned() })
}

/// Where to ask a listener that listens on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let here = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(if address.ip().is_unspecified() { here } else { address.ip() }, address.port())
}
