//! The listeners of operators and of the realm: who fills one of them, or never ends what he began to say, holds up nobody.

use std::net::SocketAddr;

use passbridge::store::Memo;

use crate::cli::said::run;
use crate::store::world::block_on;
use crate::support::{Connection, NEW_SECRET, OLD_ID, Plan, RawReply, World, client, eventually};

/// More connections than one of these listeners takes.
const FULL: usize = 256;

/// A world with both listeners, that waits so long for a body.
fn waiting(patience: &str) -> World {
    let plan = Plan::new().set("listen", "realm", "\"127.0.0.1:0\"").set("limits", "body_timeout", patience);
    plan.set("ops", "token", "{ env = \"OPS_TOKEN\" }").environment("OPS_TOKEN", NEW_SECRET).start()
}

fn realm(world: &World) -> SocketAddr {
    world.running().addresses().realm.unwrap()
}

fn ops(world: &World) -> SocketAddr {
    world.ops_address().unwrap()
}

/// The head of a request whose body does not come.
fn head(path: &str, length: usize, more: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{more}\r\n")
}

fn token() -> String {
    format!("Authorization: Bearer {NEW_SECRET}\r\n")
}

#[test]
fn who_fills_the_listener_of_the_realm_shuts_no_operator_out() {
    let world = waiting("\"10m\"");
    let mut held: Vec<Connection> = (0..FULL).map(|_| Connection::open(realm(&world))).collect();
    for connection in &mut held {
        connection.write(head("/backchannel-logout", 10, "Expect: 100-continue\r\n").as_bytes());
    }
    held.iter_mut().for_each(Connection::wait_for_interim);
    assert!(Connection::open(realm(&world)).is_closed(), "there are as many as may be");
    assert_eq!(world.ops("/healthz").status, 200);
    eventually("the log says where", || world.log("turned_away").iter().any(|line| line["listener"] == "realm"));
}

/// How whoever shows this is answered.
fn shown(world: &World, authorization: &str) -> u16 {
    let head = format!("GET /api/v1/migration HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\n\r\n");
    Connection::open(ops(world)).ask(head.as_bytes()).status
}

#[test]
fn the_ops_token_is_one_however_its_scheme_is_written() {
    let world = waiting("\"10m\"");
    for scheme in ["Bearer", "bearer", "BEARER", "bearer "] {
        assert_eq!(shown(&world, &format!("{scheme} {NEW_SECRET}")), 200, "{scheme}");
        assert_eq!(shown(&world, &format!("{scheme} {NEW_SECRET}x")), 401, "{scheme}");
    }
    for other in ["Basic ", "Bearer", ""] {
        assert_eq!(shown(&world, &format!("{other}{NEW_SECRET}")), 401, "{other}");
    }
}

#[test]
fn no_part_of_the_ops_token_is_one() {
    let world = waiting("\"10m\"");
    for length in 0..NEW_SECRET.len() {
        let (beginning, end) = (&NEW_SECRET[..length], &NEW_SECRET[NEW_SECRET.len() - length..]);
        for part in [beginning, end] {
            assert_eq!(shown(&world, &format!("Bearer {part}")), 401, "{part}");
        }
    }
}

#[test]
fn an_ops_token_that_was_exchanged_counts_from_the_reload_on_and_the_one_before_no_more() {
    let mut world = Plan::new().set("ops", "token", "{ file = \"ops.token\" }").files();
    let before = "planted-token-before";
    world.plant_text(before);
    let file = world.path().join("ops.token");
    std::fs::write(&file, before).unwrap();
    world.begin();
    let both = |world: &World| [before, NEW_SECRET].map(|token| shown(world, &format!("Bearer {token}")));
    assert_eq!(both(&world), [200, 401]);
    std::fs::write(&file, NEW_SECRET).unwrap();
    assert_eq!(both(&world), [200, 401], "nobody has read it");
    world.running().reload().unwrap();
    assert_eq!(both(&world), [401, 200]);
}

#[test]
fn few_digits_are_no_fingerprint_and_end_nobodys_login() {
    let world = waiting("\"10m\"");
    let access = world.login().text("access_token");
    for digits in ["", "a", "abcde", "abcdeg"] {
        for path in ["tokens/find", "tokens/revoke"] {
            let reply = ask(&world, path, NEW_SECRET, &serde_json::json!({ "fingerprint": digits }).to_string());
            assert_eq!(reply.said(), (400, "a fingerprint is at least 6 hexadecimal digits".to_owned()), "{digits}");
        }
    }
    assert!(world.active(&access));
}

