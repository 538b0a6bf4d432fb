//! Replies of HTTP/1.x as bytes, whether a server gives them now or a file has them, and bodies out of their chunks.

use std::io::{self, Read};

use super::template::find;

/// Between a head and its body.
pub(super) const EMPTY_LINE: &[u8] = b"\r\n\r\n";

/// A reply, captured or given now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    /// Out of its chunks.
    pub(super) body: Vec<u8>,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// With the chunk of length 0.
    Chunked,
    /// After so many bytes.
    Length(usize),
    /// With the connection.
    Close,
}

impl Reply {
    /// Out of a head; the body is to be filled in.
    fn of_head(head: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(head);
        let status = text.lines().next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        Some(Self { status, headers: headers(head), body: Vec::new() })
    }

    /// The value of a header; of several, all of them.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        value(&self.headers, name)
    }

    /// How its body ends.
    ///
    /// # Errors
    /// Its length is no number.
    pub(super) fn framing(&self, was_head: bool) -> io::Result<Framing> {
        if was_head || matches!(self.status, 204 | 304) {
            return Ok(Framing::None);
        }
        if is_chunked(&self.headers) {
            return Ok(Framing::Chunked);
        }
        self.header("content-length").map_or(Ok(Framing::Close), |length| {
            length.parse().map(Framing::Length).map_err(|_| broken("its length is no number"))
        })
    }

    /// It only says that the reply is to come.
    fn is_interim(&self) -> bool {
        matches!(self.status, 100 | 102..=199)
    }
}

/// A request's head and its body, without the empty line between them.
pub(super) fn halves(request: &[u8]) -> (&[u8], &[u8]) {
    let end = find(request, EMPTY_LINE).unwrap_or(request.len());
    let (head, rest) = request.split_at_checked(end).unwrap_or((request, &[]));
    (head, rest.get(EMPTY_LINE.len()..).unwrap_or_default())
}

/// The body of a request out of its chunks; `None`: it is in none, or they do not fit.
pub(super) fn unchunked(head: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let chunks = is_chunked(&headers(head)).then(|| Received::of(body).body(Framing::Chunked))?;
    chunks.ok()
}

/// A body as one chunk.
pub(super) fn chunked(body: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
}

fn headers(head: &[u8]) -> Vec<(String, String)> {
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    };
    String::from_utf8_lossy(head).lines().skip(1).filter_map(header).collect()
}

fn value(headers: &[(String, String)], name: &str) -> Option<String> {
    let values: Vec<&str> =
        headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn is_chunked(headers: &[(String, String)]) -> bool {
    value(headers, "transfer-encoding").is_some_and(|coding| coding.to_ascii_lowercase().ends_with("chunked"))
}

fn broken(sentence: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

/// Bytes from somewhere, and what of them is read and not taken yet.
pub(super) struct Received<S> {
    stream: S,
    bytes: Vec<u8>,
}

impl<S: Read> Received<S> {
    pub(super) fn of(stream: S) -> Self {
        Self { stream, bytes: Vec::new() }
    }

    /// All that was read is taken.
    pub(super) fn is_taken(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The head of the reply, whatever `100 Continue` comes before it.
    ///
    /// # Errors
    /// What comes is no reply, or ends too early (`UnexpectedEof`).
    pub(super) fn head(&mut self) -> io::Result<Reply> {
        loop {
            let end = self.until(|bytes| find(bytes, EMPTY_LINE))?;
            let head = self.take(end + EMPTY_LINE.len());
            let reply = Reply::of_head(&head).ok_or_else(|| broken("that was no reply of HTTP/1.x"))?;
            if !reply.is_interim() {
                return Ok(reply);
            }
        }
    }

    /// The body behind a head.
    ///
    /// # Errors
    /// It cannot be read, or ends too early (`UnexpectedEof`), or its chunks do not fit.
    pub(super) fn body(&mut self, framing: Framing) -> io::Result<Vec<u8>> {
        match framing {
            Framing::None => Ok(Vec::new()),
            Framing::Chunked => self.chunks(),
            Framing::Length(length) => self.exactly(length),
            Framing::Close => self.rest(),
        }
    }

    /// All that comes.
    ///
    /// # Errors
    /// Nothing did, and it cannot be read; or it did not end in time.
    pub(super) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.bytes);
        // TLS may end without saying so; what came too late has no end at all.
        match self.stream.read_to_end(&mut rest) {
            Err(error) if rest.is_empty() || error.kind() == io::ErrorKind::TimedOut => Err(error),
            Ok(_) | Err(_) => Ok(rest),
        }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = String::from_utf8_lossy(&line);
            let size = size.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size.trim(), 16).map_err(|_| broken("a chunk has no length"))?;
            if size == 0 {
                break;
            }
            let whole = size.checked_add(2).ok_or_else(|| broken("a chunk is too long"))?;
            let mut chunk = self.exactly(whole)?;
            if !chunk.ends_with(b"\r\n") {
                return Err(broken("a chunk does not end where its length says"));
            }
            chunk.truncate(size);
            body.extend(chunk);
        }
        // Fields may follow.
        while !self.line()?.is_empty() {}
        Ok(body)
    }

    /// Without its end.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let end = self.until(|bytes| find(bytes, b"\r\n"))?;
        let mut line = self.take(end + 2);
        line.truncate(end);
        Ok(line)
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        self.until(|bytes| (bytes.len() >= length).then_some(length))?;
        Ok(self.take(length))
    }

    /// Reads until something is found in it.
    fn until(&mut self, found: impl Fn(&[u8]) -> Option<usize>) -> io::Result<usize> {
        let mut part = [0; 8 * 1024];
        loop {
            if let Some(at) = found(&self.bytes) {
                return Ok(at);
            }
            let count = self.stream.read(&mut part)?;
            if count == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the reply was cut off"));
            }
            self.bytes.extend_from_slice(part.get(..count).unwrap_or_default());
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.bytes.split_off(length.min(self.bytes.len()));
        std::mem::replace(&mut self.bytes, rest)
    }
}
