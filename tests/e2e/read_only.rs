//! A store that nobody may write any more while the bridge runs on it, as a disk becomes that the kernel has made read-only.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::support::{Answer, Bridge, Keycloak, Old, Passport, eventually, place, send};

const SERVER_ERROR: (u16, &str, &str) = (500, "3003000", "server_error");

/// A directory in which every write is refused, root's and those to open files too: immutable (ext4), since a file system that
/// is written to cannot be mounted read-only. It can be written again once this is dropped, or the binary is gone, however that
/// ended: a child holds it as long as its standard input is open. Nobody could remove the directory otherwise.
struct Unwritable(Child);

impl Unwritable {
    fn make(directory: &Path) -> Self {
        let made = hold(Command::new("sh"), directory).or_else(|| {
            let mut as_root = Command::new("sudo");
            as_root.args(["-n", "sh"]);
            hold(as_root, directory)
        });
        made.expect("`chattr +i` works here: it takes ext4, and root or a sudo that asks for no password")
    }
}

fn hold(mut shell: Command, directory: &Path) -> Option<Unwritable> {
    let script = "chattr -R +i \"$1\" && echo held && cat; chattr -R -i \"$1\"";
    // In a group of its own, where Ctrl-C does not reach it.
    shell.args(["-c", script, "-"]).arg(directory).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = Unwritable(shell.spawn().ok()?);
    let mut said = String::new();
    BufReader::new(holder.0.stdout.take()?).read_line(&mut said).ok()?;
    (said == "held\n").then_some(holder)
}

impl Drop for Unwritable {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[track_caller]
fn server_error(bridge: &Bridge, answer: &Answer) {
    let (status, code, error) = answer.refusal();
    assert_eq!((status, code.as_str(), error.as_str()), SERVER_ERROR, "{answer:?}\n{}", bridge.log());
    assert!(!answer.body.contains("access_token"));
}

fn store_of(bridge: &Bridge) -> String {
    send(bridge.ops, "GET", "/readyz", &[], "").text("store")
}

#[test]
fn a_directory_that_becomes_read_only_is_server_error_hands_out_nothing_and_takes_writes_again() {
    // Where target/ is, since a directory for temporary files may be in memory.
    let place = place();
    let directory = place.path().join("data");
    let store = format!("[store]\npath = \"{}\"", directory.display());
    let url = Keycloak::rotating().url();
    let bridge = Bridge::configured(&url, &[Old::of("test_api")], "rotation = \"on\"", &store);
    let (access, refresh) = bridge.pair("test_api", "90517");
    let unwritable = Unwritable::make(&directory);
    for _ in 0..2 {
        server_error(&bridge, &bridge.login("test_api", &Passport::good(), ""));
        server_error(&bridge, &bridge.refresh("test_api", &refresh));
        let revoked = bridge.post("/auth/oauth/v2/token/revoke", "test_api", &[("token", &access)]);
        assert_eq!(revoked.status, 500, "an end that is not kept is not told: {revoked:?}");
    }
    assert!(bridge.active("test_api", &access), "what is kept is still read");
    assert_eq!(store_of(&bridge), "refusing");
    bridge.says("the token store cannot write: Operation not permitted");
    drop(unwritable);
    eventually("it takes writes again", || bridge.login("test_api", &Passport::good(), "").status == 200);
    assert_eq!(store_of(&bridge), "writable");
    let next = bridge.refresh("test_api", &refresh);
    assert_eq!(next.status, 200, "the realm was not asked with it before: {next:?}\n{}", bridge.log());
    let bridge = bridge.kill_and_restart();
    assert!(bridge.active("test_api", &access) && bridge.active("test_api", &next.text("access_token")));
}
