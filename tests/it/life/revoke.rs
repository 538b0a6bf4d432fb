//! A revocation: every UUID of the family is over at once, however the client asks for it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use passbridge::domain::family::{AccessRecord, Family};
use passbridge::domain::opaque::{Fingerprint, OpaqueToken, TokenUse};
use passbridge::domain::time::Clock;
use passbridge::store::{Bundle, Change};

use super::{
    OTHER, REVOKED, gated, grant, login, noted, pair, refresh, refreshed, refreshing, refused, reply, revoke, revoking,
    rotation, send, told, until_asked,
};
use crate::cli::said::run;
use crate::store::world::block_on;
use crate::support::world::REVOKE;
use crate::support::{Look, OLD_ID, OLD_SECRET, Plan, RawReply, World, client, eventually, passport, post, post_with};

fn revoked(reply: &RawReply) {
    assert_eq!((reply.status, reply.body.as_str()), (200, REVOKED));
}

fn basic(secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{OLD_ID}:{secret}")))
}

fn delete(query: &str, headers: &str) -> Vec<u8> {
    format!("DELETE {REVOKE}?{query} HTTP/1.1\r\nHost: old.example.org\r\n{headers}\r\n").into_bytes()
}

fn delete_with(query: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = format!("{headers}Content-Length: {}\r\n", body.len());
    [delete(query, &length), body.as_bytes().to_vec()].concat()
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// Everything of the family is over, and the realm hears that its session is.
#[track_caller]
fn is_over(world: &World, access: &str, uuid: &str) {
    assert!(!world.active(access));
    assert_eq!(world.introspect(uuid, "refresh_token").json("active"), false);
    refused(&refresh(world, uuid));
    let newest = world.realm.tokens().last().cloned().unwrap();
    eventually("the realm is told", || told(world).last() == Some(&newest));
}

#[test]
fn each_way_of_asking_ends_the_family_and_the_realms_session() {
    let credentials = format!("client_id={OLD_ID}&client_secret={OLD_SECRET}");
    let authorization = format!("Authorization: {}\r\n", basic(OLD_SECRET));
    type Way = Box<dyn Fn(&str) -> Vec<u8>>;
    let ways: Vec<(&str, Way)> = vec![
        ("POST, credentials in the body", Box::new(|uuid| post(REVOKE, &revoking(uuid)))),
        (
            "POST, Basic",
            Box::new(|uuid| post_with(REVOKE, &[("Authorization", &basic(OLD_SECRET))], &[("token", uuid)])),
        ),
        (
            "DELETE, credentials in the query",
            Box::new({
                let credentials = credentials.clone();
                move |uuid| delete(&format!("{credentials}&token={uuid}&token_type_hint=access_token"), "")
            }),
        ),
        (
            "DELETE, Basic",
            Box::new({
                let authorization = authorization.clone();
                move |uuid| delete(&format!("token={uuid}"), &authorization)
            }),
        ),
        (
            "DELETE, all in the body",
            Box::new({
                let credentials = credentials.clone();
                move |uuid| delete_with("", FORM, &format!("token={uuid}&{credentials}"))
            }),
        ),
        (
            "DELETE, credentials in the body, token in the query",
            Box::new(move |uuid| delete_with(&format!("token={uuid}"), FORM, &credentials)),
        ),
        (
            "DELETE, Basic, token in the body",
            Box::new({
                let head = format!("{FORM}{authorization}");
                move |uuid| delete_with("", &head, &format!("token={uuid}"))
            }),
        ),
        (
            "DELETE, Basic, and a body that is no form",
            Box::new(move |uuid| {
                let head = format!("Content-Type: application/json\r\n{authorization}");
                delete_with(&format!("token={uuid}"), &head, "{}")
            }),
        ),
    ];
    for (name, way) in ways {
        for which in ["access", "refresh"] {
            let world = World::new();
            let (access, uuid) = login(&world);
            let token = if which == "access" { &access } else { &uuid };
            let reply = world.ask(&way(token));
            assert_eq!((reply.status, reply.body.as_str()), (200, REVOKED), "{name}, {which}");
            is_over(&world, &access, &uuid);
        }
    }
}

/// Fingerprint and record of an access UUID.
fn record_of(world: &World, access: &str) -> (Fingerprint, AccessRecord) {
    let fingerprint = OpaqueToken::parse(access).unwrap().fingerprint(TokenUse::Access);
    let record = block_on(world.running().bridge().store.access(&fingerprint)).unwrap().unwrap();
    (fingerprint, record)
}

/// Seconds until a store drops what is over by a clock that it has just begun to look at.
const BELIEVED: u64 = 3_600;

/// Has the store lose a login and keep its UUIDs, as Redis may in a failover.
fn lose(world: &World, access: &str) {
    let store = &world.running().bridge().store;
    let (_, record) = record_of(world, access);
    let family = block_on(store.family(record.family)).unwrap().unwrap().value;
    let nobodys = Family { members: Vec::new(), session: None, ..family };
    block_on(store.import(&Bundle { family: nobodys, access: Vec::new(), refresh: Vec::new() })).unwrap();
    world.turn(180);
    eventually("it is forgotten", || {
        block_on(store.sweep(world.clock.now())).unwrap();
        block_on(store.family(record.family)).unwrap().is_none()
    });
}

#[test]
fn a_uuid_whose_login_the_store_has_lost_is_ended_by_itself_and_operators_hear_of_it() {
    let world = World::new();
    world.turn(BELIEVED);
    let (first, uuid) = login(&world);
    let (second, uuid) = refreshed(&world, &uuid);
    lose(&world, &first);
    assert!(world.active(&first) && world.active(&second));
    for (number, access) in [(1.0, &first), (2.0, &second)] {
        revoke(&world, access);
        assert!(!world.active(access));
        noted(&world, "outlived_login", number);
        noted(&world, "realm_untold", number);
    }
    revoke(&world, &first);
    noted(&world, "outlived_login", 2.0);
    let over = world.log("\"notes\":\"outlived_login realm_untold\"");
    assert!(!over.is_empty());
    eventually("the audit has it", || {
        let told = |row: &serde_json::Value| row["what"] == "revocation" && row["notes"][0] == "outlived_login";
        world.audit().iter().filter(|row| told(row)).count() == 2
    });
    revoke(&world, &uuid);
    noted(&world, "outlived_login", 3.0);
    refused(&refresh(&world, &uuid));
}

#[test]
fn an_operator_ends_a_uuid_whose_login_the_store_has_lost() {
    let world = Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }").start();
    world.turn(BELIEVED);
    let (access, _) = login(&world);
    lose(&world, &access);
    let said = run(&world, &["token", "revoke"], &access).fine();
    assert_eq!(said.err, "1 login ended\n");
    assert!(!world.active(&access));
    let again = run(&world, &["token", "revoke"], &access).fine();
    assert_eq!(again.err, "none of them was alive\n");
}

