//! How much of what is refused is written: enough to be seen, and never so much that it hides who was let in.

use serde_json::Value;

use crate::gateway::{plan, uuid};
use crate::support::world::REVOKE;
use crate::support::{Connection, FakeApi, OLD_ID, OLD_SECRET, World, post};

fn line(uuid: &str) -> String {
    format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {uuid}\r\n\r\n")
}

#[track_caller]
fn revoked(world: &World) -> String {
    let uuid = uuid(world);
    let fields = [("client_id", OLD_ID), ("client_secret", OLD_SECRET), ("token", uuid.as_str())];
    assert_eq!(world.ask(&post(REVOKE, &fields)).status, 200);
    uuid
}

/// The records of this kind, and what of each is so called.
fn of(records: &[Value], what: &str, name: &str) -> Vec<Value> {
    records.iter().filter(|record| record["what"] == what).map(|record| record[name].clone()).collect()
}

#[test]
fn whoever_holds_one_uuid_that_is_over_is_seen_and_hides_nobody_else() {
    let api = FakeApi::good();
    let mut world = plan(&api, "").start();
    let (one, another) = (revoked(&world), revoked(&world));
    let addresses = world.running().addresses();
    let [mut gateway, mut authz] =
        [addresses.gateway, addresses.authz].map(|address| Connection::open(address.expect("it listens")));
    for _ in 0..25 {
        assert_eq!(gateway.ask(line(&one).as_bytes()).status, 401);
        assert_eq!(authz.ask(line(&one).as_bytes()).status, 401);
    }
    assert_eq!(gateway.ask(line(&another).as_bytes()).status, 401);
    world.login();
    world.end();
    let records = world.audit();
    let logins = of(&records, "login", "family");
    assert_eq!(logins.len(), 3);
    let calls = [of(&records, "api_call", "family"), of(&records, "authorization", "family")].concat();
    let written = |login: &Value| calls.iter().filter(|family| *family == login).count();
    assert_eq!([&logins[0], &logins[1]].map(written), [10, 1]);
    let lost: u64 = of(&records, "gap", "lost").iter().map(|lost| lost.as_u64().unwrap()).sum();
    assert_eq!(lost, 40);
    let why =
        "refusals of this client's calls and questions beyond 600 a minute, or 10 of one login; each is in the log";
    assert!(of(&records, "gap", "why").iter().all(|said| said == why), "{records:#?}");
    assert!(of(&records, "gap", "client").iter().all(|client| client == OLD_ID), "who looks for it finds the gap");
    let told = world.log("the client revoked its login");
    assert_eq!(told.iter().filter(|line| logins.contains(&line["family"])).count(), 51, "each is in the log");
}

#[test]
fn calls_that_a_live_uuid_is_refused_are_bounded_too() {
    let api = FakeApi::good();
    let mut world = plan(&api, "").start();
    let uuid = uuid(&world);
    let gateway = world.running().addresses().gateway.expect("it listens");
    // The same UUID in the query as well.
    let request = line(&uuid).replace("/api", &format!("/api?access_token={uuid}"));
    for _ in 0..25 {
        assert_eq!(Connection::open(gateway).ask(request.as_bytes()).status, 400);
    }
    world.end();
    let records = world.audit();
    assert_eq!(of(&records, "api_call", "outcome"), vec![Value::from("invalid_request"); 10]);
    assert_eq!(of(&records, "login", "outcome"), ["ok"]);
}

#[test]
fn what_a_client_that_proved_itself_is_refused_is_written_each_time() {
    let mut world = World::new();
    let mut connection = world.connect();
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", OLD_ID),
        ("client_secret", OLD_SECRET),
        ("refresh_token", "7c9e6679-7425-40de-944b-e07fc1f90ae7"),
    ];
    for _ in 0..650 {
        assert_eq!(connection.ask(&post(crate::support::TOKEN, &fields)).status, 400);
    }
    world.end();
    assert_eq!(of(&world.audit(), "refresh", "outcome").len(), 650);
}
