//! `passbridge doctor` before the real realm: each fault that its clients can have is found, and nothing is left behind.

use std::process::Output;

use serde_json::Value;

use super::support::{Bridge, Keycloak, Old, free_ports};

/// Status and findings.
fn examined(bridge: &Bridge, arguments: &[&str], input: &str) -> (i32, Vec<Value>) {
    let all = [&["doctor", "--format", "json"], arguments].concat();
    let Output { status, stdout, stderr } = bridge.program_told(&all, input);
    let (data, talk) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(!(data.clone() + &talk).contains("-secret"), "a secret is told: {data}{talk}");
    let findings: Vec<Value> = serde_json::from_str(&data).unwrap_or_else(|_| panic!("no findings: {data}{talk}"));
    for finding in &findings {
        assert!(finding["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "what is to be done? {finding}");
    }
    (status.code().unwrap(), findings)
}

/// The codes of what is wrong with a client, or with all.
fn codes<'f>(findings: &'f [Value], client: Option<&str>) -> Vec<&'f str> {
    let meant = |finding: &&Value| finding["client"].as_str() == client && finding["severity"] != "note";
    findings.iter().filter(meant).map(|finding| finding["code"].as_str().unwrap()).collect()
}

/// Whether a note says that this was not checked.
fn unseen(findings: &[Value], what: &str) -> bool {
    let notes = findings.iter().filter(|finding| finding["code"] == "not-checked");
    notes.map(|note| note["message"].as_str().unwrap()).any(|message| message.contains(what))
}

#[test]
fn every_fault_that_a_client_of_the_realm_can_have_is_found() {
    let keycloak = Keycloak::shared();
    let clients = [
        Old::with("test_api", "scopes = { client_registration = \"client_registration\" }"),
        Old::with("market_terminal", "scopes = { registration = \"client_registration\", dreams = \"dreams\" }"),
        Old::of("no_direct_grants"),
        Old::of("switched_off"),
        Old::of("flow_not_bound"),
        Old::of("public_app"),
        Old::with("back_office", "client_secret = { env = \"WRONG\" }"),
        Old::with("once_only", "client_secret = [{ env = \"WRONG\" }, { env = \"NEW_ONCE_ONLY\" }]"),
    ];
    let bridge = Bridge::before(keycloak, &clients);
    let (status, findings) = examined(&bridge, &[], "");
    for (client, expected) in [
        ("test_api", &[][..]),
        ("market_terminal", &["scope-refused"]),
        ("no_direct_grants", &["direct-grants-off"]),
        ("switched_off", &["credentials-refused"]),
        ("flow_not_bound", &["flow-not-bound"]),
        ("public_app", &["client-public"]),
        ("back_office", &["credentials-refused"]),
        ("once_only", &["secret-refused"]),
    ] {
        let found: Vec<&str> = codes(&findings, Some(client))
            .into_iter()
            .filter(|code| client != "public_app" || *code == "client-public")
            .collect();
        assert_eq!(found, expected, "{client}: {findings:#?}");
    }
    assert_eq!(codes(&findings, None), [""; 0], "nothing is wrong with realm, clock and parameters: {findings:#?}");
    let scope = findings.iter().find(|finding| finding["code"] == "scope-refused").unwrap();
    assert!(scope["message"].as_str().unwrap().contains("`dreams`"), "{scope}");
    assert_eq!(status, 1);
    let (status, findings) = examined(&bridge, &["--client", "test_api"], "");
    assert_eq!((status, codes(&findings, Some("test_api")).len()), (0, 0), "{findings:#?}");
    assert!(codes(&findings, Some("back_office")).is_empty(), "nobody asked about that one");
    let unseen = findings
        .iter()
        .any(|finding| finding["code"] == "not-checked" && finding["message"].as_str().unwrap().contains("lifetimes"));
    assert!(unseen, "what needs a reader is told: {findings:#?}");
}

#[test]
fn lifetimes_rotation_and_scopes_are_compared_where_a_reader_may_look() {
    let keycloak = Keycloak::shared();
    let clients = [Old::of("test_api"), Old::of("short_lived"), Old::of("switched_off")];
    let bridge = Bridge::configured(&keycloak.url(), &clients, "rotation = \"on\"", "");
    let (status, findings) = examined(&bridge, &["--reader", "realm_reader"], "realm-reader-secret");
    assert_eq!(codes(&findings, None), ["rotation-differs"], "{findings:#?}");
    assert_eq!(codes(&findings, Some("test_api")), [""; 0], "{findings:#?}");
    assert_eq!(codes(&findings, Some("short_lived")), ["promise-short"], "{findings:#?}");
    assert!(codes(&findings, Some("switched_off")).contains(&"client-disabled"), "{findings:#?}");
    let short = findings.iter().find(|finding| finding["code"] == "promise-short").unwrap();
    assert!(
        short["message"].as_str().unwrap().starts_with("1h are promised, and the realm's tokens last 2m"),
        "{short}"
    );
    assert_eq!(status, 1, "a client is switched off");
    assert!(!unseen(&findings, "the clock of"), "the reader's token tells the realm's time: {findings:#?}");
    let stats = keycloak.admin("GET", "/client-session-stats", &Value::Null).json();
    let of_reader = stats.as_array().unwrap().iter().any(|client| client["clientId"] == "realm_reader");
    assert!(!of_reader, "the reader's token opened no session: {stats}");
    let (status, findings) = examined(&bridge, &["--reader", "test_api"], "test-api-secret");
    assert!(codes(&findings, None).contains(&"reader-refused"), "{findings:#?}");
    assert_eq!(status, 1);
}

#[test]
fn a_url_that_is_down_or_no_realm_is_told_and_the_other_one_is_asked() {
    let keycloak = Keycloak::shared();
    let [nowhere] = free_ports();
    let nobody = format!("http://127.0.0.1:{nowhere}/auth/realms/SSO");
    let urls = format!("{nobody}\", \"{}-else\", \"{}", keycloak.url(), keycloak.url());
    let bridge = Bridge::configured(&urls, &[Old::of("test_api")], "rotation = \"off\"", "");
    let (status, findings) = examined(&bridge, &[], "");
    assert_eq!((status, codes(&findings, None)), (1, vec!["realm-unreachable", "not-a-realm"]), "{findings:#?}");
    assert_eq!(codes(&findings, Some("test_api")), [""; 0], "{findings:#?}");
}
