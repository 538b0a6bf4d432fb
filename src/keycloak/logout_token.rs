//! Logout tokens of the realm (OpenID Connect Back-Channel Logout 1.0, section 2.4), verified by the realm's keys. Pure.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use crate::domain::time::Timestamp;

/// The event that makes a token a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How far the realm's clock may be from ours, seconds.
const SKEW: u64 = 60;
/// The signatures that a realm may use; never `none`, never one with a shared secret.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Also an algorithm that nobody here has heard of is none.
const NO_JWT: Refused = "the logout token is no JWT, or signed in a way that is not known here: set the client's ID token signature algorithm to RS256, or to one for which the realm has a key already";
const SHARED: Refused = "the logout token is signed with a secret, which proves nothing here: set the client's ID token signature algorithm to RS256, or to one for which the realm has a key already";
const NO_KEY: Refused = "the realm's key cannot be used (of EdDSA Ed25519 alone can): set the client's ID token signature algorithm to RS256, or to one for which the realm has a key already";

/// What a logout token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutToken {
    /// The realm.
    pub issuer: String,
    /// The clients that it is meant for, in the realm's words.
    pub audience: Vec<String>,
    /// Names the token, so that it cannot come twice.
    pub id: String,
    /// The session that ended.
    pub session: String,
    /// It means nothing any more from this moment on.
    pub until: Timestamp,
}

/// Why a token is refused: a sentence for the log and for the realm's own.
pub type Refused = &'static str;

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    iat: u64,
    exp: Option<u64>,
    jti: String,
    sid: Option<String>,
    nonce: Option<serde_json::Value>,
    events: serde_json::Map<String, serde_json::Value>,
}

/// The id of the key that is said to have signed a token.
///
/// # Errors
/// It is no JWT, or one of a kind that no realm sends.
pub fn key_id(token: &str) -> Result<String, Refused> {
    let header = decode_header(token).map_err(|_| NO_JWT)?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(SHARED);
    }
    header.kid.ok_or("the logout token names no key")
}

/// Verifies a token by the realm's keys and reads it.
///
/// # Errors
/// What is wrong with it.
pub fn read(token: &str, keys: &JwkSet, now: Timestamp) -> Result<LogoutToken, Refused> {
    let header = decode_header(token).map_err(|_| NO_JWT)?;
    let jwk =
        keys.find(&key_id(token)?).ok_or("the logout token is signed by a key that the realm does not publish")?;
    let key = DecodingKey::from_jwk(jwk).map_err(|_| NO_KEY)?;
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false; // by our own clock, below
    validation.validate_aud = false; // by the mapping
    validation.required_spec_claims.clear();
    let claims = decode::<Claims>(token, &key, &validation)
        .map_err(|_| "the logout token is not genuine, or lacks a claim")?
        .claims;
    let now = now.secs();
    let exp = claims.exp.unwrap_or(claims.iat.saturating_add(120));
    if claims.iat > now.saturating_add(SKEW) || now > exp.saturating_add(SKEW) {
        return Err("the logout token is not of this time");
    }
    if claims.nonce.is_some() || !claims.events.contains_key(EVENT) {
        return Err("the token is no logout token");
    }
    Ok(LogoutToken {
        issuer: claims.iss,
        audience: match claims.aud {
            Audience::One(client) => vec![client],
            Audience::Many(clients) => clients,
        },
        id: claims.jti,
        session: claims
            .sid
            .ok_or("the logout token names no session; switch on \"Backchannel logout session required\"")?,
        // Throughout the second that is its last.
        until: Timestamp::from_secs(exp.saturating_add(SKEW).saturating_add(1)),
    })
}