#[test]
fn a_uuid_that_came_back_after_its_login_was_revoked_is_ended_when_that_is_asked_for_again() {
    let world = World::new();
    let (access, _) = login(&world);
    let (fingerprint, live) = record_of(&world, &access);
    revoke(&world, &access);
    let store = &world.running().bridge().store;
    let family = block_on(store.family(live.family)).unwrap().unwrap().value;
    block_on(store.import(&Bundle { family, access: vec![(fingerprint, live.clone())], refresh: Vec::new() })).unwrap();
    assert!(world.active(&access), "as where a failover has lost the end of this UUID alone");
    revoke(&world, &access);
    assert!(!world.active(&access));
    noted(&world, "outlived_login", 1.0);
    let family = block_on(store.family(live.family)).unwrap().unwrap().value;
    assert_eq!(family.members.len(), 2, "it is named once");
}

#[test]
fn a_delete_that_says_something_in_query_and_body_is_refused() {
    let world = World::new();
    let (access, _) = login(&world);
    let credentials = format!("client_id={OLD_ID}&client_secret={OLD_SECRET}");
    let twice = world.ask(&delete_with(&format!("token={access}"), FORM, &format!("token={access}&{credentials}")));
    assert_eq!(twice.said(), (400, "invalid_request".to_owned()));
    let broken = world.ask(&delete_with(&format!("token={access}&{credentials}"), FORM, "x=%"));
    assert_eq!(broken.said(), (400, "invalid_request".to_owned()));
    assert!(world.active(&access));
}

