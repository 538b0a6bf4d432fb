//! PURE: heads as bytes (RFC 9112).

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header, response};
use hyper::ext::ReasonPhrase;

use super::chunks::Chunks;
use super::reading::Rest;
use crate::gateway::request::{Asking, Unfit};
use crate::relay::hops::elements;

/// Headers of an answer.
const MOST: usize = 256;

/// How the body of a request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are still to come; 0: nothing, or no more.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// The head of a request behind `bytes`, and how its body is framed: as its length says, which is told where it was not.
/// `length`: of the body, where that is known.
pub(super) fn written(
    Asking { head, host, origin, bearer, .. }: Asking<'_>,
    (has_body, length): (bool, Option<u64>),
    mut bytes: Vec<u8>,
) -> Result<(Vec<u8>, Framing), Unfit> {
    let lines = head.headers.values().map(|value| value.len() + 32).sum::<usize>();
    bytes.reserve(512 + lines + bearer.map_or(0, |bearer| bearer.0.about()));
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    for part in [head.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        bytes.extend_from_slice(part.as_bytes());
    }
    if let Some(host) = host {
        line(&mut bytes, &header::HOST, host);
    }
    for (name, value) in &head.headers {
        line(&mut bytes, name, value);
    }
    for (name, value) in origin.lines() {
        line(&mut bytes, name, value);
    }
    if let Some(bearer) = bearer {
        bytes.extend_from_slice(b"Authorization: ");
        bearer.write(&mut bytes)?;
        bytes.extend_from_slice(b"\r\n");
    }
    let framing = if has_body { framed(&mut bytes, &head.headers, length) } else { Framing::Length(0) };
    // RFC 9110 section 8.6: of these methods a server may well want it told that there is no body (411).
    let has_meaning = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
    if !has_body && has_meaning && !head.headers.contains_key(header::CONTENT_LENGTH) {
        line(&mut bytes, &header::CONTENT_LENGTH, &HeaderValue::from_static("0"));
    }
    bytes.extend_from_slice(b"\r\n");
    Ok((bytes, framing))
}

fn framed(bytes: &mut Vec<u8>, headers: &HeaderMap, length: Option<u64>) -> Framing {
    match (lengths(headers), length) {
        (Ok(Some(told)), _) => Framing::Length(told),
        (_, Some(length)) => {
            line(bytes, &header::CONTENT_LENGTH, &HeaderValue::from(length));
            Framing::Length(length)
        }
        (_, None) => {
            line(bytes, &header::TRANSFER_ENCODING, &HeaderValue::from_static("chunked"));
            Framing::Chunked
        }
    }
}

/// Writes one line, the name as old servers expect it: `Content-Length`.
pub(in super::super) fn line(bytes: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let (name, begin) = (name.as_str().as_bytes(), bytes.len());
    bytes.extend_from_slice(name);
    let words = std::iter::once(0).chain(memchr::memchr_iter(b'-', name).map(|dash| dash + 1));
    for word in words {
        if let Some(letter) = bytes.get_mut(begin + word) {
            letter.make_ascii_uppercase();
        }
    }
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value.as_bytes());
    bytes.extend_from_slice(b"\r\n");
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) parts: response::Parts,
    /// The connection may be used again, as far as the head says.
    pub(super) is_kept: bool,
}

impl Answered {
    /// Takes a head from what was read. `None`: it is not all there.
    pub(super) fn parse(read: &mut BytesMut) -> Result<Option<Self>, String> {
        let mut lines = [const { MaybeUninit::uninit() }; MOST];
        let mut head = httparse::Response::new(&mut []);
        let mut parser = httparse::ParserConfig::default();
        // RFC 9112 section 5.1: blanks between a name and its colon are to be taken away, not refused, where a server writes them.
        parser.allow_spaces_after_header_name_in_responses(true);
        let parsed = parser.parse_response_with_uninit_headers(&mut head, read, &mut lines);
        let length = match parsed.map_err(unread)? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Ok(None),
        };
        // The values are parts of one copy: what was read is room for what comes next.
        let whole = Bytes::copy_from_slice(read.get(..length).unwrap_or_default());
        let base = read.as_ptr().addr();
        let answered = Self::of(&head, reason(&head, read), |value| {
            let begin = value.as_ptr().addr() - base;
            whole.slice(begin..begin + value.len())
        })?;
        read.advance(length);
        Ok(Some(answered))
    }

    fn of(head: &httparse::Response<'_, '_>, reason: &[u8], kept: impl Fn(&[u8]) -> Bytes) -> Result<Self, String> {
        let strange = || "the answer is no HTTP: a status or a header that is none".to_owned();
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = StatusCode::from_u16(head.code.unwrap_or_default()).map_err(|_| strange())?;
        parts.version = if head.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
        parts.headers.reserve(head.headers.len());
        for line in &*head.headers {
            let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| strange())?;
            let value = HeaderValue::from_maybe_shared(kept(line.value)).map_err(|_| strange())?;
            parts.headers.append(name, value);
        }
        if parts.status.canonical_reason().map(str::as_bytes) != Some(reason)
            && let Ok(reason) = ReasonPhrase::try_from(reason)
        {
            parts.extensions.insert(reason);
        }
        let is_kept = is_kept(&parts);
        Ok(Self { parts, is_kept })
    }

    /// How the body comes (RFC 9112 section 6.3); `None`: this is not the answer yet.
    pub(super) fn rest(&mut self, is_head: bool) -> Result<Option<Rest>, &'static str> {
        let Self { parts, .. } = self;
        let status = parts.status;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some(Rest::Length(0)));
        }
        if status.is_informational() {
            return Ok(None);
        }
        let length = one_length(&mut parts.headers)?;
        let is_coded = parts.headers.contains_key(header::TRANSFER_ENCODING);
        // Of two lengths this one counts, and the other is not to be believed by whoever is next.
        if is_coded {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        if is_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            return Ok(Some(Rest::Length(0)));
        }
        if !is_coded {
            return Ok(Some(length.map_or(Rest::UntilClose, Rest::Length)));
        }
        if parts.version == Version::HTTP_10 {
            return Err("an answer of HTTP/1.0 has a Transfer-Encoding");
        }
        let mut codings = elements(&parts.headers, &header::TRANSFER_ENCODING);
        let is_chunked = codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        // We ask for no other (RFC 9110 section 10.1.4), and the header that tells of it goes no further.
        if !is_chunked || codings.next().is_some() {
            return Err("the answer has a Transfer-Encoding that is not just `chunked`");
        }
        Ok(Some(Rest::Chunked(Chunks::default())))
    }
}

