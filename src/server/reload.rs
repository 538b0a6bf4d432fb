//! Reload: the files again, taken into use whole or not at all.

use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::RefusedLoad;
use super::loads::{LONG, Reading};
use super::moves::{self, Move, Remembered};
use super::retired::Retired;
use super::shared::Shared;
use super::tuning::Tuning;
use crate::config::{self, Config};
use crate::document::{Finding, Findings, Origin, Severity};
use crate::domain::client::{Client, Stage};
use crate::domain::table::Table;
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::keycloak::Keycloak;
use crate::lifecycle::patiently;
use crate::mapping::{self, Loaded};
use crate::ops::{Comparisons, OpsService};
use crate::otk::OldServer;
use crate::secrets::Environment;
use crate::telemetry::{News, log};

/// Where everything is read from.
#[derive(Debug)]
pub(super) struct Files {
    /// `passbridge.toml`.
    pub(super) config: PathBuf,
    /// The environment.
    pub(super) environment: Environment,
}

/// Every way to the realm.
#[derive(Debug)]
pub(super) struct Ways {
    /// One for each worker.
    pub(super) workers: Vec<Arc<Exchange>>,
    /// For what is asked of the realm beside requests.
    pub(super) teller: Arc<Exchange>,
    /// To the APIs, one for each worker.
    pub(super) gateways: Vec<Arc<Gateway>>,
}

impl Ways {
    fn all(&self) -> impl Iterator<Item = &Arc<Exchange>> {
        self.workers.iter().chain([&self.teller])
    }
}

/// What a reload reads and what it changes.
#[derive(Debug)]
pub(super) struct Reloading {
    files: Files,
    /// The configuration in use. Held locked while a reload runs, so that two take turns.
    config: Mutex<Config>,
    pub(super) shared: Shared,
    pub(super) ways: Ways,
    pub(super) ops: Arc<OpsService>,
    /// Tables that were replaced.
    pub(super) retired: Retired,
    /// What is read of files.
    pub(super) reading: Reading,
}

impl Reloading {
    pub(super) fn new(files: Files, config: Config, shared: Shared, ways: Ways) -> Self {
        let ops = Arc::new(OpsService {
            bridge: Arc::clone(&shared.bridge),
            realm: Arc::clone(&shared.realm),
            exchange: Arc::clone(&ways.teller),
            token: ArcSwap::from_pointee(config.ops_token.clone()),
            own: ArcSwap::from_pointee(config.own_directories()),
            refused: Mutex::new(Vec::new()),
            needs_restart: Mutex::new(Vec::new()),
            refused_callers: News::of_strangers(),
            comparisons: Comparisons::default(),
            since: shared.bridge.clock.now(),
            stop: shared.stop.clone(),
        });
        let reading = Reading::new(Arc::clone(&shared.bridge.clock));
        Self { files, config: Mutex::new(config), shared, ways, ops, retired: Retired::default(), reading }
    }

    /// Has it told once that files are read for long. What comes of that is told as ever.
    pub(super) fn look_at_reading(&self) {
        self.reading.look(|| {
            let origin = Origin::file(&self.files.config.to_string_lossy());
            let message = format!("the files that it names have been read for {} s and more", LONG.as_secs());
            let hint = "one of them, or the disk that it lies on, does not answer; what was in use stays in use, and once they answer they are loaded";
            let findings = Findings::new();
            findings.error("files-hang", &origin, message, hint);
            self.refuse(&findings.into_sorted());
        });
    }

    /// Tells why nothing is loaded.
    fn refuse(&self, findings: &[Finding]) {
        log::findings(findings);
        self.shared.show_table(false);
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
        let errors: Vec<Finding> = errors.cloned().collect();
        let used = self.shared.bridge.snapshot.load();
        self.shared.bridge.edge.load_refused(errors.len(), used.generation, &used.digest);
        *self.ops.refused.lock() = errors;
    }

