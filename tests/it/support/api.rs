//! A fake API on raw sockets: it keeps what it reads, and says what the test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

use super::PATIENCE;
use super::realm::Seen;

/// One connection of the API, as its test plays it.
#[derive(Debug)]
pub struct Caller {
    pub stream: BufReader<TcpStream>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Caller {
    /// Reads a request, whole; `None`: the other side has closed.
    pub fn request(&mut self) -> Option<Seen> {
        let head = self.head()?;
        self.rest(head)
    }

    /// Its head alone.
    pub fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        Some(head.trim_end().to_owned())
    }

    /// What comes behind its head.
    pub fn rest(&mut self, head: String) -> Option<Seen> {
        let mut body = Vec::new();
        if let Some(length) = super::raw::header(&head, "content-length") {
            body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut body).ok()?;
        } else if super::raw::header(&head, "transfer-encoding").is_some() {
            // Trailers may stand between the last chunk and the empty line.
            let (mut line, mut last) = (Vec::new(), false);
            while !(last && line == b"\r\n") {
                line.clear();
                if self.stream.read_until(b'\n', &mut line).ok()? == 0 {
                    return None;
                }
                last |= line == b"0\r\n";
                body.extend_from_slice(&line);
            }
        }
        let seen = Seen { head, body };
        self.seen.lock().push(seen.clone());
        Some(seen)
    }

    pub fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes);
    }
}

/// An API. It ends with the test binary.
#[derive(Debug)]
pub struct FakeApi {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
}

impl FakeApi {
    /// Every connection is played by this.
    pub fn start(play: impl Fn(Caller) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), play)
    }

    /// The same, where somebody listens already.
    pub fn on(listener: TcpListener, play: impl Fn(Caller) + Send + Sync + 'static) -> Self {
        let api = Self { address: listener.local_addr().unwrap(), seen: Arc::default(), connections: Arc::default() };
        let (seen, connections, play) = (Arc::clone(&api.seen), Arc::clone(&api.connections), Arc::new(play));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                *connections.lock() += 1;
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                // What it says is to be there when `say` has returned.
                stream.set_nodelay(true).unwrap();
                let (caller, play) =
                    (Caller { stream: BufReader::new(stream), seen: Arc::clone(&seen) }, Arc::clone(&play));
                thread::spawn(move || play(caller));
            }
        });
        api
    }

    /// Answers everything with these bytes and keeps the connection.
    pub fn saying(bytes: &'static [u8]) -> Self {
        Self::start(move |mut caller| {
            while caller.request().is_some() {
                caller.say(bytes);
            }
        })
    }

    /// The usual one.
    pub fn good() -> Self {
        Self::saying(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nX-Api: yes\r\n\r\ngood")
    }

    /// Answers once and closes.
    pub fn closing(bytes: &'static [u8]) -> Self {
        Self::start(move |mut caller| {
            caller.request();
            caller.say(bytes);
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// The only request so far.
    #[track_caller]
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.into_iter().next().unwrap()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        *self.connections.lock()
    }
}
