//! Who is gone while what he asked for is done.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::sync::Notify;

use crate::support::{Granting, Mood, OLD_SECRET, Plan, TOKEN, World, client, eventually, passport, post};

fn gated(world: &World) -> Arc<Notify> {
    let gate = Arc::new(Notify::new());
    world.realm.next_at("token", Mood::Gate(Arc::clone(&gate), Box::new(Mood::Grant(Granting::default()))));
    gate
}

/// The lines of token requests of a client that no other world has.
fn told(world: &World, id: &str) -> Vec<serde_json::Value> {
    let of_it = |line: &serde_json::Value| line["client"] == id && line["endpoint"] == "token";
    world.log(id).into_iter().filter(of_it).collect()
}

#[test]
fn a_client_that_breaks_off_before_its_login_is_answered_is_told_as_gone_and_its_login_stands() {
    const ID: &str = "breaks-off";
    let world = Plan::new().client(&client(ID, "")).start();
    let gate = gated(&world);
    let mut caller = TcpStream::connect(world.legacy()).unwrap();
    caller.write_all(&post(TOKEN, &passport(ID, OLD_SECRET))).unwrap();
    eventually("the realm is asked", || world.realm.count() == 1);
    SockRef::from(&caller).set_linger(Some(Duration::ZERO)).unwrap();
    drop(caller);
    gate.notify_one();
    eventually("it is told", || told(&world, ID).len() == 1);
    let line = told(&world, ID).remove(0);
    assert_eq!((&line["status"], &line["outcome"]), (&499.into(), &"ok".into()), "{line}");
    assert_eq!((&line["notes"], &line["level"]), (&"unheard".into(), &"WARN".into()), "{line}");
    let counted = |labels: &str| world.metric(&format!("passbridge_{labels}"));
    assert!((counted(&format!("notes_total{{client=\"{ID}\",note=\"unheard\"}}")) - 1.0).abs() < 0.1);
    let served = format!("requests_total{{endpoint=\"token\",client=\"{ID}\",outcome=\"ok\"}}");
    assert!((counted(&served) - 1.0).abs() < 0.1);
    let of_it = |record: &serde_json::Value| record["what"] == "login" && record["family"] == line["family"];
    eventually("the audit has the login", || {
        world.audit().iter().any(|record| of_it(record) && record["notes"] == serde_json::json!(["unheard"]))
    });
}

#[test]
fn a_client_that_only_shuts_its_side_behind_its_request_hears_its_answer_and_is_told_as_served() {
    const ID: &str = "shuts-its-side";
    let world = Plan::new().client(&client(ID, "")).start();
    let gate = gated(&world);
    let mut caller = world.connect();
    caller.write(&post(TOKEN, &passport(ID, OLD_SECRET)));
    caller.half_close();
    eventually("the realm is asked", || world.realm.count() == 1);
    gate.notify_one();
    assert_eq!(world.checked(caller.reply().expect("a reply")).status, 200);
    eventually("it is told", || !told(&world, ID).is_empty());
    let line = told(&world, ID).pop().unwrap();
    assert_eq!((&line["status"], line.get("notes")), (&200.into(), None), "{line}");
}
