//! A login: what the realm is asked, and what it is not.

use crate::support::world::NEW_SECRET;
use crate::support::{
    FakeRealm, Mood, NEW_ID, OLD_ID, OLD_SECRET, Plan, TOKEN, World, client, passport, post, post_with,
};

/// The usual request with one value in another's place; an empty one is left out.
pub fn with<'a>(name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields = passport(OLD_ID, OLD_SECRET);
    for field in &mut fields {
        if field.0 == name {
            field.1 = value;
        }
    }
    fields.retain(|(_, value)| !value.is_empty());
    fields
}

#[test]
fn the_realm_is_asked_once_with_exactly_these_fields_in_this_order() {
    let world = World::new();
    world.login();
    let expected = [
        ("client_id", NEW_ID),
        ("client_secret", NEW_SECRET),
        ("grant_type", "password"),
        ("grant_type_moex", "passport"),
        ("certificate", "planted-certificate_MicexPassportCert"),
        ("algorithm", "GOST"),
        ("signature", "planted+signature/with=signs=="),
        ("scope", "client_registration"),
    ];
    let form = world.realm.last().form();
    let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(form, expected);
    assert_eq!(world.realm.count(), 1);
    assert!(world.realm.last().head.starts_with("POST /auth/realms/SSO/protocol/openid-connect/token HTTP/1.1\r\n"));
}

#[test]
fn nothing_of_the_clients_own_reaches_the_realm() {
    let world = World::new();
    let mut fields = passport(OLD_ID, OLD_SECRET);
    fields.extend([("username", "admin"), ("password", "x"), ("grant_type_moex", "other"), ("state", "opaque")]);
    let headers = [
        ("Cookie", "session=old"),
        ("User-Agent", "old-client/1.0"),
        ("X-Forwarded-For", "198.51.100.7"),
        ("X-Forwarded-Host", "evil.example.org"),
        ("Forwarded", "for=198.51.100.7"),
        ("Accept-Language", "ru"),
        ("Traceparent", "00-11111111111111111111111111111111-2222222222222222-01"),
    ];
    let reply = world.ask(&post_with(TOKEN, &headers, &fields));
    assert_eq!(reply.status, 200);
    let seen = world.realm.last();
    let mut names: Vec<String> =
        seen.head.lines().skip(1).map(|line| line.split(':').next().unwrap().to_ascii_lowercase()).collect();
    names.sort();
    assert_eq!(names, ["accept", "content-length", "content-type", "host", "x-forwarded-for"]);
    assert_eq!(seen.header("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(seen.header("content-type").as_deref(), Some("application/x-www-form-urlencoded"));
    assert_eq!(seen.field("grant_type_moex").as_deref(), Some("passport"));
    for name in ["username", "password", "state"] {
        assert_eq!(seen.field(name), None);
    }
}

#[test]
fn the_clients_address_is_told_where_a_trusted_proxy_names_it() {
    let world = Plan::new().set("server", "trusted_proxies", "[\"127.0.0.0/8\"]").start();
    let seen = |header: &str, value: &str| {
        world.ask(&post_with(TOKEN, &[(header, value)], &passport(OLD_ID, OLD_SECRET)));
        world.realm.last().header("x-forwarded-for").unwrap()
    };
    assert_eq!(seen("X-Forwarded-For", "203.0.113.9, 198.51.100.7, 127.0.0.2"), "198.51.100.7");
    assert_eq!(seen("x-forwarded-for", "[2001:db8::7]:4711"), "2001:db8::7");
    assert_eq!(seen("Forwarded", "for=198.51.100.8;proto=https"), "198.51.100.8");
    assert_eq!(seen("X-Forwarded-For", "nonsense"), "127.0.0.1");
    assert_eq!(seen("Accept", "*/*"), "127.0.0.1");
}

#[test]
fn nothing_of_the_realms_answer_but_two_uuids_and_the_scope_reaches_the_client() {
    let world = World::new();
    let reply = world.login();
    let names: Vec<String> = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&reply.body)
        .unwrap()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let mut expected = ["grant_type", "access_token", "token_type", "expires_in", "refresh_token", "scope"];
    expected.sort_unstable();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, expected);
    assert_ne!(reply.text("access_token"), reply.text("refresh_token"));
    for token in ["access_token", "refresh_token"] {
        assert_eq!(uuid::Uuid::parse_str(&reply.text(token)).unwrap().get_version_num(), 4);
    }
}

