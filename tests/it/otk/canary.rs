//! Canary: a share of the passports at the realm, watched, and back by itself where that goes badly.

use std::sync::{Arc, Barrier};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use passbridge::store::Memo;

use super::{is_old, plan};
use crate::cli::said::{Said, run};
use crate::support::raw::post_body;
use crate::support::{
    Connection, FakeOld, Look, Mood, OLD_ID, OLD_SECRET, OldMood, Plan, RawReply, TOKEN, World, block_on, client,
    eventually, passport, post,
};

const CANARY: &str = "stage = \"canary\"\ncanary = { percent = 50, step_back_at = 2 }";

fn canary(old: &FakeOld) -> Plan {
    plan(old).set("ops", "token", "{ env = \"NEW_SECRET\" }").client(&client(OLD_ID, CANARY))
}

fn login(world: &World, number: usize) -> RawReply {
    let reply = begin(world, number).reply().unwrap();
    world.plant(&reply);
    reply
}

/// Asks, and waits for no answer.
fn begin(world: &World, number: usize) -> Connection {
    let certificate = format!("planted-certificate_{number}");
    let mut fields = passport(OLD_ID, OLD_SECRET);
    for field in &mut fields {
        if field.0 == "certificate" {
            field.1 = &certificate;
        }
    }
    let mut connection = world.connect();
    connection.write(&post(TOKEN, &fields));
    connection
}

fn load(world: &mut World, entry: &str) {
    world.change_clients(&[client(OLD_ID, entry)]);
    world.running().reload().unwrap();
}

/// Passports of each side: those that log in at the realm, and the others.
fn sides(world: &World, count: usize) -> (Vec<usize>, Vec<usize>) {
    let (old, realm) = (0..count).partition(|number| is_old(&login(world, *number)));
    (realm, old)
}

/// Refuses at the realm whatever is asked.
fn ill(world: &World) {
    world.realm.usually(Mood::Refuse(503, "temporarily_unavailable", "the realm is ill"));
}

fn stepped_back(world: &World) -> bool {
    world.metric(&format!("passbridge_canary_stepped_back{{client=\"{OLD_ID}\"}}")) > 0.5
}

fn told(world: &World, arguments: &[&str]) -> Said {
    run(world, arguments, "").fine()
}

#[test]
fn a_passport_logs_in_at_one_side_as_long_as_it_lives() {
    let old = FakeOld::start();
    let mut world = canary(&old).start();
    let (realm, others) = sides(&world, 60);
    assert!((15..45).contains(&realm.len()), "{} of 60 at 50 %", realm.len());
    world.restart();
    assert!(realm.iter().all(|number| !is_old(&login(&world, *number))));
    assert!(others.iter().all(|number| is_old(&login(&world, *number))));
    world.change_clients(&[client(OLD_ID, &CANARY.replace("50", "99"))]);
    world.running().reload().unwrap();
    assert!(realm.iter().all(|number| !is_old(&login(&world, *number))), "a greater share leaves nobody out");
}

#[test]
fn a_canary_keeps_its_tokens_and_what_is_no_login_is_the_old_servers() {
    let old = FakeOld::start();
    let world = canary(&old).start();
    let (realm, others) = sides(&world, 30);
    let credentials = [("client_id", OLD_ID), ("client_secret", OLD_SECRET)];
    let refresh = |token: &str| {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let reply = world.connect().ask(&post(TOKEN, &[&credentials[..], &fields].concat()));
        world.plant(&reply);
        reply
    };
    for (number, is_others) in [(realm[0], false), (others[0], true)] {
        let next = refresh(&login(&world, number).text("refresh_token"));
        assert_eq!((next.status, is_old(&next)), (200, is_others));
    }
    let odd = world.connect().ask(&post(TOKEN, &[&credentials[..], &[("grant_type", "saml")]].concat()));
    let without = world.connect().ask(&post(TOKEN, &[&credentials[..], &[("grant_type", "passport")]].concat()));
    assert!(is_old(&odd) && is_old(&without), "no passport, no canary");
}

