//! Shadow: the old server answers, and nobody waits for what the bridge finds out beside it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use passbridge::domain::opaque::Fingerprint;
use passbridge::domain::shadow::Tally;
use passbridge::domain::time::Timestamp;
use passbridge::store::Memo;
use tokio::sync::Notify;

use super::plan;
use crate::cli::said::run;
use crate::support::raw::post_body;
use crate::support::{
    BEGIN, FakeOld, Granting, Look, Mood, NEW_ID, OLD_ID, OLD_SECRET, OldMood, Plan, RawReply, TOKEN, World, block_on,
    client, eventually, passport, post,
};

fn shadow(old: &FakeOld, more: &str) -> Plan {
    let entry = client(OLD_ID, &format!("stage = \"shadow\"\n{more}"));
    plan(old).set("ops", "token", "{ env = \"NEW_SECRET\" }").client(&entry)
}

/// Asks, and hears the old server.
#[track_caller]
fn login_with(world: &World, id: &str, secret: &str) -> RawReply {
    let reply = world.connect().ask(&post(TOKEN, &passport(id, secret)));
    world.plant(&reply);
    assert_eq!(reply.header("server").as_deref(), Some("Old-Gateway"), "{reply:?}");
    reply
}

#[track_caller]
fn login(world: &World) -> RawReply {
    login_with(world, OLD_ID, OLD_SECRET)
}

fn counted(world: &World, outcome: &str) -> f64 {
    world.metric(&format!("passbridge_shadow_total{{client=\"{OLD_ID}\",outcome=\"{outcome}\"}}"))
}

#[track_caller]
fn comes(world: &World, outcome: &str, count: u32) {
    eventually(&format!("{count} {outcome}"), || counted(world, outcome) >= f64::from(count));
    assert_eq!(counted(world, outcome), f64::from(count), "{}", world.ops("/metrics").body);
}

fn told(world: &World) -> serde_json::Value {
    run(world, &["client", "show", OLD_ID, "--format", "json"], "").fine().json()["fares"]["shadow"].clone()
}

/// The last differing one, once it is told.
fn last(world: &World) -> serde_json::Value {
    told(world)["last"].as_array().unwrap().last().unwrap().clone()
}

const REFUSES: &[u8] = b"HTTP/1.1 403 Old\r\nServer: Old-Gateway\r\nContent-Length: 2\r\n\r\n{}";

#[test]
fn plain_shadow_asks_the_realm_nothing_and_agrees_where_both_would_serve() {
    let old = FakeOld::start();
    let world = shadow(&old, "").start();
    let reply = login(&world);
    assert!(old.is_live(&reply.text("access_token")), "the old server's own token");
    comes(&world, "agreed", 1);
    assert_eq!((world.realm.count(), old.count()), (0, 1));
    let tally = told(&world);
    assert_eq!((&tally["counts"]["agreed"], &tally["differing"]), (&1.into(), &0.into()), "{tally}");
    assert_eq!(tally["asked"]["count"], 0);
}

#[test]
fn a_secret_that_the_mapping_does_not_have_differs_and_nobody_is_counted_for_a_wrong_one() {
    let old = FakeOld::start();
    old.knows(OLD_ID, "another-planted-secret");
    let limits = "{ per_client = \"1/min\", per_address = \"1/min\" }";
    let world = shadow(&old, "").set("limits", "wrong_secrets", limits).start();
    world.plant_text("another-planted-secret");
    for number in 1..=3 {
        assert_eq!(login_with(&world, OLD_ID, "another-planted-secret").status, 200);
        comes(&world, "bridge_refuses", number);
    }
    let one = last(&world);
    assert_eq!((&one["cause"], &one["words"]), (&"client_credentials".into(), &"the secret is wrong".into()), "{one}");
    let line = world.log("\"event\":\"shadow\"").into_iter().find(|line| line["outcome"] == "bridge_refuses").unwrap();
    assert_eq!((&line["level"], &line["client"]), (&"WARN".into(), &OLD_ID.into()), "{line}");
    login(&world);
    comes(&world, "agreed", 1);
    let human = run(&world, &["client", "show", OLD_ID], "").fine().out;
    assert!(human.contains("agreed 1, bridge_refuses 3, since "), "{human}");
    assert!(human.contains(" bridge_refuses (client_credentials): the secret is wrong"), "{human}");
    assert!(run(&world, &["client", "list"], "").fine().out.contains("shadow (3 differing)"));
}

