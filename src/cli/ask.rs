//! Asks the running bridge over its ops listener.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::pinned;
use super::show::{plain, words};
use crate::config::{Config, OpsAccess, OpsDoor};
use crate::relay::{TlsMaterial, speaks_no_tls};

/// For a connection, and for each piece of an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// For an answer that needs a look at every login.
const LONG: Duration = Duration::from_mins(5);

/// No answer is longer: the table of 100,000 clients is 80 MB.
const LONGEST: u64 = 1024 * 1024 * 1024;

/// An answer: its status, and its body.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Answer {
    /// What it tells, or the sentence with which the bridge refused, and what to do.
    pub(super) fn told(&self) -> Result<Value, String> {
        let body: Option<Value> = serde_json::from_str(&self.body).ok();
        if self.status == 200 {
            // To take it for an empty one would be an answer that nobody gave.
            return body.ok_or_else(|| format!("who answered is no bridge, or its answer is cut off\n  {UNANSWERED}"));
        }
        match body.as_ref().and_then(|body| body["error"].as_str()) {
            Some(sentence) => Err(format!("{}{}", plain(sentence), self.hint())),
            None => Err(format!("who answered is no bridge: status {}\n  {UNANSWERED}", self.status)),
        }
    }

    /// What is to be done about a refusal, on a line of its own, where the status says it.
    pub(super) fn hint(&self) -> &'static str {
        match self.status {
            401 => "\n  hint: `ops.token` must be the one that the bridge has in use",
            500.. => {
                "\n  hint: `passbridge doctor` looks at the store and at the realm, and the bridge's log says more"
            }
            _ => "",
        }
    }
}

/// How the running bridge is asked.
#[derive(Clone, Copy)]
pub(super) struct Door<'a> {
    address: SocketAddr,
    tls: Option<&'a TlsMaterial>,
    token: Option<&'a SecretString>,
}

impl<'a> From<&'a Config> for Door<'a> {
    fn from(config: &'a Config) -> Self {
        Self { address: config.listen.ops, tls: config.tls.ops.as_ref(), token: config.ops_token.as_ref() }
    }
}

impl<'a> From<&'a OpsAccess> for Door<'a> {
    fn from(access: &'a OpsAccess) -> Self {
        Self { address: access.address, tls: access.tls.as_ref(), token: access.token.as_ref() }
    }
}

/// Asks for something that needs no token; where `[tls]` was given or taken away since the bridge began, as that began.
pub(super) fn get(config: &Config, path: &str) -> io::Result<Answer> {
    let answer = exchange(config.into(), &bare(path), PATIENCE);
    match answer {
        Err(error) if speaks_otherwise(&error) => {
            let security = if config.tls.ops.is_some() { Security::Clear } else { Security::Any };
            timed(asked((config.listen.ops, security), &bare(path), PATIENCE)).map_err(|_| error)
        }
        answer => answer,
    }
}

/// The same where no certificate is known that the bridge would have to show, nor for sure whether it shows one: who answers otherwise
/// is asked the other way too.
pub(super) fn get_at(door: OpsDoor, path: &str) -> io::Result<Answer> {
    let ask = |is_secure| {
        let security = if is_secure { Security::Any } else { Security::Clear };
        timed(asked((door.address, security), &bare(path), PATIENCE))
    };
    ask(door.is_secure).or_else(|error| {
        let is_silent = matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::TimedOut);
        if is_silent { Err(error) } else { ask(!door.is_secure).map_err(|_| error) }
    })
}

fn bare(path: &str) -> String {
    format!("GET {path} HTTP/1.0\r\n\r\n")
}

/// Reads something that needs the ops token.
pub(super) fn get_as(config: &Config, path: &str, token: &SecretString) -> io::Result<Answer> {
    let head = format!("GET {path} HTTP/1.0\r\nAuthorization: Bearer {}\r\n\r\n", token.expose_secret());
    exchange(config.into(), &head, PATIENCE)
}

/// Asks for something that needs the ops token.
pub(super) fn post<'a>(door: impl Into<Door<'a>>, path: &str, token: &SecretString, body: &str) -> io::Result<Answer> {
    exchange(door.into(), &posted(path, token, body), PATIENCE)
}

/// The same where every login may have to be looked at before there is an answer.
pub(super) fn post_patiently<'a>(
    door: impl Into<Door<'a>>,
    path: &str,
    token: &SecretString,
    body: &str,
) -> io::Result<Answer> {
    exchange(door.into(), &posted(path, token, body), LONG)
}

