//! The promise kept: a JWT of a minute behind a UUID of an hour.

use std::time::Duration;

use super::{
    OTHER, asking, gated, login, minutes, noted, pair, refresh, refreshed, refreshes, refreshing, refused, reply,
    rotation, send, server_error, until_asked,
};
use crate::support::world::INTROSPECT;
use crate::support::{
    BEGIN, Granting, Mood, OLD_ID, OLD_SECRET, Plan, RawReply, World, client, eventually, passport, post,
};

fn short() -> Mood {
    Mood::Grant(minutes())
}

/// A realm whose JWTs live for a minute.
fn minute(plan: Plan) -> World {
    let world = plan.start();
    world.realm.usually(short());
    world
}

#[test]
fn the_uuid_lives_its_hour_over_jwts_of_a_minute() {
    let world = minute(rotation("on"));
    let reply = world.login();
    assert_eq!(reply.json("expires_in"), 3600);
    let access = reply.text("access_token");
    for _ in 0..29 {
        world.turn(120);
        assert!(world.active(&access));
    }
    assert_eq!(refreshes(&world).len(), 29);
    world.turn(119);
    assert!(world.active(&access));
    world.turn(1);
    assert!(!world.active(&access), "its hour is over");
}

#[test]
fn nobody_is_asked_while_the_jwt_is_good() {
    let world = minute(rotation("on"));
    let (access, _) = login(&world);
    for _ in 0..4 {
        world.turn(11);
        assert!(world.active(&access));
    }
    assert!(refreshes(&world).is_empty());
}

#[test]
fn it_is_renewed_ahead_without_anybody_waiting() {
    let world = minute(rotation("on"));
    let (access, _) = login(&world);
    world.turn(50);
    let gate = gated(&world, short());
    assert!(world.active(&access), "though the realm has not answered yet");
    until_asked(&world, 1);
    assert!(world.active(&access));
    gate.notify_one();
    eventually("the family rests", || {
        world.turn(0);
        world.introspect(&access, "").status == 200 && refreshes(&world).len() == 1 && world.active(&access)
    });
    world.turn(47);
    assert!(world.active(&access));
    assert_eq!(refreshes(&world).len(), 1);
}

#[test]
fn a_jwt_ends_as_if_the_realm_had_given_it_the_moment_that_it_was_asked() {
    let slowly = |world: &World, gate: &tokio::sync::Notify, waiting| {
        world.turn(8);
        gate.notify_one();
        reply(world, waiting)
    };
    let is_over_after_a_minute = |world: &World, access: &str| {
        world.turn(53);
        world.realm.close();
        server_error(&world.introspect(access, ""));
    };
    let world = minute(rotation("on"));
    let gate = gated(&world, short());
    let waiting = send(&world, &passport(OLD_ID, OLD_SECRET));
    eventually("the realm is asked", || world.realm.asked("token").len() == 1);
    let login = slowly(&world, &gate, waiting);
    is_over_after_a_minute(&world, &login.text("access_token"));

    let world = minute(rotation("on"));
    let (_, uuid) = self::login(&world);
    let gate = gated(&world, short());
    let waiting = send(&world, &refreshing(&uuid));
    until_asked(&world, 1);
    let next = slowly(&world, &gate, waiting);
    is_over_after_a_minute(&world, &next.text("access_token"));

    let world = minute(rotation("on"));
    let (access, _) = self::login(&world);
    world.turn(61);
    let gate = gated(&world, short());
    let waiting = asking(&world, &access);
    until_asked(&world, 1);
    assert_eq!(slowly(&world, &gate, waiting).json("active"), true);
    is_over_after_a_minute(&world, &access);
}

