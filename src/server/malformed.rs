//! What is no HTTP. Hyper refuses such bytes by itself, with an empty answer, before any handler of ours is asked, and offers no place to say
//! anything else. So that empty answer, which no handler of ours ever gives, is looked for in what is written, and ours stands in its place.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use memchr::memmem;

use crate::domain::dialect::Endpoint;
use crate::domain::refusal::{Cause, Refusal};
use crate::exchange::Bridge;
use crate::legacy::reply::Reply;
use crate::telemetry::Trail;

/// How hyper's own refusals go on behind their status line.
const EMPTY: &[u8] = b"\r\nContent-Length: 0\r\n";
/// What stands before that, unless the request before was of HTTP/1.0, whose version hyper keeps to.
const CLOSE: &[u8] = b"\r\nConnection: close";
/// How they begin, behind the version. Nothing else stands between, as it does in every answer of a handler.
const STATUS: [(&[u8], Malformed); 3] = [
    (b" 400 Bad Request", Malformed::Unreadable),
    (b" 414 URI Too Long", Malformed::Target),
    (b" 431 Request Header Fields Too Large", Malformed::Head),
];
const VERSIONS: [&[u8]; 2] = [b"HTTP/1.1", b"HTTP/1.0"];
/// Looks for it in every answer; made once.
static FIND_EMPTY: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(EMPTY));
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Why hyper refuses, as its status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is no HTTP.
    Unreadable,
    /// The target is longer than any may be.
    Target,
    /// The head is too long, or has too many lines.
    Head,
}

impl Malformed {
    /// As a refusal, which whoever counts a head by itself gives too: over HTTP/2.
    pub(super) fn refusal(self) -> Refusal {
        let detail = match self {
            Self::Unreadable => "the request is no HTTP that can be read (TLS where clear text is spoken, perhaps)",
            Self::Target => "the request's target is longer than any may be",
            Self::Head => "the request's head is longer than `limits.head`, or has more lines than `limits.headers`",
        };
        Refusal::client(Cause::InvalidRequest, detail)
    }
}

/// Makes the whole answer to bytes that are no HTTP, for the peer that sent them.
#[derive(Clone)]
pub struct Refuse(Arc<dyn Fn(IpAddr, Malformed) -> Vec<u8> + Send + Sync>);

impl fmt::Debug for Refuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refuse")
    }
}

impl Refuse {
    /// Refuses as `reply` says, and leaves the trail that any other refusal leaves.
    pub(super) fn by(
        bridge: &Arc<Bridge>,
        endpoint: Option<Endpoint>,
        reply: impl Fn(Refusal, &mut Trail) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let bridge = Arc::clone(bridge);
        Self(Arc::new(move |peer, why| {
            let mut trail = Trail { address: Some(peer.to_canonical()), endpoint, ..Trail::default() };
            let reply = reply(why.refusal(), &mut trail);
            bridge.edge.request(&trail, reply.status.as_u16(), Duration::ZERO);
            bytes_of(&reply)
        }))
    }

    /// The bytes with hyper's own refusal replaced, for this peer; `None`: there is none among them.
    pub(super) fn replaced(&self, bytes: &[u8], peer: IpAddr) -> Option<Vec<u8>> {
        replaced(bytes, |why| self.0(peer, why))
    }
}

/// A whole answer, after which the connection is closed.
fn bytes_of(reply: &Reply) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {}\r\n", reply.status).into_bytes();
    for (name, value) in &reply.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("connection: close\r\ncontent-length: {}\r\n\r\n", reply.body.len()).as_bytes());
    bytes.extend_from_slice(&reply.body);
    bytes
}

fn replaced(bytes: &[u8], refuse: impl FnOnce(Malformed) -> Vec<u8>) -> Option<Vec<u8>> {
    let empty = FIND_EMPTY.find(bytes)?;
    let before = bytes.get(..empty)?;
    let before = before.strip_suffix(CLOSE).unwrap_or(before);
    let (before, why) = STATUS.iter().find_map(|(status, why)| Some((before.strip_suffix(*status)?, *why)))?;
    let before = VERSIONS.iter().find_map(|version| before.strip_suffix(*version))?;
    let end = empty + memmem::find(bytes.get(empty..)?, HEAD_END)? + HEAD_END.len();
    Some([before, &refuse(why), bytes.get(end..)?].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_hypers_own_is_replaced_and_what_stands_before_it_is_kept() {
        let refuse = |why| if why == Malformed::Head { b"SPOKEN".to_vec() } else { Vec::new() };
        let empty = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\nDate: x\r\n\r\n";
        assert_eq!(replaced(empty, refuse).unwrap(), b"SPOKEN");
        let old = b"HTTP/1.0 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nDate: x\r\n\r\n";
        assert_eq!(replaced(old, refuse).unwrap(), b"SPOKEN");
        let good = b"HTTP/1.1 400 Bad Request\r\nContent-Type: x\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(replaced(good, refuse), None);
        let passed = b"HTTP/1.1 400 Bad Request\r\nX-Ca-Err: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(replaced(passed, refuse), None, "an old server's empty answer");
        assert_eq!(
            replaced(&[good.as_slice(), empty].concat(), refuse).unwrap(),
            [good.as_slice(), b"SPOKEN"].concat()
        );
    }
}
