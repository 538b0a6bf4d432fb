//! Reads one `[[client]]` of a mapping file (OPERATOR section 4).

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use super::dialect::promised;
use super::hash::{Parameters, Unfit};
use super::load::Dialects;
use crate::document::{Findings, Origin, Reader, Spotted, Value};
use crate::domain::canary::Canary;
use crate::domain::client::{Client, LegacySecret, MOST_SECRETS, Moved, STRANGERS, Stage};
use crate::domain::dialect::Dialect;
use crate::domain::last_use::LastUse;
use crate::domain::shadow::Beside;
use crate::domain::table::DEFAULT_DIALECT;
use crate::secrets::{self, Sources};

/// So many per cent more refusals than at the old server are borne where a mapping does not say it.
const STEP_BACK_AT: u8 = 2;

/// What an old secret may be.
const HOW: &str = "use { hash = \"...\" }, which `passbridge secret hash` makes, { env = \"NAME\" }, { file = \"PATH\" }, { sealed = \"...\" }, or { learn = true } while there is [otk]";

/// What could be read of a client; its ids, where they could, are compared with those of others whatever else is wrong.
pub(super) struct Read {
    /// `None`: something is wrong, and the findings say what.
    pub(super) client: Option<Arc<Client>>,
    pub(super) legacy_id: Option<Spotted<String>>,
    pub(super) client_id: Option<Spotted<String>>,
}

/// What a client is read among.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) dialects: &'a Dialects,
    pub(super) sources: Sources<'a>,
    /// Whether there is an old server.
    pub(super) old_server: bool,
}

/// Reads a client.
pub(super) fn read(mut entry: Reader<'_>, around: Surroundings<'_>) -> Read {
    let Surroundings { dialects, sources, old_server } = around;
    let legacy_id = legacy_id(&mut entry);
    let legacy_secrets = legacy_secrets(&mut entry, around);
    let client_id = filled(&mut entry, "client_id");
    let client_secrets =
        slots(&mut entry, "client_secret", |value, key, findings| secrets::read(value, key, sources, findings));
    let stage = stage(&mut entry, old_server);
    let moved = stage_change(&mut entry);
    let canary = canary(&mut entry, stage);
    let shadow = shadow(&mut entry);
    let dialect = dialect(&mut entry, dialects);
    let scopes = scopes(&mut entry, dialect.as_deref());
    let access_token_lifetime = lifetime(&mut entry, dialect.as_deref());
    let may_introspect = entry.boolean("may_introspect", false);
    let allow_query_credentials = entry.boolean("allow_query_credentials", false);
    let mend_unescaped_plus = entry.boolean("mend_unescaped_plus", false);
    entry.finish();
    let whole = || {
        Some(Arc::new(Client {
            legacy_id: legacy_id.as_ref()?.value.as_str().into(),
            legacy_secrets: legacy_secrets?,
            client_id: client_id.as_ref()?.value.clone(),
            client_secrets: client_secrets?,
            stage: stage?,
            moved,
            canary: canary?,
            shadow: shadow?,
            dialect: dialect?,
            scopes,
            access_token_lifetime,
            may_introspect,
            allow_query_credentials,
            mend_unescaped_plus,
            legacy_uses: LastUse::default(),
            client_uses: LastUse::default(),
        }))
    };
    Read { client: whole(), legacy_id, client_id }
}

fn legacy_id(entry: &mut Reader<'_>) -> Option<Spotted<String>> {
    let id = filled(entry, "legacy_id")?;
    if id.value == STRANGERS {
        let message = format!("metrics call all `{STRANGERS}` who did not prove to be a client");
        let hint = "what is counted of this client and of them is one; log and audit tell it from them";
        entry.findings().warning("shared-series", &id.origin, message, hint);
    }
    Some(id)
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
        entry.missing(key, format!("add {key} = {{ ... }}; mappings/README.md says what may stand there"));
        return None;
    };
    let values = if let Value::List(items) = found.value {
        items
    } else {
        vec![Spotted { value: found.value, origin: found.origin.clone() }]
    };
    if !(1..=MOST_SECRETS).contains(&values.len()) {
        entry.bad_value(key, &found.origin, "one secret or a list of two");
        return None;
    }
    let wanted = values.len();
    let read: Vec<T> = values.into_iter().filter_map(|value| read(value, &name, entry.findings())).collect();
    (read.len() == wanted).then_some(read)
}

