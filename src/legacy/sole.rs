//! The one client id and the one secret of a request that carries no other, wherever another server might look for them.

use secrecy::ExposeSecret;

use super::glance::{Glance, glance};
use super::request::{self, Incoming};
use crate::domain::client::Presented;
use crate::domain::dialect::{Dialect, Endpoint};

/// By these a server may know a client without its secret (RFC 7521).
const OTHERWISE: [&str; 2] = ["client_assertion", "client_assertion_type"];

/// The id and the secret of a token request, in all its readings. Nothing where another server could have gone by others than these: of two ids or
/// secrets, whichever it looked at may be somebody else's.
#[must_use]
pub fn sole(dialects: &[std::sync::Arc<Dialect>], incoming: &Incoming<'_>) -> Option<Presented> {
    let presented = request::read(Endpoint::Token, dialects, incoming).ok()?.presented;
    let Glance { ids, pairs } = glance(dialects, incoming);
    let first = presented.readings.first()?;
    let is_secret = |shown: &str| presented.readings.iter().any(|reading| reading.secret.expose_secret() == shown);
    let mut secrets = dialects.iter().flat_map(|dialect| pairs.values(&dialect.credentials.secret));
    let is_one = ids.as_slice() == [first.id.as_str()]
        && secrets.all(is_secret)
        && OTHERWISE.iter().all(|name| pairs.values(name).next().is_none())
        && !first.secret.expose_secret().is_empty();
    is_one.then_some(presented)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method, Uri, header};

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
    }
}