/// Logs in at a realm that gives a JWT of so many seconds and no refresh token, and takes so long for it.
fn slow_login(world: &World, expires_in: u64, took: Duration) -> RawReply {
    let gate = gated(world, Mood::Grant(Granting { expires_in, refresh: false, ..Granting::default() }));
    let asked = world.realm.asked("token").len();
    let waiting = send(world, &passport(OLD_ID, OLD_SECRET));
    eventually("the realm is asked", || world.realm.asked("token").len() > asked);
    world.clock.turn(took);
    gate.notify_one();
    reply(world, waiting)
}

#[test]
fn no_more_is_promised_than_is_left_when_the_realm_has_answered() {
    let world = rotation("on").start();
    for (given, told) in [(60, 52), (3600, 3592), (3603, 3600), (3608, 3600), (7, 0)] {
        let login = slow_login(&world, given, Duration::from_secs(8));
        assert_eq!(login.json("expires_in"), told, "of {given} eight seconds ago");
    }
}

#[test]
fn a_realm_that_takes_its_milliseconds_costs_no_second() {
    let world = rotation("on").start();
    for (given, told) in [(60, 60), (3595, 3600)] {
        let login = slow_login(&world, given, Duration::from_millis(20));
        assert_eq!(login.json("expires_in"), told);
        world.turn(told - 1);
        assert!(world.active(&login.text("access_token")), "in its last second");
        world.turn(1);
        assert!(!world.active(&login.text("access_token")));
    }
}

#[test]
fn fifty_at_once_renew_once() {
    for seconds in [59, 120] {
        let world = minute(rotation("on").set("server", "workers", "2"));
        let (access, _) = login(&world);
        world.turn(seconds);
        let gate = gated(&world, short());
        let waiting: Vec<_> = (0..50).map(|_| asking(&world, &access)).collect();
        until_asked(&world, 1);
        gate.notify_one();
        for connection in waiting {
            assert_eq!(reply(&world, connection).json("active"), true);
        }
        assert_eq!(refreshes(&world).len(), 1, "after {seconds} s");
    }
}

#[test]
fn a_renewal_and_a_refresh_at_once_spend_no_token_twice() {
    let world = minute(rotation("on").set("server", "workers", "2"));
    let (access, uuid) = login(&world);
    world.turn(120);
    let gate = gated(&world, short());
    let renewing = asking(&world, &access);
    until_asked(&world, 1);
    let refreshing = send(&world, &refreshing(&uuid));
    gate.notify_one();
    assert_eq!(reply(&world, renewing).json("active"), true);
    assert_eq!(reply(&world, refreshing).status, 200);
    let spent = refreshes(&world);
    assert_eq!(spent.len(), 2);
    assert_ne!(spent[0], spent[1]);
}

#[test]
fn every_access_uuid_of_the_family_is_renewed_by_one_question() {
    let world = minute(rotation("on"));
    let (first, uuid) = login(&world);
    let (second, _) = refreshed(&world, &uuid);
    world.turn(120);
    assert!(world.active(&first) && world.active(&second));
    assert_eq!(refreshes(&world).len(), 2, "the refresh and one renewal");
}

#[test]
fn a_renewal_leaves_the_clients_pair_and_its_lost_answer_alone() {
    let world = minute(rotation("on"));
    let (_, uuid) = login(&world);
    let first = refresh(&world, &uuid);
    world.turn(59);
    assert!(world.active(&first.text("access_token")));
    assert_eq!(refreshes(&world).len(), 2);
    assert_eq!(refreshed(&world, &uuid), pair(&first));
    refreshed(&world, &first.text("refresh_token"));
}

#[test]
fn a_session_that_the_realm_ended_unannounced_is_noticed_when_a_recheck_is_due() {
    let world = rotation("on").set("realm", "recheck_after", "\"5m\"").start();
    let (access, uuid) = login(&world);
    world.realm.usually(Mood::Refuse(400, "invalid_grant", "Session not active"));
    world.turn(299);
    assert!(world.active(&access), "nobody asks before its time");
    assert!(refreshes(&world).is_empty());
    world.turn(1);
    assert!(!world.active(&access));
    assert!(!world.active(&access));
    refused(&refresh(&world, &uuid));
    assert_eq!(refreshes(&world).len(), 1);
}

