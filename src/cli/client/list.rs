//! `client list` and `client show`: what the files say. They work where secrets cannot be opened.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::super::{Format, NO, WRONG_USE, now, show as view};
use super::uses::{self, Uses};
use super::{counted, fares, learned, plain, refused, taken};
use crate::config::{self, Config, Examined};
use crate::document::Findings;
use crate::mapping::Place;
use crate::mapping::edit;
use crate::mapping::entries::{Entry, SecretKind, entries};
use crate::secrets::Environment;

/// Lists clients, by file and line.
pub(super) fn list(
    path: &Path,
    environment: &Environment,
    stage: Option<&str>,
    format: Format,
) -> Result<ExitCode, ExitCode> {
    let (config, mappings) = known(path, environment)?;
    let findings = Findings::new();
    let mut found = entries(&mappings, &findings);
    found.retain(|entry| stage.is_none_or(|stage| entry.stage == stage));
    learned::count(config.as_ref(), &mut found);
    let fares = fares_of(config.as_ref(), &found);
    let told = |entry: &Entry| Value::Object(as_json(entry, None, &fares[entry.legacy_id.as_str()]));
    let written = match format {
        Format::Json => writeln!(view::data(), "{:#}", found.iter().map(told).collect::<Value>()),
        Format::Human => table(&found, &fares, &mut view::data()),
    };
    let errors = findings.into_sorted();
    view::tell(&errors);
    view::say(&counted(found.len(), "client"));
    if let Some(config) = &config {
        taken::note(config);
    }
    let answer = if config::unopened(&errors) {
        WRONG_USE
    } else if errors.is_empty() {
        0
    } else {
        NO
    };
    Ok(view::ended(written, answer))
}

/// The configuration, unless something in it is wrong, and where the mappings are, which need not hang on that.
fn known(path: &Path, environment: &Environment) -> Result<(Option<Config>, Place), ExitCode> {
    let findings = Findings::new();
    let Examined { config, mappings, .. } = config::examine(path, environment, now(), &findings);
    let refused = || {
        view::tell(&findings.into_sorted());
        ExitCode::from(WRONG_USE)
    };
    mappings.map(|mappings| (config, mappings)).ok_or_else(refused)
}

/// How clients fare that are on their way, by their old ids; nothing where none is, or nobody tells.
fn fares_of(config: Option<&Config>, entries: &[Entry]) -> Value {
    if !entries.iter().any(fares::is_worth_asking) {
        return Value::Null;
    }
    fares::all(config).unwrap_or_else(|reason| {
        view::say(&format!("note: how clients fare on their way is not known: {reason}"));
        Value::Null
    })
}

/// Shows one client.
pub(super) fn show(path: &Path, environment: &Environment, id: &str, format: Format) -> Result<ExitCode, ExitCode> {
    let (config, mappings) = known(path, environment)?;
    let mut entry = edit::entry(&mappings, id).map_err(refused)?;
    learned::count(config.as_ref(), std::slice::from_mut(&mut entry));
    let asked =
        config.as_ref().map_or_else(|| Err("the configuration has errors".to_owned()), |it| uses::of(it, &entry));
    let asked = asked.and_then(|uses| {
        let slots = (entry.legacy_secrets.len(), entry.client_secrets.len());
        let other = || "the bridge has another number of them\n  hint: `passbridge diff` says what it uses".to_owned();
        if uses.slots() == slots { Ok(uses) } else { Err(other()) }
    });
    if let Err(reason) = &asked {
        view::say(&format!("note: when its secrets were last used is not known: {reason}"));
    }
    if let Some(config) = &config {
        taken::note(config);
    }
    let uses = asked.ok();
    let fares = &fares_of(config.as_ref(), std::slice::from_ref(&entry))[id];
    let written = match format {
        Format::Json => writeln!(view::data(), "{:#}", Value::Object(as_json(&entry, uses.as_ref(), fares))),
        Format::Human => human(&entry, uses.as_ref(), fares, &mut view::data()),
    };
    Ok(view::ended(written, 0))
}

