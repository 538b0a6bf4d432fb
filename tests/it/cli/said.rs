//! Runs the program beside a world's bridge.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::OLD_SECRET;
use crate::support::World;
use crate::support::world::NEW_SECRET;

/// What the program said.
#[derive(Debug)]
pub struct Said {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// It was fine.
    #[track_caller]
    pub fn fine(self) -> Self {
        assert_eq!(self.status, 0, "{self:?}");
        self
    }

    /// It refused, in these words.
    #[track_caller]
    pub fn refused(&self, status: i32, words: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.err.contains(words), "{self:?}");
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

/// Runs the program on a world's files, with its environment, beside its bridge if there is one, which reads its files
/// again and again meanwhile.
#[track_caller]
pub fn run(world: &World, arguments: &[&str], input: &str) -> Said {
    go(world, arguments, input, &[])
}

/// The same with more in the environment, and nothing on standard input.
#[track_caller]
pub fn run_with(world: &World, arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    go(world, arguments, "", environment)
}

#[track_caller]
fn go(world: &World, arguments: &[&str], input: &str, environment: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_passbridge"));
    command.env_clear().envs(environment.iter().copied()).env("OLD_SECRET", OLD_SECRET).env("NEW_SECRET", NEW_SECRET);
    // Nobody listens at port 1.
    let ops = world.ops_address().map_or_else(|| "127.0.0.1:1".to_owned(), |address| address.to_string());
    command.env("PASSBRIDGE__LISTEN__OPS", ops);
    command.arg("--config").arg(world.config()).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that refuses before it reads has closed this.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| child.wait_with_output().unwrap());
        while !waiting.is_finished() {
            if world.ops_address().is_some() {
                let _what_the_program_says_counts = world.running().reload();
            }
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        waiting.join().unwrap()
    });
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let said = Said { status: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) };
    for secret in [OLD_SECRET, NEW_SECRET, "planted-typed"] {
        assert!(!said.out.contains(secret) && !said.err.contains(secret), "a secret: {said:?}");
    }
    said
}