#[test]
fn where_both_refuse_the_status_counts_and_what_only_the_realm_could_judge_is_undecided() {
    let old = FakeOld::start();
    let world = shadow(&old, "").start();
    assert_eq!(login_with(&world, OLD_ID, "planted-wrong-secret").status, 401);
    comes(&world, "agreed", 1);
    old.next(OldMood::Says(REFUSES.to_vec()));
    assert_eq!(login_with(&world, OLD_ID, "planted-wrong-secret").status, 403);
    comes(&world, "status", 1);
    assert_eq!(last(&world)["words"], "the old server says 403, the bridge 401: the secret is wrong");
    old.next(OldMood::Says(REFUSES.to_vec()));
    assert_eq!(login(&world).status, 403);
    comes(&world, "undecided", 1);
}

#[test]
fn whoever_mistypes_at_the_old_server_locks_nobody_out_at_the_bridge() {
    let old = FakeOld::start();
    let limits = "{ per_client = \"1/min\", per_address = \"1/min\" }";
    let plan = shadow(&old, "").set("limits", "wrong_secrets", limits);
    let world = plan.client(&client("lives", "")).start();
    for number in 1..=3 {
        let wrong = format!("planted-wrong-secret-{number}");
        assert_eq!(login_with(&world, OLD_ID, &wrong).status, 401);
        comes(&world, "agreed", number);
    }
    let reply = world.token(&passport("lives", OLD_SECRET));
    assert_eq!((reply.status, reply.header("server")), (200, None), "of the same address: {}", reply.body);
    login(&world);
    comes(&world, "agreed", 4);
}

#[test]
fn a_login_that_names_somebody_else_beside_the_client_is_not_compared() {
    let old = FakeOld::start();
    let world = shadow(&old, "").start();
    let body = format!("grant_type=passport&certificate=c&client_id={OLD_ID}&client_secret={OLD_SECRET}");
    let other = format!("Basic {}", STANDARD.encode("in-no-mapping:his-own"));
    let reply = world.connect().ask(&post_body(TOKEN, &[("Authorization", &other)], body.as_bytes()));
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(login(&world).status, 200);
    comes(&world, "agreed", 1);
    for outcome in ["verdict", "bridge_refuses", "status", "undecided"] {
        assert_eq!(counted(&world, outcome), 0.0, "{outcome}");
    }
}

#[test]
fn a_field_that_is_longer_than_the_realm_takes_is_doubtful() {
    let old = FakeOld::start();
    let world = shadow(&old, "").set("limits", "parameter", "10").start();
    assert_eq!(login(&world).status, 200);
    // The scope is too long as well, and that the bridge refuses.
    comes(&world, "bridge_refuses", 1);
    assert_eq!(last(&world)["cause"], "scope");
    let short = passport(OLD_ID, OLD_SECRET).into_iter().filter(|(name, _)| *name != "scope").collect::<Vec<_>>();
    world.plant(&world.connect().ask(&post(TOKEN, &short)));
    comes(&world, "doubtful", 1);
    assert_eq!(last(&world)["words"], "`certificate` is longer than the realm takes, and would be sent whole");
    assert_eq!(world.realm.count(), 0);
}