    /// Reads everything first; only when nothing is wrong is anything changed.
    pub(super) fn reload(&self) -> Result<(), RefusedLoad> {
        let mut current = self.config.lock();
        let findings = Findings::new();
        let (prepared, _) = self.reading.of(|| self.prepare(&current, &findings));
        let footing = findings.footing();
        let findings = findings.into_sorted();
        let Some(prepared) = prepared else {
            self.refuse(&findings);
            return Err(RefusedLoad { findings, footing });
        };
        log::findings(&findings);
        self.take(prepared, &mut current);
        Ok(())
    }

    fn prepare(&self, current: &Config, findings: &Findings) -> Option<Prepared> {
        let now = self.shared.bridge.clock.now();
        let (config, loaded, found) = patiently(|| {
            let findings = Findings::new();
            let mut config = config::load(&self.files.config, &self.files.environment, now, &findings);
            if let Some(config) = &mut config {
                config.identities = mem::take(&mut config.identities).after(&current.identities);
            }
            let used = config.as_ref().unwrap_or(current);
            let loaded = mapping::load(&used.mappings, used.means(&self.files.environment), &findings);
            if let Some(config) = &mut config {
                config.identities = mem::take(&mut config.identities).settled();
            }
            (config, loaded, findings)
        });
        findings.absorb(found);
        let (config, loaded) = (config?, loaded?);
        // A disk that is full leaves files empty: that shall log out nobody.
        if loaded.table.is_empty() && !self.shared.bridge.snapshot.load().table.is_empty() {
            let origin = Origin::file(&config.mappings.join("clients").to_string_lossy());
            let hint = "put the files back; a bridge that is to serve no client at all is stopped and started";
            findings.error("clients-gone", &origin, "no file here maps a client any more", hint);
            return None;
        }
        let unfit = |code, reason: String| {
            let origin = Origin::file(&self.files.config.to_string_lossy());
            findings.error(code, &origin, reason, "correct it, and reload again; what was in use stays in use");
        };
        let realms = self.anew(config.realm != current.realm, || self.shared.keycloak(&config));
        let realms = realms.map_err(|reason| unfit("unfit-realm", reason)).ok()?;
        let old_servers = self.anew(config.otk != current.otk, || self.shared.old_server(&config));
        let old_servers = old_servers.map_err(|reason| unfit("unfit-old-server", reason)).ok()?;
        Some(Prepared { config, loaded, realms, old_servers })
    }

    /// One for each way through the bridge, where what they are made by has changed.
    fn anew<T>(&self, has_changed: bool, make: impl Fn() -> Result<T, String>) -> Result<Vec<T>, String> {
        self.ways.all().filter(|_| has_changed).map(|_| make()).collect()
    }

