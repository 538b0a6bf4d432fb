//! The steps of a login one by one, each alone on one thread and warm: where the microseconds go.

use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{HeaderMap, Method, Uri};
use passbridge::document::Findings;
use passbridge::domain::client::Client;
use passbridge::domain::dialect::{Endpoint, GrantKind, Slot};
use passbridge::domain::issue::{self, Asked, Issued, Moment};
use passbridge::domain::time::Clock;
use passbridge::domain::translate::{self, ParameterLimit};
use passbridge::keycloak::{Sent, wire};
use passbridge::legacy::reply::{self, Says, Value};
use passbridge::legacy::request::{self, Incoming, LegacyRequest};
use passbridge::mapping;
use passbridge::secrets::Environment;
use passbridge::server::{SystemClock, SystemEntropy};
use passbridge::store::{StoreSettings, TokenStore};
use passbridge::telemetry::{Metrics, Trail, log};

use crate::Wanted;
use crate::report::{Bar, Report};
use crate::rounds::Spread;
use crate::site::{Passport, Site, folder, legacy_id, login};
use crate::upstream::{self, Answer};

/// Times a step is taken in a row, and how many rows there are.
const BATCH: usize = 500;
const BATCHES: usize = 60;
/// Logins at once where a step waits for others.
const TOGETHER: usize = 64;

const LIMIT: ParameterLimit = ParameterLimit { characters: 4_000, refuse: false };

pub fn run(_wanted: &Wanted, report: &mut Report) {
    let work = folder();
    let realm = upstream::start();
    let site = Site::new(work.path(), "steps", format!("http://{realm}/auth/realms/SSO"));
    site.write();
    let loaded =
        mapping::load(&mapping::Place::new(site.folder.join("mappings")), &Environment::default(), &Findings::new())
            .unwrap();
    let client = loaded.table.client(&legacy_id(0)).unwrap();
    pure(client, report);
    told(client, &site, report);
    waiting(client, &site, report);
}

/// What only computes.
fn pure(client: &Arc<Client>, report: &mut Report) {
    let message = login(0, &Passport::invented());
    let body = body_of(&message);
    let answer = Answer::new().bytes;
    let answer = body_of(&answer);
    let legacy = read(client, body);
    let wish = wish(client, &legacy);
    let secret = client.client_secrets.first().unwrap();
    let issued = mint(client, answer);
    step(report, "read the request (3.3 KB form)", || drop(black_box(read(client, body))));
    step(report, "translate it", || drop(black_box(self::wish(client, &legacy))));
    step(report, "write the question to the realm", || drop(black_box(wire::body(&wish.request, secret))));
    step(report, "read the realm's answer (2.7 KB JSON)", || drop(black_box(granted(client, answer))));
    let granted = granted(client, answer);
    step(report, "mint: UUIDs, keys, seals", || drop(black_box(mint_of(client, &granted))));
    step(report, "write the reply", || drop(black_box(reply_of(client, &issued))));
}

/// The log line, to a file, and the metrics.
fn told(client: &Arc<Client>, site: &Site, report: &mut Report) {
    let issued = mint(client, body_of(&Answer::new().bytes));
    let trail = Trail {
        endpoint: Some(Endpoint::Token),
        address: Some([127, 0, 0, 1].into()),
        client: Some(Arc::clone(client)),
        grant: Some("passport".to_owned()),
        family: Some(issued.family.family.id),
        token: Some(issued.family.access.0),
        realm: Some(Duration::from_micros(6_123)),
        ..Trail::default()
    };
    let metrics = Metrics::new();
    step(report, "count it in the metrics", || metrics.request(&trail, Duration::from_micros(7_456)));
    // Log lines go to standard error: to a file for a while.
    let file = fs::File::create(site.folder.join("steps.log")).unwrap();
    let kept = rustix::io::dup(rustix::stdio::stderr()).unwrap();
    rustix::stdio::dup2_stderr(&file).unwrap();
    let logging = log::begin("info", &Metrics::new().log_lost).unwrap();
    let cost = measure(|| log::request(&trail, 200, Duration::from_micros(7_456)));
    drop(logging);
    rustix::stdio::dup2_stderr(&kept).unwrap();
    report.spread("steps", "step: write its line to a log file", "us", cost, Bar::None);
}