#[test]
fn exchange_asks_the_realm_once_ends_that_session_and_keeps_nothing_of_it() {
    let old = FakeOld::start();
    let world = shadow(&old, "shadow = \"exchange\"").start();
    let reply = login(&world);
    comes(&world, "agreed", 1);
    let asked: Vec<String> = world.realm.seen().iter().map(|seen| seen.endpoint().to_owned()).collect();
    assert_eq!(asked, ["token", "logout"]);
    assert_eq!(world.realm.asked("token")[0].field("client_id").as_deref(), Some(NEW_ID));
    let refresh = world.realm.asked("logout")[0].field("refresh_token");
    assert!(refresh.is_some_and(|token| world.realm.tokens().contains(&token)));
    assert!(old.is_live(&reply.text("access_token")), "the pair is the old server's");
    assert!(world.audit().iter().all(|row| row["family"].is_null()), "no family was born");
    let tally = told(&world);
    assert_eq!(tally["asked"]["count"], 1, "{tally}");
    // Refused by the old server, the passport is asked about nowhere else.
    old.next(OldMood::Says(REFUSES.to_vec()));
    login(&world);
    comes(&world, "undecided", 1);
    assert_eq!(world.realm.asked("token").len(), 1);
}

#[test]
fn exchange_compares_verdict_scope_and_lifetime() {
    let old = FakeOld::start();
    let world = shadow(&old, "shadow = \"exchange\"").start();
    world.realm.next_at("token", Mood::Grant(Granting { scope: Some("profile"), ..Granting::default() }));
    login(&world);
    comes(&world, "scope", 1);
    assert_eq!(last(&world)["words"], "scope: the old server says `client_registration`, the bridge ``");
    let short = Granting { expires_in: 60, refresh_expires_in: Some(1800), ..Granting::default() };
    world.realm.next_at("token", Mood::Grant(short));
    login(&world);
    comes(&world, "lifetime", 1);
    assert_eq!(last(&world)["words"], "expires_in: the old server says 3600, the bridge 1800");
    world.realm.next_at("token", Mood::Refuse(401, "invalid_grant", "Invalid user credentials"));
    login(&world);
    comes(&world, "realm_refuses", 1);
    let one = last(&world);
    assert_eq!((&one["cause"], one["realm_ms"].is_u64()), (&"resource_owner".into(), true), "{one}");
    assert_eq!(told(&world)["differing"], 3);
    assert_eq!(world.realm.asked("logout").len(), 2, "each session that was begun is ended");
}

#[test]
fn an_answer_that_cannot_be_read_decides_nothing() {
    let old = FakeOld::start();
    let world = shadow(&old, "shadow = \"exchange\"").start();
    let answer = |head: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nServer: Old-Gateway\r\n{head}Content-Length: {length}\r\n\r\n{body}").into_bytes()
    };
    let packed = "the old server's answer cannot be read: it is packed (Content-Encoding)";
    let broken = "the old server's answer cannot be read: it is no JSON object";
    let answers = [
        (answer("Content-Encoding: gzip\r\n", "packed"), packed),
        (answer("Content-Encoding: identity\r\n", "<html>"), broken),
        (answer("", "[]"), broken),
    ];
    for (number, (bytes, words)) in (1..).zip(answers) {
        let told = || {
            let lines = world.log(words).into_iter();
            lines.filter(|line| line["event"] == "shadow" && line["level"] == "DEBUG").count()
        };
        let before = told();
        old.next(OldMood::Says(bytes));
        assert_eq!(login(&world).status, 200);
        comes(&world, "undecided", number);
        assert!(told() > before, "{words}");
    }
    assert_eq!(world.realm.asked("logout").len(), 3, "each session that was begun is ended");
}

#[test]
fn a_scope_that_the_dialect_tells_nobody_is_not_compared() {
    let old = FakeOld::start();
    let shipped = include_str!("../../../mappings/dialects/otk-passport.toml");
    let silent = shipped.replacen(", '\"scope\":{scope}']   # seed", "]", 1);
    assert_ne!(silent, shipped);
    let world = shadow(&old, "shadow = \"exchange\"\ndialect = \"silent\"").dialect("silent", &silent).start();
    login(&world);
    comes(&world, "agreed", 1);
}