/// Old secrets. One `{ learn = true }` may be among them, while there is an old server to learn from.
fn legacy_secrets(entry: &mut Reader<'_>, around: Surroundings<'_>) -> Option<Vec<LegacySecret>> {
    let key = "legacy_secret";
    let (name, findings, at) = (entry.path(key), entry.findings(), Cell::new(None));
    let read = |value: Spotted<Value>, key: &str, findings: &Findings| {
        let origin = value.origin.clone();
        let secret = legacy_secret(value, key, around, findings)?;
        if matches!(secret, LegacySecret::Learn(_)) && at.replace(Some(origin.clone())).is_some() {
            let message = format!("`{name}` says twice that it is learned");
            findings.error("bad-value", &origin, message, "leave one of the two");
            return None;
        }
        Some(secret)
    };
    let secrets = slots(entry, key, read)?;
    if let (1, Some(origin)) = (secrets.len(), at.take()) {
        let message = format!("`{name}` is what is learned from the old server, and nothing else");
        let hint = "nobody can log in here with a secret that the old server has not accepted before; `client list` says how many are learned, `client secret ID write-learned` writes them here";
        findings.warning("only-learned", &origin, message, hint.to_owned());
    }
    Some(secrets)
}

/// `{ learn = true }`.
fn learn(mut reader: Reader<'_>, origin: &Origin, key: &str, around: Surroundings<'_>) -> Option<LegacySecret> {
    let findings = reader.findings();
    let learns = reader.boolean("learn", true);
    reader.finish_telling(secrets::is_told);
    if !learns {
        let hint = "write { learn = true }, or another secret in its place";
        findings.error("bad-value", origin, format!("`{key}` says that nothing is learned, and no secret"), hint);
        return None;
    }
    if !around.old_server {
        let message = format!("`{key}` is learned from an old server, and there is no [otk]");
        let hint = "run `passbridge client secret ID write-learned` before `[otk]` goes, or write { hash = \"...\" }; `passbridge secret hash` makes one";
        findings.error("no-old-server", origin, message, hint);
        return None;
    }
    Some(LegacySecret::Learn(Arc::default()))
}

/// `{ hash = "..." }`, `{ learn = true }`, or where the clear secret lies.
fn legacy_secret(
    value: Spotted<Value>,
    key: &str,
    around: Surroundings<'_>,
    findings: &Findings,
) -> Option<LegacySecret> {
    let Value::Table(table) = value.value else {
        let hint = "use { hash = \"...\" }; `passbridge secret hash` makes one";
        findings.error("clear-text-secret", &value.origin, format!("`{key}` is a secret in clear text"), hint);
        return None;
    };
    let mut reader = Reader::new(table, key, findings);
    let (learns, has_hash) = (reader.has("learn"), reader.has("hash"));
    if learns {
        return learn(reader, &value.origin, key, around);
    }
    if !has_hash {
        return secrets::read_table(reader, key, HOW, around.sources).map(LegacySecret::Clear);
    }
    let hash = reader.text("hash");
    reader.finish_telling(secrets::is_told);
    hash.and_then(|hash| checked(hash, key, findings)).map(LegacySecret::Hash)
}

