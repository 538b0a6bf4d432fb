//! What the parts of one bridge share, and how a worker's own part is made of it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::answer::Answers;
use super::connection::{ConnectionLimits, Serving};
use super::gateway::GatewayService;
use super::legacy::LegacyService;
use super::malformed::Refuse;
use super::scarcity::Scarcity;
use super::tls::Tls;
use super::tuning::Tuning;
use crate::config::Config;
use crate::domain::dialect::Endpoint;
use crate::exchange::{Bridge, Exchange};
use crate::gateway::{Gateway, Room};
use crate::keycloak::{Keycloak, RealmStatus};
use crate::lifecycle::Tasks;
use crate::otk::OldServer;
use crate::telemetry::Trail;

/// Of so many connections API calls leave one to logins and to the questions of other proxies.
const SPARED: usize = 8;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) bridge: Arc<Bridge>,
    pub(super) realm: Arc<RealmStatus>,
    pub(super) tuning: Arc<ArcSwap<Tuning>>,
    pub(super) tls_legacy: Option<Tls>,
    pub(super) tls_gateway: Option<Tls>,
    pub(super) tls_authz: Option<Tls>,
    pub(super) tls_realm: Option<Tls>,
    pub(super) tls_ops: Option<Tls>,
    pub(super) stop: CancellationToken,
    pub(super) scarcity: Arc<Scarcity>,
}

impl Shared {
    /// A way to the realm for one worker.
    pub(super) fn keycloak(&self, config: &Config) -> Result<Keycloak, String> {
        Keycloak::new(&config.realm, Arc::clone(&self.bridge.clock), Arc::clone(&self.realm))
            .map_err(|unusable| unusable.0)
    }

    /// A way to the old server for one worker, where there is one.
    pub(super) fn old_server(&self, config: &Config) -> Result<Option<OldServer>, String> {
        config.otk.as_ref().map(|settings| OldServer::new(settings, Arc::clone(&self.bridge.clock))).transpose()
    }

    /// A way through the bridge, with tasks of its own.
    pub(super) fn exchange(&self, config: &Config) -> Result<Arc<Exchange>, String> {
        let tasks = Tasks::new(self.stop.clone());
        let exchange = Exchange::new(Arc::clone(&self.bridge), self.keycloak(config)?, tasks);
        exchange.replace_old_server(self.old_server(config)?);
        Ok(Arc::new(exchange))
    }

    /// What one worker serves legacy clients with.
    pub(super) fn legacy(&self, config: &Config, exchange: Arc<Exchange>, permits: Arc<Semaphore>) -> Serving {
        let refusing = Arc::clone(&exchange);
        let refuse = move |refusal, trail: &mut Trail| refusing.refuse("", refusal, trail);
        Serving {
            answers: Answers::Legacy(Arc::new(LegacyService { exchange, tuning: Arc::clone(&self.tuning) })),
            refuse: Some(Refuse::by(&self.bridge, None, refuse)),
            limits: ConnectionLimits::of(config),
            tls: self.tls_legacy.clone(),
            permits,
            spared: 0,
            bounded_alone: None,
            http2: false,
            scarcity: Arc::clone(&self.scarcity),
        }
    }

    /// What one worker serves API calls and authorization questions with, and the gateway behind both.
    pub(super) fn gateway(
        &self,
        config: &Config,
        exchange: &Arc<Exchange>,
        permits: &Arc<Semaphore>,
        workers: usize,
    ) -> (Arc<Gateway>, [Serving; 2]) {
        let spared = self.scarcity.room.connections / SPARED;
        let room = Room::new(Arc::clone(permits), spared, workers);
        let gateway = Arc::new(Gateway::new(Arc::clone(exchange), &config.gateway, room));
        let service = |tls: &Option<Tls>| GatewayService {
            gateway: Arc::clone(&gateway),
            bridge: Arc::clone(&self.bridge),
            tuning: Arc::clone(&self.tuning),
            is_secure: tls.is_some(),
            headers: config.limits.headers,
            head_bytes: config.limits.head,
            unread_timeout: config.gateway.bounds.idle_timeout,
        };
        let (bounds, limits) = (&config.gateway.bounds, ConnectionLimits::of(config));
        // Who uploads hears why not, however much of it he says first.
        let heard_out = usize::try_from(bounds.body).unwrap_or(usize::MAX).max(limits.heard_out);
        let limits = ConnectionLimits { unread_timeout: bounds.idle_timeout, heard_out, ..limits };
        let refuse = |endpoint| {
            let gateway = Arc::clone(&gateway);
            Refuse::by(&self.bridge, Some(endpoint), move |refusal, trail| gateway.refuse(endpoint, refusal, trail))
        };
        let serving = |answers, endpoint, tls: &Option<Tls>| Serving {
            answers,
            refuse: Some(refuse(endpoint)),
            limits: limits.clone(),
            tls: tls.clone(),
            permits: Arc::clone(permits),
            spared: 0,
            bounded_alone: None,
            http2: true,
            scarcity: Arc::clone(&self.scarcity),
        };
        let (calls, questions) = (service(&self.tls_gateway), service(&self.tls_authz));
        let calls = Serving { spared, ..serving(Answers::Calls(Arc::new(calls)), Endpoint::Api, &self.tls_gateway) };
        let questions = serving(Answers::Questions(Arc::new(questions)), Endpoint::Authz, &self.tls_authz);
        (gateway, [calls, questions])
    }

    /// Shows the table in use in the metrics.
    pub(super) fn show_table(&self, current: bool) {
        let snapshot = self.bridge.snapshot.load();
        self.bridge.metrics.table(snapshot.generation, snapshot.table.len(), current);
    }
}
