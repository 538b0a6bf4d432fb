//! Where what is said goes to: pipes that somebody closes, disks that are full.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use crate::support::{OLD_ID, OLD_SECRET, Plan, World, client};

/// Commands that print, and their answers.
const PRINTING: [(&[&str], i32); 9] = [
    (&["check"], 1),
    (&["check", "--format", "json"], 1),
    (&["client", "list"], 0),
    (&["client", "list", "--format", "json"], 0),
    (&["client", "show", OLD_ID], 0),
    (&["client", "import", "more.csv"], 1),
    (&["completions", "bash"], 0),
    (&["man"], 0),
    (&["secret", "keygen"], 0),
];

/// A site with a fault, so that `check` has something to print.
fn site() -> World {
    let world = Plan::new().client(&client("second", "stage = \"nowhere\"")).files();
    std::fs::write(world.path().join("more.csv"), "legacy_id,legacy_secret,client_id,client_secret\na,,,\n").unwrap();
    world
}

fn run(world: &World, arguments: &[&str], out: Stdio, talk: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_passbridge"));
    command.current_dir(world.path()).args(arguments).env_clear();
    command.env("OLD_SECRET", OLD_SECRET).env("NEW_SECRET", OLD_SECRET);
    command.stdin(Stdio::null()).stdout(out).stderr(talk).spawn().unwrap().wait_with_output().unwrap()
}

/// A pipe whose reader has seen enough.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    File::create("/dev/full").unwrap().into()
}

#[test]
fn whoever_closes_the_pipe_has_seen_enough_and_the_answer_stays() {
    let world = site();
    for (command, answer) in PRINTING {
        let ended = run(&world, command, closed(), Stdio::piped());
        let talk = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(answer), "{command:?}: {talk}");
        assert!(!talk.contains("pipe") && !talk.contains("panicked"), "{command:?}: {talk}");
    }
}

#[test]
fn what_cannot_be_printed_is_told_and_no_answer() {
    let world = site();
    for (command, _) in PRINTING {
        let ended = run(&world, command, full(), Stdio::piped());
        let talk = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{command:?}: {talk}");
        assert!(talk.contains("standard output cannot be written: No space left on device\n"), "{command:?}: {talk}");
    }
}

#[test]
fn what_meets_a_limit_on_the_size_of_files_is_told_and_no_answer() {
    let world = site();
    for (arguments, _) in PRINTING {
        let mut command = Command::new("/bin/bash");
        command.args(["-c", "ulimit -f 0; exec \"$@\"", "limited", env!("CARGO_BIN_EXE_passbridge")]);
        command.current_dir(world.path()).args(arguments).env("OLD_SECRET", OLD_SECRET).env("NEW_SECRET", OLD_SECRET);
        let ended = command.stdout(File::create(world.path().join("printed")).unwrap()).output().unwrap();
        let talk = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {talk}");
        assert!(talk.contains("standard output cannot be written: File too large\n"), "{arguments:?}: {talk}");
    }
}

#[test]
fn a_command_that_nobody_hears_does_its_work_all_the_same() {
    let world = site();
    for (command, answer) in PRINTING {
        for nobody in [full(), closed()] {
            let ended = run(&world, command, Stdio::piped(), nobody);
            assert_eq!(ended.status.code(), Some(answer), "{command:?}");
            assert!(!ended.stdout.is_empty(), "{command:?}");
        }
    }
}

#[test]
fn an_import_that_was_written_and_cannot_be_printed_is_not_told_as_one_that_was_not() {
    let world = Plan::new().set("listen", "ops", "\"127.0.0.1:1\"").files();
    let table = "legacy_id,legacy_secret,client_id,client_secret\na,env:OLD_SECRET,b,env:NEW_SECRET\n";
    std::fs::write(world.path().join("more.csv"), table).unwrap();
    let import = ["client", "import", "more.csv", "--stage", "live", "--write"];
    let ended = run(&world, &import, full(), Stdio::piped());
    let talk = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{talk}");
    assert!(talk.contains("standard output cannot be written") && talk.contains("are added all the same"), "{talk}");
    assert!(world.path().join("mappings/clients/imported.toml").exists());
}