#[test]
fn a_canary_is_chosen_by_the_words_of_its_own_dialect_where_two_share_a_path() {
    let old = FakeOld::start();
    let shipped = include_str!("../../../mappings/dialects/otk-passport.toml");
    let renamed = shipped.replacen("certificate = {", "cookie = { to = \"certificate\",", 1);
    let entry = client(OLD_ID, &format!("dialect = \"zz\"\n{}", CANARY.replace("50", "99")));
    let world = plan(&old).dialect("zz", &renamed).client(&entry).start();
    let chosen = (0..20).filter(|number| {
        let cookie = format!("planted-certificate_{number}");
        let fields = passport(OLD_ID, OLD_SECRET).into_iter();
        let fields =
            fields.map(|(name, value)| if name == "certificate" { ("cookie", &*cookie) } else { (name, value) });
        let reply = world.connect().ask(&post(TOKEN, &fields.collect::<Vec<_>>()));
        world.plant(&reply);
        reply.status == 200 && !is_old(&reply)
    });
    assert!(chosen.count() > 10, "at 99 %");
}

#[test]
fn where_the_realm_does_worse_all_go_back_for_good_and_everybody_is_told() {
    let old = FakeOld::start();
    let mut world = canary(&old).start();
    let (realm, others) = sides(&world, 20);
    ill(&world);
    let more = 50 - realm.len() - 1;
    let failed = (0..more).filter(|_| login(&world, realm[0]).status != 200).count();
    assert_eq!(failed, more, "the realm refuses");
    assert!(!stepped_back(&world) && !is_old(&login(&world, realm[0])), "forty-nine logins decide nothing");
    assert!(is_old(&login(&world, realm[0])), "the fiftieth was the last one");
    assert!(stepped_back(&world));
    let sentence = format!(
        "{} of 50 logins at the realm got no tokens, the old server refused 0 of {}",
        50 - realm.len(),
        others.len()
    );
    let lines = world.log("\"event\":\"stepped_back\"");
    assert!(lines.iter().any(|line| line["detail"].as_str().unwrap().starts_with(&sentence[..40])), "{lines:?}");
    world.realm.usually(Mood::Grant(crate::support::Granting::default()));
    eventually("all is in the audit", || world.audit().iter().any(|row| row["what"] == "step_back"));
    world.crash();
    eventually("it is shown before anybody logs in", || stepped_back(&world));
    assert!(is_old(&login(&world, realm[0])), "a restart forgets nothing");
    assert!(stepped_back(&world));
    let row = world.audit().into_iter().find(|row| row["what"] == "step_back").unwrap();
    assert_eq!((&row["client"], &row["stage"]), (&OLD_ID.into(), &"canary".into()), "{row}");
    let shown = told(&world, &["client", "show", OLD_ID, "--format", "json"]).json();
    assert_eq!(shown["fares"]["canary"]["stepped_back"]["figures"]["realm"], 50, "{shown}");
    let human = told(&world, &["client", "show", OLD_ID]).out;
    assert!(
        human.contains("\nstepped back at ") && human.contains("of 50 logins at the realm got no tokens"),
        "{human}"
    );
    assert!(told(&world, &["client", "list"]).out.contains("canary (stepped back)"));
    // At another stage nothing of it is shown.
    let shown = || world.ops("/metrics").body.contains("passbridge_canary_stepped_back{");
    told(&world, &["client", "rollback", OLD_ID]);
    assert!(!shown(), "{}", world.ops("/metrics").body);
    // Staged again, it begins anew.
    told(&world, &["client", "stage", OLD_ID, "canary", "--percent", "60", "--why", "the realm is well"]);
    assert!(shown() && !stepped_back(&world), "before anybody logs in");
    assert!(!is_old(&login(&world, realm[0])));
    assert!(!stepped_back(&world));
    assert_eq!(told(&world, &["client", "show", OLD_ID, "--format", "json"]).json()["canary"]["percent"], 60);
}

#[test]
fn a_canary_that_stepped_back_begins_anew_where_its_entry_was_edited_and_then_edited_back() {
    let old = FakeOld::start();
    let mut world = canary(&old).start();
    let (realm, _) = sides(&world, 20);
    let steps_back = |world: &World| {
        ill(world);
        for _ in 0..60 {
            login(world, realm[0]);
        }
        assert!(stepped_back(world) && is_old(&login(world, realm[0])));
        world.realm.usually(Mood::Grant(crate::support::Granting::default()));
    };
    for meanwhile in ["stage = \"live\"", &CANARY.replace("50", "60")] {
        steps_back(&world);
        load(&mut world, CANARY);
        assert!(stepped_back(&world) && is_old(&login(&world, realm[0])), "a load that changes nothing of it");
        load(&mut world, meanwhile);
        load(&mut world, CANARY);
        assert!(!stepped_back(&world) && !is_old(&login(&world, realm[0])), "{meanwhile}");
        world.restart();
        assert!(!is_old(&login(&world, realm[0])) && !stepped_back(&world), "the store has forgotten it, too");
    }
    steps_back(&world);
    load(&mut world, "stage = \"live\"");
    load(&mut world, CANARY);
    steps_back(&world);
    world.restart();
    assert!(is_old(&login(&world, realm[0])), "a new step back is kept as ever");
}