    fn take(&self, prepared: Prepared, current: &mut Config) {
        let Prepared { config, loaded, realms, old_servers } = prepared;
        let bridge = &self.shared.bridge;
        let before = bridge.snapshot.load_full();
        // Who goes through a hundred thousand clients does it at nobody's cost, and while nothing has changed yet.
        let gone_through = || {
            let (was, comes) = (&before.table, &loaded.table);
            let remembered = current.audit.as_ref().map(|audit| Remembered::read(&audit.path));
            let mut moves = moves::between(was, comes);
            moves.extend(remembered.iter().flat_map(|remembered| remembered.back(was, comes)));
            let canaries = canaries(was, comes);
            let stagings = [staged_otherwise(was, comes), staged_otherwise(comes, was)];
            let told = (moves, moves::gone(was, comes), canaries);
            (Arc::new(before.followed_by(loaded)), told, stagings)
        };
        let ((next, (moves, gone, canaries), [over, begun]), _) = self.reading.of(|| patiently(gone_through));
        self.replace_certificates(&config);
        // From here to the table nothing is waited for: no login asks a new realm with the secrets of an old table.
        self.ways.gateways.iter().for_each(|gateway| gateway.replace_routes(&config.gateway));
        self.shared.tuning.store(Arc::new(Tuning::of(&config)));
        bridge.policy.store(Arc::new(config.policy()));
        for (exchange, old_server) in self.ways.all().zip(old_servers) {
            exchange.replace_old_server(old_server);
        }
        for (exchange, keycloak) in self.ways.all().zip(realms) {
            exchange.replace_realm(keycloak);
        }
        bridge.snapshot.store(Arc::clone(&next));
        for client in &over {
            if client.stage == Stage::Canary { bridge.canaries.end(client) } else { bridge.shadows.end(client) }
        }
        for client in begun.iter().filter(|client| client.stage == Stage::Shadow) {
            bridge.shadows.begin(client, bridge.clock.now());
        }
        // Log and audit are no work to step back at: workers wait for them.
        bridge.edge.loaded(next.generation, &next.digest, next.table.len());
        for Move { client, stages, why } in &moves {
            bridge.edge.staged(client, *stages, why.as_deref());
        }
        for client in &gone {
            bridge.edge.unmapped(&client.legacy_id, client.stage);
        }
        for (client, begins) in &canaries {
            if *begins { bridge.metrics.stepped_back(client, false) } else { bridge.metrics.no_canary(client) }
        }
        if let Some(audit) = &current.audit {
            moves::remember(&bridge.edge, &audit.path, next);
        }
        self.retired.keep(before);
        self.ops.token.store(Arc::new(config.ops_token.clone()));
        self.ops.refused.lock().clear();
        self.shared.show_table(true);
        let needs_restart = current.needing_restart(&config);
        needs_restart.iter().copied().for_each(log::needs_restart);
        *self.ops.needs_restart.lock() = needs_restart;
        current.take_reloadable(config);
        self.ops.own.store(Arc::new(current.own_directories()));
    }

    /// The material was checked when it was read; whether there is TLS at all needs a restart.
    fn replace_certificates(&self, config: &Config) {
        let (used, read) = (&self.shared, &config.tls);
        let pairs = [
            (&used.tls_legacy, &read.legacy),
            (&used.tls_gateway, &read.gateway),
            (&used.tls_authz, &read.authz),
            (&used.tls_realm, &read.realm),
            (&used.tls_ops, &read.ops),
        ];
        for (tls, material) in pairs {
            if let (Some(tls), Some(material)) = (tls, material) {
                let _checked_before = tls.replace(material);
            }
        }
    }
}

/// Clients whose canary a load begins (`true`), anew where they had one, or ends.
fn canaries(before: &Table, now: &Table) -> Vec<(Arc<str>, bool)> {
    let is_canary = |client: &&Arc<Client>| client.stage == Stage::Canary;
    let is_over = |id: &str| now.client(id).is_none_or(|now| now.stage != Stage::Canary);
    let is_new = |client: &Client| before.client(&client.legacy_id).is_none_or(|was| was.staging() != client.staging());
    let ended = before.clients().filter(is_canary).filter(|client| is_over(&client.legacy_id));
    let begun = now.clients().filter(is_canary).filter(|client| is_new(client));
    let named = |begins| move |client: &Arc<Client>| (client.legacy_id.clone(), begins);
    ended.map(named(false)).chain(begun.map(named(true))).collect()
}

/// Clients at stage canary or shadow as one table has them, where the other has them at another stage, staged at another time, or not at all.
fn staged_otherwise(here: &Table, there: &Table) -> Vec<Arc<Client>> {
    let is_other = |one: &Client| there.client(&one.legacy_id).is_none_or(|other| other.staging() != one.staging());
    let is_watched = |one: &Client| matches!(one.stage, Stage::Canary | Stage::Shadow);
    here.clients().filter(|one| is_watched(one) && is_other(one)).cloned().collect()
}

/// A reload that nothing can stop any more.
struct Prepared {
    config: Config,
    loaded: Loaded,
    /// One for each of the ways, where the realm's settings changed.
    realms: Vec<Keycloak>,
    /// One for each of the ways, where `[otk]` changed.
    old_servers: Vec<Option<OldServer>>,
}
