//! The real program: signals, and what survives when it is killed or cannot write.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::sync::Notify;

use crate::support::program::Program;
use crate::support::world::INTROSPECT;
use crate::support::{
    Connection, Granting, Mood, OLD_ID, OLD_SECRET, Plan, TOKEN, World, client, eventually, passport, post, within,
};

fn login() -> Vec<u8> {
    post(TOKEN, &passport(OLD_ID, OLD_SECRET))
}

fn asking_about(token: &str) -> Vec<u8> {
    post(INTROSPECT, &[("client_id", OLD_ID), ("client_secret", OLD_SECRET), ("token", token)])
}

fn gated(world: &World) -> Arc<Notify> {
    let gate = Arc::new(Notify::new());
    world.realm.next(Mood::Gate(Arc::clone(&gate), Box::new(Mood::Grant(Granting::default()))));
    gate
}

#[test]
fn a_hangup_takes_a_good_change_and_refuses_a_bad_one_whole() {
    let mut world = Plan::new().files();
    let program = Program::serve(&world);
    let mappings = || program.told("/readyz").json("mappings");
    program.signal("HUP");
    eventually("all is read again though nothing changed", || mappings()["generation"].as_u64() == Some(2));
    world.change_clients(&[client("newcomer", "")]);
    program.signal("HUP");
    eventually("the change is in use", || mappings()["generation"].as_u64() > Some(2));
    assert_eq!(program.ask(&post(TOKEN, &passport("newcomer", OLD_SECRET))).status, 200);
    assert_eq!(program.ask(&login()).status, 401);

    world.change_clients(&[client(OLD_ID, ""), client("newcomer", "stagee = \"live\"")]);
    program.signal("HUP");
    eventually("the change is refused", || mappings()["current"] == false);
    assert!(mappings()["refused"].to_string().contains("unknown-key"), "{}", mappings());
    assert_eq!(program.ask(&post(TOKEN, &passport("newcomer", OLD_SECRET))).status, 200, "the last good table serves");
    assert_eq!(program.ask(&login()).status, 401, "nothing of the bad file is in use");
    assert_eq!(program.told("/readyz").status, 200);
    assert!(program.told("/metrics").body.contains("passbridge_mappings_current 0"));
    eventually("it is told", || !program.lines("load_refused").is_empty());
}

#[test]
fn a_reload_for_which_the_machine_gives_no_thread_is_taken_all_the_same() {
    let mut world = Plan::new().files();
    // So many that they would be read by several.
    let one = |number: usize| client(&format!("old-{number}"), &format!("client_id = \"new-{number}\""));
    world.change_clients(&(0..400).map(one).collect::<Vec<_>>());
    let program = Program::serve(&world);
    keep_from_threads(&program);
    program.signal("HUP");
    eventually("all is read again", || program.told("/readyz").json("mappings")["generation"].as_u64() == Some(2));
}

/// From now on the machine gives it none.
fn keep_from_threads(program: &Program) {
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.strip_suffix("kB")?.trim().parse().ok());
    let size: u64 = size.unwrap();
    // Less than the stack of one more.
    let limit = Rlimit { current: Some((size << 10) + (1 << 20)), maximum: None };
    prlimit(Pid::from_raw(program.id().cast_signed()), Resource::As, limit).unwrap();
}

#[test]
fn the_realms_name_is_looked_up_though_the_machine_gives_no_thread() {
    let mut world = Plan::new().files();
    let url = world.realm.url().replace("127.0.0.1", "localhost");
    world.change("realm", "urls", &format!("[\"{url}\"]"));
    let program = Program::serve(&world);
    keep_from_threads(&program);
    let answered = program.ask(&login());
    assert_eq!(answered.status, 200, "{}", program.log());
}

#[test]
fn a_signal_that_comes_while_the_program_starts_is_heard() {
    const TERM: u32 = 15;
    // So many that it starts for a while.
    let mut world = Plan::new().files();
    let one = |number: usize| client(&format!("old-{number}"), &format!("client_id = \"new-{number}\""));
    world.change_clients(&(0..20_000).map(one).collect::<Vec<_>>());
    let mut program = Program::begin(&world, Command::new(env!("CARGO_BIN_EXE_passbridge")));
    eventually("it hears signals", || program.catches(TERM));
    program.signal("TERM");
    assert!(program.lines("started").is_empty(), "the signal came too late for this test");
    assert_eq!(program.ended().code(), Some(0), "an orderly end: {}", program.log());
    assert_eq!(program.lines("started").len(), 1);
}