fn unread(error: httparse::Error) -> String {
    if error == httparse::Error::TooManyHeaders {
        return format!("the answer has more than {MOST} headers");
    }
    format!("the answer is no HTTP: {error}")
}

/// The reason phrase (RFC 9112 section 4). One that is in no ASCII httparse leaves out.
fn reason<'a>(head: &httparse::Response<'a, '_>, read: &'a [u8]) -> &'a [u8] {
    let reason = head.reason.unwrap_or_default().as_bytes();
    if !reason.is_empty() {
        return reason;
    }
    let line = read.trim_ascii_start().split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    line.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or_default()
}

/// The length that an answer tells, told once from here on (RFC 9110 section 8.6).
fn one_length(headers: &mut HeaderMap) -> Result<Option<u64>, &'static str> {
    let length = lengths(headers)?;
    let is_plain = |value: &HeaderValue| value.as_bytes().iter().all(u8::is_ascii_digit);
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let is_once = lines.next().is_none_or(is_plain) && lines.next().is_none();
    if let Some(length) = length.filter(|_| !is_once) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(length)
}

fn is_kept(parts: &response::Parts) -> bool {
    let says = |word: &str| elements(&parts.headers, &header::CONNECTION).any(|said| said.eq_ignore_ascii_case(word));
    !says("close") && (parts.version == Version::HTTP_11 || says("keep-alive"))
}

