//! The end: what is in flight is finished, nothing new is begun.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::cli::said::run;
use crate::support::{Granting, Mood, OLD_ID, OLD_SECRET, TOKEN, World, eventually, passport, post, post_with};

#[test]
fn what_is_in_flight_is_finished_and_an_idle_connection_is_closed() {
    let mut world = World::new();
    let gate = gated(&world);
    let mut idle = world.connect();
    let mut busy = world.connect();
    busy.write(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    eventually("the realm is asked", || world.realm.count() == 1);
    world.running().stop();
    assert!(idle.is_closed());
    assert_eq!(world.ops("/readyz").status, 503, "while it drains");
    gate.notify_one();
    let reply = world.checked(busy.reply().unwrap());
    assert_eq!(reply.status, 200);
    assert!(busy.is_closed());
    let token = reply.text("access_token");
    world.end();
    world.begin();
    assert!(world.active(&token), "what was answered while draining is kept");
}

/// A login whose realm answers when the gate is opened.
fn gated(world: &World) -> Arc<Notify> {
    let gate = Arc::new(Notify::new());
    world.realm.next(Mood::Gate(gate.clone(), Box::new(Mood::Grant(Granting::default()))));
    gate
}

#[test]
fn the_health_check_of_a_container_says_no_while_the_bridge_drains() {
    let mut world = World::new();
    let gate = gated(&world);
    let mut busy = world.connect();
    busy.write(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    eventually("the realm is asked", || world.realm.count() == 1);
    run(&world, &["health"], "").fine();
    world.running().stop();
    run(&world, &["health"], "").refused(1, "the bridge is not ready");
    gate.notify_one();
    assert_eq!(world.checked(busy.reply().unwrap()).status, 200);
    world.end();
}

#[test]
fn whoever_is_in_the_middle_of_a_head_does_not_hold_up_the_end() {
    for said in ["\r\n", "POST /auth/oauth/v2/token HT", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        let mut world = World::new();
        let (mut first, mut next) = (world.connect(), world.connect());
        assert_eq!(next.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))).status, 200);
        assert!(first.write(said.as_bytes()) && next.write(said.as_bytes()));
        assert_eq!(world.login().status, 200, "what was sent before is there too");
        let began = Instant::now();
        world.end();
        assert!(first.is_closed() && next.is_closed());
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}; `server.drain` is 30 s", began.elapsed());
    }
}

#[test]
fn whoever_is_answered_gets_his_answer_also_where_something_was_said_to_him_before() {
    let mut world = World::new();
    let gate = gated(&world);
    let (mut half, mut busy) = (world.connect(), world.connect());
    assert!(half.write(b"POST /auth"));
    busy.write(&post_with(TOKEN, &[("Expect", "100-continue")], &passport(OLD_ID, OLD_SECRET)));
    eventually("the realm is asked", || world.realm.count() == 1);
    world.running().stop();
    assert!(half.is_closed(), "who has not asked is waited for no longer");
    gate.notify_one();
    let reply = busy.reply().unwrap();
    assert_eq!(world.checked(reply).status, 200);
    world.end();
}
