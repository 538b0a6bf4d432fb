//! Bytes of strangers into the pure readers. Each target states what holds whatever comes; `scripts/fuzz` feeds them with what
//! libFuzzer makes up, the quick suite with the seeds, and what was once found, in `fuzz/seeds`.

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use jsonwebtoken::jwk::JwkSet;
use passbridge::document::{self, Findings};
use passbridge::domain::chance::Entropy;
use passbridge::domain::dialect::{Dialect, Endpoint, GrantKind};
use passbridge::domain::family::AccessRecord;
use passbridge::domain::grant::Fate;
use passbridge::domain::opaque::OpaqueToken;
use passbridge::domain::time::Timestamp;
use passbridge::gateway::ext_authz::{self, Asked};
use passbridge::gateway::routes::{Route, find, ordered};
use passbridge::keycloak::{Sent, logout_token, wire};
use passbridge::legacy::glance::glance;
use passbridge::legacy::request::{self, Incoming};
use passbridge::secrets::age::{self, Identity};
use passbridge::store::record;
use reqwest::Url;
use secrecy::ExposeSecret;

/// Takes bytes; panics where what it promises does not hold.
pub type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 8] = [
    ("access_record", access_record),
    ("call_path", call_path),
    ("dialect_file", dialect_file),
    ("envoy_question", envoy_question),
    ("legacy_request", legacy_request),
    ("logout_token", a_logout_token),
    ("realm_answer", realm_answer),
    ("sealed_value", sealed_value),
];

/// The target of this name.
pub fn named(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

/// Their names.
pub fn names() -> impl Iterator<Item = &'static str> + Clone + std::fmt::Debug {
    TARGETS.iter().map(|(name, _)| *name)
}

static DIALECT: LazyLock<Arc<Dialect>> = LazyLock::new(|| {
    let findings = Findings::new();
    let text = include_str!("../../../mappings/dialects/otk-passport.toml");
    let table = document::parse("otk-passport.toml", text, &findings).expect("the shipped dialect is TOML");
    Arc::new(
        passbridge::mapping::dialect::read("otk-passport", table, &findings).expect("the shipped dialect is whole"),
    )
});

/// A request as it stands on the wire. Whoever it is read as coming from was seen before anybody decided which server answers.
fn legacy_request(bytes: &[u8]) {
    let Some((head, body)) = split(bytes, b"\r\n\r\n") else { return };
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut first = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
    let (Some(method), Some(target)) = (first.next(), first.next()) else { return };
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method), Uri::try_from(target)) else { return };
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some((name, value)) = split(line, b":") else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body };
    let dialects = [Arc::clone(&DIALECT)];
    let seen = glance(&dialects, &incoming);
    for endpoint in [Endpoint::Token, Endpoint::Revoke, Endpoint::Introspect] {
        let Ok(request) = request::read(endpoint, &dialects, &incoming) else { continue };
        assert!(!request.presented.readings.is_empty(), "somebody without an id");
        for reading in &request.presented.readings {
            assert!(seen.ids.contains(&reading.id), "an id that no glance saw");
        }
        assert!(request.parameters.duplicate().is_none(), "a parameter that comes twice");
    }
}

