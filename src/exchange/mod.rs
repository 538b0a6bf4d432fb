//! The spine: one request of the old world from its bytes to its reply, a file for each use.
//!
//! ```text
//! bytes -legacy::request-> LegacyRequest -guard.authenticate-> Client -translate-> RealmRequest
//!   -Keycloak::grant (the only call outward)-> RealmGrant -issue-> { NewFamily, TokenReply }
//!   -TokenStore::put-> -legacy::reply-> bytes
//! ```
//!
//! Must not: render a refusal anywhere but in [`Turned::reply`], write the line of a request (its trail becomes one at the edge; what
//! goes on beside requests says its own), or look at the network.

mod access;
mod call;
mod canary;
mod doubt;
mod flight;
mod flights;
mod introspect;
mod keep;
mod learn;
mod login;
mod logout;
mod old;
mod operator;
mod outlived;
mod question;
mod refresh;
mod revoke;
mod seldom;
mod shadow;
mod stage;
mod staged;
mod tell;

use std::borrow::Borrow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use access::Locked;
use arc_swap::{ArcSwap, ArcSwapOption};
pub use call::{Caller, Turned};
pub use canary::{Canaries, Fares};
pub use doubt::Doubts;
pub use flights::Flights;
pub use login::StoreTries;
pub use logout::Heard;
use old::Aside;
pub use operator::{Ended, Found, Revoked, Selector};
use secrecy::ExposeSecret;
pub use shadow::Shadows;
use tokio::sync::Notify;

use crate::domain::chance::Entropy;
use crate::domain::client::{Client, Credentials, Stage};
use crate::domain::dialect::{Dialect, Endpoint, Grant, GrantKind};
use crate::domain::issue::Moment;
use crate::domain::opaque::OpaqueToken;
use crate::domain::refresh::Rotation;
use crate::domain::refusal::{Cause, Fault, Refusal, sentence};
use crate::domain::set_back::SetBack;
use crate::domain::time::{Clock, Timestamp};
use crate::domain::translate::ParameterLimit;
use crate::domain::unseen;
use crate::keycloak::{Keycloak, Keys};
use crate::legacy::glance::glance;
use crate::legacy::reply::Reply;
use crate::legacy::request::{self, Incoming, LegacyRequest};
use crate::lifecycle::Tasks;
use crate::mapping::{Guard, Snapshot};
use crate::otk::OldServer;
use crate::store::{StoreError, TokenStore};
use crate::telemetry::{Edge, Metrics, Trail};

/// What all workers share.
#[derive(Debug)]
pub struct Bridge {
    /// The table in use. A request loads it once.
    pub snapshot: ArcSwap<Snapshot>,
    /// Checks old secrets.
    pub guard: Guard,
    /// Keeps families.
    pub store: TokenStore,
    /// Tries whether it takes writes again.
    pub store_tries: StoreTries,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// When it was set back.
    pub set_back: SetBack,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// What a reload may change.
    pub policy: ArcSwap<Policy>,
    /// Who is asking the realm for which family, in this process.
    pub flights: Flights,
    /// Which families were renewed lately because an API refused their JWT, in this process.
    pub doubts: Doubts,
    /// The realm's public keys.
    pub keys: Keys,
    /// How the clients at stage canary fare.
    pub canaries: Canaries,
    /// What was compared of the clients at stage shadow.
    pub shadows: Shadows,
    /// Logout tokens that were heard.
    pub heard: Heard,
    /// Woken when the realm must be told of a revocation.
    pub untold: Notify,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Writes down what happened.
    pub edge: Edge,
}

/// What a reload may change.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The realm's cap on one parameter.
    pub parameter: ParameterLimit,
    /// The realm's "Revoke Refresh Token".
    pub rotation: Rotation,
    /// How long a session that the realm ended without telling us may go unnoticed.
    pub recheck_after: Duration,
    /// What the realm calls itself.
    pub issuers: Vec<String>,
    /// For one whole answer of the realm, all URLs together.
    pub patience: Duration,
}

/// One worker's way through the bridge.
#[derive(Debug)]
pub struct Exchange {
    bridge: Arc<Bridge>,
    keycloak: ArcSwap<Keycloak>,
    /// Nothing where there is none.
    old_server: ArcSwapOption<OldServer>,
    /// Work that goes on when the client that began it has gone.
    tasks: Tasks,
}

/// A request whose sender has proved who it is.
struct Known<'a> {
    client: &'a Arc<Client>,
    request: &'a LegacyRequest,
    address: IpAddr,
}

/// The endpoint that was called, the dialects that have it, and the request as it came and as it was read.
struct Called<'a> {
    snapshot: &'a Arc<Snapshot>,
    endpoint: Endpoint,
    dialects: &'a [Arc<Dialect>],
    address: IpAddr,
    incoming: &'a Incoming<'a>,
    request: Result<LegacyRequest, Refusal>,
}

