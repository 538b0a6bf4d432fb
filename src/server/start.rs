//! Birth: everything that can fail is done before the first connection is accepted. What lasts, the store and the audit, is opened after all
//! that files can have wrong, and a birth that fails behind it leaves them as an end does.

use std::io::{self, ErrorKind};
use std::iter;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Running;
use super::connection::ConnectionLimits;
use super::control::Control;
use super::handshake::Failures;
use super::listener::listen;
use super::moves::{self, Remembered};
use super::reload::{Files, Reloading, Ways};
use super::scarcity::{Room, Scarcity};
use super::shared::Shared;
use super::tls::{BOTH, Tls, provide_tls};
use super::tuning::Tuning;
use super::worker::Worker;
use crate::config::{self, Config, Examined, Listen};
use crate::document::{Finding, Findings};
use crate::domain::chance::{Entropy, random};
use crate::domain::refusal::limit_met;
use crate::domain::set_back::SetBack;
use crate::domain::time::{Clock, Timestamp};
use crate::exchange::{Bridge, Canaries, Doubts, Flights, Heard, Shadows, StoreTries};
use crate::keycloak::{Keycloak, Keys, RealmStatus};
use crate::lifecycle::{apart, give_back, looking_up_names, thread};
use crate::mapping::{self, Guard, Snapshot};
use crate::otk::OldServer;
use crate::relay::TlsMaterial;
use crate::secrets::{Environment, Means};
use crate::store::{Measures, TokenStore};
use crate::telemetry::audit::Audit;
use crate::telemetry::{Edge, Metrics, log};

/// What a bridge is born of.
#[derive(Debug)]
pub struct Start {
    /// `passbridge.toml`.
    pub config: PathBuf,
    /// The environment.
    pub environment: Environment,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
}

/// Why no bridge was born.
#[derive(Debug)]
pub enum StartError {
    /// Configuration or mappings have errors; nothing was touched.
    Refused(Vec<Finding>),
    /// The machine would not; one sentence says what.
    Failed(String),
}

/// Starts a bridge.
///
/// # Errors
/// The configuration is refused, or the machine will not.
pub fn start(start: Start) -> Result<Running, StartError> {
    provide_tls();
    let now = start.clock.now();
    if now == Timestamp::default() {
        // The store's engine knows no earlier one; neither is any certificate or token good then.
        return Err(StartError::Failed("the clock of this machine says a time before 1970: set it first".to_owned()));
    }
    let (config, loaded, findings) = apart(|| {
        let findings = Findings::new();
        let (at, environment) = (&start.config, &start.environment);
        // Where the configuration is wrong the mappings are looked at all the same: whoever mends it hears of all at once.
        let Examined { config, mappings, identities } = config::examine(at, environment, now, &findings);
        let means = Means { environment, identities: &identities };
        let loaded = mappings.and_then(|mappings| mapping::load(&mappings, means, &findings));
        (config, loaded, findings)
    });
    let (Some(config), Some(loaded)) = (config, loaded) else {
        return Err(StartError::Refused(findings.into_sorted()));
    };
    can_ask(&config, &start.clock)?;
    let metrics = Arc::new(Metrics::new());
    let logging = logging(&config, &metrics)?;
    log::findings(&findings.into_sorted());

    let workers =
        if config.workers == 0 { std::thread::available_parallelism().map_or(1, NonZero::get) } else { config.workers };
    let (doors, addresses) = Doors::open(&config, workers)?;
    let [tls_legacy, tls_gateway, tls_authz, tls_realm, tls_ops] = tls(&config, &start.clock, &metrics)?;
    let snapshot = Snapshot::new(loaded, &*start.entropy);
    let (bridge, audit) = bridge(&config, snapshot, &start, metrics, workers)?;
    let room = Room::for_connections(config.limits.connections);
    let shared = Shared {
        realm: Arc::new(RealmStatus::default()),
        tuning: Arc::new(ArcSwap::from_pointee(Tuning::of(&config))),
        tls_legacy,
        tls_gateway,
        tls_authz,
        tls_realm,
        tls_ops,
        stop: CancellationToken::new(),
        scarcity: Arc::new(Scarcity::new(room, Arc::clone(&bridge.clock), Arc::clone(&bridge.metrics))),
        bridge: Arc::clone(&bridge),
    };
    shared.show_table(true);
    let (stop, mut threads) = (shared.stop.clone(), Vec::new());
    let files = Files { config: start.config, environment: start.environment };
    let reloading = match serve(config, shared, files, doors, &mut threads) {
        Ok(reloading) => reloading,
        Err(why) => {
            // The audit's last word may take a file, and there may be none before the workers have gone.
            for thread in threads {
                drop(thread.join());
            }
            bridge.edge.close();
            if let Some(audit) = audit {
                drop(bridge.edge.wait(audit));
            }
            return Err(why);
        }
    };
    log::started(addresses.legacy, addresses.realm, addresses.ops, workers);
    log::gateway(addresses.gateway, addresses.authz);
    give_back();
    Ok(Running { addresses, bridge, reloading, stop, threads, audit, _logging: logging })
}

