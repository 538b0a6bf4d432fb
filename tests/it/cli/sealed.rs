//! `passbridge secret keygen` and `secret seal`, and sealed secrets in mapping files.

use std::fs;

use super::said::{Said, run};
use crate::support::{OLD_ID, Plan, World, client, passport};

const IDENTITY: &str = "{ file = \"age.key\" }";

/// Files with an identity, and its recipient.
fn keyed() -> (World, String) {
    let world = Plan::new().set("secrets", "identity", IDENTITY).files();
    let recipient = keygen(&world, "age.key");
    (world, recipient)
}

fn keygen(world: &World, name: &str) -> String {
    let made = run(world, &["secret", "keygen"], "").fine();
    fs::write(world.path().join(name), &made.out).unwrap();
    let lines: Vec<&str> = made.out.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("# created: 20"), "{lines:?}");
    assert!(lines[2].starts_with("AGE-SECRET-KEY-1") && !made.err.contains("AGE-SECRET-KEY"), "{made:?}");
    world.plant_text(lines[2]);
    lines[1].strip_prefix("# public key: ").unwrap().to_owned()
}

fn seal(world: &World, secret: &str, more: &[&str]) -> String {
    run(world, &[&["secret", "seal"], more].concat(), secret).fine().out.trim_end().to_owned()
}

/// One client, whose secret at the realm is sealed.
fn sealed(text: &str) -> String {
    client(OLD_ID, &format!("client_secret = {{ sealed = \"{text}\" }}"))
}

