//! The program of age and ours: what one seals the other opens, with keys of either.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a program in a directory; it is fine.
fn run(directory: &Path, program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; scripts/install test"));
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn passbridge(directory: &Path, arguments: &[&str], input: &[u8]) -> String {
    String::from_utf8(run(directory, env!("CARGO_BIN_EXE_passbridge"), arguments, input)).unwrap()
}

/// A configuration whose one client has this sealed secret; `check` opens it.
fn check(directory: &Path, sealed: &str) {
    let client = format!(
        "[[client]]\nlegacy_id = \"a\"\nlegacy_secret = {{ sealed = \"\"\"{sealed}\"\"\" }}\nclient_id = \"b\"\n\
         client_secret = {{ sealed = \"\"\"{sealed}\"\"\" }}\nstage = \"live\"\n"
    );
    fs::create_dir_all(directory.join("mappings/clients")).unwrap();
    fs::write(directory.join("mappings/clients/a.toml"), client).unwrap();
    let config = "[realm]\nurls = [\"http://127.0.0.1:1/realms/SSO\"]\n[secrets]\nidentity = { file = \"age.key\" }\n";
    fs::write(directory.join("passbridge.toml"), config).unwrap();
    passbridge(directory, &["check"], b"");
}

fn recipient(key: &str) -> &str {
    key.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap()
}

#[test]
fn what_age_seals_to_its_own_key_or_ours_opens_here() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let theirs = String::from_utf8(run(directory, "age-keygen", &[], b"")).unwrap();
    let ours = passbridge(directory, &["secret", "keygen"], b"");
    for key in [&theirs, &ours] {
        fs::write(directory.join("age.key"), key).unwrap();
        let to = ["--armor", "--recipient", recipient(key)];
        check(directory, &String::from_utf8(run(directory, "age", &to, b"planted-secret")).unwrap());
        // One among others, and not the first.
        let both = ["--armor", "--recipient", recipient(&theirs), "--recipient", recipient(&ours)];
        check(directory, &String::from_utf8(run(directory, "age", &both, b"planted-secret")).unwrap());
    }
}

#[test]
fn what_is_sealed_here_age_opens_with_its_own_key_or_ours() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let theirs = String::from_utf8(run(directory, "age-keygen", &[], b"")).unwrap();
    let ours = passbridge(directory, &["secret", "keygen"], b"");
    assert_eq!(run(directory, "age-keygen", &["-y"], ours.as_bytes()), format!("{}\n", recipient(&ours)).as_bytes());
    for secret in ["p", "planted-secret", &"long".repeat(16_000), &"x".repeat(64 * 1024)] {
        for key in [&theirs, &ours] {
            fs::write(directory.join("age.key"), key).unwrap();
            let sealed =
                passbridge(directory, &["secret", "seal", "--armor", "--recipient", recipient(key)], secret.as_bytes());
            let opened = run(directory, "age", &["--decrypt", "--identity", "age.key"], sealed.as_bytes());
            assert_eq!(opened, secret.as_bytes());
            check(directory, &sealed);
            let line = passbridge(directory, &["secret", "seal", "--recipient", recipient(key)], secret.as_bytes());
            let bytes = run(directory, "base64", &["--decode"], line.as_bytes());
            assert_eq!(run(directory, "age", &["--decrypt", "--identity", "age.key"], &bytes), secret.as_bytes());
        }
    }
}
