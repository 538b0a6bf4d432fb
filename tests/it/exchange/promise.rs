//! What `expires_in` says, from the outside (CONTRACT section 4).

use super::login::with;
use crate::support::{Granting, Mood, OLD_ID, Plan, World, client};

fn told(world: &World, expires_in: u64, refresh_expires_in: Option<u64>, refresh: bool) -> u64 {
    world.realm.next(Mood::Grant(Granting { expires_in, refresh_expires_in, refresh, ..Granting::default() }));
    world.login().json("expires_in").as_u64().unwrap()
}

#[test]
fn the_old_promise_is_kept_though_the_realm_says_one_second_less() {
    assert_eq!(told(&World::new(), 3599, Some(3599), true), 3600);
}

#[test]
fn no_more_is_promised_than_the_realms_chain_can_keep() {
    let world = World::new();
    assert_eq!(told(&world, 60, Some(36_000), true), 3600);
    assert_eq!(told(&world, 60, Some(0), true), 3600, "a refresh token without an end");
    assert_eq!(told(&world, 60, Some(1800), true), 1800);
    assert_eq!(told(&world, 3595, Some(0), false), 3600, "no refresh token, five seconds are ours to carry");
    assert_eq!(told(&world, 3594, Some(36_000), false), 3594);
    assert_eq!(told(&world, 600, None, true), 600, "how long the refresh token lives is not said");
    assert_eq!(told(&world, 7200, Some(7200), true), 3600);
}

#[test]
fn a_life_beyond_all_time_keeps_the_promise() {
    let world = World::new();
    assert_eq!(told(&world, u64::MAX, Some(3600), true), 3600);
    assert_eq!(told(&world, 3600, Some(u64::MAX), true), 3600);
    let access = world.login().text("access_token");
    assert!(world.active(&access));
}

#[test]
fn a_mapping_can_promise_otherwise() {
    let world = Plan::new().without_clients().client(&client(OLD_ID, "access_token_lifetime = \"10m\"")).start();
    assert_eq!(told(&world, 3599, Some(3599), true), 600);
}

#[test]
fn without_a_refresh_token_there_is_no_refresh_uuid() {
    let world = World::new();
    world.realm.next(Mood::Grant(Granting { refresh: false, ..Granting::default() }));
    let reply = world.token(&with("", ""));
    assert_eq!(reply.status, 200);
    assert!(!reply.body.contains("refresh_token"), "{}", reply.body);
}

#[test]
fn a_promise_that_cannot_be_kept_is_told_to_operators() {
    let world = World::new();
    told(&world, 60, Some(60), true);
    let note = format!("passbridge_notes_total{{client=\"{OLD_ID}\",note=\"promise_short\"}}");
    assert!((world.metric(&note) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn a_uuid_lives_exactly_as_long_as_it_was_promised() {
    let world = World::new();
    let access = world.login().text("access_token");
    world.turn(3599);
    assert!(world.active(&access));
    world.turn(1);
    assert!(!world.active(&access));
}