#[test]
fn nobody_waits_for_a_realm_that_hangs_and_what_is_too_much_is_left_out() {
    let old = FakeOld::start();
    let world = shadow(&old, "shadow = \"exchange\"").start();
    let gate = Arc::new(Notify::new());
    world.realm.usually_at("token", Mood::Gate(Arc::clone(&gate), Box::new(Mood::Reset)));
    for _ in 0..20 {
        assert_eq!(login(&world).status, 200);
    }
    comes(&world, "left_out", 4);
    eventually("sixteen wait at the realm", || world.realm.asked("token").len() == 16);
    gate.notify_waiters();
    comes(&world, "no_answer", 16);
    assert_eq!(world.realm.asked("token").len(), 16, "none is asked twice");
    let tally = told(&world);
    assert_eq!((tally["last"].as_array().unwrap().len(), &tally["differing"]), (8, &16.into()), "{tally}");
    world.realm.close();
    assert_eq!(login(&world).status, 200, "a realm that is down is nobody's trouble");
    comes(&world, "no_answer", 17);
}

#[test]
fn a_session_that_could_not_be_ended_at_once_is_ended_later() {
    let old = FakeOld::start();
    let world = shadow(&old, "shadow = \"exchange\"").start();
    world.realm.next_at("logout", Mood::Refuse(503, "temporarily_unavailable", "not now"));
    login(&world);
    comes(&world, "agreed", 1);
    eventually("told again", || world.realm.asked("logout").len() == 2);
    let tokens: Vec<_> = world.realm.asked("logout").iter().map(|seen| seen.field("refresh_token")).collect();
    assert_eq!(tokens[0], tokens[1]);
    eventually("the realm was told", || !world.log("\"outcome\":\"told\"").is_empty());
}

#[test]
fn what_was_compared_outlives_a_crash_and_begins_anew_with_the_next_staging() {
    let old = FakeOld::start();
    old.knows(OLD_ID, "another-planted-secret");
    let mut world = shadow(&old, "").start();
    login(&world);
    comes(&world, "agreed", 1);
    login_with(&world, OLD_ID, "another-planted-secret");
    comes(&world, "bridge_refuses", 1);
    let before = told(&world);
    world.crash();
    assert_eq!(told(&world), before);
    login(&world);
    comes(&world, "agreed", 1);
    assert_eq!(told(&world)["counts"]["agreed"], 2, "it goes on");
    for stage in ["legacy", "shadow"] {
        run(&world, &["client", "stage", OLD_ID, stage, "--why", "a test"], "").fine();
    }
    let anew = told(&world);
    assert_eq!((&anew["counts"]["agreed"], &anew["differing"]), (&0.into(), &0.into()), "{anew}");
    run(&world, &["client", "rollback", OLD_ID], "").fine();
    let shown = run(&world, &["client", "show", OLD_ID, "--format", "json"], "").fine().json();
    assert_eq!((&shown["stage"], &shown["fares"]), (&"legacy".into(), &serde_json::Value::Null));
}

#[test]
fn what_was_compared_begins_anew_where_the_entry_was_edited_and_then_edited_back() {
    let old = FakeOld::start();
    let mut world = shadow(&old, "").start();
    let load = |world: &mut World, stage: &str| {
        world.change_clients(&[client(OLD_ID, &format!("stage = \"{stage}\""))]);
        world.running().reload().unwrap();
    };
    for meanwhile in ["legacy", "live"] {
        login(&world);
        eventually("it is compared", || told(&world)["counts"]["agreed"] == 1);
        world.turn(60);
        load(&mut world, "shadow");
        assert_eq!(told(&world)["counts"]["agreed"], 1, "a load that changes nothing of it");
        load(&mut world, meanwhile);
        load(&mut world, "shadow");
        let anew = told(&world);
        assert_eq!(
            (&anew["counts"]["agreed"], &anew["last"]),
            (&0.into(), &serde_json::json!([])),
            "{meanwhile}: {anew}"
        );
        login(&world);
        eventually("it is compared", || told(&world)["counts"]["agreed"] != 0);
        let first = told(&world);
        assert_eq!((&first["counts"]["agreed"], &first["since"]), (&1.into(), &anew["since"]), "{meanwhile}");
        world.restart();
        assert_eq!(told(&world), first, "the store has forgotten what was before, and nothing else");
        load(&mut world, meanwhile);
        load(&mut world, "shadow");
        world.restart();
        assert_eq!(told(&world)["counts"]["agreed"], 0, "the store has forgotten it, too");
    }
}

