//! `passbridge client` while others change the same files, and while the bridge is slow.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::thread;

use super::client::{ODD, all, file, is_open_elsewhere, odd, said_at};
use super::said::{Said, run};
use crate::support::{OLD_ID, World, eventually};

/// At the ops address, in the place of a bridge.
struct Ops(TcpListener);

impl Ops {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn said(&self, world: &World, arguments: &[&str]) -> Said {
        let address = self.0.local_addr().unwrap().to_string();
        said_at(world, arguments, &[("PASSBRIDGE__LISTEN__OPS", address.as_str())])
    }

    /// Somebody who has asked, and waits.
    fn asker(&self) -> TcpStream {
        let (mut asker, _) = self.0.accept().unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            asker.read_exact(&mut byte).unwrap();
            asked.extend(byte);
        }
        asker
    }
}

fn tell(mut asker: TcpStream, generation: u64, digest: &str) {
    let mappings = serde_json::json!({ "generation": generation, "digest": digest, "refused": [] });
    let body = serde_json::json!({ "mappings": mappings });
    asker.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{body}").as_bytes()).unwrap();
}

/// What a bridge has that reads the files now.
fn digest(world: &World) -> String {
    passbridge::mapping::digest(&passbridge::mapping::Place::new(world.path().join("mappings")))
}

#[test]
fn a_change_is_in_use_once_the_bridge_has_read_the_files_since_whatever_others_have_written_there() {
    let (world, ops) = (odd(), Ops::new());
    let stage = |stage| ["client", "stage", OLD_ID, stage, "--why", "a test"];
    thread::scope(|scope| {
        let waiting = scope.spawn(|| ops.said(&world, &stage("retired")));
        // Somebody changes another file after each load.
        (7..=9).for_each(|generation| tell(ops.asker(), generation, &format!("of load {generation}")));
        let said = waiting.join().unwrap().fine();
        assert!(said.err.contains("has it, as generation 9"), "{said:?}");
        // The next one may have been under way.
        let waiting = scope.spawn(|| ops.said(&world, &stage("live")));
        (9..=10).for_each(|generation| tell(ops.asker(), generation, &format!("of load {generation}")));
        drop(ops.asker());
        waiting.join().unwrap().refused(1, "it is not known whether the bridge at ");
    });
}

#[test]
fn nobody_waits_for_the_files_while_a_command_waits_for_the_bridge() {
    let (world, ops) = (odd(), Ops::new());
    let back = ["client", "stage", OLD_ID, "retired", "--why", "at once"];
    thread::scope(|scope| {
        let promoting = scope.spawn(|| ops.said(&world, &["client", "secret", "second", "promote"]));
        let asker = ops.asker();
        assert!(!is_open_elsewhere(&file(&world, ".passbridge.lock")));
        run(&world, &back, "").fine();
        tell(asker, 7, &digest(&world));
        let asker = ops.asker();
        tell(asker, 8, &digest(&world));
        promoting.join().unwrap().fine();
    });
    let text = all(&world);
    assert!(text.contains("stage = \"retired\"") && text.find("{ env = \"NEW_SECRET\" },") < text.rfind("OLD_SECRET"));
}

#[test]
fn secrets_that_somebody_else_has_changed_while_the_bridge_was_asked_about_them_are_left_as_they_are() {
    let (world, ops) = (odd(), Ops::new());
    let secret = |action| ["client", "secret", "second", action];
    thread::scope(|scope| {
        let retiring = scope.spawn(|| ops.said(&world, &secret("retire")));
        let asker = ops.asker();
        run(&world, &secret("promote"), "").fine();
        let before = all(&world);
        assert_ne!(before, ODD);
        tell(asker, 7, &digest(&world));
        retiring.join().unwrap().refused(1, "these secrets were changed by somebody else meanwhile\n  hint: run the");
        assert_eq!(all(&world), before);
    });
}

#[test]
fn whoever_changes_the_same_file_in_another_mapping_is_waited_for() {
    let (world, other) = (odd(), odd());
    let shared = file(&other, "all.toml").canonicalize().unwrap();
    fs::remove_file(file(&world, "all.toml")).unwrap();
    symlink(&shared, file(&world, "all.toml")).unwrap();
    let directory = shared.parent().unwrap();
    let held = File::open(directory).unwrap();
    held.lock().unwrap();
    thread::scope(|scope| {
        let change = |world, id| run(world, &["client", "stage", id, "retired", "--why", "a test"], "");
        let waiting = [(&world, OLD_ID), (&other, "second")].map(|(world, id)| scope.spawn(move || change(world, id)));
        for world in [&world, &other] {
            eventually("it waits", || is_open_elsewhere(&file(world, ".passbridge.lock")));
        }
        eventually("it waits for the other one", || is_open_elsewhere(directory));
        // As long as others take, from their birth on, that read and check the same.
        for _ in 0..3 {
            run(&world, &["check"], "").fine();
        }
        assert_eq!(all(&other), ODD);
        held.unlock().unwrap();
        for waiting in waiting {
            waiting.join().unwrap().fine();
        }
    });
    assert_eq!(all(&other).matches("stage = \"retired\"").count(), 2);
}
