//! The one client id and the one secret of a request that carries no other, wherever another server might look for them.

use http::header;
use secrecy::ExposeSecret;

use super::form;
use super::glance::{Glance, glance};
use super::request::{self, Incoming};
use crate::domain::client::Presented;
use crate::domain::dialect::{CredentialFields, Dialect, Endpoint};

/// By these a server may know a client without its secret (RFC 7521).
const OTHERWISE: [&str; 2] = ["client_assertion", "client_assertion_type"];

/// The id and the secret of a token request, in all its readings. Nothing where another server could have gone by others than these: of two ids or
/// secrets, whichever it looked at may be somebody else's.
#[must_use]
pub fn sole(dialects: &[std::sync::Arc<Dialect>], incoming: &Incoming<'_>) -> Option<Presented> {
    if !is_read_alike_by_all(incoming) {
        return None;
    }
    let presented = request::read(Endpoint::Token, dialects, incoming).ok()?.presented;
    let Glance { ids, pairs } = glance(dialects, incoming);
    let first = presented.readings.first()?;
    let is_secret = |shown: &str| presented.readings.iter().any(|reading| reading.secret.expose_secret() == shown);
    let mut secrets = dialects.iter().flat_map(|dialect| pairs.values(&dialect.credentials.secret));
    let is_one = ids.as_slice() == [first.id.as_str()]
        && secrets.all(is_secret)
        && has_plain_names(dialects, incoming)
        && OTHERWISE.iter().all(|name| pairs.values(name).next().is_none())
        && !first.secret.expose_secret().is_empty();
    is_one.then_some(presented)
}

/// Whether every server finds the same pairs in it. Some part them at `;` and at a line's end, too, or go by a charset in which these bytes are other
/// letters; some know a client by another scheme than Basic.
fn is_read_alike_by_all(incoming: &Incoming<'_>) -> bool {
    const ALIKE: [&str; 4] = ["utf-8", "us-ascii", "iso-8859-", "windows-125"];
    let parts = |bytes: &[u8]| bytes.iter().any(|byte| matches!(byte, b';' | b'\r' | b'\n'));
    let text = |name: header::HeaderName| incoming.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let is_basic = text(header::AUTHORIZATION)
        .is_none_or(|value| value.get(..6).is_some_and(|begin| begin.eq_ignore_ascii_case("basic ")));
    let charset = text(header::CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
    let charset = charset.split_once("charset").map(|(_, value)| value.trim_matches([' ', '=', '"']));
    is_basic
        && charset.is_none_or(|charset| ALIKE.iter().any(|known| charset.starts_with(known)))
        && !parts(incoming.body)
        && !parts(incoming.query().unwrap_or_default().as_bytes())
}

fn has_plain_names(dialects: &[std::sync::Arc<Dialect>], incoming: &Incoming<'_>) -> bool {
    let is_plain = |name: &str| dialects.iter().all(|dialect| is_itself_or_another(name, &dialect.credentials));
    let parts = [incoming.body, incoming.query().unwrap_or_default().as_bytes()];
    parts.into_iter().all(|part| form::parse(part).is_ok_and(|form| form.names().all(is_plain)))
}

/// Whether a parameter's name is a credential's, or surely none: letters of another case, and signs that some turn into `_`, make another of it.
fn is_itself_or_another(name: &str, fields: &CredentialFields) -> bool {
    let is_plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let alike = |field: &str| name != field && name.replace('-', "_").eq_ignore_ascii_case(&field.replace('-', "_"));
    is_plain && !alike(&fields.id) && !alike(&fields.secret)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method, Uri};

    use super::*;

    fn of(authorization: Option<&str>, target: &str, body: &str) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let uri: Uri = target.parse().unwrap();
        let incoming = Incoming { method: &Method::POST, uri: &uri, headers: &headers, body: body.as_bytes() };
        let findings = crate::document::Findings::new();
        let text = include_str!("../../mappings/dialects/otk-passport.toml");
        let table = crate::document::parse("otk-passport.toml", text, &findings).unwrap();
        let dialect = crate::mapping::dialect::read("otk-passport", table, &findings).unwrap();
        let found = sole(&[std::sync::Arc::new(dialect)], &incoming);
        let first = found.as_ref().and_then(|presented| presented.readings.first());
        first.map(|reading| (reading.id.clone(), reading.secret.expose_secret().to_owned()))
    }

    #[test]
    fn what_another_server_could_read_otherwise_is_nobodys() {
        let pair = Some(("a".to_owned(), "b".to_owned()));
        let body = "grant_type=passport&client_id=a&client_secret=b";
        assert_eq!(of(None, "/t", body), pair);
        assert_eq!(of(Some("Basic YTpi"), "/t", "grant_type=passport"), pair);
        assert_eq!(of(Some("Basic YTpi"), "/t", body), pair);
        assert_eq!(of(None, "/t?client_id=a", body), pair);
        for (authorization, target, more) in [
            (None, "/t?client_id=other&client_secret=c", ""),
            (None, "/t?client_secret=c", ""),
            (None, "/t", "&client_secret=c"),
            (None, "/t", "&client_assertion=x"),
            (Some("Basic YTpj"), "/t", ""),
            (Some("Bearer x"), "/t", ""),
        ] {
            assert_eq!(of(authorization, target, &format!("{body}{more}")), None, "{authorization:?} {target} {more}");
        }
        assert_eq!(of(None, "/t", "grant_type=passport&client_id=a&client_secret="), None);
        // What some servers take for pairs or for these names.
        for odd in [
            "x=1;client_id=other;client_secret=c&",
            "x=1%3B&y=1;client_id=other&",
            "x=1\r\nclient_id=other\r\n&",
            "Client_Id=other&Client_Secret=c&",
            "client.id=other&",
            "client%20id=other&",
            "client-id=other&",
            "client_id%00=other&",
            "client_id[]=other&",
            "{\"client_id\":\"other\"}&",
            "=x&",
        ] {
            assert_eq!(of(None, "/t", &format!("{odd}{body}")), None, "{odd}");
        }
        assert_eq!(of(None, "/t?a=1;client_id=other", body), None);
        assert_eq!(of(None, "/t", &format!("a=%3B%0D%0A&client_hint=c&{body}")), pair, "escaped they part nothing");
    }
}
