//! Tokens as Keycloak 26 writes them, for a user with the roles that every user has: 1.5 KB, and 850 bytes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::messages;

/// An access token; its ids and its signature are this number's.
pub fn access(number: usize) -> String {
    let mut ids = Ids::of(number);
    let claims = serde_json::json!({
        "exp": 1_764_000_000, "iat": 1_763_996_400, "jti": format!("onrtro:{}", ids.uuid()),
        "iss": "http://realm.example/auth/realms/SSO", "aud": ["ca", "account"],
        "sub": format!("f:{}:90417", ids.uuid()), "typ": "Bearer", "azp": "test_api",
        "sid": ids.uuid(), "acr": "1", "allowed-origins": ["https://ca.example"],
        "realm_access": {"roles": ["default-roles-sso", "offline_access", "uma_authorization"]},
        "resource_access": {"account": {"roles": ["manage-account", "manage-account-links", "view-profile"]}},
        "scope": "2F_CA_Auth client_registration profile email", "email_verified": true, "name": "Анна Ветрова",
        "preferred_username": "90417", "given_name": "Анна", "family_name": "Ветрова", "email": "vetrova@example.org",
    });
    let header = r#"{"alg":"RS256","typ" : "JWT","kid" : "rLKhNMWcLwRxvDWfeMVAwo1lHGGhd3xGyj4v0YbFH5I"}"#;
    signed(header, claims, &mut ids, (256, 1500))
}

/// A refresh token, likewise.
pub fn refresh(number: usize) -> String {
    let mut ids = Ids::of(number);
    let realm = "http://realm.example/auth/realms/SSO";
    let claims = serde_json::json!({
        "exp": 1_764_000_000, "iat": 1_763_996_400, "jti": ids.uuid(), "iss": realm, "aud": realm,
        "sub": format!("f:{}:90417", ids.uuid()), "typ": "Refresh", "azp": "test_api", "sid": ids.uuid(),
        "scope": "2F_CA_Auth client_registration profile email acr basic roles web-origins",
    });
    let header = r#"{"alg":"HS512","typ" : "JWT","kid" : "4c0fbb0e-9d0e-4a3b-8a52-0d6a3b5f7e21"}"#;
    signed(header, claims, &mut ids, (64, 850))
}

/// What no realm writes twice.
struct Ids(std::ops::RangeFrom<u64>);

impl Ids {
    const fn of(number: usize) -> Self {
        Self((number as u64).wrapping_mul(1024)..)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.0.by_ref().take(count).map(|number| messages::mixed(number).to_le_bytes()[0]).collect()
    }

    fn uuid(&mut self) -> String {
        uuid::Uuid::from_slice(&self.bytes(16)).unwrap().to_string()
    }
}

/// The token of these claims, filled up to a length. The filling is drawn as the signature is: who packs it gains nothing by it.
fn signed(header: &str, mut claims: serde_json::Value, ids: &mut Ids, (signature, length): (usize, usize)) -> String {
    let signature = ids.bytes(signature);
    let text = |claims: &serde_json::Value| {
        [header.as_bytes(), claims.to_string().as_bytes(), &signature]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".")
    };
    let missing = length.saturating_sub(text(&claims).len() + r#","filler":"""#.len() * 4 / 3);
    claims["filler"] = URL_SAFE_NO_PAD.encode(ids.bytes(missing * 9 / 16)).into();
    text(&claims)
}
