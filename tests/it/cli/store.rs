//! `passbridge store`: the running bridge's store is copied, and the copy is a store.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use passbridge::domain::family::{AccessFate, Ending, Family, FamilyId};
use passbridge::domain::opaque::{OpaqueToken, TokenUse};
use passbridge::domain::seal::Sealed;
use passbridge::domain::time::{Clock, Timestamp};
use passbridge::server::SystemClock;
use passbridge::store::{Change, Memo, PendingRevocation, TokenStore, Version};

use super::said::run_with;
use super::{out, run, talk};
use crate::store::damage::{flip_access, large_login, spoil_access};
use crate::store::world::{Login, Seeded, block_on, embedded};
use crate::support::{OLD_ID, OLD_SECRET, Plan, World, eventually};

const BACKUP: &str = "/api/v1/store/backup";

/// A bridge whose ops listener the program can find; its ops token is the old secret of the environment.
fn world() -> World {
    let mut world = Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }").start();
    let ops = world.running().addresses().ops;
    world.change("listen", "ops", &format!("\"{ops}\""));
    world
}

/// Status and body. HTTP/1.0, as the body is as long as the connection lives.
fn asked(world: &World, token: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(world.running().addresses().ops).unwrap();
    let length = body.len();
    let head = format!("POST {BACKUP} HTTP/1.0\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn every_uuid_that_was_handed_out_before_a_backup_lives_in_a_bridge_that_starts_on_it() {
    let mut world = world();
    let logins: Vec<_> = (0..5).map(|_| world.login()).collect();
    let backup = run(&world, &["store", "backup", "copies/today"], "");
    assert_eq!((backup.status.code(), out(&backup).as_str()), (Some(0), ""), "{}", talk(&backup));
    assert!(talk(&backup).contains("records") && talk(&backup).contains("copies/today"), "{}", talk(&backup));
    let after = world.login().text("access_token");
    eventually_logged(&world);
    world.change("store", "path", "\"copies/today\"");
    world.restart();
    for login in &logins {
        assert!(world.active(&login.text("access_token")));
        let refresh = login.text("refresh_token");
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", OLD_ID),
            ("client_secret", OLD_SECRET),
            ("refresh_token", &refresh),
        ];
        assert_eq!(world.token(&fields).status, 200);
    }
    assert!(!world.active(&after), "of what came after it a backup knows nothing");
}

fn eventually_logged(world: &World) {
    eventually("the backup is told in the log", || !world.log("\"event\":\"backed_up\"").is_empty());
}

#[test]
fn a_backup_with_a_damaged_record_in_it_is_made_and_did_not_go_well() {
    let mut world = world();
    let access = OpaqueToken::parse(&world.login().text("access_token")).unwrap().fingerprint(TokenUse::Access);
    world.end();
    spoil_access(&world.store(), &access);
    eventually("it starts", || world.try_begin().is_ok());
    world.change("listen", "ops", &format!("\"{}\"", world.running().addresses().ops));
    let backup = run(&world, &["store", "backup", "copies/today"], "");
    assert_eq!(backup.status.code(), Some(1), "{}", talk(&backup));
    assert!(talk(&backup).contains("1 of them are damaged, and were copied as they are"), "{}", talk(&backup));
    world.change("store", "path", "\"copies/today\"");
    world.restart();
}

