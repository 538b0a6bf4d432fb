//! Who, what, why, when, by which fingerprint: every login, refresh, revocation, refusal, load and stage.

use serde_json::Value;

use crate::support::world::REVOKE;
use crate::support::{OLD_ID, OLD_SECRET, Plan, World, client, passport, post};

/// The only record of this kind; the bridge has ended.
#[track_caller]
fn only(records: &[Value], what: &str) -> Value {
    let found: Vec<&Value> = records.iter().filter(|record| record["what"] == what).collect();
    assert_eq!(found.len(), 1, "{what}: {records:#?}");
    found[0].clone()
}

#[test]
fn a_login_its_refresh_and_its_revocation_tell_who_when_and_by_which_fingerprint() {
    let mut world = World::new();
    let reply = world.login();
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", OLD_ID),
        ("client_secret", OLD_SECRET),
        ("refresh_token", &reply.text("refresh_token")),
    ];
    let refreshed = world.token(&fields);
    assert_eq!(refreshed.status, 200);
    let access = refreshed.text("access_token");
    assert!(world.active(&access));
    let revoking = [("client_id", OLD_ID), ("client_secret", OLD_SECRET), ("token", access.as_str())];
    assert_eq!(world.ask(&post(REVOKE, &revoking)).status, 200);
    world.end();
    let records = world.audit();
    let kinds: Vec<&str> = records.iter().map(|record| record["what"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["start", "load", "login", "refresh", "revocation", "stop"],
        "a question that was answered is none"
    );
    for what in ["login", "refresh", "revocation"] {
        let record = only(&records, what);
        assert_eq!((&record["outcome"], &record["client"]), (&"ok".into(), &OLD_ID.into()));
        assert_eq!((&record["stage"], &record["address"]), (&"live".into(), &"127.0.0.1".into()));
        assert_eq!(record["family"], records[2]["family"], "one login, one family");
        assert_eq!(record["family"].as_str().unwrap().len(), 32);
        assert_eq!(record["token"].as_str().unwrap().len(), 12);
        assert!(humantime::parse_rfc3339(record["time"].as_str().unwrap()).is_ok());
        let line =
            world.log(record["family"].as_str().unwrap()).into_iter().find(|line| line["token"] == record["token"]);
        assert!(line.is_some(), "the log tells of the same token");
    }
    assert_eq!(records[2]["grant"], "passport");
    assert_ne!(records[2]["token"], records[3]["token"]);
    assert_eq!(records[3]["token"], records[4]["token"], "the revoked UUID is the refreshed one");
}