#[test]
fn commands_that_change_files_at_the_same_time_all_see_the_bridge_have_it() {
    let ids = ["one", "two", "three"];
    let mut world = Plan::new().files();
    world.change_clients(&ids.map(|id| client(id, &format!("client_id = \"new-{id}\""))));
    let program = Program::serve(&world);
    let stage = |id| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_passbridge"));
        command.env("OLD_SECRET", OLD_SECRET).env("NEW_SECRET", OLD_SECRET);
        command.env("PASSBRIDGE__LISTEN__OPS", program.ops.to_string()).arg("--config").arg(world.config());
        command.args(["client", "stage", id, "retired", "--why", "a test"]).stderr(Stdio::piped()).spawn().unwrap()
    };
    // What rests for less than a quarter of a second is taken together, so that only the last one's digest is ever in use.
    for command in ids.map(stage) {
        let ended = command.wait_with_output().unwrap();
        let talk = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success() && talk.contains("has it, as generation"), "{talk}");
    }
}

#[test]
fn what_needs_a_restart_is_told_by_a_hangup_and_left_as_it_is() {
    let mut world = Plan::new().files();
    let program = Program::serve(&world);
    world.change("server", "workers", "2");
    program.signal("HUP");
    eventually("it is told", || program.lines("needs_restart").iter().any(|line| line["section"] == "server"));
    assert_eq!(program.ask(&login()).status, 200);
}

#[test]
fn a_terminated_program_finishes_what_is_in_flight_takes_nothing_new_and_ends_with_0() {
    let world = Plan::new().files();
    let mut program = Program::serve(&world);
    let gate = gated(&world);
    let mut busy = Connection::open(program.legacy);
    busy.write(&login());
    eventually("the realm is asked", || world.realm.count() == 1);
    program.signal("TERM");
    eventually("nobody is accepted any more", || TcpStream::connect(program.legacy).is_err());
    assert_eq!(program.told("/readyz").status, 503);
    gate.notify_one();
    let reply = busy.reply().unwrap();
    reply.check();
    assert_eq!(reply.status, 200);
    assert_eq!(program.ended().code(), Some(0));
    assert_eq!(program.lines("draining").len(), 1);
    let program = Program::serve(&world);
    let answered = program.ask(&asking_about(&reply.text("access_token")));
    assert_eq!(answered.json("active"), true, "what was answered while draining is kept");
}

#[test]
fn an_interrupt_is_an_orderly_end_too() {
    let world = Plan::new().files();
    let mut program = Program::serve(&world);
    program.signal("INT");
    assert_eq!(program.ended().code(), Some(0));
}

#[test]
fn a_drain_has_an_end_though_the_realm_never_answers() {
    let world = Plan::new().set("server", "drain", "\"100ms\"").files();
    let mut program = Program::serve(&world);
    world.realm.next(Mood::Hang);
    let mut busy = Connection::open(program.legacy);
    busy.write(&login());
    eventually("the realm is asked", || world.realm.count() == 1);
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0));
    assert!(busy.is_closed(), "no answer that is not kept");
    assert_eq!(program.lines("cut_off")[0]["left"], 1, "{}", program.log());
    let told = world.audit().into_iter().find(|record| record["what"] == "login").expect("it is in the audit");
    let line = program.lines("request").pop().expect("it has a line");
    for (said, why) in [(&told, "why"), (&line, "detail")] {
        assert_eq!((&said["client"], &said["outcome"]), (&OLD_ID.into(), &"server_error".into()), "{said}");
        assert_eq!(said["fault"], "ourselves");
        assert!(said[why].as_str().unwrap().starts_with("cut off: "), "{said}");
    }
    assert_eq!(line["status"], 0);
}

/// Logs in without end from several connections until nobody answers; remembers every UUID that was answered.
fn load(program: &Program, answered: &Arc<Mutex<Vec<String>>>) -> Vec<std::thread::JoinHandle<()>> {
    let client = |address| {
        let answered = Arc::clone(answered);
        move || {
            let mut connection = Connection::open(address);
            while connection.write(&login()) {
                let Some(reply) = connection.whole_reply() else { return };
                assert_eq!(reply.status, 200, "{}", reply.body);
                answered.lock().push(reply.text("access_token"));
            }
        }
    };
    (0..8).map(|_| std::thread::spawn(client(program.legacy))).collect()
}