#[test]
fn credentials_in_the_query_of_a_post_count_only_where_the_mapping_allows_it() {
    let world = Plan::new().client(&client("very-old", "allow_query_credentials = true")).start();
    let by_query = |id: &str, uuid: &str| {
        let path = format!("{REVOKE}?client_id={id}&client_secret={OLD_SECRET}");
        world.ask(&post(&path, &[("token", uuid)]))
    };
    let (access, _) = login(&world);
    let refused = by_query(OLD_ID, &access);
    assert_eq!(refused.said(), (401, "invalid_client".to_owned()));
    assert_eq!(refused.header("x-ca-err").as_deref(), Some("3004201"));
    assert!(world.active(&access));
    let very_old = pair(&world.token(&passport("very-old", OLD_SECRET))).0;
    revoked(&by_query("very-old", &very_old));
    eventually("the realm is told", || told(&world).len() == 1);
}

#[test]
fn any_hint_or_none_finds_the_token() {
    for hint in ["access_token", "refresh_token", "nonsense", ""] {
        for which in [0, 1] {
            let world = World::new();
            let (access, uuid) = login(&world);
            let token = [&access, &uuid][which];
            revoked(&world.ask(&post(REVOKE, &[revoking(token), vec![("token_type_hint", hint)]].concat())));
            is_over(&world, &access, &uuid);
        }
    }
}

#[test]
fn an_older_uuid_ends_the_whole_family_with_the_realms_newest_token() {
    for which in [0, 1] {
        let world = World::new();
        let (old_access, old) = login(&world);
        let (_, between) = refreshed(&world, &old);
        let (access, uuid) = refreshed(&world, &between);
        world.turn(120);
        revoke(&world, [&old_access, &old][which]);
        is_over(&world, &access, &uuid);
        assert!(!world.active(&old_access));
    }
}

#[test]
fn one_familys_end_is_not_anothers() {
    let world = World::new();
    let (one, _) = login(&world);
    let (other, uuid) = login(&world);
    revoke(&world, &one);
    assert!(!world.active(&one) && world.active(&other));
    refreshed(&world, &uuid);
}

#[test]
fn it_can_be_asked_again_and_again() {
    let world = World::new();
    let (access, uuid) = login(&world);
    for token in [&access, &access, &uuid, &access] {
        revoke(&world, token);
    }
    is_over(&world, &access, &uuid);
    eventually("nothing is left to be told", || world.metric("passbridge_revocations_untold") == 0.0);
    assert_eq!(told(&world).len(), 1);
}

#[test]
fn unknown_and_foreign_tokens_hear_the_same_and_nothing_happens() {
    let world = Plan::new().client(&client(OTHER, "")).start();
    let foreign = pair(&world.token(&passport(OTHER, OLD_SECRET)));
    for token in ["7c9e6679-7425-40de-944b-e07fc1f90ae7", "nonsense", "eyJhbGciOiJIUzI1NiJ9.e30.x"] {
        revoke(&world, token);
    }
    noted(&world, "unknown_token", 3.0);
    for token in [&foreign.0, &foreign.1] {
        revoke(&world, token);
    }
    noted(&world, "foreign_token", 2.0);
    let refreshed = world.token(&super::refreshing_by(OTHER, &foreign.1));
    assert_eq!(refreshed.status, 200);
    assert!(told(&world).is_empty());
}