#[test]
fn a_comparison_that_is_being_kept_while_its_staging_ends_is_not_of_the_next_one() {
    let old = FakeOld::start();
    let mut world = shadow(&old, "").start();
    login(&world);
    comes(&world, "agreed", 1);
    let held = world.clock.hold_at("store-writer", Look::Passed);
    login(&world);
    eventually("the second is being kept", || world.clock.has_held());
    for stage in ["legacy", "shadow"] {
        world.change_clients(&[client(OLD_ID, &format!("stage = \"{stage}\""))]);
        world.running().reload().unwrap();
    }
    drop(held);
    comes(&world, "agreed", 2);
    let anew = told(&world);
    assert_eq!(anew["counts"]["agreed"], 0, "{anew}");
    world.restart();
    assert_eq!(told(&world)["counts"]["agreed"], 0, "the store has forgotten it too");
}

#[test]
fn a_comparison_that_is_being_kept_while_the_second_staging_of_its_kind_ends_is_not_of_the_third() {
    let old = FakeOld::start();
    let mut world = shadow(&old, "").start();
    let load = |world: &mut World, stages: &[&str]| {
        for stage in stages {
            world.change_clients(&[client(OLD_ID, &format!("stage = \"{stage}\""))]);
            world.running().reload().unwrap();
        }
    };
    login(&world);
    comes(&world, "agreed", 1);
    load(&mut world, &["legacy", "shadow"]);
    let held = world.clock.hold_at("store-writer", Look::Passed);
    login(&world);
    eventually("the second is being kept", || world.clock.has_held());
    load(&mut world, &["legacy", "shadow"]);
    drop(held);
    comes(&world, "agreed", 2);
    let anew = told(&world);
    assert_eq!(anew["counts"]["agreed"], 0, "{anew}");
    world.restart();
    assert_eq!(told(&world)["counts"]["agreed"], 0, "the store has forgotten it too");
}

#[test]
fn comparisons_of_a_staging_that_is_over_take_away_none_of_the_next_one() {
    let old = FakeOld::start();
    let mut world = shadow(&old, "").start();
    let held = world.clock.hold_at("store-writer", Look::Passed);
    login(&world);
    eventually("the first is being kept", || world.clock.has_held());
    login(&world);
    eventually("the second waits for it", || told(&world)["counts"]["agreed"] == 1);
    let moved = "{ from = \"legacy\", at = \"2020-02-02T02:02:02Z\", why = \"a test\" }";
    world.change_clients(&[client(OLD_ID, &format!("stage = \"shadow\"\nstage_change = {moved}"))]);
    world.running().reload().unwrap();
    for count in 1..=3 {
        login(&world);
        eventually("it waits too", || told(&world)["counts"]["agreed"] == count);
    }
    drop(held);
    comes(&world, "agreed", 5);
    assert_eq!(told(&world)["counts"]["agreed"], 3);
    world.restart();
    assert_eq!(told(&world)["counts"]["agreed"], 3);
}

#[test]
fn what_another_instance_has_compared_since_it_was_staged_anew_there_is_not_written_over() {
    let old = FakeOld::start();
    let world = shadow(&old, "").start();
    let store = &world.running().bridge().store;
    let name = format!("shadow/{OLD_ID}");
    let has = || block_on(store.memo(&name)).unwrap().unwrap();
    let elsewhere = |since: Timestamp| {
        let value = postcard::to_stdvec(&Tally::new(Fingerprint::of("staging", b"elsewhere"), since)).unwrap();
        block_on(store.memo_put(&Memo { name: name.clone(), value: value.clone() })).unwrap();
        value
    };
    let newer = elsewhere(BEGIN.plus(Duration::from_secs(60)));
    login(&world);
    comes(&world, "agreed", 1);
    assert_eq!(has(), newer);
    let older = elsewhere(BEGIN);
    login(&world);
    comes(&world, "agreed", 2);
    assert_ne!(has(), older);
    assert_eq!(told(&world)["counts"]["agreed"], 1);
}

