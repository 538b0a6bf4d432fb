//! The real program on a disk that does not say what it has kept: every sync of its files fails, and all else goes well. What was answered without one
//! is lost at a power cut.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use super::{out, run};
use crate::support::meanwhile::Meanwhile;
use crate::support::program::Program;
use crate::support::world::REVOKE;
use crate::support::{OLD_ID, OLD_SECRET, Plan, TOKEN, eventually, passport, post};

/// Has the syncs of a program fail: it is traced.
fn unsynced(program: &Program) -> Meanwhile {
    let script = "strace -f -o /dev/null -e trace=fsync,fdatasync -e inject=fsync,fdatasync:error=EIO -p \"$1\" 2>&1 & cat; kill $!; wait";
    let made = Meanwhile::make(script, program.id().to_string(), " attached");
    made.expect("strace may look at another process of ours here, or sudo asks for no password")
}

#[test]
fn no_answer_is_given_that_the_disk_has_not_said_to_keep() {
    let world = Plan::new().files();
    let program = Program::serve(&world);
    let login = || program.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    let first = login();
    assert_eq!(first.status, 200);
    let (kept, refresh) = (first.text("access_token"), first.text("refresh_token"));
    let asking = |path: &str, more: &[(&str, &str)]| {
        program.ask(&post(path, &[&[("client_id", OLD_ID), ("client_secret", OLD_SECRET)], more].concat()))
    };

    let unsynced = unsynced(&program);
    let refused = [
        login(),
        asking(TOKEN, &[("grant_type", "refresh_token"), ("refresh_token", &refresh)]),
        asking(REVOKE, &[("token", &kept)]),
    ];
    for reply in refused {
        assert_eq!(reply.said(), (500, "server_error".to_owned()));
        assert!(!reply.body.contains("_token"), "{}", reply.body);
    }
    drop(unsynced);
    eventually("it takes writes again", || login().status == 200);
}

/// Which files the store's journal and the audit's records are in, and drafts of such: their names and inodes.
fn files(store: &Path) -> [Vec<(String, u64)>; 2] {
    ["engine", "audit"].map(|directory| {
        let files = fs::read_dir(store.join(directory)).unwrap().map(Result::unwrap);
        let named = files.map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().ino()));
        let is_one = |name: &str| [".jnl", ".jsonl", ".new"].iter().any(|end| name.ends_with(end));
        let mut named: Vec<_> = named.filter(|(name, _)| is_one(name)).collect();
        named.sort();
        named
    })
}

#[test]
fn what_may_be_in_memory_alone_behind_a_failed_sync_or_a_kill_is_written_anew() {
    let world = Plan::new().files();
    let mut program = Program::serve(&world);
    let login = |program: &Program| program.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    let audit_is = |program: &Program, word: &str| program.told("/readyz").json("audit") == word;
    assert_eq!(login(&program).status, 200);
    let first = files(&world.store());

    let unsynced = unsynced(&program);
    assert_eq!(login(&program).said(), (500, "server_error".to_owned()));
    eventually("the audit fails, too", || audit_is(&program, "failing"));
    drop(unsynced);
    eventually("it takes writes again", || login(&program).status == 200 && audit_is(&program, "writing"));
    let mended = files(&world.store());

    program.signal("KILL");
    program.ended();
    let mut program = Program::serve(&world);
    assert_eq!(login(&program).status, 200);
    eventually("the audit is at its end", || files(&world.store())[1] != mended[1]);
    let anew = files(&world.store());
    for [before, after] in [[&first, &mended], [&mended, &anew]] {
        for (before, after) in before.iter().zip(after) {
            let (names, inodes): (Vec<_>, Vec<_>) = after.iter().cloned().unzip();
            assert_eq!(names, before.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
            assert!(before.iter().all(|(_, inode)| !inodes.contains(inode)), "{before:?} {after:?}");
        }
    }

    program.signal("TERM");
    assert!(program.ended().success());
    let verified = run(&world, &["audit", "verify"], "");
    assert!(verified.status.success(), "{}", out(&verified));
}

#[test]
fn the_audits_directory_and_the_stores_trees_are_on_the_disk_where_they_are_entered_before_anybody_is_served() {
    let world = Plan::new().files();
    let calls = world.path().join("calls");
    let mut traced = Command::new("strace");
    traced.args(["-D", "-f", "-y", "-e", "trace=mkdir,mkdirat,fsync", "-o"]).arg(&calls);
    traced.arg(env!("CARGO_BIN_EXE_passbridge"));
    let _program = Program::serve_by(&world, traced);
    let calls = fs::read_to_string(&calls).unwrap();
    for (entered, above) in
        [("audit", ""), ("engine/keyspaces/1", "/engine/keyspaces"), ("engine/keyspaces/2", "/engine/keyspaces")]
    {
        let made = format!("\"{}/{entered}\"", world.store().display());
        let (_, behind) = calls.split_once(&made).expect("it is made");
        assert!(behind.contains(&format!("<{}{above}>) ", world.store().display())), "{entered}: {calls}");
    }
}
