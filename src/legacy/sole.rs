//! The one client id and the one secret of a request that carries no other, wherever another server might look for them.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{self, HeaderName};
use secrecy::ExposeSecret;

use super::form;
use super::glance::{Glance, bare};
use super::request::{Incoming, LegacyRequest};
use crate::domain::client::Presented;
use crate::domain::dialect::{Dialect, Endpoint};
use crate::domain::form::Form;

/// What has one of these in its bare name may be a credential to some server: `X-Client-Id`, `oauth_client_id`, `Proxy-Authorization`,
/// `client_assertion` (RFC 7521).
const CREDENTIALS: [&str; 7] = ["clientid", "secret", "auth", "credential", "assertion", "apikey", "consumerkey"];

/// In these the letters of forms have the bytes that they have here.
const CHARSETS: [&str; 4] = ["utf-8", "us-ascii", "iso-8859-1", "windows-1251"];

/// The id and the secret of a token request, in all its readings. Nothing where another server could have gone by others than these: of two ids or
/// secrets, whichever it looked at may be somebody else's. What no legacy client sends is not weighed: it is such a request.
#[must_use]
pub fn sole<'r>(
    dialects: &[Arc<Dialect>],
    incoming: &Incoming<'_>,
    request: &'r LegacyRequest,
    glance: &Glance,
) -> Option<&'r Presented> {
    let LegacyRequest { endpoint, parameters, presented, .. } = request;
    let Glance { ids, pairs, .. } = glance;
    let query = incoming.uri.query().unwrap_or_default().as_bytes();
    let first = presented.readings.first()?;
    let is_secret = |shown: &str| presented.readings.iter().any(|reading| reading.secret.expose_secret() == shown);
    let mut secrets = dialects.iter().flat_map(|dialect| pairs.values(&dialect.credentials.secret));
    // There, what was read are all the parameters of the body.
    let is_one = *endpoint == Endpoint::Token
        && ids.as_slice() == [first.id.as_str()]
        && secrets.all(is_secret)
        && !first.secret.expose_secret().is_empty()
        && has_plain_headers(dialects, incoming.headers)
        && is_plain(dialects, incoming.body, parameters)
        && form::parse(query).is_ok_and(|form| is_plain(dialects, query, &form));
    is_one.then_some(presented)
}

/// Whether every server finds these pairs in a form. Some part them at `;` or at a line's end, some once the whole is decoded; and to some names are
/// the same in letters of another case, or with another sign for `_`, or none.
fn is_plain(dialects: &[Arc<Dialect>], part: &[u8], form: &Form) -> bool {
    let parts = |byte: &u8| matches!(byte, b';' | b'\r' | b'\n');
    let has_plain_name = |name: &str| is_plain_name(name) && !is_like_a_credentials(dialects, name);
    // A signature in base64 may well have lines.
    let has_plain_value = |value: &str| !value.contains(['&', ';', '\0']);
    !part.iter().any(parts)
        && form
            .pairs()
            .all(|(name, value)| (is_a_credentials(dialects, name) || has_plain_name(name)) && has_plain_value(value))
}

/// Whether a server finds no other credentials in the headers, and reads the form in a charset like ours.
fn has_plain_headers(dialects: &[Arc<Dialect>], headers: &HeaderMap) -> bool {
    let all = |name: HeaderName| headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or("?"));
    let is_basic = |value: &str| value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic "));
    let is_of_another_use =
        |name: &HeaderName| name == header::AUTHORIZATION || !is_like_a_credentials(dialects, name.as_str());
    let has_plain_name = |cookie: &str| cookie.trim().is_empty() || is_plain_name(name_of(cookie));
    all(header::AUTHORIZATION).all(is_basic)
        && all(header::CONTENT_TYPE).all(is_of_a_known_charset)
        && all(header::COOKIE).flat_map(|cookies| cookies.split(';')).all(has_plain_name)
        && all(header::COOKIE).chain(all(COOKIE2)).all(|cookies| has_no_credentials(dialects, cookies))
        && headers.keys().all(is_of_another_use)
}

