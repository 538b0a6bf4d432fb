//! `passbridge diff`: what the running bridge uses against what the files say.

use serde_json::Value;

use super::{out, run, said, talk};
use crate::support::pem::self_signed;
use crate::support::{Connection, OLD_ID, Plan, World, client};

/// A bridge whose ops listener the program can find; its ops token is the old secret of the environment.
fn world() -> World {
    let mut world = Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }").client(&client("second", "")).start();
    let ops = world.running().addresses().ops;
    world.change("listen", "ops", &format!("\"{ops}\""));
    world
}

fn diff(world: &World) -> (Option<i32>, Value) {
    let output = run(world, &["diff", "--format", "json"], "");
    let text = out(&output) + &talk(&output);
    assert!(!text.contains("planted") && !text.contains("$argon2id"), "a secret is told: {text}");
    (output.status.code(), serde_json::from_str(&out(&output)).unwrap_or_else(|_| panic!("{text}")))
}

#[test]
fn files_that_the_bridge_has_read_differ_in_nothing() {
    let mut world = world();
    world.change("listen", "legacy", "\"127.0.0.1:0\"");
    let (status, told) = diff(&world);
    assert_eq!((status, &told["same"], &told["generation"]), (Some(0), &Value::Bool(true), &Value::from(1)), "{told}");
    assert_eq!(told["digest"]["bridge"], told["digest"]["files"]);
    let human = run(&world, &["diff"], "");
    assert_eq!((human.status.code(), out(&human).as_str()), (Some(0), ""));
    assert!(talk(&human).contains("the bridge uses what the files say (generation 1)"), "{}", talk(&human));
}

#[test]
fn each_difference_is_told_with_what_the_bridge_uses_and_what_the_files_say() {
    let mut world = world();
    let hash = out(&run(&world, &["secret", "hash"], "planted-old-secret"));
    world.change_clients(&[
        client(OLD_ID, "stage = \"retired\"\nscopes = { a = \"b\" }\naccess_token_lifetime = \"10m\""),
        client("third", &format!("legacy_secret = {{ hash = \"{}\" }}", hash.trim())),
    ]);
    let (status, told) = diff(&world);
    assert_eq!(status, Some(1));
    let differences = told["differences"].as_array().unwrap();
    let of = |client: &str, what: &str| {
        let found = differences.iter().find(|one| one["client"] == client && one["what"] == what);
        found.map(|one| (one["bridge"].clone(), one["files"].clone()))
    };
    assert_eq!(of(OLD_ID, "stage"), Some(("live".into(), "retired".into())), "{told:#}");
    assert_eq!(of(OLD_ID, "access_token_lifetime"), Some((Value::Null, 600.into())));
    assert_eq!(of(OLD_ID, "scopes"), Some((serde_json::json!({}), serde_json::json!({"a": "b"}))));
    assert_eq!(of("second", "client"), Some((true.into(), false.into())));
    assert_eq!(of("third", "client"), Some((false.into(), true.into())));
    assert_eq!(differences.len(), 5, "{told:#}");
    let human = out(&run(&world, &["diff"], ""));
    assert!(
        human.contains(&format!("client {OLD_ID}: stage: \"live\" in the bridge, \"retired\" in the files")),
        "{human}"
    );
    assert!(human.contains("client second: in the bridge only") && human.contains("client third: in the files only"));
}

#[test]
fn another_secret_of_the_same_kind_is_a_difference_and_the_secret_is_not_told() {
    let mut world = world();
    world.change_clients(&[client(OLD_ID, "client_secret = { env = \"OLD_SECRET\" }"), client("second", "")]);
    let (status, told) = diff(&world);
    assert_eq!((status, told["differences"].as_array().unwrap().len()), (Some(1), 1), "{told:#}");
    assert_eq!(
        (&told["differences"][0]["client"], &told["differences"][0]["what"]),
        (&OLD_ID.into(), &"secrets".into())
    );
    assert!(out(&run(&world, &["diff"], "")).contains("the bridge uses other secrets than the files have"));
    world.change_clients(&[client(OLD_ID, "legacy_secret = { env = \"NEW_SECRET\" }"), client("second", "")]);
    assert_eq!(diff(&world).1["differences"][0]["what"], "secrets", "an old one too");
}

