//! Where requests are sent: a connection for each, and its reply read as HTTP/1.x has it.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use rustls::ClientConnection;
use rustls_pki_types::ServerName;

use super::super::show::words;
use super::super::{ask, pinned};
use super::capture::Reply;
use super::template::find;
use crate::config::Config;
use crate::relay::Trust;
use crate::server::TlsMaterial;

/// For a connection, and for each piece of a reply: longer than a bridge waits for its realm.
const PATIENCE: Duration = Duration::from_secs(30);

/// No reply is longer.
const LONGEST: u64 = 64 * 1024 * 1024;

/// A server.
pub(super) struct Target {
    host: String,
    port: u16,
    security: Security,
}

enum Security {
    Clear,
    /// The certificate of the configuration, and no other.
    Pinned(TlsMaterial),
    /// Whoever the trusted certificates vouch for.
    Trusted(Trust),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Target {
    /// The legacy listener.
    pub(super) fn of(config: &Config) -> Self {
        let address = ask::reachable(config.listen.legacy);
        let security = config.tls.legacy.clone().map_or(Security::Clear, Security::Pinned);
        Self { host: address.ip().to_string(), port: address.port(), security }
    }

    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub(super) fn of_url(url: &str, ca: Option<&Path>) -> Result<Self, String> {
        let bad = || format!("`{url}` is no place to send to\n  hint: http://HOST:PORT or https://HOST:PORT");
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        let usual = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(bad()),
        };
        let authority: http::uri::Authority = rest.strip_suffix('/').unwrap_or(rest).parse().map_err(|_| bad())?;
        if authority.host().is_empty() || rest.contains('@') {
            return Err(bad());
        }
        let security = if scheme == "https" { Security::Trusted(trusting(ca)?) } else { Security::Clear };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Ok(Self { host, port: authority.port_u16().unwrap_or(usual), security })
    }

    /// Sends a request as it is, and reads its reply.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn ask(&self, request: &[u8]) -> Result<Reply, String> {
        self.exchange(request).map_err(|error| format!("{self}: {}", words(&error)))
    }

    fn exchange(&self, request: &[u8]) -> io::Result<Reply> {
        let mut error = io::Error::other("the name has no address");
        let mut connected = None;
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    connected = Some(stream);
                    break;
                }
                Err(refused) => error = refused,
            }
        }
        let mut stream = connected.ok_or(error)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut session = match &self.security {
            Security::Clear => return reply(&mut stream, request),
            Security::Pinned(material) => pinned::session(material).map_err(io::Error::other)?,
            Security::Trusted(trust) => {
                let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
                ClientConnection::new(trust.config(), name).map_err(io::Error::other)?
            }
        };
        reply(&mut rustls::Stream::new(&mut session, &mut stream), request)
    }
}

/// The system's certificates, or those of a file.
fn trusting(ca: Option<&Path>) -> Result<Trust, String> {
    let Some(path) = ca else {
        return Trust::new(None).map_err(|_| "there is no certificate to trust\n  hint: --ca FILE".to_owned());
    };
    let unfit =
        |reason: String| format!("{}: {reason}\n  hint: --ca names a file with certificates in PEM", path.display());
    let pem = fs::read(path).map_err(|error| unfit(words(&error)))?;
    Trust::new(Some(pem)).map_err(unfit)
}

fn reply(stream: &mut (impl Read + Write), request: &[u8]) -> io::Result<Reply> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut received = Received { stream: &mut stream.take(LONGEST), bytes: Vec::new() };
    loop {
        let end = received.until(|bytes| find(bytes, b"\r\n\r\n"))?;
        let head = received.take(end + 4);
        let mut reply = Reply::of_head(&head).ok_or_else(|| broken("that was no reply of HTTP/1.x"))?;
        if reply.status == 100 {
            continue;
        }
        reply.body = body(&mut received, &reply, request.starts_with(b"HEAD "))?;
        return Ok(reply);
    }
}

fn broken(sentence: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

/// A stream, and what of it is read and not taken yet.
struct Received<'s, S> {
    stream: &'s mut io::Take<&'s mut S>,
    bytes: Vec<u8>,
}

impl<S: Read> Received<'_, S> {
    /// Reads until something is found in it.
    fn until(&mut self, found: impl Fn(&[u8]) -> Option<usize>) -> io::Result<usize> {
        let mut part = [0; 8 * 1024];
        loop {
            if let Some(at) = found(&self.bytes) {
                return Ok(at);
            }
            let count = self.stream.read(&mut part)?;
            if count == 0 {
                return Err(broken("the reply was cut off"));
            }
            self.bytes.extend_from_slice(part.get(..count).unwrap_or_default());
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.bytes.split_off(length.min(self.bytes.len()));
        std::mem::replace(&mut self.bytes, rest)
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        self.until(|bytes| (bytes.len() >= length).then_some(length))?;
        Ok(self.take(length))
    }
}

fn body<S: Read>(received: &mut Received<'_, S>, reply: &Reply, was_head: bool) -> io::Result<Vec<u8>> {
    if was_head || matches!(reply.status, 204 | 304) {
        return Ok(Vec::new());
    }
    if reply.header("transfer-encoding").is_some_and(|coding| coding.to_ascii_lowercase().ends_with("chunked")) {
        let mut body = Vec::new();
        loop {
            let end = received.until(|bytes| find(bytes, b"\r\n"))?;
            let line = received.take(end + 2);
            let size = String::from_utf8_lossy(&line);
            let size = size.split([';', '\r']).next().unwrap_or_default();
            let size = usize::from_str_radix(size.trim(), 16).map_err(|_| broken("a chunk has no length"))?;
            let whole = size.checked_add(2).ok_or_else(|| broken("a chunk is too long"))?;
            let mut chunk = if size == 0 { return Ok(body) } else { received.exactly(whole)? };
            chunk.truncate(size);
            body.extend(chunk);
        }
    }
    if let Some(length) = reply.header("content-length") {
        return received.exactly(length.parse().map_err(|_| broken("its length is no number"))?);
    }
    let mut rest = std::mem::take(&mut received.bytes);
    // TLS may end without saying so.
    let read = received.stream.read_to_end(&mut rest);
    read.map(drop).or_else(|error| if rest.is_empty() { Err(error) } else { Ok(()) })?;
    Ok(rest)
}
