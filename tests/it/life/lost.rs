//! What becomes of a family when the realm's answer is lost, or the bridge with it.

use std::time::Duration;

use passbridge::domain::family::{Family, FamilyState};
use passbridge::store::Change;

use super::{
    gated, grant, login, mortal, pair, refresh, refreshed, refreshes, refreshing, refused, reply, rotation, send,
    server_error, told, until_asked,
};
use crate::support::{Granting, Look, Mood, OLD_ID, OLD_SECRET, Plan, World, eventually, passport};

/// A realm that may answer late, and is not waited for long.
fn impatient(word: &str) -> Plan {
    rotation(word).set("realm", "timeout", "\"300ms\"")
}

/// A JWT of a minute behind a promise of an hour.
fn short() -> Mood {
    Mood::Grant(Granting { expires_in: 60, refresh_expires_in: Some(36_000), ..Granting::default() })
}

/// An answer whose access token fits no call.
const UNFIT: &str =
    r#"{"access_token":"not a jwt \r\n x","expires_in":3599,"refresh_token":"r","refresh_expires_in":3599}"#;

/// What a realm does after it has heard a refresh token, and nobody knows whether it was spent.
fn losses() -> Vec<Mood> {
    vec![
        Mood::Reset,
        Mood::Bytes(Vec::new()),
        Mood::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"access_token\":\"cut".to_vec()),
        Mood::answer(200, "text/html", "<p>not a token"),
        Mood::answer(200, "application/json", "{}"),
        Mood::answer(200, "application/json", UNFIT),
        Mood::answer(201, "application/json", "{}"),
        Mood::answer(408, "text/plain", ""),
        Mood::answer(500, "application/json", "{}"),
        Mood::answer(502, "text/html", "bad gateway"),
        Mood::answer(504, "text/html", "too late"),
        Mood::Endless,
    ]
}

/// What a realm says that surely spends nothing.
fn unspent() -> Vec<Mood> {
    vec![
        Mood::answer(503, "text/html", "booting"),
        Mood::answer(429, "text/html", "slow down"),
        Mood::Refuse(401, "unauthorized_client", "Invalid client or Invalid client credentials"),
        Mood::Refuse(401, "invalid_client", "Invalid client or Invalid client credentials"),
    ]
}

#[test]
fn with_rotation_on_or_unknown_a_lost_answer_ends_refreshing_and_nothing_else() {
    for word in ["on", "unknown"] {
        for mood in losses() {
            let world = rotation(word).start();
            world.realm.next(short());
            let (access, uuid) = login(&world);
            world.realm.next(mood.clone());
            server_error(&refresh(&world, &uuid));
            for _ in 0..3 {
                refused(&refresh(&world, &uuid));
            }
            assert_eq!(refreshes(&world).len(), 1, "the realm never hears it again: {mood:?}");
            assert!(world.active(&access), "to the end of its JWT: {mood:?}");
            world.turn(58);
            assert!(world.active(&access));
            world.turn(2);
            assert!(!world.active(&access));
            assert_eq!(refreshes(&world).len(), 1, "not even for the access UUID: {mood:?}");
        }
    }
}

#[test]
fn a_renewal_that_gets_a_token_that_fits_no_call_is_lost_too() {
    for (word, asked) in [("on", 1), ("unknown", 1), ("off", 2)] {
        let world = rotation(word).start();
        world.realm.next(short());
        let (access, uuid) = login(&world);
        world.turn(60);
        world.realm.next(Mood::answer(200, "application/json", UNFIT));
        server_error(&world.introspect(&access, ""));
        let again = refresh(&world, &uuid);
        assert_eq!((again.status == 200, refreshes(&world).len()), (word == "off", asked), "{word}");
    }
}

#[test]
fn with_rotation_off_the_next_try_asks_again() {
    for mood in losses() {
        let world = rotation("off").start();
        let (_, uuid) = login(&world);
        world.realm.next(mood.clone());
        server_error(&refresh(&world, &uuid));
        refreshed(&world, &uuid);
        let spent = refreshes(&world);
        assert_eq!((spent.len(), &spent[0]), (2, &spent[1]), "{mood:?}");
    }
}