impl Called<'_> {
    /// What a caller hears of whom nobody knows who it is.
    fn stranger(&self) -> &Arc<Dialect> {
        self.dialects.first().unwrap_or(self.snapshot.table.default_dialect())
    }

    /// Whom it means, for the log, by `ids` that it has and by what it shows; and whether that is a client: also where id and secret are exchanged or
    /// put together, so that the secret is not told as an id.
    fn meant<'m>(&'m self, ids: &'m [String]) -> Option<(&'m str, bool)> {
        let table = &self.snapshot.table;
        let presented = self.request.as_ref().ok().map(|request| &request.presented);
        let by_id = ids.iter().find_map(|id| table.client(id));
        let by_both = || table.named(presented?);
        let client = by_id.or_else(by_both).or_else(|| table.whose(ids.first()?));
        let id = || ids.first().or_else(|| Some(&presented?.readings.first()?.id));
        client.map(|client| (&*client.legacy_id, true)).or_else(|| Some((id()?.as_str(), false)))
    }

    /// Has the log tell whom it means. Of an unknown id what could be a secret is not told.
    fn claim(&self, (id, is_known): (&str, bool), trail: &mut Trail) {
        let hidden = if is_known { None } else { self.hidden(id) };
        match hidden {
            Some(hidden) => trail.claim(&hidden, true),
            None => trail.claim(id, is_known),
        }
    }

    /// What is told in place of an id that no mapping has, where it is known to hold an old secret, or where it alone was shown: a form that wants a
    /// user and a password is filled with the secret only, or with it twice.
    fn hidden(&self, id: &str) -> Option<String> {
        if let Some(before) = self.snapshot.before_secret(id.trim()) {
            return Some(format!("{before}[secret]"));
        }
        let readings = &self.request.as_ref().ok()?.presented.readings;
        let is_alone = |one: &Credentials| ["", one.id.as_str()].contains(&one.secret.expose_secret());
        let is_hidden = readings.iter().all(is_alone) && OpaqueToken::parse(id).is_none();
        is_hidden.then(|| format!("[id alone: {} letters]", id.chars().count()))
    }
}

impl Exchange {
    /// Joins a worker's realm client to what all share.
    #[must_use]
    pub fn new(bridge: Arc<Bridge>, keycloak: Keycloak, tasks: Tasks) -> Self {
        Self { bridge, keycloak: ArcSwap::from_pointee(keycloak), old_server: ArcSwapOption::empty(), tasks }
    }

    /// What all workers share.
    #[must_use]
    pub fn bridge(&self) -> &Arc<Bridge> {
        &self.bridge
    }

