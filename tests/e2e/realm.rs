//! What the real realm sees of us, and what becomes of logins while it starts, stops and comes back.

use std::process::Command;

use serde_json::{Value, json};

use super::support::{Bridge, Keycloak, Old, Passport, Wish, ended, eventually, form, free_ports, send};

const TOKEN: &str = "/auth/oauth/v2/token";

/// A login that comes by a proxy, which says whose it is.
fn login_by_proxy(bridge: &Bridge, client: &str, passport: &Passport, from: &str) -> u16 {
    let fields = [
        ("client_id", client),
        ("client_secret", Old::SECRET),
        ("grant_type", "passport"),
        ("certificate", &passport.certificate),
        ("algorithm", &passport.algorithm),
        ("signature", &passport.signature),
    ];
    let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("X-Forwarded-For", from)];
    send(bridge.legacy, "POST", TOKEN, &headers, &form(&fields)).status
}

#[test]
fn the_clients_address_stands_in_the_realms_events_where_the_proxy_is_trusted() {
    let keycloak = Keycloak::shared();
    keycloak.keep_events();
    let clients = [Old::of("market_terminal")];
    let trusting = Bridge::configured(&keycloak.url(), &clients, "", "trusted_proxies = [\"127.0.0.0/8\"]");
    let other = Bridge::before(keycloak, &clients);
    let seen = |kind: &str, address: &str| {
        keycloak.events(kind, "market_terminal").iter().any(|event| event["ipAddress"] == address)
    };
    assert_eq!(login_by_proxy(&trusting, "market_terminal", &Passport::good(), "198.51.100.7"), 200);
    eventually("the realm has the client's address", || seen("LOGIN", "198.51.100.7"));
    let forged = Passport::of(&Wish { flaw: "signature", ..Wish::default() });
    assert_eq!(login_by_proxy(&trusting, "market_terminal", &forged, "2001:db8::7"), 401);
    eventually("and that of one who was refused", || {
        seen("LOGIN_ERROR", "2001:db8::7") || seen("LOGIN_ERROR", "2001:db8:0:0:0:0:0:7")
    });
    assert_eq!(login_by_proxy(&other, "market_terminal", &Passport::good(), "198.51.100.66"), 200);
    eventually("a stranger's word is not passed on", || seen("LOGIN", "127.0.0.1"));
    assert!(!seen("LOGIN", "198.51.100.66"));
}

#[test]
fn a_uuid_outlives_the_realms_short_tokens_which_are_renewed_as_it_is_used() {
    let keycloak = Keycloak::shared();
    keycloak.keep_events();
    let mut client = keycloak.client("back_office");
    client["attributes"]["access.token.lifespan"] = json!("5");
    let id = client["id"].as_str().unwrap().to_owned();
    assert_eq!(keycloak.admin("PUT", &format!("/clients/{id}"), &client).status, 204);
    let bridge = Bridge::before(keycloak, &[Old::of("back_office")]);
    let answer = bridge.login("back_office", &Passport::of(&Wish { user: "90515", ..Wish::default() }), "");
    assert_eq!((answer.status, answer.json()["expires_in"].as_u64()), (200, Some(3600)), "{answer:?}");
    let access = answer.text("access_token");
    eventually("the JWT behind it was renewed twice", || {
        assert!(bridge.active("back_office", &access), "{}", bridge.log());
        keycloak.events("REFRESH_TOKEN", "back_office").len() >= 2
    });
    assert!(bridge.active("back_office", &access), "{}", bridge.log());
}

