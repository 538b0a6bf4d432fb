//! `passbridge diff`: what the running bridge uses against what the files say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::show::plain;
use super::{Format, NO, ask, show};
use crate::config::Config;
use crate::domain::table::Table;
use crate::mapping::{Loaded, dialect_digest, proof, shown};
use crate::secrets::Environment;

/// Clients whose secrets are asked for at once.
const TOGETHER: usize = 3_000;

/// One difference. Without a client: of a dialect.
struct Difference {
    client: Option<String>,
    what: String,
    bridge: Value,
    files: Value,
}

/// Compares; a difference makes the answer a "no".
pub(super) fn run(path: &Path, environment: &Environment, format: Format) -> Result<ExitCode, ExitCode> {
    let so = "configuration or mappings have errors; a bridge would keep its last good table";
    let (config, loaded) = super::loaded(path, environment, so)?;
    let token = super::ops_token(&config)?;
    let bridge = read(&config, ask::get_as(&config, "/api/v1/table", token))?;
    let differences = compare(&config, token, &bridge, &loaded)?;
    Ok(tell(&bridge, &loaded, &differences, format))
}

/// What the bridge answers; why it does not has been said.
fn read(config: &Config, answer: io::Result<ask::Answer>) -> Result<Value, ExitCode> {
    let answer = answer.map_err(|error| super::unanswered(config.listen.ops, &error))?;
    answer.told().map_err(|sentence| show::failed(NO, sentence))
}

fn compare(
    config: &Config,
    token: &SecretString,
    bridge: &Value,
    loaded: &Loaded,
) -> Result<Vec<Difference>, ExitCode> {
    let mut differences = Vec::new();
    let nothing = Map::new();
    let dialects = bridge["dialects"].as_object().unwrap_or(&nothing);
    let of_files: Map<String, Value> =
        loaded.table.dialects().iter().map(|(name, dialect)| (name.clone(), dialect_digest(dialect).into())).collect();
    for (name, bridge, files) in unlike(dialects, &of_files) {
        differences.push(Difference { client: None, what: format!("dialect {name}"), bridge, files });
    }
    let clients = bridge["clients"].as_object().unwrap_or(&nothing);
    let differing = secrets(config, token, &loaded.table, clients)?;
    let ours: BTreeMap<&str, Map<String, Value>> =
        loaded.table.clients().map(|client| (&*client.legacy_id, shown(client))).collect();
    let ids: BTreeSet<&str> = ours.keys().copied().chain(clients.keys().map(String::as_str)).collect();
    for id in ids {
        let mut add = |what: &str, bridge: Value, files: Value| {
            differences.push(Difference { client: Some(id.to_owned()), what: what.to_owned(), bridge, files });
        };
        match (clients.get(id).and_then(Value::as_object), ours.get(id)) {
            (Some(theirs), Some(ours)) => {
                for (what, bridge, files) in unlike(theirs, ours) {
                    add(&what, bridge, files);
                }
                if differing.contains(id) {
                    add("secrets", "other ones".into(), "these".into());
                }
            }
            (Some(_), None) => add("client", true.into(), false.into()),
            (None, _) => add("client", false.into(), true.into()),
        }
    }
    Ok(differences)
}

/// What two objects do not say alike.
fn unlike(bridge: &Map<String, Value>, files: &Map<String, Value>) -> Vec<(String, Value, Value)> {
    let names: BTreeSet<&String> = bridge.keys().chain(files.keys()).collect();
    let value = |from: &Map<String, Value>, name: &String| from.get(name).cloned().unwrap_or_default();
    names
        .into_iter()
        .map(|name| (name.clone(), value(bridge, name), value(files, name)))
        .filter(|(_, bridge, files)| bridge != files)
        .collect()
}

/// The ids of clients whose secrets in the files are not those of the bridge.
fn secrets(
    config: &Config,
    token: &SecretString,
    table: &Table,
    clients: &Map<String, Value>,
) -> Result<BTreeSet<String>, ExitCode> {
    let key = token.expose_secret().as_bytes();
    let both: Vec<_> = table.clients().filter(|client| clients.contains_key(&*client.legacy_id)).collect();
    let mut differ = BTreeSet::new();
    for some in both.chunks(TOGETHER) {
        let proofs: Map<String, Value> =
            some.iter().map(|client| (client.legacy_id.to_string(), proof(client, key).into())).collect();
        let answer = ask::post(config, "/api/v1/table/secrets", token, &Value::Object(proofs).to_string());
        let told = read(config, answer)?;
        let ids = told["differ"].as_array().into_iter().flatten().filter_map(Value::as_str);
        differ.extend(ids.map(str::to_owned));
    }
    Ok(differ)
}

fn tell(bridge: &Value, loaded: &Loaded, differences: &[Difference], format: Format) -> ExitCode {
    let restart = bridge["needs_restart"].as_array().map(Vec::as_slice).unwrap_or_default();
    let same = differences.is_empty() && restart.is_empty();
    let written = match format {
        Format::Json => {
            let list = differences
                .iter()
                .map(|one| json!({"client": one.client, "what": one.what, "bridge": one.bridge, "files": one.files}));
            let body = json!({
                "same": same,
                "generation": bridge["generation"],
                "digest": {"bridge": bridge["digest"], "files": loaded.digest},
                "refused": bridge["refused"],
                "needs_restart": restart,
                "differences": list.collect::<Value>(),
            });
            writeln!(show::data(), "{body:#}")
        }
        Format::Human => differences.iter().try_for_each(human),
    };
    for section in restart.iter().filter_map(Value::as_str) {
        show::say(&format!("[{section}] of the configuration was changed and needs a restart"));
    }
    for finding in bridge["refused"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        show::say(&format!("the last load was refused: {finding}"));
    }
    let generation = &bridge["generation"];
    if same {
        show::say(&format!("the bridge uses what the files say (generation {generation})"));
        return show::ended(written, 0);
    }
    let count = differences.len();
    // A reload changes nothing where a restart is all that is missing.
    let hint = if differences.is_empty() {
        "stop the bridge and start it"
    } else if differences.iter().any(|one| one.client.is_none()) {
        "SIGHUP makes the bridge read its files; a dialect that differs still is another version's: stop the bridge and start it"
    } else {
        "SIGHUP makes the bridge read its files"
    };
    show::say(&format!("differences: {count}, generation {generation}\n  hint: {hint}"));
    show::ended(written, NO)
}

fn human(one: &Difference) -> io::Result<()> {
    let whose = one.client.as_ref().map(|id| format!("client {}: ", plain(id))).unwrap_or_default();
    let mut out = show::data();
    match (one.what.as_str(), one.files.as_bool()) {
        ("client", Some(true)) => writeln!(out, "{whose}in the files only"),
        ("client", _) => writeln!(out, "{whose}in the bridge only"),
        ("secrets", _) => writeln!(out, "{whose}the bridge uses other secrets than the files have"),
        (what, _) => {
            let [bridge, files] = [&one.bridge, &one.files].map(|value| plain(&value.to_string()));
            writeln!(out, "{whose}{}: {bridge} in the bridge, {files} in the files", plain(what))
        }
    }
}
