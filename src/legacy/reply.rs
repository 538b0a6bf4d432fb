//! A cause or a pair of tokens into the exact bytes that the old server would have sent.

use std::fmt::{self, Write as _};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::domain::dialect::{Dialect, Endpoint, Member, Piece, Slot};
use crate::domain::refusal::Cause;

/// A reply, complete but for what the connection adds (length, date).
#[derive(Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Every header of ours.
    pub headers: HeaderMap,
    /// The exact body.
    pub body: Bytes,
}

/// Its body holds tokens, and so may the headers of an old server's.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({}, {} bytes)", self.status, self.body.len())
    }
}

impl From<Reply> for Response<Bytes> {
    fn from(Reply { status, headers, body }: Reply) -> Self {
        let mut response = Self::new(body);
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        response
    }
}

/// A value for a layout.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// Written as a JSON string.
    Text(&'a str),
    /// Written as a JSON number.
    Number(u64),
}

/// A text may be a token.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(redacted)"),
            Self::Number(number) => write!(f, "Number({number})"),
        }
    }
}

/// The values of one reply.
pub type Values<'a> = [(Slot, Value<'a>)];

/// What a reply says.
#[derive(Clone, Copy, Debug)]
pub enum Says<'a> {
    /// A pair of tokens.
    Token(&'a Values<'a>),
    /// A revocation was heard.
    Revoked,
    /// Introspection of a live token.
    Active(&'a Values<'a>),
    /// Introspection of anything else.
    Inactive,
}

/// A good reply.
#[must_use]
pub fn success(dialect: &Dialect, says: Says<'_>) -> Reply {
    let layout = &dialect.layout;
    let (members, values): (_, &Values<'_>) = match says {
        Says::Token(values) => (&layout.token, values),
        Says::Revoked => (&layout.revoked, &[]),
        Says::Active(values) => (&layout.active, values),
        Says::Inactive => (&layout.inactive, &[]),
    };
    Reply { status: StatusCode::OK, headers: headers(dialect, &[]), body: body(dialect, members, values) }
}

/// A refusal, in the words of the dialect.
#[must_use]
pub fn refusal(dialect: &Dialect, endpoint: Endpoint, cause: Cause) -> Reply {
    let Some(row) = dialect.causes.get(&cause) else {
        // The loader lets no dialect pass that lacks a row that a client hears; a bare 500 is what is left if one did.
        return Reply { status: StatusCode::INTERNAL_SERVER_ERROR, headers: HeaderMap::new(), body: Bytes::new() };
    };
    let mut headers = headers(dialect, &row.headers);
    if let Some(numbered) = &dialect.error_code {
        let digits = match endpoint {
            Endpoint::Token | Endpoint::Introspect | Endpoint::Api | Endpoint::Authz => &numbered.token,
            Endpoint::Revoke => &numbered.revoke,
        };
        put(&mut headers, &numbered.header, &format!("{digits}{}", row.code));
    }
    if cause == Cause::MethodNotAllowed {
        let allowed = match endpoint {
            Endpoint::Token | Endpoint::Introspect => "POST",
            Endpoint::Api | Endpoint::Authz => "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
            Endpoint::Revoke => "POST, DELETE",
        };
        headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    let mut values = vec![(Slot::Error, Value::Text(&row.error))];
    values.extend(row.description.as_deref().map(|text| (Slot::ErrorDescription, Value::Text(text))));
    let status = StatusCode::from_u16(row.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Reply { status, headers, body: body(dialect, &dialect.layout.error, &values) }
}

fn headers(dialect: &Dialect, further: &[(String, String)]) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    put(&mut headers, header::CONTENT_TYPE.as_str(), &dialect.layout.content_type);
    for (name, value) in dialect.layout.headers.iter().chain(further) {
        put(&mut headers, name, value);
    }
    headers
}

/// Adds a header that the loader has checked to be one.
fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.append(name, value);
    }
}

fn body(dialect: &Dialect, members: &[Member], values: &Values<'_>) -> Bytes {
    let layout = &dialect.layout;
    let mut text = String::with_capacity(256);
    text.push('{');
    text.push_str(&layout.line_end);
    let mut first = true;
    for member in members {
        let before = text.len();
        if !first {
            text.push(',');
            text.push_str(&layout.line_end);
        }
        text.push_str(&layout.indent);
        if line(member, values, &mut text).is_some() {
            first = false;
        } else {
            text.truncate(before);
        }
    }
    text.push_str(&layout.line_end);
    text.push('}');
    Bytes::from(text)
}

/// Writes one member; `None`: one of its values is not there.
fn line(member: &Member, values: &Values<'_>, into: &mut String) -> Option<()> {
    for piece in &member.0 {
        match piece {
            Piece::Text(text) => into.push_str(text),
            Piece::Value(slot) => match values.iter().find(|(known, _)| known == slot)?.1 {
                Value::Text(text) => into.push_str(&serde_json::to_string(text).ok()?),
                Value::Number(number) => write!(into, "{number}").ok()?,
            },
        }
    }
    Some(())
}
