//! Standard error that nobody reads any more: a log driver that hangs, a terminal where somebody pressed Ctrl-S.

use crate::support::program::Program;
use crate::support::{Connection, OLD_ID, OLD_SECRET, Plan, TOKEN, World, eventually, passport, post};

/// A bridge that has lines to leave out.
fn stuck(world: &World) -> Program {
    let program = Program::serve_unread(world);
    let mut caller = Connection::open(program.legacy);
    while lost(&program) == 0 {
        for _ in 0..100 {
            assert_eq!(caller.ask(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n").status, 404);
        }
    }
    program
}

fn lost(program: &Program) -> u64 {
    let text = program.told("/metrics").body;
    text.lines().find_map(|line| line.strip_prefix("passbridge_log_lost_total ")).unwrap().parse().unwrap()
}

#[test]
fn a_reader_who_stops_stops_no_login_and_hears_what_is_missing_when_he_reads_on() {
    let world = Plan::new().set("log", "filter", "\"trace\"").files();
    let mut program = stuck(&world);
    assert_eq!(program.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))).status, 200);
    assert_eq!(program.told("/readyz").status, 200);
    program.signal("HUP");
    eventually("signals are heard", || program.told("/readyz").json("mappings")["generation"].as_u64() == Some(2));
    program.read_on();
    eventually("it is told", || !program.lines("log").is_empty());
    let line = program.lines("log").remove(0);
    assert_eq!((&line["outcome"], line["lines"].as_u64() > Some(0)), (&"lost".into(), true), "{line}");
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0));
    let told = program.lines("log").iter().map(|line| line["lines"].as_u64().unwrap()).sum::<u64>();
    assert!(told > 0 && !program.lines("draining").is_empty(), "what had room is there");
}

#[test]
fn a_reader_who_stops_does_not_keep_the_program_from_its_end() {
    let world = Plan::new().set("log", "filter", "\"trace\"").files();
    let mut program = stuck(&world);
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0));
}
