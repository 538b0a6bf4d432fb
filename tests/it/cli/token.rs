//! `passbridge token`: what an operator finds and ends, and what he hears where there is nothing.

use std::io::{Read, Write};
use std::net::TcpListener;

use passbridge::store::Find;
use serde_json::{Value, json};

use super::said::{Said, run};
use crate::store::damage::{flip_family, large_login};
use crate::store::world::{Login, Seeded, block_on};
use crate::support::{Granting, Mood, OLD_ID, Plan, World, client, eventually};

fn world() -> World {
    Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }").start()
}

/// Both UUIDs of a login.
fn login(world: &World) -> (String, String) {
    let reply = world.login();
    (reply.text("access_token"), reply.text("refresh_token"))
}

/// Lines of a login in human words, without what differs each time.
fn words(said: &Said) -> Vec<String> {
    let word = |word: &str| match word.len() {
        32 => "FAMILY".to_owned(),
        12 if word.bytes().all(|byte| byte.is_ascii_hexdigit()) => "FINGERPRINT".to_owned(),
        20 | 21 if word.contains('T') => "TIME".to_owned() + word.trim_start_matches(|c| c != ','),
        _ => word.to_owned(),
    };
    said.out.lines().map(|line| line.trim().split(' ').map(word).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_login_is_told_as_it_is_when_it_is_found_and_as_it_is_then_when_it_is_ended() {
    let world = world();
    let (access, refresh) = login(&world);
    let found = run(&world, &["token", "find"], &refresh).fine();
    let tokens = ["access  FINGERPRINT  until TIME", "refresh FINGERPRINT  until TIME"];
    let alive = format!("login FAMILY of {OLD_ID}: alive");
    let born = "born TIME, refreshed 0 times, refreshable until TIME";
    assert_eq!(words(&found), [alive.as_str(), born, tokens[0], tokens[1]]);
    assert_eq!(found.err, "");

    let ended = run(&world, &["token", "revoke"], &access).fine();
    let over = format!("login FAMILY of {OLD_ID}: revoked by an operator");
    let born = "born TIME, refreshed 0 times";
    assert_eq!(words(&ended), [over.as_str(), born, "realm: being told", tokens[0], tokens[1]]);
    assert_eq!(ended.err, "1 login ended\n");
    assert!(!world.active(&access));

    let again = run(&world, &["token", "revoke"], &access).fine();
    assert_eq!(words(&again), [over.as_str(), born, tokens[0], tokens[1]], "the realm is not told twice");
    assert_eq!(again.err, "none of them was alive\n");
    assert_eq!(words(&run(&world, &["token", "find"], &refresh).fine()), words(&again));
}

#[test]
fn while_the_realm_refuses_to_hear_it_nobody_says_that_it_was_told() {
    let mut world = world();
    let (access, _) = login(&world);
    world.realm.usually_at("logout", Mood::answer(503, "text/plain", "later"));
    let ended = run(&world, &["token", "revoke"], &access).fine();
    assert!(words(&ended).contains(&"realm: being told".to_owned()), "{ended:?}");
    eventually("the realm has refused it", || {
        world.log("\"revocation\"").iter().any(|line| line["outcome"] == "untold")
    });
    world.end();
    let (lines, records) = (world.log("\"ended_by_operator\""), world.audit());
    let mut record = records.iter().filter(|record| record["what"] == "operator_revocation");
    let tells = |told: &Value| told["realm"] == "being told" && told["realm_told"].is_null();
    assert!(lines.iter().any(tells) && record.next().is_some_and(tells), "{lines:?} {records:?}");
    let shown = run(&world, &["audit"], "").fine().out;
    assert!(shown.contains(" realm=being told\n"), "{shown}");
}

#[test]
fn a_login_whose_end_lies_beyond_what_a_time_can_say_is_found() {
    let world = world();
    world.realm.next(Mood::Grant(Granting { refresh_expires_in: Some(1_000_000_000_000), ..Granting::default() }));
    let (access, refresh) = login(&world);
    let found = run(&world, &["token", "find", "--format", "json"], &access).fine().json();
    assert_eq!(found["logins"][0]["refreshable_until"], "9999-12-31T23:59:59Z");
    assert_eq!(run(&world, &["token", "find"], &refresh).fine().out.matches("9999-12-31T23:59:59Z").count(), 2);
}

#[test]
fn the_shape_of_the_json_is_that_of_the_manual() {
    let world = world();
    world.realm.next(Mood::Grant(Granting { refresh_expires_in: Some(0), ..Granting::default() }));
    let (access, _) = login(&world);
    let found = run(&world, &["token", "find", "--format", "json"], &access).fine().json();
    let tokens = found["logins"][0]["tokens"].clone();
    let shape = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(shape(&found), ["damaged", "logins", "more"]);
    let named = ["born", "client", "family", "refreshable_until", "refreshed", "scope", "state", "tokens"];
    assert_eq!(shape(&found["logins"][0]), named);
    assert_eq!(shape(&tokens[0]), ["fingerprint", "until", "use"]);
    assert_eq!(found["logins"][0]["refreshable_until"], "never");
    let ended = run(&world, &["token", "revoke", "--client", OLD_ID, "--format", "json"], "").fine().json();
    assert_eq!((&ended["ended"], &ended["more"]), (&json!(1), &json!(false)));
    let login = &ended["logins"][0];
    assert_eq!(login["realm"], "its session runs out by itself");
    assert_eq!((&login["state"], &login["refreshable_until"]), (&json!("revoked by an operator"), &Value::Null));
    let again = run(&world, &["token", "revoke", "--client", OLD_ID, "--format", "json"], "").fine().json();
    assert_eq!((&again["ended"], again["logins"][0].get("realm")), (&json!(0), None));
}

#[test]
fn only_what_was_alive_is_written_down_as_ended() {
    let mut world = world();
    let (access, _) = login(&world);
    for _ in 0..2 {
        run(&world, &["token", "revoke"], &access).fine();
        run(&world, &["token", "revoke", "--client", OLD_ID], "").fine();
    }
    world.end();
    let ended = world.audit().iter().filter(|record| record["what"] == "operator_revocation").count();
    assert_eq!(ended, 1);
}

#[test]
fn what_is_not_there_is_told_with_where_it_may_be() {
    let world = world();
    login(&world);
    let stranger = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    for action in ["find", "revoke"] {
        for (which, input, hint) in [
            (&[][..], stranger, "hint: a UUID is known where it was made"),
            (&["--client", "nobody"], "", "hint: the old id"),
            (&["--user", "nobody"], "", "hint: the realm's name of the user"),
            (&["--fingerprint", "000000000000"], "", "hint: the first digits of a token's fingerprint"),
        ] {
            let said = run(&world, &[&["token", action], which].concat(), input);
            said.refused(1, &format!("no such login\n  {hint}"));
            assert_eq!(said.out, "");
            let said = run(&world, &[&["token", action, "--format", "json"], which].concat(), input);
            said.refused(1, hint);
            assert_eq!(said.json()["logins"], json!([]));
        }
    }
}

#[test]
fn what_cannot_be_meant_is_refused_before_anybody_is_asked() {
    let world = Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }").files();
    for (which, input, words) in [
        (&[][..], "", "there is no UUID on standard input\n  hint: "),
        (&[], "planted-typed", "what came on standard input is no UUID\n  hint: "),
        (&["--fingerprint", "abc"], "", "that is no beginning of a fingerprint\n  hint: 6 to 64"),
        (&["--fingerprint", "12345g"], "", "that is no beginning of a fingerprint\n  hint: 6 to 64"),
    ] {
        run(&world, &[&["token", "find"], which].concat(), input).refused(2, words);
    }
}

#[test]
fn a_login_whose_client_has_no_mapping_any_more_is_ended_by_its_uuid_all_the_same() {
    let mut world = world();
    let (access, _) = login(&world);
    world.change_clients(&[client("somebody-else", "")]);
    world.running().reload().unwrap();
    let ended = run(&world, &["token", "revoke", "--format", "json"], &access).fine().json();
    assert_eq!(ended["logins"][0]["realm"], "its session runs out by itself");
    world.change_clients(&[client(OLD_ID, "")]);
    world.running().reload().unwrap();
    assert!(!world.active(&access));
}

#[test]
fn all_logins_of_a_client_are_ended_however_many_they_are() {
    const MANY: usize = 1_100;
    let world = world();
    let store = world.running().bridge().store.clone();
    let (chance, now) = (Seeded::new(7), world.running().bridge().clock.now());
    block_on(async {
        let logins: Vec<_> = (0..MANY).map(|_| Login::new(&chance, now, OLD_ID).new).collect();
        futures_util::future::try_join_all(logins.into_iter().map(|new| store.put(new))).await.unwrap();
    });
    let found = run(&world, &["token", "find", "--client", OLD_ID, "--format", "json"], "").fine();
    assert_eq!((found.json()["logins"].as_array().unwrap().len(), &found.json()["more"]), (1_000, &json!(true)));
    assert_eq!(found.err, "there are more; narrow it down\n");
    let ended = run(&world, &["token", "revoke", "--client", OLD_ID, "--format", "json"], "").fine();
    assert_eq!((ended.json()["logins"].as_array().unwrap().len(), &ended.json()["more"]), (1_000, &json!(true)));
    assert_eq!(ended.json()["ended"], MANY);
    assert_eq!(ended.err, format!("{MANY} logins ended; the first 1000 are shown\n"));
    assert!(block_on(store.find_living(Find::Client(OLD_ID.to_owned()), None, 1)).unwrap().records.is_empty());
}

#[test]
fn a_damaged_login_does_not_keep_the_others_of_a_client_from_being_ended_and_is_told() {
    let mut world = world();
    let store = world.running().bridge().store.clone();
    let (chance, now) = (Seeded::new(7), world.running().bridge().clock.now());
    let logins: Vec<_> = (0..3).map(|_| large_login(&chance, now, OLD_ID)).collect();
    for login in &logins {
        block_on(store.put(login.new.clone())).unwrap();
    }
    drop(store);
    world.end();
    let first = logins.iter().map(Login::id).min().unwrap();
    flip_family(&world.path().join("data"), first);
    world.restart();
    let told = "1 record of the store cannot be read";
    let found = run(&world, &["token", "find", "--client", OLD_ID, "--format", "json"], "");
    found.refused(1, told);
    assert_eq!((found.json()["logins"].as_array().unwrap().len(), &found.json()["damaged"]), (2, &json!(1)));
    let ended = run(&world, &["token", "revoke", "--client", OLD_ID, "--format", "json"], "");
    ended.refused(1, told);
    assert_eq!((&ended.json()["ended"], &ended.json()["damaged"]), (&json!(2), &json!(1)));
}

/// Lays wrong lines over a world's configuration; the bridge refuses it and goes on.
fn spoil(world: &World, wrong: &str) {
    let text = std::fs::read_to_string(world.config()).unwrap();
    std::fs::write(world.config(), text.replacen("[store]\n", &format!("[store]\n{wrong}\n"), 1)).unwrap();
    world.running().reload().unwrap_err();
}

#[test]
fn what_an_incident_needs_works_whatever_else_is_wrong_with_the_configuration() {
    let world = world();
    let (access, _) = login(&world);
    spoil(&world, "junk = 1\n[limits]\nbody = \"much\"\n[realms]");
    let copy = world.path().join("copy");
    for command in [
        &["token", "find", "--client", OLD_ID][..],
        &["token", "revoke"],
        &["store", "backup", copy.to_str().unwrap()],
        &["audit", "--client", OLD_ID],
        &["audit", "verify"],
    ] {
        let said = run(&world, command, &access).fine();
        for words in ["error[unknown-key]: ", "junk", "realms", "note: what is needed here can be read"] {
            assert!(said.err.contains(words), "{command:?}: {said:?}");
        }
    }
    assert!(!world.active(&access) && copy.is_dir());
    run(&world, &["client", "stage", OLD_ID, "retired", "--why", "a test"], "").refused(2, "nothing was changed");
}

#[test]
fn what_is_wrong_in_what_an_incident_needs_is_told_and_nobody_is_asked() {
    for (section, key, value, refused) in [
        ("ops", "token", "\"planted-in-clear\"", &["token", "store"][..]),
        ("ops", "junk", "1", &["token", "store"]),
        ("listen", "ops", "\"nowhere\"", &["token", "store"]),
        ("tls", "ops", "{ certificate = \"none.pem\", key = \"none.key\" }", &["token", "store"]),
        ("audit", "keep", "\"long\"", &["audit"]),
        ("store", "kind", "\"embeded\"", &["audit"]),
    ] {
        let plan = Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }");
        let mut world = plan.set("listen", "ops", "\"127.0.0.1:1\"").files();
        world.change(section, key, value);
        for command in [&["token", "find", "--client", "a"][..], &["store", "backup", "copy"], &["audit"]] {
            let said = super::run(&world, command, "");
            let talk = super::talk(&said);
            let is_refused = refused.contains(&command[0]);
            assert!(talk.contains("error[") && talk.contains("note: ") != is_refused, "{key} {command:?}: {talk}");
            assert!(!is_refused || said.status.code() == Some(2), "{key} {command:?}: {talk}");
        }
    }
}

