//! `passbridge token` beside bridges that share a store: each knows what the other has handed out.

use std::process::Output;

use super::store::servers::Server;
use super::support::{Bridge, Keycloak, Old};

const OPS: &str = "[ops]\ntoken = { env = \"NEW_CA\" }\n";

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_login_of_one_instance_is_found_and_ended_by_the_other_and_a_store_that_is_gone_is_told() {
    let keycloak = Keycloak::shared();
    let mut redis = Server::start();
    let store = format!("{OPS}[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]", redis.port);
    let bridge = |store: &str| Bridge::configured(&keycloak.url(), &[Old::of("test_api")], "rotation = \"off\"", store);
    let (one, other) = (bridge(&store), bridge(&store));
    let (access, refresh) = one.pair("test_api", "90501");
    for (instance, uuid) in [(&one, &access), (&one, &refresh), (&other, &access), (&other, &refresh)] {
        let found = instance.program_told(&["token", "find"], uuid);
        assert_eq!(found.status.code(), Some(0), "{}", said(&found));
        assert!(said(&found).contains("of test_api: alive"), "{}", said(&found));
    }
    let stranger = bridge(OPS);
    let found = stranger.program_told(&["token", "find"], &access);
    assert_eq!(found.status.code(), Some(1));
    assert!(said(&found).contains("no such login\n  hint: a UUID is known where it was made"), "{}", said(&found));

    let ended = other.program_told(&["token", "revoke", "--format", "json"], &refresh);
    let told: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((&told["ended"], &told["logins"][0]["realm"]), (&1.into(), &"being told".into()), "{}", said(&ended));
    assert!(!one.active("test_api", &access));

    redis.kill();
    for action in ["find", "revoke"] {
        let failed = one.program_told(&["token", action], &access);
        assert_eq!(failed.status.code(), Some(1));
        let said = said(&failed);
        assert!(said.contains("the token store cannot read") && said.contains("Connection refused"), "{said}");
        assert!(said.contains("\n  hint: "), "{said}");
    }
}
