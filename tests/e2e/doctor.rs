//! `passbridge doctor` before the real realm: each fault that its clients can have is found, and nothing is left behind.

use std::process::Output;

use serde_json::{Value, json};

use super::support::{Bridge, Keycloak, Old, Passport, Wish, free_ports};

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

/// What doctor finds of one client, beside one with which all is well: its codes, and the first finding whole.
fn of(client: Old, arguments: &[&str], input: &str) -> (i32, Vec<String>, Value) {
    let well = Old { id: "well", client_id: "test_api", further: "" };
    let bridge = Bridge::before(Keycloak::shared(), &[client, well]);
    let (status, findings) = examined(&bridge, arguments, input);
    assert_eq!(codes(&findings, Some("well")), [""; 0], "{findings:#?}");
    let first = findings.iter().find(|finding| finding["client"] == client.id).cloned().unwrap_or_default();
    (status, codes(&findings, Some(client.id)).into_iter().map(str::to_owned).collect(), first)
}

/// The sentence and what is to be done.
fn words(finding: &Value) -> (&str, &str) {
    (finding["message"].as_str().unwrap(), finding["hint"].as_str().unwrap())
}

#[test]
fn a_wrong_new_secret_is_found() {
    let (status, codes, finding) = of(Old::with("back_office", "client_secret = { env = \"WRONG\" }"), &[], "");
    assert_eq!((status, &codes[..]), (1, &["credentials-refused".to_owned()][..]), "{finding}");
    assert!(words(&finding).0.contains("the realm refuses `back_office` with its new secret: 401"), "{finding}");
    assert!(words(&finding).1.contains("Credentials page"), "{finding}");
}

#[test]
fn a_wrong_secret_beside_a_right_one_is_a_warning_that_says_which() {
    let both = "client_secret = [{ env = \"WRONG\" }, { env = \"NEW_ONCE_ONLY\" }]";
    let (status, codes, finding) = of(Old::with("once_only", both), &[], "");
    assert_eq!((status, &codes[..]), (0, &["secret-refused".to_owned()][..]), "{finding}");
    assert!(words(&finding).0.contains("refuses the first secret of `once_only`; the other one is right"), "{finding}");
    assert!(words(&finding).1.contains("promote --new"), "{finding}");
}

#[test]
fn a_client_that_is_switched_off_is_found_and_a_reader_sees_why() {
    let (status, codes, finding) = of(Old::of("switched_off"), &[], "");
    assert_eq!((status, &codes[..]), (1, &["credentials-refused".to_owned()][..]), "{finding}");
    assert!(words(&finding).1.contains("the client enabled"), "{finding}");
    let (_, codes, _) = of(Old::of("switched_off"), &["--reader", "realm_reader"], "realm-reader-secret");
    assert_eq!(codes, ["credentials-refused", "client-disabled"]);
}

#[test]
fn a_client_that_the_realm_does_not_have_is_found_and_a_reader_sees_why() {
    let nobody = Old::with("nobody_at_all", "client_secret = { env = \"WRONG\" }");
    let (status, codes, finding) = of(nobody, &[], "");
    assert_eq!((status, &codes[..]), (1, &["credentials-refused".to_owned()][..]), "{finding}");
    let (_, codes, _) = of(nobody, &["--reader", "realm_reader"], "realm-reader-secret");
    assert_eq!(codes, ["credentials-refused", "client-unknown"]);
}

#[test]
fn direct_access_grants_that_are_off_are_found() {
    let (status, codes, finding) = of(Old::of("no_direct_grants"), &[], "");
    assert_eq!((status, &codes[..]), (1, &["direct-grants-off".to_owned()][..]), "{finding}");
    assert!(words(&finding).1.contains("switch on Direct access grants"), "{finding}");
}

#[test]
fn a_passport_flow_that_is_not_bound_is_found() {
    let (status, codes, finding) = of(Old::of("flow_not_bound"), &[], "");
    assert_eq!((status, &codes[..]), (1, &["flow-not-bound".to_owned()][..]), "{finding}");
    assert!(words(&finding).1.contains("Authentication flow overrides"), "{finding}");
}

#[test]
fn a_scope_that_is_missing_is_found_by_its_name() {
    let scopes = "scopes = { registration = \"client_registration\", dreams = \"dreams\" }";
    let (status, codes, finding) = of(Old::with("market_terminal", scopes), &[], "");
    assert_eq!((status, &codes[..]), (1, &["scope-refused".to_owned()][..]), "{finding}");
    assert!(words(&finding).0.contains("the realm refuses the scope `dreams`"), "{finding}");
    let fine = "scopes = { client_registration = \"client_registration\" }";
    let (status, codes, finding) = of(Old::with("market_terminal", fine), &[], "");
    assert_eq!((status, codes.len()), (0, 0), "{finding}");
}

#[test]
fn a_public_client_is_found() {
    let (status, codes, finding) = of(Old::of("public_app"), &[], "");
    assert!(status == 1 && codes.contains(&"client-public".to_owned()), "{codes:?} {finding}");
}