#[test]
fn a_body_that_does_not_come_is_given_up_after_body_timeout() {
    let world = waiting("\"300ms\"");
    for (address, head) in [
        (realm(&world), head("/backchannel-logout", 10, "")),
        (ops(&world), head("/api/v1/tokens/find", 10, &token())),
        (ops(&world), head("/api/v1/table/secrets", 1_000_000, &token())),
    ] {
        let mut connection = Connection::open(address);
        connection.write(head.as_bytes());
        connection.write(b"half");
        let reply = connection.reply().expect("a reply");
        assert_eq!((reply.status, reply.header("connection").as_deref()), (408, Some("close")), "{head}");
        connection.half_close();
        assert!(connection.is_closed());
    }
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_comes() {
    let world = waiting("\"10m\"");
    for (address, head) in [
        (realm(&world), head("/backchannel-logout", 16 * 1024 + 1, "")),
        (ops(&world), head("/api/v1/table/secrets", 1024 * 1024 + 1, &token())),
        (ops(&world), head("/api/v1/tokens/find", 1024 * 1024 + 1, &token())),
    ] {
        let reply = Connection::open(address).ask(head.as_bytes());
        assert_eq!((reply.status, reply.header("connection").as_deref()), (413, Some("close")), "{head}");
        assert_eq!(reply.text("error"), "the body is too long", "{head}");
    }
    let reply = ask(&world, "tokens/find", NEW_SECRET, &" ".repeat(16 * 1024 + 1));
    assert_eq!(reply.said(), (413, "the body is too long".to_owned()), "which that one reads whole");
    assert_eq!(reply.header("content-type").as_deref(), Some("application/json"));
}

#[test]
fn what_is_refused_for_its_path_or_its_method_is_told_in_the_same_form() {
    let world = waiting("\"10m\"");
    for (asked, status, sentence) in [
        ("GET /nope", 404, "there is no such path"),
        ("POST /nope", 404, "there is no such path"),
        ("GET /api/v1/tokens/find", 405, "this path does not answer this method"),
        ("POST /api/v1/table", 405, "this path does not answer this method"),
    ] {
        let head = format!("{asked} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        let reply = Connection::open(ops(&world)).ask(head.as_bytes());
        assert_eq!(reply.said(), (status, sentence.to_owned()), "{asked}");
        assert_eq!(reply.header("content-type").as_deref(), Some("application/json"), "{asked}");
        assert_eq!(reply.header("allow").is_some(), status == 405, "{asked}: {}", reply.head);
    }
}

/// Asks in the name of whoever shows this token.
fn ask(world: &World, path: &str, token: &str, body: &str) -> RawReply {
    let more = format!("Authorization: Bearer {token}\r\n");
    let request = head(&format!("/api/v1/{path}"), body.len(), &more) + body;
    Connection::open(ops(world)).ask(request.as_bytes())
}

#[test]
fn who_asks_without_the_ops_token_is_told_once_a_minute_and_counted_each_time() {
    let mut world = waiting("\"10m\"");
    world.plant_text("planted-guess");
    let tell = || {
        for number in 1..=30 {
            assert_eq!(ask(&world, "tokens/revoke", &format!("planted-guess-{number}"), "{}").status, 401);
        }
    };
    tell();
    world.turn(61);
    tell();
    assert_eq!(world.metric("passbridge_ops_refused_total"), 60.0);
    let mut lines = world.log("\"ops_refused\"");
    // Not those of other tests.
    lines.retain(|line| line["path"] == "/api/v1/tokens/revoke");
    let told = |line: &serde_json::Value| line["count"].as_u64().unwrap();
    assert_eq!(lines.iter().map(told).collect::<Vec<_>>(), [1, 31], "{lines:?}");
    let line = &lines[0];
    assert_eq!((&line["address"], &line["path"]), (&"127.0.0.1".into(), &"/api/v1/tokens/revoke".into()));
    world.end();
    let records: Vec<_> = world.audit().into_iter().filter(|record| record["what"] == "ops_refused").collect();
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(records[0]["address"], "127.0.0.1");
    assert_eq!(records[0]["why"], "the ops token is wrong or missing");
}

#[test]
fn what_an_operator_did_is_told_with_where_he_asked_from() {
    let learns = client("learns", "legacy_secret = { learn = true }\nstage = \"legacy\"");
    let plan = Plan::new().set("ops", "token", "{ env = \"NEW_SECRET\" }");
    let mut world = plan.set("otk", "url", "\"http://127.0.0.1:1\"").client(&learns).start();
    world.login();
    let backup = world.path().join("copy");
    run(&world, &["store", "backup", backup.to_str().unwrap()], "").fine();
    assert_eq!(ask(&world, "clients/learned", NEW_SECRET, r#"{"client":"learns"}"#).status, 200);
    let guess = serde_json::json!({ OLD_ID: "a guess" }).to_string();
    assert_eq!(ask(&world, "table/secrets", NEW_SECRET, &guess).json("differ")[0], OLD_ID);
    let body = serde_json::json!({ "client": OLD_ID }).to_string();
    assert_eq!(ask(&world, "tokens/revoke", NEW_SECRET, &body).json("ended"), 1);
    world.change_clients(&[client(OLD_ID, ""), client("learns", "client_id = \"other\"")]);
    world.running().reload().unwrap();
    assert_eq!(ask(&world, "clients/learned", NEW_SECRET, r#"{"client":"learns","forget":true}"#).status, 200);
    world.end();
    let audit = world.audit();
    for what in ["backup", "learned_read", "secrets_compared", "operator_revocation", "learned_forgotten"] {
        let record = audit.iter().find(|record| record["what"] == what).unwrap_or_else(|| panic!("{what}: {audit:?}"));
        assert_eq!((&record["outcome"], &record["address"]), (&"ok".into(), &"127.0.0.1".into()), "{record}");
        let event = match what {
            "backup" => "backed_up",
            "operator_revocation" => "ended_by_operator",
            same => same,
        };
        let line = world.log(&format!("\"event\":\"{event}\"")).into_iter().find(|line| line["address"] == "127.0.0.1");
        assert!(line.is_some(), "{event}");
    }
    let of_backup = audit.iter().find(|record| record["what"] == "backup").unwrap();
    assert_eq!(of_backup["directory"], backup.to_str().unwrap());
}

#[test]
fn whoever_has_the_ops_token_compares_secrets_sixty_times_a_minute_and_no_more() {
    let mut world = waiting("\"10m\"");
    let guess =
        |number: u32| ask(&world, "table/secrets", NEW_SECRET, &format!("{{\"{OLD_ID}\": \"{number}\"}}")).status;
    assert!((0..60).all(|number| guess(number) == 200));
    assert_eq!((guess(60), ask(&world, "table/secrets", NEW_SECRET, "{").status), (429, 400));
    world.turn(60);
    assert_eq!(guess(61), 200);
    world.end();
    assert_eq!(world.audit().iter().filter(|record| record["what"] == "secrets_compared").count(), 61);
}

#[test]
fn what_was_learned_and_cannot_be_read_is_not_forgotten() {
    let world = Plan::new().set("ops", "token", "{ env = \"NEW_SECRET\" }").client(&client("learns", "")).start();
    let memo = Memo { name: "learned/learns".to_owned(), value: b"\xff of a newer bridge".to_vec() };
    let store = &world.running().bridge().store;
    let kept = || block_on(store.memo(&memo.name)).unwrap();
    block_on(store.memo_put(&memo)).unwrap();
    let reply = ask(&world, "clients/learned", NEW_SECRET, r#"{"client":"learns","forget":true}"#);
    assert_eq!(reply.status, 409);
    assert!(reply.body.contains("cannot be read"), "{}", reply.body);
    assert_eq!(kept(), Some(memo.value.clone()));
}

#[test]
fn a_body_in_a_coding_that_nobody_takes_away_is_refused_and_closed() {
    let world = waiting("\"10m\"");
    let body = r#"{"client":"nobody"}"#;
    for (address, path) in [(realm(&world), "/backchannel-logout"), (ops(&world), "/api/v1/tokens/find")] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{}", token());
        let ask = |codings: &str| {
            let framing = format!("Transfer-Encoding: {codings}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
            Connection::open(address).ask(format!("{head}{framing}").as_bytes())
        };
        let refused = ask("gzip, chunked");
        assert_eq!((refused.status, refused.header("connection").as_deref()), (400, Some("close")), "{path}");
        assert!(refused.text("error").contains("Transfer-Encoding"), "{path}: {}", refused.body);
        assert_ne!(ask("chunked").header("connection").as_deref(), Some("close"), "{path}");
    }
}

#[test]
fn the_ops_token_is_asked_for_before_a_body_is_waited_for() {
    let world = waiting("\"10m\"");
    for path in ["tokens/find", "tokens/revoke", "clients/uses", "clients/learned", "store/backup", "table/secrets"] {
        let head = head(&format!("/api/v1/{path}"), 1_000, "");
        assert_eq!(Connection::open(ops(&world)).ask(head.as_bytes()).status, 401, "{path}");
    }
    // Whoever sends all of it first hears the same.
    let whole = [head("/api/v1/table/secrets", 1_000_000, "").into_bytes(), vec![b' '; 1_000_000]].concat();
    assert_eq!(Connection::open(ops(&world)).ask(&whole).status, 401);
}

#[test]
fn every_path_of_the_ops_listener_and_every_member_of_readyz_is_documented() {
    let read =
        |name: &str| std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let (routes, manual) = (read("src/ops/mod.rs"), read("docs/OPERATIONS.md"));
    let section = manual.split_once("\n## What the ops listener answers\n").unwrap().1.split("\n## ").next().unwrap();
    for path in routes.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(section.contains(&format!("{path}`")), "{path}");
    }
    let told: serde_json::Value = serde_json::from_str(&World::new().ops("/readyz").body).unwrap();
    let mappings = told["mappings"].as_object().unwrap();
    for member in told.as_object().unwrap().keys().chain(mappings.keys()) {
        assert!(section.contains(&format!("\"{member}\"")), "{member}");
    }
}
