//! What `doctor` looks at on this side: certificates of the listeners, and the store of the running bridge.

use serde_json::Value;

use super::super::ask;
use super::finding::Finding;
use crate::config::Config;
use crate::domain::time::{Clock, Timestamp};
use crate::server::{NEAR, SystemClock};

/// Looks at this side.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    let listeners = [
        ("legacy", &config.tls.legacy),
        ("gateway", &config.tls.gateway),
        ("authz", &config.tls.authz),
        ("realm", &config.tls.realm),
        ("ops", &config.tls.ops),
    ];
    let shown = listeners.into_iter().filter_map(|(name, material)| Some((name, material.as_ref()?)));
    let mut findings: Vec<Finding> = shown
        .filter_map(|(name, material)| {
            let whose = format!("the certificate of the listener `{name}`");
            not_yet(&whose, material.begins()?).or_else(|| certificate(&whose, material.ends()?))
        })
        .collect();
    findings.extend(store(config));
    findings
}

/// Whether a certificate does not count yet.
fn not_yet(whose: &str, begin: Timestamp) -> Option<Finding> {
    let day = begin.rfc3339();
    let hint = "keep the one before it in its place until then; or is this machine's clock behind?";
    (begin > SystemClock::new().now())
        .then(|| Finding::error("certificate-not-yet", format!("{whose} counts only from {day} on")).hint(hint))
}

/// Whether a certificate is over, or will be soon.
pub(super) fn certificate(whose: &str, end: Timestamp) -> Option<Finding> {
    let now = SystemClock::new().now();
    let day = end.rfc3339();
    if end <= now {
        let hint = "put the next one in its place";
        return Some(Finding::error("certificate-expired", format!("{whose} ended at {day}")).hint(hint));
    }
    let hint = "put the next one in its place before";
    (end.since(now) < NEAR)
        .then(|| Finding::warning("certificate-expiring", format!("{whose} ends soon, at {day}")).hint(hint))
}

/// The store is asked for through the bridge that has it: to open it would be a side effect.
fn store(config: &Config) -> Option<Finding> {
    let Ok(answer) = ask::get(config, "/readyz") else {
        return Some(Finding::unchecked("the token store", "start the bridge: it has the store, and says how it is"));
    };
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    match body["store"].as_str() {
        Some("writable") => None,
        Some(_) => Some(
            Finding::error("store-refusing", "the token store of the running bridge cannot be written")
                .hint("the bridge's log says why: disk full, or Redis not there?"),
        ),
        None => {
            Some(Finding::unchecked("the token store", format!("who answers at {} is no bridge", config.listen.ops)))
        }
    }
}