#[test]
fn an_offline_session_is_refreshed_and_ended_like_any_other() {
    let keycloak = Keycloak::shared();
    let bridge = Bridge::before(keycloak, &[Old::of("test_api")]);
    let passport = Passport::of(&Wish { user: "90516", ..Wish::default() });
    let answer = bridge.login("test_api", &passport, "client_registration offline_access");
    assert_eq!(
        (answer.status, answer.json()["expires_in"].as_u64()),
        (200, Some(3600)),
        "{answer:?}\n{}",
        bridge.log()
    );
    let mut words: Vec<String> = answer.text("scope").split(' ').map(str::to_owned).collect();
    words.sort();
    assert_eq!(words, ["client_registration", "offline_access"]);
    let refreshed = bridge.refresh("test_api", &answer.text("refresh_token"));
    assert_eq!(refreshed.status, 200, "{refreshed:?}\n{}", bridge.log());

    let users = keycloak.admin("GET", "/users?username=90516&exact=true", &Value::Null).json();
    let (user, client) = (users[0]["id"].as_str().unwrap(), keycloak.client("test_api")["id"].clone());
    let offline = || {
        let path = format!("/users/{user}/offline-sessions/{}", client.as_str().unwrap());
        keycloak.admin("GET", &path, &Value::Null).json().as_array().unwrap().len()
    };
    assert_eq!(offline(), 1);
    let revoked = bridge.post(&format!("{TOKEN}/revoke"), "test_api", &[("token", &refreshed.text("access_token"))]);
    assert_eq!(revoked.status, 200);
    assert!(!bridge.active("test_api", &answer.text("access_token")));
    eventually("the realm's offline session is over", || offline() == 0);
}

#[test]
fn a_client_that_the_realm_holds_as_public_is_served_whatever_its_secret_is() {
    let public = Old::with("public_app", "client_secret = { env = \"WRONG\" }");
    let bridge = Bridge::before(Keycloak::shared(), &[public]);
    assert_eq!(bridge.login("public_app", &Passport::good(), "").status, 200, "{}", bridge.log());
}

#[test]
fn the_log_says_which_client_the_realm_did_not_know_us_by_and_why() {
    let wrong = |client| Old::with(client, "client_secret = { env = \"WRONG\" }");
    let right = ["switched_off", "flow_not_bound", "no_direct_grants"].map(Old::of);
    let clients = [[wrong("market_terminal"), wrong("nobody")].as_slice(), &right].concat();
    let bridge = Bridge::before(Keycloak::shared(), &clients);
    let reasons = [
        ("market_terminal", "401 unauthorized_client: Invalid client or Invalid client credentials"),
        ("switched_off", "401 invalid_client: Invalid client or Invalid client credentials"),
        ("nobody", "401 invalid_client: Invalid client or Invalid client credentials"),
        ("flow_not_bound", "401 invalid_request: Missing parameter: username"),
        ("no_direct_grants", "400 unauthorized_client: Client not allowed for direct access grants"),
    ];
    for (client, reason) in reasons {
        let refused = bridge.login(client, &Passport::good(), "");
        assert!(refused.status >= 400 && !refused.body.contains("Invalid client"), "{refused:?}");
        eventually(reason, || {
            let log = bridge.log();
            let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.any(|line| {
                line["client"] == client
                    && line["fault"] == "operator"
                    && line["detail"].as_str().is_some_and(|detail| detail.contains(reason))
            })
        });
    }
}

#[test]
fn logins_fail_in_the_old_words_while_the_realm_starts_or_is_gone_and_a_passport_is_not_lost_by_it() {
    let ports = free_ports();
    let url = format!("http://127.0.0.1:{}/auth/realms/SSO", ports[0]);
    let bridge = Bridge::configured(&url, &[Old::of("once_only")], "", "");
    let server_error = (500, "3003000".to_owned(), "server_error".to_owned());
    let passport = Passport::good(); // good for one login
    assert_eq!(bridge.login("once_only", &passport, "").refusal(), server_error);
    for round in 0..2 {
        let passport = if round == 0 { passport.clone() } else { Passport::good() };
        let (_keycloak, id) = Keycloak::boot(ports, &[]);
        let begin = std::time::Instant::now();
        let answer = loop {
            let answer = bridge.login("once_only", &passport, "");
            if answer.status == 200 {
                break answer;
            }
            assert_eq!(answer.refusal(), server_error, "{answer:?}\n{}", bridge.log());
            assert!(begin.elapsed().as_secs() < 240, "{}", bridge.log());
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        };
        assert!(bridge.active("once_only", &answer.text("access_token")));
        assert_eq!(bridge.login("once_only", &passport, "").status, 401, "now it was used");
        assert!(Command::new("kill").arg(id.to_string()).status().unwrap().success());
        eventually("the realm is gone", || {
            let answer = bridge.login("once_only", &Passport::good(), "");
            assert!(answer.status == 200 || answer.refusal() == server_error, "{answer:?}");
            answer.status != 200 && ended(id)
        });
        assert!(bridge.active("once_only", &answer.text("access_token")), "a UUID needs no realm");
    }
    bridge.says("the realm cannot be reached");
}
