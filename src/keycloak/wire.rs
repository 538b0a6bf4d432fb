//! Requests to and answers of the realm, as bytes. Pure.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};

use super::form;
use super::repeated::Sent;
use crate::domain::client::Client;
use crate::domain::dialect::{GrantKind, RealmRules};
use crate::domain::grant::{Fate, NotGranted, RealmGrant, RealmRefresh, RealmRequest};
use crate::domain::refusal::{Cause, Fault, Refusal};
use crate::domain::unseen::one_line;
use crate::domain::wiped::Wiped;

/// The body of a token request: credentials first, then the fields in their order.
#[must_use]
pub fn body(request: &RealmRequest, secret: &SecretString) -> Wiped<String> {
    let credentials = [("client_id", request.client.client_id.as_str()), ("client_secret", secret.expose_secret())];
    let fields = request.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    form::written(credentials.into_iter().chain(fields))
}

/// The body of a logout request.
#[must_use]
pub fn logout_body(client: &Client, secret: &SecretString, refresh_token: &SecretString) -> Wiped<String> {
    form::written([
        ("client_id", client.client_id.as_str()),
        ("client_secret", secret.expose_secret()),
        ("refresh_token", refresh_token.expose_secret()),
    ])
}

/// Reads the answer to a logout. A session that is gone already is as good as ended; one whose refresh token the realm refuses for a
/// slip on our side (it is unspent, says the dialect) lives on. `sent`: what is not told of its words.
///
/// # Errors
/// The session may still be there.
pub fn read_logout(status: u16, body: &[u8], rules: &RealmRules, sent: &Sent<'_>) -> Result<(), NotGranted> {
    match status {
        200 | 204 => Ok(()),
        400..=499 if status != 408 && status != 429 => {
            let refused = refused((status, body), GrantKind::Refresh, rules, sent);
            let is_gone = refused.refusal.cause == Cause::RefreshToken && refused.fate == Fate::Settled;
            if is_gone { Ok(()) } else { Err(refused) }
        }
        _ => Err(unspent(Fault::Upstream, format!("the realm answered {} to a logout", told(status, body, sent)))),
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
    expires_in: Seconds,
    refresh_token: Option<SecretString>,
    refresh_expires_in: Option<Seconds>,
    scope: Option<String>,
    session_state: Option<String>,
}

/// A number of JSON, however it is written: 3599, 3599.0 and 3599e0 are one.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "Number")]
struct Seconds(Duration);

impl TryFrom<Number> for Seconds {
    type Error = &'static str;

    fn try_from(number: Number) -> Result<Self, Self::Error> {
        let whole = || Duration::try_from_secs_f64(number.as_f64()?).ok().map(|life| life.as_secs());
        number.as_u64().or_else(whole).map(Duration::from_secs).map(Self).ok_or("no number of seconds")
    }
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
    error_description: Option<String>,
}

/// The claims of an access token that we look at. It came from the realm itself, so its signature is not checked again. Mappers of the realm write
/// what they like: a claim of another type costs no other one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// Session.
    #[serde(deserialize_with = "text")]
    pub sid: Option<String>,
    /// Subject.
    #[serde(deserialize_with = "text")]
    pub sub: Option<String>,
    /// The user's name.
    #[serde(deserialize_with = "text")]
    pub preferred_username: Option<String>,
    /// What it opens, in the realm's words; text, where it is a realm as we know it.
    pub scope: Option<Value>,
    /// When it was issued, by the realm's clock: seconds since 1970.
    pub iat: Option<Value>,
}

/// A text, or a number by its digits.
fn text<'de, D: Deserializer<'de>>(claim: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(claim)? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    })
}

/// Reads the claims; nothing where it is no JWT.
#[must_use]
pub fn claims(jwt: &str) -> Claims {
    let payload = jwt.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).map(Wiped::new);
    payload.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Reads an answer, complete with its body. `sent`: what is not told of its words.
///
/// # Errors
/// The realm did not grant; the dialect's rows say what each of its errors means.
pub fn read(
    (status, body): (u16, &[u8]),
    kind: GrantKind,
    rules: &RealmRules,
    sent: &Sent<'_>,
) -> Result<RealmGrant, NotGranted> {
    match status {
        200 => match granted(body) {
            Some(grant) if kind == GrantKind::Refresh && is_over(&grant) => Err(session_over()),
            Some(grant) => Ok(grant),
            None => Err(unknown("the realm's 200 is no token answer, or has a token that fits no call")),
        },
        429 | 503 => Err(unspent(Fault::Upstream, format!("the realm answered {}", told(status, body, sent)))),
        400..=499 if status != 408 => Err(refused((status, body), kind, rules, sent)),
        300..=399 => {
            Err(unspent(Fault::Operator, format!("the realm answered {status}, a redirect: is its URL right?")))
        }
        _ => Err(unknown(format!("the realm answered {}", told(status, body, sent)))),
    }
}