/// docs/MIGRATION.md has this shape.
fn as_json(entry: &Entry, uses: Option<&Uses>, fares: &Value) -> Map<String, Value> {
    let secrets = |kinds: &[SecretKind], times: Option<&[Option<String>]>| {
        let time = |slot: usize| times.and_then(|times| times.get(slot).cloned().flatten());
        let secret = |(slot, kind): (usize, &SecretKind)| json!({"kind": kind.word(), "name": kind.name(), "learned": kind.learned(), "last_used": time(slot)});
        kinds.iter().enumerate().map(secret).collect::<Value>()
    };
    let scopes: Map<String, Value> =
        entry.scopes.iter().map(|(legacy, realm)| (legacy.clone(), realm.as_str().into())).collect();
    let change =
        entry.stage_change.as_ref().map(|change| json!({"from": change.from, "at": change.at, "why": change.why}));
    let fields = [
        ("legacy_id", entry.legacy_id.as_str().into()),
        ("client_id", entry.client_id.as_str().into()),
        ("stage", entry.stage.as_str().into()),
        ("stage_change", change.into()),
        ("canary", entry.canary.map(|(percent, at)| json!({"percent": percent, "step_back_at": at})).into()),
        ("shadow", entry.shadow.as_deref().into()),
        ("fares", fares.clone()),
        ("dialect", entry.dialect.as_str().into()),
        ("legacy_secrets", secrets(&entry.legacy_secrets, uses.map(|uses| &*uses.legacy_secrets))),
        ("client_secrets", secrets(&entry.client_secrets, uses.map(|uses| &*uses.client_secrets))),
        ("used_since", uses.and_then(Uses::since).into()),
        ("scopes", scopes.into()),
        ("access_token_lifetime", entry.access_token_lifetime.clone().into()),
        ("may_introspect", entry.may_introspect.into()),
        ("allow_query_credentials", entry.allow_query_credentials.into()),
        ("mend_unescaped_plus", entry.mend_unescaped_plus.into()),
        ("file", entry.file.to_string_lossy().into()),
        ("line", entry.origin.line.into()),
    ];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn named(kind: &SecretKind) -> String {
    match (kind.name(), kind.learned()) {
        (Some(name), _) => format!("{}:{}", kind.word(), plain(name)),
        (None, Some(count)) => format!("{} ({count} learned)", kind.word()),
        (None, None) => kind.word().to_owned(),
    }
}

fn kinds(kinds: &[SecretKind]) -> String {
    kinds.iter().map(named).collect::<Vec<_>>().join(" ")
}

fn stage(entry: &Entry, fares: &Value) -> String {
    let back = fares::word(fares).map(|word| format!(" ({word})"));
    plain(&entry.stage) + &back.unwrap_or_default()
}

fn place(entry: &Entry) -> String {
    format!("{}:{}", plain(&entry.file.to_string_lossy()), entry.origin.line)
}

fn table(entries: &[Entry], fares: &Value, out: &mut dyn Write) -> io::Result<()> {
    let head = ["LEGACY ID", "STAGE", "CLIENT ID", "OLD SECRET", "NEW SECRET", "WHERE"].map(str::to_owned);
    let row = |entry: &Entry| {
        [
            plain(&entry.legacy_id),
            stage(entry, &fares[entry.legacy_id.as_str()]),
            plain(&entry.client_id),
            kinds(&entry.legacy_secrets),
            kinds(&entry.client_secrets),
            place(entry),
        ]
    };
    let rows: Vec<[String; 6]> = entries.iter().map(row).collect();
    let mut widths = [0; 6];
    for row in rows.iter().chain([&head]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in [&head].into_iter().chain(&rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn human(entry: &Entry, uses: Option<&Uses>, fares: &Value, out: &mut dyn Write) -> io::Result<()> {
    let mut line = |name: &str, text: &str| writeln!(out, "{name:12} {text}");
    line("client", &plain(&entry.legacy_id))?;
    line("at", &place(entry))?;
    line("realm's id", &plain(&entry.client_id))?;
    line("stage", &plain(&entry.stage))?;
    if let Some(change) = &entry.stage_change {
        let words = format!("{}; staged at {}: {}", change.from, change.at, change.why);
        line("was", &plain(&words))?;
    }
    if let Some((percent, at)) = entry.canary {
        let at = at.map_or_else(String::new, |at| format!(", steps back over {at} %"));
        line("canary", &format!("{percent} % of the passports{at}"))?;
    }
    if let Some(shadow) = &entry.shadow {
        line("shadow", &plain(shadow))?;
    }
    for (name, sentence) in fares::lines(fares) {
        line(name, &sentence)?;
    }
    line("dialect", &plain(&entry.dialect))?;
    let Entry { legacy_secrets: old, client_secrets: new, .. } = entry;
    if let Some(uses) = uses {
        for (kind, time) in old.iter().zip(&uses.legacy_secrets) {
            line("old secret", &format!("{}, {}", named(kind), uses.of_old(time.as_deref())))?;
        }
        for (kind, time) in new.iter().zip(&uses.client_secrets) {
            line("new secret", &format!("{}, {}", named(kind), uses.of_new(time.as_deref())))?;
        }
    } else {
        line("old secret", &kinds(old))?;
        line("new secret", &kinds(new))?;
    }
    for (legacy, realm) in &entry.scopes {
        line("scope", &plain(&format!("{legacy} is {realm} at the realm")))?;
    }
    if let Some(lifetime) = &entry.access_token_lifetime {
        line("promise", &plain(lifetime))?;
    }
    let allowed = [
        (entry.may_introspect, "ask about every client's tokens"),
        (entry.allow_query_credentials, "put credentials into a query"),
        (entry.mend_unescaped_plus, "forget to escape `+`"),
    ];
    for (_, what) in allowed.iter().filter(|(may, _)| *may) {
        line("may", what)?;
    }
    Ok(())
}
