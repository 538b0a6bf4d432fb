//! Whoever joins a flight that somebody else began, for something else.

use super::{
    asking, gated, login, meanwhile, minutes, noted, pair, refreshes, refreshing, reply, rotation, send, until_asked,
};
use crate::support::{Granting, Mood, OLD_ID, World, client};

/// A realm whose JWTs live for a minute.
fn minute() -> World {
    let world = rotation("on").start();
    world.realm.usually(Mood::Grant(minutes()));
    world
}

fn no_such_scope() -> Mood {
    Mood::Refuse(400, "invalid_scope", "Invalid scopes: email")
}

fn narrowing(uuid: &str) -> Vec<(&str, &str)> {
    [refreshing(uuid), vec![("scope", "email")]].concat()
}

/// A pair of a scope that the realm gives no more, its JWT over.
fn narrowed(world: &World) -> (String, String) {
    let (_, uuid) = login(world);
    world.realm.next(Mood::Grant(Granting { scope: Some("email profile"), ..minutes() }));
    let narrow = pair(&world.token(&narrowing(&uuid)));
    world.turn(60);
    narrow
}

#[test]
fn a_refresh_for_a_refused_scope_is_refused_alone() {
    let world = minute();
    let (access, uuid) = login(&world);
    world.turn(120);
    let gate = gated(&world, no_such_scope());
    let narrow = send(&world, &narrowing(&uuid));
    until_asked(&world, 1);
    let (using, plain) = (asking(&world, &access), send(&world, &refreshing(&uuid)));
    meanwhile(&world);
    gate.notify_one();
    let narrow = reply(&world, narrow);
    assert_eq!(
        (narrow.said(), narrow.header("x-ca-err").as_deref()),
        ((400, "invalid_scope".to_owned()), Some("3003115"))
    );
    assert_eq!(reply(&world, using).json("active"), true, "its UUID is good");
    assert_eq!(reply(&world, plain).status, 200, "it asked for no scope");
}

#[test]
fn a_refresh_is_not_refused_for_a_scope_that_a_renewal_asked_for() {
    let world = minute();
    let (access, uuid) = narrowed(&world);
    let gate = gated(&world, no_such_scope());
    let using = asking(&world, &access);
    until_asked(&world, 2);
    let plain = send(&world, &refreshing(&uuid));
    meanwhile(&world);
    gate.notify_one();
    assert_eq!(reply(&world, using).json("active"), false);
    assert_eq!(reply(&world, plain).status, 200);
}

#[test]
fn who_asked_for_the_same_hears_the_same_and_the_realm_is_asked_once() {
    let world = minute();
    let (access, _) = narrowed(&world);
    let gate = gated(&world, no_such_scope());
    let using: Vec<_> = (0..30).map(|_| asking(&world, &access)).collect();
    until_asked(&world, 2);
    meanwhile(&world);
    gate.notify_one();
    assert!(using.into_iter().all(|using| reply(&world, using).json("active") == false));
    assert_eq!(refreshes(&world).len(), 2, "the refresh and one renewal");
}

#[test]
fn a_refresh_that_waits_for_a_renewal_and_asks_itself_notes_the_second_secret_once() {
    let more = "client_secret = [{ env = \"NEW_SECRET\" }, { env = \"NEXT_SECRET\" }]";
    let plan = rotation("on").without_clients().client(&client(OLD_ID, more));
    let world = plan.environment("NEXT_SECRET", "planted-next-secret").start();
    world.realm.usually(Mood::Grant(minutes()));
    let (access, uuid) = login(&world);
    world.turn(120);
    let wrong = || Mood::Refuse(401, "unauthorized_client", "Invalid client or Invalid client credentials");
    let gate = gated(&world, wrong());
    let using = asking(&world, &access);
    until_asked(&world, 1);
    // After the renewal's second question comes the first of the refresh.
    world.realm.next_at("token", Mood::Grant(minutes()));
    world.realm.next_at("token", wrong());
    let plain = send(&world, &refreshing(&uuid));
    meanwhile(&world);
    gate.notify_one();
    assert_eq!(reply(&world, using).json("active"), true);
    assert_eq!(reply(&world, plain).status, 200);
    assert_eq!(refreshes(&world).len(), 4, "each asked with both secrets");
    noted(&world, "second_secret", 1.0);
}