/// Puts something in place of a part of a world's configuration.
fn replace(world: &World, part: &str, other: &[u8]) {
    let text = std::fs::read_to_string(world.config()).unwrap();
    let (before, behind) = text.split_once(part).unwrap();
    std::fs::write(world.config(), [before.as_bytes(), other, behind.as_bytes()].concat()).unwrap();
}

#[test]
fn what_an_incident_needs_works_where_another_line_of_the_configuration_is_no_toml() {
    let world = world();
    let (access, _) = login(&world);
    let good = std::fs::read(world.config()).unwrap();
    let copy = world.path().join("copy");
    let commands = [
        &["token", "find", "--client", OLD_ID][..],
        &["audit", "verify"],
        &["token", "revoke"],
        &["store", "backup", copy.to_str().unwrap()],
        &["audit", "--client", OLD_ID],
    ];
    let slips = [
        &b"timeout = 5s"[..],
        b"ca = \"ca.pem",
        b"ca = [\"ca.pem\",",
        b"ca = { file = \"ca.pem\"",
        b"ca = \"\"\"",
        b"rotation = \"on\"\nrotation = \"off\"",
        b"# caf\xe9",
        b"[realm]",
        b"[log\nfilter = \"info\"",
    ];
    for (index, slip) in slips.into_iter().enumerate() {
        std::fs::write(world.config(), &good).unwrap();
        replace(&world, "[realm]\n", &[b"[realm]\n", slip, b"\n"].concat());
        world.running().reload().unwrap_err();
        let commands = if index + 1 == slips.len() { &commands[..] } else { &commands[..2] };
        for command in commands {
            let said = run(&world, command, &access).fine();
            let is_told = said.err.contains("error[") && said.err.contains("note: what is needed here can be read");
            assert!(is_told, "{} {command:?}: {said:?}", slip.escape_ascii());
        }
    }
    assert!(!world.active(&access) && copy.is_dir());
}

