//! PURE: Envoy's question and our answer as messages of `envoy.service.auth.v3` (its .proto files; numbers are theirs).

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::protobuf::{Fields, Malformed, Message};
use crate::legacy::reply::Reply;

/// The one method.
pub const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// What of a client's headers counts for an answer. All of them come with the question.
static HEARD: [HeaderName; 3] = [header::AUTHORIZATION, HeaderName::from_static("x-forwarded-for"), header::FORWARDED];

/// What a `CheckRequest` asks about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The method that the client called by; nothing: it is not told.
    pub method: String,
    /// Path and query, as the proxy will send them on.
    pub target: String,
    /// The host that the client named.
    pub host: String,
    /// Those of its headers that count.
    pub headers: HeaderMap,
    /// Where the proxy sees the client.
    pub source: Option<IpAddr>,
}

impl Asked {
    /// Reads a `CheckRequest`.
    ///
    /// # Errors
    /// It is none, or a header in it cannot be one.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut asked = Self::default();
        // CheckRequest.attributes = 1: AttributeContext { source = 1, request = 4 }
        for attributes in all(bytes, 1) {
            for field in Fields(attributes?) {
                match field? {
                    (1, source) => asked.source(source)?,
                    // Request.http = 2
                    (4, request) => all(request, 2).try_for_each(|http| asked.http(http?))?,
                    _ => {}
                }
            }
        }
        Ok(asked)
    }

    // Peer.address = 1, Address.socket_address = 1, SocketAddress.address = 2
    fn source(&mut self, peer: &[u8]) -> Result<(), Malformed> {
        for address in all(peer, 1) {
            for socket in all(address?, 1) {
                for address in all(socket?, 2) {
                    self.source = text(address?)?.parse().ok();
                }
            }
        }
        Ok(())
    }

    // HttpRequest { method = 2, headers = 3, path = 4, host = 5, header_map = 13 }
    fn http(&mut self, http: &[u8]) -> Result<(), Malformed> {
        for field in Fields(http) {
            match field? {
                (2, method) => text(method)?.clone_into(&mut self.method),
                (3, header) => self.header(header)?,
                (4, path) => text(path)?.clone_into(&mut self.target),
                (5, host) => text(host)?.clone_into(&mut self.host),
                // HeaderMap.headers = 1
                (13, map) => all(map, 1).try_for_each(|header| self.header(header?))?,
                _ => {}
            }
        }
        Ok(())
    }

    // An entry of a map { key = 1, value = 2 }, or HeaderValue { key = 1, value = 2, raw_value = 3 }
    fn header(&mut self, entry: &[u8]) -> Result<(), Malformed> {
        let (mut name, mut value) = (&[][..], &[][..]);
        for field in Fields(entry) {
            match field? {
                (1, key) => name = key,
                (2 | 3, bytes) if !bytes.is_empty() => value = bytes,
                _ => {}
            }
        }
        let heard = HEARD.iter().find(|heard| heard.as_str().as_bytes().eq_ignore_ascii_case(name));
        if let Some(heard) = heard {
            self.headers.append(heard, HeaderValue::from_bytes(value).map_err(|_| Malformed)?);
        }
        Ok(())
    }
}

/// All fields of one number.
fn all(bytes: &[u8], number: u64) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    Fields(bytes).filter_map(move |field| match field {
        Ok((found, bytes)) => (found == number).then_some(Ok(bytes)),
        Err(malformed) => Some(Err(malformed)),
    })
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed)
}

/// A `CheckResponse` that lets the call go on, with this in place of its own credentials.
#[must_use]
pub fn allowed(bearer: Option<&HeaderValue>) -> Bytes {
    // OkHttpResponse.headers = 2
    let with = |message: Message, bearer| message.message(2, &option(&header::AUTHORIZATION, bearer));
    let ok = bearer.into_iter().fold(Message::default(), with);
    // CheckResponse { status = 1, ok_response = 3 }; google.rpc.Status.code = 1: OK is 0
    framed(&Message::default().message(1, &Message::default()).message(3, &ok))
}

/// A `CheckResponse` that answers the client in the dialect's words.
#[must_use]
pub fn denied(reply: &Reply) -> Bytes {
    // HttpStatus.code = 1; DeniedHttpResponse { status = 1, headers = 2, body = 3 }
    let status = Message::default().number(1, u64::from(reply.status.as_u16()));
    let denied = Message::default().message(1, &status);
    let denied = reply.headers.iter().fold(denied, |denied, (name, value)| denied.message(2, &option(name, value)));
    let denied = denied.bytes(3, &reply.body);
    // google.rpc.Code: UNAUTHENTICATED, PERMISSION_DENIED
    let code = if reply.status == StatusCode::UNAUTHORIZED { 16 } else { 7 };
    // CheckResponse { status = 1, denied_response = 2 }
    framed(&Message::default().message(1, &Message::default().number(1, code)).message(2, &denied))
}

