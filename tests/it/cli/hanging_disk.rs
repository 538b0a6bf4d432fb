//! The real program on a disk that does not answer: the file by which it tries whether the disk takes bytes again is a pipe that nobody
//! reads, so that the store's writer waits for as long as the test likes; or a file of the audit is one.

use std::fs::{self, File};
use std::io::{copy, sink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use passbridge::telemetry::audit::files;
use tokio::sync::Notify;

use crate::support::program::Program;
use crate::support::world::{INTROSPECT, REVOKE};
use crate::support::{
    Connection, Granting, Mood, OLD_ID, OLD_SECRET, Plan, RawReply, TOKEN, World, eventually, passport, post, within,
};

/// A bridge whose store hangs, and a login that it had kept.
struct Hanging {
    program: Program,
    world: World,
    access: String,
    refresh: String,
    pipe: PathBuf,
}

/// Longer than the disk is waited for, and a test that finds the machine busy is no failure.
const LONG: Duration = Duration::from_secs(30);

impl Hanging {
    fn begin() -> Self {
        Self::begin_behind("off", |_, _, _| {})
    }

    /// The same, where something else is begun before the disk hangs.
    fn begin_behind(rotation: &str, before: impl FnOnce(&Program, &World, &str)) -> Self {
        let rotation = format!("\"{rotation}\"");
        let world = Plan::new().set("realm", "rotation", &rotation).set("server", "drain", "\"1s\"").files();
        let program = Program::serve(&world);
        let reply = program.ask(&login());
        let (access, refresh) = (reply.text("access_token"), reply.text("refresh_token"));
        before(&program, &world, &refresh);
        program.limit("1");
        assert_eq!(program.ask(&login()).status, 500);
        let pipe = world.store().join("probe");
        let _there_is_none = fs::remove_file(&pipe);
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        program.limit("unlimited");
        let hanging = Self { program, world, access, refresh, pipe };
        within(LONG, "the disk is told to hang", || {
            ours(&hanging.program.ask(&login()));
            hanging.told("refusing").iter().any(|line| line["detail"].as_str().unwrap().contains("has not answered"))
        });
        hanging
    }

    /// What the log has told of the store with this outcome.
    fn told(&self, outcome: &str) -> Vec<serde_json::Value> {
        self.program.lines("store").into_iter().filter(|line| line["outcome"] == outcome).collect()
    }

    /// Has the disk answer.
    fn answer(&self) {
        let mut pipe = File::open(&self.pipe).unwrap();
        std::thread::spawn(move || copy(&mut pipe, &mut sink()));
    }

    /// What a metric says.
    fn measured(&self, name: &str) -> u64 {
        let (metrics, name) = (self.program.told("/metrics").body, format!("passbridge_{name} "));
        metrics.lines().find_map(|line| line.strip_prefix(&name)).expect("it is there").parse().unwrap()
    }

    fn asking(&self, path: &str, more: &[(&str, &str)]) -> RawReply {
        let mut fields = vec![("client_id", OLD_ID), ("client_secret", OLD_SECRET)];
        fields.extend(more);
        self.program.ask(&post(path, &fields))
    }

    fn refreshed(&self) -> RawReply {
        self.program.ask(&refreshing(&self.refresh))
    }
}

fn refreshing(uuid: &str) -> Vec<u8> {
    let client = [("client_id", OLD_ID), ("client_secret", OLD_SECRET)];
    post(TOKEN, &[&client[..], &[("grant_type", "refresh_token"), ("refresh_token", uuid)]].concat())
}

fn login() -> Vec<u8> {
    post(TOKEN, &passport(OLD_ID, OLD_SECRET))
}

#[track_caller]
fn ours(reply: &RawReply) {
    assert_eq!(reply.said(), (500, "server_error".to_owned()));
}

#[test]
fn a_disk_that_hangs_is_named_and_nobody_waits_for_it_and_it_is_told_when_it_is_over() {
    let hanging = Hanging::begin();
    let (program, world) = (&hanging.program, &hanging.world);
    let asked = world.realm.count();
    let begun = Instant::now();
    ours(&program.ask(&login()));
    ours(&hanging.refreshed());
    assert!(begun.elapsed() < Duration::from_secs(4), "neither is tried");
    assert_eq!(world.realm.count(), asked, "and the realm hears of neither");
    ours(&hanging.asking(REVOKE, &[("token", &hanging.access)]));
    assert_eq!(hanging.asking(INTROSPECT, &[("token", &hanging.access)]).json("active"), true, "it is read");
    assert_eq!(program.told("/readyz").json("store"), "refusing");
    assert_eq!(program.told("/healthz").status, 200);
    assert_eq!(hanging.measured("store_writable"), 0);
    assert!(hanging.measured("store_writes_total{outcome=\"failed\"}") > 0);
    let blames = |line: &serde_json::Value| line["outcome"] == "server_error" && line["fault"] != "ourselves";
    assert!(!program.lines("request").iter().any(blames), "{}", program.log());
    let named = format!("the disk below {} has not answered for", world.store().display());
    let last = program.lines("request").into_iter().rfind(|line| line["outcome"] == "server_error").unwrap();
    assert!(last["detail"].as_str().unwrap().contains(&named), "{last}");

    hanging.answer();
    within(LONG, "it takes writes again", || program.ask(&login()).status == 200);
    eventually("that is told", || hanging.told("recovered").len() == 1);
    assert_eq!(program.told("/readyz").json("store"), "writable");
    assert_eq!(hanging.measured("store_writable"), 1);
    assert_eq!(hanging.refreshed().status, 200, "nothing of it was spent");
}

#[test]
fn a_refresh_that_is_under_way_when_the_disk_hangs_is_answered_and_its_pair_is_kept_once_the_disk_answers() {
    let (gate, mut waiting) = (Arc::new(Notify::new()), None);
    let hanging = Hanging::begin_behind("on", |program, world, refresh| {
        world.realm.next(Mood::Gate(Arc::clone(&gate), Box::new(Mood::Grant(Granting::default()))));
        let mut connection = Connection::open(program.legacy);
        connection.write(&refreshing(refresh));
        eventually("the realm is asked", || world.realm.count() == 2);
        waiting = Some(connection);
    });
    ours(&waiting.unwrap().reply().unwrap());
    let asked = hanging.world.realm.count();
    gate.notify_one();
    hanging.answer();
    within(LONG, "the pair can be fetched", || hanging.refreshed().status == 200);
    assert_eq!(hanging.world.realm.count(), asked, "the realm is not asked again");
    let blames = |line: &serde_json::Value| line["outcome"] == "server_error" && line["fault"] != "ourselves";
    assert!(!hanging.program.lines("request").iter().any(blames), "{}", hanging.program.log());
}

#[test]
fn a_program_whose_disk_hangs_ends_when_it_is_told_to() {
    let mut hanging = Hanging::begin();
    hanging.program.signal("TERM");
    eventually("it says that it ends", || !hanging.program.lines("draining").is_empty());
    assert_eq!(hanging.program.ended().code(), Some(0));
}

/// A file of the audit that is a pipe into which nobody writes, so that whoever looks how it ends waits; until it is dropped.
struct Pipe(PathBuf);

impl Pipe {
    /// Puts it in the place of the file that is written to.
    fn of(world: &World) -> Self {
        let audit = world.store().join("audit");
        let mut written = Vec::new();
        eventually("there is a file", || {
            written = files(&audit).unwrap();
            !written.is_empty()
        });
        let (made, place) = (audit.join("pipe"), written.pop().unwrap());
        assert!(Command::new("mkfifo").arg(&made).status().unwrap().success());
        fs::rename(made, &place).unwrap();
        Self(place)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let aside = self.0.with_extension("aside");
        fs::rename(&self.0, &aside).unwrap();
        // Whoever waits is told that it is empty. Both ways, for there may be nobody.
        drop(File::options().read(true).write(true).open(&aside).unwrap());
        fs::remove_file(&aside).unwrap();
    }
}

#[test]
fn an_audit_whose_disk_hangs_is_told_to_fail_and_holds_up_neither_logins_nor_the_end() {
    let world = Plan::new().set("server", "drain", "\"1s\"").files();
    let mut program = Program::serve(&world);
    let told = |program: &Program, outcome: &str| {
        program.lines("audit").into_iter().filter(|line| line["outcome"] == outcome).collect::<Vec<_>>()
    };
    let pipe = Pipe::of(&world);
    assert_eq!(program.ask(&login()).status, 200);
    within(LONG, "it is told", || program.told("/readyz").json("audit") == "failing");
    eventually("so is why", || !told(&program, "failing").is_empty());
    let detail = told(&program, "failing").pop().unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("has not answered for"), "{detail}");
    assert!(program.told("/metrics").body.contains("passbridge_audit_writable 0"));
    assert_eq!(program.ask(&login()).status, 200);

    drop(pipe);
    within(LONG, "it is written again", || program.told("/readyz").json("audit") == "writing");
    eventually("that is told", || told(&program, "recovered").len() == 1);
    assert_eq!(told(&program, "failing").len(), 1);

    let _pipe = Pipe::of(&world);
    assert_eq!(program.ask(&login()).status, 200);
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0));
    let lost = told(&program, "lost").pop().unwrap();
    assert!(lost["records"].as_u64().unwrap() > 0, "{lost}");
}

