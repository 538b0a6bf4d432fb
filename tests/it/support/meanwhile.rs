//! What a test changes of this machine for a while: a child does it, as whoever runs the tests, or as root where that takes one.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A change that is taken back once this is dropped, or the binary is gone, however that ended: the child does so where its standard input ends.
#[derive(Debug)]
pub struct Meanwhile {
    child: Child,
    /// What it says later is taken, too.
    said: BufReader<ChildStdout>,
}

impl Meanwhile {
    /// By a script of `sh` with one argument: it makes the change, and a line that says so, waits for the end of its standard input, and takes the
    /// change back. `None`: neither we can do it nor root, by a `sudo` that asks for no password.
    pub fn make(script: &str, argument: impl AsRef<OsStr>, says: &str) -> Option<Self> {
        let by = |mut shell: Command| {
            // In a group of its own, where Ctrl-C does not reach it.
            shell.args(["-c", script, "-"]).arg(&argument).process_group(0);
            let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
            let said = BufReader::new(child.stdout.take()?);
            let (mut made, mut line) = (Self { child, said }, String::new());
            made.said.read_line(&mut line).ok()?;
            line.contains(says).then_some(made)
        };
        let mut as_root = Command::new("sudo");
        as_root.args(["-n", "sh"]);
        by(Command::new("sh")).or_else(|| by(as_root))
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
