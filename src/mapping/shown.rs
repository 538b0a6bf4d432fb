//! A client as it may be shown, and a proof of its secrets that says nothing to who does not have them.

use aws_lc_rs::{digest, hmac};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::domain::client::{Client, LegacySecret};
use crate::domain::dialect::Dialect;
use crate::domain::opaque::hexadecimal;
use crate::domain::shadow::Beside;

/// What a client is in a table, without its old id. Of its secrets only how many there are, and how they are kept.
#[must_use]
pub fn shown(client: &Client) -> Map<String, Value> {
    let kept = |secret: &LegacySecret| match secret {
        LegacySecret::Hash(_) => "hash",
        LegacySecret::Clear(_) => "clear",
        LegacySecret::Learn(_) => "learn",
    };
    let scopes: Map<String, Value> =
        client.scopes.iter().map(|(legacy, realm)| (legacy.clone(), realm.as_str().into())).collect();
    let fields = [
        ("client_id", client.client_id.as_str().into()),
        ("stage", client.stage.word().into()),
        ("stage_change", client.moved.as_ref().map(|moved| json!({"at": moved.at, "why": moved.why})).into()),
        ("canary", client.canary.map(|it| json!({"percent": it.percent, "step_back_at": it.step_back_at})).into()),
        ("shadow", shadow(client.shadow).into()),
        ("dialect", client.dialect.name.as_str().into()),
        ("scopes", scopes.into()),
        ("access_token_lifetime", json!(client.access_token_lifetime.map(|life| life.as_secs()))),
        ("may_introspect", client.may_introspect.into()),
        ("allow_query_credentials", client.allow_query_credentials.into()),
        ("mend_unescaped_plus", client.mend_unescaped_plus.into()),
        ("legacy_secrets", client.legacy_secrets.iter().map(kept).collect()),
        ("client_secrets", client.client_secrets.len().into()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn shadow(beside: Beside) -> Option<&'static str> {
    Beside::WORDS.iter().find(|(_, word)| *word == beside).map(|(word, _)| *word)
}

/// A digest of all that a dialect says. Two programs of one version agree about it.
#[must_use]
pub fn dialect_digest(dialect: &Dialect) -> String {
    hexadecimal(digest::digest(&digest::SHA256, format!("{dialect:?}").as_bytes()).as_ref()).collect()
}

/// HMAC-SHA-256 of all secrets of a client under a key that both sides have. Whoever knows the key could try secrets against
/// it: so it goes from who reads the files to the bridge, which says yes or no, and never comes out of a bridge.
#[must_use]
pub fn proof(client: &Client, key: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    let mut part = |kind: u8, text: &str| {
        context.update(&[kind]);
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    };
    part(0, "passbridge: secrets of a client");
    part(1, &client.legacy_id);
    for secret in &client.legacy_secrets {
        match secret {
            LegacySecret::Hash(hash) => part(2, hash),
            LegacySecret::Clear(clear) => part(3, clear.expose_secret()),
            LegacySecret::Learn(_) => part(5, "learn"),
        }
    }
    for secret in &client.client_secrets {
        part(4, secret.expose_secret());
    }
    hexadecimal(context.sign().as_ref()).collect()
}

/// Whether this is the proof of a client's secrets. Compared in constant time.
#[must_use]
pub fn proves(client: &Client, key: &[u8], shown: &str) -> bool {
    subtle::ConstantTimeEq::ct_eq(proof(client, key).as_bytes(), shown.as_bytes()).into()
}
