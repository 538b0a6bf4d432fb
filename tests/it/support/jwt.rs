//! JWTs as a realm writes them. Nobody checks their signature here, so they have none worth the name.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::realm::Granting;

/// An access token with the claims of CONTRACT section 1, about 1 KB.
pub fn access(granting: &Granting, number: u64) -> String {
    let claims = serde_json::json!({
        "iss": "http://realm.example/auth/realms/SSO", "aud": ["ca", "account"], "sub": format!("f:4f1c2a3e:{}", granting.username),
        "azp": "test_api", "sid": granting.session, "scope": granting.scope, "preferred_username": granting.username,
        "name": "Анна Ветрова", "email": "vetrova@example.org", "jti": number, "filler": "x".repeat(500),
    });
    signed(r#"{"alg":"RS256","typ":"JWT","kid":"fake"}"#, &claims.to_string())
}

/// A refresh token.
pub fn refresh(number: u64) -> String {
    signed(r#"{"alg":"HS512","typ":"JWT"}"#, &format!(r#"{{"typ":"Refresh","jti":"refresh-{number}"}}"#))
}

fn signed(header: &str, claims: &str) -> String {
    format!(
        "{}.{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims),
        URL_SAFE_NO_PAD.encode("not a signature")
    )
}