#[test]
fn every_login_is_another_family() {
    let world = World::new();
    let (one, other) = (world.login(), world.login());
    assert_ne!(one.text("access_token"), other.text("access_token"));
    assert!(world.active(&one.text("access_token")) && world.active(&other.text("access_token")));
}

#[test]
fn a_missing_empty_or_forbidden_field_asks_nobody() {
    let world = World::new();
    for name in ["certificate", "signature", "algorithm", "grant_type"] {
        assert_eq!(world.token(&with(name, "")).said(), (400, "invalid_request".to_owned()), "{name}");
    }
    assert_eq!(world.token(&with("algorithm", "gost")).said(), (400, "invalid_request".to_owned()));
    assert_eq!(world.token(&with("grant_type", "password")).said(), (400, "unsupported_grant_type".to_owned()));
    assert_eq!(world.token_body(b"certificate=").said(), (401, "invalid_client".to_owned()));
    assert_eq!(world.realm.count(), 0);
}

#[test]
fn rsa_is_passed_like_gost() {
    let world = World::new();
    assert_eq!(world.token(&with("algorithm", "RSA")).status, 200);
    assert_eq!(world.realm.last().field("algorithm").as_deref(), Some("RSA"));
}

#[test]
fn what_a_client_had_before_it_was_retired_stays_good() {
    let mut world = World::new();
    let reply = world.login();
    let (access, refresh) = (reply.text("access_token"), reply.text("refresh_token"));
    world.change_clients(&[client(OLD_ID, "stage = \"retired\"")]);
    world.running().reload().unwrap();
    assert_eq!(world.token(&passport(OLD_ID, OLD_SECRET)).status, 400, "no new login");
    assert!(world.active(&access));
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", OLD_ID),
        ("client_secret", OLD_SECRET),
        ("refresh_token", &*refresh),
    ];
    assert_eq!(world.token(&fields).status, 200);
}

#[test]
fn a_retired_client_is_refused_and_the_realm_is_not_asked() {
    let world = Plan::new().client(&client("old-and-gone", "stage = \"retired\"")).start();
    assert_eq!(world.token(&passport("old-and-gone", OLD_SECRET)).said(), (400, "unauthorized_client".to_owned()));
    assert_eq!(world.token(&passport("old-and-gone", "wrong")).said(), (401, "invalid_client".to_owned()));
    assert_eq!(world.realm.count(), 0);
    let outcome = "passbridge_requests_total{endpoint=\"token\",client=\"old-and-gone\",outcome=\"grant_forbidden\"}";
    assert!((world.metric(outcome) - 1.0).abs() < f64::EPSILON);
}

const WRONG: Mood = Mood::Refuse(401, "unauthorized_client", "Invalid client or Invalid client credentials");

fn two_secrets() -> World {
    let more = "client_secret = [{ env = \"NEW_SECRET\" }, { env = \"NEXT_SECRET\" }]";
    Plan::new()
        .without_clients()
        .client(&client(OLD_ID, more))
        .environment("NEXT_SECRET", "planted-next-secret")
        .start()
}

