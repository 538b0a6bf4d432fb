//! Reload: whole or not at all, and told.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use passbridge::mapping::watch::{REST, Watch};

use crate::support::{
    FakeRealm, NEW_SECRET, OLD_ID, OLD_SECRET, Plan, TOKEN, World, client, eventually, passport, post_with,
};

#[test]
fn a_good_change_takes_effect_and_counts_a_generation() {
    let mut world = World::new();
    assert_eq!(world.login().status, 200);
    world.change_clients(&[client(OLD_ID, "client_id = \"market_terminal\"")]);
    world.running().reload().unwrap();
    assert_eq!(world.login().status, 200);
    assert_eq!(world.realm.last().field("client_id").as_deref(), Some("market_terminal"));
    let ready = world.ops("/readyz").json("mappings");
    assert_eq!((&ready["generation"], &ready["current"]), (&2.into(), &true.into()));
    assert!((world.metric("passbridge_mappings_generation") - 2.0).abs() < f64::EPSILON);
}

#[test]
fn one_error_in_any_file_keeps_the_last_good_table_and_says_so() {
    let mut world = World::new();
    let good = world.ops("/readyz").json("mappings")["digest"].clone();
    let other = client("another", "client_id = \"elsewhere\"");
    world.change_clients(&[other.clone(), client(OLD_ID, "stage = \"nowhere\"")]);
    let findings = world.running().reload().unwrap_err().findings;
    assert!(findings.iter().any(|finding| finding.message.contains("stage")), "{findings:?}");
    assert_eq!(world.login().status, 200, "the last good table serves");
    let reply = world.token(&passport("another", OLD_SECRET));
    assert_eq!(reply.status, 401, "nothing of the refused load is in use");
    let ready = world.ops("/readyz");
    assert_eq!(ready.status, 200, "what was good is still served");
    let mappings = ready.json("mappings");
    assert_eq!((&mappings["current"], &mappings["digest"]), (&false.into(), &good));
    assert!(mappings["refused"][0].as_str().unwrap().contains("stage"), "{mappings}");
    assert!(world.metric("passbridge_mappings_current").abs() < f64::EPSILON);
    assert!((world.metric("passbridge_mappings_refused_loads_total") - 1.0).abs() < f64::EPSILON);
    world.change_clients(&[other, client(OLD_ID, "")]);
    world.running().reload().unwrap();
    assert_eq!(world.ops("/readyz").json("mappings")["current"], true);
    assert_eq!(world.token(&passport("another", OLD_SECRET)).status, 200);
}

#[test]
fn files_that_a_full_disk_has_left_empty_take_no_client_away() {
    let mut world = World::new();
    world.change_clients(&[]);
    let findings = world.running().reload().unwrap_err().findings;
    assert!(findings.iter().any(|finding| finding.code == "clients-gone"), "{findings:?}");
    assert_eq!(world.login().status, 200);
    let mappings = world.ops("/readyz").json("mappings");
    assert_eq!((&mappings["clients"], &mappings["current"]), (&1.into(), &false.into()));
    world.change_clients(&[client(OLD_ID, "")]);
    world.running().reload().unwrap();
    assert_eq!(world.ops("/readyz").json("mappings")["current"], true);
}

#[test]
fn a_load_with_thousands_of_errors_is_refused_in_a_hundred_lines() {
    let mut world = World::new();
    let wrong = |number: usize| client(&format!("client-{number}"), "client_secret = { env = \"NOT_SET\" }");
    world.change_clients(&(0..1_000).map(wrong).collect::<Vec<_>>());
    let findings = world.running().reload().unwrap_err().findings;
    assert_eq!(findings.len(), 1_999, "a variable that is not set, and whom they share");
    // Of this world's files; other tests have findings of their own.
    let here = world.path().to_str().unwrap();
    let told = world.log("\"finding\"").into_iter().filter(|line| line["place"].as_str().unwrap().contains(here));
    assert_eq!(told.count(), 100);
    assert_eq!(world.log("more_findings")[0]["more"], 1_899);
    let refused = world.ops("/readyz").json("mappings")["refused"].clone();
    let refused = refused.as_array().unwrap();
    assert_eq!(refused.len(), 101);
    assert!(refused.iter().take(100).all(|reason| reason.as_str().unwrap().contains("NOT_SET")), "no mere warnings");
    assert!(refused[100].as_str().unwrap().starts_with("and 900 more"), "{}", refused[100]);
    assert_eq!(world.login().status, 200);
}

#[test]
fn a_refused_configuration_changes_nothing_either() {
    let mut world = World::new();
    let other = FakeRealm::start();
    world.change("realm", "urls", &format!("[\"{}\"]", other.url()));
    world.change("limits", "nonsense", "1");
    assert!(world.running().reload().is_err());
    assert_eq!(world.login().status, 200);
    assert_eq!(other.count(), 0, "the realm of the refused configuration is not asked");
}

