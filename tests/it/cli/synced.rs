//! The real program on a disk that does not say to keep one file, or what one directory holds: that sync fails, and all else goes well. Nothing is called
//! done that a power cut would take.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use passbridge::server::SystemClock;
use passbridge::store::TokenStore;
use passbridge::telemetry::audit::files;

use super::client::{all, said_at};
use super::said::Said;
use crate::store::world::{block_on, embedded};
use crate::support::meanwhile::Meanwhile;
use crate::support::program::{Program, bare};
use crate::support::{
    Connection, FakeOld, NEW_SECRET, OLD_ID, OLD_SECRET, Plan, TOKEN, World, client, eventually, passport, post,
};

const OPS: &str = "PASSBRIDGE__LISTEN__OPS";
const NO_DISK: &str = "Input/output error";

/// The program, where this cannot be synced.
fn unsynced(path: &Path, more: &[&str]) -> Command {
    let mut traced = Command::new("strace");
    traced.args(more).args(["-f", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO", "-P"]);
    traced.arg(path).arg(env!("CARGO_BIN_EXE_passbridge"));
    traced
}

/// The same as it serves: our child, whose own `strace` is.
fn served(world: &World, path: &Path) -> Program {
    Program::serve_by(world, unsynced(path, &["-D"]))
}

/// What a command says where this of a world's files cannot be synced.
fn said(world: &World, path: &str, arguments: &[&str]) -> Said {
    said_beside("127.0.0.1:1", world, path, arguments)
}

/// The same beside a bridge.
fn said_beside(ops: &str, world: &World, path: &str, arguments: &[&str]) -> Said {
    let mut command = unsynced(&world.path().join(path), &[]);
    bare(&mut command).env("PATH", "/usr/bin:/bin");
    command.env("OLD_SECRET", OLD_SECRET).env("NEW_SECRET", NEW_SECRET).env(OPS, ops);
    let output = command.arg("--config").arg(world.config()).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { status: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_change_of_a_client_that_the_disk_does_not_keep_is_none_and_one_that_it_may_lose_is_told() {
    let world = Plan::new().files();
    let before = all(&world);
    let stage = ["client", "stage", OLD_ID, "retired", "--why", "it is gone"];
    said(&world, "mappings/clients/.all.toml.new", &stage).refused(1, &format!("cannot be written: {NO_DISK}"));
    assert_eq!(all(&world), before);
    let told = said(&world, "mappings/clients", &stage).fine();
    assert!(told.err.contains(&format!("may be gone after a power cut: {NO_DISK}")), "{told:?}");
    assert_ne!(all(&world), before);
}

#[test]
fn what_was_learned_is_not_forgotten_where_the_file_that_has_it_may_be_gone_after_a_power_cut() {
    let old = FakeOld::start();
    let learns = client(OLD_ID, "stage = \"legacy\"\nlegacy_secret = { learn = true }");
    let plan = Plan::new().without_clients().client(&learns).set("otk", "url", &format!("\"{}\"", old.url()));
    let mut world = plan.set("ops", "token", "{ env = \"NEW_SECRET\" }").files();
    let program = Program::serve(&world);
    let ops = program.ops.to_string();
    let command = ["client", "secret", OLD_ID, "write-learned"];
    let write = |world: &World, unsynced: &str| said_beside(&ops, world, unsynced, &command);
    eventually("it is learned", || {
        assert_eq!(Connection::open(program.legacy).ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))).status, 200);
        program.told("/metrics").body.contains("passbridge_secrets_learned_total{client=")
    });
    let kept = || {
        let body = format!("{{\"client\":\"{OLD_ID}\"}}");
        let head = format!(
            "Authorization: Bearer {NEW_SECRET}\r\nContent-Type: application/json\r\nContent-Length: {}",
            body.len()
        );
        let request = format!("POST /api/v1/clients/learned HTTP/1.1\r\nHost: ops\r\n{head}\r\n\r\n{body}");
        Connection::open(program.ops).ask(request.as_bytes()).json("hashes").as_array().map(Vec::len)
    };
    assert_eq!(kept(), Some(1));
    // Said again where it is no better, it is no better.
    for told in ["has what was learned written down as its old secret", "note: the store still has what was learned: "]
    {
        let said = write(&world, "mappings/clients");
        said.refused(1, told);
        said.refused(1, &format!("may be gone after a power cut: {NO_DISK}\n  hint: said again once that is mended"));
    }
    // The power cut.
    world.change_clients(&[learns]);
    program.signal("HUP");
    eventually("it is as it was", || kept() == Some(1));
    write(&world, "nothing").fine();
    let file = fs::read_to_string(world.path().join("mappings/clients/all.toml")).unwrap();
    assert!(file.contains("$argon2id$") && kept().is_none(), "{file}");
}

#[test]
fn a_store_is_begun_and_gone_on_with_only_where_the_disk_keeps_its_directory() {
    let mut world = Plan::new().files();
    fs::copy(world.config(), world.path().join("to.toml")).unwrap();
    world.change("store", "path", "\"old\"");
    block_on(TokenStore::open(&embedded(&world.store()), Arc::new(SystemClock::new())).unwrap().close());
    let to = world.path().join("to.toml");
    let copy = ["store", "copy", "--to", to.to_str().unwrap()];
    said(&world, "data/format.new", &copy).refused(1, NO_DISK);
    assert!(!world.path().join("data/format").exists());
    said(&world, "nothing", &copy).fine();
    said(&world, "data", &copy).refused(1, NO_DISK);
    said(&world, "data/engine/keyspaces", &copy).refused(1, NO_DISK);
}

#[test]
fn a_backup_that_the_disk_does_not_keep_is_none() {
    let world = Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }").files();
    let copy = world.path().join("copy");
    let program = served(&world, &copy.join("engine/lock"));
    let ops = program.ops.to_string();
    let backup = said_at(&world, &["store", "backup", copy.to_str().unwrap()], &[(OPS, ops.as_str())]);
    backup.refused(1, "the token store cannot write");
    assert!(!copy.join("format").exists() && !copy.join("engine").exists());
}