fn granted(body: &[u8]) -> Option<RealmGrant> {
    let answer: TokenAnswer = serde_json::from_slice(body).ok()?;
    if !fits_a_call(answer.access_token.expose_secret()) {
        return None;
    }
    let claims = claims(answer.access_token.expose_secret());
    let Seconds(access_life) = answer.expires_in;
    let life = match answer.refresh_expires_in {
        None => Some(access_life),
        // 0 says that an offline session has no end; beside an access token of 0 it is the last second of a session.
        Some(Seconds(Duration::ZERO)) if !access_life.is_zero() => None,
        Some(Seconds(life)) => Some(life),
    };
    // The realm would hear an empty one as not sent (RFC 6749 section 3.2).
    let refresh = answer.refresh_token.filter(|token| !token.expose_secret().is_empty());
    Some(RealmGrant {
        access_life,
        refresh: refresh.map(|token| RealmRefresh { token, life }),
        scope: answer.scope,
        session: answer.session_state.or(claims.sid),
        user: claims.preferred_username.or(claims.sub),
        access_token: answer.access_token,
    })
}

/// Whether nothing of it lives for a second: so the realm grants a refresh in the last second of a session.
fn is_over(grant: &RealmGrant) -> bool {
    grant.access_life.is_zero() && grant.refresh.as_ref().is_some_and(|refresh| refresh.life == Some(Duration::ZERO))
}

fn session_over() -> NotGranted {
    let detail = "the realm's session is at its end: what it granted has no second to live";
    let refusal = Refusal::client(Cause::RefreshToken, detail);
    NotGranted { refusal, fate: Fate::Settled, our_credentials: false, session_gone: false }
}

/// Whether an API can be shown this token (RFC 6750 section 2.1, `b64token`); it need not be a JWT. A UUID for any other would open nothing.
fn fits_a_call(token: &str) -> bool {
    let text = token.trim_end_matches('=');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !text.is_empty() && text.bytes().all(fits)
}

/// What the realm says of a refresh token whose session is gone.
const SESSION_GONE: &str = "Session not active";

fn refused((status, body): (u16, &[u8]), kind: GrantKind, rules: &RealmRules, sent: &Sent<'_>) -> NotGranted {
    let Ok(answer) = serde_json::from_slice::<ErrorAnswer>(body) else {
        return unspent(Fault::Operator, format!("the realm answered {status} {}", no_oauth_error(status, body)));
    };
    let description = answer.error_description.as_deref().unwrap_or_default();
    let fits = |row: &&crate::domain::dialect::RealmErrorRow| {
        row.error == answer.error
            && row.description.as_deref().is_none_or(|part| description.contains(part))
            && row.grant.is_none_or(|grant| grant == kind)
    };
    let detail = format!("the realm answered {}", in_words(status, &answer, sent));
    let session_gone = description.contains(SESSION_GONE);
    match rules.errors.iter().find(fits) {
        Some(row) => NotGranted {
            refusal: Refusal { cause: row.cause, fault: row.fault, detail: detail.into() },
            fate: if row.spent { Fate::Settled } else { Fate::Unspent },
            our_credentials: row.our_credentials,
            session_gone,
        },
        None => NotGranted {
            refusal: Refusal::server(Fault::Upstream, detail),
            fate: Fate::Settled,
            our_credentials: false,
            session_gone,
        },
    }
}

/// What an answer of 4xx may be that is no OAuth error.
fn no_oauth_error(status: u16, body: &[u8]) -> &'static str {
    let is_a_page = body.trim_ascii_start().starts_with(b"<");
    if is_a_page && status != 404 && status != 405 {
        "with a page for browsers: a step of its direct grant flow that is not made for one (such as session limits), or a proxy before it?"
    } else {
        "without an OAuth error: is its URL right?"
    }
}

/// What the realm answered instead of a grant, in one line: its own words where they are an OAuth error.
pub(super) fn summary(status: u16, body: &[u8]) -> String {
    told(status, body, &Sent::default())
}