/// The length that all lines and elements agree on.
fn lengths(headers: &HeaderMap) -> Result<Option<u64>, &'static str> {
    const WRONG: &str = "the lengths in the head contradict each other, or are none";
    let mut agreed = None;
    for told in
        headers.get_all(header::CONTENT_LENGTH).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
    {
        let digits = told.trim_ascii();
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(digits).ok().filter(|_| is_number).and_then(|digits| digits.parse().ok());
        if length.is_none() || agreed.is_some_and(|agreed| Some(agreed) != length) {
            return Err(WRONG);
        }
        agreed = length;
    }
    Ok(agreed)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::request::Parts;

    use super::*;
    use crate::gateway::headers::Origin;

    fn answered(bytes: &str) -> Result<(Option<Rest>, bool, HeaderMap), String> {
        let mut answered = Answered::parse(&mut bytes.into())?.unwrap();
        let rest = answered.rest(false)?;
        Ok((rest, answered.is_kept, answered.parts.headers))
    }

    fn asked(method: &str, lines: &[(&'static str, &'static str)]) -> Parts {
        let request = Request::builder().method(method).uri("/a?b=c");
        lines
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    const fn asking<'a>(head: &'a Parts, origin: &'a Origin) -> Asking<'a> {
        Asking { head, host: None, origin, bearer: None, waiting: None, interim: None }
    }

    #[test]
    fn a_request_is_written_as_old_servers_expect_it() {
        let head = asked("POST", &[("x-own-name", "\u{e4}"), ("content-length", "3"), ("-", ""), ("a-", "")]);
        let (host, origin) = (HeaderValue::from_static("a"), Origin::default());
        let asking = Asking { host: Some(&host), ..asking(&head, &origin) };
        let (bytes, framing) = written(asking, (true, None), Vec::new()).unwrap();
        let text = "POST /a?b=c HTTP/1.1\r\nHost: a\r\nX-Own-Name: \u{e4}\r\nContent-Length: 3\r\n-: \r\nA-: \r\n\r\n";
        assert_eq!((String::from_utf8(bytes).unwrap().as_str(), framing), (text, Framing::Length(3)));
    }

    #[test]
    fn a_body_is_framed_by_its_length_where_one_is_known() {
        let none = "Content-Length: 0\r\n";
        for (method, lines, has_body, length, told, framing) in [
            ("POST", &[("content-length", "0")][..], false, Some(0), none, Framing::Length(0)),
            ("POST", &[], false, Some(0), none, Framing::Length(0)),
            ("PUT", &[], false, Some(0), none, Framing::Length(0)),
            ("PATCH", &[], false, None, none, Framing::Length(0)),
            ("GET", &[], false, Some(0), "", Framing::Length(0)),
            ("DELETE", &[], false, Some(0), "", Framing::Length(0)),
            ("POST", &[], true, Some(4), "Content-Length: 4\r\n", Framing::Length(4)),
            ("POST", &[], true, None, "Transfer-Encoding: chunked\r\n", Framing::Chunked),
        ] {
            let (head, origin) = (asked(method, lines), Origin::default());
            let (bytes, found) = written(asking(&head, &origin), (has_body, length), Vec::new()).unwrap();
            assert_eq!((bytes, found), (format!("{method} /a?b=c HTTP/1.1\r\n{told}\r\n").into_bytes(), framing));
        }
    }

    #[test]
    fn an_answer_ends_where_its_head_says() {
        let ends = |lines: &str| answered(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).map(|(rest, ..)| rest.unwrap());
        assert_eq!(ends("content-length: 3\r\nContent-Length: 3, 3\r\n"), Ok(Rest::Length(3)));
        assert_eq!(ends("Transfer-Encoding: Chunked\r\n"), Ok(Rest::Chunked(Chunks::default())));
        for coding in ["gzip, chunked", "chunked, gzip", "chunked, chunked", "identity", ""] {
            ends(&format!("Transfer-Encoding: {coding}\r\n")).unwrap_err();
        }
        assert_eq!(ends("Server: x\r\n"), Ok(Rest::UntilClose));
        for wrong in ["3, 4", "+3", "", "0x3", "18446744073709551616"] {
            ends(&format!("Content-Length: {wrong}\r\n")).unwrap_err();
        }
        answered("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap_err();
        let (rest, ..) = answered("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n").unwrap();
        assert_eq!(rest, Some(Rest::Length(0)));
        assert_eq!(answered("HTTP/1.1 103 Early Hints\r\n\r\n").unwrap().0, None, "the answer is still to come");
    }

    #[test]
    fn of_two_lengths_the_chunks_count_and_the_other_is_gone() {
        let (rest, _, headers) =
            answered("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        assert_eq!(rest, Some(Rest::Chunked(Chunks::default())));
        assert!(!headers.contains_key(header::CONTENT_LENGTH));
    }

    #[test]
    fn blanks_between_a_name_and_its_colon_are_taken_away() {
        // RFC 9112 section 5.1: a proxy must. What frames the answer counts all the same.
        let (rest, _, headers) =
            answered("HTTP/1.1 200 OK\r\nA : b\r\nTransfer-Encoding\t: chunked\r\nContent-Length : 3\r\n\r\n").unwrap();
        assert_eq!(rest, Some(Rest::Chunked(Chunks::default())));
        assert_eq!((headers.len(), &headers["a"]), (2, &HeaderValue::from_static("b")));
    }

    #[test]
    fn a_connection_is_kept_unless_somebody_closes_it() {
        let kept = |version: &str, lines: &str| answered(&format!("{version} 200 OK\r\n{lines}\r\n")).unwrap().1;
        assert!(kept("HTTP/1.1", ""));
        assert!(!kept("HTTP/1.1", "Connection: keep-alive\r\nConnection: x, Close\r\n"));
        assert!(!kept("HTTP/1.0", ""));
        assert!(kept("HTTP/1.0", "Connection: Keep-Alive\r\n"));
    }

    #[test]
    fn half_a_head_is_none_yet_and_what_is_no_head_is_told() {
        assert!(Answered::parse(&mut "HTTP/1.1 200 OK\r\nA: b\r\n".into()).unwrap().is_none());
        // What folds its lines is refused, as RFC 9112 section 5.2 allows.
        for wrong in
            ["SSH-2.0", "HTTP/1.1 200 OK\r\n A: b", "HTTP/1.1 200 OK\r\nA: b\r\n c", "HTTP/1.1 200 OK\r\nA B: c"]
        {
            Answered::parse(&mut format!("{wrong}\r\n\r\n").as_str().into()).unwrap_err();
        }
        let of = |lines: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(lines));
        assert_eq!(Answered::parse(&mut of(256).as_str().into()).unwrap().unwrap().parts.headers.len(), 256);
        assert_eq!(Answered::parse(&mut of(257).as_str().into()).unwrap_err(), "the answer has more than 256 headers");
    }
}
