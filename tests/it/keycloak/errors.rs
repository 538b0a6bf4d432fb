//! Each error of the realm's token endpoint that a login can meet (KEYCLOAK.md section 3), under 400 and under 401.

use crate::support::tls::{Authority, TlsFront};
use crate::support::{Mood, NEW_SECRET, OLD_ID, OLD_SECRET, Plan, World, client, passport};

/// Error, description, what the client hears, whose fault.
const ROWS: [(&str, &str, (u16, &str), &str); 17] = [
    ("invalid_client", "Invalid client or Invalid client credentials", (500, "server_error"), "operator"),
    ("unauthorized_client", "Invalid client or Invalid client credentials", (500, "server_error"), "operator"),
    ("unauthorized_client", "Client not allowed for direct access grants", (400, "unauthorized_client"), "operator"),
    ("unauthorized_client", "Client not enabled to retrieve service account", (500, "server_error"), "operator"),
    ("invalid_scope", "Invalid scopes: realm-word", (400, "invalid_scope"), "client"),
    ("not_allowed", "Offline tokens not allowed for the user or client", (400, "invalid_scope"), "client"),
    ("invalid_grant", "Invalid user credentials", (401, "invalid_request"), "client"),
    ("invalid_grant", "Account is not fully set up", (401, "invalid_request"), "client"),
    (
        "invalid_grant",
        "resource owner password credentials grant is prohibited.",
        (400, "unauthorized_client"),
        "operator",
    ),
    ("invalid_grant", "Account disabled", (401, "invalid_request"), "client"),
    ("invalid_request", "Missing parameter: username", (500, "server_error"), "operator"),
    ("invalid_request", "Missing form parameter: grant_type", (500, "server_error"), "upstream"),
    ("invalid_request", "duplicated parameter", (500, "server_error"), "upstream"),
    ("unsupported_grant_type", "Unsupported grant_type", (500, "server_error"), "operator"),
    ("Realm does not exist", "", (500, "server_error"), "operator"),
    ("HTTP 413 Request Entity Too Large", "", (500, "server_error"), "upstream"),
    ("something_new", "of a later version", (500, "server_error"), "upstream"),
];

#[test]
fn each_error_of_the_realm_is_its_cause_whatever_its_status() {
    let world = World::new();
    for (error, description, (status, word), fault) in ROWS {
        for of_the_realm in [400, 401] {
            let metric = format!("passbridge_faults_total{{client=\"{OLD_ID}\",fault=\"{fault}\"}}");
            let (asked, blamed) = (world.realm.count(), world.metric(&metric));
            world.realm.next(Mood::Refuse(of_the_realm, error, description));
            let reply = world.token(&passport(OLD_ID, OLD_SECRET));
            assert_eq!(reply.said(), (status, word.to_owned()), "{error}: {description}");
            assert_eq!(world.realm.count(), asked + 1, "{error}");
            assert!((world.metric(&metric) - blamed - 1.0).abs() < f64::EPSILON, "{error}: {description}");
            for part in [error, description].into_iter().filter(|part| !part.is_empty() && *part != word) {
                assert!(!reply.body.contains(part) || part == "invalid_request", "{}", reply.body);
            }
        }
    }
}

