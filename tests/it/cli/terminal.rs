//! What is typed at a terminal. `script` (util-linux) is one.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

#[test]
fn a_secret_that_is_typed_is_not_shown() {
    let program = format!("{} secret hash", env!("CARGO_BIN_EXE_passbridge"));
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--echo", "always", "--command", &program, "/dev/null"])
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
    keyboard.write_all(b"planted-typed-secret\n\x04").unwrap();
    screen.read_to_end(&mut shown).unwrap();
    let shown = String::from_utf8(shown).unwrap();
    assert!(terminal.wait().unwrap().success() && shown.contains("$argon2id$"), "{shown}");
    assert!(!shown.contains("planted"), "{shown}");
}
