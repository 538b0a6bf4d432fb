//! Bytes into a request of the old world.

use std::fmt;

use http::{HeaderMap, Method, Uri, header};

use super::credentials;
use super::form;
use crate::domain::client::Presented;
use crate::domain::dialect::{Dialect, Endpoint};
use crate::domain::form::Form;
use crate::domain::refusal::{Cause, Refusal};

/// A request to one of the old server's endpoints, before anybody knows whether its sender may make it.
#[derive(Clone, Debug)]
pub struct LegacyRequest {
    /// Which endpoint.
    pub endpoint: Endpoint,
    /// The parameters: of the body; of a DELETE, of its query too.
    pub parameters: Form,
    /// Who says to be calling.
    pub presented: Presented,
    /// There is a body that was not read, for it is no form: what is missing may stand in it.
    pub has_unread: bool,
}

impl LegacyRequest {
    /// A parameter is not there.
    #[must_use]
    pub fn lacks(&self, name: &str) -> Refusal {
        let behind = if self.has_unread { UNREAD } else { "" };
        Refusal::client(Cause::InvalidRequest, format!("`{name}` is missing{behind}"))
    }
}

const UNREAD: &str = "; the body is no form, and was not read";

/// The head and the body of a request, as far as the dialect looks at them.
pub struct Incoming<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target, as it was sent.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

/// Query, headers and body hold credentials, passports and tokens.
impl fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incoming({} {}, {} bytes)", self.method, self.uri.path(), self.body.len())
    }
}

/// Reads a request. `dialects` are those that have this endpoint at this path: the first one whose credential parameters are
/// there counts.
///
/// # Errors
/// A method, a media type, a form or credentials that cannot be understood.
pub fn read(
    endpoint: Endpoint,
    dialects: &[std::sync::Arc<Dialect>],
    incoming: &Incoming<'_>,
) -> Result<LegacyRequest, Refusal> {
    one_of_each(incoming.headers)?;
    let query = form::parse(incoming.uri.query().unwrap_or_default().as_bytes()).map_err(unreadable)?;
    let (parameters, query) = if *incoming.method == Method::POST {
        urlencoded(incoming.headers)?;
        (form::parse(incoming.body).map_err(unreadable)?, Some(query))
    } else if *incoming.method == Method::DELETE && endpoint == Endpoint::Revoke {
        (of_delete(query, incoming)?, None)
    } else {
        return Err(Refusal::client(Cause::MethodNotAllowed, "the endpoint does not answer this method"));
    };
    if let Some(name) = parameters.duplicate().or(query.as_ref().and_then(Form::duplicate)) {
        return Err(duplicate(name, dialects));
    }
    let authorization = incoming.headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
    let has_unread = *incoming.method == Method::DELETE && !is_read_of_delete(incoming);
    let (mut found, mut first) = (None, None);
    for dialect in dialects {
        match credentials::find(&dialect.credentials, authorization, &parameters, query.as_ref()) {
            // Basic is of every dialect: none of them may name another client beside it.
            Ok(presented) if authorization.is_some() => found = found.or(Some(presented)),
            Ok(presented) => return Ok(LegacyRequest { endpoint, parameters, presented, has_unread }),
            Err(refusal) if refusal.cause == Cause::InvalidRequest => return Err(refusal),
            Err(refusal) => first = first.or(Some(refusal)),
        }
    }
    if let Some(presented) = found {
        return Ok(LegacyRequest { endpoint, parameters, presented, has_unread });
    }
    let Refusal { cause, fault, detail } = first.unwrap_or_else(credentials::missing);
    let detail = if has_unread { format!("{detail}{UNREAD}").into() } else { detail };
    Err(Refusal { cause, fault, detail })
}

/// Of two hosts, media types or credentials nobody knows which another server would go by (RFC 9112 section 3.2, RFC 9110 section 5.3).
fn one_of_each(headers: &HeaderMap) -> Result<(), Refusal> {
    let alone = [
        (header::HOST, "the Host header comes more than once"),
        (header::CONTENT_TYPE, "the Content-Type header comes more than once"),
        (header::AUTHORIZATION, "the Authorization header comes more than once"),
    ];
    let twice = alone.into_iter().find(|(name, _)| headers.get_all(name).iter().nth(1).is_some());
    twice.map_or(Ok(()), |(_, detail)| Err(Refusal::client(Cause::InvalidRequest, detail)))
}

/// Some revoke with all of it in the query, some with a body, some with a part in each.
fn of_delete(query: Form, incoming: &Incoming<'_>) -> Result<Form, Refusal> {
    let mut parameters = query;
    // What a body of another kind says is not asked for.
    if is_read_of_delete(incoming) {
        parameters.append(form::parse(incoming.body).map_err(unreadable)?);
    }
    Ok(parameters)
}

fn is_read_of_delete(incoming: &Incoming<'_>) -> bool {
    incoming.body.is_empty() || urlencoded(incoming.headers).is_ok()
}

/// A name that no dialect has may be anything, a badly escaped secret too: it is not told.
fn duplicate(name: &str, dialects: &[std::sync::Arc<Dialect>]) -> Refusal {
    if dialects.iter().any(|dialect| dialect.has_parameter(name)) {
        Refusal::client(Cause::InvalidRequest, format!("`{name}` comes more than once"))
    } else {
        Refusal::client(Cause::InvalidRequest, "a parameter comes more than once")
    }
}

fn unreadable(reason: form::Unreadable) -> Refusal {
    Refusal::client(Cause::InvalidRequest, reason)
}

/// A body must say that it is a form; a charset behind it is an old habit. Saying nothing is an older one. A list is what others make of two
/// lines (RFC 9110 section 5.3).
fn urlencoded(headers: &HeaderMap) -> Result<(), Refusal> {
    if is_packed(headers) {
        return Err(Refusal::client(Cause::InvalidRequest, "the body is compressed, says its Content-Encoding"));
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") && !value.as_bytes().contains(&b',') {
        Ok(())
    } else {
        Err(Refusal::client(Cause::InvalidRequest, "the body is not application/x-www-form-urlencoded"))
    }
}

/// Whether a body says that it must be unpacked before it is a form, which nobody here does. What is no coding, `UTF-8` above all, is an old habit.
fn is_packed(headers: &HeaderMap) -> bool {
    const PACKED: [&[u8]; 7] = [b"br", b"compress", b"deflate", b"gzip", b"x-compress", b"x-gzip", b"zstd"];
    let lines = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| PACKED.iter().any(|packed| coding.trim_ascii().eq_ignore_ascii_case(packed)))
}
