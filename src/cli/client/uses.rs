//! When the secrets of a client were last used, as the running bridge knows it.

use serde::Deserialize;
use serde_json::json;

use super::super::ask;
use super::plain;
use crate::config::Config;

/// For each slot a time, RFC 3339; `None`: not since the bridge started.
#[derive(Debug, Deserialize)]
pub(super) struct Uses {
    /// When the bridge started.
    pub(super) since: String,
    pub(super) legacy_secrets: Vec<Option<String>>,
    pub(super) client_secrets: Vec<Option<String>>,
}

impl Uses {
    /// How many old and new secrets the bridge has.
    pub(super) fn slots(&self) -> (usize, usize) {
        (self.legacy_secrets.len(), self.client_secrets.len())
    }

    /// One of the times.
    pub(super) fn words(&self, time: Option<&str>) -> String {
        time.map_or_else(|| format!("not used since {}", plain(&self.since)), |time| format!("used {}", plain(time)))
    }
}

/// Asks the running bridge.
///
/// # Errors
/// Why it is not known, in one sentence.
pub(super) fn of(config: &Config, id: &str) -> Result<Uses, String> {
    let told = ask::told(config, "/api/v1/clients/uses", Some(&json!({ "client": id })))?;
    serde_json::from_value(told).map_err(|_| "the bridge says it in a way of its own".to_owned())
}