/// The path of an API call. What its route takes is below its prefix for another reader too.
fn call_path(bytes: &[u8]) {
    static ROUTES: LazyLock<Vec<Route>> =
        LazyLock::new(|| ordered(vec![route("/api"), route("/api/reports"), route("/other")]));
    let Ok(path) = std::str::from_utf8(bytes) else { return };
    let Ok(uri) = Uri::try_from(path) else { return };
    let Ok(found) = find(&ROUTES, None, uri.path()) else { return };
    let Ok(url) = Url::parse(&format!("http://api.example.org{}", uri.path())) else { return };
    let prefix = &ROUTES[found].prefix;
    let rest = url.path().strip_prefix(prefix.as_str());
    assert!(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')), "left {prefix}: {}", url.path());
}

fn route(prefix: &str) -> Route {
    Route {
        prefix: prefix.to_owned(),
        host: None,
        clients: Vec::new(),
        upstreams: Vec::new(),
        trust: None,
        http2: false,
        strip_prefix: false,
        keep_host: false,
        pass_jwt: false,
        pass_anonymous: false,
        pass_interim: false,
    }
}

/// An answer of the realm: its status in the first two bytes. Only a whole 200 grants, a token that fits a call, and what is unspent is nothing
/// that it may have read.
fn realm_answer(bytes: &[u8]) {
    let Some((status, body)) = bytes.split_first_chunk::<2>() else { return };
    let status = 100 + u16::from_be_bytes(*status) % 500;
    for kind in [GrantKind::Login, GrantKind::Refresh] {
        match wire::read((status, body), kind, &DIALECT.realm, &Sent::default()) {
            Ok(grant) => {
                let token = grant.access_token.expose_secret();
                let fits = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte));
                assert!(status == 200 && fits && !token.is_empty(), "{status} grants");
            }
            Err(refused) => {
                assert!(status < 500 || status == 503 || refused.fate == Fate::Unknown, "{status} is unspent");
            }
        }
    }
    let _ = wire::read_logout(status, body, &DIALECT.realm, &Sent::default());
    if let Ok(jwt) = std::str::from_utf8(body) {
        let _ = wire::claims(jwt);
    }
}

/// A logout token. None is genuine that no key of the realm signed.
fn a_logout_token(bytes: &[u8]) {
    static KEYS: LazyLock<JwkSet> =
        LazyLock::new(|| serde_json::from_str(include_str!("../../../fuzz/seeds/realm-keys.json")).expect("a key set"));
    let Ok(token) = std::str::from_utf8(bytes) else { return };
    let _ = logout_token::key_id(token);
    assert!(logout_token::read(token, &KEYS, Timestamp::from_secs(1_900_000_000)).is_err(), "a forged logout token");
}

/// Envoy's question over gRPC.
fn envoy_question(bytes: &[u8]) {
    let _ = ext_authz::unframed(bytes);
    if let Ok(asked) = Asked::read(bytes) {
        assert!(asked.headers.len() <= bytes.len(), "headers out of nothing");
    }
}

/// A sealed value, in bytes and in text. Without the identity that it is sealed to nothing opens.
fn sealed_value(bytes: &[u8]) {
    static STRANGER: LazyLock<Vec<Identity>> = LazyLock::new(|| Identity::new(&Sevens).into_iter().collect());
    assert!(age::open_bytes(bytes, &STRANGER).is_err(), "opened by a stranger");
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(age::open(text, &STRANGER).is_err(), "opened by a stranger");
        let _ = Identity::parse(text);
        let _ = age::Recipient::parse(text);
    }
}

/// What the store holds, and a token.
fn access_record(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(token) = OpaqueToken::parse(text)
    {
        assert!(token.expose().eq_ignore_ascii_case(text), "another token");
    }
    let _ = record::decode::<AccessRecord>(b"key", bytes);
    // As if the checksum had been forged along.
    if let Ok(access) = postcard::from_bytes::<AccessRecord>(bytes) {
        let written = record::encode(b"key", &access);
        assert_eq!(record::decode::<AccessRecord>(b"key", &written).as_ref(), Ok(&access), "changed by being kept");
        assert!(record::decode::<AccessRecord>(b"other", &written).is_err(), "read under another key");
    }
}

/// A dialect that somebody edits. Every finding has a place in the file.
fn dialect_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let findings = Findings::new();
    let read = document::parse("dialect.toml", text, &findings)
        .and_then(|table| passbridge::mapping::dialect::read("dialect", table, &findings));
    assert!(read.is_some() || findings.blocked(), "neither a dialect nor an error");
    let lines = u32::try_from(text.lines().count()).unwrap_or(u32::MAX).max(1);
    for finding in findings.into_sorted() {
        assert!(finding.origin.line <= lines + 1, "line {} of {lines}", finding.origin.line);
        assert!(!finding.message.is_empty());
    }
}

#[derive(Debug)]
struct Sevens;

impl Entropy for Sevens {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let found = bytes.windows(at.len()).position(|window| window == at)?;
    Some((&bytes[..found], &bytes[found + at.len()..]))
}