#[test]
fn nothing_was_compared_since_the_client_was_staged_whenever_one_asks() {
    let old = FakeOld::start();
    let mut world = shadow(&old, "").start();
    let since = |world: &World| told(world)["since"].as_str().unwrap().to_owned();
    let begin = since(&world);
    world.turn(60);
    assert_eq!(since(&world), begin, "the start of the bridge");
    world.change_clients(&[client(OLD_ID, "stage = \"legacy\"")]);
    world.running().reload().unwrap();
    world.change_clients(&[client(OLD_ID, "stage = \"shadow\"")]);
    world.running().reload().unwrap();
    let loaded = since(&world);
    assert!(loaded > begin, "{loaded}");
    world.turn(60);
    for count in 1..=2 {
        login(&world);
        comes(&world, "agreed", count);
        assert_eq!(since(&world), loaded, "the load that staged it, whatever was compared");
    }
    let at = "2020-02-02T02:02:02Z";
    let moved = format!("stage = \"shadow\"\nstage_change = {{ from = \"legacy\", at = \"{at}\", why = \"a test\" }}");
    world.change_clients(&[client(OLD_ID, &moved)]);
    world.running().reload().unwrap();
    world.restart();
    assert_eq!(since(&world), at, "a command staged it before the bridge began");
    login(&world);
    comes(&world, "agreed", 1);
    assert_eq!(since(&world), at);
}

#[test]
fn an_old_server_that_is_down_is_a_server_error_as_at_legacy_and_decides_nothing() {
    let old = FakeOld::start();
    let world = shadow(&old, "").set("otk", "timeout", "\"100ms\"").start();
    old.next(OldMood::Hangs);
    let reply = world.connect().ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    assert_eq!(reply.said(), (500, "server_error".to_owned()));
    comes(&world, "undecided", 1);
}

#[test]
fn a_refresh_of_the_old_servers_uuid_goes_there_and_of_the_bridges_own_stays_here() {
    let old = FakeOld::start();
    let mut world = plan(&old).client(&client(OLD_ID, "stage = \"live\"")).start();
    let own = world.connect().ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    world.plant(&own);
    world.change_clients(&[client(OLD_ID, "stage = \"shadow\"")]);
    world.running().reload().unwrap();
    let olds = login(&world);
    for (reply, is_olds) in [(&own, false), (&olds, true)] {
        let token = reply.text("refresh_token");
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", OLD_ID),
            ("client_secret", OLD_SECRET),
            ("refresh_token", &token),
        ];
        let next = world.connect().ask(&post(TOKEN, &fields));
        world.plant(&next);
        assert_eq!((next.status, next.header("server").is_some()), (200, is_olds));
    }
}

#[test]
fn a_client_goes_from_the_old_server_over_shadow_to_a_canary_by_command() {
    let old = FakeOld::start();
    let entry = client("partner-a", "stage = \"legacy\"");
    let world = plan(&old).set("ops", "token", "{ env = \"NEW_SECRET\" }").client(&entry).start();
    let said = |arguments: &[&str]| run(&world, &[&["client"], arguments].concat(), "").fine().out;
    said(&["stage", "partner-a", "shadow", "--why", "ticket 4711: a week of proof"]);
    let shown = said(&["show", "partner-a"]);
    assert!(shown.contains("\nstage        shadow\n") && shown.contains("nothing yet, since "), "{shown}");
    said(&["stage", "partner-a", "canary", "--percent", "5", "--why", "nothing differs"]);
    let shown = said(&["show", "partner-a"]);
    assert!(shown.contains("\nstage        canary\n") && !shown.contains("\ncompared "), "{shown}");
}