fn checked(hash: Spotted<String>, key: &str, findings: &Findings) -> Option<String> {
    let hint = "make one with `passbridge secret hash`";
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

fn stage(entry: &mut Reader<'_>, old_server: bool) -> Option<Stage> {
    if !entry.has("stage") {
        entry.missing("stage", format!("one of {}", Stage::WORDS.map(|(word, _)| word).join(", ")));
    }
    let found = entry.word_or("stage", &Stage::WORDS, "unknown-stage")?;
    if found.value.needs_old_server() && !old_server {
        let message = format!("stage `{}` needs an old server, and there is no [otk]", found.value.word());
        let hint = "name it by `otk.url` in passbridge.toml, or move the client to `live`";
        entry.findings().error("no-old-server", &found.origin, message, hint);
    }
    Some(found.value)
}

/// `canary = { percent = 5, step_back_at = 2 }`: kept at every stage, needed at one. The outer `None`: something is wrong.
#[expect(clippy::option_option, reason = "not there, and not right, are two things")]
fn canary(entry: &mut Reader<'_>, stage: Option<Stage>) -> Option<Option<Canary>> {
    let Some(mut section) = entry.section("canary") else {
        if entry.has("canary") {
            return None;
        }
        if stage == Some(Stage::Canary) {
            entry.missing("canary", "canary = { percent = 5, step_back_at = 2 }");
            return None;
        }
        return Some(None);
    };
    section.demand("percent", "how many of a hundred passports log in at the realm: 1 to 99");
    let percent = section.integer("percent", 1, 99);
    let named = section.has("step_back_at");
    let step_back_at = section.integer("step_back_at", 0, 100);
    section.finish();
    let small = |number: u64| u8::try_from(number).ok();
    let step_back_at = match step_back_at {
        Some(found) => small(found.value)?,
        None if named => return None,
        None => STEP_BACK_AT,
    };
    Some(Some(Canary { percent: small(percent?.value)?, step_back_at }))
}

/// `shadow = "exchange"`: kept at every stage, and means something at one. `None`: something is wrong.
fn shadow(entry: &mut Reader<'_>) -> Option<Beside> {
    if !entry.has("shadow") {
        return Some(Beside::Look);
    }
    entry.word("shadow", &Beside::WORDS).map(|word| word.value)
}

/// What `client stage` leaves for `client rollback`. It decides nothing here, and must mean something there.
fn stage_change(entry: &mut Reader<'_>) -> Option<Moved> {
    let mut change = entry.section("stage_change")?;
    change.demand("from", "`client stage` writes this");
    let from = change.word_or("from", &Stage::WORDS, "unknown-stage").map(|word| word.value);
    let (at, why) = (change.text("at"), change.text("why"));
    change.finish();
    let said = |text: Option<Spotted<String>>| text.map(|text| text.value).unwrap_or_default();
    Some(Moved { from, at: said(at), why: said(why) })
}

fn dialect(entry: &mut Reader<'_>, dialects: &Dialects) -> Option<Arc<Dialect>> {
    let there = entry.has("dialect");
    let named = entry.text("dialect");
    if there && named.is_none() {
        return None;
    }
    let name = named.as_ref().map_or(DEFAULT_DIALECT, |text| text.value.as_str());
    if let Some(dialect) = dialects.get(name) {
        return dialect.clone();
    }
    let known = dialects.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let origin = named.as_ref().map_or(entry.origin(), |text| &text.origin);
    entry.findings().error(
        "unknown-dialect",
        origin,
        format!("there is no dialect `{name}`"),
        format!("known here: {known}; another is a file dialects/{name}.toml"),
    );
    None
}

/// Legacy word and realm's word. Where the dialect says which scopes its realm has, the realm's word is one of them.
fn scopes(entry: &mut Reader<'_>, dialect: Option<&Dialect>) -> Vec<(String, String)> {
    let findings = entry.findings();
    let Some(section) = entry.section("scopes") else { return Vec::new() };
    let known = dialect.and_then(|dialect| dialect.realm.scopes.as_ref());
    let word = |text: &Spotted<String>| {
        // RFC 6749 section 3.3.
        let good = !text.value.is_empty()
            && text.value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        if !good {
            let message = format!("`{}` is no scope word", text.value);
            findings.error("bad-value", &text.origin, message, "one word without blanks");
        }
        good
    };
    let fits = |(legacy, realm): &(Spotted<String>, Spotted<String>)| {
        let words = word(legacy) & word(realm);
        if let Some(known) = known.filter(|known| words && !known.contains(&realm.value)) {
            let message = format!("the realm has no scope `{}`, says the dialect", realm.value);
            let hint = match known.as_slice() {
                [] => "the dialect says that it has none".to_owned(),
                known => format!("known there: {}", known.join(", ")),
            };
            findings.error("unknown-scope", &realm.origin, message, hint);
        }
        words
    };
    let texts: Vec<_> = section.into_texts().into_iter().filter(fits).collect();
    for (index, (legacy, realm)) in texts.iter().enumerate() {
        if let Some((other, _)) = texts.iter().take(index).find(|(_, other)| other.value == realm.value) {
            let message = format!("`{}` and `{}` are one scope of the realm", other.value, legacy.value);
            let hint = format!("a client that asks for nothing is told `{}`", other.value);
            findings.warning("ambiguous-scope", &legacy.origin, message, hint);
        }
    }
    texts.into_iter().map(|(legacy, realm)| (legacy.value, realm.value)).collect()
}

/// The legacy promise. Where the dialect says how long the realm's sessions last, one beyond that cannot be kept.
fn lifetime(entry: &mut Reader<'_>, dialect: Option<&Dialect>) -> Option<Duration> {
    let found = promised(entry, "access_token_lifetime");
    if let Some(dialect) = dialect
        && let Some(longest) = dialect.realm.longest_session
    {
        let promise = found.as_ref().map_or(dialect.tokens.access_token, |own| own.value);
        if promise > longest.saturating_add(dialect.tokens.rounding) {
            let [promised, longest] = [promise, longest].map(humantime::format_duration);
            let origin = found.as_ref().map_or(entry.origin(), |own| &own.origin);
            let message =
                format!("{promised} are promised, and a session of the realm lasts {longest}, says the dialect");
            let hint = "the client is told the shorter time; shorten the promise, or lengthen the session";
            entry.findings().warning("promise-too-long", origin, message, hint);
        }
    }
    found.map(|found| found.value)
}
