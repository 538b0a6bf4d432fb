//! Scope words both ways: the old world's to the realm, the realm's back.

use super::client::Client;
use super::refusal::{Cause, Fault, Refusal};

/// What the client asked for, in the realm's words.
#[must_use]
pub fn to_realm(client: &Client, asked: &str) -> String {
    asked.split_ascii_whitespace().map(|word| word_there(client, word)).collect::<Vec<_>>().join(" ")
}

/// The realm's word for a legacy one; the same, where the mapping has no other.
fn word_there<'w>(client: &'w Client, word: &'w str) -> &'w str {
    client.scopes.iter().find(|(legacy, _)| legacy == word).map_or(word, |(_, realm)| realm)
}

/// Of what was told before, that which the realm still grants: it may have taken a scope from the client since.
#[must_use]
pub fn still_granted(client: &Client, told: &str, granted: Option<&str>) -> String {
    // Nothing told means nothing here, and not that nothing was asked for.
    if told.is_empty() { String::new() } else { to_legacy(client, Some(told), granted) }
}

/// What the client is told: of what it asked for, that which was granted, in its own words and order; asked for nothing: all
/// that was granted, in legacy words. What the realm added stays unsaid (CONTRACT section 1).
#[must_use]
pub fn to_legacy(client: &Client, asked: Option<&str>, granted: Option<&str>) -> String {
    let Some(granted) = granted else {
        return asked.unwrap_or_default().split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    };
    let granted: Vec<&str> = granted.split_ascii_whitespace().collect();
    let mut told: Vec<&str> = Vec::new();
    let mut tell = |word| {
        if !told.contains(&word) {
            told.push(word);
        }
    };
    if let Some(asked) = asked.filter(|asked| !asked.trim_ascii().is_empty()) {
        for word in asked.split_ascii_whitespace() {
            if granted.contains(&word_there(client, word)) {
                tell(word);
            }
        }
    } else {
        for word in granted {
            match client.scopes.iter().find(|(_, realm)| realm == word) {
                Some((legacy, _)) => tell(legacy),
                None if word_there(client, word) == word => tell(word),
                // It has no legacy word: the one that reads alike means something else.
                None => {}
            }
        }
    }
    told.join(" ")
}

/// The realm's refusal of a scope is the operators' fault where the mapping names each word that was asked for: they promised it. The client hears the same.
#[must_use]
pub fn whose_fault(refusal: Refusal, client: &Client, asked: Option<&str>) -> Refusal {
    let mut words = asked.unwrap_or_default().split_ascii_whitespace().peekable();
    let is_named = |word| client.scopes.iter().any(|(legacy, _)| legacy == word);
    let is_theirs = refusal.cause == Cause::Scope
        && refusal.fault == Fault::Client
        && words.peek().is_some()
        && words.all(is_named);
    if is_theirs { Refusal { fault: Fault::Operator, ..refusal } } else { refusal }
}
