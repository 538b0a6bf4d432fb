//! What an API says before its answer (RFC 9110 section 15.2), on its way to the client who waits for that.

use std::sync::Arc;

use http::{StatusCode, header, response};
use hyper::ext::ReasonPhrase;
use parking_lot::Mutex;

use super::Flag;
use super::wire::line;
use crate::relay::hops::end_to_end;

/// Bytes that may wait to be said. More are left out: nobody is promised a hint.
const MOST: usize = 64 << 10;

/// Interim answers to the request of a connection that is not answered yet, as bytes; read by whoever writes to its client.
#[derive(Clone, Debug, Default)]
pub struct Interim(Arc<Unsaid>);

#[derive(Debug, Default)]
struct Unsaid {
    is_any: Flag,
    bytes: Mutex<Vec<u8>>,
}

impl Interim {
    /// Has it said, but for 100: whether a body is wanted the gateway says itself.
    pub(super) fn pass(&self, mut parts: response::Parts) {
        if parts.status == StatusCode::CONTINUE {
            return;
        }
        let reason = parts.extensions.get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
        let reason = reason.or(parts.status.canonical_reason().map(str::as_bytes)).unwrap_or_default();
        let mut said = [b"HTTP/1.1 ", parts.status.as_str().as_bytes(), b" ", reason, b"\r\n"].concat();
        end_to_end(&mut parts.headers);
        // RFC 9110 section 8.6: it has no body, and a length is told by none that has none.
        parts.headers.remove(header::CONTENT_LENGTH);
        for (name, value) in &parts.headers {
            line(&mut said, name, value);
        }
        said.extend_from_slice(b"\r\n");
        self.say(&said);
    }

    /// Has these bytes said.
    pub fn say(&self, said: &[u8]) {
        let mut bytes = self.0.bytes.lock();
        if bytes.len() + said.len() <= MOST {
            bytes.extend_from_slice(said);
            self.0.is_any.set(true);
        }
    }

    /// What is to be said now, if anything is; or will not be said any more.
    #[must_use]
    pub fn take(&self) -> Option<Vec<u8>> {
        self.0.is_any.is_set().then(|| {
            self.0.is_any.set(false);
            std::mem::take(&mut *self.0.bytes.lock())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_waits_to_be_said_than_a_client_who_reads_nothing_may_cost() {
        let interim = Interim::default();
        (0..100).for_each(|_| interim.say(&[b'x'; 1 << 10]));
        assert_eq!(interim.take().map(|said| said.len()), Some(MOST), "the rest is left out");
        interim.say(b"again");
        assert_eq!(interim.take().as_deref(), Some(&b"again"[..]));
    }
}