#[test]
fn what_changes_once_a_refused_load_has_read_it_is_another_change() {
    let mut world = World::new();
    world.change("limits", "nonsense", "1");
    let mut watch = Watch::new(world.running().reload().unwrap_err().footing.into());
    assert!(!watch.observe(watch.look(), Duration::ZERO));
    assert!(!watch.observe(watch.look(), REST), "it was told");
    // Before whoever watches has looked again.
    world.change("limits", "nonsense", "12");
    assert!(!watch.observe(watch.look(), REST));
    assert!(watch.observe(watch.look(), 2 * REST));
}

#[test]
fn the_realm_and_the_trusted_proxies_change_without_a_restart() {
    let mut world = World::new();
    let other = FakeRealm::start();
    world.change("realm", "urls", &format!("[\"{}\"]", other.url()));
    world.change("server", "trusted_proxies", "[\"127.0.0.0/8\"]");
    world.running().reload().unwrap();
    let request = post_with(TOKEN, &[("X-Forwarded-For", "198.51.100.7")], &passport(OLD_ID, OLD_SECRET));
    assert_eq!(world.ask(&request).status, 200);
    assert_eq!(other.last().header("x-forwarded-for").as_deref(), Some("198.51.100.7"));
}

/// Where a change of many clients takes long, nothing of it counts until all of it does.
#[test]
fn a_realm_and_the_secrets_for_it_change_at_once() {
    let next = "client_secret = { env = \"NEXT_SECRET\" }";
    let others = |stage: &str| {
        let other =
            |number: usize| client(&format!("c{number}"), &format!("client_id = \"c{number}\"\nstage = \"{stage}\""));
        (0..2_000).map(other).collect::<Vec<_>>()
    };
    let plan = others("live").iter().fold(Plan::new(), |plan, other| plan.client(other));
    let mut world = plan.environment("NEXT_SECRET", "planted-next-secret").start();
    let other = FakeRealm::start();
    world.change("realm", "urls", &format!("[\"{}\"]", other.url()));
    world.change_clients(&[vec![client(OLD_ID, next)], others("retired")].concat());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                world.login();
            }
        });
        eventually("somebody logs in all the while", || world.realm.count() > 3);
        world.running().reload().unwrap();
        eventually("and goes on", || other.count() > 3);
        is_over.store(true, Ordering::Relaxed);
    });
    let mixed = other.seen().iter().filter(|seen| seen.field("client_secret").as_deref() == Some(NEW_SECRET)).count();
    let mixed = mixed
        + world.realm.seen().iter().filter(|seen| seen.field("client_secret").as_deref() != Some(NEW_SECRET)).count();
    assert!(mixed <= 1, "{mixed} logins with the secrets for the other realm; one may have been under way");
}

#[test]
fn what_needs_a_restart_is_told_and_left_as_it_is() {
    let mut world = World::new();
    let address = world.legacy();
    world.change("listen", "legacy", "\"127.0.0.1:1\"");
    world.change("store", "path", "\"elsewhere\"");
    world.running().reload().unwrap();
    assert_eq!(world.legacy(), address);
    assert_eq!(world.login().status, 200);
    let told: Vec<String> =
        world.log("needs_restart").iter().map(|line| line["section"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, ["listen", "store", "audit"], "the audit stands in the store's directory");
    assert!(!world.path().join("elsewhere").exists());
    // Of the limits each that is looked at where something is begun.
    for (key, value, is_told) in [
        ("connections", "100", true),
        ("head", "\"16KiB\"", true),
        ("headers", "50", true),
        ("head_timeout", "\"5s\"", true),
        ("wrong_secrets", "{ per_client = \"1/min\" }", true),
        ("body", "\"16KiB\"", false),
    ] {
        let mut world = World::new();
        world.change("limits", key, value);
        world.running().reload().unwrap();
        let told = world.log("needs_restart").iter().any(|line| line["section"] == "limits");
        assert_eq!(told, is_told, "{key}");
    }
}

#[test]
fn secrets_from_files_are_read_again() {
    let world =
        Plan::new().without_clients().client(&client(OLD_ID, "client_secret = { file = \"new.secret\" }")).files();
    let mut world = world;
    fs::write(world.path().join("mappings/clients/new.secret"), "planted-before").unwrap();
    world.begin();
    assert_eq!(world.login().status, 200);
    assert_eq!(world.realm.last().field("client_secret").as_deref(), Some("planted-before"));
    fs::write(world.path().join("mappings/clients/new.secret"), NEW_SECRET).unwrap();
    world.running().reload().unwrap();
    assert_eq!(world.login().status, 200);
    assert_eq!(world.realm.last().field("client_secret").as_deref(), Some(NEW_SECRET));
}

#[test]
fn a_table_that_was_replaced_is_freed_once_nobody_holds_it() {
    let world = World::new();
    let held = world.running().bridge().snapshot.load_full();
    let old = std::sync::Arc::downgrade(&held);
    world.running().reload().unwrap();
    assert_eq!(world.login().status, 200);
    drop(held);
    eventually("the old table is freed", || old.strong_count() == 0);
    assert_eq!(world.login().status, 200);
}
