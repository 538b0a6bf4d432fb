//! Logins of legacy clients at the real Keycloak.

use std::process::Command;

use parking_lot::Mutex;

use super::support::{Bridge, Keycloak, Old, Passport, Wish, eventually, send};

const UUID: &str = "8-4-4-4-12";

fn shape(text: &str) -> String {
    text.split('-').map(|part| part.len().to_string()).collect::<Vec<_>>().join("-")
}

#[test]
fn an_unmodified_client_gets_its_uuids_byte_for_byte_with_either_algorithm() {
    let bridge = Bridge::before(Keycloak::shared(), &[Old::of("test_api")]);
    for algorithm in ["RSA", "GOST"] {
        let passport = Passport::of(&Wish { algorithm, ..Wish::default() });
        let answer = bridge.login("test_api", &passport, "client_registration");
        assert_eq!(answer.status, 200, "{answer:?}\n{}", bridge.log());
        let (access, refresh) = (answer.text("access_token"), answer.text("refresh_token"));
        assert_eq!((shape(&access).as_str(), shape(&refresh).as_str()), (UUID, UUID));
        let expected = format!(
            "{{\r\n  \"grant_type\": \"passport\",\r\n  \"access_token\":\"{access}\",\r\n  \"token_type\":\"Bearer\",\r\n  \"expires_in\":3600,\r\n  \"refresh_token\":\"{refresh}\",\r\n  \"scope\":\"client_registration\"\r\n}}"
        );
        assert_eq!(answer.body, expected);
        assert_eq!(answer.header("content-type").as_deref(), Some("application/json;charset=UTF-8"));
        assert!(bridge.active("test_api", &access));
    }
}

#[test]
fn asked_for_nothing_all_that_was_granted_is_told_in_legacy_words() {
    let old = Old::with("test_api", "scopes = { registration = \"client_registration\" }");
    let bridge = Bridge::before(Keycloak::shared(), &[old, Old::of("back_office")]);
    let answer = bridge.login("back_office", &Passport::good(), "");
    let mut words: Vec<String> = answer.text("scope").split(' ').map(str::to_owned).collect();
    words.sort();
    assert_eq!(words, ["2F_CA_Auth", "client_registration", "email", "profile"]);
    assert_eq!(bridge.login("test_api", &Passport::good(), "registration").text("scope"), "registration");
}

#[test]
fn a_signature_of_eight_kilobytes_arrives_whole() {
    let bridge = Bridge::before(Keycloak::shared(), &[Old::of("test_api")]);
    for algorithm in ["RSA", "GOST"] {
        let passport = Passport::of(&Wish { algorithm, signature_length: 8000, ..Wish::default() });
        assert_eq!(passport.signature.len(), 8000);
        let answer = bridge.login("test_api", &passport, "");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    bridge.says("over_long_parameter");
}

#[test]
fn credentials_may_come_as_basic_and_where_the_mapping_allows_it_in_the_query() {
    use base64::Engine;
    let clients = [Old::of("test_api"), Old::with("market_terminal", "allow_query_credentials = true")];
    let bridge = Bridge::before(Keycloak::shared(), &clients);
    let basic = |id: &str| {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{}", Old::SECRET));
        format!("Basic {pair}")
    };
    let passport = Passport::good();
    let body = super::support::form(&[
        ("grant_type", "passport"),
        ("certificate", &passport.certificate),
        ("algorithm", &passport.algorithm),
        ("signature", &passport.signature),
    ]);
    let form_type = ("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8");
    let authorization = basic("test_api");
    let answer =
        send(bridge.legacy, "POST", "/auth/oauth/v2/token", &[form_type, ("Authorization", &authorization)], &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    for (client, status) in [("market_terminal", 200), ("test_api", 401)] {
        let target = format!("/auth/oauth/v2/token?client_id={client}&client_secret={}", Old::SECRET);
        assert_eq!(send(bridge.legacy, "POST", &target, &[form_type], &body).status, status, "{client}");
    }
}

#[test]
fn the_promise_is_honest_where_the_realm_lives_shorter() {
    let bridge = Bridge::before(Keycloak::shared(), &[Old::of("short_lived")]);
    let answer = bridge.login("short_lived", &Passport::good(), "");
    let promised = answer.json()["expires_in"].as_u64().unwrap();
    assert!((100..=120).contains(&promised), "the realm's session idles out after 120 s: {promised}");
    bridge.says("promise_short");
}

#[test]
fn every_answered_uuid_is_alive_after_a_kill_in_the_middle_of_the_load() {
    let mut bridge = Bridge::before(Keycloak::shared(), &[Old::of("test_api")]);
    let mut answered: Vec<String> = Vec::new();
    for round in 0..4 {
        let passports: Vec<Passport> = (0..40).map(|_| Passport::good()).collect();
        let answers = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for passports in passports.chunks(10) {
                let (bridge, answers) = (&bridge, &answers);
                scope.spawn(move || {
                    for passport in passports {
                        let Some(answer) = bridge.try_login("test_api", passport) else { return };
                        assert_eq!(answer.status, 200, "{answer:?}");
                        answers.lock().push(answer.text("access_token"));
                    }
                });
            }
            eventually("some have their answer", || answers.lock().len() >= 10);
            bridge.kill();
        });
        let answers = answers.into_inner();
        assert!(answers.len() < passports.len(), "the kill was in the middle");
        answered.extend(answers);
        bridge = bridge.restart();
        for token in &answered {
            assert!(bridge.active("test_api", token), "round {round}: an answered UUID is dead");
        }
    }
}

#[test]
fn curl_logs_in() {
    let bridge = Bridge::before(Keycloak::shared(), &[Old::of("test_api")]);
    let passport = Passport::good();
    let url = format!("http://127.0.0.1:{}/auth/oauth/v2/token", bridge.legacy);
    let output = Command::new("curl")
        .args(["-sS", "-i", "--noproxy", "*", "-d", "grant_type=passport"])
        .args(["--user", &format!("test_api:{}", Old::SECRET)])
        .args(["--data-urlencode", &format!("certificate={}", passport.certificate), "-d", "algorithm=RSA"])
        .args(["--data-urlencode", &format!("signature={}", passport.signature), &url])
        .output()
        .expect("curl runs");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.contains("\"grant_type\": \"passport\""), "{text}");
}

#[test]
fn a_store_that_cannot_write_is_a_server_error_and_hands_out_nothing() {
    let bridge = Bridge::before(Keycloak::shared(), &[Old::of("test_api")]);
    let (before, _) = bridge.pair("test_api", "90417");
    bridge.limit_files("1000:");
    for _ in 0..3 {
        let answer = bridge.login("test_api", &Passport::good(), "");
        assert_eq!(answer.refusal(), (500, "3003000".to_owned(), "server_error".to_owned()), "{answer:?}");
        assert!(!answer.body.contains("access_token"));
    }
    bridge.says("no room left");
    assert!(bridge.active("test_api", &before), "what is kept is still read");
    let ready = send(bridge.ops, "GET", "/readyz", &[], "");
    assert_eq!((ready.status, ready.text("store").as_str()), (200, "refusing"));
    bridge.limit_files("unlimited");
    eventually("there is room again", || bridge.login("test_api", &Passport::good(), "").status == 200);
    assert!(bridge.active("test_api", &before));
}
