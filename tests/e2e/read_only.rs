//! A store that nobody may write any more while the bridge runs on it, as a disk becomes that the kernel has made read-only.

use std::path::Path;

use super::support::meanwhile::Meanwhile;
use super::support::{Answer, Bridge, Keycloak, Old, Passport, eventually, place, send};

const SERVER_ERROR: (u16, &str, &str) = (500, "3003000", "server_error");

/// Has every write in a directory refused, root's and those to open files too: it is immutable (ext4), since a file system that is written to cannot be
/// mounted read-only. Nobody could remove it either.
fn unwritable(directory: &Path) -> Meanwhile {
    let made = Meanwhile::make("chattr -R +i \"$1\" && echo held && cat; chattr -R -i \"$1\"", directory, "held");
    made.expect("`chattr +i` works here: it takes ext4, and root or a sudo that asks for no password")
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
    let unwritable = unwritable(&directory);
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