#[test]
fn a_backup_that_cannot_be_is_told_with_what_to_do() {
    let world = world();
    let into_the_store = run(&world, &["store", "backup", "data"], "");
    assert_eq!(into_the_store.status.code(), Some(1));
    assert!(
        talk(&into_the_store).contains("name a directory that is empty or not there yet"),
        "{}",
        talk(&into_the_store)
    );
    // By these names they would mean something to the next start.
    for own in
        ["data/engine/keyspaces/x", "mappings/clients/zz.toml", "data/../data/audit/000000000002-2026-12-01.jsonl"]
    {
        let refused = run(&world, &["store", "backup", own], "");
        let told = talk(&refused);
        assert!(
            refused.status.code() == Some(1) && told.contains("is where the bridge keeps files of its own"),
            "{told}"
        );
        assert!(!world.path().join(own).exists(), "{own}");
    }
    let around = run(&world, &["store", "backup", "not-there/../data/engine/x"], "");
    assert!(around.status.code() == Some(1) && !world.path().join("not-there").exists(), "{}", talk(&around));
    let nowhere = run(&world, &["store", "backup", "/proc/nowhere"], "");
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(talk(&nowhere).contains("the token store cannot open /proc/nowhere"), "{}", talk(&nowhere));
    let mut unnamed = std::process::Command::new(env!("CARGO_BIN_EXE_passbridge"));
    unnamed.current_dir(world.path()).env_clear().env("OLD_SECRET", OLD_SECRET).env("NEW_SECRET", "planted-new-secret");
    let unnamed = unnamed.args(["store", "backup"]).arg(OsStr::from_bytes(b"\xff/x")).output().unwrap();
    assert_eq!(unnamed.status.code(), Some(2), "{}", talk(&unnamed));
    assert!(talk(&unnamed).contains("the directory's name is not UTF-8\n  hint: "), "{}", talk(&unnamed));
    assert_eq!(run(&world, &["store", "backup"], "").status.code(), Some(2));
    let help = out(&run(&world, &["store", "--help"], ""));
    assert!(
        help.contains("backup") && help.contains("copy") && help.contains("to restore it, stop the bridge"),
        "{help}"
    );
}

#[test]
fn a_backup_is_for_whoever_shows_the_ops_token() {
    let world = world();
    let copy = world.path().join("copy");
    let body = serde_json::json!({ "directory": copy }).to_string();
    assert_eq!(asked(&world, "a-guess", &body).0, 401);
    assert_eq!(asked(&world, "", &body).0, 401);
    assert!(!copy.exists());
    assert_eq!(asked(&world, OLD_SECRET, "{\"directory\": \"copy\"}").0, 400, "relative to what?");
    assert_eq!(asked(&world, OLD_SECRET, "{}").0, 400);
    let (status, told) = asked(&world, OLD_SECRET, &body);
    assert_eq!(status, 200);
    assert!(told.lines().last().unwrap().starts_with("{\"done\":"), "{told}");
    assert_eq!(asked(&world, OLD_SECRET, &body).0, 409);
}

#[test]
fn a_store_that_is_not_there_is_not_copied_and_not_made() {
    let mut world = Plan::new().files();
    let to = world.path().join("to.toml");
    std::fs::copy(world.config(), &to).unwrap();
    world.change("store", "path", "\"dtaa\"");
    let copied = run(&world, &["store", "copy", "--to", "to.toml"], "");
    assert_eq!(copied.status.code(), Some(2), "{}", talk(&copied));
    assert!(talk(&copied).contains("there is no token store in dtaa\n  hint: "), "{}", talk(&copied));
    for path in ["dtaa", "data"] {
        assert!(!world.path().join(path).exists(), "{path}");
    }
}

#[test]
fn one_store_by_two_paths_is_one_and_a_variable_that_makes_two_one_is_named() {
    let mut world = Plan::new().start();
    world.end();
    std::os::unix::fs::symlink("data", world.path().join("link")).unwrap();
    for path in ["./data", "link"] {
        world.change("store", "path", &format!("\"{path}\""));
        std::fs::copy(world.config(), world.path().join("to.toml")).unwrap();
        world.change("store", "path", "\"data\"");
        let copied = run(&world, &["store", "copy", "--to", "to.toml"], "");
        assert_eq!(copied.status.code(), Some(2), "{path}: {}", talk(&copied));
        let words = "both configurations name one store\n  hint: --to names";
        assert!(talk(&copied).contains(words), "{path}: {}", talk(&copied));
    }
    world.change("store", "path", "\"other\"");
    let (to, variable) = (world.path().join("to.toml"), "PASSBRIDGE__STORE__PATH");
    let copied = run_with(&world, &["store", "copy", "--to", to.to_str().unwrap()], &[(variable, "data")]);
    copied.refused(2, "both configurations name one store\n  hint: $PASSBRIDGE__STORE__PATH says so for both of them");
}