#[test]
fn every_answered_uuid_is_alive_after_the_program_was_killed_under_load() {
    let world = Plan::new().set("server", "workers", "2").files();
    let answered = Arc::<Mutex<Vec<String>>>::default();
    for round in 1..=4 {
        let mut program = Program::serve(&world);
        let clients = load(&program, &answered);
        eventually("there are logins", || answered.lock().len() >= round * 60);
        program.signal("KILL");
        assert_eq!(program.ended().signal(), Some(9));
        for client in clients {
            client.join().unwrap();
        }
        let program = Program::serve(&world);
        let mut connection = Connection::open(program.legacy);
        for token in answered.lock().iter() {
            let reply = connection.ask(&asking_about(token));
            assert_eq!(reply.json("active"), true, "lost in round {round}, of {}", answered.lock().len());
        }
    }
}

#[test]
fn a_store_that_cannot_write_answers_server_error_and_hands_out_nothing() {
    let world = Plan::new().files();
    let mut program = Program::serve(&world);
    let before = program.ask(&login()).text("access_token");
    program.limit("1");
    for _ in 0..3 {
        let reply = program.ask(&login());
        assert_eq!(reply.said(), (500, "server_error".to_owned()));
        assert!(!reply.body.contains("token"), "{}", reply.body);
    }
    let reply = program.ask(&asking_about(&before));
    assert_eq!(reply.json("active"), true, "what was kept is still read");
    assert_eq!(program.told("/readyz").json("store"), "refusing");
    let told = |line: &serde_json::Value| {
        line["outcome"] == "server_error" && line["fault"] == "ourselves" && line["level"] == "WARN"
    };
    eventually("the log tells whose fault", || program.lines("request").iter().filter(|line| told(line)).count() == 3);
    for line in program.lines("request").iter().filter(|line| told(line)) {
        assert!(line["detail"].as_str().unwrap().contains("File too large"), "each names the cause: {line}");
    }
    let of_the_store = |outcome: &str| program.lines("store").iter().filter(|line| line["outcome"] == outcome).count();
    eventually("the log tells that the store refuses", || of_the_store("refusing") == 1);

    program.limit("unlimited");
    eventually("there is room, and it goes on", || program.ask(&login()).status == 200);
    assert_eq!(program.told("/readyz").json("store"), "writable");
    eventually("the log tells when it is over", || of_the_store("recovered") == 1);
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0));
    let program = Program::serve(&world);
    assert_eq!(program.ask(&asking_about(&before)).json("active"), true);
}

/// Runs `serve` where a directory of this world is mounted read-only; answers status and words.
fn serve_below_a_read_only_mount(world: &World, directory: &Path) -> (Option<i32>, String) {
    below_a_read_only_mount(world, directory, &["serve"])
}

/// Runs the program where a directory of this world is mounted read-only, which binds root too.
fn below_a_read_only_mount(world: &World, directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    below_a_mount(world, (directory, "bind,ro"), arguments)
}

/// Runs the program where a path of this world is mounted on itself, with these options.
fn below_a_mount(world: &World, (path, options): (&Path, &str), arguments: &[&str]) -> (Option<i32>, String) {
    let script = format!(
        "mount --bind \"$1\" \"$1\" && mount -o remount,{options} \"$1\" && cd \"$2\" && shift 2 && exec \"$@\""
    );
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "mounted"])
        .args([path, world.path()])
        .arg(env!("CARGO_BIN_EXE_passbridge"))
        .args(arguments)
        .env("OLD_SECRET", OLD_SECRET)
        .env("NEW_SECRET", OLD_SECRET)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_read_only_directory_is_told_at_the_start_with_what_to_do_and_left_as_it_was() {
    let mut world = Plan::new().files();
    world.change("store", "path", "\"kept/data\"");
    let kept = world.path().join("kept");
    fs::create_dir(&kept).unwrap();
    let hint = "\n  hint: `store.path` must be a directory that this user may write, on a disk that takes writes\n";
    let expected =
        |path: &str| format!("error: the token store cannot open {path}: Read-only file system (os error 30){hint}");

    let (status, said) = serve_below_a_read_only_mount(&world, &kept);
    assert_eq!((status, said), (Some(1), expected("kept/data")), "it cannot be made");

    let mut program = Program::serve(&world);
    let before = program.ask(&login()).text("access_token");
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0));
    let (status, said) = serve_below_a_read_only_mount(&world, &kept);
    assert_eq!((status, said), (Some(1), expected("kept/data/lock")), "it cannot be taken");
    let program = Program::serve(&world);
    assert_eq!(program.ask(&asking_about(&before)).json("active"), true);
}

