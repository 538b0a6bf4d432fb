//! A part of the program ends by a fault of its own, a panic: what ends with it, and who hears of that.

use serde_json::Value;

use crate::gateway::{plan, uuid};
use crate::support::world::REVOKE;
use crate::support::{
    Connection, FakeApi, Look, OLD_ID, OLD_SECRET, Plan, TOKEN, World, block_on, eventually, passport, post,
};

#[test]
fn a_store_whose_writer_has_ended_refuses_logins_before_the_realm_is_asked_and_ends_the_process() {
    let world = World::new();
    let before = world.login().text("access_token");
    world.clock.break_at("store-writer", Look::Passed);
    let lost = world.token(&passport(OLD_ID, OLD_SECRET));
    assert_eq!((lost.status, world.clock.has_broken()), (500, true), "{}", lost.body);
    eventually("it is seen", || world.metric("passbridge_store_writable") == 0.0);
    let asked = world.realm.asked("token").len();
    for _ in 0..2 {
        let refused = world.token(&passport(OLD_ID, OLD_SECRET));
        assert_eq!(refused.said(), (500, "server_error".to_owned()), "{}", refused.body);
    }
    assert_eq!(world.realm.asked("token").len(), asked, "no passport is spent");
    assert!(world.active(&before), "what is kept is read");
    let ready = world.ops("/readyz");
    assert_eq!(ready.text("store"), "refusing", "{}", ready.body);
    assert_eq!(ready.text("store_refuses"), "the token store is closed", "{}", ready.body);
    assert_eq!(world.metric("passbridge_store_writable"), 0.0);
    assert_eq!(block_on(world.running().broken()), "store-writer");
}

#[test]
fn a_call_or_a_question_that_panics_is_written_down_and_ends_no_other() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let (token, addresses) = (uuid(&world), world.running().addresses());
    for (endpoint, what, address) in
        [("api", "api_call", addresses.gateway), ("authz", "authorization", addresses.authz)]
    {
        let request = format!("GET /api/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
        let connect = || Connection::open(address.unwrap());
        world.clock.break_at("worker-0", Look::Day);
        let mut cut = connect();
        cut.write(request.as_bytes());
        assert!(cut.is_closed() && world.clock.has_broken(), "{endpoint}: nobody is there any more who could answer");
        let requests = |outcome| {
            let labels = format!("endpoint=\"{endpoint}\",client=\"unknown\",outcome=\"{outcome}\"");
            world.metric(&format!("passbridge_requests_total{{{labels}}}"))
        };
        eventually("it is counted", || requests("server_error") == 1.0);
        let lines = world.log("\"detail\":\"a panic while answering\"").into_iter();
        let lines: Vec<_> = lines.filter(|line| line["endpoint"] == endpoint && line["status"] == 0).collect();
        assert!(!lines.is_empty() && lines.iter().all(|line| line["fault"] == "ourselves"), "{endpoint}: {lines:?}");
        let is_it = |record: &Value| record["what"] == what && record["why"] == "a panic while answering";
        eventually("the audit has it", || world.audit().iter().any(is_it));
        assert_eq!(connect().ask(request.as_bytes()).status, 200, "{endpoint}: the next one is answered");
    }
}

#[test]
fn an_audit_whose_writer_has_ended_is_told_counts_what_it_loses_and_stops_no_login() {
    let mut world = World::new();
    world.clock.break_at("audit", Look::Day);
    eventually("it is seen", || world.metric("passbridge_audit_writable") == 0.0);
    assert!(world.clock.has_broken());
    assert_eq!(world.ops("/readyz").text("audit"), "failing");
    let told = world.log("the thread that writes it has ended by a panic");
    assert!(told.iter().any(|line| line["event"] == "audit" && line["outcome"] == "failing"), "{told:?}");
    world.login();
    eventually("it is counted", || world.metric("passbridge_audit_lost_total") == 1.0);
    assert_eq!(world.end_broken(), "audit");
}

#[test]
fn a_revocation_that_panicked_while_the_realm_was_to_hear_of_it_is_told_all_the_same() {
    let world = World::new();
    let login = world.login();
    world.clock.break_at("ops", Look::Day);
    let fields = [("client_id", OLD_ID), ("client_secret", OLD_SECRET), ("token", &login.text("access_token"))];
    assert_eq!(world.ask(&post(REVOKE, &fields)).status, 200);
    eventually("the realm hears of it", || !world.realm.asked("logout").is_empty());
    assert!(world.clock.has_broken());
}

#[test]
fn a_listener_whose_accepting_panicked_accepts_again() {
    let world = Plan::new().set("limits", "connections", "1").start();
    let mut held = world.connect();
    assert_eq!(held.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))).status, 200);
    world.clock.break_at("worker-0", Look::Passed);
    let beyond = world.connect();
    eventually("it was to be told that there are too many", || world.clock.has_broken());
    drop((held, beyond));
    // The place of the one that was held is free a moment later.
    let answered = || {
        let mut connection = world.connect();
        connection.write(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
        connection.reply().is_some_and(|reply| world.checked(reply).status == 200)
    };
    eventually("somebody is served", answered);
}
