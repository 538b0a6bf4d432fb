//! A legacy client that speaks raw bytes, and the harness that checks every reply.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A reply, byte for byte.
#[derive(Clone, Debug)]
pub struct RawReply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl RawReply {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        let wanted = format!("{}:", name.to_ascii_lowercase());
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&wanted))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    }

    /// A member of the body.
    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str::<serde_json::Value>(&self.body).expect("the body is JSON")[name].clone()
    }

    /// A text member of the body.
    pub fn text(&self, name: &str) -> String {
        self.json(name).as_str().unwrap_or_else(|| panic!("no text `{name}` in {}", self.body)).to_owned()
    }

    /// What every reply of the legacy listener must be like, whatever it says.
    #[track_caller]
    pub fn check(self) -> Self {
        const ALLOWED: [&str; 9] =
            ["content-type", "content-length", "cache-control", "pragma", "date", "x-ca-err", "www-authenticate", "allow", "connection"];
        for line in self.head.lines().skip(1) {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            assert!(ALLOWED.contains(&name.as_str()) || name.starts_with("x-test-"), "header {name} in {}", self.head);
        }
        assert_eq!(self.header("content-length"), Some(self.body.len().to_string()), "{}", self.head);
        assert_eq!(self.header("cache-control").as_deref(), Some("no-store"), "{}", self.head);
        assert!(!self.body.contains("eyJ"), "a JWT where a client reads: {}", self.body);
        assert!(!self.head.contains("secret-of-the-realm") && !self.body.contains("secret-of-the-realm"));
        self
    }
}

/// Sends bytes on a connection of their own and reads one reply. `None`: the connection was closed without one.
pub async fn send(address: SocketAddr, bytes: &[u8]) -> Option<RawReply> {
    let mut stream = TcpStream::connect(address).await.expect("the listener accepts");
    // The other side may answer and close before it has read all.
    let _ = stream.write_all(bytes).await;
    read_reply(&mut stream, &mut Vec::new()).await
}

/// Reads one reply; what comes after it stays in the buffer.
pub async fn read_reply(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<RawReply> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).expect("the head is text");
            if head.starts_with("HTTP/1.1 100") {
                buffer.drain(..end + 4);
                continue;
            }
            break end;
        }
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..end].to_vec()).expect("the head is text");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let mut reply = RawReply { status, head, body: String::new() };
    let length: usize = reply.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    while buffer.len() < end + 4 + length {
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            break;
        }
    }
    let until = buffer.len().min(end + 4 + length);
    reply.body = String::from_utf8(buffer[end + 4..until].to_vec()).expect("the body is text");
    buffer.drain(..until);
    Some(reply)
}

/// A POST of a form, as an old client writes it.
pub fn post(path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    post_with(path, &[], fields)
}

/// The same with further headers.
pub fn post_with(path: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Vec<u8> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: old.example.org\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{head}\r\n{body}").into_bytes()
}