#[test]
fn a_step_back_that_is_being_kept_while_its_staging_ends_is_not_of_the_next_one() {
    let old = FakeOld::start();
    let mut world = canary(&old).start();
    let (realm, _) = sides(&world, 20);
    ill(&world);
    for _ in realm.len()..49 {
        assert!(!is_old(&login(&world, realm[0])));
    }
    assert!(!stepped_back(&world));
    let held = world.clock.hold_at("store-writer", Look::Passed);
    let mut last = begin(&world, realm[0]);
    eventually("the step back is being kept", || world.clock.has_held());
    load(&mut world, "stage = \"legacy\"");
    let bridge = world.running().bridge();
    block_on(bridge.canaries.forget_over(&bridge.store));
    drop(held);
    assert_ne!(last.reply().unwrap().status, 200);
    world.realm.usually(Mood::Grant(crate::support::Granting::default()));
    load(&mut world, CANARY);
    assert!(!is_old(&login(&world, realm[0])) && !stepped_back(&world));
    world.restart();
    assert!(!is_old(&login(&world, realm[0])) && !stepped_back(&world), "the store has forgotten it, too");
}

#[test]
fn a_login_that_looks_for_a_step_back_while_its_staging_ends_says_nothing_of_it() {
    let old = FakeOld::start();
    let mut world = canary(&old).start();
    let (realm, _) = sides(&world, 20);
    world.turn(6);
    let begins = world.clock.hold_at("worker-0", Look::Passed);
    let mut login = begin(&world, realm[0]);
    eventually("the login has come", || world.clock.has_held());
    let held = world.clock.hold_at("worker-0", Look::Passed);
    drop(begins);
    eventually("it looks for a step back", || world.clock.has_held());
    load(&mut world, "stage = \"legacy\"");
    drop(held);
    let _answered = login.reply().unwrap();
    let shown = world.ops("/metrics").body;
    assert!(!shown.contains("passbridge_canary_stepped_back{"), "the client is no canary any more: {shown}");
}

#[test]
fn a_step_back_that_a_disk_takes_after_its_staging_was_forgotten_is_forgotten_too() {
    let old = FakeOld::start();
    let mut world = canary(&old).start();
    let (realm, _) = sides(&world, 20);
    ill(&world);
    for _ in realm.len()..49 {
        assert!(!is_old(&login(&world, realm[0])));
    }
    let held = world.clock.hold_at("store-writer", Look::Passed); // the disk hangs
    assert_ne!(login(&world, realm[0]).status, 200);
    assert!(stepped_back(&world));
    world.realm.usually(Mood::Grant(crate::support::Granting::default()));
    load(&mut world, "stage = \"legacy\"");
    let bridge = Arc::clone(world.running().bridge());
    block_on(bridge.canaries.forget_over(&bridge.store));
    drop(held);
    eventually("the disk takes writes", || block_on(bridge.store.try_out()).is_ok());
    load(&mut world, CANARY);
    assert!(!is_old(&login(&world, realm[0])) && !stepped_back(&world), "it is staged anew");
}