#[test]
fn the_second_new_secret_is_used_where_the_realm_refuses_the_first_and_told() {
    let world = two_secrets();
    world.realm.next(WRONG);
    world.login();
    let secrets: Vec<_> = world.realm.seen().iter().map(|seen| seen.field("client_secret").unwrap()).collect();
    assert_eq!(secrets, [NEW_SECRET, "planted-next-secret"]);
    let note = format!("passbridge_notes_total{{client=\"{OLD_ID}\",note=\"second_secret\"}}");
    assert!((world.metric(&note) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn where_both_new_secrets_are_wrong_the_operator_is_at_fault() {
    let world = two_secrets();
    world.realm.usually(WRONG);
    assert_eq!(world.token(&passport(OLD_ID, OLD_SECRET)).said(), (500, "server_error".to_owned()));
    assert_eq!(world.realm.count(), 2);
    let fault = format!("passbridge_faults_total{{client=\"{OLD_ID}\",fault=\"operator\"}}");
    assert!((world.metric(&fault) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn the_second_new_secret_is_not_used_for_any_other_refusal() {
    let world = two_secrets();
    for mood in [
        Mood::Refuse(400, "invalid_grant", "Invalid user credentials"),
        Mood::Refuse(400, "unauthorized_client", "Client not allowed for direct access grants"),
        Mood::answer(503, "text/html", "booting"),
        Mood::Reset,
    ] {
        let before = world.realm.count();
        world.realm.next(mood);
        assert!(world.token(&passport(OLD_ID, OLD_SECRET)).status >= 400);
        assert_eq!(world.realm.count(), before + 1);
    }
}

#[test]
fn an_over_long_signature_is_sent_whole_and_told() {
    let world = Plan::new().client(&client("long-winded", "")).start();
    let signature = "MIIF+/=".repeat(1_200);
    let mut fields = passport("long-winded", OLD_SECRET);
    fields[6].1 = &signature;
    assert_eq!(world.token(&fields).status, 200);
    assert_eq!(world.realm.last().field("signature"), Some(signature));
    let note = "passbridge_notes_total{client=\"long-winded\",note=\"over_long_parameter\"}";
    assert!((world.metric(note) - 1.0).abs() < f64::EPSILON);
    let line = world.log("long-winded").pop().unwrap();
    assert_eq!((line["notes"].as_str(), line["level"].as_str()), (Some("over_long_parameter"), Some("WARN")));
}

#[test]
fn an_over_long_signature_is_refused_where_the_operator_says_so() {
    let world = Plan::new().set("limits", "over_long_signature", "\"refuse\"").set("limits", "parameter", "10").start();
    assert_eq!(world.token(&passport(OLD_ID, OLD_SECRET)).said(), (400, "invalid_request".to_owned()));
    let mut fields = with("certificate", "ten letter");
    fields[6].1 = "ten+letter";
    fields.remove(3);
    assert_eq!(world.token(&fields).status, 200);
    assert_eq!(world.realm.count(), 1);
}

#[test]
fn blanks_are_mended_only_where_the_mapping_says_that_the_client_forgets_to_escape() {
    let world = Plan::new().client(&client("forgetful", "mend_unescaped_plus = true")).start();
    let body = |id: &str| {
        format!(
            "grant_type=passport&client_id={id}&client_secret={OLD_SECRET}&scope=a+b&algorithm=RSA&certificate=c+d&signature=a+b/c=="
        )
    };
    let sent = |id: &str| {
        world.token_body(body(id).as_bytes());
        let seen = world.realm.last();
        ["certificate", "signature", "scope"].map(|name| seen.field(name).unwrap())
    };
    assert_eq!(sent("forgetful"), ["c+d", "a+b/c==", "a b"]);
    assert_eq!(sent(OLD_ID), ["c d", "a b/c==", "a b"]);
}

#[test]
fn the_realms_public_name_is_told_where_it_is_configured() {
    let world = Plan::new().set("realm", "public_url", "\"https://sso.example.org/auth/realms/SSO\"").start();
    world.login();
    let seen = world.realm.last();
    assert_eq!(seen.header("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(seen.header("x-forwarded-host").as_deref(), Some("sso.example.org"));
}

#[test]
fn a_reload_asks_another_realm_from_the_next_request_on() {
    let mut world = World::new();
    world.login();
    let other = FakeRealm::start();
    world.change("realm", "urls", &format!("[\"{}\"]", other.url()));
    world.running().reload().unwrap();
    world.login();
    assert_eq!((world.realm.count(), other.count()), (1, 1));
}

#[test]
fn a_request_in_flight_keeps_the_table_that_it_began_with() {
    let mut world = World::new();
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    world
        .realm
        .next(Mood::Gate(std::sync::Arc::clone(&gate), Box::new(Mood::Grant(crate::support::Granting::default()))));
    let mut waiting = world.connect();
    waiting.write(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    crate::support::eventually("the realm is asked", || world.realm.count() == 1);
    world.change_clients(&[client("somebody-else", "")]);
    world.running().reload().unwrap();
    gate.notify_one();
    let reply = world.checked(waiting.reply().unwrap());
    assert_eq!(reply.status, 200);
    assert_eq!(world.token(&passport(OLD_ID, OLD_SECRET)).said(), (401, "invalid_client".to_owned()));
}
