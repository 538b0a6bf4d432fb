//! The end: what is in flight is finished, nothing new is begun.

use crate::support::{Mood, OLD_ID, OLD_SECRET, TOKEN, World, eventually, passport, post};

#[test]
fn what_is_in_flight_is_finished_and_an_idle_connection_is_closed() {
    let mut world = World::new();
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    world.realm.next(Mood::Gate(gate.clone(), Box::new(Mood::Grant(crate::support::Granting::default()))));
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
