//! The old server, as long as it lives: a request goes to it unchanged, and its answer comes back unchanged.
//!
//! *Unchanged* is method, target, header values with the order of equal names, and body; status, header values, body. What is meant
//! for one connection alone (RFC 9110 section 7.6.1) goes no further, in either direction.
//!
//! Must not: look into what it carries, say anything of its own, or send a request again that may have been heard.

mod headers;
mod line;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::domain::opaque::Fingerprint;
use crate::domain::time::Clock;
use crate::lifecycle::Tasks;
use line::{Lines, Secured};

/// No answer of a token endpoint is longer by far; a longer one is not passed on.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// What is done with a request whose client id no mapping has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownClients {
    /// The old server answers it.
    Pass,
    /// The bridge refuses it.
    Refuse,
}

impl UnknownClients {
    /// Each with its word in `passbridge.toml`.
    pub const WORDS: [(&'static str, Self); 2] = [("pass", Self::Pass), ("refuse", Self::Refuse)];
}

/// Where the old server is, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtkSettings {
    /// Its name or address, without a port.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether TLS is spoken to it.
    pub tls: bool,
    /// What is done with client ids that no mapping has.
    pub unknown_clients: UnknownClients,
    /// For one whole answer, the connection included.
    pub timeout: Duration,
    /// For a connection.
    pub connect_timeout: Duration,
    /// PEM certificates to trust in place of the system's.
    pub trusted: Option<Vec<u8>>,
    /// What tells whether the system's have changed, where those are asked.
    pub system: Option<Fingerprint>,
}

impl OtkSettings {
    /// Its URL, for people.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}:{}", if self.tls { "https" } else { "http" }, self.host, self.port)
    }
}

/// What the old server said, whole.
#[derive(Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those of its connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Its body holds tokens, and its headers may.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({}, {} bytes)", self.status, self.body.len())
    }
}

/// Why there is no answer. Nothing says whether the request was heard but [`Lost::Down`]: it was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It cannot be reached.
    Down(String),
    /// It took too long.
    Slow(Duration),
    /// Its answer is too long.
    Huge,
    /// Its answer broke off, or is no HTTP.
    Broken(String),
}

impl Lost {
    /// The word in metrics and logs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Down(_) => "down",
            Self::Slow(_) => "slow",
            Self::Huge => "huge",
            Self::Broken(_) => "broken",
        }
    }

    /// One sentence for operators.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Down(why) => format!("the old server cannot be reached: {why}"),
            Self::Slow(limit) => {
                format!("the old server did not answer within {} (`otk.timeout`)", humantime::format_duration(*limit))
            }
            Self::Huge => format!("the old server's answer is longer than {LONGEST_ANSWER} bytes"),
            Self::Broken(why) => format!("the old server's answer broke off: {why}"),
        }
    }
}

/// One worker's way to the old server. Its connections live and die with the worker.
#[derive(Debug)]
pub struct OldServer {
    settings: OtkSettings,
    lines: Arc<Lines>,
    /// For a client that names no host, as HTTP/1.0 allows.
    host: HeaderValue,
}

impl OldServer {
    /// Makes ready to pass on; connects to nobody yet.
    ///
    /// # Errors
    /// Certificates that cannot be used; one sentence says why.
    pub fn new(settings: &OtkSettings, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let secured = settings.tls.then(|| Secured::new(&settings.host, settings.trusted.as_deref())).transpose()?;
        let host = HeaderValue::from_str(&format!("{}:{}", settings.host, settings.port))
            .map_err(|_| "`otk.url` has a host that is none".to_owned())?;
        let lines = Lines::new(settings, secured, clock);
        Ok(Self { settings: settings.clone(), lines: Arc::new(lines), host })
    }

    /// What is done with client ids that no mapping has.
    #[must_use]
    pub fn unknown_clients(&self) -> UnknownClients {
        self.settings.unknown_clients
    }

    /// Opens a connection and closes it again, without a word of HTTP.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn reach(&self) -> Result<(), Lost> {
        self.lines.try_out().await
    }

    /// Passes a request on, and waits for its whole answer.
    ///
    /// # Errors
    /// There is none. It is never asked for again, unless surely nothing was sent.
    pub async fn pass(&self, request: Request<Bytes>, tasks: &Tasks) -> Result<Answer, Lost> {
        let is_head = *request.method() == Method::HEAD;
        let (mut head, body) = request.into_parts();
        headers::forth(&mut head.headers);
        if !head.headers.contains_key(header::HOST) {
            head.headers.insert(header::HOST, self.host.clone());
        }
        head.version = http::Version::HTTP_11;
        let request = Request::from_parts(head, Full::new(body));
        timeout(self.settings.timeout, self.ask(request, is_head, tasks))
            .await
            .unwrap_or(Err(Lost::Slow(self.settings.timeout)))
    }

    async fn ask(&self, request: Request<Full<Bytes>>, is_head: bool, tasks: &Tasks) -> Result<Answer, Lost> {
        let (response, line) = self.lines.send(request, tasks).await?;
        let (mut head, body) = response.into_parts();
        let kept = headers::kept(&head.headers);
        headers::back(&mut head.headers);
        let body = whole(body).await?;
        self.lines.give_back(line, kept, tasks);
        let bodiless = is_head || head.status == StatusCode::NO_CONTENT || head.status == StatusCode::NOT_MODIFIED;
        if !bodiless {
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

async fn whole(mut body: Incoming) -> Result<Bytes, Lost> {
    // A length that is told and too long need not be waited for.
    if usize::try_from(body.size_hint().lower()).map_or(true, |told| told > LONGEST_ANSWER) {
        return Err(Lost::Huge);
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Lost::Broken(error.to_string()))?;
        let Ok(part) = frame.into_data() else { continue };
        if read.len() + part.len() > LONGEST_ANSWER {
            return Err(Lost::Huge);
        }
        read.extend_from_slice(&part);
    }
    Ok(read.freeze())
}