#[test]
fn a_session_that_the_realm_ended_unannounced_is_noticed_when_its_jwt_is_over() {
    let world = minute(rotation("off"));
    let (access, uuid) = login(&world);
    world.turn(61);
    world.realm.usually(Mood::Refuse(400, "invalid_grant", "Session not active"));
    assert!(!world.active(&access));
    refused(&refresh(&world, &uuid));
}

/// What is told of renewals of one client that failed: its own lines among those of all worlds.
fn told(world: &World, client_id: &str) -> Vec<(String, String)> {
    let lines = world.log("\"renewal\"").into_iter().filter(|line| line["client"] == client_id);
    lines.map(|line| (line["fault"].as_str().unwrap().into(), line["detail"].as_str().unwrap().into())).collect()
}

#[test]
fn what_the_realm_says_where_nobody_hears_it_is_told_to_operators() {
    let id = "renewal-told";
    let world = rotation("off").client(&client(id, "")).set("realm", "recheck_after", "\"5m\"").start();
    let access = world.token(&passport(id, OLD_SECRET)).text("access_token");
    let active = || {
        let fields = [("client_id", id), ("client_secret", OLD_SECRET), ("token", access.as_str())];
        world.ask(&post(INTROSPECT, &fields)).json("active") == true
    };
    let is_told = |so_far: &[(&str, &str)]| {
        let told = told(&world, id);
        told.len() == so_far.len()
            && told.iter().zip(so_far).all(|(told, (fault, word))| told.0 == *fault && told.1.contains(word))
    };
    let wrong = ("operator", "unauthorized_client");
    world.realm.usually(Mood::Refuse(401, "unauthorized_client", "Invalid client or Invalid client credentials"));
    world.turn(300);
    assert!(active() && active(), "it has a good JWT");
    eventually("it is told", || is_told(&[wrong]));
    world.turn(60);
    assert!(active());
    eventually("once a minute", || is_told(&[wrong, wrong]));
    world.realm.usually(Mood::Refuse(400, "invalid_grant", "User disabled"));
    assert!(!active());
    eventually("and at once, what ended it", || is_told(&[wrong, wrong, ("client", "User disabled")]));
}

#[test]
fn a_recheck_of_a_session_that_lives_gives_it_a_new_jwt() {
    let world = rotation("on").set("realm", "recheck_after", "\"5m\"").start();
    let (access, _) = login(&world);
    world.turn(300);
    assert!(world.active(&access) && world.active(&access));
    assert_eq!(refreshes(&world).len(), 1);
    world.turn(299);
    assert!(world.active(&access));
    assert_eq!(refreshes(&world).len(), 1);
}

#[test]
fn a_realm_that_is_down_takes_no_good_jwt_away() {
    let world = rotation("on").set("realm", "recheck_after", "\"5m\"").start();
    let (access, uuid) = login(&world);
    world.realm.close();
    world.turn(300);
    assert!(world.active(&access) && world.active(&access));
    world.realm.listen();
    assert!(world.active(&access));
    assert_eq!(refreshes(&world).len(), 0, "it was away a short while ago");
    world.turn(10);
    assert!(world.active(&access));
    assert_eq!(refreshes(&world).len(), 1);
    refreshed(&world, &uuid);
}

#[test]
fn a_realm_that_hangs_keeps_nobody_waiting_who_has_a_good_jwt() {
    let world = rotation("off").set("realm", "recheck_after", "\"5m\"").set("realm", "timeout", "\"60s\"").start();
    let (access, _) = login(&world);
    world.turn(300);
    world.realm.next(Mood::Hang);
    // Within the patience of the tests, which is shorter than the realm's.
    assert!(world.active(&access) && world.active(&access));
    assert_eq!(refreshes(&world).len(), 1);
    world.realm.close(); // what hangs would hold the drain
}