fn posted(path: &str, token: &SecretString, body: &str) -> String {
    let (token, length) = (token.expose_secret(), body.len());
    format!("POST {path} HTTP/1.0\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// The bridge is there, and goes by other files than these: TLS is spoken to it, or not, and it does the other.
fn speaks_otherwise(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

const IN_CLEAR: &str = "answers in clear text, and the files have `tls.ops`";

const OVER_TLS: &str = "answers over TLS, and the files have no `tls.ops`";

/// With these a server ends a handshake that is none (RFC 8446, section 6).
const ALERT: &str = "\u{15}\u{3}";

/// Why there is no answer, in a sentence, and what is to be done.
pub(super) fn unanswered(address: SocketAddr, error: &io::Error) -> String {
    let why = words(error);
    if speaks_otherwise(error) {
        return format!(
            "the bridge at {address} {why}\n  hint: stop the bridge and start it: only that changes whether it speaks TLS"
        );
    }
    format!("the bridge does not answer at {address}: {why}\n  {UNANSWERED}")
}

/// What is to be done where nobody answers.
pub(super) const UNANSWERED: &str = "hint: does it run, and is its `listen.ops` that of this configuration?";

/// What configurations without an ops token are told.
const NO_TOKEN: &str = "no `ops.token` is configured\n  hint: [ops] token = { file = \"ops.token\" }";

/// The ops token.
///
/// # Errors
/// There is none; in one sentence.
pub(super) fn token<'a>(door: impl Into<Door<'a>>) -> Result<&'a SecretString, String> {
    door.into().token.ok_or_else(|| NO_TOKEN.to_owned())
}

/// What the running bridge tells whoever has the ops token: at a path, or to a question.
///
/// # Errors
/// Why it is not known, in one sentence.
pub(super) fn told(config: &Config, path: &str, question: Option<&Value>) -> Result<Value, String> {
    let token = token(config)?;
    let answer = match question {
        None => get_as(config, path, token),
        Some(question) => post(config, path, token, &question.to_string()),
    };
    let address = config.listen.ops;
    answer
        .map_err(|error| match error {
            error if speaks_otherwise(&error) => unanswered(address, &error),
            error => format!("no bridge answers at {address} ({})\n  {UNANSWERED}", words(&error)),
        })?
        .told()
}

enum Security<'a> {
    Clear,
    /// The certificate of the configuration, and no other.
    Pinned(&'a TlsMaterial),
    /// Whichever is shown.
    Any,
}

fn exchange(door: Door<'_>, request: &str, patience: Duration) -> io::Result<Answer> {
    let security = door.tls.map_or(Security::Clear, Security::Pinned);
    timed(asked((door.address, security), request, patience))
}

/// A socket says by "temporarily unavailable" that its time is over.
fn timed(answer: io::Result<Answer>) -> io::Result<Answer> {
    answer.map_err(|error| {
        let is_late = error.kind() == io::ErrorKind::WouldBlock;
        if is_late { io::Error::new(io::ErrorKind::TimedOut, "no answer in time") } else { error }
    })
}

fn asked((address, security): (SocketAddr, Security<'_>), request: &str, patience: Duration) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&reachable(address), PATIENCE)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    let session = match security {
        Security::Clear => None,
        Security::Pinned(material) => Some(pinned::session(material)),
        Security::Any => Some(pinned::with_anybody()),
    };
    match session.transpose().map_err(io::Error::other)? {
        None => {
            stream.write_all(request.as_bytes())?;
            whole(stream, LONGEST, &mut text)?;
            if text.starts_with(ALERT) {
                return Err(io::Error::new(io::ErrorKind::Unsupported, OVER_TLS));
            }
        }
        Some(mut session) => {
            let mut stream = rustls::Stream::new(&mut session, &mut stream);
            stream.write_all(request.as_bytes()).map_err(|error| {
                if speaks_no_tls(&error) { io::Error::new(io::ErrorKind::Unsupported, IN_CLEAR) } else { error }
            })?;
            let read = whole(stream, LONGEST, &mut text);
            // The answer ends with the connection, which not everybody ends as TLS would have it.
            let is_end = |error: &io::Error| error.kind() != io::ErrorKind::FileTooLarge && !text.is_empty();
            read.or_else(|error| if is_end(&error) { Ok(()) } else { Err(error) })?;
        }
    }
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "that was no answer of a bridge");
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(unreadable)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(unreadable)?;
    Ok(Answer { status, body: body.to_owned() })
}

/// Reads to the end. What is cut off is no answer.
fn whole(answer: impl Read, most: u64, text: &mut String) -> io::Result<()> {
    let length = answer.take(most + 1).read_to_string(text)?;
    let long = || io::Error::new(io::ErrorKind::FileTooLarge, format!("its answer is longer than {most} bytes"));
    if length as u64 > most { Err(long()) } else { Ok(()) }
}

/// Where to ask a listener that listens on all addresses. Where IPv6 is switched off there is no `::1`, and `[::]` takes IPv4 all the same.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    here(address, || UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok())
}

fn here(address: SocketAddr, has_ipv6: impl Fn() -> bool) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V6(_) if has_ipv6() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => Ipv4Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_on_all_addresses_is_asked_at_one_that_this_machine_has() {
        let asked = |address: &str, has_ipv6| here(address.parse().unwrap(), || has_ipv6).to_string();
        assert_eq!(asked("[::]:9090", true), "[::1]:9090");
        assert_eq!(asked("[::]:9090", false), "127.0.0.1:9090");
        assert_eq!(asked("0.0.0.0:9090", true), "127.0.0.1:9090");
        assert_eq!(asked("[fe80::1]:9090", false), "[fe80::1]:9090");
    }

    #[test]
    fn an_answer_that_is_too_long_is_none() {
        let mut text = String::new();
        assert_eq!(whole(&b"1234"[..], 4, &mut text).map_err(|error| error.to_string()), Ok(()));
        let long = whole(&b"12345"[..], 4, &mut text).map_err(|error| error.to_string());
        assert_eq!(long, Err("its answer is longer than 4 bytes".to_owned()));
    }
}