#[test]
fn a_realm_that_hangs_during_a_refresh_is_server_error_in_time_and_counts_as_lost() {
    for (word, forgives) in [("on", false), ("unknown", false), ("off", true)] {
        let world = impatient(word).start();
        let (access, uuid) = login(&world);
        let family = family_of(&world, &uuid);
        world.realm.next(Mood::Hang);
        let begun = std::time::Instant::now();
        let waiting: Vec<_> = (0..5).map(|_| send(&world, &refreshing(&uuid))).collect();
        until_asked(&world, 1);
        for connection in waiting {
            server_error(&reply(&world, connection));
        }
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(5), "{waited:?}, and the realm has 300 ms");
        let kept = run(world.running().bridge().store.family(family)).unwrap().unwrap().value.state;
        assert_eq!(kept, if forgives { FamilyState::Resting } else { FamilyState::Unrefreshable }, "{word}");
        assert!(world.active(&access));
        if forgives {
            let (next, _) = refreshed(&world, &uuid);
            assert!(world.active(&next));
        } else {
            refused(&refresh(&world, &uuid));
            assert_eq!(refreshes(&world).len(), 1, "the realm never hears it again");
        }
    }
}

#[test]
fn what_was_surely_not_spent_is_asked_again_at_the_next_try() {
    for word in ["on", "unknown", "off"] {
        for mood in unspent() {
            let world = rotation(word).start();
            let (_, uuid) = login(&world);
            world.realm.next(mood.clone());
            server_error(&refresh(&world, &uuid));
            assert_eq!(refreshes(&world).len(), 1, "not again by itself: {mood:?}");
            refreshed(&world, &uuid);
        }
    }
}

#[test]
fn a_realm_that_cannot_be_reached_takes_nothing() {
    for word in ["on", "unknown", "off"] {
        let world = rotation(word).start();
        let (_, uuid) = login(&world);
        world.realm.close();
        server_error(&refresh(&world, &uuid));
        world.realm.listen();
        refreshed(&world, &uuid);
    }
}

#[test]
fn a_session_that_the_realm_has_ended_ends_the_family_at_once() {
    for word in ["on", "unknown", "off"] {
        let world = rotation(word).start();
        let (first, uuid) = login(&world);
        let (second, next) = refreshed(&world, &uuid);
        world.realm.next(Mood::Refuse(400, "invalid_grant", "Session not active"));
        refused(&refresh(&world, &next));
        assert!(!world.active(&first) && !world.active(&second));
        refused(&refresh(&world, &next));
        refused(&refresh(&world, &uuid));
        assert_eq!(refreshes(&world).len(), 2);
    }
}

#[test]
fn after_a_crash_in_mid_question_the_family_is_asked_for_again_only_with_rotation_off() {
    for (word, forgives) in [("on", false), ("unknown", false), ("off", true)] {
        let mut world = mortal(word).start();
        let (access, uuid) = login(&world);
        let _never_opened = gated(&world, grant());
        let _lost = send(&world, &refreshing(&uuid));
        until_asked(&world, 1);
        world.crash();
        if forgives {
            refreshed(&world, &uuid);
            assert_eq!(refreshes(&world).len(), 2);
        } else {
            refused(&refresh(&world, &uuid));
            refused(&refresh(&world, &uuid));
            assert_eq!(refreshes(&world).len(), 1);
        }
        assert!(world.active(&access));
    }
}

#[test]
fn after_a_crash_an_answered_refresh_is_there_and_can_be_fetched_again() {
    let mut world = mortal("on").start();
    let (_, uuid) = login(&world);
    let first = refresh(&world, &uuid);
    world.crash();
    assert_eq!(refresh(&world, &uuid).body, first.body);
    let (access, next) = pair(&first);
    assert!(world.active(&access));
    refreshed(&world, &next);
    assert_eq!(refreshes(&world).len(), 2);
}