#[test]
fn a_file_of_the_audit_that_the_disk_does_not_keep_in_its_directory_is_a_want_of_writing() {
    let world = Plan::new().files();
    let program = served(&world, &world.store().join("audit"));
    eventually("it is told", || fails(&program));
    eventually("who logs in is served", || program.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))).status == 200);
}

/// Whether it has told that the audit cannot be written.
fn fails(program: &Program) -> bool {
    program.lines("audit").iter().any(|line| line["outcome"] == "failing")
}

#[test]
fn a_move_of_a_client_is_remembered_as_told_only_once_the_disk_keeps_what_was_told() {
    let mut world = Plan::new().files();
    let program = Program::serve(&world);
    let audit = world.store().join("audit");
    let moves = || fs::read_to_string(audit.join("moves")).unwrap_or_default();
    eventually("the first is remembered, and all before it kept", || moves().contains("\"live\""));
    let file = files(&audit).unwrap().pop().unwrap();
    let script = format!(
        "strace -f -o /dev/null -P '{}' -e trace=fdatasync -e inject=fdatasync:error=EIO -p \"$1\" 2>&1 & cat; kill $!; wait",
        file.display()
    );
    let unsynced = Meanwhile::make(&script, program.id().to_string(), " attached");
    let unsynced = unsynced.expect("strace may look at another process of ours here, or sudo asks for no password");
    world.change_clients(&[client(OLD_ID, "stage = \"retired\"")]);
    program.signal("HUP");
    eventually("it cannot be kept", || fails(&program));
    assert!(moves().contains("\"live\""), "{}", moves());
    drop(unsynced);
    eventually("it is told and kept", || moves().contains("\"retired\""));
}
