//! A request on its way to a server: its head and the first part of its body go in one write.

use std::io::{ErrorKind, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, header};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::head::{Framing, line, written};
use super::io::Io;
use crate::gateway::Stream;
use crate::gateway::flow::{Broken, Flow};
use crate::gateway::request::{Asking, Unfit};
use crate::relay::hops::elements;

/// So many bytes are cheaper copied together than written in pieces.
const SMALL: usize = 4 * 1024;

/// Why a request was not sent to its end.
#[derive(Debug)]
pub(super) enum Unsent {
    /// Its body broke off.
    Body(String),
    /// The server does not take it.
    Refused(String),
}

/// What is left of a request.
pub(super) struct Sending {
    /// A head, or the line before a chunk; of it `done` bytes are written.
    lead: Vec<u8>,
    done: usize,
    data: Bytes,
    tail: &'static [u8],
    framing: Framing,
    body: Flow<Stream>,
    has_begun: bool,
    is_flushed: bool,
    /// What a write was told, where the server takes no more.
    refused: Option<ErrorKind>,
    /// Trailers that the head announced.
    announced: Vec<HeaderName>,
}

impl Sending {
    pub(super) fn new(asking: Asking<'_>, body: Flow<Stream>, room: Vec<u8>) -> Result<Self, Unfit> {
        let (lead, framing) = written(asking, (!body.is_end_stream(), body.size_hint().exact()), room)?;
        let announced = match framing {
            Framing::Chunked => announced(&asking.head.headers),
            Framing::Length(_) => Vec::new(),
        };
        Ok(Self {
            lead,
            done: 0,
            data: Bytes::new(),
            tail: b"",
            framing,
            body,
            has_begun: false,
            is_flushed: false,
            refused: None,
            announced,
        })
    }

    /// Nothing was taken from the body, and nothing written.
    pub(super) fn is_untouched(&self) -> bool {
        !self.has_begun
    }

    /// The room that it was written in, for the next one. Nothing of this one stays there: it had a JWT.
    pub(super) fn into_room(self) -> Vec<u8> {
        let mut room = self.lead;
        room.fill(0);
        room.clear();
        room
    }

    pub(super) fn into_body(self) -> Flow<Stream> {
        self.body
    }

    /// All of it is with the server.
    pub(super) fn is_complete(&self) -> bool {
        self.is_over() && self.is_written() && self.is_flushed && self.refused.is_none()
    }

    /// The server does not take the rest of it.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// So it has learned that the connection was reset, which is told once: whoever reads behind it sees an end like any other. One that the server
    /// had closed before that is a broken pipe.
    pub(super) fn is_reset(&self) -> bool {
        self.refused == Some(ErrorKind::ConnectionReset)
    }

    /// Sends as much as can be sent now. Ready: all of it was sent, or it will not be.
    pub(super) fn poll(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        loop {
            self.take(cx)?;
            if self.is_written() {
                return self.poll_flush(io, cx);
            }
            let sent = match ready!(self.poll_write(io, cx)) {
                Ok(0) => Err(ErrorKind::WriteZero.into()),
                sent => sent,
            };
            match sent {
                Ok(sent) => self.advance(sent),
                Err(error) => {
                    self.refused = Some(error.kind());
                    return Poll::Ready(Err(Unsent::Refused(error.to_string())));
                }
            }
        }
    }

    fn poll_write(&self, io: &mut Io, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let lead = self.lead.get(self.done..).unwrap_or_default();
        if self.data.is_empty() && self.tail.is_empty() {
            return Pin::new(io).poll_write(cx, lead);
        }
        let pieces = [IoSlice::new(lead), IoSlice::new(&self.data), IoSlice::new(self.tail)];
        Pin::new(io).poll_write_vectored(cx, &pieces)
    }

    fn poll_flush(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        if !self.is_flushed {
            self.is_flushed = ready!(Pin::new(io).poll_flush(cx)).is_ok();
        }
        if self.is_over() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Of the body nothing more is to come.
    fn is_over(&self) -> bool {
        self.framing == Framing::Length(0)
    }

    fn is_written(&self) -> bool {
        self.done == self.lead.len() && self.data.is_empty() && self.tail.is_empty()
    }

    fn advance(&mut self, sent: usize) {
        (self.has_begun, self.is_flushed) = (true, false);
        let of_lead = sent.min(self.lead.len() - self.done);
        self.done += of_lead;
        let of_data = (sent - of_lead).min(self.data.len());
        self.data.advance(of_data);
        self.tail = self.tail.get(sent - of_lead - of_data..).unwrap_or_default();
    }

    /// Takes the next part of the body where none waits to be written.
    fn take(&mut self, cx: &mut Context<'_>) -> Result<(), Unsent> {
        if self.done == self.lead.len() {
            self.lead.fill(0);
            self.lead.clear();
            self.done = 0;
        }
        while !self.is_over() && self.lead.len() < SMALL && self.data.is_empty() && self.tail.is_empty() {
            let Poll::Ready(part) = Pin::new(&mut self.body).poll_frame(cx) else { return Ok(()) };
            self.has_begun = true;
            match part.transpose().map_err(|broken: Broken| Unsent::Body(broken.to_string()))? {
                Some(part) => self.frame(part)?,
                None => self.end(&HeaderMap::new())?,
            }
        }
        Ok(())
    }

    fn frame(&mut self, part: Frame<Bytes>) -> Result<(), Unsent> {
        let data = match part.into_data() {
            Ok(data) if data.is_empty() => return Ok(()),
            Ok(data) => data,
            Err(part) => return self.end(&part.into_trailers().unwrap_or_default()),
        };
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        match &mut self.framing {
            Framing::Chunked => {
                self.lead.extend_from_slice(format!("{length:X}\r\n").as_bytes());
                self.tail = b"\r\n";
            }
            Framing::Length(left) => {
                let longer = || Unsent::Body("the body is longer than told".to_owned());
                *left = left.checked_sub(length).ok_or_else(longer)?;
            }
        }
        if self.lead.len() + data.len() <= SMALL {
            self.lead.extend_from_slice(&data);
            self.lead.extend_from_slice(mem::take(&mut self.tail));
        } else {
            self.data = data;
        }
        Ok(())
    }

    fn end(&mut self, trailers: &HeaderMap) -> Result<(), Unsent> {
        match mem::replace(&mut self.framing, Framing::Length(0)) {
            Framing::Length(0) => Ok(()),
            Framing::Length(_) => Err(Unsent::Body("the body is shorter than told".to_owned())),
            Framing::Chunked => {
                self.lead.extend_from_slice(b"0\r\n");
                for (name, value) in trailers {
                    if self.announced.contains(name) {
                        line(&mut self.lead, name, value);
                    }
                }
                self.lead.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }
}

/// Trailers that a head announces. What a trailer must not say was taken away before it came here ([`super::super::headers::mere_trailers`]).
fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    elements(headers, &header::TRAILER).filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect()
}