#[test]
fn a_refusal_tells_why_and_whose_fault_and_a_strangers_claim_is_no_client() {
    let mut world = Plan::new().client(&client("old-and-gone", "stage = \"retired\"")).start();
    world.token(&passport("nobody\u{7}", OLD_SECRET));
    world.token(&passport(OLD_ID, "wrong"));
    world.token(&passport("old-and-gone", OLD_SECRET));
    world.introspect("no-uuid", "");
    world.ask(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
    world.end();
    let records = world.audit();
    let told: Vec<_> = records[2..records.len() - 1]
        .iter()
        .map(|record| ["what", "outcome", "client", "claimed", "fault", "why"].map(|name| record[name].as_str()))
        .collect();
    let strange = "no mapping has this client id";
    let expected = [
        [Some("token"), Some("client_credentials"), None, Some("nobody\u{fffd}"), Some("client"), Some(strange)],
        [Some("token"), Some("client_credentials"), None, Some(OLD_ID), Some("client"), Some("the secret is wrong")],
        [
            Some("login"),
            Some("grant_forbidden"),
            Some("old-and-gone"),
            None,
            Some("client"),
            Some("the client is retired"),
        ],
        [Some("request"), Some("not_found"), None, None, Some("client"), Some("no endpoint has this path: /nowhere")],
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_the_realm_refuses_is_told_with_the_client_that_asked() {
    let mut world = World::new();
    world.realm.next(crate::support::Mood::Refuse(400, "invalid_grant", "Invalid user credentials"));
    assert_eq!(world.token(&passport(OLD_ID, OLD_SECRET)).status, 401);
    world.end();
    let login = only(&world.audit(), "login");
    assert_eq!((&login["outcome"], &login["client"]), (&"resource_owner".into(), &OLD_ID.into()));
    assert!(login["why"].is_string() && login["token"].is_null(), "{login}");
}

#[test]
fn a_load_tells_generation_and_digest_a_refused_one_its_errors_and_a_stage_is_told_with_the_one_before() {
    let mut world = Plan::new().client(&client("moving", "client_id = \"other\"")).start();
    world.change_clients(&[client(OLD_ID, ""), client("moving", "client_id = \"other\"\nstage = \"retired\"")]);
    world.running().reload().unwrap();
    let digest = world.ops("/readyz").json("mappings")["digest"].clone();
    world.change_clients(&[client(OLD_ID, "stage = \"nowhere\"")]);
    world.running().reload().unwrap_err();
    world.change_clients(&[client(OLD_ID, "")]);
    world.running().reload().unwrap();
    let is_told = |line: &Value| (&line["client"], &line["stage"]) == (&"moving".into(), &"retired".into());
    assert!(world.log("\"unmapped\"").iter().any(is_told));
    world.end();
    let records = world.audit();
    assert!(is_told(&only(&records, "unmapped")));
    let loads: Vec<&Value> = records.iter().filter(|record| record["what"] == "load").collect();
    let told: Vec<_> =
        loads.iter().map(|load| (load["outcome"].as_str().unwrap(), load["generation"].as_u64().unwrap())).collect();
    assert_eq!(told, [("ok", 1), ("ok", 2), ("refused", 2), ("ok", 3)]);
    assert_eq!((&loads[1]["digest"], &loads[1]["clients"]), (&digest, &2.into()));
    assert_eq!((&loads[2]["digest"], &loads[2]["errors"]), (&digest, &1.into()));
    let stage = only(&records, "stage");
    assert_eq!(
        (&stage["client"], &stage["stage_before"], &stage["stage"]),
        (&"moving".into(), &"live".into(), &"retired".into())
    );
}

#[test]
fn an_operators_revocation_is_told() {
    let mut world = Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }").start();
    world.login();
    let body = format!("{{\"client\":\"{OLD_ID}\"}}");
    let request = format!(
        "POST /api/v1/tokens/revoke HTTP/1.1\r\nHost: ops\r\nAuthorization: Bearer {OLD_SECRET}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut ops = crate::support::Connection::open(world.running().addresses().ops);
    assert_eq!(ops.ask(request.as_bytes()).status, 200);
    world.end();
    let records = world.audit();
    let (login, revocation) = (only(&records, "login"), only(&records, "operator_revocation"));
    assert_eq!((&revocation["client"], &revocation["family"]), (&OLD_ID.into(), &login["family"]));
    assert_eq!(revocation["realm"], "its session runs out by itself");
}

#[test]
fn strangers_beyond_a_bound_are_counted_and_a_client_is_still_written_down() {
    let mut world = World::new();
    let mut connection = world.connect();
    for _ in 0..650 {
        connection.ask(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    world.login();
    world.end();
    let records = world.audit();
    assert_eq!(records.iter().filter(|record| record["what"] == "request").count(), 600);
    let lost: u64 =
        records.iter().filter(|record| record["what"] == "gap").map(|gap| gap["lost"].as_u64().unwrap()).sum();
    assert_eq!(lost, 50);
    only(&records, "login");
}

#[test]
fn no_audit_is_kept_where_the_operator_says_so() {
    let mut world = Plan::new().set("audit", "enabled", "false").start();
    world.login();
    world.end();
    assert!(!world.store().join("audit").exists());
}

#[test]
fn a_directory_that_another_process_writes_to_is_refused() {
    let world = World::new();
    let path = format!("\"{}\"", world.store().join("audit").display());
    let mut other = Plan::new().set("audit", "path", &path).files();
    let refused = other.try_begin().unwrap_err();
    let passbridge::server::StartError::Failed(sentence) = refused else { panic!("{refused:?}") };
    assert!(sentence.contains("another process writes there"), "{sentence}");
}
