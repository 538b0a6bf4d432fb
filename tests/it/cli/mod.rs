//! The command line, as an operator uses it: the real program.

mod audit;
mod client;
mod diff;
mod doctor;
mod doctor_doors;
mod hanging_disk;
mod import;
mod pipes;
mod replay;
pub mod said;
mod sealed;
mod serve;
mod shell;
mod signals;
mod store;
mod synced;
mod terminal;
mod token;
mod turns;
mod unread;
mod unsynced;

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::support::{OLD_ID, Plan, World, client};

fn run(world: &World, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_passbridge"));
    command.current_dir(world.path()).args(arguments).env_clear();
    command.env("OLD_SECRET", "planted-old-secret").env("NEW_SECRET", "planted-new-secret");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn talk(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn check_is_quiet_on_standard_output_where_all_is_fine() {
    let world = Plan::new().files();
    let checked = run(&world, &["check"], "");
    assert_eq!((checked.status.code(), out(&checked).as_str()), (Some(0), ""), "{}", talk(&checked));
    assert!(talk(&checked).contains("1 client, 0 warnings: fine"), "{}", talk(&checked));
}

#[test]
fn check_tells_every_finding_at_once_with_its_place_and_what_to_do() {
    let world = Plan::new().client(&client("other", "stagee = \"live\"\nmay_introspect = \"yes\"")).files();
    let checked = run(&world, &["check"], "");
    assert_eq!(checked.status.code(), Some(1));
    let text = out(&checked);
    assert!(text.contains("error[unknown-key]") && text.contains("did you mean `stage`?"), "{text}");
    assert!(text.contains("error[wrong-type]") && text.contains("may_introspect"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour where nobody sees it");
    let checked = run(&world, &["check", "--format", "json"], "");
    let findings: serde_json::Value = serde_json::from_str(&out(&checked)).unwrap();
    let finding = findings.as_array().unwrap().iter().find(|finding| finding["code"] == "unknown-key").unwrap();
    assert_eq!(finding["severity"], "error");
    assert!(finding["file"].as_str().unwrap().ends_with(".toml") && finding["line"].as_u64().unwrap() > 1, "{finding}");
}

#[test]
fn check_cannot_open_what_is_not_there() {
    let world = Plan::new().files();
    let checked = run(&world, &["check", "--config", "nowhere.toml"], "");
    assert_eq!(checked.status.code(), Some(2), "{}", out(&checked));
    assert_eq!(run(&world, &["no-such-command"], "").status.code(), Some(2));
    for gone in ["client_secret = { file = \"gone\" }", "legacy_secret = { file = \"gone\" }"] {
        let world = Plan::new().without_clients().client(&client(OLD_ID, gone)).files();
        assert_eq!(run(&world, &["check"], "").status.code(), Some(2), "{gone}");
    }
}

#[test]
fn a_warning_alone_is_no_reason_to_say_no() {
    let world = Plan::new().client(&client("other", "")).files();
    let checked = run(&world, &["check"], "");
    assert_eq!(checked.status.code(), Some(0), "{}", out(&checked));
    assert!(out(&checked).contains("warning[shared-client]"), "{}", out(&checked));
}

#[test]
fn a_clear_secret_is_refused_and_not_repeated() {
    let world = Plan::new().without_clients().client(&client(OLD_ID, "client_secret = \"planted-in-clear\"")).files();
    for arguments in [&["check"][..], &["check", "--format", "json"], &["serve"]] {
        let output = run(&world, arguments, "");
        assert!(!(out(&output) + &talk(&output)).contains("planted-in-clear"), "{arguments:?}");
        assert!((out(&output) + &talk(&output)).contains("clear-text-secret"), "{arguments:?}");
    }
}

#[test]
fn a_secret_that_stands_where_a_name_belongs_is_shown_nowhere() {
    for (section, key, value) in [
        ("ops", "token", "{ env = \"planted-in-clear\" }"),
        ("ops", "token", "{ file = \"planted-in-clear\" }"),
        ("secrets", "identity", "{ file = \"AGE-SECRET-KEY-1PLANTED\" }"),
        (
            "tls",
            "legacy",
            "{ certificate = \"passbridge.toml\", key = \"-----BEGIN PRIVATE KEY-----\\nplanted-in-clear\" }",
        ),
    ] {
        let world = Plan::new().set(section, key, value).files();
        for arguments in [&["check"][..], &["check", "--format", "json"], &["serve"]] {
            let output = run(&world, arguments, "");
            let said = out(&output) + &talk(&output);
            assert!(said.contains("error") && !output.status.success(), "{said}");
            assert!(!said.contains("planted") && !said.contains("PLANTED"), "{arguments:?}: {said}");
        }
    }
    let list = "client_secret = [{ env = \"NEW_SECRET\" },\n  { env = \"planted-in-clear\" }]";
    let world = Plan::new().without_clients().client(&client(OLD_ID, list)).files();
    let checked = run(&world, &["check"], "");
    let said = out(&checked) + &talk(&checked);
    assert!(said.contains("unset-variable") && !said.contains("planted"), "{said}");
}

#[test]
fn a_refused_configuration_starts_nothing_and_touches_nothing() {
    let world = Plan::new().set("limits", "nonsense", "1").files();
    let before: Vec<_> = fs::read_dir(world.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let served = run(&world, &["serve"], "");
    assert_eq!((served.status.code(), out(&served).as_str()), (Some(2), ""));
    assert!(
        talk(&served).contains("unknown-key") && talk(&served).contains("nothing was started"),
        "{}",
        talk(&served)
    );
    let after: Vec<_> = fs::read_dir(world.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(before, after);
}

#[test]
fn a_realm_that_cannot_be_asked_is_known_before_anything_is_touched() {
    for (url, status, words) in [
        ("https://sso.example.org:84430/auth/realms/SSO", 2, "bad-value"),
        (
            "https://sso.example.org/auth/realms/SSO",
            1,
            "`realm.ca` is needed: this system trusts no certificates of its own",
        ),
    ] {
        let world = Plan::new().set("realm", "urls", &format!("[\"{url}\"]")).files();
        // A machine that trusts nobody.
        let nobody = [("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/dev/null")];
        said::run_with(&world, &["serve"], &nobody).refused(status, words);
        assert!(!world.store().exists(), "{url}");
    }
}

#[test]
fn a_store_that_nobody_could_use_is_refused_by_check_and_before_anything_is_started() {
    for urls in ["[\"redis://127.0.0.1:99999\"]", "[\"redis://127.0.0.1/x\"]", "[\"redis://a\", \"redis://b\"]"] {
        let world = Plan::new().set("store", "kind", "\"redis\"").set("store", "urls", urls).files();
        let checked = run(&world, &["check"], "");
        assert_eq!(checked.status.code(), Some(1), "{}", talk(&checked));
        assert!(out(&checked).contains("error[bad-value]: `store.urls`"), "{}", out(&checked));
        let served = run(&world, &["serve"], "");
        assert_eq!(served.status.code(), Some(2), "{}", talk(&served));
        assert!(talk(&served).contains("nothing was started"), "{}", talk(&served));
    }
}

#[test]
fn a_secret_is_hashed_from_standard_input_and_never_from_an_argument() {
    let world = Plan::new().files();
    let hashed = run(&world, &["secret", "hash"], "planted-to-hash\n");
    let hash = out(&hashed);
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && hash.ends_with('\n'), "{hash}");
    assert_ne!(hash, out(&run(&world, &["secret", "hash"], "planted-to-hash\n")), "each has a salt of its own");
    assert_eq!(run(&world, &["secret", "hash"], "").status.code(), Some(2));
    let marked = run(&world, &["secret", "hash"], "\u{feff}planted-to-hash\r\n");
    for hash in [hash, out(&marked)] {
        let mapped = client(OLD_ID, &format!("legacy_secret = {{ hash = \"{}\" }}", hash.trim()));
        let world = Plan::new().without_clients().client(&mapped).start();
        assert_eq!(world.token(&crate::support::passport(OLD_ID, "planted-to-hash")).status, 200);
        assert_eq!(world.token(&crate::support::passport(OLD_ID, "another")).status, 401);
    }
}

#[test]
fn a_secret_that_is_given_as_an_argument_is_refused_and_not_repeated() {
    let world = Plan::new().files();
    let given = ["planted-typed", "-planted-typed", "--planted-typed", "--planted-typed=planted-typed"];
    let add = ["client", "add", "a", "--client-id", "a", "--client-secret", "env:NEW_SECRET"];
    for (command, what) in [
        (&["secret", "hash"][..], "secret"),
        (&["secret", "seal"], "secret"),
        (&["secret", "--config", "passbridge.toml", "seal", "--armor"], "secret"),
        (&["client", "secret", OLD_ID, "add"], "secret"),
        (&["client", "secret", OLD_ID, "add", "--new"], "secret"),
        (&["client", "secret", OLD_ID, "promote"], "secret"),
        (&add, "secret"),
        (&["doctor"], "secret"),
        (&["token", "find"], "UUID"),
        (&["token", "revoke"], "UUID"),
    ] {
        for secret in given {
            let said = said::run(&world, &[command, &[secret]].concat(), "");
            said.refused(2, &format!("the {what} comes on standard input"));
            assert!(!said.err.contains("planted") && said.out.is_empty(), "{command:?}: {said:?}");
        }
    }
    let mistyped = said::run(&world, &["secret", "seal", "--armour"], "");
    mistyped.refused(2, "'--armor'");
    said::run(&world, &["health", "please"], "").refused(2, "unexpected argument 'please'");
    assert!(out(&run(&world, &["secret", "hash", "--help"], "")).contains("standard input"));
}

#[test]
fn health_asks_the_running_bridge() {
    let mut world = World::new();
    let ops = world.running().addresses().ops;
    world.change("listen", "ops", &format!("\"{ops}\""));
    assert_eq!(run(&world, &["health"], "").status.code(), Some(0));
    world.end();
    let asked = run(&world, &["health"], "");
    assert_eq!(asked.status.code(), Some(1));
    assert!(talk(&asked).contains("does not answer"), "{}", talk(&asked));
}

#[test]
fn tokens_are_found_and_ended_by_whoever_shows_the_ops_token() {
    let mut world = Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }").start();
    let reply = world.login();
    let (access, refresh) = (reply.text("access_token"), reply.text("refresh_token"));
    let ops = world.running().addresses().ops;
    world.change("listen", "ops", &format!("\"{ops}\""));
    for (arguments, input) in [
        (vec!["token", "find"], access.as_str()),
        (vec!["token", "find"], refresh.as_str()),
        (vec!["token", "find", "--client", OLD_ID], ""),
        (vec!["token", "find", "--user", "90417"], ""),
    ] {
        let found = run(&world, &arguments, input);
        assert_eq!(found.status.code(), Some(0), "{arguments:?}: {}", talk(&found));
        let text = out(&found);
        assert!(text.contains(OLD_ID) && text.contains("alive"), "{arguments:?}: {text}");
        assert!(!text.contains(&access) && !text.contains(&refresh), "provenance, never a token");
    }
    assert_eq!(run(&world, &["token", "find", "--client", "nobody"], "").status.code(), Some(1));
    let ended = run(&world, &["token", "revoke", "--format", "json"], &access);
    assert_eq!(ended.status.code(), Some(0), "{}", talk(&ended));
    let answer: serde_json::Value = serde_json::from_str(&out(&ended)).unwrap();
    assert_eq!(answer["logins"][0]["realm"], "being told");
    assert!(!world.active(&access));
    world.change("ops", "token", "{ env = \"NEW_SECRET\" }");
    let refused = run(&world, &["token", "find", "--client", OLD_ID], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(talk(&refused).contains("the ops token is wrong"), "{}", talk(&refused));
}

#[test]
fn the_configuration_in_deploy_and_the_shipped_mappings_are_fine_as_they_are() {
    let world = Plan::new().files();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/passbridge.toml");
    let checked = run(&world, &["check", "--config", shipped, "--format", "json"], "");
    assert_eq!(checked.status.code(), Some(0), "{}{}", out(&checked), talk(&checked));
}

#[test]
fn every_key_of_the_shipped_configuration_stands_in_the_documentation_and_the_other_way_round() {
    let read = |name: &str| fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (shipped, documented) = (read("deploy/passbridge.toml"), read("docs/CONFIG.md"));
    let key = |line: &str| {
        let line = line.trim_start_matches("# ");
        let (name, _) = line.split_once('=')?;
        let name = name.trim();
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            .then(|| name.to_owned())
    };
    let keys: std::collections::BTreeSet<String> = shipped.lines().filter_map(key).collect();
    assert!(keys.len() > 30, "{keys:?}");
    for key in &keys {
        assert!(documented.contains(&format!("`{key}`")), "docs/CONFIG.md lacks `{key}`");
    }
    let told = documented.lines().filter(|line| line.starts_with("| `") || line.starts_with("| |"));
    for name in told.filter_map(|line| line.split('|').nth(2)).flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        assert!(keys.contains(name) || name == "master", "deploy/passbridge.toml lacks `{name}`");
    }
}

/// Faults of every kind that a file can have, a few in each line.
const FAULTY: &str = r#"
[[client]]
legacy_id     = "one"
legacy_secret = { hash = "$argon2id$v=19$m=8" }
client_id     = ""
client_secret = "planted-in-the-clear"
stage         = "lvie"
dialect       = "none"
scopes        = { a = "two words" }
access_token_lifetime = "1 fortnight"
may_introspect = "yes"
stagee        = "live"

[[client]]
legacy_id     = "one"
client_secret = { file = "missing", env = "TOO" }
stage         = "canary"

[[client]]
legacy_id     = "two"
legacy_secret = [{ env = "NOT_SET" }, { file = "missing" }, { learn = true }]
client_id     = "test_api"
client_secret = { sealed = "no" }
stage         = "live"
"#;

#[test]
fn every_finding_has_its_place_its_code_and_what_to_do() {
    let mut world = Plan::new().client(FAULTY).files();
    for (section, key, value) in [
        ("tls", "legacy", "{ certificate = \"none.pem\" }"),
        ("store", "kind", "\"redis\""),
        ("store", "path", "\"data\""),
        ("limits", "body", "\"much\""),
        ("log", "filter", "\"a=b=c\""),
        ("ops", "token", "\"planted-clear\""),
        ("server", "workers", "\"all\""),
        ("otk", "api", "\"ftp://x\""),
    ] {
        world.change(section, key, value);
    }
    fs::write(world.path().join("mappings/clients/syntax.toml"), "[[client]]\nlegacy_id = one\na = 1\na = 2\n")
        .unwrap();
    fs::create_dir(world.path().join("mappings/clients/folder.toml")).unwrap();
    let checked = run(&world, &["check", "--format", "json"], "");
    assert!(!out(&checked).contains("planted"), "{}", out(&checked));
    let findings: Vec<serde_json::Value> = serde_json::from_str(&out(&checked)).unwrap();
    let mut codes: Vec<&str> = findings.iter().map(|finding| finding["code"].as_str().unwrap()).collect();
    for finding in &findings {
        for part in ["file", "message", "hint"] {
            assert!(finding[part].as_str().is_some_and(|text| !text.is_empty()), "{part}: {finding}");
        }
        let placed = finding["line"].is_u64() && finding["column"].is_u64();
        assert!(placed || finding["code"] == "unreadable-file", "{finding}");
    }
    codes.sort_unstable();
    codes.dedup();
    assert!(codes.len() >= 15, "{codes:?}");
}

#[test]
fn each_command_that_finds_nobody_or_nothing_says_what_to_do() {
    let mut world = Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }").files();
    // Nobody listens there.
    world.change("listen", "ops", "\"127.0.0.1:1\"");
    for (command, input, status) in [
        (&["health"][..], "", 1),
        (&["diff"], "", 1),
        (&["token", "find", "--client", OLD_ID], "", 1),
        (&["token", "revoke", "--client", OLD_ID], "", 1),
        (&["store", "backup", "copy"], "", 1),
        (&["client", "secret", OLD_ID, "write-learned"], "", 1),
        (&["client", "show", "nobody"], "", 1),
        (&["client", "stage", "nobody", "live", "--why", "a test"], "", 1),
        (&["client", "stage", OLD_ID, "live", "--why", " "], "", 2),
        (&["client", "rollback", "nobody"], "", 1),
        (&["client", "secret", "nobody", "promote"], "", 1),
        (&["client", "import", "none.csv"], "", 2),
        (&["client", "import", "passbridge.toml"], "", 2),
        (&["client", "add", "a", "--client-id", "a", "--client-secret", "env:A"], "", 2),
        (&["secret", "hash"], "", 2),
        (&["secret", "seal"], "planted", 2),
        (&["audit"], "", 2),
        (&["audit", "verify"], "", 2),
        (&["audit", "--since", "yesterday"], "", 2),
        (&["replay", "none"], "", 2),
        (&["doctor", "--client", "nobody"], "", 1),
        (&["check", "--config", "none.toml"], "", 2),
        (&["serve", "--config", "none.toml"], "", 2),
    ] {
        let said = run(&world, command, input);
        let words = out(&said) + &talk(&said);
        assert_eq!(said.status.code(), Some(status), "{command:?}: {words}");
        assert!(words.contains("hint: "), "{command:?}: {words}");
        assert!(!words.contains("planted") && !words.contains("panicked"), "{command:?}: {words}");
    }
}

#[test]
fn a_wrong_ops_token_is_told_by_each_command_that_shows_it() {
    let mut world = Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }").start();
    let ops = world.running().addresses().ops;
    // The bridge goes on with the token that it has: it does not reload by itself here.
    world.change("listen", "ops", &format!("\"{ops}\""));
    world.change("ops", "token", "{ env = \"NEW_SECRET\" }");
    for command in [
        &["diff"][..],
        &["token", "find", "--client", OLD_ID],
        &["token", "revoke", "--client", OLD_ID],
        &["store", "backup", "copy"],
    ] {
        let said = run(&world, command, "");
        assert_eq!(said.status.code(), Some(1), "{command:?}: {}", talk(&said));
        assert!(talk(&said).contains("token") && talk(&said).contains("hint: "), "{command:?}: {}", talk(&said));
    }
}