/// Has the program be run with no file larger than so many KiB.
fn limited(kibibytes: &str) -> Command {
    let mut command = Command::new("/bin/bash");
    command.args(["-c", "ulimit -f \"$1\"; shift; exec \"$@\"", "limited", kibibytes]);
    command.arg(env!("CARGO_BIN_EXE_passbridge"));
    command
}

#[test]
fn a_limit_on_the_size_of_files_is_told_at_the_start_with_what_to_do_and_nothing_is_lost_by_it() {
    let world = Plan::new().files();
    let hint = "files of 64 MiB and more must be allowed: raise the limit on their size (`ulimit -f`, `LimitFSIZE=` of systemd)";
    for (kibibytes, sentence) in [
        ("0", format!("the token store cannot open {}", world.path().join("data/lock").display())),
        ("400", "the token store cannot write: there is no room left".to_owned()),
    ] {
        let mut refused = Program::begin(&world, limited(kibibytes));
        assert_eq!(refused.ended().code(), Some(1), "{kibibytes}: {}", refused.log());
        let expected = format!("error: {sentence}: File too large (os error 27)\n  hint: {hint}\n");
        assert_eq!(refused.log(), expected, "{kibibytes}");
    }
    let mut program = Program::serve(&world);
    let before = program.ask(&login()).text("access_token");
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0));
    // Its journal is as long by now as what is in it.
    let program = Program::serve_by(&world, limited("400"));
    assert_eq!(program.ask(&asking_about(&before)).json("active"), true);
}

#[test]
fn a_mapping_that_meets_a_limit_is_told_and_left_as_it_was() {
    let world = Plan::new().files();
    let mut command = limited("0");
    command.arg("--config").arg(world.config()).args(["client", "stage", OLD_ID, "retired", "--why", "a test"]);
    let output = command.env("OLD_SECRET", OLD_SECRET).env("NEW_SECRET", OLD_SECRET).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot be written: File too large\n  hint: "), "{said}");
    let clients = fs::read_to_string(world.path().join("mappings/clients/all.toml")).unwrap();
    assert!(clients.contains(OLD_ID) && !clients.contains("retired"), "{clients}");
}

#[test]
fn a_mapping_that_cannot_be_written_is_told_with_what_to_do_and_left_as_it_was() {
    let world = Plan::new().files();
    let clients = world.path().join("mappings/clients");
    let stage = ["client", "stage", OLD_ID, "retired", "--why", "a test"];
    for of_old in [false, true] {
        if of_old {
            fs::write(clients.join(".passbridge.lock"), "").unwrap();
        }
        let (status, said) = below_a_read_only_mount(&world, &clients, &stage);
        assert_eq!(status, Some(1), "{said}");
        let hint = if of_old {
            "run this as a user that may write there, on a disk that takes writes"
        } else {
            "they lie where nobody here may write, as a volume of a ConfigMap: change them where they come from"
        };
        assert!(said.contains(&format!("cannot be written: Read-only file system\n  hint: {hint}\n")), "{said}");
    }
    assert!(!fs::read_to_string(clients.join("all.toml")).unwrap().contains("retired"));
}

#[test]
fn a_mapping_file_that_is_mounted_by_itself_is_told_with_what_helps_and_left_as_it_was() {
    let world = Plan::new().files();
    let file = world.path().join("mappings/clients/all.toml");
    let stage = ["client", "stage", OLD_ID, "retired", "--why", "a test"];
    let (status, said) = below_a_mount(&world, (&file, "bind,rw"), &stage);
    let expected =
        "is mounted by itself, so that nothing can take its place\n  hint: mount the directory that it is in";
    assert!(status == Some(1) && said.contains(expected), "{status:?} {said}");
    assert!(!fs::read_to_string(&file).unwrap().contains("retired"));
    assert!(!file.with_file_name(".all.toml.new").exists(), "nothing of ours is left beside it");
}