#[test]
fn a_realm_that_let_one_recheck_wait_is_asked_nothing_that_can_wait_for_a_while_and_costs_no_other_login() {
    let world = rotation("on").set("realm", "recheck_after", "\"5m\"").set("realm", "timeout", "\"60s\"").start();
    let logins: Vec<_> = (0..8).map(|_| login(&world)).collect();
    world.turn(300);
    world.realm.next(Mood::Hang);
    assert!(world.active(&logins[0].0), "the first waits in vain");
    let began = std::time::Instant::now();
    assert!((0..3).all(|_| logins.iter().all(|(access, _)| world.active(access))));
    assert!(began.elapsed().as_secs() < 8, "24 uses, of which each would have waited a second");
    assert_eq!(refreshes(&world).len(), 1, "an answer that is lost would have cost each its login");
    for (_, uuid) in &logins[1..] {
        refreshed(&world, uuid);
    }
    world.realm.close(); // what hangs would hold the drain
}

#[test]
fn a_realm_that_sheds_load_is_not_asked_by_every_use_whose_recheck_is_due() {
    let world = rotation("on").set("realm", "recheck_after", "\"5m\"").start();
    let (access, uuid) = login(&world);
    world.turn(300);
    world.realm.usually(Mood::Refuse(503, "temporarily_unavailable", "busy"));
    assert!((0..20).all(|_| world.active(&access)));
    assert_eq!(refreshes(&world).len(), 1);
    world.turn(10);
    assert!((0..20).all(|_| world.active(&access)));
    assert_eq!(refreshes(&world).len(), 2);
    world.realm.usually(short());
    refreshed(&world, &uuid);
}

#[test]
fn a_realm_that_fails_for_one_client_ends_what_is_over_of_the_others() {
    let world = rotation("on").client(&client(OTHER, "")).set("realm", "recheck_after", "\"5m\"").start();
    let failing = world.token(&passport(OTHER, OLD_SECRET)).text("access_token");
    let (ended, _) = login(&world);
    let active = |access: &str| {
        let fields = [("client_id", OTHER), ("client_secret", OLD_SECRET), ("token", access)];
        world.ask(&post(INTROSPECT, &fields)).json("active") == true
    };
    world.turn(300);
    world.realm.next(Mood::Refuse(500, "unknown_error", "For this one"));
    assert!(active(&failing) && active(&failing));
    assert_eq!(refreshes(&world).len(), 1, "that client's is left alone");
    world.realm.usually(Mood::Refuse(400, "invalid_grant", "Session not active"));
    assert!(!world.active(&ended), "the others' are rechecked");
}

#[test]
fn a_realm_that_fails_for_two_clients_is_left_alone_for_all() {
    const THIRD: &str = "the-third";
    let plan = rotation("on").client(&client(OTHER, "")).client(&client(THIRD, ""));
    let world = plan.set("realm", "recheck_after", "\"5m\"").start();
    let clients = [OLD_ID, OTHER, THIRD];
    let access = clients.map(|id| world.token(&passport(id, OLD_SECRET)).text("access_token"));
    world.turn(300);
    world.realm.usually(Mood::Refuse(500, "unknown_error", "For anybody"));
    for (id, access) in clients.iter().zip(&access) {
        let fields = [("client_id", *id), ("client_secret", OLD_SECRET), ("token", access)];
        assert!(world.ask(&post(INTROSPECT, &fields)).json("active") == true, "the JWT is good");
    }
    assert_eq!(refreshes(&world).len(), 2, "the third's is not put at risk");
}

