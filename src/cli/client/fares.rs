//! How clients fare that are on their way, as the running bridge knows it.

use serde::Deserialize as _;
use serde_json::Value;

use super::super::ask;
use super::plain;
use crate::config::Config;
use crate::domain::canary::Figures;
use crate::domain::client::Stage;
use crate::mapping::entries::Entry;

/// Whether the bridge has anything to tell of this client.
pub(super) fn is_worth_asking(entry: &Entry) -> bool {
    entry.stage == Stage::Canary.word() || entry.stage == Stage::Shadow.word()
}

/// Asks the running bridge: clients by their old ids.
///
/// # Errors
/// Why it is not known, in one sentence.
pub(super) fn all(config: Option<&Config>) -> Result<Value, String> {
    let config = config.ok_or("the configuration has errors")?;
    ask::told(config, "/api/v1/migration", None).map(|told| told["clients"].clone())
}

/// Lines for people: a name and a sentence each.
pub(super) fn lines(fares: &Value) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let canary = &fares["canary"];
    if canary.is_object() {
        lines.push(("lately", sentence(&canary["figures"])));
    }
    if let Some(at) = canary["stepped_back"]["at"].as_str() {
        let then = sentence(&canary["stepped_back"]["figures"]);
        lines.push(("stepped back", plain(&format!("at {at}, as {then}; `client stage` stages it anew"))));
    }
    let shadow = &fares["shadow"];
    if shadow.is_object() {
        shadowed(shadow, &mut lines);
    }
    lines
}

fn shadowed(shadow: &Value, lines: &mut Vec<(&'static str, String)>) {
    let counts = shadow["counts"].as_object().into_iter().flatten();
    let counts: Vec<String> = counts
        .filter_map(|(word, count)| count.as_u64().filter(|count| *count > 0).map(|count| format!("{word} {count}")))
        .collect();
    let counts = if counts.is_empty() { "nothing yet".to_owned() } else { counts.join(", ") };
    lines.push(("compared", plain(&format!("{counts}, since {}", shadow["since"].as_str().unwrap_or("?")))));
    let asked = &shadow["asked"];
    if let (Some(old), Some(realm)) = (asked["old_ms"].as_u64(), asked["realm_ms"].as_u64()) {
        let count = asked["count"].as_u64().unwrap_or_default();
        let times = format!("{count} times; on average the old server took {old} ms, the realm {realm} ms");
        lines.push(("realm asked", times));
    }
    for one in shadow["last"].as_array().into_iter().flatten() {
        let text = |name: &str| one[name].as_str().unwrap_or_default();
        let cause = one["cause"].as_str().map(|cause| format!(" ({cause})")).unwrap_or_default();
        let line = format!("{} {}{cause}: {}", text("at"), text("outcome"), text("words"));
        lines.push(("differing", plain(&line)));
    }
}

/// What is told of a client in the list.
pub(super) fn word(fares: &Value) -> Option<String> {
    if fares["canary"]["stepped_back"].is_object() {
        return Some("stepped back".to_owned());
    }
    let differing = fares["shadow"]["differing"].as_u64().filter(|count| *count > 0)?;
    Some(format!("{differing} differing"))
}

fn sentence(figures: &Value) -> String {
    Figures::deserialize(figures).unwrap_or_default().sentence()
}
