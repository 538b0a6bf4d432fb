//! What a reload may change of how requests are read, for all that hear them.

use std::time::Duration;

use ipnet::IpNet;

use crate::config::Config;

/// What a reload may change.
#[derive(Debug)]
pub struct Tuning {
    /// Bytes of a body.
    pub body: usize,
    /// For reading a body.
    pub body_timeout: Duration,
    /// Networks whose word about the client's address counts.
    pub trusted: Vec<IpNet>,
}

impl Tuning {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            body: config.limits.body,
            body_timeout: config.limits.body_timeout,
            trusted: config.trusted_proxies.clone(),
        }
    }
}
