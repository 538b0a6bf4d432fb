//! The real program on a disk that does not say what it has kept: every sync of its files fails, and all else goes well. What was answered without one
//! is lost at a power cut.

use std::fs;
use std::process::Command;

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

#[test]
fn the_audits_directory_is_on_the_disk_where_it_is_entered_before_anybody_is_served() {
    let world = Plan::new().files();
    let calls = world.path().join("calls");
    let mut traced = Command::new("strace");
    traced.args(["-D", "-f", "-y", "-e", "trace=mkdir,mkdirat,fsync", "-o"]).arg(&calls);
    traced.arg(env!("CARGO_BIN_EXE_passbridge"));
    let _program = Program::serve_by(&world, traced);
    let calls = fs::read_to_string(&calls).unwrap();
    let (_, behind) = calls.split_once(&format!("\"{}/audit\"", world.store().display())).expect("it is made");
    assert!(behind.contains(&format!("<{}>) ", world.store().display())), "{calls}");
}