#[test]
fn a_step_back_that_waits_to_be_kept_while_its_staging_ends_is_kept_for_no_later_one() {
    let old = FakeOld::start();
    let mut world = canary(&old).start();
    let (realm, _) = sides(&world, 20);
    load(&mut world, &CANARY.replace("50", "60"));
    ill(&world);
    for _ in 0..50 {
        assert!(!is_old(&login(&world, realm[0])));
    }
    assert!(stepped_back(&world));
    let bridge = Arc::clone(world.running().bridge());
    let before = Arc::clone(bridge.snapshot.load().table.client(OLD_ID).unwrap());
    let name = format!("step_back/{OLD_ID}");
    let value = block_on(bridge.store.memo(&name)).unwrap().unwrap();
    load(&mut world, CANARY);
    for _ in 0..49 {
        assert!(!is_old(&login(&world, realm[0])));
    }
    block_on(bridge.store.memo_put(&Memo { name: name.clone(), value })).unwrap();
    let held = world.clock.hold_at("store-writer", Look::Passed);
    bridge.canaries.end(&before);
    eventually("the one before is being forgotten", || world.clock.has_held());
    let mut last = begin(&world, realm[0]);
    eventually("the next is to be kept", || stepped_back(&world));
    load(&mut world, "stage = \"legacy\"");
    load(&mut world, CANARY);
    drop(held);
    assert_ne!(last.reply().unwrap().status, 200);
    world.realm.usually(Mood::Grant(crate::support::Granting::default()));
    assert!(!is_old(&login(&world, realm[0])) && !stepped_back(&world), "it is staged anew");
    eventually("the store has none", || block_on(bridge.store.memo(&name)).unwrap().is_none());
}

#[test]
fn a_login_at_the_old_server_that_began_before_a_canary_was_staged_anew_forgets_nothing_of_what_was_counted_since() {
    let old = FakeOld::start();
    let mut world = canary(&old).start();
    let (realm, others) = sides(&world, 20);
    let (test, before) = (Arc::new(Barrier::new(2)), old.count());
    old.next(OldMood::Waits(Arc::clone(&test)));
    let mut waiting = begin(&world, others[0]);
    eventually("the old server is asked", || old.count() > before);
    load(&mut world, &CANARY.replace("50", "60"));
    ill(&world);
    for _ in 0..49 {
        assert!(!is_old(&login(&world, realm[0])));
    }
    test.wait();
    assert!(is_old(&waiting.reply().unwrap()));
    assert_eq!(counted(&world), [49, 49, 0, 0]);
    assert!(!is_old(&login(&world, realm[0])) && stepped_back(&world), "the fiftieth was the last one");
}

#[test]
fn a_step_back_that_the_store_has_lost_is_put_there_again() {
    let old = FakeOld::start();
    let mut world = canary(&old).start();
    let (realm, _) = sides(&world, 20);
    ill(&world);
    for _ in 0..60 {
        login(&world, realm[0]);
    }
    assert!(stepped_back(&world));
    world.realm.usually(Mood::Grant(crate::support::Granting::default()));
    let name = format!("step_back/{OLD_ID}");
    let store = world.running().bridge().store.clone();
    block_on(store.memo_delete(&name)).unwrap();
    world.turn(6);
    assert!(is_old(&login(&world, realm[0])));
    assert!(block_on(store.memo(&name)).unwrap().is_some());
    drop(store);
    world.restart();
    assert!(is_old(&login(&world, realm[0])), "whoever starts anew has it");
}

#[test]
fn users_own_mistakes_which_the_old_server_refuses_too_are_no_reason_to_step_back() {
    let old = FakeOld::start();
    let world = canary(&old).start();
    let (realm, others) = sides(&world, 20);
    world.realm.usually(Mood::Refuse(400, "invalid_grant", "Invalid user credentials"));
    for _ in 0..60 {
        assert_ne!(login(&world, realm[0]).status, 200);
        for _ in 0..2 {
            old.next(OldMood::Says(REFUSED.to_vec()));
            assert_eq!(login(&world, others[0]).status, 401);
        }
    }
    assert!(!stepped_back(&world));
    let fares = told(&world, &["client", "show", OLD_ID, "--format", "json"]).json()["fares"]["canary"].clone();
    assert_eq!(fares["figures"]["without_tokens"], 60, "{fares}");
    for _ in 0..40 {
        assert_eq!(login(&world, others[0]).status, 200);
        login(&world, realm[0]);
    }
    assert!(stepped_back(&world), "now the old server does better: {}", world.ops("/metrics").body);
}

const REFUSED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nServer: Old-Gateway\r\nContent-Length: 2\r\n\r\n{}";
const GRANTED: &[u8] = b"HTTP/1.1 200 OK\r\nServer: Old-Gateway\r\nContent-Length: 2\r\n\r\n{}";

/// What was counted: logins at the realm, those without tokens, at the old server, those that it refused.
fn counted(world: &World) -> [u64; 4] {
    let shown = told(world, &["client", "show", OLD_ID, "--format", "json"]).json();
    let figures = &shown["fares"]["canary"]["figures"];
    ["realm", "without_tokens", "old", "refused"].map(|name| figures[name].as_u64().expect(name))
}

