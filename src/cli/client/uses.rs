//! When the secrets of a client were last used, as the running bridge knows it.

use serde::Deserialize;
use serde_json::json;

use super::super::ask;
use super::plain;
use crate::config::Config;
use crate::domain::client::Stage;
use crate::mapping::entries::Entry;

/// For each slot a time, RFC 3339; `None`: not since `since`, as far as the bridge looks.
#[derive(Debug, Deserialize)]
pub(super) struct Uses {
    /// When the bridge started, or a command moved the client after that: at its stage before the bridge may not have looked.
    since: String,
    pub(super) legacy_secrets: Vec<Option<String>>,
    pub(super) client_secrets: Vec<Option<String>>,
    /// The stage at which it is the old server that looks at old secrets, at least at some.
    #[serde(skip)]
    elsewhere: Option<&'static str>,
}

impl Uses {
    /// How many old and new secrets the bridge has.
    pub(super) fn slots(&self) -> (usize, usize) {
        (self.legacy_secrets.len(), self.client_secrets.len())
    }

    /// Since when a secret without a time was not used; `None`: there is an old one of which the bridge does not know.
    pub(super) fn since(&self) -> Option<&str> {
        let is_known = self.elsewhere.is_none() || self.legacy_secrets.iter().all(Option::is_some);
        is_known.then_some(self.since.as_str())
    }

    /// One of the times of an old secret.
    pub(super) fn of_old(&self, time: Option<&str>) -> String {
        match (time, self.elsewhere) {
            (None, Some(stage)) => format!("last use not known: at stage {stage} the old server looks at it"),
            (_, _) => self.of_new(time),
        }
    }

    /// One of the times of a secret at the realm.
    pub(super) fn of_new(&self, time: Option<&str>) -> String {
        time.map_or_else(|| format!("not used since {}", plain(&self.since)), |time| format!("used {}", plain(time)))
    }
}

/// Asks the running bridge.
///
/// # Errors
/// Why it is not known, in one sentence.
pub(super) fn of(config: &Config, entry: &Entry) -> Result<Uses, String> {
    let told = ask::told(config, "/api/v1/clients/uses", Some(&json!({ "client": entry.legacy_id })))?;
    let told: Result<Uses, _> = serde_json::from_value(told);
    let mut uses = told.map_err(|_| "the bridge says it in a way of its own".to_owned())?;
    // Both in UTC and of one length, as bridge and command write them.
    let is_time = |at: &str| at.ends_with('Z') && humantime::parse_rfc3339(at).is_ok();
    let moved = entry.stage_change.as_ref().filter(|change| is_time(&change.at) && change.at > uses.since);
    if let Some(change) = moved {
        uses.since.clone_from(&change.at);
    }
    uses.elsewhere = [Stage::Legacy, Stage::Canary].map(Stage::word).into_iter().find(|stage| entry.stage == *stage);
    Ok(uses)
}
