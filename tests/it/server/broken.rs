//! A part of the program ends by a fault of its own, a panic: what ends with it, and who hears of that.

use crate::support::{Look, OLD_ID, OLD_SECRET, World, block_on, passport};

#[test]
fn a_store_whose_writer_has_ended_refuses_logins_before_the_realm_is_asked_and_ends_the_process() {
    let world = World::new();
    let before = world.login().text("access_token");
    world.clock.break_at("store-writer", Look::Passed);
    let lost = world.token(&passport(OLD_ID, OLD_SECRET));
    assert_eq!((lost.status, world.clock.has_broken()), (500, true), "{}", lost.body);
    let asked = world.realm.asked("token").len();
    for _ in 0..2 {
        let refused = world.token(&passport(OLD_ID, OLD_SECRET));
        assert_eq!(refused.said(), (500, "server_error".to_owned()), "{}", refused.body);
    }
    assert_eq!(world.realm.asked("token").len(), asked, "no passport is spent");
    assert!(world.active(&before), "what is kept is read");
    let ready = world.ops("/readyz");
    assert_eq!(ready.text("store"), "refusing", "{}", ready.body);
    assert_eq!(ready.text("store_refuses"), "the token store is closed", "{}", ready.body);
    assert_eq!(world.metric("passbridge_store_writable"), 0.0);
    assert_eq!(block_on(world.running().broken()), "store-writer");
}
