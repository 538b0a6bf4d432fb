//! `[limits]`.

use std::time::Duration;

use crate::document::Reader;
use crate::domain::translate::ParameterLimit;
use crate::mapping::{GuardLimits, Rate};

/// Bounds on what a stranger may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: usize,
    /// For reading a body.
    pub body_timeout: Duration,
    /// Bytes of a request's head.
    pub head: usize,
    /// Headers of a request.
    pub headers: usize,
    /// For reading a head; also how long an idle connection is kept.
    pub head_timeout: Duration,
    /// Open connections, over all workers.
    pub connections: usize,
    /// Wrong secrets.
    pub wrong_secrets: GuardLimits,
    /// The realm's cap on one parameter.
    pub parameter: ParameterLimit,
}

impl Default for Limits {
    fn default() -> Self {
        let minute = |count| Rate { count, period: Duration::from_mins(1) };
        Self {
            body: 64 * 1024,
            body_timeout: Duration::from_secs(10),
            head: 32 * 1024,
            headers: 100,
            head_timeout: Duration::from_secs(60),
            connections: 10_000,
            wrong_secrets: GuardLimits { per_client: minute(60), per_address: minute(300) },
            parameter: ParameterLimit { characters: 4_000, refuse: false },
        }
    }
}

impl Limits {
    /// What only a restart changes.
    pub(super) fn fixed(&self) -> impl PartialEq + use<> {
        (self.head, self.headers, self.head_timeout, self.connections, self.wrong_secrets)
    }
}

pub(super) fn read(section: Option<Reader<'_>>) -> Limits {
    let mut limits = Limits::default();
    let Some(mut section) = section else { return limits };
    let mut size = |key, there: &mut usize, least: u64, most: u64| {
        if let Some(found) = section.size_within(key, least, most) {
            *there = usize::try_from(found).unwrap_or(usize::MAX);
        }
    };
    size("body", &mut limits.body, 1024, 64 << 20);
    size("head", &mut limits.head, 8 << 10, 1 << 20);
    let mut count = |key, there: &mut usize| {
        if let Some(found) = section.integer(key, 1, 1_000_000) {
            *there = usize::try_from(found.value).unwrap_or(usize::MAX);
        }
    };
    count("headers", &mut limits.headers);
    count("connections", &mut limits.connections);
    count("parameter", &mut limits.parameter.characters);
    let (least, most) = (Duration::from_millis(100), Duration::from_mins(10));
    limits.body_timeout = section.duration_within("body_timeout", limits.body_timeout, least, most);
    limits.head_timeout = section.duration_within("head_timeout", limits.head_timeout, least, most);
    if let Some(word) = section.word("over_long_signature", &[("tell", false), ("refuse", true)]) {
        limits.parameter.refuse = word.value;
    }
    if let Some(mut rates) = section.section("wrong_secrets") {
        let mut rate = |key, there: &mut Rate| {
            if let Some(found) = rates.parsed(key, "a rate such as \"60/min\"", Rate::parse) {
                *there = found.value;
            }
        };
        rate("per_client", &mut limits.wrong_secrets.per_client);
        rate("per_address", &mut limits.wrong_secrets.per_address);
        rates.finish();
    }
    section.finish();
    limits
}
