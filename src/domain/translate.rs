//! The same wish in new words: a legacy request of a known client becomes a request to the realm (CONTRACT section 1).

use std::net::IpAddr;
use std::sync::Arc;

use super::client::Client;
use super::dialect::{Grant, GrantField};
use super::form::Form;
use super::grant::RealmRequest;
use super::refusal::{Cause, Refusal};
use super::scope;
use super::wiped::Wiped;

/// What the realm takes in base64, where no blank can be meant (CONTRACT section 4).
const IN_BASE64: [&str; 2] = ["certificate", "signature"];

/// The realm's cap on one parameter, and what to do about a longer one (CONTRACT section 4).
#[derive(Clone, Copy, Debug)]
pub struct ParameterLimit {
    /// Characters.
    pub characters: usize,
    /// Refuse a longer certificate or signature; else it is sent whole, and ops are told. A longer scope is always refused.
    pub refuse: bool,
}

impl ParameterLimit {
    fn is_exceeded_by(self, value: &str) -> bool {
        // No text has more characters than bytes.
        value.len() > self.characters && value.chars().nth(self.characters).is_some()
    }
}

/// A translated request, and what ops should hear of it.
#[derive(Debug)]
pub struct Translated {
    /// What the realm is asked.
    pub request: RealmRequest,
    /// The scope that the client asked for, in its own words.
    pub asked_scope: Option<String>,
    /// The field that is longer than the realm's cap, sent whole all the same.
    pub over_long: Option<String>,
}

/// Translates a login.
///
/// # Errors
/// A field that is missing, has a value it may not have, or is too long.
pub fn to_realm(
    client: &Arc<Client>,
    grant: &Grant,
    parameters: &Form,
    address: Option<IpAddr>,
    limit: ParameterLimit,
) -> Result<Translated, Refusal> {
    let mut fields: Vec<(String, Wiped<String>)> =
        grant.fixed.iter().map(|(name, value)| (name.clone(), Wiped::new(value.clone()))).collect();
    let mut over_long = None;
    for field in &grant.fields {
        let Some(value) = value(client, field, parameters)? else { continue };
        if limit.is_exceeded_by(&value) {
            if limit.refuse {
                return Err(Refusal::client(
                    Cause::InvalidRequest,
                    format!("`{}` is longer than the realm takes", field.name),
                ));
            }
            over_long.get_or_insert_with(|| field.name.clone());
        }
        fields.push((field.realm_name.clone(), value));
    }
    let asked_scope = asked_scope(grant, parameters).map(str::to_owned);
    if let Some(asked) = &asked_scope {
        fields.push(("scope".to_owned(), Wiped::new(scope(client, asked, limit)?)));
    }
    let request = RealmRequest { client: Arc::clone(client), kind: grant.kind, fields, address };
    Ok(Translated { request, asked_scope, over_long })
}

/// The scope that a request asks for; one without a word in it asks for nothing.
#[must_use]
pub fn asked_scope<'p>(grant: &Grant, parameters: &'p Form) -> Option<&'p str> {
    let asked = grant.scope.as_ref().and_then(|name| parameters.value(name));
    asked.filter(|asked| asked.split_ascii_whitespace().next().is_some())
}

/// Translates a scope.
///
/// # Errors
/// It is so long that the realm would drop it in silence, and grant more than was asked for.
pub fn scope(client: &Client, asked: &str, limit: ParameterLimit) -> Result<String, Refusal> {
    let words = scope::to_realm(client, asked);
    if limit.is_exceeded_by(&words) {
        let detail = "the scope is longer than the realm takes; it would be dropped in silence";
        return Err(Refusal::client(Cause::Scope, detail));
    }
    Ok(words)
}

fn value(client: &Client, field: &GrantField, parameters: &Form) -> Result<Option<Wiped<String>>, Refusal> {
    let Some(value) = parameters.value(&field.name) else {
        return if field.required {
            Err(Refusal::client(field.cause, format!("`{}` is missing", field.name)))
        } else {
            Ok(None)
        };
    };
    if !field.values.is_empty() && !field.values.iter().any(|known| known == value) {
        return Err(Refusal::client(field.cause, format!("`{}` is none of {}", field.name, field.values.join(", "))));
    }
    let mended = if client.mend_unescaped_plus && IN_BASE64.contains(&field.realm_name.as_str()) {
        value.replace(' ', "+")
    } else {
        value.to_owned()
    };
    Ok(Some(Wiped::new(mended)))
}
