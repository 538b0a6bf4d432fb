//! What the real realm refuses, and what the legacy client hears of it: every row of the realm's errors that a login can meet.

use super::support::{Bridge, Keycloak, Old, Passport, Wish, eventually};

type Refusal = (u16, &'static str, &'static str);

const RESOURCE_OWNER: Refusal = (401, "3003202", "invalid_request");
const SERVER_ERROR: Refusal = (500, "3003000", "server_error");
const SCOPE: Refusal = (400, "3003115", "invalid_scope");
const GRANT_FORBIDDEN: Refusal = (400, "3003117", "unauthorized_client");

#[track_caller]
fn refused(bridge: &Bridge, client: &str, passport: &Passport, scope: &str, expected: Refusal) {
    let answer = bridge.login(client, passport, scope);
    let (status, code, error) = answer.refusal();
    assert_eq!((status, code.as_str(), error.as_str()), expected, "{answer:?}\n{}", bridge.log());
    assert!(answer.header("set-cookie").is_none(), "nothing of the realm's reaches the client: {answer:?}");
}

#[test]
fn a_bad_passport_or_signature_is_the_resource_owner_refused() {
    let bridge = Bridge::before(Keycloak::shared(), &[Old::of("test_api")]);
    for algorithm in ["RSA", "GOST"] {
        for flaw in ["signature", "certificate", "issuer", "key", "algorithm"] {
            refused(
                &bridge,
                "test_api",
                &Passport::of(&Wish { algorithm, flaw, ..Wish::default() }),
                "",
                RESOURCE_OWNER,
            );
        }
        refused(
            &bridge,
            "test_api",
            &Passport::of(&Wish { algorithm, expires_in: -60, issued_in: -600, ..Wish::default() }),
            "",
            RESOURCE_OWNER,
        );
        refused(
            &bridge,
            "test_api",
            &Passport::of(&Wish { algorithm, issued_in: 3600, expires_in: 7200, ..Wish::default() }),
            "",
            RESOURCE_OWNER,
        );
    }
    for said in
        ["Signature does not match", "Passport certificate has expired", "Passport certificate is not yet valid"]
    {
        bridge.says(said);
    }
}

#[test]
fn unknown_disabled_and_unfinished_users_are_refused_alike() {
    let bridge = Bridge::before(Keycloak::shared(), &[Old::of("test_api")]);
    for user in ["90999", "90440", "90441"] {
        refused(&bridge, "test_api", &Passport::of(&Wish { user, ..Wish::default() }), "", RESOURCE_OWNER);
    }
    for said in ["Passport user is not known", "Account disabled", "Account is not fully set up"] {
        bridge.says(said);
    }
}

#[test]
fn a_passport_that_may_be_used_once_is_refused_the_second_time() {
    let bridge = Bridge::before(Keycloak::shared(), &[Old::of("once_only")]);
    let passport = Passport::good();
    assert_eq!(bridge.login("once_only", &passport, "").status, 200);
    refused(&bridge, "once_only", &passport, "", RESOURCE_OWNER);
}

#[test]
fn a_grant_that_is_switched_off_is_told_and_wrong_credentials_of_ours_are_our_own_fault() {
    let wrong = Old::with("market_terminal", "client_secret = { env = \"WRONG\" }");
    let clients = [Old::of("no_direct_grants"), Old::of("switched_off"), Old::of("flow_not_bound"), wrong];
    let bridge = Bridge::before(Keycloak::shared(), &clients);
    refused(&bridge, "no_direct_grants", &Passport::good(), "", GRANT_FORBIDDEN);
    for client in ["switched_off", "flow_not_bound", "market_terminal"] {
        refused(&bridge, client, &Passport::good(), "", SERVER_ERROR);
        eventually("a line names the client and whose fault it is", || {
            let named = format!("\"client\":\"{client}\"");
            bridge.log().lines().any(|line| line.contains(&named) && line.contains("\"fault\":\"operator\""))
        });
    }
}

#[test]
fn the_second_new_secret_is_used_where_the_first_is_refused() {
    let rotated = Old::with("test_api", "client_secret = [{ env = \"WRONG\" }, { env = \"NEW_TEST_API\" }]");
    let bridge = Bridge::before(Keycloak::shared(), &[rotated]);
    assert_eq!(bridge.login("test_api", &Passport::good(), "").status, 200, "{}", bridge.log());
    bridge.says("second_secret");
}

#[test]
fn a_scope_that_the_client_does_not_have_is_refused_in_the_dialects_words() {
    let older = Old::with("market_terminal", "dialect = \"otk-old\"");
    let bridge = Bridge::before(Keycloak::shared(), &[Old::of("test_api"), older]);
    refused(&bridge, "test_api", &Passport::good(), "no_such_scope", SCOPE);
    refused(&bridge, "test_api", &Passport::good(), "orders", SCOPE);
    refused(&bridge, "test_api", &Passport::of(&Wish { user: "90442", ..Wish::default() }), "offline_access", SCOPE);
    refused(&bridge, "market_terminal", &Passport::good(), "no_such_scope", (403, "3003115", "invalid_request"));
    let wrong_user = Passport::of(&Wish { user: "90999", ..Wish::default() });
    refused(&bridge, "market_terminal", &wrong_user, "", (400, "3003202", "invalid_grant"));
}

#[test]
fn an_over_long_scope_which_keycloak_would_drop_in_silence_is_refused() {
    let bridge = Bridge::before(Keycloak::shared(), &[Old::of("test_api")]);
    refused(&bridge, "test_api", &Passport::good(), &"client_registration ".repeat(201), SCOPE);
}

#[test]
fn a_realm_that_does_not_exist_or_is_not_there_is_a_server_error() {
    let nowhere = Keycloak::shared().url().replace("/SSO", "/NOWHERE");
    let bridge = Bridge::configured(&nowhere, &[Old::of("test_api")], "", "");
    refused(&bridge, "test_api", &Passport::good(), "", SERVER_ERROR);
    let bridge = Bridge::configured("http://127.0.0.1:9/auth/realms/SSO", &[Old::of("test_api")], "", "");
    refused(&bridge, "test_api", &Passport::good(), "", SERVER_ERROR);
    bridge.says("the realm cannot be reached");
}

#[test]
fn a_wrong_old_secret_and_an_unknown_client_never_reach_the_realm() {
    let bridge = Bridge::before(Keycloak::shared(), &[Old::of("test_api")]);
    let passport = Passport::good();
    let fields = [
        ("grant_type", "passport"),
        ("client_id", "test_api"),
        ("client_secret", "wrong"),
        ("certificate", passport.certificate.as_str()),
        ("algorithm", "RSA"),
        ("signature", passport.signature.as_str()),
    ];
    let form_type = [("Content-Type", "application/x-www-form-urlencoded")];
    let send = |body: &str| super::support::send(bridge.legacy, "POST", "/auth/oauth/v2/token", &form_type, body);
    let wrong = send(&super::support::form(&fields));
    let unknown = bridge.login("nobody", &passport, "");
    assert_eq!(wrong.refusal(), (401, "3003201".to_owned(), "invalid_client".to_owned()));
    assert_eq!(wrong.body, unknown.body);
    assert_eq!(wrong.body.len(), 102, "as it was captured");
    assert!(!bridge.log().contains("realm_ms"), "{}", bridge.log());
}
