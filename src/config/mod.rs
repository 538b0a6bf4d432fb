//! `passbridge.toml` and its overrides from the environment, into typed values; every fault of it at once.
//!
//! Must not: read the environment by itself (it is handed in), start anything, or let a key pass that nothing honours.

mod alone;
mod audit;
mod gateway;
mod limits;
mod listen;
mod load;
mod otk;
mod realm;
mod store;

use std::path::PathBuf;
use std::time::Duration;

pub use alone::{OpsAccess, audit_alone, ops_access};
pub use limits::Limits;
pub use listen::{Listen, OpsDoor, TlsListeners};
pub use load::{Examined, examine, load, ops_door, unopened};
pub use realm::RealmManner;

use secrecy::SecretString;

use crate::document::Spotted;
use crate::exchange::Policy;
use crate::gateway::GatewaySettings;
use crate::keycloak::RealmSettings;
use crate::mapping::Place;
use crate::otk::OtkSettings;
use crate::secrets::{Environment, Identities, Means};
use crate::store::StoreSettings;
use crate::telemetry::audit::AuditSettings;

/// Everything that an operator may set.
#[derive(Debug)]
pub struct Config {
    /// Addresses.
    pub listen: Listen,
    /// API calls.
    pub gateway: GatewaySettings,
    /// The clients that its routes name, and where: whether there are such the mappings say.
    pub route_clients: Vec<Spotted<String>>,
    /// Threads that serve; 0: one for each core.
    pub workers: usize,
    /// Networks whose word about the client's address counts.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// How long a drain waits for what is in flight.
    pub drain: Duration,
    /// Certificates of the listeners.
    pub tls: TlsListeners,
    /// The realm.
    pub realm: RealmSettings,
    /// What it is like.
    pub manner: RealmManner,
    /// The old server, while it lives.
    pub otk: Option<OtkSettings>,
    /// The mapping directory.
    pub mappings: Place,
    /// Bounds.
    pub limits: Limits,
    /// What an operator must show to change something; `None`: nobody may.
    pub ops_token: Option<SecretString>,
    /// What opens sealed secrets.
    pub identities: Identities,
    /// The token store.
    pub store: StoreSettings,
    /// The audit; `None`: off.
    pub audit: Option<AuditSettings>,
    /// What is logged: `info`, `warn`, `passbridge=debug`, ...
    pub log: String,
}

/// How long an answer of the realm may take, whichever of its URLs gives it.
fn patience(realm: &RealmSettings) -> Duration {
    let urls = u32::try_from(realm.urls.len()).unwrap_or(u32::MAX);
    realm.timeout + realm.connect_timeout.saturating_mul(urls)
}

impl Config {
    /// What requests are decided by, and a reload may change.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            parameter: self.limits.parameter,
            rotation: self.manner.rotation,
            recheck_after: self.manner.recheck_after,
            issuers: self
                .realm
                .urls
                .iter()
                .chain(&self.realm.public_url)
                .map(|url| url.trim_end_matches('/').to_owned())
                .collect(),
            patience: patience(&self.realm),
        }
    }

    /// What opens the secrets of the mappings.
    #[must_use]
    pub fn means<'a>(&'a self, environment: &'a Environment) -> Means<'a> {
        Means { environment, identities: &self.identities }
    }

    /// Where files lie that have a meaning by their names: of mappings, the audit, the store.
    #[must_use]
    pub fn own_directories(&self) -> Vec<PathBuf> {
        let store = match &self.store {
            StoreSettings::Embedded { path, .. } => Some(path.clone()),
            StoreSettings::Redis(_) => None,
        };
        let audit = self.audit.as_ref().map(|audit| audit.path.clone());
        store.into_iter().chain(audit).chain([self.mappings.path.clone()]).collect()
    }

    /// The sections in which another configuration differs from this one, and which only a restart changes.
    #[must_use]
    pub fn needing_restart(&self, other: &Self) -> Vec<&'static str> {
        let mut sections = Vec::new();
        let mut compare = |section, same: bool| {
            if !same {
                sections.push(section);
            }
        };
        compare("listen", self.listen == other.listen);
        compare(
            "gateway",
            self.gateway.bounds == other.gateway.bounds && self.gateway.authz_cache == other.gateway.authz_cache,
        );
        compare("server", self.workers == other.workers && self.drain == other.drain);
        compare("tls", self.tls.kinds() == other.tls.kinds());
        compare("limits", self.limits.fixed() == other.limits.fixed());
        compare("store", self.store == other.store);
        compare("audit", self.audit == other.audit);
        compare("log", self.log == other.log);
        sections
    }

    /// Takes over what a reload has changed; what needs a restart stays as it is in use.
    pub fn take_reloadable(&mut self, other: Self) {
        self.trusted_proxies = other.trusted_proxies;
        self.gateway.routes = other.gateway.routes;
        self.gateway.old_api = other.gateway.old_api;
        self.ops_token = other.ops_token;
        self.identities = other.identities;
        self.realm = other.realm;
        self.manner = other.manner;
        self.otk = other.otk;
        self.mappings = other.mappings;
        self.limits.body = other.limits.body;
        self.limits.body_timeout = other.limits.body_timeout;
        self.limits.parameter = other.limits.parameter;
    }
}
