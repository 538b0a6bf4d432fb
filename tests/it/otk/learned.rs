//! Old secrets that nobody knows any more: learned from what the old server accepts, and counted at the realm's side.

use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::{is_old, plan};
use crate::cli::said::run;
use crate::support::program::Program;
use crate::support::raw::post_body;
use crate::support::{
    Connection, FakeOld, Look, NEW_SECRET, OLD_ID, OLD_SECRET, OldMood, Plan, RawReply, TOKEN, World, block_on, client,
    eventually, passport, post, within,
};

const LEARN: &str = "legacy_secret = { learn = true } # nobody knows it";
const SECOND: &str = "planted-second-secret";
const THIRD: &str = "planted-third-secret";

fn at(stage: &str) -> String {
    client(OLD_ID, &format!("stage = \"{stage}\"\n{LEARN}"))
}

fn learning(old: &FakeOld, stage: &str) -> Plan {
    plan(old).set("ops", "token", "{ env = \"NEW_SECRET\" }").client(&at(stage))
}

fn login(world: &World, secret: &str) -> RawReply {
    let reply = world.connect().ask(&post(TOKEN, &passport(OLD_ID, secret)));
    world.plant(&reply);
    reply
}

/// How many the bridge says that it has learned.
fn learned(world: &World) -> u64 {
    let listed = run(world, &["client", "list", "--format", "json"], "").fine().json();
    listed[0]["legacy_secrets"][0]["learned"].as_u64().unwrap()
}

fn stage(world: &mut World, stage: &str) {
    world.change_clients(&[at(stage)]);
    world.running().reload().unwrap();
}

/// The client logs in at the old server, and its secret is learned.
fn lesson(world: &World, secret: &str, then: u64) {
    eventually("the secret is learned", || {
        // Whoever comes while another one is learned comes again.
        let reply = login(world, secret);
        assert!(reply.status == 200 && is_old(&reply), "{reply:?}");
        learned(world) == then
    });
}

/// The hashes that the store has.
fn kept(world: &World) -> Vec<String> {
    let kept = block_on(world.running().bridge().store.memo(&format!("learned/{OLD_ID}"))).unwrap();
    kept.map_or_else(Vec::new, |kept| postcard::from_bytes(&kept).unwrap())
}

fn contains(directory: &Path, text: &str) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return contains(&path, text);
        }
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn the_login_that_teaches_a_secret_is_no_difference_at_stage_shadow() {
    let old = FakeOld::start();
    let world = learning(&old, "shadow").start();
    lesson(&world, OLD_SECRET, 1);
    let counted =
        |outcome: &str| world.metric(&format!("passbridge_shadow_total{{client=\"{OLD_ID}\",outcome=\"{outcome}\"}}"));
    let compared = || ["agreed", "undecided"].map(counted).iter().sum::<f64>();
    eventually("what taught it is compared", || compared() >= 1.0);
    let before = counted("agreed");
    assert_eq!(login(&world, OLD_SECRET).status, 200);
    eventually("the next agrees", || counted("agreed") > before);
    assert!(counted("bridge_refuses") == 0.0, "{}", world.ops("/metrics").body);
}

#[test]
fn what_the_old_server_accepted_lets_in_at_the_realm_whatever_restarts() {
    let old = FakeOld::start();
    let mut world = learning(&old, "legacy").start();
    world.plant_text(SECOND);
    assert_eq!(login(&world, SECOND).status, 401, "the old server refuses it");
    lesson(&world, OLD_SECRET, 1);
    world.crash();
    stage(&mut world, "live");
    let reply = login(&world, OLD_SECRET);
    assert!(reply.status == 200 && !is_old(&reply), "{reply:?}");
    let refused = login(&world, SECOND);
    assert!(refused.status == 401 && !is_old(&refused), "a refused one is never learned: {refused:?}");
    world.change_clients(&[at("canary").replace(LEARN, &format!("canary = {{ percent = 99 }}\n{LEARN}"))]);
    world.running().reload().unwrap();
    let reply = login(&world, OLD_SECRET);
    assert!(reply.status == 200 && !is_old(&reply), "a canary: {reply:?}");
    let store = world.store();
    world.end();
    assert!(contains(&store, "$argon2id$") && !contains(&store, OLD_SECRET) && !contains(&store, SECOND));
}