/// A login under the client's name by somebody who has not its secret, with the passport of this number; the old server answers so.
fn strangers(world: &World, old: &FakeOld, number: usize, answer: &[u8]) {
    old.next(OldMood::Says(answer.to_vec()));
    let body = format!(
        "grant_type=passport&client_id={OLD_ID}&client_secret=guessed&certificate=planted-certificate_{number}"
    );
    assert!(is_old(&world.connect().ask(&post_body(TOKEN, &[], body.as_bytes()))));
}

#[test]
fn a_client_of_the_old_servers_own_that_also_names_the_canary_counts_on_neither_side() {
    let old = FakeOld::start();
    let world = canary(&old).start();
    let (realm, others) = sides(&world, 20);
    let before = counted(&world);
    let basic = format!("Basic {}", STANDARD.encode("l7xxstranger:planted-strange"));
    for number in [realm[0], others[0]].iter().cycle().take(120) {
        let passport = format!("grant_type=passport&certificate=planted-certificate_{number}");
        let request = if old.count() % 4 < 2 {
            let own = format!("{passport}&client_id=l7xxstranger&client_secret=planted-strange");
            post_body(&format!("{TOKEN}?client_id={OLD_ID}"), &[], own.as_bytes())
        } else {
            let named = format!("{passport}&client_id={OLD_ID}");
            post_body(TOKEN, &[("Authorization", &basic)], named.as_bytes())
        };
        old.next(OldMood::Says(GRANTED.to_vec()));
        let reply = world.connect().ask(&request);
        assert!(is_old(&reply) && reply.status == 200, "it is served as ever: {reply:?}");
    }
    assert_eq!(counted(&world), before);
    assert!(!stepped_back(&world) && !is_old(&login(&world, realm[0])));
}

#[test]
fn wrong_secrets_of_strangers_at_the_old_server_hold_up_no_canary_that_fares_badly() {
    let old = FakeOld::start();
    let world = canary(&old).start();
    let (realm, others) = sides(&world, 20);
    for number in 0..60 {
        if stepped_back(&world) {
            break;
        }
        // The realm refuses one of its users in two, the old server none.
        if number % 2 == 0 {
            world.realm.next(Mood::Refuse(503, "temporarily_unavailable", "the realm is ill"));
        }
        login(&world, realm[0]);
        for answer in [REFUSED, REFUSED, b"HTTP/1.1 500 Ill\r\nServer: Old-Gateway\r\nContent-Length: 0\r\n\r\n"] {
            strangers(&world, &old, others[0], answer);
        }
    }
    assert!(stepped_back(&world), "{:?}", counted(&world));
    let [_, _, _, refused] = counted(&world);
    assert_eq!(refused, 0);
}

#[test]
fn a_client_whose_secret_was_refused_unverified_is_known_by_the_old_servers_word_and_logs_in_at_the_realm() {
    let old = FakeOld::start();
    let limit = "{ per_client = \"2/h\", per_address = \"300/min\" }";
    let world = canary(&old).set("limits", "wrong_secrets", limit).start();
    let chosen = (0..50)
        .find(|number| {
            strangers(&world, &old, *number, REFUSED);
            unproved(&world) > 1.5
        })
        .expect("one of fifty at 50 % is the second");
    strangers(&world, &old, chosen, REFUSED);
    let first = login(&world, chosen);
    assert!(is_old(&first) && first.status == 200, "it is refused unverified here: {first:?}");
    assert!((unproved(&world) - 4.0).abs() < 0.5, "{}", world.ops("/metrics").body);
    assert_eq!(counted(&world)[..2], [0, 0], "which says nothing of the mapping");
    strangers(&world, &old, chosen, REFUSED);
    let second = login(&world, chosen);
    assert!(!is_old(&second) && second.status == 200, "a secret that was right before is never refused so: {second:?}");
    assert_eq!(counted(&world)[..2], [1, 0]);
}