/// Of RFC 2965, which nobody makes any more and some servers read.
const COOKIE2: HeaderName = HeaderName::from_static("cookie2");

/// Whether a server finds none in these cookies, wherever it parts them and whether or not it decodes them.
fn has_no_credentials(dialects: &[Arc<Dialect>], cookies: &str) -> bool {
    let parts = |sign: char| matches!(sign, ';' | ',' | '&' | '"') || sign.is_whitespace();
    let is_plain =
        |text: &str| !text.split(parts).map(name_of).chain([text]).any(|name| is_like_a_credentials(dialects, name));
    is_plain(cookies) && form::decode(cookies.as_bytes()).is_ok_and(|decoded| is_plain(&decoded))
}

fn name_of(cookie: &str) -> &str {
    cookie.split('=').next().unwrap_or_default().trim()
}

/// Whether a content type says nothing, or one charset alone, and that is like ours.
fn is_of_a_known_charset(content_type: &str) -> bool {
    let Some((_, parameter)) = content_type.split_once(';') else { return true };
    let parameter = parameter.trim().to_ascii_lowercase();
    let charset = parameter
        .strip_prefix("charset=")
        .map(|charset| charset.strip_prefix('"').and_then(|quoted| quoted.strip_suffix('"')).unwrap_or(charset));
    parameter.is_empty() || charset.is_some_and(|charset| CHARSETS.contains(&charset))
}

fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn fields(dialects: &[Arc<Dialect>]) -> impl Iterator<Item = &str> {
    dialects.iter().flat_map(|dialect| [dialect.credentials.id.as_str(), dialect.credentials.secret.as_str()])
}

fn is_a_credentials(dialects: &[Arc<Dialect>], name: &str) -> bool {
    fields(dialects).any(|field| field == name)
}

/// Whether a bare name says what it is within a longer one too (`oauth_client_id`). `id` does not: many a name has that in it.
fn is_telling(bare: &str) -> bool {
    bare.len() > 4
}