#[test]
fn a_record_that_is_damaged_stays_behind_when_all_others_are_copied_and_is_told() {
    let mut world = Plan::new().files();
    std::fs::copy(world.config(), world.path().join("to.toml")).unwrap();
    world.change("store", "path", "\"damaged\"");
    let directory = world.path().join("damaged");
    let clock = Arc::new(SystemClock::new());
    let now = clock.now();
    let store = TokenStore::open(&embedded(&directory), clock).unwrap();
    let logins: Vec<Login> = (0..2).map(|seed| large_login(&Seeded::new(seed), now, OLD_ID)).collect();
    for login in &logins {
        block_on(store.put(login.new.clone())).unwrap();
    }
    block_on(store.close());
    drop(store);
    flip_access(&directory, &logins[0].access);
    let copied = run(&world, &["store", "copy", "--to", "to.toml"], "");
    assert_eq!(copied.status.code(), Some(1), "{}", talk(&copied));
    let said = talk(&copied);
    assert!(said.contains("2 logins copied") && said.contains("1 record cannot be read, and stayed behind"), "{said}");
}

#[test]
fn a_copy_that_leaves_every_login_behind_as_forgotten_did_not_go_well_and_asks_for_the_clock() {
    let mut world = Plan::new().files();
    std::fs::copy(world.config(), world.path().join("to.toml")).unwrap();
    world.change("store", "path", "\"old\"");
    let clock = Arc::new(SystemClock::new());
    let long_ago = clock.now().minus(Duration::from_hours(24));
    let store = TokenStore::open(&embedded(&world.path().join("old")), clock).unwrap();
    block_on(store.put(large_login(&Seeded::new(0), long_ago, OLD_ID).new)).unwrap();
    block_on(store.close());
    drop(store);
    let copied = run(&world, &["store", "copy", "--to", "to.toml"], "");
    assert_eq!(copied.status.code(), Some(1), "{}", talk(&copied));
    let words = "1 logins are forgotten by now, and were left behind: all that there are\n  hint: is this machine's clock right? It says 20";
    assert!(talk(&copied).contains(words), "{}", talk(&copied));
}

#[test]
fn a_login_that_has_gone_on_where_it_was_copied_to_is_left_as_it_is() {
    let mut world = Plan::new().files();
    std::fs::copy(world.config(), world.path().join("to.toml")).unwrap();
    world.change("store", "path", "\"stale\"");
    let now = SystemClock::new().now();
    let logins: Vec<Login> = (0..3).map(|seed| large_login(&Seeded::new(seed), now, OLD_ID)).collect();
    let [revoked, refreshed, untouched] = logins.as_slice() else { panic!("three of them") };
    let open =
        |name: &str| TokenStore::open(&embedded(&world.path().join(name)), Arc::new(SystemClock::new())).unwrap();
    let closed = |store: TokenStore| block_on(store.close());
    let stale = open("stale");
    for login in &logins {
        block_on(stale.put(login.new.clone())).unwrap();
    }
    closed(stale);
    let first = run(&world, &["store", "copy", "--to", "to.toml"], "");
    assert!(talk(&first).contains("3 logins copied"), "{}", talk(&first));
    let newest = Family { generation: 1, ..refreshed.new.family.clone() };
    let there = open("data");
    block_on(there.end(revoked.id(), Ending::Revoked)).unwrap();
    block_on(there.commit(Change::of(Version(1), newest.clone()))).unwrap();
    closed(there);
    let again = run(&world, &["store", "copy", "--to", "to.toml"], "");
    assert_eq!(again.status.code(), Some(0), "{}", talk(&again));
    let said = talk(&again);
    assert!(said.contains("1 logins copied") && said.contains("2 logins have gone on there"), "{said}");
    let there = open("data");
    let record = block_on(there.access(&revoked.access)).unwrap().unwrap();
    assert_eq!(record.fate, AccessFate::Over(Ending::Revoked));
    assert_eq!(block_on(there.family(refreshed.id())).unwrap().unwrap().value, newest);
    assert_eq!(block_on(there.family(untouched.id())).unwrap().unwrap().value, untouched.new.family);
}