#[test]
fn what_a_slow_realm_says_later_is_heeded_and_after_a_while_it_is_waited_for_again() {
    let world = rotation("off").set("realm", "recheck_after", "\"5m\"").set("realm", "timeout", "\"60s\"").start();
    let (slow, waited) = (login(&world).0, login(&world).0);
    let over = || Mood::Refuse(400, "invalid_grant", "Session not active");
    world.turn(300);
    let gate = gated(&world, over());
    assert!(world.active(&slow));
    gate.notify_one();
    eventually("what the realm said without anybody waiting is known", || !world.active(&slow));
    world.turn(10);
    let gate = gated(&world, over());
    let question = asking(&world, &waited);
    until_asked(&world, 2);
    gate.notify_one();
    assert_eq!(reply(&world, question).json("active"), false, "it was waited for");
    world.realm.close();
}

#[test]
fn a_realm_that_is_down_behind_an_ended_jwt_is_server_error_and_nothing_is_lost() {
    let world = minute(rotation("on"));
    let (access, uuid) = login(&world);
    world.turn(60);
    world.realm.close();
    server_error(&world.introspect(&access, ""));
    world.realm.listen();
    assert!(world.active(&access));
    refreshed(&world, &uuid);
}

#[test]
fn a_slip_on_our_side_ends_no_login_and_whoever_cannot_wait_may_log_in_anew() {
    for slip in [
        "Invalid token issuer. Expected 'http://sso.example.org/realms/SSO'",
        "Invalid refresh token. Token client and authorized client don't match",
        // Its keys are others for a while, or those of a copy that is restored.
        "Invalid refresh token",
    ] {
        let world = minute(rotation("on"));
        let (access, uuid) = login(&world);
        world.realm.usually(Mood::Refuse(400, "invalid_grant", slip));
        refused(&refresh(&world, &uuid));
        assert!(world.active(&access), "{slip}: to the end of its JWT");
        world.turn(60);
        assert!(!world.active(&access), "{slip}: then as a token that is over");
        assert!(world.log("\"renewal\"").iter().any(|line| line["fault"] == "operator"), "{slip}");
        world.realm.usually(short());
        assert!(world.active(&access), "{slip}: until it is mended");
        refreshed(&world, &uuid);
    }
}

#[test]
fn a_uuid_of_a_scope_that_was_taken_away_is_over_with_its_jwt() {
    let world = minute(rotation("on").without_clients().client(&client(OLD_ID, "")));
    let (_, uuid) = login(&world);
    world.realm.next(Mood::Grant(Granting { scope: Some("email profile"), ..minutes() }));
    let (narrow, _) = pair(&world.token(&[refreshing(&uuid), vec![("scope", "email")]].concat()));
    world.realm.usually(Mood::Refuse(400, "invalid_scope", "Invalid scopes: email"));
    assert!(world.active(&narrow));
    world.turn(60);
    assert!(!world.active(&narrow));
}

#[test]
fn a_renewal_whose_answer_is_lost_leaves_the_uuid_its_jwt() {
    let world = minute(rotation("on"));
    let (access, uuid) = login(&world);
    world.turn(50);
    world.realm.next(Mood::Reset);
    assert!(world.active(&access));
    until_asked(&world, 1);
    eventually("the loss is known", || refresh(&world, &uuid).status == 400);
    assert!(world.active(&access));
    world.turn(10);
    assert!(!world.active(&access));
    assert_eq!(refreshes(&world).len(), 1);
}

#[test]
fn without_a_refresh_token_the_uuid_lives_as_long_as_its_jwt() {
    let world = World::new();
    world.realm.next(Mood::Grant(Granting { expires_in: 60, refresh: false, ..Granting::default() }));
    let reply = world.login();
    assert_eq!(reply.json("expires_in"), 60);
    noted(&world, "promise_short", 1.0);
    let access = reply.text("access_token");
    world.turn(59);
    assert!(world.active(&access));
    world.turn(1);
    assert!(!world.active(&access));
    assert!(refreshes(&world).is_empty());
}