fn told(status: u16, body: &[u8], sent: &Sent<'_>) -> String {
    match serde_json::from_slice::<ErrorAnswer>(body) {
        Ok(answer) => in_words(status, &answer, sent),
        Err(_) => format!("{status} without an OAuth error"),
    }
}

fn in_words(status: u16, answer: &ErrorAnswer, sent: &Sent<'_>) -> String {
    let word = |word| if sent.holds(word) { "[what was sent]" } else { word };
    let line = |text| one_line(text, LONGEST, ' ', |said| Cow::Borrowed(word(said)));
    let error = line(&answer.error);
    match answer.error_description.as_deref() {
        None | Some("") => format!("{status} {error}"),
        Some(description) => format!("{status} {error}: {}", line(description)),
    }
}

/// Characters of the realm's own text.
const LONGEST: usize = 160;

/// The realm's own text for our log: bounded, one line, nothing that could be a token.
pub(super) fn printable(text: &str) -> String {
    one_line(text, LONGEST, ' ', Cow::Borrowed)
}

/// Nothing was spent.
pub(super) fn unspent(fault: Fault, detail: impl Into<Cow<'static, str>>) -> NotGranted {
    let refusal = Refusal::server(fault, detail);
    NotGranted { refusal, fate: Fate::Unspent, our_credentials: false, session_gone: false }
}

/// Nobody knows whether something was spent.
pub(super) fn unknown(detail: impl Into<Cow<'static, str>>) -> NotGranted {
    let refusal = Refusal::server(Fault::Upstream, detail);
    NotGranted { refusal, fate: Fate::Unknown, our_credentials: false, session_gone: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_seconds_is_read_however_json_lets_it_be_written() {
        let read = |access: &str, refresh: &str| {
            let lives = format!(r#""expires_in":{access},"refresh_expires_in":{refresh}"#);
            let body = format!(r#"{{"access_token":"a.b.c",{lives},"refresh_token":"r"}}"#);
            granted(body.as_bytes()).map(|grant| (grant.access_life.as_secs(), grant.refresh.unwrap().life))
        };
        let hour = Some((3599, Some(Duration::from_secs(1800))));
        for (access, refresh) in [("3599", "1800"), ("3599.0", "1800.0"), ("3599e0", "1.8e3")] {
            assert_eq!(read(access, refresh), hour, "{access}");
        }
        assert_eq!(read("60", "0.0"), Some((60, None)));
        assert_eq!(read("0", "0"), Some((0, Some(Duration::ZERO))), "the last second of a session");
        for none in ["-1", "-1.0", "1e300", "\"60\""] {
            assert_eq!(read(none, "60"), None, "{none}");
        }
    }

    #[test]
    fn a_claim_of_another_type_costs_no_other_one() {
        let read = |payload: &str| {
            let claims = claims(&format!("e30.{}.", URL_SAFE_NO_PAD.encode(payload)));
            [claims.preferred_username, claims.sub, claims.sid].map(Option::unwrap_or_default).join(" ")
        };
        let payload = |name: &str, sid: &str, iat: &str| {
            read(&format!(r#"{{"sid":{sid},"sub":"x","preferred_username":{name},"iat":{iat}}}"#))
        };
        assert_eq!(payload(r#""90502""#, r#""s""#, "1"), "90502 x s");
        assert_eq!(payload("90502", "7", "1"), "90502 x 7");
        assert_eq!(payload(r#"["90502"]"#, "{}", "-1.5"), " x ");
        assert_eq!(payload("null", "true", "[]"), " x ");
        assert_eq!(read(r#"{"sub":"x"}"#), " x ");
    }

    #[test]
    fn a_refusal_is_told_in_one_line_without_what_could_be_a_token() {
        let body = format!(r#"{{"error":"a\nb","error_description":"token {}"}}"#, "x".repeat(100));
        assert_eq!(summary(400, body.as_bytes()), "400 a b: token [long word]");
        let at_the_cut = format!(r#"{{"error":"x","error_description":"{}{}"}}"#, "word ".repeat(20), "y".repeat(100));
        assert!(!summary(500, at_the_cut.as_bytes()).contains('y'), "not the beginning of one either");
        assert_eq!(summary(502, b"<html>"), "502 without an OAuth error");
        assert_eq!(summary(404, br#"{"error":"Realm does not exist"}"#), "404 Realm does not exist");
    }
}