#[test]
fn tokens_that_live_too_short_for_the_promise_are_found_by_a_reader() {
    let (status, codes, finding) = of(Old::of("short_lived"), &["--reader", "realm_reader"], "realm-reader-secret");
    assert_eq!((status, &codes[..]), (0, &["promise-short".to_owned()][..]), "{finding}");
    assert!(words(&finding).0.starts_with("1h are promised, and the realm's tokens last 2m"), "{finding}");
}

#[test]
fn faults_of_many_clients_are_told_together_and_one_that_is_asked_for_alone_is() {
    let clients = [
        Old::with("test_api", "scopes = { client_registration = \"client_registration\" }"),
        Old::of("no_direct_grants"),
        Old::with("back_office", "client_secret = { env = \"WRONG\" }"),
    ];
    let bridge = Bridge::before(Keycloak::shared(), &clients);
    let (status, findings) = examined(&bridge, &[], "");
    assert_eq!(codes(&findings, None), [""; 0], "nothing is wrong with realm, clock and parameters: {findings:#?}");
    let found = ["test_api", "no_direct_grants", "back_office"].map(|client| codes(&findings, Some(client)));
    assert_eq!(found, [vec![], vec!["direct-grants-off"], vec!["credentials-refused"]], "{findings:#?}");
    assert_eq!(status, 1);
    let (status, findings) = examined(&bridge, &["--client", "test_api"], "");
    assert_eq!((status, codes(&findings, Some("test_api")).len()), (0, 0), "{findings:#?}");
    assert!(codes(&findings, Some("back_office")).is_empty(), "nobody asked about that one");
    assert!(unseen(&findings, "lifetimes"), "what needs a reader is told: {findings:#?}");
}

#[test]
fn lifetimes_rotation_and_scopes_are_compared_where_a_reader_may_look() {
    let keycloak = Keycloak::shared();
    let clients = [Old::of("test_api"), Old::of("switched_off")];
    let bridge = Bridge::configured(&keycloak.url(), &clients, "rotation = \"on\"", "");
    let (status, findings) = examined(&bridge, &["--reader", "realm_reader"], "realm-reader-secret");
    assert_eq!(codes(&findings, None), ["rotation-differs"], "{findings:#?}");
    assert_eq!(codes(&findings, Some("test_api")), [""; 0], "{findings:#?}");
    assert!(codes(&findings, Some("switched_off")).contains(&"client-disabled"), "{findings:#?}");
    assert_eq!(status, 1, "a client is switched off");
    assert!(!unseen(&findings, "the clock of"), "the reader's token tells the realm's time: {findings:#?}");
    assert!(!unseen(&findings, "client policies"), "the reader's roles let it read them: {findings:#?}");
    let stats = keycloak.admin("GET", "/client-session-stats", &Value::Null).json();
    let of_reader = stats.as_array().unwrap().iter().any(|client| client["clientId"] == "realm_reader");
    assert!(!of_reader, "the reader's token opened no session: {stats}");
    let (status, findings) = examined(&bridge, &["--reader", "test_api"], "test-api-secret");
    assert!(codes(&findings, None).contains(&"reader-refused"), "{findings:#?}");
    assert_eq!(status, 1);
}

/// Changes a client of the realm file.
fn own<'r>(realm: &'r mut Value, id: &str) -> &'r mut Value {
    realm["clients"].as_array_mut().unwrap().iter_mut().find(|client| client["clientId"] == id).unwrap()
}

#[test]
fn a_secret_by_basic_alone_and_tokens_that_name_no_user_are_told_as_what_they_are() {
    const LIGHT: &str = "client.use.lightweight.access.token.enabled";
    let realm = Keycloak::shared().other_realm(|realm| {
        let method = "client.secret.authentication.allowed.method";
        own(realm, "market_terminal")["attributes"] = json!({method: "client_secret_basic"});
        for id in ["test_api", "back_office"] {
            own(realm, id)["attributes"] = json!({LIGHT: "true"});
        }
        let config = json!({"user.attribute": "username", "claim.name": "preferred_username", "jsonType.label": "String",
            "access.token.claim": "true", "lightweight.claim": "true"});
        let mapper = json!({"name": "its users", "protocol": "openid-connect", "config": config,
            "protocolMapper": "oidc-usermodel-attribute-mapper"});
        own(realm, "back_office")["protocolMappers"] = json!([mapper]);
    });
    let clients = ["test_api", "back_office", "market_terminal"].map(Old::of);
    let bridge = Bridge::configured(&realm, &clients, "rotation = \"off\"", "[ops]\ntoken = { env = \"NEW_CA\" }\n");
    let (status, findings) = examined(&bridge, &["--reader", "realm_reader"], "realm-reader-secret");
    let found = ["test_api", "back_office", "market_terminal"].map(|client| codes(&findings, Some(client)));
    assert_eq!((status, found), (1, [vec!["no-user-name"], vec![], vec!["secret-by-basic"]]), "{findings:#?}");
    for (client, status) in [("test_api", 1), ("back_office", 0)] {
        let passport = Passport::of(&Wish { user: "90501", ..Wish::default() });
        assert_eq!(bridge.login(client, &passport, "").status, 200, "{}", bridge.log());
        let told = bridge.program_told(&["token", "find", "--user", "90501"], "");
        assert_eq!(told.status.code(), Some(status), "{client}: {told:?}");
    }
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