// HeaderValueOption { header = 1, append = 2 }; append is a BoolValue, and an empty one is false: it replaces.
fn option(name: &HeaderName, value: &HeaderValue) -> Message {
    let header = Message::default().bytes(1, name.as_str().as_bytes()).bytes(2, value.as_bytes());
    Message::default().message(1, &header).message(2, &Message::default())
}

/// gRPC's frame: not compressed, the length, the message.
fn framed(message: &Message) -> Bytes {
    let length = u32::try_from(message.0.len()).unwrap_or(u32::MAX);
    Bytes::from([&[0], &length.to_be_bytes()[..], &message.0].concat())
}

/// The one message of a call. Compressed ones do not come: we name no compression that we take.
#[must_use]
pub fn unframed(body: &[u8]) -> Option<&[u8]> {
    let (head, message) = body.split_first_chunk::<5>()?;
    let [0, length @ ..] = *head else { return None };
    (usize::try_from(u32::from_be_bytes(length)) == Ok(message.len())).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message::default()
    }

    fn entry(name: &str, value: &str) -> Message {
        message().bytes(1, name.as_bytes()).bytes(2, value.as_bytes())
    }

    /// A question as Envoy writes it.
    fn question(http: &Message) -> Vec<u8> {
        let socket = message().bytes(2, b"192.0.2.7").number(3, 1234);
        let peer = message().message(1, &message().message(1, &socket));
        let request = message().message(1, &message().number(1, 1_700_000_000)).message(2, http);
        message().message(1, &message().message(1, &peer).message(2, &peer).message(4, &request)).0
    }

    #[test]
    fn a_question_is_read_and_what_the_client_says_of_its_path_is_not() {
        let http = message()
            .bytes(1, b"17")
            .bytes(2, b"GET")
            .message(3, &entry(":path", "/x"))
            .message(3, &entry("authorization", "Bearer abc"))
            .message(3, &entry("x-original-uri", "/open"))
            .message(3, &entry("x-forwarded-for", "198.51.100.1"))
            .bytes(4, b"/api/me?x=1")
            .bytes(5, b"api.example.org")
            .number(9, 17);
        let asked = Asked::read(&question(&http)).unwrap();
        let told = [&asked.method, &asked.target, &asked.host].map(String::as_str);
        assert_eq!(told, ["GET", "/api/me?x=1", "api.example.org"]);
        assert_eq!(asked.source, Some([192, 0, 2, 7].into()));
        assert_eq!(asked.headers.len(), 2);
        assert_eq!(asked.headers[header::AUTHORIZATION], "Bearer abc");
    }

    #[test]
    fn headers_may_come_as_a_list_of_raw_bytes_and_twice() {
        let raw = |value: &[u8]| message().bytes(1, b"Authorization").bytes(3, value);
        let map = message().message(1, &raw(b"Bearer abc")).message(1, &raw(b"Bearer def"));
        let asked = Asked::read(&question(&message().message(13, &map))).unwrap();
        assert_eq!(asked.headers.get_all(header::AUTHORIZATION).iter().count(), 2);
    }

    #[test]
    fn what_cannot_be_a_header_or_a_text_is_malformed() {
        let header = message().message(3, &entry("authorization", "a\nb"));
        assert_eq!(Asked::read(&question(&header)), Err(Malformed));
        assert_eq!(Asked::read(&question(&message().bytes(4, &[0xff]))), Err(Malformed));
        assert_eq!(Asked::read(b"\x0a\x05abc"), Err(Malformed));
        assert_eq!(Asked::read(b""), Ok(Asked::default()));
    }

    #[test]
    fn a_frame_holds_one_whole_message() {
        assert_eq!(unframed(b"\0\0\0\0\x02ab"), Some(b"ab".as_slice()));
        for broken in [b"\0\0\0\0\x03ab".as_slice(), b"\0\0\0\0\x01ab", b"\x01\0\0\0\x02ab", b"\0\0", b""] {
            assert_eq!(unframed(broken), None);
        }
        assert_eq!(unframed(&allowed(None)).unwrap(), b"\x0a\x00\x1a\x00");
    }
}
