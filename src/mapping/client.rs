//! Reads one `[[client]]` of a mapping file (OPERATOR section 4).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::hash::{Parameters, Unfit};
use crate::document::{Findings, Origin, Reader, Spotted, Value};
use crate::domain::client::{Client, LegacySecret, Stage};
use crate::domain::dialect::Dialect;
use crate::domain::table::DEFAULT_DIALECT;
use crate::secrets::{self, Sources};

/// A client, and where its two ids stand, for findings that compare clients.
pub(super) struct Read {
    pub(super) client: Client,
    pub(super) legacy_id: Origin,
    pub(super) client_id: Origin,
}

/// Reads a client. `None`: something is wrong, and the findings say what.
pub(super) fn read(
    mut entry: Reader<'_>,
    dialects: &BTreeMap<String, Arc<Dialect>>,
    sources: Sources<'_>,
) -> Option<Read> {
    let legacy_id = filled(&mut entry, "legacy_id");
    let legacy_secrets =
        slots(&mut entry, "legacy_secret", |value, key, findings| legacy_secret(value, key, sources, findings));
    let client_id = filled(&mut entry, "client_id");
    let client_secrets =
        slots(&mut entry, "client_secret", |value, key, findings| secrets::read(value, key, sources, findings));
    let stage = stage(&mut entry);
    let dialect = dialect(&mut entry, dialects);
    let scopes = scopes(&mut entry);
    let access_token_lifetime = lifetime(&mut entry);
    let may_introspect = entry.boolean("may_introspect", false);
    let allow_query_credentials = entry.boolean("allow_query_credentials", false);
    let mend_unescaped_plus = entry.boolean("mend_unescaped_plus", false);
    entry.finish();
    let (legacy_id, client_id) = (legacy_id?, client_id?);
    let client = Client {
        legacy_id: legacy_id.value,
        legacy_secrets: legacy_secrets?,
        client_id: client_id.value,
        client_secrets: client_secrets?,
        stage: stage?,
        dialect: dialect?,
        scopes,
        access_token_lifetime,
        may_introspect,
        allow_query_credentials,
        mend_unescaped_plus,
    };
    Some(Read { client, legacy_id: legacy_id.origin, client_id: client_id.origin })
}

fn filled(entry: &mut Reader<'_>, key: &'static str) -> Option<Spotted<String>> {
    let text = entry.required_text(key)?;
    if text.value.is_empty() {
        entry.bad_value(key, &text.origin, "a text with something in it");
        return None;
    }
    Some(text)
}

/// One secret, or a list of one or two.
fn slots<T>(
    entry: &mut Reader<'_>,
    key: &'static str,
    read: impl Fn(Spotted<Value>, &str, &Findings) -> Option<T>,
) -> Option<Vec<T>> {
    let name = entry.path(key);
    let Some(found) = entry.take(key) else {
        entry.findings().error("missing-key", entry.origin(), format!("`{name}` is missing"), None);
        return None;
    };
    let values = if let Value::List(items) = found.value {
        items
    } else {
        vec![Spotted { value: found.value, origin: found.origin.clone() }]
    };
    if !(1..=2).contains(&values.len()) {
        entry.bad_value(key, &found.origin, "one secret or a list of two");
        return None;
    }
    let wanted = values.len();
    let read: Vec<T> = values.into_iter().filter_map(|value| read(value, &name, entry.findings())).collect();
    (read.len() == wanted).then_some(read)
}

/// `{ hash = "..." }`, or where the clear secret lies.
fn legacy_secret(value: Spotted<Value>, key: &str, sources: Sources<'_>, findings: &Findings) -> Option<LegacySecret> {
    let origin = value.origin.clone();
    if let Value::Table(table) = &value.value {
        let mut reader = Reader::new(table.clone(), key, findings);
        if reader.has("hash") {
            let hash = reader.text("hash");
            reader.finish();
            return hash.and_then(|hash| checked(hash, key, findings)).map(LegacySecret::Hash);
        }
    }
    let secret: Option<SecretString> = secrets::read(Spotted { value: value.value, origin }, key, sources, findings);
    secret.map(LegacySecret::Clear)
}

fn checked(hash: Spotted<String>, key: &str, findings: &Findings) -> Option<String> {
    let hint = "make one with `passbridge secret hash`".to_owned();
    match Parameters::of(&hash.value) {
        Ok(parameters) => {
            if parameters.weak() {
                let message = format!("`{key}` is a hash that is cheap to guess (below m=19456,t=2)");
                findings.warning("weak-hash", &hash.origin, message, hint);
            }
            Some(hash.value)
        }
        Err(unfit) => {
            let message = match unfit {
                Unfit::Malformed => format!("`{key}` is no hash in PHC text"),
                Unfit::NotArgon2id => format!("`{key}` is a hash of another algorithm than argon2id"),
                Unfit::TooCostly => format!("`{key}` is a hash that costs too much to verify (above m=262144,t=16)"),
            };
            findings.error("malformed-hash", &hash.origin, message, hint);
            None
        }
    }
}

fn stage(entry: &mut Reader<'_>) -> Option<Stage> {
    if entry.has("stage") {
        entry.word("stage", &Stage::WORDS).map(|word| word.value)
    } else {
        entry.findings().error(
            "missing-key",
            entry.origin(),
            format!("`{}` is missing", entry.path("stage")),
            "`live` or `retired`".to_owned(),
        );
        None
    }
}

fn dialect(entry: &mut Reader<'_>, dialects: &BTreeMap<String, Arc<Dialect>>) -> Option<Arc<Dialect>> {
    let named = entry.text("dialect");
    let name = named.as_ref().map_or(DEFAULT_DIALECT, |text| text.value.as_str());
    let found = dialects.get(name).map(Arc::clone);
    if found.is_none() {
        let known = dialects.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let origin = named.as_ref().map_or(entry.origin(), |text| &text.origin);
        entry.findings().error(
            "unknown-dialect",
            origin,
            format!("there is no dialect `{name}` without errors"),
            format!("known: {known}"),
        );
    }
    found
}

fn scopes(entry: &mut Reader<'_>) -> Vec<(String, String)> {
    let findings = entry.findings();
    let Some(section) = entry.section("scopes") else { return Vec::new() };
    let word = |text: &Spotted<String>| {
        let good = !text.value.is_empty() && !text.value.contains(|c: char| c.is_whitespace() || c == '"' || c == '\\');
        if !good {
            findings.error(
                "bad-value",
                &text.origin,
                format!("`{}` is no scope word (RFC 6749 section 3.3)", text.value),
                None,
            );
        }
        good
    };
    section
        .into_texts()
        .into_iter()
        .filter(|(legacy, realm)| word(legacy) & word(realm))
        .map(|(legacy, realm)| (legacy.value, realm.value))
        .collect()
}

fn lifetime(entry: &mut Reader<'_>) -> Option<Duration> {
    let found = entry.duration("access_token_lifetime")?;
    if found.value.as_secs() == 0 || found.value > Duration::from_hours(24 * 366) {
        entry.bad_value("access_token_lifetime", &found.origin, "between one second and one year");
    }
    Some(found.value)
}