/// Whether some servers take it for the name of a credential.
fn is_like_a_credentials(dialects: &[Arc<Dialect>], name: &str) -> bool {
    let name = bare(name);
    // Names of certificates, as TLS proxies tell them: `X-SSL-Client-I-DN`.
    let name = name.strip_suffix("clientidn").unwrap_or(&name);
    CREDENTIALS.iter().any(|word| name.contains(word))
        || fields(dialects).map(bare).any(|field| name == field || is_telling(&field) && name.contains(&field))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method, Uri};

    use super::*;
    use crate::legacy::{glance::glance, request};
    use crate::mapping::dialect::shipped;

    fn of(authorization: Option<&str>, target: &str, body: &str) -> Option<(String, String)> {
        let headers: Vec<_> = authorization.into_iter().map(|value| ("authorization", value)).collect();
        with(&headers, target, body)
    }

    fn with(given: &[(&'static str, &str)], target: &str, body: &str) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let uri: Uri = target.parse().unwrap();
        let incoming = Incoming { method: &Method::POST, uri: &uri, headers: &headers, body: body.as_bytes() };
        let dialects = [shipped("otk-passport")];
        let request = request::read(Endpoint::Token, &dialects, &incoming).ok()?;
        let found = sole(&dialects, &incoming, &request, &glance(&dialects, &incoming));
        let first = found.and_then(|presented| presented.readings.first());
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
            "clientId=other&clientSecret=c&",
            "clientid=a&",
            "oauth_client_id=other&",
            "clientSecret=b&",
            "authorization=Basic+YTpi&",
            "Client-Assertion=x&",
            "{\"client_id\":\"other\"}&",
            "=x&",
        ] {
            assert_eq!(of(None, "/t", &format!("{odd}{body}")), None, "{odd}");
        }
        assert_eq!(of(None, "/t?a=1;client_id=other", body), None);
        for decoded in ["a=%26client_id%3Dother&", "a=%3Bclient_id%3Dother&", "assertion=x&"] {
            assert_eq!(of(None, "/t", &format!("{decoded}{body}")), None, "{decoded}");
        }
        assert_eq!(of(None, "/t", "grant_type=passport&client_id=a&client_secret=b%26client_id%3Dother"), None);
        assert_eq!(of(None, "/t", &format!("signature=x%0D%0Ay%3D%2B&client_hint=c&{body}")), pair);
    }

    #[test]
    fn headers_by_which_another_server_could_go_make_it_nobodys() {
        let pair = Some(("a".to_owned(), "b".to_owned()));
        let body = "grant_type=passport&client_id=a&client_secret=b";
        let form = "application/x-www-form-urlencoded";
        for (name, value) in [
            ("content-type", ""),
            ("content-type", "; charset=UTF-8"),
            ("content-type", ";charset=\"windows-1251\""),
            ("cookie", "JSESSIONID=1; lang=ru"),
            ("cookie", "JSESSIONID=0A1b==.node1; MicexPassportCert=aB3_-x; theme=\"a, b\"; at=12%3A30%2C5;"),
            ("cookie2", "$Version=1"),
            ("content-encoding", "UTF-8"),
            ("user-agent", "Apache-HttpClient/4.1 (java 1.5)"),
            ("accept", "application/json, */*;q=0.1"),
            ("accept-encoding", "gzip"),
            ("cache-control", "no-cache"),
            ("x-requested-with", "XMLHttpRequest"),
            ("referer", "https://partner.example/clients?id=1"),
            ("forwarded", "for=192.0.2.1;proto=https"),
            ("x-forwarded-for", "192.0.2.1, 198.51.100.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "old.example"),
            ("x-forwarded-client-cert", "Hash=ab"),
            ("x-real-ip", "192.0.2.1"),
            ("true-client-ip", "192.0.2.1"),
            ("via", "1.1 proxy"),
            ("x-ssl-client-i-dn", "CN=Partner CA"),
            ("x-request-id", "1"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("tracestate", "vendor=1"),
        ] {
            let value = if name == "content-type" { format!("{form}{value}") } else { value.to_owned() };
            assert_eq!(with(&[(name, &value)], "/t", body), pair, "{name}: {value}");
        }
        for (name, value) in [
            ("content-type", "; charset=utf-7"),
            ("content-type", "; charset=utf-8; charset=utf-7"),
            ("content-type", "; x-charset=utf-8; charset=utf-7"),
            ("content-type", "; charset=utf-8,utf-7"),
            ("cookie", "client_id=other; client_secret=c"),
            ("cookie", "a=1; Client.Id=other"),
            ("cookie", "a=1,client_id=other,client_secret=c"),
            ("cookie", "a=1, client_id=other"),
            ("cookie", "a=\"1\",client_id=\"other\""),
            ("cookie", "a=1&client_id=other"),
            ("cookie", "a=1\tclient_id=other"),
            ("cookie", "a=1 clientId=other"),
            ("cookie", "a=1,client%5Fid=other"),
            ("cookie", "a=%2Cclient%5Fid%3Dother"),
            ("cookie", "Authorization=Basic YTpi"),
            ("cookie", "a=1; oauth_token=x"),
            ("cookie2", "client_id=other"),
            ("client_id", "other"),
            ("client-secret", "c"),
            ("clientid", "other"),
            ("x-client-id", "other"),
            ("x-ibm-client-id", "other"),
            ("x-client-secret", "c"),
            ("proxy-authorization", "Basic YTpi"),
            ("x-authorization", "Basic YTpi"),
            ("authorization_", "Basic YTpi"),
            ("authentication", "Basic YTpi"),
            ("x-auth", "Basic YTpi"),
            ("x-api-key", "c"),
        ] {
            let value = if name == "content-type" { format!("{form}{value}") } else { value.to_owned() };
            assert_eq!(with(&[(name, &value)], "/t", body), None, "{name}: {value}");
        }
    }
}
