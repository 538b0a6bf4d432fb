//! One API that does not answer, beside others that do: it takes the places of its own callers, and leaves theirs to those of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::http2::{ask, getting, on_http2};
use super::{connect, get, refused, routes, told, uuid};
use crate::support::{Connection, FakeApi, Granting, Mood, PATIENCE, Plan, World, eventually};

/// An eighth of them is not for calls.
const CONNECTIONS: usize = 80;
/// Of the others half, but for one that nobody may have left yet.
const HALF: std::ops::RangeInclusive<usize> = 33..=36;
/// Whoever answers nobody for so long hangs.
const HANGS: Duration = Duration::from_secs(2);
/// A token of the old server.
const OLDS: &str = "01d00000-0000-4000-8000-000000000001";

/// An API that answers when this is let go.
fn hanging() -> (FakeApi, Arc<Mutex<()>>) {
    let gate = Arc::new(Mutex::new(()));
    let closed = Arc::clone(&gate);
    let api = FakeApi::start(move |mut caller| {
        while caller.request().is_some() {
            drop(closed.lock());
            caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
        }
    });
    (api, gate)
}

fn bounded(plan: Plan) -> Plan {
    plan.set("limits", "connections", &CONNECTIONS.to_string()).set("gateway", "timeout", "\"10m\"")
}

fn beside(bad: &FakeApi, good: &FakeApi) -> World {
    let route = |prefix: &str, api: &FakeApi| format!("{{ prefix = \"{prefix}\", upstream = \"{}\" }}", api.url());
    bounded(routes(&format!("{}, {}", route("/bad", bad), route("/api", good)))).start()
}

/// So many callers that ask this.
fn callers(world: &World, count: usize, request: &[u8]) -> Vec<Connection> {
    (0..count)
        .map(|_| {
            let mut caller = connect(world);
            assert!(caller.write(request));
            caller
        })
        .collect()
}

/// Callers come one after the other until one finds no place: of several at once nobody knows how many still do.
fn fill(world: &World, api: &FakeApi, waiting: &mut Vec<Connection>, request: &[u8]) {
    let refused = || world.log(&format!("{}: so many calls wait for it", api.address())).len();
    while refused() == 0 {
        let before = api.seen().len();
        waiting.extend(callers(world, 1, request));
        eventually("it is asked, or not", || api.seen().len() > before || refused() > 0);
    }
    assert!(HALF.contains(&api.seen().len()), "{}", api.seen().len());
}

#[test]
fn an_api_that_hangs_leaves_half_of_all_places_to_the_calls_of_others() {
    let ((bad, gate), good) = (hanging(), FakeApi::good());
    let world = beside(&bad, &good);
    let closed = gate.lock();
    let uuid = uuid(&world);
    let mut waiting = callers(&world, 30, &get("/bad", &uuid));
    eventually("they wait", || bad.seen().len() == 30);
    world.clock.turn(HANGS);
    fill(&world, &bad, &mut waiting, &get("/bad", &uuid));
    // More than there are places for: whoever is refused gives his back.
    for mut caller in callers(&world, 32, &get("/bad", &uuid)) {
        let reply = caller.reply().expect("at once");
        assert_eq!(refused(&reply), told(504, "temporarily_unavailable", "3003000"));
        assert!(caller.is_closed());
    }
    assert!(HALF.contains(&bad.seen().len()), "{}", bad.seen().len());
    assert_eq!(connect(&world).ask(&get("/api", &uuid)).body, "good", "others find a place");
    world.login();
    let line = world.log(&format!("\"detail\":\"{}: so many calls wait for it", bad.address())).remove(0);
    assert_eq!((&line["outcome"], &line["fault"]), (&"api_slow".into(), &"upstream".into()), "{line}");

    drop(closed);
    for caller in &mut waiting[..30] {
        assert_eq!(caller.reply().expect("it is asked still").body, "late");
    }
    assert_eq!(connect(&world).ask(&get("/bad", &uuid)).body, "late", "it is asked again as soon as it answers");
}

#[test]
fn so_it_is_over_http2_where_each_call_has_a_place() {
    let ((bad, gate), good) = (hanging(), FakeApi::good());
    let world = beside(&bad, &good);
    let closed = gate.lock();
    let uuid = uuid(&world);
    on_http2(&world, async |sender| {
        let call = |_| {
            let (mut sender, request) = (sender.clone(), getting("/bad", &uuid));
            async move { ask(&mut sender, request).await.status.as_u16() }
        };
        let mut calls: FuturesUnordered<_> = (0..30).map(call).collect();
        while bad.seen().len() < 30 {
            assert_eq!(calls.next().now_or_never(), None, "they wait");
            tokio::task::yield_now().await;
        }
        world.clock.turn(HANGS);
        calls.extend((30..60).map(call));
        for _ in 0..60 - HALF.end() {
            assert_eq!(timeout(PATIENCE, calls.next()).await, Ok(Some(504)), "at once");
        }
        assert_eq!(ask(&mut sender.clone(), getting("/api", &uuid)).await.body, "good", "others find a place");
        drop(closed);
    });
    assert!(bad.seen().len() <= *HALF.end(), "{}", bad.seen().len());
}