/// What a bridge says that does not start.
fn refused_start(world: &World) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_passbridge"))
        .args(["serve", "--config"])
        .arg(world.config())
        .env("OLD_SECRET", OLD_SECRET)
        .env("NEW_SECRET", OLD_SECRET)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_second_program_on_the_same_store_is_refused_and_the_first_goes_on() {
    let world = Plan::new().files();
    let program = Program::serve(&world);
    let said = refused_start(&world);
    assert!(said.contains(&format!("pid {}", program.id())) && said.contains("\n  hint: "), "{said}");
    assert_eq!(program.ask(&login()).status, 200);
}

#[test]
fn a_listener_that_is_taken_is_named_and_leaves_no_store_behind() {
    let mut world = Plan::new().files();
    // Without SO_REUSEPORT on the other side nobody else gets the port.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    world.change("listen", "legacy", &format!("\"{}\"", taken.local_addr().unwrap()));
    assert!(refused_start(&world).contains("listen.legacy"));
    assert!(!world.path().join("data").exists());
}

#[test]
fn a_second_bridge_is_refused_the_addresses_of_a_first_one_though_its_store_is_another() {
    let (first, mut second) = (Plan::new().files(), Plan::new().files());
    let program = Program::serve(&first);
    for (name, address) in [("ops", program.ops), ("legacy", program.legacy)] {
        second.change("listen", name, &format!("\"{address}\""));
        let mut refused = Program::begin(&second, Command::new(env!("CARGO_BIN_EXE_passbridge")));
        assert_eq!(refused.ended().code(), Some(1));
        let said = refused.log();
        assert!(said.contains(&format!("`listen.{name}` = {address} cannot be listened on")), "{said}");
        assert!(
            said.contains("hint: is it an address of this machine? If another program listens there, maybe a bridge"),
            "{said}"
        );
    }
    assert!(!second.path().join("data").exists());
    assert_eq!(program.ask(&login()).status, 200);
}

#[test]
fn what_a_bridge_writes_is_for_its_user_alone_whoever_made_the_directory() {
    let world = Plan::new().files();
    let data = world.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("/bin/bash");
    command.args(["-c", "umask 022; exec \"$@\"", "open", env!("CARGO_BIN_EXE_passbridge")]);
    let mut program = Program::serve_by(&world, command);
    assert_eq!(program.ask(&login()).status, 200);
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0));
    let (mut open, mut below, mut seen) = (Vec::new(), vec![data], 0);
    while let Some(directory) = below.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            seen += 1;
            if metadata.permissions().mode() & 0o077 != 0 {
                open.push(path.clone());
            }
            if metadata.is_dir() {
                below.push(path);
            }
        }
    }
    assert!(seen > 5 && open.is_empty(), "{open:?}");
}

#[test]
fn a_bridge_that_crashes_leaves_no_core_with_secrets_in_it() {
    let world = Plan::new().files();
    let mut command = Command::new("/bin/bash");
    command.args(["-c", "ulimit -Sc \"$(ulimit -Hc)\"; exec \"$@\"", "crashing", env!("CARGO_BIN_EXE_passbridge")]);
    let program = Program::serve_by(&world, command);
    let limits = fs::read_to_string(format!("/proc/{}/limits", program.id())).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().next(), Some("0"), "{core}");
}

#[test]
fn a_large_file_that_is_no_mapping_costs_a_running_bridge_little_memory() {
    let world = Plan::new().files();
    let program = Program::serve(&world);
    let before = most_resident(&program);
    // A fault in each line, from the first one on; and from the middle on.
    let good = format!("[[client]]\n{}", "# a comment\n".repeat(75_000));
    for (text, seen) in [("= 1\n".repeat(375_000), 1), (good + &"= 1\n".repeat(250_000), 2)] {
        // Whole from its first moment on: half of it would be refused too, and counted.
        fs::write(world.path().join("dump"), text).unwrap();
        fs::rename(world.path().join("dump"), world.path().join("mappings/clients/dump.toml")).unwrap();
        // What looks at files steps back for all else, so for all other tests too, and a look that was slow puts off the next one.
        within(Duration::from_secs(600), "it is refused", || program.lines("load_refused").len() == seen);
    }
    let more = (most_resident(&program) - before) >> 20;
    assert!(more < 180, "{more} MiB more");
    assert_eq!(program.ask(&login()).status, 200);
}

/// The most bytes that it ever had in memory.
fn most_resident(program: &Program) -> usize {
    let text = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}
