//! Whether a Redis keeps what it is given: asked for an operator, never while serving.

use std::collections::HashMap;
use std::sync::Arc;

use redis::{FromRedisValue, RedisError, cmd};

use super::super::error::StoreError;
use super::super::settings::RedisSettings;
use super::link::Link;

/// By what a Redis throws away what it has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It makes room by this policy once it has no more.
    Evicts(String),
    /// It writes nothing to a disk, so that a restart empties it.
    ForgetsAtRestart,
}

/// Why nobody knows.
#[derive(Debug)]
pub enum Unseen {
    /// It serves us, and lets us not look at its configuration (`CONFIG`).
    Forbidden(StoreError),
    /// It is not there, or takes not what is configured: a bridge would get no new connection either.
    Refused(StoreError),
}

/// Asks the one server, or the master.
///
/// # Errors
/// Nobody knows.
pub fn losses(settings: &RedisSettings) -> Result<Vec<Loss>, Unseen> {
    let failed = |error: RedisError| {
        // `ERR`: the command has another name there, or none.
        let is_forbidden = matches!(error.code(), Some("NOPERM" | "ERR"));
        let error = StoreError::CannotRead { what: "the configuration of Redis".to_owned(), cause: Arc::new(error) };
        if is_forbidden { Unseen::Forbidden(error) } else { Unseen::Refused(error) }
    };
    let link = Link::new(settings).map_err(failed)?;
    let asked = ["maxmemory", "maxmemory-policy", "appendonly", "save"];
    let asked = asked.map(|name| cmd("CONFIG").arg("GET").arg(name).to_owned());
    let mut said = HashMap::new();
    for answer in link.run_blocking(asked.into()).map_err(failed)? {
        let pairs: HashMap<String, String> =
            FromRedisValue::from_redis_value(answer).map_err(|error| failed(error.into()))?;
        said.extend(pairs);
    }
    let is = |name: &str, value: &str| said.get(name).is_some_and(|said| said == value);
    let policy = said.get("maxmemory-policy").filter(|policy| *policy != "noeviction" && !is("maxmemory", "0"));
    let mut losses: Vec<Loss> = policy.cloned().map(Loss::Evicts).into_iter().collect();
    if is("appendonly", "no") && is("save", "") {
        losses.push(Loss::ForgetsAtRestart);
    }
    Ok(losses)
}
