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
    let mut received = Received::of(stream.take(LONGEST));
    let reply = received.head()?;
    let framing = reply.framing(request.starts_with(b"HEAD "))?;
    Ok(Reply { body: received.body(framing)?, ..reply })
}