    /// This moment, for what the realm was asked at `given`.
    fn moment(&self, given: Timestamp) -> Moment<'_> {
        let Bridge { clock, entropy, store, set_back, .. } = &*self.bridge;
        let now = clock.now();
        let was_set_back = set_back.found(now, clock.monotonic()).millis() > 0;
        Moment { given, now, believed: store.believed(now), was_set_back, entropy: &**entropy }
    }

    /// Work that goes on when the client that began it has gone.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Asks another realm, or the same one otherwise, from the next request on.
    pub fn replace_realm(&self, keycloak: Keycloak) {
        self.keycloak.store(Arc::new(keycloak));
    }

    /// Passes requests on to this old server, or to none, from the next request on.
    pub fn replace_old_server(&self, old_server: Option<OldServer>) {
        self.old_server.store(old_server.map(Arc::new));
    }

    /// Answers a request, come what may.
    pub async fn answer(self: &Arc<Self>, incoming: &Incoming<'_>, address: IpAddr, trail: &mut Trail) -> Reply {
        let snapshot = self.bridge.snapshot.load_full();
        let Some((endpoint, dialects)) = snapshot.table.endpoint(incoming.uri.path()) else {
            let told = unseen::path(incoming.uri.path(), snapshot.table.paths());
            let refusal = Refusal::client(Cause::NotFound, format!("no endpoint has this path: {told}"));
            let dialect = Arc::clone(snapshot.table.default_dialect());
            return Turned { dialect, refusal }.reply(Endpoint::Token, trail);
        };
        trail.endpoint = Some(endpoint);
        let request = request::read(endpoint, dialects, incoming);
        let called = Called { snapshot: &snapshot, endpoint, dialects, address, incoming, request };
        self.decide(&called, trail).await.unwrap_or_else(|turned| turned.reply(endpoint, trail))
    }

    /// The dialect's words for a request that could not even be read, e.g. one whose body is too long.
    #[must_use]
    pub fn refuse(&self, path: &str, refusal: Refusal, trail: &mut Trail) -> Reply {
        let snapshot = self.bridge.snapshot.load();
        let found = snapshot.table.endpoint(path);
        trail.endpoint = found.map(|(endpoint, _)| endpoint);
        let dialect = found.and_then(|(_, dialects)| dialects.first()).unwrap_or(snapshot.table.default_dialect());
        Turned { dialect: Arc::clone(dialect), refusal }.reply(trail.endpoint.unwrap_or(Endpoint::Token), trail)
    }

    async fn decide(self: &Arc<Self>, called: &Called<'_>, trail: &mut Trail) -> Result<Reply, Turned> {
        let Some(aside) = self.aside(called).await else { return self.here(called, None, trail).await };
        let hearer = aside.look.named.first().map_or(called.stranger(), |client| &client.dialect);
        let to_hearer = |refusal| Turned { dialect: Arc::clone(hearer), refusal };
        if self.passes_the_door(&aside).await.map_err(to_hearer)? {
            return self.pass(&aside, trail).await.map_err(to_hearer);
        }
        let reply = self.here(called, Some(&aside), trail).await;
        let Some(client) = aside.chosen() else { return reply };
        if reply.is_err() && trail.client.is_none() {
            return self.pass_unproved(&aside, client, trail).await.map_err(to_hearer);
        }
        self.went_to_the_realm(client, reply.is_ok()).await;
        reply
    }

    /// Answers by ourselves, once it is known who asks.
    async fn here(
        self: &Arc<Self>,
        called: &Called<'_>,
        aside: Option<&Aside<'_>>,
        trail: &mut Trail,
    ) -> Result<Reply, Turned> {
        let Called { snapshot, endpoint, dialects, address, incoming, request } = called;
        let to_stranger = |refusal| Turned { dialect: Arc::clone(called.stranger()), refusal };
        let ids = request.as_ref().map_or_else(|_| glance(dialects, incoming).ids, |_| Vec::new());
        // Of two ids in what cannot be read either may be meant.
        if let (Some((id, is_known)), [] | [_]) = (called.meant(&ids), ids.as_slice()) {
            called.claim((id, is_known), trail);
        }
        let request = request.as_ref().map_err(|refusal| to_stranger(refusal.clone()))?;
        self.recall(snapshot, &request.presented).await.map_err(to_stranger)?;
        let client =
            self.bridge.guard.authenticate(snapshot, &request.presented, *address).await.map_err(to_stranger)?;
        trail.client = Some(Arc::clone(&client));
        let to_client = |refusal| Turned { dialect: Arc::clone(&client.dialect), refusal };
        speaks(&client, dialects).map_err(to_client)?;
        let word = request.parameters.value("grant_type").filter(|_| *endpoint == Endpoint::Token);
        trail.grant = word.filter(|word| client.dialect.grants.contains_key(*word)).map(str::to_owned);
        if let Some(aside) = aside
            && self.passes_known(aside, &client).await.map_err(to_client)?
        {
            return self.pass(aside, trail).await.map_err(to_client);
        }
        let known = Known { client: &client, request, address: *address };
        self.serve(&known, trail).await.map_err(to_client)
    }

    async fn serve(self: &Arc<Self>, known: &Known<'_>, trail: &mut Trail) -> Result<Reply, Refusal> {
        match known.request.endpoint {
            Endpoint::Token => self.token(known, trail).await,
            Endpoint::Introspect => self.introspect(known, trail).await,
            Endpoint::Revoke => self.revoke(known, trail).await,
            Endpoint::Api | Endpoint::Authz => {
                Err(Refusal::client(Cause::NotFound, "an API is called at the gateway, not here"))
            }
        }
    }

    async fn token(self: &Arc<Self>, known: &Known<'_>, trail: &mut Trail) -> Result<Reply, Refusal> {
        let (grant_type, grant) = asked_grant(known.request, known.client)?;
        match grant.kind {
            // What was handed out before stays good until its end, whatever the stage becomes (OPERATOR section 5).
            GrantKind::Login if known.client.stage == Stage::Retired => {
                Err(Refusal::client(Cause::GrantForbidden, "the client is retired"))
            }
            GrantKind::Login if matches!(known.client.stage, Stage::Legacy | Stage::Shadow) => Err(Refusal::server(
                Fault::Operator,
                "its stage leaves the client's logins to the old server, and there is no [otk] any more",
            )),
            GrantKind::Login => self.login(known, grant_type, grant, trail).await,
            GrantKind::Refresh => self.refresh(known, grant_type, grant, trail).await,
        }
    }
}

/// Whether a client may call here at all: its own dialect is among those that have the endpoint at this path.
fn speaks(client: &Client, dialects: &[Arc<Dialect>]) -> Result<(), Refusal> {
    let speaks = dialects.iter().any(|dialect| dialect.name == client.dialect.name);
    let refusal = || Refusal::client(Cause::NotFound, "the client's dialect has no endpoint at this path");
    speaks.then_some(()).ok_or_else(refusal)
}

/// The grant that a token request asks for, and its `grant_type`.
fn asked_grant<'k>(request: &'k LegacyRequest, client: &'k Client) -> Result<(&'k str, &'k Grant), Refusal> {
    let word = request.parameters.value("grant_type");
    let word = word.ok_or_else(|| request.lacks("grant_type"))?;
    let grant = client.dialect.grants.get(word);
    let unknown = || Refusal::client(Cause::GrantUnsupported, "the dialect has no such grant");
    Ok((word, grant.ok_or_else(unknown)?))
}

/// The store's trouble is ours: the client hears `server_error`, ops hear the sentence.
fn store_failed(error: impl Borrow<StoreError>) -> Refusal {
    Refusal::server(Fault::Ourselves, sentence(error.borrow()))
}