#[test]
fn an_answer_that_was_lost_before_a_crash_stays_lost_after_it() {
    let mut world = mortal("on").start();
    let (_, uuid) = login(&world);
    world.realm.next(Mood::Reset);
    server_error(&refresh(&world, &uuid));
    world.crash();
    refused(&refresh(&world, &uuid));
    assert_eq!(refreshes(&world).len(), 1);
}

#[test]
fn the_answer_before_a_lost_one_can_still_be_fetched_again() {
    let world = rotation("on").start();
    let (_, uuid) = login(&world);
    let first = refresh(&world, &uuid);
    world.realm.next(Mood::Reset);
    server_error(&refresh(&world, &first.text("refresh_token")));
    assert_eq!(refresh(&world, &uuid).body, first.body);
}

#[test]
fn a_reload_that_learns_that_rotation_is_off_helps_after_a_crash() {
    let mut world = mortal("on").start();
    let (_, uuid) = login(&world);
    let _never_opened = gated(&world, grant());
    let _lost = send(&world, &refreshing(&uuid));
    until_asked(&world, 1);
    world.crash();
    world.change("realm", "rotation", "\"off\"");
    world.running().reload().unwrap();
    refreshed(&world, &uuid);
}

#[test]
fn a_family_that_another_instance_asks_for_is_waited_for() {
    let world = rotation("on").start();
    let (_, uuid) = login(&world);
    let id = family_of(&world, &uuid);
    let store = world.running().bridge().store.clone();
    let lease = run(store.lease(id, Duration::from_secs(15))).unwrap().unwrap();
    let waiting = send(&world, &refreshing(&uuid));
    super::meanwhile(&world);
    run(store.release(lease)).unwrap();
    assert_eq!(reply(&world, waiting).status, 200);
}

#[test]
fn a_family_whose_other_instance_never_ends_is_server_error_in_time() {
    let world = impatient("on").set("realm", "connect_timeout", "\"100ms\"").start();
    world.realm.next(short());
    let (access, uuid) = login(&world);
    let id = family_of(&world, &uuid);
    let store = world.running().bridge().store.clone();
    let _held = run(store.lease(id, Duration::from_secs(36_000))).unwrap().unwrap();
    server_error(&refresh(&world, &uuid));
    world.turn(60);
    server_error(&world.introspect(&access, ""));
    assert!(refreshes(&world).is_empty());
}

#[test]
fn an_answer_that_comes_after_another_instance_went_on_ends_nobodys_session() {
    let world = rotation("on").start();
    let (access, uuid) = login(&world);
    let id = family_of(&world, &uuid);
    let gate = gated(&world, grant());
    let waiting = send(&world, &refreshing(&uuid));
    until_asked(&world, 1);
    let store = world.running().bridge().store.clone();
    let known = run(store.family(id)).unwrap().unwrap();
    let lost = Family { state: FamilyState::Unrefreshable, ..known.value };
    run(store.commit(Change::of(known.version, lost))).unwrap();
    gate.notify_one();
    refused(&reply(&world, waiting));
    assert!(world.active(&access));
    assert!(run(store.outbox()).unwrap().records.is_empty());
    assert!(told(&world).is_empty());
}

