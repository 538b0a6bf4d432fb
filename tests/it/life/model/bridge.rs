//! The bridge without its listeners: one thread, real store, real connections to the realm. It can be killed.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use passbridge::config;
use passbridge::document::Findings;
use passbridge::domain::family::FamilyState;
use passbridge::domain::opaque::{OpaqueToken, TokenUse};
use passbridge::domain::refresh::Rotation;
use passbridge::domain::set_back::SetBack;
use passbridge::domain::time::Clock as _;
use passbridge::exchange::{Bridge, Canaries, Doubts, Exchange, Flights, Heard, Policy, Shadows, StoreTries};
use passbridge::keycloak::{Keycloak, Keys, RealmStatus};
use passbridge::legacy::request::Incoming;
use passbridge::lifecycle::Tasks;
use passbridge::mapping::{self, Guard, Snapshot};
use passbridge::store::TokenStore;
use passbridge::telemetry::{Edge, Metrics, Trail};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::world::{INTROSPECT, REVOKE};
use crate::support::{BEGIN, ManualClock, NEW_SECRET, OLD_SECRET, PATIENCE, Plan, Seeded, TOKEN, World, client};

/// What a client hears: status and body.
pub type Said = (u16, serde_json::Value);

/// A question of a client that is on its way.
#[derive(Debug)]
pub struct Asking {
    said: oneshot::Receiver<Said>,
    task: JoinHandle<()>,
}

impl Asking {
    /// What was said, once it was.
    pub fn said(&mut self) -> Option<Said> {
        self.said.try_recv().ok()
    }

    /// Hangs up.
    pub fn hang_up(&self) {
        self.task.abort();
    }
}

/// Files, clock and chance, which outlive every bridge.
#[derive(Debug)]
pub struct Ground {
    files: World,
    pub clock: Arc<ManualClock>,
    entropy: Arc<Seeded>,
}

impl Ground {
    pub fn new(realm: std::net::SocketAddr) -> Self {
        let _another_test_may_have_done_it = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let files = Plan::new()
            .set("realm", "urls", &format!("[\"http://{realm}/auth/realms/SSO\"]"))
            .set("realm", "timeout", "\"60s\"") // what the realm holds is no time-out
            .client(&client(super::STRANGER, ""))
            .files();
        Self { files, clock: Arc::default(), entropy: Arc::new(Seeded::new(7)) }
    }
}

/// What the bridge is told of its realm.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub rotation: Rotation,
    pub recheck_after: Duration,
}

/// One life of the bridge.
#[derive(Debug)]
pub struct Living {
    /// Dropped first: nothing runs any more.
    runtime: Runtime,
    exchange: Arc<Exchange>,
    store: TokenStore,
    /// Rung whenever somebody was answered, or a refresh has reached the realm.
    bell: Arc<Notify>,
}

impl Living {
    pub fn born(ground: &Ground, manner: Manner, bell: &Arc<Notify>) -> Self {
        let environment = [("OLD_SECRET", OLD_SECRET), ("NEW_SECRET", NEW_SECRET)];
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let findings = Findings::new();
        let config = config::load(&ground.files.config(), &environment, BEGIN, &findings).unwrap();
        let Manner { rotation, recheck_after } = manner;
        let policy = Policy { rotation, recheck_after, ..config.policy() };
        let loaded = mapping::load(&config.mappings, &environment, &findings).unwrap();
        let (clock, entropy) = (Arc::clone(&ground.clock), Arc::clone(&ground.entropy));
        let metrics = Arc::new(Metrics::new());
        let bridge = Arc::new(Bridge {
            snapshot: ArcSwap::from_pointee(Snapshot::new(loaded, &*entropy)),
            guard: Guard::new(config.limits.wrong_secrets, 1, Arc::<ManualClock>::clone(&clock)).unwrap(),
            store: TokenStore::open(&config.store, Arc::<ManualClock>::clone(&clock)).unwrap(),
            store_tries: StoreTries::default(),
            clock: Arc::<ManualClock>::clone(&clock),
            set_back: SetBack::new(clock.now(), clock.monotonic()),
            entropy,
            policy: ArcSwap::from_pointee(policy),
            flights: Flights::default(),
            doubts: Doubts::default(),
            keys: Keys::default(),
            canaries: Canaries::default(),
            shadows: Shadows::new(BEGIN),
            heard: Heard::default(),
            untold: Notify::new(),
            edge: Edge::new(Arc::clone(&metrics), None),
            metrics,
        });
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let keycloak = Keycloak::new(&config.realm, clock, Arc::new(RealmStatus::default())).unwrap();
        let store = bridge.store.clone();
        let tasks = Tasks::new(CancellationToken::new());
        let exchange = Arc::new(Exchange::new(bridge, keycloak, tasks));
        let teller = Arc::clone(&exchange);
        runtime.spawn(async move { teller.tell(&CancellationToken::new()).await });
        Self { runtime, exchange, store, bell: Arc::clone(bell) }
    }

    /// Ends in mid-sentence; only what is on the disk is left.
    pub fn die(self) {
        let Self { runtime, exchange, store, bell: _ } = self;
        drop(runtime);
        drop((exchange, store));
    }

    pub fn ask(&self, endpoint: Endpoint, fields: &[(&str, &str)]) -> Asking {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let (exchange, bell) = (Arc::clone(&self.exchange), Arc::clone(&self.bell));
        let (tell, said) = oneshot::channel();
        let task = self.runtime.spawn(async move {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, form)]);
            let incoming = Incoming {
                method: &Method::POST,
                uri: &Uri::from_static(endpoint.path()),
                headers: &headers,
                body: body.as_bytes(),
            };
            let address = std::net::IpAddr::from([127, 0, 0, 1]);
            let reply = exchange.answer(&incoming, address, &mut Trail::default()).await;
            let body = serde_json::from_slice(&reply.body).unwrap();
            tell.send((reply.status.as_u16(), body)).ok();
            bell.notify_one();
        });
        Asking { said, task }
    }

    /// Questions to the realm on their way, or waiting there.
    pub fn flights(&self) -> usize {
        self.exchange.bridge().flights.under_way()
    }

    /// Goes on until something is so. `None`: it never is.
    pub fn until<T>(&self, mut so: impl FnMut() -> Option<T>) -> Option<T> {
        let bell = &self.bell;
        self.runtime.block_on(async {
            let again = async {
                loop {
                    if let Some(found) = so() {
                        return found;
                    }
                    let _rung = timeout(Duration::from_millis(20), bell.notified()).await;
                }
            };
            timeout(PATIENCE / 4, again).await.ok()
        })
    }

    /// Goes on a little.
    pub fn go_on(&self, polls: usize) {
        self.runtime.block_on(async {
            for _ in 0..polls {
                tokio::task::yield_now().await;
            }
        });
    }

    /// What the family of a refresh UUID is doing, by what is kept.
    pub fn state(&self, refresh: &str) -> Option<FamilyState> {
        let fingerprint = OpaqueToken::parse(refresh).unwrap().fingerprint(TokenUse::Refresh);
        self.runtime.block_on(async {
            let record = self.store.refresh(&fingerprint).await.unwrap()?;
            Some(self.store.family(record.family).await.unwrap()?.value.state)
        })
    }
}

/// Which of the old server's endpoints.
#[derive(Clone, Copy, Debug)]
pub enum Endpoint {
    Token,
    Introspect,
    Revoke,
}

impl Endpoint {
    fn path(self) -> &'static str {
        match self {
            Self::Token => TOKEN,
            Self::Introspect => INTROSPECT,
            Self::Revoke => REVOKE,
        }
    }
}
