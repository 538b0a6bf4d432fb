//! Programs of other people, with no line of ours in their way: login, refresh, revoke on the real Keycloak.
//!
//! Each is a small program of its own language beside this file. It is told where and who by its environment, and says what it saw
//! as one JSON object; what it must have seen is the same for all.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::support::{Bridge, Keycloak, Old, Passport, Wish, repository};

const CLIENT: &str = "market_terminal";

#[track_caller]
fn goes_the_whole_way(mut program: Command, user: &'static str, algorithm: &'static str) {
    let keycloak = Keycloak::shared();
    let bridge = Bridge::before(keycloak, &[Old::of(CLIENT)]);
    let passport = Passport::of(&Wish { user, algorithm, ..Wish::default() });
    program
        // Some of them would take a proxy of the environment for the loopback too.
        .envs([("NO_PROXY", "127.0.0.1"), ("no_proxy", "127.0.0.1")])
        .env("BASE", format!("http://127.0.0.1:{}/auth/oauth/v2/token", bridge.legacy))
        .env("CLIENT_ID", CLIENT)
        .env("CLIENT_SECRET", Old::SECRET)
        .env("CERTIFICATE", &passport.certificate)
        .env("ALGORITHM", passport.algorithm)
        .env("SIGNATURE", &passport.signature);
    let output = program.stdin(Stdio::null()).output().expect("the program is installed (scripts/install test)");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = format!("{said}\n{}\n{}", String::from_utf8_lossy(&output.stderr), bridge.log());
    assert!(output.status.success(), "{failed}");
    let seen: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{failed}"));

    assert_eq!((&seen["first"][2], &seen["first"][3]), (&json!(3600), &json!("client_registration")), "{failed}");
    assert_eq!((&seen["before"], &seen["revoked"], &seen["after"]), (&json!(true), &json!("revoked"), &json!(false)));
    assert_eq!(seen["refused"], json!([400, "3003113", "invalid_grant"]), "{failed}");
    assert_eq!(seen["denied"], json!([401, "3003201", "invalid_client"]), "{failed}");
    let tokens: Vec<&str> = [&seen["first"][0], &seen["first"][1], &seen["next"][0], &seen["next"][1]]
        .map(|token| token.as_str().filter(|token| token.len() == 36).unwrap_or_else(|| panic!("{failed}")))
        .to_vec();
    let mut different = tokens.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 4, "{failed}");
    assert!(!bridge.active(CLIENT, tokens[0]), "the first access UUID is over too");
    bridge.says("\"outcome\":\"told\"");
    assert!(keycloak.sessions(user).is_empty(), "the realm's session is over");
}

fn beside(name: &str) -> String {
    format!("{}/tests/e2e/clients/{name}", repository())
}

#[test]
fn curl_logs_in_refreshes_and_revokes() {
    goes_the_whole_way(Command::new(beside("client.sh")), "90511", "RSA");
}

#[test]
fn python_requests_oauthlib_logs_in_refreshes_and_revokes() {
    let mut python = Command::new("bash");
    let script = r#"source "$1/scripts/lib.sh"; exec "$(venv clients)/python" "$2""#;
    python.args(["-c", script, "-", repository(), &beside("client.py")]);
    goes_the_whole_way(python, "90512", "GOST");
}

#[test]
fn javas_http_client_logs_in_refreshes_and_revokes() {
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", &beside("Client.java")]);
    goes_the_whole_way(java, "90513", "GOST");
}

#[test]
fn nodes_fetch_logs_in_refreshes_and_revokes() {
    let mut node = Command::new("node");
    node.arg(beside("client.mjs"));
    goes_the_whole_way(node, "90514", "RSA");
}