#[test]
fn a_client_without_a_mapping_any_more_is_not_renewed() {
    let reader = client("reader", "may_introspect = true");
    let mut world = minute(rotation("on").client(&reader));
    let (access, _) = login(&world);
    world.change_clients(std::slice::from_ref(&reader));
    world.running().reload().unwrap();
    let active = |world: &World| {
        let fields = [("client_id", "reader"), ("client_secret", OLD_SECRET), ("token", access.as_str())];
        world.ask(&post(INTROSPECT, &fields)).json("active") == true
    };
    assert!(active(&world), "to the end of its JWT");
    world.turn(60);
    assert!(!active(&world));
    assert!(refreshes(&world).is_empty());
}

#[test]
fn another_instances_renewal_is_waited_for() {
    use passbridge::domain::opaque::{OpaqueToken, TokenUse};
    let world = minute(rotation("on"));
    let (access, _) = login(&world);
    world.turn(60);
    let store = world.running().bridge().store.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let fingerprint = OpaqueToken::parse(&access).unwrap().fingerprint(TokenUse::Access);
    let family = runtime.block_on(store.access(&fingerprint)).unwrap().unwrap().family;
    let lease = runtime.block_on(store.lease(family, Duration::from_secs(15))).unwrap().unwrap();
    let waiting = asking(&world, &access);
    super::meanwhile(&world);
    runtime.block_on(store.release(lease)).unwrap();
    assert_eq!(reply(&world, waiting).json("active"), true);
}

#[test]
fn a_renewal_asks_for_no_more_than_its_uuid_was_given() {
    let world = rotation("on").without_clients().client(&client(OLD_ID, "scopes = { old_mail = \"email\" }")).start();
    let granting = |scope| Granting { scope: Some(scope), ..minutes() };
    world.realm.usually(Mood::Grant(granting("client_registration email")));
    let mut asked = passport(OLD_ID, OLD_SECRET);
    asked[3].1 = "client_registration old_mail";
    let (wide, uuid) = pair(&world.token(&asked));
    world.realm.next(Mood::Grant(granting("email profile")));
    let (narrow, _) = pair(&world.token(&[refreshing(&uuid), vec![("scope", "old_mail")]].concat()));
    world.turn(120);
    assert!(world.active(&narrow));
    assert_eq!(world.realm.last().field("scope").as_deref(), Some("email"), "not all that the login was given");
    assert!(world.active(&wide));
    assert_eq!(refreshes(&world).len(), 3, "what was fetched for the one is not for the other");
    assert_eq!(world.realm.last().field("scope"), None);
    assert!(world.active(&narrow));
    assert_eq!(refreshes(&world).len(), 3);
}

#[test]
fn the_newest_refresh_uuid_lives_as_long_as_the_realms_newest_refresh_token() {
    let world = rotation("on").start();
    world.realm.usually(Mood::Grant(Granting { expires_in: 60, refresh_expires_in: Some(120), ..Granting::default() }));
    let (access, uuid) = login(&world);
    world.turn(100);
    assert!(world.active(&access), "its JWT was renewed, and the realm's refresh token with it");
    world.turn(50);
    let described = world.introspect(&uuid, "refresh_token");
    assert_eq!((described.json("active"), described.json("exp")), (true.into(), (BEGIN.secs() + 220).into()));
    let (_, next) = refreshed(&world, &uuid);
    world.turn(119);
    assert_eq!(world.introspect(&next, "refresh_token").json("active"), true);
    world.turn(1);
    assert_eq!(world.introspect(&next, "refresh_token").json("active"), false);
    refused(&refresh(&world, &next));
}

#[test]
fn a_login_that_renewals_prolong_is_not_swept_at_its_first_end() {
    let plan = rotation("on").without_clients().client(&client(OLD_ID, "access_token_lifetime = \"1m\""));
    let world = plan.start();
    world.realm.usually(Mood::Grant(Granting { expires_in: 30, refresh_expires_in: Some(600), ..Granting::default() }));
    let (access, uuid) = login(&world);
    world.turn(50);
    assert!(world.active(&access));
    world.turn(590);
    let bridge = world.running().bridge();
    crate::support::block_on(bridge.store.sweep(bridge.clock.now())).unwrap();
    world.turn(5);
    crate::support::block_on(bridge.store.sweep(bridge.clock.now())).unwrap();
    refreshed(&world, &uuid);
}

