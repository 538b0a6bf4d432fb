//! What is typed at a terminal. `script` (util-linux) is one.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// A shell's command at a terminal, which is written to once a secret is asked for; all that it shows.
fn shown(command: &str, typed: &[u8]) -> String {
    // Whoever runs the tests in the background has these two ignored, and so would the terminal's shell.
    let mut terminal = Command::new("env")
        .args(["--default-signal=INT,QUIT", "script"])
        .args(["--quiet", "--return", "--echo", "always", "--command", command, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut keyboard, mut screen) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains("type the secret") {
        let mut byte = [0];
        assert_eq!(screen.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&shown));
        shown.push(byte[0]);
    }
    keyboard.write_all(typed).unwrap();
    screen.read_to_end(&mut shown).unwrap();
    let shown = String::from_utf8(shown).unwrap();
    assert!(terminal.wait().unwrap().success(), "{shown}");
    assert!(!shown.contains("planted"), "{shown}");
    shown
}

const HASH: &str = concat!(env!("CARGO_BIN_EXE_passbridge"), " secret hash");

#[test]
fn a_secret_that_is_typed_is_not_shown() {
    let shown = shown(HASH, b"planted-typed-secret\n\x04");
    assert!(shown.contains("$argon2id$"), "{shown}");
}

#[test]
fn whatever_is_typed_later_is_shown_again_where_a_key_ends_the_program() {
    for (key, status) in [(b"\x03", 128 + 2), (b"\x1c", 128 + 3)] {
        let command = format!("trap : INT QUIT; {HASH}; echo ended=$?; stty -a");
        let shown = shown(&command, &[b"planted-ty".as_slice(), key].concat());
        assert!(shown.contains(&format!("ended={status}")) && !shown.contains("$argon2id$"), "by the signal: {shown}");
        let modes: Vec<&str> = shown.split_whitespace().collect();
        assert!(modes.contains(&"echo") && shown.contains("intr = ^C; quit = ^\\;"), "{shown}");
    }
}
