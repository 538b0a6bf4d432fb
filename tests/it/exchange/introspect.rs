//! Introspection of what was handed out (RFC 7662).

use crate::support::world::INTROSPECT;
use crate::support::{BEGIN, OLD_ID, OLD_SECRET, Plan, World, client, passport, post, post_with};

fn asks(world: &World, id: &str, token: &str) -> String {
    world.ask(&post(INTROSPECT, &[("client_id", id), ("client_secret", OLD_SECRET), ("token", token)])).body
}

const INACTIVE: &str = "{\r\n  \"active\":false\r\n}";

#[test]
fn a_live_uuid_is_described_in_legacy_words() {
    let world = World::new();
    let access = world.login().text("access_token");
    let reply = world.introspect(&access, "access_token");
    assert_eq!(reply.json("active"), true);
    assert_eq!(reply.text("scope"), "client_registration");
    assert_eq!(reply.text("client_id"), OLD_ID);
    assert_eq!(reply.text("username"), "90417");
    assert_eq!(reply.text("sub"), "f:4f1c2a3e:90417");
    assert_eq!(reply.json("exp"), BEGIN.secs() + 3600);
    assert_eq!(reply.json("iat"), BEGIN.secs());
}

#[test]
fn a_refresh_uuid_is_active_only_to_who_says_what_it_is() {
    let world = World::new();
    let refresh = world.login().text("refresh_token");
    assert_eq!(asks(&world, OLD_ID, &refresh), INACTIVE);
    assert_eq!(world.introspect(&refresh, "access_token").body, INACTIVE);
    let reply = world.introspect(&refresh, "refresh_token");
    assert_eq!(reply.json("active"), true);
    assert_eq!(reply.text("token_type"), "refresh_token");
    assert_eq!(reply.json("exp"), BEGIN.secs() + 3599);
    world.turn(3599);
    assert_eq!(world.introspect(&refresh, "refresh_token").body, INACTIVE);
}

#[test]
fn a_wrong_hint_hides_no_access_uuid_and_the_answer_says_what_it_is() {
    let world = World::new();
    let access = world.login().text("access_token");
    let reply = world.introspect(&access, "refresh_token");
    assert_eq!(reply.body, asks(&world, OLD_ID, &access));
    assert_eq!((reply.json("active"), reply.text("token_type")), (true.into(), "Bearer".to_owned()));
    world.turn(3600);
    assert_eq!(world.introspect(&access, "refresh_token").body, INACTIVE);
}

#[test]
fn letters_of_either_case_are_the_same_uuid() {
    let world = World::new();
    let access = world.login().text("access_token").to_ascii_uppercase();
    assert!(world.active(&access));
}

#[test]
fn what_is_no_uuid_of_ours_is_inactive_and_no_error() {
    let world = World::new();
    for token in ["b018f31a-c2ef-4274-9fc8-7e3bf99dd3ba", "x", "%00", "b018f31a-c2ef-4274-9fc8-7e3bf99dd3ba-0000000000"]
    {
        assert_eq!(asks(&world, OLD_ID, token), INACTIVE, "{token}");
    }
}

#[test]
fn another_clients_token_is_seen_by_resource_servers_alone() {
    let world =
        Plan::new().client(&client("other", "")).client(&client("resource-server", "may_introspect = true")).start();
    let access = world.login().text("access_token");
    assert_eq!(asks(&world, "other", &access), INACTIVE);
    assert!(asks(&world, "resource-server", &access).contains("\"active\":true"));
    let note = "passbridge_notes_total{client=\"other\",note=\"foreign_token\"}";
    assert!((world.metric(note) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn the_token_must_be_there_and_the_caller_known() {
    let world = World::new();
    let missing = world.ask(&post(INTROSPECT, &[("client_id", OLD_ID), ("client_secret", OLD_SECRET)]));
    assert_eq!(missing.said(), (400, "invalid_request".to_owned()));
    let nobody = world.ask(&post(INTROSPECT, &[("client_id", OLD_ID), ("client_secret", "wrong"), ("token", "x")]));
    assert_eq!(nobody.said(), (401, "invalid_client".to_owned()));
    let wrong = world.ask(&post_with(INTROSPECT, &[("Authorization", "Bearer x")], &[("token", "x")]));
    assert_eq!(wrong.said(), (401, "invalid_client".to_owned()));
}

#[test]
fn a_uuid_outlives_a_restart_on_the_same_files() {
    let mut world = World::new();
    let (access, refresh) = {
        let reply = world.login();
        (reply.text("access_token"), reply.text("refresh_token"))
    };
    world.restart();
    assert!(world.active(&access));
    assert_eq!(world.introspect(&refresh, "refresh_token").json("active"), true);
    assert_eq!(world.token(&passport(OLD_ID, OLD_SECRET)).status, 200);
    assert!(world.active(&access));
}

#[test]
fn another_clients_refresh_uuid_is_seen_by_resource_servers_alone() {
    let world =
        Plan::new().client(&client("other", "")).client(&client("resource-server", "may_introspect = true")).start();
    let refresh = world.login().text("refresh_token");
    let hinted = |id: &str| {
        let said = [("token", refresh.as_str()), ("token_type_hint", "refresh_token")];
        world.ask(&post(INTROSPECT, &[&[("client_id", id), ("client_secret", OLD_SECRET)], &said[..]].concat())).body
    };
    assert_eq!(hinted("other"), INACTIVE);
    assert!(hinted("resource-server").contains("\"active\":true"));
}
