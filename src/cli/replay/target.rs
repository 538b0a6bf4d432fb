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
use super::wire::{Received, Reply};
use crate::config::Config;
use crate::domain::time::Clock;
use crate::relay::{BadCertificate, NO_TLS, TlsMaterial, Trust, speaks_no_tls};
use crate::server::SystemClock;

/// For a connection, and for each piece of a reply: longer than a bridge waits for its realm.
const PATIENCE: Duration = Duration::from_secs(30);

/// From a request to the end of its reply.
const WHOLE: Duration = Duration::from_mins(2);

/// No reply is longer.
const LONGEST: u64 = 64 * 1024 * 1024;

/// A server.
pub(super) struct Target {
    host: String,
    port: u16,
    security: Security,
    patience: Patience,
}

/// How long a reply is waited for.
#[derive(Clone, Copy)]
struct Patience {
    piece: Duration,
    whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { piece: PATIENCE, whole: WHOLE }
    }
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
        Self { host: address.ip().to_string(), port: address.port(), security, patience: Patience::default() }
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
        let port = authority.port_u16().unwrap_or(usual);
        Ok(Self { host, port, security, patience: Patience::default() })
    }

    /// Sends a request as it is, and reads its reply.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn ask(&self, request: &[u8]) -> Result<Reply, String> {
        self.exchange(request).map_err(|error| format!("{self}: {}", said(&error)))
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
        let stream = connected.ok_or(error)?;
        stream.set_write_timeout(Some(self.patience.piece))?;
        stream.set_nodelay(true)?;
        let mut stream = Bounded::new(stream, self.patience);
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

/// What went wrong, so that somebody knows what to do.
fn said(error: &io::Error) -> String {
    match BadCertificate::behind(error) {
        Some(BadCertificate::UnknownIssuer) => {
            "nobody who is trusted vouches for its certificate; `--ca FILE` names who does".to_owned()
        }
        Some(bad) => bad.to_string(),
        None if speaks_no_tls(error) => NO_TLS.to_owned(),
        None => words(error),
    }
}

/// A connection of which each piece comes in time, and all of them.
struct Bounded {
    stream: TcpStream,
    clock: SystemClock,
    patience: Patience,
    /// When all of it must be there.
    end: Duration,
}

impl Bounded {
    fn new(stream: TcpStream, patience: Patience) -> Self {
        let clock = SystemClock::new();
        let end = clock.monotonic() + patience.whole;
        Self { stream, clock, patience, end }
    }
}

/// A socket says by "temporarily unavailable" that its time is over.
fn timed(error: io::Error, what: &str, patience: Duration) -> io::Error {
    if error.kind() != io::ErrorKind::WouldBlock {
        return error;
    }
    let late = format!("no answer in time: {what} {}", humantime::format_duration(patience));
    io::Error::new(io::ErrorKind::TimedOut, late)
}

impl Read for Bounded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Patience { piece, whole } = self.patience;
        let left = self.end.saturating_sub(self.clock.monotonic());
        let (what, so_long) =
            if left > piece { ("nothing came for", piece) } else { ("it was not whole after", whole) };
        // No time at all would be all the time.
        let read = if left.is_zero() {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            self.stream.set_read_timeout(Some(left.min(piece)))?;
            self.stream.read(into)
        };
        read.map_err(|error| timed(error, what, so_long))
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes).map_err(|error| timed(error, "the request was not taken for", self.patience.piece))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
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
    let mut received = Received::of(stream.take(LONGEST));
    let reply = received.head()?;
    let framing = reply.framing(request.starts_with(b"HEAD "))?;
    Ok(Reply { body: received.body(framing)?, ..reply })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What is said of a server that does this with its one connection.
    fn said_of(patience: Patience, server: impl FnOnce(TcpStream) + Send) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let target = Target { patience, ..Target::of_url(&url, None).unwrap() };
        thread::scope(|scope| {
            scope.spawn(|| server(listener.accept().unwrap().0));
            let said = target.ask(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
            said.strip_prefix(&format!("{target}: ")).unwrap().to_owned()
        })
    }

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn a_server_that_is_silent_is_waited_for_so_long() {
        let piece = Duration::from_millis(20);
        let said = said_of(Patience { piece, whole: LONG }, |mut stream| {
            // Until the caller has gone.
            let _all = io::copy(&mut stream, &mut io::sink());
        });
        assert_eq!(said, "no answer in time: nothing came for 20ms");
    }

    #[test]
    fn a_reply_that_never_ends_is_waited_for_so_long_however_it_would_end() {
        let whole = Duration::from_millis(60);
        for head in ["", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"] {
            let said = said_of(Patience { piece: LONG, whole }, |mut stream| {
                let mut next = stream.write_all(head.as_bytes());
                while next.is_ok() {
                    thread::park_timeout(Duration::from_millis(1));
                    next = stream.write_all(b"1\r\na\r\n");
                }
            });
            assert_eq!(said, "no answer in time: it was not whole after 60ms", "{head}");
        }
    }
}