#[test]
fn a_jwt_of_a_second_is_asked_for_once_and_used() {
    let world = rotation("on").start();
    let (access, _) = login(&world);
    let lives = |expires_in| {
        let grant = Granting { expires_in, refresh_expires_in: Some(20), ..Granting::default() };
        world.realm.usually(Mood::Grant(grant));
    };
    world.turn(3598);
    lives(1);
    assert!(world.active(&access));
    assert_eq!(refreshes(&world).len(), 1);
}

#[test]
fn jwts_that_are_over_as_they_come_are_not_asked_for_again_and_again() {
    let world = minute(rotation("on"));
    let (access, _) = login(&world);
    world.realm.usually(Mood::Grant(Granting { expires_in: 0, refresh_expires_in: Some(20), ..Granting::default() }));
    world.turn(61);
    server_error(&world.introspect(&access, ""));
    assert_eq!(refreshes(&world).len(), 2);
}

#[test]
fn jwts_that_live_shorter_than_the_realm_takes_are_not_asked_for_again_and_again() {
    let world = minute(rotation("on"));
    let (access, _) = login(&world);
    world.turn(61);
    let brief = || Mood::Grant(Granting { expires_in: 3, refresh_expires_in: Some(20), ..Granting::default() });
    let gates = [gated(&world, brief()), gated(&world, brief())];
    let mut waiting = asking(&world, &access);
    for (asked, gate) in (1..).zip(gates) {
        until_asked(&world, asked);
        world.turn(4);
        gate.notify_one();
    }
    let reply = waiting.reply().unwrap();
    assert_eq!((reply.status, refreshes(&world).len()), (500, 2));
}

#[test]
fn a_login_that_was_used_while_the_clock_was_set_back_lives_on_once_it_is_right() {
    let world = rotation("on").start();
    let (access, uuid) = login(&world);
    world.clock.set_back(3600);
    assert!(world.active(&access));
    assert_eq!(refreshes(&world).len(), 1, "its JWT is of a time to come");
    world.clock.set_ahead(3600);
    world.turn(10);
    assert!(world.active(&access));
    let (_, uuid) = refreshed(&world, &uuid);
    world.clock.set_back(3600);
    let (_, uuid) = refreshed(&world, &uuid);
    world.clock.set_ahead(3600);
    world.turn(10);
    refreshed(&world, &uuid);
}

#[test]
fn a_jwt_that_is_older_than_the_step_is_asked_for_anew_where_the_clock_was_set_back_since() {
    let world = rotation("on").start();
    world.realm.usually(Mood::Grant(Granting { expires_in: 300, ..minutes() }));
    let (access, _) = login(&world);
    world.turn(220);
    assert!(world.active(&access) && refreshes(&world).is_empty());
    world.clock.set_back(200);
    assert!(world.active(&access));
    assert_eq!(refreshes(&world).len(), 1);
    world.turn(1);
    assert!(world.active(&access));
    assert_eq!(refreshes(&world).len(), 1, "that one was given since");
}

#[test]
fn a_clock_that_is_set_ahead_while_the_realm_is_asked_takes_nothing_from_the_promise() {
    let world = rotation("on").start();
    let gate = gated(&world, Mood::Grant(Granting::default()));
    let waiting = send(&world, &passport(OLD_ID, OLD_SECRET));
    eventually("the realm is asked", || world.realm.asked("token").len() == 1);
    world.clock.set_ahead(3600);
    gate.notify_one();
    let login = reply(&world, waiting);
    assert_eq!(login.json("expires_in"), 3600);
    world.turn(3500);
    assert!(world.active(&login.text("access_token")));
    refreshed(&world, &login.text("refresh_token"));
}