#[test]
fn what_the_old_server_may_have_accepted_for_somebody_else_is_not_learned() {
    let old = FakeOld::start();
    let mut world = learning(&old, "legacy").start();
    world.plant_text(SECOND);
    let tokens = "{\"access_token\":\"01d00000-0000-4000-8000-000000000001\"}";
    for (own, says) in [
        ("x=1;client_id=other;client_secret=his-own&", tokens),
        ("Client_Id=other&Client_Secret=his-own&", tokens),
        ("x=1\r\nclient.id=other&", tokens),
        ("x=1%26client_id%3Dother&", tokens),
        // It answers whoever comes.
        ("", "{}"),
        ("", "closed for today"),
        ("", "{\"access_token\":\"\"}"),
    ] {
        let body = format!("{own}grant_type=passport&certificate=c&client_id={OLD_ID}&client_secret={SECOND}");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{says}", says.len());
        old.next(OldMood::Says(answer.into_bytes()));
        assert_eq!(world.connect().ask(&post_body(TOKEN, &[], body.as_bytes())).status, 200, "{own}{says}");
    }
    let body = format!("grant_type=another&client_id={OLD_ID}&client_secret={SECOND}");
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{tokens}", tokens.len());
    old.next(OldMood::Says(answer.into_bytes()));
    assert_eq!(world.connect().ask(&post_body(TOKEN, &[], body.as_bytes())).status, 200, "a grant of no dialect");
    lesson(&world, OLD_SECRET, 1);
    stage(&mut world, "live");
    assert_eq!(login(&world, SECOND).status, 401);
    assert_eq!(login(&world, OLD_SECRET).status, 200);
}

#[test]
fn before_anything_is_learned_a_live_client_is_refused_as_with_a_wrong_secret_at_the_same_cost() {
    let old = FakeOld::start();
    let mut world = learning(&old, "live").start();
    let cost = |world: &World, id: &str| {
        let before = world.verifications();
        let reply = world.connect().ask(&post(TOKEN, &passport(id, "wrong")));
        (reply.status, reply.body, world.verifications() - before)
    };
    let nothing = cost(&world, OLD_ID);
    assert_eq!((nothing.0, nothing.2), (401, 2));
    assert_eq!(login(&world, OLD_SECRET).status, 401);
    stage(&mut world, "legacy");
    lesson(&world, OLD_SECRET, 1);
    stage(&mut world, "live");
    assert_eq!(cost(&world, OLD_ID), nothing);
    world.change("otk", "unknown_clients", "\"refuse\"");
    world.running().reload().unwrap();
    assert_eq!(cost(&world, "nobody"), nothing);
}

#[test]
fn a_secret_costs_a_hash_once_and_the_newest_two_are_kept() {
    let old = FakeOld::start();
    let mut world = learning(&old, "legacy").start();
    for secret in [SECOND, THIRD] {
        old.knows(OLD_ID, secret);
        world.plant_text(secret);
    }
    lesson(&world, OLD_SECRET, 1);
    let before = world.verifications();
    for _ in 0..3 {
        assert_eq!(login(&world, OLD_SECRET).status, 200);
    }
    assert_eq!(world.verifications(), before, "what is known costs nothing");
    lesson(&world, SECOND, 2);
    let counts = |world: &mut World, secret: &str| {
        stage(world, "live");
        let reply = login(world, secret);
        stage(world, "legacy");
        reply.status == 200
    };
    eventually("the third is learned", || login(&world, THIRD).status == 200 && counts(&mut world, THIRD));
    assert!(counts(&mut world, SECOND) && !counts(&mut world, OLD_SECRET));
    world.restart();
    assert!(counts(&mut world, THIRD) && counts(&mut world, SECOND) && !counts(&mut world, OLD_SECRET));
}