#[test]
fn nobody_is_asked_where_what_an_incident_needs_may_stand_in_what_is_no_toml() {
    let plan = Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }").set("listen", "ops", "\"127.0.0.1:1\"");
    let world = plan.files();
    let good = std::fs::read(world.config()).unwrap();
    for (part, other, refused) in [
        ("[listen]\n", "[listen\n", "token"),
        ("[listen]\n", "[li'sten]\n", "token"),
        ("ops = \"127.0.0.1:1\"", "ops = 127.0.0.1:1", "token"),
        ("ops = \"127.0.0.1:1\"", "osp = 127.0.0.1:1", "token"),
        ("[ops]\n", "[ops\n", "token"),
        ("[ops]\n", "[tls.ops\ncertificate = \"ops.pem\"\nkey = \"ops.key\"\n[ops]\n", "token"),
        ("[ops]\n", "[tls]\nops = { certificate = \"ops.pem, key = \"ops.key\" }\n[ops]\n", "token"),
        ("[ops]\n", "[tls.ops]\ncertificate = ops.pem\nkey = \"ops.key\"\n[ops]\n", "token"),
        ("[store]\n", "[audit]\npath = elsewhere\n[store]\n", "audit"),
        ("[store]\n", "[audit\npath = \"elsewhere\"\n[store]\n", "audit"),
        ("[store]\n", "[store]\npath = elsewhere\n", "audit"),
        ("[store]\n", "[store]\nkind = redis\n", "audit"),
        ("[store]\n", "[store\n", "audit"),
    ] {
        std::fs::write(world.config(), &good).unwrap();
        replace(&world, part, other.as_bytes());
        for command in [&["token", "find", "--client", "a"][..], &["audit"]] {
            let said = super::run(&world, command, "");
            let talk = super::talk(&said);
            let is_refused = refused == command[0];
            assert!(talk.contains("error[") && talk.contains("note: ") != is_refused, "{other} {command:?}: {talk}");
            assert!(!is_refused || said.status.code() == Some(2), "{other} {command:?}: {talk}");
        }
    }
    std::fs::write(world.config(), &good).unwrap();
    replace(&world, "[realm]\n", b"[realm]\ntimeout = 5s\n");
    replace(&world, "OLD_SECRET", b"NO_SECRET");
    let said = super::run(&world, &["token", "find", "--client", "a"], "");
    let talk = super::talk(&said);
    assert!(said.status.code() == Some(2) && talk.contains("error[syntax]") && talk.contains("NO_SECRET"), "{talk}");
}

#[test]
fn somebody_else_at_the_ops_port_is_not_taken_for_a_bridge() {
    let mut world = Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }").files();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    world.change("listen", "ops", &format!("\"{}\"", listener.local_addr().unwrap()));
    let answers = ["200 OK\r\n\r\n{\"active\": false}", "404 Not Found\r\n\r\n<p>nothing</p>", "200 OK\r\n\r\n"];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for answer in answers {
                let (mut caller, _) = listener.accept().unwrap();
                let _ = caller.read(&mut [0; 4096]).unwrap();
                caller.write_all(format!("HTTP/1.1 {answer}").as_bytes()).unwrap();
            }
        });
        for _ in answers {
            let output = super::run(&world, &["token", "find", "--client", OLD_ID], "");
            let said = super::talk(&output);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("is no bridge") && said.contains("hint: does it run"), "{said}");
        }
    });
}