/// What waits for others: 64 at once, CPU of the asking thread alone.
fn waiting(client: &Arc<Client>, site: &Site, report: &mut Report) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = StoreSettings::Embedded { path: site.store.clone(), cache_bytes: 64 << 20 };
    let store = TokenStore::open(&store, clock).unwrap();
    let granted = granted(client, body_of(&Answer::new().bytes));
    let mut families = Vec::new();
    for _ in 0..BATCHES {
        families.push((0..TOGETHER).map(|_| mint_of(client, &granted).family).collect::<Vec<_>>());
    }
    let cost = together(|| {
        let puts = families.pop().unwrap().into_iter().map(|family| store.put(family));
        assert!(runtime.block_on(join_all(puts)).iter().all(Result::is_ok));
    });
    report.spread("steps", "step: hand it to the store (the asking side)", "CPU us", cost, Bar::None);
    runtime.block_on(store.close());
}

fn step(report: &mut Report, what: &str, work: impl Fn()) {
    report.spread("steps", &format!("step: {what}"), "us", measure(work), Bar::None);
}

/// Microseconds for each time.
fn measure(work: impl Fn()) -> Spread {
    (0..BATCH).for_each(|_| work());
    Spread::of((0..BATCHES).map(|_| {
        let begun = Instant::now();
        (0..BATCH).for_each(|_| work());
        begun.elapsed().as_secs_f64() * 1e6 / BATCH as f64
    }))
}

/// CPU microseconds of this thread for each of those that wait together.
fn together(mut work: impl FnMut()) -> Spread {
    (0..3).for_each(|_| work());
    Spread::of((3..BATCHES).map(|_| {
        let before = own_cpu();
        work();
        own_cpu().saturating_sub(before).as_secs_f64() * 1e6 / TOGETHER as f64
    }))
}

fn own_cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn body_of(message: &[u8]) -> &[u8] {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    &message[end + 4..]
}

fn read(client: &Arc<Client>, body: &[u8]) -> LegacyRequest {
    let incoming = Incoming {
        method: &Method::POST,
        uri: &Uri::from_static("/auth/oauth/v2/token"),
        headers: &HeaderMap::new(),
        body,
    };
    request::read(Endpoint::Token, &[Arc::clone(&client.dialect)], &incoming).unwrap()
}

fn wish(client: &Arc<Client>, legacy: &LegacyRequest) -> translate::Translated {
    let grant = &client.dialect.grants["passport"];
    translate::to_realm(client, grant, &legacy.parameters, Some([127, 0, 0, 1].into()), LIMIT).unwrap()
}

fn granted(client: &Client, answer: &[u8]) -> passbridge::domain::grant::RealmGrant {
    wire::read((200, answer), GrantKind::Login, &client.dialect.realm, &Sent::default()).unwrap()
}

fn mint(client: &Arc<Client>, answer: &[u8]) -> Issued {
    mint_of(client, &granted(client, answer))
}

fn mint_of(client: &Arc<Client>, granted: &passbridge::domain::grant::RealmGrant) -> Issued {
    let asked = Asked { client, grant_type: "passport", scope: Some("client_registration") };
    let now = SystemClock::new().now();
    issue::mint(asked, granted, Moment { given: now, now, believed: now, was_set_back: false, entropy: &SystemEntropy })
}

fn reply_of(client: &Client, issued: &Issued) -> reply::Reply {
    let told = &issued.reply;
    let values = [
        (Slot::GrantType, Value::Text("passport")),
        (Slot::AccessToken, Value::Text(told.access.expose())),
        (Slot::TokenType, Value::Text("Bearer")),
        (Slot::ExpiresIn, Value::Number(3600)),
        (Slot::Scope, Value::Text(&told.scope)),
        (Slot::RefreshToken, Value::Text(told.refresh.as_ref().unwrap().expose())),
    ];
    reply::success(&client.dialect, Says::Token(&values))
}
