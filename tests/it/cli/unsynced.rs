//! The real program on a disk that does not say what it has kept: every sync of its files fails, and all else goes well. What was answered without one
//! is lost at a power cut.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::program::Program;
use crate::support::world::REVOKE;
use crate::support::{OLD_ID, OLD_SECRET, Plan, TOKEN, eventually, passport, post};

/// A program whose syncs fail until this is dropped, or the binary is gone, however that ended: a child traces it as long as its standard input is open,
/// and what it says of each new thread is taken.
struct Unsynced(Child, BufReader<ChildStdout>);

impl Unsynced {
    fn make(program: &Program) -> Self {
        let made = trace(Command::new("sh"), program).or_else(|| {
            let mut as_root = Command::new("sudo");
            as_root.args(["-n", "sh"]);
            trace(as_root, program)
        });
        made.expect("strace may look at another process of ours here, or sudo asks for no password")
    }
}

fn trace(mut shell: Command, program: &Program) -> Option<Unsynced> {
    let script = "strace -f -o /dev/null -e trace=fsync,fdatasync -e inject=fsync,fdatasync:error=EIO -p \"$1\" 2>&1 & cat; kill $!; wait";
    shell.args(["-c", script, "-"]).arg(program.id().to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = shell.spawn().ok()?;
    let heard = BufReader::new(child.stdout.take()?);
    let (mut tracer, mut said) = (Unsynced(child, heard), String::new());
    tracer.1.read_line(&mut said).ok()?;
    said.contains(" attached").then_some(tracer)
}

impl Drop for Unsynced {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
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

    let unsynced = Unsynced::make(&program);
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