#[test]
fn an_old_api_that_hangs_leaves_half_of_all_places_to_the_calls_of_new_ones() {
    let ((old, gate), good) = (hanging(), FakeApi::good());
    let plan = super::plan(&good, "").set("otk", "url", "\"http://127.0.0.1:1\"");
    let world = bounded(plan.set("otk", "api", &format!("\"{}\"", old.url()))).start();
    world.plant_text(OLDS);
    let closed = gate.lock();
    let uuid = uuid(&world);
    let mut waiting = callers(&world, 30, &get("/old", OLDS));
    eventually("they wait", || old.seen().len() == 30);
    world.clock.turn(HANGS);
    fill(&world, &old, &mut waiting, &get("/old", OLDS));
    for mut caller in callers(&world, 20, &get("/old", OLDS)) {
        assert_eq!(refused(&caller.reply().expect("at once")).0, 504);
    }
    assert_eq!(connect(&world).ask(&get("/api", &uuid)).body, "good", "others find a place");
    let detail = format!("\"detail\":\"the old API (`otk.api`): {}: so many calls wait for it", old.address());
    assert!(!world.log(&detail).is_empty());
    drop(closed);
}

#[test]
fn an_api_beside_which_there_is_no_other_has_all_places() {
    let (api, gate) = hanging();
    let route = |prefix: &str| format!("{{ prefix = \"{prefix}\", upstream = \"{}\" }}", api.url());
    let world = bounded(routes(&format!("{}, {}", route("/api"), route("/as-well")))).start();
    let closed = gate.lock();
    let uuid = uuid(&world);
    let mut waiting = callers(&world, 60, &get("/api", &uuid));
    eventually("all of them wait", || api.seen().len() == 60);
    drop(closed);
    for caller in &mut waiting {
        assert_eq!(caller.reply().expect("it is asked").body, "late");
    }
}

/// Whoever waits for the realm, since an API has refused his JWT, waits for no API: that has answered.
#[test]
fn an_api_that_refuses_at_once_is_asked_however_many_wait_for_the_realm() {
    let refusing = FakeApi::saying(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
    let world = beside(&refusing, &FakeApi::good());
    let uuid = uuid(&world);
    world.turn(61);
    world.realm.usually(Mood::Hang);
    let _waiting = callers(&world, 40, &get("/bad", &uuid));
    eventually("they are refused", || refusing.seen().len() == 40);
    world.clock.turn(HANGS);
    let _others = callers(&world, 10, &get("/bad", &uuid));
    eventually("all of them are", || refusing.seen().len() == 50);
}

/// It hangs since it was asked, and not since whoever asks it waited for his JWT.
#[test]
fn an_api_does_not_hang_for_as_long_as_the_realm_did() {
    let ((api, gate), realm) = (hanging(), Arc::new(Notify::new()));
    let world = beside(&api, &FakeApi::good());
    world.realm.next(Mood::Grant(Granting { expires_in: 300, ..Granting::default() }));
    let old = uuid(&world);
    world.turn(300);
    let fresh = uuid(&world);
    let closed = gate.lock();
    world.realm.next(Mood::Gate(realm.clone(), Box::new(Mood::Grant(Granting::default()))));
    let before = world.realm.count();
    let _waiting = callers(&world, 40, &get("/bad", &old));
    eventually("the realm is asked", || world.realm.count() > before);
    world.clock.turn(2 * HANGS);
    realm.notify_one();
    eventually("they have their JWT", || api.seen().len() == 40);
    let _others = callers(&world, 10, &get("/bad", &fresh));
    eventually("it is asked still", || api.seen().len() == 50);
    drop(closed);
}

/// So many idle ones are kept of one server.
const IDLE: usize = 128;

#[test]
fn of_the_connections_to_an_api_that_a_crowd_needed_no_more_are_kept_than_so_many() {
    let (gate, open) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(0)));
    let (closed, count) = (Arc::clone(&gate), Arc::clone(&open));
    let api = FakeApi::start(move |mut caller| {
        count.fetch_add(1, Ordering::SeqCst);
        while caller.request().is_some() {
            drop(closed.lock());
            caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
        }
        count.fetch_sub(1, Ordering::SeqCst);
    });
    let world = super::plan(&api, "").start();
    let request = get("/api", &uuid(&world));
    let held = gate.lock();
    let mut crowd: Vec<_> = (0..IDLE + 12).map(|_| connect(&world)).collect();
    assert!(crowd.iter_mut().all(|caller| caller.write(&request)));
    eventually("the API has them all", || open.load(Ordering::SeqCst) == crowd.len());
    drop(held);
    assert!(crowd.iter_mut().all(|caller| caller.reply().unwrap().status == 200));
    eventually("those beyond are closed", || open.load(Ordering::SeqCst) == IDLE);
}