/// The family of a refresh UUID, as the store names it.
fn family_of(world: &World, uuid: &str) -> passbridge::domain::family::FamilyId {
    use passbridge::domain::opaque::{OpaqueToken, TokenUse};
    let fingerprint = OpaqueToken::parse(uuid).unwrap().fingerprint(TokenUse::Refresh);
    run(world.running().bridge().store.refresh(&fingerprint)).unwrap().unwrap().family
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

#[test]
fn while_the_store_takes_no_writes_no_login_asks_the_realm_and_the_session_of_the_first_is_ended() {
    let world = World::new();
    let (store, aside) = (world.store(), world.path().join("aside"));
    let gate = gated(&world, grant());
    let waiting = send(&world, &passport(OLD_ID, OLD_SECRET));
    eventually("the realm is asked", || world.realm.asked("token").len() == 1);
    std::fs::rename(&store, &aside).unwrap(); // it takes nothing more
    gate.notify_one();
    server_error(&reply(&world, waiting));
    let unheard = world.realm.tokens().last().cloned().unwrap();
    eventually("its session is ended", || told(&world) == [unheard.clone()]);
    let is_there = |text: &str, wanted: &dyn Fn(&serde_json::Value) -> bool| world.log(text).iter().any(wanted);
    eventually("that is told", || is_there("\"event\":\"revocation\"", &|line| line["outcome"] == "told"));
    let handed_out_nothing = |line: &serde_json::Value| line["token"].is_null() && line["family"].is_string();
    assert!(is_there("\"outcome\":\"server_error\"", &handed_out_nothing), "no UUID was handed out");
    for _ in 0..3 {
        for _ in 0..5 {
            server_error(&world.token(&passport(OLD_ID, OLD_SECRET)));
        }
        world.turn(1);
    }
    assert_eq!(world.realm.asked("token").len(), 1, "no other passport was spent");
    std::fs::rename(&aside, &store).unwrap();
    world.login();
}

/// The realm surely did not spend this refresh UUID's token, and the store failed just then; it is whole again.
fn unspent_while_the_store_failed(world: &World) -> String {
    let (_, uuid) = login(world);
    let gate = gated(world, Mood::answer(503, "text/html", "booting"));
    let waiting = send(world, &refreshing(&uuid));
    until_asked(world, 1);
    let (store, aside) = (world.store(), world.path().join("aside"));
    std::fs::rename(&store, &aside).unwrap(); // it takes nothing more
    gate.notify_one();
    server_error(&reply(world, waiting));
    std::fs::rename(&aside, &store).unwrap();
    world.turn(1);
    uuid
}

#[test]
fn what_was_surely_not_spent_can_be_sent_again_though_the_store_failed_just_then() {
    let world = rotation("on").start();
    let uuid = unspent_while_the_store_failed(&world);
    refreshed(&world, &uuid);
}

#[test]
fn what_was_surely_not_spent_can_be_sent_again_after_a_stop_though_the_store_failed_just_then() {
    let mut world = rotation("on").start();
    let uuid = unspent_while_the_store_failed(&world);
    world.login(); // it takes writes again
    world.restart();
    refreshed(&world, &uuid);
}

/// The disk is waited for as long as anybody waits for it, which takes five seconds.
#[test]
fn a_refresh_that_was_given_up_before_the_realm_was_asked_can_be_sent_again_though_the_store_says_that_it_was() {
    let world = rotation("on").start();
    let (_, uuid) = login(&world);
    let family = family_of(&world, &uuid);
    let held = world.clock.hold_at("store-writer", Look::Passed); // the disk hangs
    server_error(&refresh(&world, &uuid));
    let store = &world.running().bridge().store;
    let version = || run(store.family(family)).unwrap().unwrap().version;
    let before = version();
    drop(held);
    eventually("what was given up is written", || version() != before && store.takes_writes());
    assert!(refreshes(&world).is_empty());
    refreshed(&world, &uuid);
}

#[test]
fn a_store_is_seen_to_take_writes_again_though_nobody_logs_in() {
    let world = World::new();
    world.login();
    let (store, aside) = (world.store(), world.path().join("aside"));
    std::fs::rename(&store, &aside).unwrap();
    assert_eq!(world.token(&passport(OLD_ID, OLD_SECRET)).status, 500);
    let says = |word: &str| world.ops("/readyz").text("store") == word;
    assert!(says("refusing"));
    std::fs::rename(&aside, &store).unwrap();
    // Past the second for which it is left alone; the sweep comes half a minute later.
    world.turn(1);
    eventually("it is tried", || says("writable"));
    assert_eq!(world.metric("passbridge_store_writable"), 1.0);
    world.login();
}