#[test]
fn each_secret_that_is_learned_is_told_once_by_log_metric_and_audit() {
    let old = FakeOld::start();
    let mut world = learning(&old, "legacy").start();
    world.plant_text(SECOND);
    let id = "told-when-learned";
    let mapping = client(id, &format!("stage = \"legacy\"\n{LEARN}"));
    world.change_clients(&[at("legacy"), mapping]);
    world.running().reload().unwrap();
    for secret in [OLD_SECRET, SECOND] {
        old.knows(id, secret);
    }
    let counted = format!("passbridge_secrets_learned_total{{client=\"{id}\",outcome=\"kept\"}}");
    let login = |secret: &str| {
        let reply = world.connect().ask(&post(TOKEN, &passport(id, secret)));
        world.plant(&reply);
        assert!(reply.status == 200 && is_old(&reply), "{reply:?}");
    };
    for (secret, times) in [(OLD_SECRET, 1.0), (SECOND, 2.0)] {
        eventually("it is learned", || {
            login(secret);
            (world.metric(&counted) - times).abs() < f64::EPSILON
        });
    }
    login(OLD_SECRET);
    let kept: Vec<_> = world.log("\"learned\"").into_iter().filter(|line| line["client"] == id).collect();
    assert_eq!(kept.iter().map(|line| line["kept"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    world.end();
    let records: Vec<_> = world.audit().into_iter().filter(|record| record["what"] == "learned").collect();
    assert_eq!(records.len(), 2, "{records:?}");
    assert!(records.iter().all(|record| record["client"] == id && record["outcome"] == "ok"), "{records:?}");
}

#[test]
fn a_secret_that_the_store_could_not_keep_is_told_and_learned_later() {
    let old = FakeOld::start();
    let world = learning(&old, "legacy").files();
    let program = Program::serve(&world);
    let ask = || {
        let reply = Connection::open(program.legacy).ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
        assert!(reply.status == 200 && is_old(&reply), "{reply:?}");
    };
    let counted = |outcome: &str| {
        let line = format!("passbridge_secrets_learned_total{{client=\"{OLD_ID}\",outcome=\"{outcome}\"}}");
        program.told("/metrics").body.contains(&line)
    };
    program.limit("1");
    eventually("it is told", || {
        ask();
        counted("not_kept")
    });
    assert!(!counted("kept") && program.lines("learned").is_empty());
    eventually("the log says why", || {
        program
            .lines("store")
            .iter()
            .any(|line| line["what"].as_str().is_some_and(|what| what.starts_with("keeping what was")))
    });
    program.limit("unlimited");
    within(Duration::from_secs(90), "there is room", || {
        ask();
        counted("kept")
    });
}

#[test]
fn a_secret_that_is_learned_of_a_login_at_stage_canary_is_no_login_that_got_no_tokens() {
    let old = FakeOld::start();
    let mut world = learning(&old, "legacy").start();
    world.plant_text(SECOND);
    old.knows(OLD_ID, SECOND);
    lesson(&world, OLD_SECRET, 1);
    world.change_clients(&[at("canary").replace(LEARN, &format!("canary = {{ percent = 99 }}\n{LEARN}"))]);
    world.running().reload().unwrap();
    let is_passed = |secret: &str| {
        let reply = login(&world, secret);
        assert_eq!(reply.status, 200, "{reply:?}");
        is_old(&reply)
    };
    assert!(!is_passed(OLD_SECRET), "the passport is chosen");
    assert!(is_passed(SECOND), "which nobody has shown before");
    eventually("it is learned, and its logins go to the realm too", || !is_passed(SECOND));
    let shown = run(&world, &["client", "show", OLD_ID, "--format", "json"], "").fine().json();
    let figures = &shown["fares"]["canary"]["figures"];
    assert!(figures["realm"].as_u64() >= Some(2) && figures["without_tokens"] == 0, "{figures}");
}

#[test]
fn what_the_store_lost_of_what_was_learned_it_gets_again() {
    let old = FakeOld::start();
    let mut world = learning(&old, "legacy").start();
    lesson(&world, OLD_SECRET, 1);
    let name = format!("learned/{OLD_ID}");
    let store = &world.running().bridge().store;
    let has = || block_on(store.memo(&name)).unwrap();
    let before = has();
    assert!(before.is_some());
    block_on(store.memo_delete(&name)).unwrap();
    assert!(has().is_none());
    assert_eq!(learned(&world), 1);
    assert_eq!(has(), before);
    world.crash();
    stage(&mut world, "live");
    assert!(!is_old(&login(&world, OLD_SECRET)));
}

#[test]
fn of_a_request_that_shows_two_ids_or_secrets_nothing_is_learned() {
    let old = FakeOld::start();
    let mut world = learning(&old, "legacy").start();
    world.plant_text(SECOND);
    old.knows(OLD_ID, SECOND);
    for target in [format!("{TOKEN}?client_id=mine&client_secret=mine"), format!("{TOKEN}?client_secret=mine")] {
        let reply = world.connect().ask(&post(&target, &passport(OLD_ID, SECOND)));
        world.plant(&reply);
        assert!(reply.status == 200 && is_old(&reply), "{reply:?}");
    }
    lesson(&world, OLD_SECRET, 1);
    stage(&mut world, "live");
    assert_eq!((login(&world, SECOND).status, login(&world, OLD_SECRET).status), (401, 200));
}

#[test]
fn what_is_learned_is_written_into_the_file_and_forgotten() {
    let old = FakeOld::start();
    old.knows(OLD_ID, SECOND);
    let world = learning(&old, "legacy").start();
    world.plant_text(SECOND);
    let file = world.path().join("mappings/clients/all.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let write =
        |arguments: &[&str]| run(&world, &[&["client", "secret", OLD_ID, "write-learned"], arguments].concat(), "");
    write(&[]).refused(1, "nothing is learned of");
    write(&["--new"]).refused(2, "only old secrets are learned");
    let checked = run(&world, &["check"], "").fine();
    assert!(
        checked.out.contains("warning[only-learned]") || checked.err.contains("warning[only-learned]"),
        "{checked:?}"
    );
    lesson(&world, OLD_SECRET, 1);
    lesson(&world, SECOND, 2);
    assert!(run(&world, &["client", "list"], "").fine().out.contains("learn (2 learned)"));
    let shown = run(&world, &["client", "show", OLD_ID], "").fine().out;
    let words = "learn (2 learned), last use not known: at stage legacy the old server looks at it\n";
    assert!(shown.contains(words) && shown.contains(", not used since 20"), "{shown}");
    let said = write(&[]).fine();
    assert!(!said.err.contains("the store still has"), "{said:?}");
    let after = std::fs::read_to_string(&file).unwrap();
    let changed: Vec<_> = before.lines().zip(after.lines()).filter(|(one, other)| one != other).collect();
    let [(_, line)] = changed[..] else { panic!("{before}\n{after}") };
    assert!(line.starts_with("legacy_secret = [{ hash = \"$argon2id$v=19$m=19456,t=2,p=1$"), "{line}");
    assert!(line.matches("$argon2id$").count() == 2 && line.ends_with(" # nobody knows it"), "{line}");
    let checked = run(&world, &["check"], "").fine();
    assert!(!format!("{checked:?}").contains("only-learned"), "{checked:?}");
    run(&world, &["client", "stage", OLD_ID, "live", "--why", "a test"], "").fine();
    for secret in [OLD_SECRET, SECOND] {
        let reply = login(&world, secret);
        assert!(reply.status == 200 && !is_old(&reply), "{reply:?}");
    }
    let said = write(&[]).fine();
    assert!(said.err.contains("nothing is to be written, and what was learned is forgotten"), "{said:?}");
    assert_eq!(kept(&world), [""; 0]);
}

#[test]
fn what_is_written_into_the_file_and_could_not_be_forgotten_is_told_and_did_not_go_well() {
    let old = FakeOld::start();
    let world = learning(&old, "legacy").start();
    lesson(&world, OLD_SECRET, 1);
    let write = || run(&world, &["client", "secret", OLD_ID, "write-learned"], "");
    let (store, aside) = (world.store(), world.path().join("aside"));
    std::fs::rename(&store, &aside).unwrap(); // it takes nothing more
    let said = write();
    said.refused(1, "has what was learned written down as its old secret");
    said.refused(1, "note: the store still has what was learned: ");
    std::fs::rename(&aside, &store).unwrap();
    world.turn(1);
    eventually("it takes writes again", || world.ops("/readyz").text("store") == "writable");
    write().fine();
    assert_eq!(kept(&world), [""; 0]);
}

#[test]
fn what_a_command_that_was_killed_had_written_already_is_forgotten_when_it_is_said_again() {
    let old = FakeOld::start();
    let mut world = learning(&old, "legacy").start();
    lesson(&world, OLD_SECRET, 1);
    let hash = ask(&world, "").json("hashes")[0].as_str().unwrap().to_owned();
    world.change_clients(&[client(OLD_ID, &format!("legacy_secret = {{ hash = \"{hash}\" }}"))]);
    world.running().reload().unwrap();
    assert_eq!(kept(&world), [hash]);
    run(&world, &["client", "secret", OLD_ID, "write-learned"], "").fine();
    assert_eq!(kept(&world), [""; 0]);
    assert_eq!(login(&world, OLD_SECRET).status, 200);
}

#[test]
fn what_was_forgotten_does_not_come_back_with_a_login_that_began_before_and_is_learned_anew_alone() {
    let old = FakeOld::start();
    old.knows(OLD_ID, SECOND);
    let mut world = learning(&old, "shadow").start();
    world.plant_text(SECOND);
    lesson(&world, OLD_SECRET, 1);
    let (test, before) = (Arc::new(Barrier::new(2)), old.count());
    old.next(OldMood::Waits(Arc::clone(&test)));
    let mut waiting = world.connect();
    waiting.write(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    eventually("the old server is asked", || old.count() > before);
    run(&world, &["client", "secret", OLD_ID, "write-learned"], "").fine();
    assert_eq!(kept(&world), [""; 0]);
    world.turn(6);
    test.wait();
    world.plant(&waiting.reply().unwrap());
    let compared = || {
        let counts = run(&world, &["client", "show", OLD_ID, "--format", "json"], "").fine().json();
        let counts = counts["fares"]["shadow"]["counts"].clone();
        counts.as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum::<u64>()
    };
    eventually("all are compared", || compared() == old.count() as u64);
    assert_eq!(kept(&world), [""; 0]);
    // The old secret is exchanged, and nobody has told the bridge the new one.
    let exchanged = |stage: &str| {
        let secrets = "legacy_secret = [{ env = \"NEW_SECRET\" }, { learn = true }]";
        client(OLD_ID, &format!("stage = \"{stage}\"\n{secrets}"))
    };
    world.change_clients(&[exchanged("live")]);
    world.running().reload().unwrap();
    assert_eq!(login(&world, OLD_SECRET).status, 401);
    world.change_clients(&[exchanged("legacy")]);
    world.running().reload().unwrap();
    eventually("the new one is learned", || {
        assert_eq!(login(&world, SECOND).status, 200);
        kept(&world).len() == 1
    });
    world.change_clients(&[exchanged("live")]);
    world.running().reload().unwrap();
    assert_eq!([OLD_SECRET, SECOND].map(|secret| login(&world, secret).status), [401, 200]);
}

/// Asks what is learned, with the ops token.
fn ask(world: &World, also: &str) -> RawReply {
    let body = format!("{{\"client\":\"{OLD_ID}\"{also}}}");
    let head = format!(
        "Authorization: Bearer {NEW_SECRET}\r\nContent-Type: application/json\r\nContent-Length: {}",
        body.len()
    );
    let request = format!("POST /api/v1/clients/learned HTTP/1.1\r\nHost: ops\r\n{head}\r\n\r\n{body}");
    Connection::open(world.running().addresses().ops).ask(request.as_bytes())
}

#[test]
fn what_is_learned_while_the_file_is_written_is_not_forgotten_with_what_the_file_has() {
    let old = FakeOld::start();
    old.knows(OLD_ID, SECOND);
    let mut world = learning(&old, "legacy").start();
    world.plant_text(SECOND);
    lesson(&world, OLD_SECRET, 1);
    let hash = ask(&world, "").json("hashes")[0].as_str().unwrap().to_owned();
    lesson(&world, SECOND, 2);
    let written =
        |also: &str| client(OLD_ID, &format!("stage = \"legacy\"\nlegacy_secret = [{{ hash = \"{hash}\" }}{also}]"));
    world.change_clients(&[written("")]);
    world.running().reload().unwrap();
    let kept = ask(&world, ",\"forget\":true");
    assert!(kept.status == 409 && kept.body.contains("another secret was learned meanwhile"), "{kept:?}");
    world.change_clients(&[written(", { learn = true }")]);
    world.running().reload().unwrap();
    run(&world, &["client", "secret", OLD_ID, "write-learned"], "").fine();
    run(&world, &["client", "stage", OLD_ID, "live", "--why", "a test"], "").fine();
    for secret in [OLD_SECRET, SECOND] {
        assert_eq!(login(&world, secret).status, 200);
    }
}

#[test]
fn without_a_bridge_nobody_knows_what_is_learned_and_without_a_token_nobody_hears_it() {
    let old = FakeOld::start();
    let mut world = learning(&old, "legacy").start();
    assert_eq!(world.ops("/api/v1/clients/learned").status, 401);
    world.end();
    let listed = run(&world, &["client", "list"], "").fine();
    assert!(
        listed.err.contains("note: how many old secrets are learned is not known: no bridge answers"),
        "{listed:?}"
    );
    run(&world, &["client", "secret", OLD_ID, "write-learned"], "").refused(1, "is not known: no bridge answers");
    world.change_clients(&[client(OLD_ID, "stage = \"live\"\nlegacy_secret = [{ learn = true }, { learn = true }]")]);
    let checked = run(&world, &["check"], "");
    assert!(checked.status == 1 && format!("{checked:?}").contains("says twice that it is learned"), "{checked:?}");
}

#[test]
fn a_fault_of_the_program_while_a_secret_is_learned_costs_the_client_no_other_lesson() {
    let old = FakeOld::start();
    let world = learning(&old, "legacy").start();
    world.plant_text(SECOND);
    let held = world.clock.hold_at("store-writer", Look::Passed);
    assert_eq!(login(&world, OLD_SECRET).status, 200);
    eventually("it is being kept", || world.clock.has_held());
    world.clock.break_at("worker-0", Look::Day);
    drop(held);
    eventually("that is broken off", || world.clock.has_broken());
    eventually("the secret is learned all the same", || learned(&world) == 1);
    old.knows(OLD_ID, SECOND);
    lesson(&world, SECOND, 2);
}