#[test]
fn a_load_of_files_that_do_not_answer_is_told_and_taken_once_they_do_and_holds_up_no_end() {
    let world = Plan::new().set("server", "drain", "\"1s\"").files();
    let mut program = Program::serve(&world);
    let remembered = world.store().join("audit/moves");
    let mappings = |program: &Program| program.told("/readyz").json("mappings");
    let hang = |program: &Program| {
        eventually("there is a file", || remembered.is_file());
        fs::remove_file(&remembered).unwrap();
        assert!(Command::new("mkfifo").arg(&remembered).status().unwrap().success());
        program.signal("HUP");
        within(LONG, "it is told", || mappings(program)["current"] == false);
    };
    hang(&program);
    assert!(mappings(&program)["refused"][0].as_str().unwrap().contains("[files-hang]"), "{}", mappings(&program));
    eventually("the log has it", || program.lines("load_refused").len() == 1);
    assert!(program.told("/metrics").body.contains("passbridge_mappings_current 0"));
    assert_eq!(program.ask(&login()).status, 200, "what was in use serves");

    let aside = remembered.with_extension("aside");
    fs::rename(&remembered, &aside).unwrap();
    drop(File::options().read(true).write(true).open(&aside).unwrap());
    within(LONG, "it is taken", || mappings(&program)["current"] == true);
    assert_eq!(mappings(&program)["generation"], 2, "once");

    hang(&program);
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0));
}