/// Starts the threads that serve: the workers, and that of operators. They end by themselves where one is not to be had.
fn serve(
    config: Config,
    shared: Shared,
    files: Files,
    doors: Doors,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Arc<Reloading>, StartError> {
    let workers = doors.legacy.len();
    let exchange = || shared.exchange(&config).map_err(StartError::Failed);
    let teller = exchange()?;
    let exchanges = iter::repeat_with(exchange).take(workers).collect::<Result<Vec<_>, _>>()?;
    let (alive, permits) = (TaskTracker::new(), Arc::new(Semaphore::new(shared.scarcity.room.connections)));
    let Doors { legacy, gateway, authz, realm, ops } = doors;
    let (mut gateway, mut authz, mut gateways) = (gateway.into_iter(), authz.into_iter(), Vec::new());
    let (birth, born) = watch::channel(());
    for (number, (listener, exchange)) in legacy.into_iter().zip(&exchanges).enumerate() {
        let serving = shared.legacy(&config, Arc::clone(exchange), Arc::clone(&permits));
        let (behind, [calls, questions]) = shared.gateway(&config, exchange, &permits, workers);
        gateways.push(Arc::clone(&behind));
        let mut doors = vec![(listener, serving)];
        doors.extend(gateway.next().map(|listener| (listener, calls)));
        doors.extend(authz.next().map(|listener| (listener, questions)));
        let (tasks, alive, born) = (exchange.tasks().clone(), alive.token(), born.clone());
        let worker = Worker { doors, gateway: behind, tasks, drain: config.drain, alive, born };
        threads.push(run(&format!("worker-{number}"), || worker.begin())?);
    }
    let limits = ConnectionLimits::of(&config);
    let reloading = Arc::new(Reloading::new(files, config, shared, Ways { workers: exchanges, teller, gateways }));
    let control = Control { reloading: Arc::clone(&reloading), limits, workers: alive };
    threads.push(run("ops", || control.begin(ops, realm))?);
    birth.send_replace(());
    Ok(reloading)
}

/// Whether the realm and the old server can be asked at all: what that lacks, such as certificates that vouch for them, no file says.
fn can_ask(config: &Config, clock: &Arc<dyn Clock>) -> Result<(), StartError> {
    let realm = Keycloak::new(&config.realm, Arc::clone(clock), Arc::default()).map(drop);
    let old_server = config.otk.as_ref().map(|settings| OldServer::new(settings, Arc::clone(clock))).transpose();
    realm.map_err(|unusable| unusable.0).and(old_server.map(drop)).map_err(StartError::Failed)
}

/// TLS of each listener, in the order of [`Doors`].
fn tls(config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> Result<[Option<Tls>; 5], StartError> {
    let tls = |listener, protocols, material: &Option<TlsMaterial>| {
        let failures = || Failures::new(listener, Arc::clone(clock), Arc::clone(metrics));
        let tls = material.as_ref().map(|material| Tls::new(protocols, material, failures()));
        tls.transpose().map_err(StartError::Failed)
    };
    Ok([
        tls("legacy", &[], &config.tls.legacy)?,
        tls("gateway", BOTH, &config.tls.gateway)?,
        tls("authz", BOTH, &config.tls.authz)?,
        tls("realm", &[], &config.tls.realm)?,
        tls("ops", &[], &config.tls.ops)?,
    ])
}

fn logging(config: &Config, metrics: &Metrics) -> Result<log::Writing, StartError> {
    let failed = |error| StartError::Failed(format!("no thread `log`: {error}{}", hinted(&error)));
    log::begin(&config.log, &metrics.log_lost).map_err(failed)
}

/// Every listening socket: one for each worker where workers serve it.
struct Doors {
    legacy: Vec<TcpListener>,
    gateway: Vec<TcpListener>,
    authz: Vec<TcpListener>,
    realm: Vec<TcpListener>,
    ops: Vec<TcpListener>,
}

impl Doors {
    fn open(config: &Config, workers: usize) -> Result<(Self, Listen), StartError> {
        let legacy = bind("legacy", config.listen.legacy, workers)?;
        let some = |name, address: Option<SocketAddr>, count| {
            address.map(|address| bind(name, address, count)).transpose().map(Option::unwrap_or_default)
        };
        let gateway = some("gateway", config.listen.gateway, workers)?;
        let authz = some("authz", config.listen.authz, workers)?;
        let realm = some("realm", config.listen.realm, 1)?;
        let ops = bind("ops", config.listen.ops, 1)?;
        let addresses = Listen {
            legacy: local(&legacy).unwrap_or(config.listen.legacy),
            gateway: local(&gateway),
            authz: local(&authz),
            realm: local(&realm),
            ops: local(&ops).unwrap_or(config.listen.ops),
        };
        Ok((Self { legacy, gateway, authz, realm, ops }, addresses))
    }
}

fn bind(name: &str, address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, StartError> {
    listen(address, count).map_err(|error| {
        let hint = if error.kind() == ErrorKind::PermissionDenied {
            "ports below 1024 take CAP_NET_BIND_SERVICE"
        } else {
            "is it an address of this machine? If another program listens there, maybe a bridge, `ss -ltnp` shows which"
        };
        StartError::Failed(format!("`listen.{name}` = {address} cannot be listened on: {error}\n  hint: {hint}"))
    })
}

fn local(listeners: &[TcpListener]) -> Option<SocketAddr> {
    listeners.first().and_then(|listener| listener.local_addr().ok())
}

/// What all share, and the thread of its audit, where one is kept.
fn bridge(
    config: &Config,
    snapshot: Snapshot,
    start: &Start,
    metrics: Arc<Metrics>,
    workers: usize,
) -> Result<(Arc<Bridge>, Option<JoinHandle<()>>), StartError> {
    let store = TokenStore::open(&config.store, Arc::clone(&start.clock))
        .map_err(|error| StartError::Failed(config.store.not_opened(&error)))?;
    store.owned_by(u64::from_le_bytes(random(&*start.entropy)));
    let measured = &metrics.store;
    store.measured_by(Measures {
        write_seconds: measured.write_seconds.clone(),
        redis_seconds: measured.redis_seconds.clone(),
        redis_failed: measured.redis_failed.clone(),
    });
    let torn = store.statistics().torn_bytes;
    if torn > 0 {
        log::torn(torn);
    }
    let verifiers = workers.saturating_sub(1).max(1);
    let guard = Guard::new(config.limits.wrong_secrets, verifiers, Arc::clone(&start.clock))
        .map_err(|error| StartError::Failed(format!("no thread for verifying secrets: {error}{}", hinted(&error))))?;
    let remembered = config.audit.as_ref().map(|audit| Remembered::read(&audit.path));
    let (edge, thread) = edge(config, &metrics, &start.clock)?;
    edge.began(snapshot.generation, &snapshot.digest, snapshot.table.len());
    if let Some(remembered) = remembered {
        for moved in remembered.since(&snapshot.table) {
            edge.staged(&moved.client, moved.stages, moved.why.as_deref());
        }
    }
    let snapshot = Arc::new(snapshot);
    if let Some(audit) = &config.audit {
        moves::remember(&edge, &audit.path, Arc::clone(&snapshot));
    }
    let bridge = Arc::new(Bridge {
        snapshot: ArcSwap::new(snapshot),
        guard,
        store,
        store_tries: StoreTries::default(),
        clock: Arc::clone(&start.clock),
        set_back: SetBack::new(start.clock.now(), start.clock.monotonic()),
        entropy: Arc::clone(&start.entropy),
        policy: ArcSwap::from_pointee(config.policy()),
        flights: Flights::default(),
        doubts: Doubts::default(),
        keys: Keys::default(),
        canaries: Canaries::default(),
        shadows: Shadows::new(start.clock.now()),
        heard: Heard::default(),
        untold: Notify::new(),
        metrics,
        edge,
    });
    Ok((bridge, thread))
}

fn edge(
    config: &Config,
    metrics: &Arc<Metrics>,
    clock: &Arc<dyn Clock>,
) -> Result<(Edge, Option<JoinHandle<()>>), StartError> {
    let Some(settings) = config.audit.clone() else { return Ok((Edge::new(Arc::clone(metrics), None), None)) };
    let path = settings.path.display().to_string();
    let (audit, thread) = Audit::start(settings, Arc::clone(clock), Arc::clone(metrics)).map_err(|error| {
        let hint = limit_met(&error).unwrap_or("`audit.path` names another place");
        StartError::Failed(format!("the audit cannot be kept in {path}: {error}; {hint}"))
    })?;
    Ok((Edge::new(Arc::clone(metrics), Some(audit)), Some(thread)))
}

/// What to raise, where the machine sets a limit that is met.
#[must_use]
pub fn hinted(error: &io::Error) -> String {
    limit_met(error).map(|hint| format!("\n  hint: {hint}")).unwrap_or_default()
}

fn run<F>(name: &str, begin: impl FnOnce() -> io::Result<F>) -> Result<JoinHandle<()>, StartError>
where
    F: Future + Send + 'static,
{
    thread(name, || looking_up_names(begin()?))
        .map_err(|error| StartError::Failed(format!("no thread `{name}`: {error}{}", hinted(&error))))
}