#[test]
fn an_error_without_a_description_is_still_its_cause() {
    let world = World::new();
    for (body, status) in [(r#"{"error":"invalid_grant"}"#, 401), (r#"{"error":"unauthorized_client"}"#, 500)] {
        world.realm.next(Mood::answer(400, "application/json", body));
        assert_eq!(world.token(&passport(OLD_ID, OLD_SECRET)).status, status, "{body}");
    }
}

#[test]
fn the_realms_sentence_is_told_to_operators_in_one_bounded_line() {
    let world = World::new();
    let long = format!("first\nsecond {} {}", "x".repeat(61), "words ".repeat(100));
    let long: &'static str = Box::leak(long.into_boxed_str());
    let at_the_cut: &'static str = Box::leak(format!("{}{}", "word ".repeat(20), "x".repeat(100)).into_boxed_str());
    for status in [400, 403, 408, 429, 500, 502, 503] {
        world.realm.next(Mood::Refuse(status, "later_error", long));
        let reply = world.token(&passport(OLD_ID, OLD_SECRET));
        assert!(!reply.body.contains("later_error") && !reply.body.contains("first"), "{}", reply.body);
        let line = world.log(&format!("the realm answered {status} later_error")).pop().unwrap();
        let detail = line["detail"].as_str().unwrap();
        assert!(detail.contains("first second [long word] words"), "{detail}");
        assert!(detail.len() < 300);
        // Nor the beginning of one that begins just before the cut.
        world.realm.next(Mood::Refuse(status, "cut_error", at_the_cut));
        assert!(world.token(&passport(OLD_ID, OLD_SECRET)).status >= 400);
        let line = world.log(&format!("the realm answered {status} cut_error")).pop().unwrap();
        assert!(!line["detail"].as_str().unwrap().contains("xx"), "{line}");
    }
}

#[test]
fn a_page_for_browsers_is_told_as_what_it_may_be_and_a_wrong_url_as_that() {
    let page = "\n<!DOCTYPE html><title>Sign in to Test realm</title>";
    let of_the_flow = "the realm answered 403 with a page for browsers: a step of its direct grant flow that is not made for one \
        (such as session limits), or a proxy before it?";
    let of_the_url = |status: u16| format!("the realm answered {status} without an OAuth error: is its URL right?");
    for (id, status, body, detail) in [
        ("of-a-step-for-browsers", 403, page, of_the_flow.to_owned()),
        ("of-a-page-that-is-not-there", 404, page, of_the_url(404)),
        ("of-a-wrong-method", 405, page, of_the_url(405)),
        ("of-no-page", 403, "no", of_the_url(403)),
    ] {
        let world = Plan::new().client(&client(id, "")).start();
        world.realm.next(Mood::answer(status, "text/html", body));
        assert_eq!(world.token(&passport(id, OLD_SECRET)).said(), (500, "server_error".to_owned()), "{id}");
        assert_eq!(world.log(id)[0]["detail"], detail);
    }
}

#[test]
fn what_is_wrong_with_the_realms_certificate_is_told_to_operators_alone() {
    let authority = Authority::new();
    for (id, shown, detail) in [
        ("of-an-expired-realm", authority.shown("localhost", Some(2001)), "its certificate has expired"),
        ("of-a-realm-to-come", authority.shown_from("localhost", 2100), "its certificate is not valid yet"),
        (
            "of-a-stranger",
            Authority::new().shown("localhost", None),
            "nobody who is trusted vouches for its certificate; `ca` names who does",
        ),
        (
            "of-another-realm",
            authority.shown("elsewhere.example.org", None),
            "its certificate is for another name than the server's",
        ),
    ] {
        let mut world = Plan::new().set("realm", "ca", "\"ca.pem\"").client(&client(id, "")).files();
        std::fs::write(world.path().join("ca.pem"), &authority.pem).unwrap();
        let front = TlsFront::start(&shown, world.realm.address);
        world.change("realm", "urls", &format!("[\"{}/auth/realms/SSO\"]", front.url("localhost")));
        world.begin();
        let reply = world.token(&passport(id, OLD_SECRET));
        assert_eq!((reply.status, reply.body.contains("certificate")), (500, false), "{reply:?}");
        assert_eq!(world.log(id)[0]["detail"], format!("the realm cannot be reached: {detail}"));
    }
}

#[test]
fn why_the_realm_cannot_be_reached_is_told_to_operators() {
    for (id, url, reason) in [
        ("of-a-realm-that-is-down", "http://127.0.0.1:1/auth/realms/SSO", "Connection refused"),
        ("of-a-realm-without-a-name", "http://realm.invalid/auth/realms/SSO", "failed to lookup address"),
    ] {
        let mut world = Plan::new().client(&client(id, "")).files();
        world.change("realm", "urls", &format!("[\"{url}\"]"));
        world.begin();
        assert_eq!(world.token(&passport(id, OLD_SECRET)).status, 500);
        let detail = world.log(id)[0]["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(&format!("the realm cannot be reached: {reason}")), "{detail}");
    }
}

#[test]
fn a_realm_that_is_not_connected_to_in_time_is_told_with_what_says_so() {
    // The kernel takes the connection, and nobody shakes hands.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("[\"https://{}/auth/realms/SSO\"]", silent.local_addr().unwrap());
    let id = "of-a-silent-realm";
    let mut world = Plan::new().set("realm", "connect_timeout", "\"200ms\"").client(&client(id, "")).files();
    world.change("realm", "urls", &url);
    world.begin();
    assert_eq!(world.token(&passport(id, OLD_SECRET)).status, 500);
    let told = "the realm cannot be reached: no connection in time (`realm.connect_timeout`)";
    assert_eq!(world.log(id)[0]["detail"], told);
}

/// An authenticator of the site's own says what it likes, and Keycloak repeats what it does not know. At its end each world looks for what was planted.
#[test]
fn what_the_realm_repeats_of_a_secret_that_it_was_told_stands_in_no_line() {
    let world = World::new();
    // With blanks where a client forgot to escape `+`, and a realm that hears it so.
    let (first, last) = ("tyeYHlQNJOzSjgOd61KFPIfz86sO774AOF", "dLgpgoR7ns00I0ME9xSkeoVb5Dv45mVg==");
    let signature = format!("{first} {last}");
    let mut fields = passport(OLD_ID, OLD_SECRET);
    fields.retain(|(name, _)| *name != "signature");
    fields.push(("signature", &signature));
    let said = format!("bad signature '{first} {last}' by planted-certificate_MicexPassportCert of {NEW_SECRET}.");
    let said: &'static str = Box::leak(said.into_boxed_str());
    for status in [400, 403, 500, 503] {
        world.realm.next(Mood::Refuse(status, "repeating_error", said));
        assert!(world.token(&fields).status >= 400);
        let line = world.log(&format!("the realm answered {status} repeating_error")).pop().unwrap();
        let detail = line["detail"].as_str().unwrap();
        let sent = "[what was sent]";
        assert!(detail.ends_with(&format!("bad signature {sent} {sent} by {sent} of {sent}")), "{detail}");
    }
    for part in [first, last, NEW_SECRET] {
        assert!(world.log(part).is_empty(), "{part}");
    }
}
