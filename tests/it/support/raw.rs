//! A legacy client that speaks raw bytes, and the harness that checks every reply.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::PATIENCE;

/// A reply, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawReply {
    pub status: u16,
    /// Status line and headers without the empty line behind them.
    pub head: String,
    pub body: String,
}

impl RawReply {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        header(&self.head, name)
    }

    /// A member of the body.
    #[track_caller]
    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str::<serde_json::Value>(&self.body).expect("the body is JSON")[name].clone()
    }

    /// A text member of the body.
    #[track_caller]
    pub fn text(&self, name: &str) -> String {
        self.json(name).as_str().unwrap_or_else(|| panic!("no text `{name}` in {}", self.body)).to_owned()
    }

    /// Status and error, for short comparisons.
    #[track_caller]
    pub fn said(&self) -> (u16, String) {
        (self.status, self.text("error"))
    }

    /// What every reply of the legacy listener must be like, whatever it says.
    #[track_caller]
    pub fn check(&self) {
        const ALLOWED: [&str; 9] = [
            "content-type",
            "content-length",
            "cache-control",
            "pragma",
            "date",
            "x-ca-err",
            "www-authenticate",
            "allow",
            "connection",
        ];
        let mut seen: Vec<String> = Vec::new();
        for line in self.head.lines().skip(1) {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            assert!(ALLOWED.contains(&name.as_str()) || name.starts_with("x-test-"), "header {name} in {}", self.head);
            assert!(!seen.contains(&name), "header {name} twice in {}", self.head);
            seen.push(name);
        }
        assert_eq!(self.header("content-length"), Some(self.body.len().to_string()), "{}", self.head);
        assert_eq!(self.header("cache-control").as_deref(), Some("no-store"), "{}", self.head);
        assert!(!self.body.contains("eyJ"), "a JWT where a client reads: {}", self.body);
        assert!(!self.head.contains("secret-of-the-realm") && !self.body.contains("secret-of-the-realm"));
    }
}

/// The value of a header in a head.
pub fn header(head: &str, name: &str) -> Option<String> {
    let wanted = format!("{}:", name.to_ascii_lowercase());
    let line = head.lines().skip(1).find(|line| line.to_ascii_lowercase().starts_with(&wanted))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// A connection as an old client holds it, over TCP or over whatever else carries bytes.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
    /// Interim answers (`100 Continue`) seen so far.
    pub interim: usize,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the listener accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// Says that nothing more will be sent.
    pub fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

impl<S: Read + Write> Connection<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), interim: 0 }
    }

    /// Sends bytes. The other side may answer and close before it has read all.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Sends a request and reads its reply.
    #[track_caller]
    pub fn ask(&mut self, request: &[u8]) -> RawReply {
        self.write(request);
        self.reply().expect("a reply")
    }

    /// Reads one reply; what comes after it stays in the buffer. `None`: the connection was closed without one.
    #[track_caller]
    pub fn reply(&mut self) -> Option<RawReply> {
        self.read_reply(true)
    }

    /// As [`Connection::reply`], where the other side may die in the middle of it.
    #[track_caller]
    pub fn whole_reply(&mut self) -> Option<RawReply> {
        loop {
            let end = self.buffer.windows(4).position(|window| window == b"\r\n\r\n");
            let length = end.and_then(|end| header(&String::from_utf8_lossy(&self.buffer[..end]), "content-length"));
            let whole = end.zip(length).map(|(end, length)| end + 4 + length.parse::<usize>().unwrap());
            if whole.is_some_and(|whole| self.buffer.len() >= whole) {
                return self.reply();
            }
            if !self.more() {
                return None;
            }
        }
    }

    /// As [`Connection::reply`], for a HEAD request, whose reply has a length and no body.
    #[track_caller]
    pub fn reply_without_body(&mut self) -> Option<RawReply> {
        self.read_reply(false)
    }

    #[track_caller]
    fn read_reply(&mut self, with_body: bool) -> Option<RawReply> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                if self.buffer.starts_with(b"HTTP/1.1 100") {
                    self.interim += 1;
                    self.buffer.drain(..end + 4);
                    continue;
                }
                break end;
            }
            if !self.more() {
                assert!(self.buffer.is_empty(), "half a head: {}", String::from_utf8_lossy(&self.buffer));
                return None;
            }
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).expect("the head is text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length: usize = header(&head, "content-length").map_or(0, |length| length.parse().expect("a length"));
        let length = if with_body { length } else { 0 };
        while self.buffer.len() < end + 4 + length {
            assert!(self.more(), "the body is cut off");
        }
        let body = String::from_utf8(self.buffer[end + 4..end + 4 + length].to_vec()).expect("the body is text");
        self.buffer.drain(..end + 4 + length);
        Some(RawReply { status, head, body })
    }

    /// So many bytes, as they came.
    #[track_caller]
    pub fn next_bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.more(), "closed: {}", String::from_utf8_lossy(&self.buffer));
        }
        self.buffer.drain(..count).collect()
    }

    /// Waits for an interim answer, which must come before any other.
    #[track_caller]
    pub fn wait_for_interim(&mut self) {
        while !self.buffer.windows(4).any(|window| window == b"\r\n\r\n") {
            assert!(self.more(), "closed in place of an interim answer");
        }
        assert!(self.buffer.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&self.buffer));
    }

    /// Reads on. `false`: the other side has closed.
    #[track_caller]
    fn more(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(read) => {
                self.buffer.extend_from_slice(&chunk[..read]);
                read > 0
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("neither a reply nor an end within {PATIENCE:?}")
            }
            Err(_) => false,
        }
    }

    /// Reads on until this has come, and forgets what came.
    #[track_caller]
    pub fn until(&mut self, end: &[u8]) {
        while !self.buffer.windows(end.len()).any(|window| window == end) {
            assert!(self.more(), "closed before its end");
        }
        self.buffer.clear();
    }

    /// Whether the other side has closed and sent nothing more.
    #[track_caller]
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more()
    }
}

/// How many answers somebody else got while each of a few requests here had to wait for its own; the fewest first.
pub fn answered_meanwhile(other: &mut Connection, request: &[u8], answers: &AtomicUsize) -> Vec<usize> {
    let mut meanwhile: Vec<usize> = (0..41)
        .map(|_| {
            let before = answers.load(Ordering::Relaxed);
            other.ask(request);
            answers.load(Ordering::Relaxed) - before
        })
        .collect();
    meanwhile.sort_unstable();
    meanwhile
}

/// A POST of a form, as an old client writes it.
pub fn post(path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    post_with(path, &[], fields)
}

/// The same with further headers.
pub fn post_with(path: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Vec<u8> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    post_body(path, headers, body.as_bytes())
}

/// A POST of a body that calls itself a form.
pub fn post_body(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nHost: old.example.org\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    [head.as_bytes(), b"\r\n", body].concat()
}
