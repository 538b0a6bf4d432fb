//! Reload: the files again, taken into use whole or not at all.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::legacy::Tuning;
use super::shared::Shared;
use super::tls::{Tls, TlsMaterial};
use crate::config::{self, Config};
use crate::document::{Finding, Findings, Origin, Severity};
use crate::exchange::Exchange;
use crate::keycloak::Keycloak;
use crate::mapping::{self, Loaded, Snapshot};
use crate::ops::OpsService;
use crate::secrets::Environment;
use crate::telemetry::log;

/// What a reload reads and what it changes.
#[derive(Debug)]
pub(super) struct Reloading {
    path: PathBuf,
    environment: Environment,
    /// The configuration in use. Held locked while a reload runs, so that two take turns.
    config: Mutex<Config>,
    shared: Shared,
    exchanges: Vec<Arc<Exchange>>,
    ops: Arc<OpsService>,
}

impl Reloading {
    pub(super) fn new(
        path: PathBuf,
        environment: Environment,
        config: Config,
        shared: Shared,
        exchanges: Vec<Arc<Exchange>>,
    ) -> Self {
        let ops = Arc::new(OpsService {
            bridge: Arc::clone(&shared.bridge),
            realm: Arc::clone(&shared.realm),
            metrics: Arc::clone(&shared.metrics),
            refused: Mutex::new(Vec::new()),
            stop: shared.stop.clone(),
        });
        Self { path, environment, config: Mutex::new(config), shared, exchanges, ops }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn ops(&self) -> Arc<OpsService> {
        Arc::clone(&self.ops)
    }

    /// Reads everything first; only when nothing is wrong is anything changed.
    pub(super) fn reload(&self) -> Result<(), Vec<Finding>> {
        let mut current = self.config.lock();
        let findings = Findings::new();
        let prepared = self.prepare(&current, &findings);
        let findings = findings.into_sorted();
        log::findings(&findings);
        let Some(prepared) = prepared else {
            self.shared.metrics.refused_loads.inc();
            self.shared.show_table(false);
            log::load_refused(findings.iter().filter(|finding| finding.severity == Severity::Error).count());
            self.ops.refused.lock().clone_from(&findings);
            return Err(findings);
        };
        self.take(prepared, &mut current);
        Ok(())
    }

    fn prepare(&self, current: &Config, findings: &Findings) -> Option<Prepared> {
        let config = config::load(&self.path, &self.environment, findings);
        let mappings = config.as_ref().map_or(&current.mappings, |config| &config.mappings);
        let loaded = mapping::load(mappings, &self.environment, findings);
        let (config, loaded) = (config?, loaded?);
        let mut realms = Vec::with_capacity(self.exchanges.len());
        if config.realm != current.realm {
            for _ in &self.exchanges {
                match self.shared.keycloak(&config) {
                    Ok(keycloak) => realms.push(keycloak),
                    Err(reason) => {
                        findings.error("unfit-realm", &Origin::file(&self.path.to_string_lossy()), reason, None);
                        return None;
                    }
                }
            }
        }
        Some(Prepared { config, loaded, realms })
    }

    fn take(&self, prepared: Prepared, current: &mut Config) {
        let Prepared { config, loaded, realms } = prepared;
        for (exchange, keycloak) in self.exchanges.iter().zip(realms) {
            exchange.exchange_realm(keycloak);
        }
        exchange_certificate(self.shared.tls_legacy.as_ref(), config.tls.legacy.as_ref());
        exchange_certificate(self.shared.tls_ops.as_ref(), config.tls.ops.as_ref());
        let bridge = &self.shared.bridge;
        self.shared.tuning.store(Arc::new(Tuning::of(&config)));
        bridge.limit.store(Arc::new(config.limits.parameter));
        let generation = bridge.snapshot.load().generation + 1;
        log::loaded(generation, &loaded.digest, loaded.table.len());
        bridge.snapshot.store(Arc::new(Snapshot::new(loaded, generation, &*bridge.entropy)));
        self.ops.refused.lock().clear();
        self.shared.show_table(true);
        current.needing_restart(&config).into_iter().for_each(log::needs_restart);
        current.take_reloadable(config);
    }
}

/// A reload that nothing can stop any more.
struct Prepared {
    config: Config,
    loaded: Loaded,
    /// One for each worker, where the realm's settings changed.
    realms: Vec<Keycloak>,
}

/// The material was checked when it was read; whether there is TLS at all needs a restart.
fn exchange_certificate(tls: Option<&Tls>, material: Option<&TlsMaterial>) {
    if let (Some(tls), Some(material)) = (tls, material) {
        let _checked_before = tls.exchange(material);
    }
}