#[test]
fn what_is_remembered_of_a_client_where_it_is_copied_to_stays_and_learned_secrets_come_beside_it() {
    let mut world = Plan::new().files();
    std::fs::copy(world.config(), world.path().join("to.toml")).unwrap();
    world.change("store", "path", "\"stale\"");
    let list = |hashes: &[&str]| postcard::to_stdvec(hashes).unwrap();
    let fill = |name: &str, memos: &[(&str, Vec<u8>)]| {
        let store = TokenStore::open(&embedded(&world.path().join(name)), Arc::new(SystemClock::new())).unwrap();
        for (name, value) in memos {
            block_on(store.memo_put(&Memo { name: (*name).to_owned(), value: value.clone() })).unwrap();
        }
        block_on(store.close());
    };
    let both = ("learned/both", list(&["first", "only here"]));
    fill("stale", &[both, ("learned/new", list(&["a"])), ("shadow/both", vec![1]), ("shadow/new", vec![3])]);
    fill("data", &[("learned/both", list(&["second", "first"])), ("shadow/both", vec![2])]);
    for _ in 0..2 {
        let copied = run(&world, &["store", "copy", "--to", "to.toml"], "");
        assert_eq!(copied.status.code(), Some(0), "{}", talk(&copied));
        let left = "1 record of how clients fare, or what was learned of their secrets, is another there, and was left";
        assert!(talk(&copied).contains(left), "{}", talk(&copied));
        let there = TokenStore::open(&embedded(&world.path().join("data")), Arc::new(SystemClock::new())).unwrap();
        let memo = |name: &str| block_on(there.memo(name)).unwrap().unwrap();
        assert_eq!(memo("learned/both"), list(&["second", "first", "only here"]));
        assert_eq!((memo("learned/new"), memo("shadow/both"), memo("shadow/new")), (list(&["a"]), vec![2], vec![3]));
        block_on(there.close());
    }
}

#[test]
fn the_configuration_to_copy_to_is_named_where_it_is_refused() {
    let world = Plan::new().files();
    let copied = run(&world, &["store", "copy", "--to", "nowhere.toml"], "");
    assert_eq!(copied.status.code(), Some(2));
    let said = talk(&copied);
    assert!(said.contains("nowhere.toml") && said.contains("--to FILE") && !said.contains("--config FILE"), "{said}");
}

#[test]
fn what_the_realm_must_still_be_told_is_copied() {
    let mut world = Plan::new().files();
    std::fs::copy(world.config(), world.path().join("to.toml")).unwrap();
    world.change("store", "path", "\"old\"");
    let clock = Arc::new(SystemClock::new());
    let open = |name: &str| TokenStore::open(&embedded(&world.path().join(name)), clock.clone()).unwrap();
    let word = PendingRevocation {
        family: FamilyId([1; 16]),
        client: OLD_ID.to_owned(),
        sealed: Sealed::from_bytes(vec![1; 40]),
        until: Timestamp::NEVER,
    };
    let old = open("old");
    block_on(old.outbox_put(&word)).unwrap();
    block_on(old.close());
    let copied = run(&world, &["store", "copy", "--to", "to.toml"], "");
    assert_eq!(copied.status.code(), Some(0), "{}", talk(&copied));
    assert_eq!(block_on(open("data").outbox()).unwrap().records, [word], "{}", talk(&copied));
}
