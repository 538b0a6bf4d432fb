//! What `doctor` looks at on this side: certificates of the listeners, and the store of the running bridge.

use serde_json::Value;

use super::super::{ask, now};
use super::finding::Finding;
use crate::config::Config;
use crate::domain::refusal::sentence;
use crate::domain::time::Timestamp;
use crate::relay::certificate::NEAR;
use crate::store::{Loss, RedisMode, StoreSettings, Unseen, losses};

/// Looks at this side.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    let shown = config.tls.each().into_iter().filter_map(|(name, material)| Some((name, material?)));
    let mut findings: Vec<Finding> = shown
        .filter_map(|(name, material)| {
            let whose = format!("the certificate of the listener `{name}`");
            not_yet(&whose, material.begins()?).or_else(|| certificate(&whose, material.ends()?))
        })
        .collect();
    findings.extend(store(config));
    findings.extend(redis(config));
    findings
}

/// Whether a certificate does not count yet.
fn not_yet(whose: &str, begin: Timestamp) -> Option<Finding> {
    let day = begin.rfc3339();
    let hint = "keep the one before it in its place until then; or is this machine's clock behind?";
    (begin > now()).then(|| Finding::error("certificate-not-yet", format!("{whose} counts only from {day} on"), hint))
}

/// Whether a certificate is over, or will be soon.
pub(super) fn certificate(whose: &str, end: Timestamp) -> Option<Finding> {
    let now = now();
    let day = end.rfc3339();
    if end <= now {
        let hint = "put the next one in its place";
        return Some(Finding::error("certificate-expired", format!("{whose} ended at {day}"), hint));
    }
    let hint = "put the next one in its place before";
    (end.since(now) < NEAR)
        .then(|| Finding::warning("certificate-expiring", format!("{whose} ends soon, at {day}"), hint))
}

/// The store is asked for through the bridge that has it: to open it would be a side effect.
fn store(config: &Config) -> Option<Finding> {
    let Ok(answer) = ask::get(config, "/readyz") else {
        return Some(Finding::unchecked("the token store", "start the bridge: it has the store, and says how it is"));
    };
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    match body["store"].as_str() {
        Some("writable") => None,
        Some(_) => {
            let why = body["store_refuses"].as_str().unwrap_or("the bridge's log says why");
            let message = format!("the token store of the running bridge cannot be written: {why}");
            let hint = "docs/OPERATIONS.md, *Bad days*, says what helps; the bridge tries again by itself";
            Some(Finding::error("store-refusing", message, hint))
        }
        None => {
            Some(Finding::unchecked("the token store", format!("who answers at {} is no bridge", config.listen.ops)))
        }
    }
}

/// Whether a Redis throws away what it was given. A cluster has as many configurations as nodes, and is not asked.
fn redis(config: &Config) -> Vec<Finding> {
    const ASK: &str = "`redis-cli CONFIG GET maxmemory-policy`, `CONFIG GET appendonly` and `CONFIG GET save`";
    let StoreSettings::Redis(settings) = &config.store else { return Vec::new() };
    if settings.mode == RedisMode::Cluster {
        let hint = format!("ask each node: {ASK}");
        return vec![Finding::unchecked("whether the nodes of the cluster keep what they are given", hint)];
    }
    match losses(settings) {
        Ok(losses) => losses.into_iter().map(lost).collect(),
        Err(Unseen::Forbidden(error)) => {
            let what = format!("whether Redis keeps what it is given: {}", sentence(&error));
            let hint = format!("allow its user `+config|get`, or ask as one who may: {ASK}");
            vec![Finding::unchecked(what, hint)]
        }
        Err(Unseen::Refused(error)) => {
            let message = format!("Redis does not serve who comes anew as `[store]` says: {}", sentence(&error));
            let hint = "a running bridge lives on the connections that it has: `store.username`, `store.password`, or is Redis not there?";
            vec![Finding::error("redis-refuses", message, hint)]
        }
    }
}

fn lost(loss: Loss) -> Finding {
    match loss {
        Loss::Evicts(policy) => {
            let message = format!("Redis drops logins when it is full: its `maxmemory-policy` is `{policy}`");
            Finding::warning(
                "redis-evicts",
                message,
                "`redis-cli CONFIG SET maxmemory-policy noeviction`, then `redis-cli CONFIG REWRITE`: it refuses logins then, and loses none",
            )
        }
        Loss::ForgetsAtRestart => {
            let message = "Redis forgets all logins when it is restarted: it has neither `appendonly` nor `save`";
            Finding::warning(
                "redis-forgets",
                message,
                "`redis-cli CONFIG SET appendonly yes`, then `redis-cli CONFIG REWRITE`",
            )
        }
    }
}
