//! One entry of the audit, before it is chained.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::domain::dialect::{Endpoint, GrantKind};
use crate::domain::time::Timestamp;
use crate::telemetry::Trail;

/// What happened. Fields that say nothing are left out of the line.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Entry {
    /// When.
    #[serde(rename = "time", serialize_with = "rfc3339")]
    pub at: Timestamp,
    /// What: `login`, `refresh`, `revocation`, `logout`, `load`, ... (docs/OPERATIONS.md has them all).
    pub what: &'static str,
    /// `ok`, or the word of a cause.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub outcome: &'static str,
    /// Who: the client that proved to be it, or whose login it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Arc<str>>,
    /// Who a caller that proved nothing claimed to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
    /// The client's stage; that it has now, where it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<&'static str>,
    /// The stage that it had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_before: Option<&'static str>,
    /// The grant, as the client calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The legacy client's address, or the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Who has to act.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
    /// One sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What is worth a look.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<&'static str>,
    /// The login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The first 12 digits of the UUID's fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What becomes of its session at the realm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realm: Option<&'static str>,
    /// The load that was taken into use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The digest of its mappings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Clients in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<usize>,
    /// Errors in a load that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<usize>,
    /// Where the store was copied to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The program's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'static str>,
    /// Whether the process before ended in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean: Option<bool>,
    /// Bytes before this record that are none: what a crash left of a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub torn: Option<u64>,
    /// Records that could not be written, or were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// Records that were written, and that this process found removed or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<u64>,
    /// Records up to this one were forgotten, as they are old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<u64>,
}

impl Entry {
    /// Something that happened now.
    pub(in crate::telemetry) fn new(at: Timestamp, what: &'static str) -> Self {
        Self { at, what, ..Self::default() }
    }

    /// What a request leaves. `None`: a question that was answered, which lets nobody in and changes nothing.
    pub(in crate::telemetry) fn of_request(at: Timestamp, trail: &Trail) -> Option<Self> {
        let (what, changes) = match trail.endpoint {
            None => ("request", false),
            Some(Endpoint::Introspect) => ("introspection", false),
            Some(Endpoint::Api) => ("api_call", false),
            Some(Endpoint::Authz) => ("authorization", false),
            Some(Endpoint::Revoke) => ("revocation", true),
            Some(Endpoint::Token) => match kind(trail) {
                Some(GrantKind::Login) => ("login", true),
                Some(GrantKind::Refresh) => ("refresh", true),
                None => ("token", false),
            },
        };
        // What the old server answered to somebody who proved nothing here let nobody in here.
        let changes = changes && (trail.passed.is_none() || trail.client.is_some());
        (changes || trail.refusal.is_some()).then(|| Self::of(at, what, trail))
    }

    pub(in crate::telemetry) fn of(at: Timestamp, what: &'static str, trail: &Trail) -> Self {
        Self {
            outcome: trail.outcome(),
            client: trail.client.as_ref().map(|client| client.legacy_id.clone()),
            claimed: trail.claimed.clone().filter(|_| trail.client.is_none()),
            stage: trail.stage().map(crate::domain::client::Stage::word),
            grant: trail.grant.clone(),
            address: trail.address,
            fault: trail.refusal.as_ref().map(|refusal| refusal.fault.word()),
            why: trail.refusal.as_ref().map(|refusal| refusal.detail.clone().into_owned()),
            notes: trail.notes.iter().map(|note| note.word()).collect(),
            family: trail.family.map(|family| family.to_string()),
            token: trail.token.map(|token| token.short()),
            ..Self::new(at, what)
        }
    }

    pub(super) fn is_refusal(&self) -> bool {
        self.fault.is_some()
    }

    /// A refusal of somebody who proved nothing, or of a call or question: a UUID is enough for those, also one that is over. Anybody may cause any
    /// number of them. Of who proved to be a client, what would have let in or changed something is written each time.
    pub(super) fn is_bounded(&self) -> bool {
        let changes = matches!(self.what, "login" | "refresh" | "revocation" | "logout");
        self.is_refusal() && (self.client.is_none() || !changes)
    }
}

fn kind(trail: &Trail) -> Option<GrantKind> {
    let grants = &trail.client.as_ref()?.dialect.grants;
    grants.get(trail.grant.as_ref()?).map(|grant| grant.kind)
}

/// UTC, with milliseconds.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn rfc3339<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(at.system()))
}