#[test]
fn a_dialect_a_section_that_needs_a_restart_and_a_refused_load_are_told() {
    let mut world = world();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/mappings/dialects/otk-passport.toml");
    let text = std::fs::read_to_string(shipped).unwrap().replace("refresh_grace = \"60s\"", "refresh_grace = \"61s\"");
    let file = world.path().join("mappings/dialects/otk-passport.toml");
    std::fs::write(&file, text).unwrap();
    let (status, told) = diff(&world);
    assert_eq!((status, &told["differences"][0]["what"]), (Some(1), &"dialect otk-passport".into()), "{told:#}");
    // As it is after an upgrade of the program too, whose own dialect lies in no file.
    let said = talk(&run(&world, &["diff"], ""));
    assert!(said.contains("differs still is another version's: stop the bridge and start it"), "{said}");
    std::fs::remove_file(&file).unwrap();
    world.change("server", "workers", "2");
    world.running().reload().unwrap();
    let (status, told) = diff(&world);
    let sections = told["needs_restart"].as_array().unwrap();
    assert!(status == Some(1) && sections.contains(&"server".into()), "{told:#}");
    let said = talk(&run(&world, &["diff"], ""));
    assert!(said.contains("differences: 0") && said.ends_with("hint: stop the bridge and start it\n"), "{said}");
    world.change_clients(&[client(OLD_ID, "nonsense = 1")]);
    world.running().reload().unwrap_err();
    assert_eq!(run(&world, &["diff"], "").status.code(), Some(2), "these files are no table");
    world.change_clients(&[client(OLD_ID, "")]);
    let (_, told) = diff(&world);
    assert!(told["refused"][0].as_str().unwrap().contains("unknown-key"), "{told:#}");
    let said = talk(&run(&world, &["diff"], ""));
    let refused = said.lines().skip_while(|line| !line.starts_with("the last load was refused: "));
    assert!(refused.skip(1).any(|line| line.starts_with("  hint: ")) && !said.contains('\u{fffd}'), "{said}");
}

#[test]
fn a_bridge_that_began_before_there_was_a_certificate_for_operators_is_told_from_none() {
    let mut world = world();
    let ops = world.running().addresses().ops;
    let (certificate, key) = self_signed(&["localhost"]);
    std::fs::write(world.path().join("ops.pem"), certificate).unwrap();
    std::fs::write(world.path().join("ops.key"), key).unwrap();
    world.change("tls", "ops", "{ certificate = \"ops.pem\", key = \"ops.key\" }");
    world.running().reload().unwrap();
    let told = run(&world, &["diff"], "");
    let words =
        format!("the bridge at {ops} answers in clear text, and the files have `tls.ops`\n  hint: stop the bridge");
    assert!(told.status.code() == Some(1) && talk(&told).contains(&words), "{}", talk(&told));
    // What needs no token is asked all the same.
    let moved = said::run(&world, &["client", "stage", "second", "retired", "--why", "a test"], "").fine();
    assert!(moved.err.contains("has it, as generation"), "{moved:?}");
}

/// What `diff` says where this is the answer at the ops address.
fn answered(body: String) -> std::process::Output {
    let bridge = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ops = bridge.local_addr().unwrap();
    let world = Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }").set("listen", "ops", &format!("\"{ops}\""));
    let world = world.files();
    let bridge = std::thread::spawn(move || {
        let (mut asked, _) = bridge.accept().unwrap();
        let _asked = std::io::Read::read(&mut asked, &mut [0; 4096]).unwrap();
        let answer = format!("HTTP/1.0 200 OK\r\n\r\n{body}");
        // Whoever reads it in part goes away before its end.
        let _ = std::io::Write::write_all(&mut asked, answer.as_bytes());
    });
    let told = run(&world, &["diff"], "");
    bridge.join().unwrap();
    told
}

#[test]
fn an_answer_that_is_cut_off_is_no_bridge_without_clients() {
    let told = answered("{\"clients\": {\"a\"".to_owned());
    assert_eq!((told.status.code(), out(&told).as_str()), (Some(1), ""));
    assert!(talk(&told).contains("answer is cut off"), "{}", talk(&told));
}

#[test]
fn the_table_of_a_hundred_thousand_clients_is_read_to_its_end() {
    let told = answered(format!("{{\"clients\": {{}}, \"generation\": 7{}}}", " ".repeat(80_000_000)));
    assert!(out(&told).contains(&format!("client {OLD_ID}: in the files only\n")), "{}", talk(&told));
    assert!(talk(&told).contains("generation 7"), "{}", talk(&told));
}

#[test]
fn the_table_is_shown_to_who_has_the_ops_token_alone_and_holds_no_secret() {
    let mut world = world();
    let ops = world.running().addresses().ops;
    let ask = |request: &str| Connection::open(ops).ask(request.as_bytes());
    let refused = ask("GET /api/v1/table HTTP/1.1\r\nHost: ops\r\nAuthorization: Bearer wrong\r\n\r\n");
    assert_eq!(refused.status, 401);
    let refused = ask("POST /api/v1/table/secrets HTTP/1.1\r\nHost: ops\r\nContent-Length: 2\r\n\r\n{}");
    assert_eq!(refused.status, 401);
    let told = ask("GET /api/v1/table HTTP/1.1\r\nHost: ops\r\nAuthorization: Bearer planted-old-secret\r\n\r\n");
    assert_eq!(told.status, 200);
    assert!(!told.body.contains("planted") && told.body.contains(OLD_ID), "{}", told.body);
    world.change("ops", "token", "{ env = \"NEW_SECRET\" }");
    let refused = run(&world, &["diff"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(talk(&refused).contains("the ops token is wrong"), "{}", talk(&refused));
}
