//! More connections than a machine likes to give: the real program, with open files of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

use super::{get, plan};
use crate::support::program::Program;
use crate::support::{Connection, FakeApi, OLD_ID, OLD_SECRET, Plan, TOKEN, World, eventually, passport, post};

/// The program on the files of a plan, and a UUID of it.
pub(super) fn serving(plan: Plan, command: Command) -> (World, Program, String) {
    let world = plan.files();
    let program = Program::serve_by(&world, command);
    let login = program.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    world.plant(&login);
    let uuid = login.text("access_token");
    (world, program, uuid)
}

pub(super) fn passbridge() -> Command {
    Command::new(env!("CARGO_BIN_EXE_passbridge"))
}

/// The program, where the shell has said this first.
fn after(words: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{words} && exec \"$@\""), "bridge", env!("CARGO_BIN_EXE_passbridge")]);
    command
}

#[track_caller]
pub(super) fn is_served(gateway: SocketAddr, uuid: &str) {
    assert_eq!(Connection::open(gateway).ask(&get("/api", uuid)).body, "good");
}

/// Bytes of a process that are in memory.
pub(super) fn resident(id: u32) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Whoever changes how many files this process may have open, as other tests of it do, changes it to the most.
fn open_many_files_ourselves(needed: u64) {
    let most = getrlimit(Resource::Nofile).maximum;
    assert!(
        most.is_none_or(|most| most >= needed),
        "this test needs a hard limit of {needed} open files (`ulimit -Hn`)"
    );
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_hold_nobody_up() {
    const MANY: usize = 10_000;
    open_many_files_ourselves(MANY as u64 + 1_000);
    let api = FakeApi::good();
    let plan = plan(&api, "")
        .set("limits", "connections", &(MANY * 8 / 7 + 200).to_string())
        .set("limits", "head_timeout", "\"10m\"")
        .set("server", "drain", "\"1s\"");
    let (_world, mut program, uuid) = serving(plan, passbridge());
    let gateway = program.gateway();
    is_served(gateway, &uuid);
    let before = resident(program.id());
    let mut idle: Vec<Connection> = (0..MANY).map(|_| Connection::open(gateway)).collect();
    // Some have called, and some are in the middle of a head.
    for (number, connection) in idle.iter_mut().enumerate() {
        match number % 20 {
            0 => assert_eq!(connection.ask(&get("/api", &uuid)).body, "good"),
            1 => assert!(connection.write(&get("/api", &uuid)[..20])),
            _ => {}
        }
    }
    for _ in 0..20 {
        is_served(gateway, &uuid);
    }
    let each = resident(program.id()).saturating_sub(before) / MANY;
    assert!(each < 8 * 1024, "{each} bytes for each");
    for connection in idle.iter_mut().step_by(1_000) {
        assert_eq!(connection.ask(&get("/api", &uuid)).body, "good", "after all that time");
    }
    program.signal("TERM");
    // Whoever is in the middle of a head has a second to end it.
    for (number, connection) in idle.iter_mut().enumerate() {
        assert!(connection.is_closed(), "{number}");
    }
    assert!(program.ended().success());
    assert_eq!(program.lines("turned_away").len() + program.lines("not_accepted").len(), 0, "{}", program.log());
}

#[test]
fn the_program_takes_as_many_open_files_as_the_machine_allows() {
    let (_world, program, _uuid) = serving(Plan::new(), after("ulimit -Sn 128"));
    let limit = limit(&program);
    assert_eq!(limit.current, limit.maximum);
    assert!(limit.maximum.is_none_or(|maximum| maximum > 128));
    assert!(program.lines("open_files").is_empty(), "{}", program.log());
}

#[test]
fn where_few_files_may_be_open_fewer_connections_are_taken_and_that_is_told() {
    let api = FakeApi::good();
    let (_world, program, uuid) = serving(plan(&api, ""), after("ulimit -n 200"));
    let told = program.lines("open_files").remove(0);
    assert_eq!((told["allowed"].as_u64(), told["connections"].as_u64()), (Some(200), Some(136)));
    assert!(told["message"].as_str().unwrap().contains("LimitNOFILE="), "{told}");
    let gateway = program.gateway();
    let mut idle: Vec<Connection> = (0..300).map(|_| Connection::open(gateway)).collect();
    eventually("those beyond are turned away", || {
        let text = program.told("/metrics").body;
        text.contains("\npassbridge_connections_turned_away_total 1")
            && text.contains("\npassbridge_connections_not_accepted_total 0\n")
    });
    eventually("that is told", || !program.lines("turned_away").is_empty());
    let [turned_away] = &program.lines("turned_away")[..] else { panic!("told once, and not for each") };
    assert_eq!(turned_away["connections"], 136);
    assert!(
        turned_away["message"].as_str().unwrap().contains("raise the hard limit"),
        "not what is configured: {turned_away}"
    );
    assert_eq!(idle[0].ask(&get("/api", &uuid)).body, "good", "files are left for what stands behind a connection");
    drop(idle);
    eventually("there is room again", || {
        let mut connection = Connection::open(gateway);
        connection.write(&get("/api", &uuid)) && connection.reply().is_some_and(|reply| reply.body == "good")
    });
}

#[test]
fn where_no_file_is_left_connections_wait_and_are_served_when_there_is_one() {
    let api = FakeApi::good();
    let (_world, program, uuid) = serving(plan(&api, ""), passbridge());
    let gateway = program.gateway();
    let (mut served, mut ops) = (Connection::open(gateway), Connection::open(program.ops));
    assert_eq!(served.ask(&get("/api", &uuid)).body, "good");
    let mut tries = || {
        let text = ops.ask(b"GET /metrics HTTP/1.1\r\nHost: ops\r\n\r\n").body;
        let line = text.lines().find_map(|line| line.strip_prefix("passbridge_connections_not_accepted_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(tries(), 0);
    let before = limit(&program);
    // What is open stays open, and has all numbers below this one.
    set_limit(&program, Rlimit { current: Some(3), maximum: before.maximum });
    let mut waiting: Vec<Connection> = (0..50).map(|_| Connection::open(gateway)).collect();
    for connection in &mut waiting {
        assert!(connection.write(&get("/api", &uuid)));
    }
    eventually("it is told", || !program.lines("not_accepted").is_empty());
    let told = program.lines("not_accepted").remove(0);
    assert_eq!((&told["level"], told["allowed"].as_u64()), (&"ERROR".into(), Some(3)), "{told}");
    assert!(told["message"].as_str().unwrap().contains("LimitNOFILE="), "{told}");
    for _ in 0..20 {
        assert_eq!(served.ask(&get("/api", &uuid)).body, "good", "whoever is connected is served");
    }
    // Each question of ours takes its time; who does not pause between two tries makes hundreds meanwhile.
    let (first, mut questions) = (tries(), 0);
    eventually("it is tried again and again", || {
        questions += 1;
        tries() >= first + 20
    });
    assert!(questions > 3, "a busy loop: {first} tries, {} after {questions} questions", tries());
    set_limit(&program, before);
    for connection in &mut waiting {
        assert_eq!(connection.reply().expect("it has waited").body, "good");
    }
    assert_eq!(program.lines("not_accepted").len(), 1, "told once, and not for each try");
}

#[test]
fn a_bridge_that_lacks_one_thread_has_answered_nobody() {
    // Not where we ask from: who asks there before anybody listens may meet himself.
    let address = TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    // Somewhere on the way to so many threads no file is left.
    let plan = Plan::new().set("server", "workers", "64").set("listen", "legacy", &format!("\"{address}\""));
    let world = plan.files();
    eventually("some have come for each thread before the end", || {
        let (mut program, mut callers) = (Program::begin(&world, after("ulimit -n 180")), Vec::new());
        while callers.len() < 400 && !program.log().contains("no thread `worker-") {
            callers.extend(TcpStream::connect(address));
        }
        for caller in &mut callers {
            let _the_end_may_be_here = caller.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        assert_eq!(program.ended().code(), Some(1), "{}", program.log());
        assert!(program.log().contains("no thread `worker-"), "{}", program.log());
        let heard = callers.iter_mut().filter_map(|caller| caller.read(&mut [0]).ok());
        assert_eq!(heard.filter(|count| *count > 0).count(), 0);
        assert_eq!(world.audit().last().unwrap()["what"], "stop", "it left its audit as an end does");
        callers.len() > 64
    });
}

/// How many files the program may have open, as Linux tells it (proc(5)).
fn limit(program: &Program) -> Rlimit {
    let text = std::fs::read_to_string(format!("/proc/{}/limits", program.id())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
    Rlimit { current: numbers.next().unwrap(), maximum: numbers.next().unwrap() }
}

fn set_limit(program: &Program, limit: Rlimit) {
    let id = Pid::from_raw(program.id().cast_signed()).unwrap();
    prlimit(Some(id), Resource::Nofile, limit).unwrap();
}