fn code_of(said: &Said) -> Vec<String> {
    let findings: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let errors = findings.as_array().unwrap().iter().filter(|finding| finding["severity"] == "error");
    errors.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

fn check(world: &World) -> Said {
    run(world, &["check", "--format", "json"], "")
}

#[test]
fn a_sealed_secret_reaches_the_realm_and_shows_nowhere_else() {
    let (mut world, _) = keyed();
    let text = seal(&world, "planted-typed\n", &[]);
    world.change_clients(&[sealed(&text)]);
    check(&world).fine();
    world.begin();
    assert_eq!(world.login().status, 200);
    assert_eq!(world.realm.last().field("client_secret").as_deref(), Some("planted-typed"));
    let listed = run(&world, &["client", "list"], "").fine().out;
    assert!(listed.contains(" sealed ") && !listed.contains(&text), "{listed}");
    let armoured = seal(&world, "planted-typed2", &["--armor"]);
    assert!(armoured.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"), "{armoured}");
    let old =
        format!("client_secret = {{ sealed = \"{text}\" }}\nlegacy_secret = {{ sealed = \"\"\"{armoured}\"\"\" }}");
    world.change_clients(&[client(OLD_ID, &old)]);
    world.running().reload().unwrap();
    assert_eq!(world.token(&passport(OLD_ID, "planted-typed2")).status, 200);
    assert_eq!(world.token(&passport(OLD_ID, "planted-old-secret")).status, 401);
}

#[test]
fn another_identity_and_what_is_sealed_to_it_need_no_restart() {
    let (mut world, _) = keyed();
    world.change_clients(&[sealed(&seal(&world, "planted-first", &[]))]);
    world.begin();
    world.login();
    assert_eq!(world.realm.last().field("client_secret").as_deref(), Some("planted-first"));
    keygen(&world, "age.key");
    assert!(world.running().reload().is_err(), "what is sealed to the old one does not open");
    world.login();
    assert_eq!(world.realm.last().field("client_secret").as_deref(), Some("planted-first"), "the last good table");
    world.change_clients(&[sealed(&seal(&world, "planted-second", &[]))]);
    world.running().reload().unwrap();
    world.login();
    assert_eq!(world.realm.last().field("client_secret").as_deref(), Some("planted-second"));
}

#[test]
fn two_identities_in_one_file_open_what_is_sealed_to_either() {
    let (mut world, first) = keyed();
    let second = keygen(&world, "other.key");
    let keys = ["age.key", "other.key"].map(|name| fs::read_to_string(world.path().join(name)).unwrap());
    fs::write(world.path().join("age.key"), keys.concat()).unwrap();
    for recipient in [first, second] {
        world.change_clients(&[sealed(&seal(&world, "planted-typed", &["--recipient", &recipient]))]);
        check(&world).fine();
    }
}

#[test]
fn what_does_not_open_is_told_by_its_kind_and_never_shown() {
    let (mut world, _) = keyed();
    let text = seal(&world, "planted-typed", &[]);
    let other = keygen(&world, "other.key");
    let foreign = seal(&world, "planted-typed", &["--recipient", &other]);
    let empty = seal(&world, "x", &[]).replace('=', "");
    let damaged = format!("{}AAAA{}", &text[..text.len() - 20], &text[text.len() - 16..]);
    for (text, code) in [
        (foreign.as_str(), "sealed-to-another"),
        (&damaged, "malformed-seal"),
        (&empty[..empty.len() - 3], "malformed-seal"),
        ("planted-in-clear", "malformed-seal"),
        ("", "malformed-seal"),
    ] {
        world.change_clients(&[sealed(text)]);
        let said = check(&world);
        assert_eq!((said.status, code_of(&said)), (1, vec![code.to_owned()]), "{said:?}");
        assert!(text.is_empty() || !said.out.contains(text), "{said:?}");
        let human = run(&world, &["check"], "");
        assert!(text.is_empty() || !human.out.contains(text), "{human:?}");
    }
    world.change_clients(&[client(OLD_ID, "client_secret = { sealed = \"AAAA\", env = \"NEW_SECRET\" }")]);
    assert_eq!(code_of(&check(&world)), ["bad-value"]);
}

#[test]
fn without_a_good_identity_it_is_said_once_what_is_missing() {
    let (mut world, _) = keyed();
    let text = seal(&world, "planted-typed", &[]);
    world.change_clients(&[sealed(&text)]);
    for (key, code) in [("# nothing\n", "malformed-identity"), ("planted-no-key\n", "malformed-identity")] {
        fs::write(world.path().join("age.key"), key).unwrap();
        let said = check(&world);
        assert_eq!(code_of(&said), [code], "{said:?}");
        assert!(!said.out.contains("planted-no-key"), "{said:?}");
    }
    fs::remove_file(world.path().join("age.key")).unwrap();
    assert_eq!(code_of(&check(&world)), ["unreadable-secret"]);
    let mut bare = Plan::new().files();
    bare.change_clients(&[sealed(&text)]);
    let said = check(&bare);
    assert_eq!((code_of(&said), said.status), (vec!["no-identity".to_owned()], 1));
    assert!(said.out.contains("[secrets] identity"), "{said:?}");
    run(&bare, &["secret", "seal"], "planted-typed").refused(2, "hint: [secrets] identity");
    run(&bare, &["secret", "seal", "--recipient", "age1nonsense"], "planted-typed").refused(2, "no public key of age");
    // As if it were the public key: what opens all that is sealed.
    keygen(&bare, "mine.key");
    let file = fs::read_to_string(bare.path().join("mine.key")).unwrap();
    let said = run(&bare, &["secret", "seal", "--recipient", file.lines().last().unwrap()], "planted-typed");
    said.refused(2, "no public key of age");
    assert!(!said.err.contains("AGE-SECRET-KEY-1"), "{said:?}");
    run(&bare, &["secret", "seal", "planted"], "").refused(2, "the secret comes on standard input");
}

#[test]
fn the_ops_token_may_be_sealed_too() {
    let (mut world, _) = keyed();
    let text = seal(&world, "planted-typed", &[]);
    world.change("ops", "token", &format!("{{ sealed = \"{text}\" }}"));
    world.begin();
    let shown = run(&world, &["client", "show", OLD_ID], "").fine();
    assert!(shown.out.contains("not used since"), "{shown:?}");
}

#[test]
fn a_second_secret_of_the_realm_is_typed_and_kept_sealed() {
    let (mut world, _) = keyed();
    world.begin();
    run(&world, &["client", "secret", OLD_ID, "add", "--new"], "planted-typed\n").fine();
    let file = fs::read_to_string(world.path().join("mappings/clients/all.toml")).unwrap();
    assert!(file.contains("client_secret = [{ env = \"NEW_SECRET\" }, { sealed = \""), "{file}");
    run(&world, &["client", "secret", OLD_ID, "promote", "--new"], "").fine();
    world.login();
    assert_eq!(world.realm.last().field("client_secret").as_deref(), Some("planted-typed"));
    let text = format!("sealed:{}", seal(&world, "planted-typed3", &[]));
    run(&world, &["client", "add", "third", "--client-id", "x", "--client-secret", &text], "planted-typed").fine();
    assert_eq!(world.token(&passport("third", "planted-typed")).status, 200);
    assert_eq!(world.realm.last().field("client_secret").as_deref(), Some("planted-typed3"));
}

#[test]
fn an_import_seals_new_secrets_that_are_in_clear() {
    let (mut world, _) = keyed();
    let table = world.path().join("table.csv");
    let rows = "legacy_id,legacy_secret,client_id,client_secret,stage\n\
                one,planted-typed1,new_one,planted-typed2,live\ntwo,planted-typed3,new_two,env:NEW_SECRET,live\n";
    fs::write(&table, rows).unwrap();
    world.begin();
    let import =
        |more: &[&str]| run(&world, &[&["client", "import", table.to_str().unwrap()], more].concat(), "").fine();
    import(&[]);
    let path = world.path().join("mappings/clients/imported.toml");
    assert!(!path.exists());
    import(&["--write"]);
    let file = fs::read_to_string(&path).unwrap();
    assert!(file.contains("client_secret = { sealed = \"") && !file.contains("planted"), "{file}");
    assert_eq!(world.token(&passport("one", "planted-typed1")).status, 200);
    assert_eq!(world.realm.last().field("client_secret").as_deref(), Some("planted-typed2"));
}