#[test]
fn a_wrong_secret_in_the_mapping_brings_a_canary_back_and_nobody_notices() {
    let old = FakeOld::start();
    let more = format!("{CANARY}\nlegacy_secret = {{ env = \"NEW_SECRET\" }}");
    // However many wrong ones came before it: strangers hold it up no more than they bring it back.
    let limit = "{ per_client = \"1/h\", per_address = \"300/min\" }";
    let world = plan(&old).set("limits", "wrong_secrets", limit).client(&client(OLD_ID, &more)).start();
    for number in 0..400 {
        let reply = login(&world, number);
        assert!(is_old(&reply) && reply.status == 200, "{reply:?}");
        if stepped_back(&world) {
            break;
        }
    }
    assert!(stepped_back(&world));
    assert!((unproved(&world) - 50.0).abs() < 0.5, "{}", world.ops("/metrics").body);
}

/// Logins that the canary had chosen, and that were passed on because nobody had proved anything.
fn unproved(world: &World) -> f64 {
    world.metric(&format!("passbridge_notes_total{{client=\"{OLD_ID}\",note=\"unproved\"}}"))
}

#[test]
fn whoever_only_says_that_he_is_the_client_brings_no_canary_back() {
    let old = FakeOld::start();
    let world = canary(&old).start();
    let (realm, _) = sides(&world, 20);
    let certificate = format!("planted-certificate_{}", realm[0]);
    let strangers = [
        // Another secret; none; a form that nobody reads.
        format!("grant_type=passport&client_id={OLD_ID}&client_secret=guessed&certificate={certificate}"),
        format!("grant_type=passport&client_id={OLD_ID}&certificate={certificate}"),
        format!("grant_type=passport&client_id={OLD_ID}&client_secret={OLD_SECRET}&certificate={certificate}&a=%zz"),
    ];
    for stranger in strangers.iter().cycle().take(60) {
        old.next(OldMood::Says(REFUSED.to_vec()));
        let reply = world.connect().ask(&post_body(TOKEN, &[], stranger.as_bytes()));
        assert!(is_old(&reply) && reply.status == 401, "{reply:?}");
    }
    let fares = told(&world, &["client", "show", OLD_ID, "--format", "json"]).json()["fares"]["canary"].clone();
    assert_eq!((&fares["figures"]["without_tokens"], &fares["figures"]["refused"]), (&0.into(), &0.into()), "{fares}");
    assert!(!stepped_back(&world) && !is_old(&login(&world, realm[0])));
}

#[test]
fn a_canary_that_is_staged_anew_is_told_in_the_audit_with_the_reason() {
    let old = FakeOld::start();
    let mut world = plan(&old).client(&client(OLD_ID, "stage = \"legacy\"")).start();
    for (percent, why) in [("5", "begin"), ("20", "more of them")] {
        run(&world, &["client", "stage", OLD_ID, "canary", "--percent", percent, "--why", why], "").fine();
    }
    world.end();
    let told = run(&world, &["audit", "--client", OLD_ID], "").fine().out;
    let rows: Vec<&str> = told.lines().filter(|line| line.contains(" stage ")).collect();
    assert_eq!(rows.len(), 2, "{told}");
    assert!(rows[1].ends_with("stage_before=canary stage=canary (more of them)"), "{told}");
}

#[test]
fn a_canary_is_staged_with_its_share_by_command() {
    let old = FakeOld::start();
    let world = plan(&old).client(&client(OLD_ID, "stage = \"legacy\"")).files();
    let stage = |arguments: &[&str]| run(&world, &[&["client", "stage", OLD_ID], arguments].concat(), "");
    stage(&["live", "--percent", "5", "--why", "a test"]).refused(2, "--percent goes with the stage `canary` alone");
    stage(&["canary", "--percent", "0", "--why", "a test"]).refused(2, "0 is not in 1..=99");
    stage(&["canary", "--why", "a test"]).refused(1, "hint: --percent 5");
    stage(&["canary", "--percent", "5", "--why", "a test"]).fine();
    stage(&["canary", "--percent", "20", "--why", "more"]).fine();
    let shown = told(&world, &["client", "show", OLD_ID, "--format", "json"]).json();
    assert_eq!((&shown["stage"], &shown["canary"]["percent"]), (&"canary".into(), &20.into()), "{shown}");
    assert_eq!(shown["stage_change"]["from"], "legacy", "staged anew, it still came from there");
    told(&world, &["client", "rollback", OLD_ID]);
    let shown = told(&world, &["client", "show", OLD_ID, "--format", "json"]).json();
    assert_eq!((&shown["stage"], &shown["canary"]["percent"]), (&"legacy".into(), &20.into()));
}
