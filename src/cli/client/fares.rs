//! How clients fare that are on their way, as the running bridge knows it.

use serde_json::Value;

use super::super::ask;
use super::plain;
use crate::config::Config;
use crate::domain::client::Stage;
use crate::mapping::entries::Entry;

/// Whether the bridge has anything to tell of this client.
pub(super) fn is_worth_asking(entry: &Entry) -> bool {
    entry.stage == Stage::Canary.word()
}

/// Asks the running bridge: clients by their old ids.
///
/// # Errors
/// Why it is not known, in one sentence.
pub(super) fn all(config: Option<&Config>) -> Result<Value, String> {
    let config = config.ok_or("the configuration has errors")?;
    let Some(token) = &config.ops_token else {
        return Err("no `ops.token` is configured\n  hint: [ops] token = { file = \"ops.token\" }".to_owned());
    };
    let answer = ask::get_as(config, "/api/v1/migration", token)
        .map_err(|error| format!("no bridge answers at {} ({error})", config.listen.ops))?;
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    if answer.status == 200 {
        return Ok(body["clients"].clone());
    }
    Err(plain(body["error"].as_str().unwrap_or("the bridge refused")))
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
    lines
}

/// What is told of a client in the list.
pub(super) fn word(fares: &Value) -> Option<&'static str> {
    fares["canary"]["stepped_back"].is_object().then_some("stepped back")
}

fn sentence(figures: &Value) -> String {
    let number = |name: &str| figures[name].as_u64().unwrap_or_default();
    let [realm, without, old, refused] = ["realm", "without_tokens", "old", "refused"].map(number);
    format!("{without} of {realm} logins at the realm got no tokens, the old server refused {refused} of {old}")
}