#[test]
fn wrong_credentials_and_a_missing_token_end_nothing() {
    let world = World::new();
    let (access, _) = login(&world);
    let wrong = [("client_id", OLD_ID), ("client_secret", "wrong"), ("token", access.as_str())];
    let reply = world.ask(&post(REVOKE, &wrong));
    assert_eq!(reply.header("x-ca-err").as_deref(), Some("3004201"));
    let reply = world.ask(&post(REVOKE, &[("client_id", OLD_ID), ("client_secret", OLD_SECRET)]));
    assert_eq!(reply.header("x-ca-err").as_deref(), Some("3004103"));
    assert!(world.active(&access));
}

#[test]
fn a_refresh_in_flight_is_ended_too_and_the_session_that_it_prolonged() {
    for word in ["on", "off", "unknown"] {
        let world = rotation(word).start();
        let (access, uuid) = login(&world);
        let old = world.realm.tokens().last().cloned().unwrap();
        let gate = gated(&world, grant());
        let waiting = send(&world, &refreshing(&uuid));
        until_asked(&world, 1);
        revoke(&world, &access);
        assert!(!world.active(&access), "at once");
        eventually("the realm hears the token that there was", || told(&world) == [old.clone()]);
        gate.notify_one();
        refused(&reply(&world, waiting));
        is_over(&world, &access, &uuid);
        eventually("nothing is left to be told", || world.metric("passbridge_revocations_untold") == 0.0);
    }
}

#[test]
fn a_refresh_that_is_kept_between_a_revocations_two_steps_is_told_with_its_newer_token() {
    let world = rotation("on").start();
    let (access, uuid) = login(&world);
    let store = &world.running().bridge().store;
    let id = record_of(&world, &access).1.family;
    let known = || block_on(store.family(id)).unwrap().unwrap();
    let first = known().value;
    refreshed(&world, &uuid);
    let second = known();
    block_on(store.commit(Change::of(second.version, first))).unwrap();
    let again = Change::of(known().version, second.value);
    let held = world.clock.hold_at("store-writer", Look::Passed);
    let mut waiting = world.connect();
    waiting.write(&post(REVOKE, &revoking(&access)));
    eventually("word of the first token is being left", || world.clock.has_held());
    // Stands behind that word, and before the end.
    block_on(futures_util::future::join(store.commit(again), async { drop(held) })).0.unwrap();
    revoked(&reply(&world, waiting));
    let newest = world.realm.tokens().last().cloned().unwrap();
    eventually("the realm is told", || told(&world).last() == Some(&newest));
}

#[test]
fn a_renewal_in_flight_is_ended_too() {
    let world = rotation("on").start();
    let short = crate::support::Granting {
        expires_in: 60,
        refresh_expires_in: Some(3600),
        ..crate::support::Granting::default()
    };
    world.realm.next(crate::support::Mood::Grant(short));
    let (access, uuid) = login(&world);
    world.turn(50);
    let gate = gated(&world, grant());
    assert!(world.active(&access));
    until_asked(&world, 1);
    revoke(&world, &uuid);
    gate.notify_one();
    is_over(&world, &access, &uuid);
}

#[test]
fn after_its_family_was_revoked_a_lost_answer_is_not_handed_out() {
    let world = World::new();
    let (_, uuid) = login(&world);
    let (access, _) = refreshed(&world, &uuid);
    revoke(&world, &access);
    refused(&refresh(&world, &uuid));
}

#[test]
fn a_uuid_past_its_own_end_still_ends_the_whole_family() {
    let plan = rotation("off").without_clients().client(&client(OLD_ID, "access_token_lifetime = \"10m\""));
    for shown in 0..4 {
        let world = plan.clone().start();
        let (first, used) = login(&world);
        world.turn(3000);
        let (second, newer) = refreshed(&world, &used);
        world.turn(3000);
        let (access, uuid) = refreshed(&world, &newer);
        revoke(&world, [&first, &used, &second, &newer][shown]);
        is_over(&world, &access, &uuid);
    }
}
