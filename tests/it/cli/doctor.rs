//! `passbridge doctor`: moods of the realm that a real one cannot be put into, and what is on our side.

use serde_json::Value;

use super::{out, run, talk};
use crate::support::pem::{pem, self_signed};
use crate::support::{FakeOld, Mood, NEW_ID, OLD_ID, Plan, World, client};

pub fn described(issuer: &str, date: &str) -> Mood {
    let body = format!("{{\"issuer\":\"{issuer}\"}}");
    let length = body.len();
    Mood::Bytes(
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{date}content-length: {length}\r\n\r\n{body}").into_bytes(),
    )
}

/// The realm is healthy: it describes itself, takes the credentials, and asks for a passport.
pub fn healthy(world: &World) {
    world.realm.usually_at("openid-configuration", described(&world.realm.url(), ""));
    world.realm.usually_at("introspect", Mood::answer(200, "application/json", "{\"active\":false}"));
    world.realm.usually_at("token", Mood::Refuse(400, "invalid_request", "Missing parameter: certificate"));
}

pub fn doctor(world: &World, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = run(world, &[&["doctor", "--format", "json"], arguments].concat(), "planted-reader-secret\n");
    assert!(!(out(&output) + &talk(&output)).contains("planted"), "{}{}", out(&output), talk(&output));
    let findings = serde_json::from_str(&out(&output)).unwrap_or_else(|_| panic!("{}", talk(&output)));
    (output.status.code(), findings)
}

pub fn codes(findings: &[Value]) -> Vec<&str> {
    findings.iter().map(|finding| finding["code"].as_str().unwrap()).filter(|code| *code != "not-checked").collect()
}

fn unchecked(findings: &[Value]) -> String {
    let notes = findings.iter().filter(|finding| finding["code"] == "not-checked");
    notes.map(|note| note["message"].as_str().unwrap()).collect::<Vec<_>>().join("; ")
}

#[test]
fn before_a_healthy_realm_only_notes_say_what_was_not_seen() {
    let world = Plan::new().files();
    healthy(&world);
    let (status, findings) = doctor(&world, &[]);
    assert_eq!((status, codes(&findings)), (Some(0), vec![]), "{findings:#?}");
    let notes = unchecked(&findings);
    for what in ["the clock of", "the token store", "lifetimes"] {
        assert!(notes.contains(what), "{notes}");
    }
    let human = run(&world, &["doctor"], "");
    assert!(out(&human).contains("note[not-checked]: not checked: ") && out(&human).contains("\n  hint: "));
    assert!(talk(&human).contains("clients: 1; errors: 0; warnings: 0: logins would work"), "{}", talk(&human));
    for seen in world.realm.asked("token") {
        assert_eq!(seen.field("grant_type_moex").as_deref(), Some("passport"));
        assert_eq!(seen.field("client_id").as_deref(), Some(NEW_ID));
    }
}

#[test]
fn where_nobody_logs_in_at_the_realm_no_login_is_promised() {
    let retired = client(OLD_ID, "stage = \"retired\"");
    for clients in [Vec::new(), vec![retired]] {
        let mut world = Plan::new().files();
        world.change_clients(&clients);
        healthy(&world);
        let asked = run(&world, &["doctor"], "");
        assert_eq!(asked.status.code(), Some(0), "{}", out(&asked));
        let verdict = "clients: 0; errors: 0; warnings: 0: no client's logins go to the realm";
        assert!(talk(&asked).contains(verdict), "{}", talk(&asked));
    }
}

#[test]
fn whoever_names_a_client_is_not_stopped_by_a_variable_of_another_one() {
    let mut world = Plan::new().client(&client("other", "client_secret = { env = \"NOT_SET\" }")).files();
    healthy(&world);
    let (status, findings) = doctor(&world, &["--client", OLD_ID]);
    assert_eq!((status, codes(&findings)), (Some(0), vec![]), "{findings:#?}");
    let told = talk(&run(&world, &["doctor", "--client", OLD_ID], ""));
    assert!(told.contains("error[unset-variable]") && told.contains("are other clients' and stop nobody"), "{told}");
    for asked in [&[][..], &["--client", "other"], &["--client", OLD_ID, "--client", "other"]] {
        let refused = run(&world, &[&["doctor"], asked].concat(), "");
        assert_eq!(refused.status.code(), Some(2), "{}", out(&refused));
        assert!(talk(&refused).contains("nobody was asked"), "{}", talk(&refused));
    }
    let twice = client(OLD_ID, "client_id = \"another\"");
    world.change_clients(&[client(OLD_ID, ""), twice]);
    assert_eq!(run(&world, &["doctor", "--client", OLD_ID], "").status.code(), Some(2));
}

#[test]
fn a_realm_whose_clock_is_wrong_or_whose_issuer_is_another_is_told() {
    let world = Plan::new().files();
    healthy(&world);
    let past = described("https://sso.example.org/realms/SSO", "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    world.realm.usually_at("openid-configuration", past);
    let (status, findings) = doctor(&world, &[]);
    assert_eq!((status, codes(&findings)), (Some(0), vec!["issuer-unknown", "clock-skew"]), "{findings:#?}");
    let told = |code: &str, part: &str| {
        findings.iter().find(|finding| finding["code"] == code).unwrap()[part].as_str().unwrap().to_owned()
    };
    assert!(told("issuer-unknown", "hint").contains("public_url = \"https://sso.example.org/realms/SSO\""));
    assert!(told("clock-skew", "message").starts_with("the bridge's clock is"));
}

#[test]
fn an_old_server_that_is_not_there_is_told_and_one_that_is_there_hears_nothing() {
    let old = FakeOld::start();
    let legacy = client("stays", "stage = \"legacy\"\nclient_id = \"stays\"");
    let mut world = Plan::new().set("otk", "url", &format!("\"{}\"", old.url())).client(&legacy).files();
    healthy(&world);
    let (status, findings) = doctor(&world, &[]);
    assert_eq!((status, codes(&findings)), (Some(0), vec![]), "{findings:#?}");
    assert!(unchecked(&findings).contains("whether the old server answers"), "{findings:#?}");
    crate::support::eventually("it was knocked at", || old.connections() == 1);
    assert_eq!(old.count(), 0);
    assert!(world.realm.asked("token").iter().all(|seen| seen.field("client_id").as_deref() == Some(NEW_ID)));
    world.change("otk", "url", "\"http://127.0.0.1:1\"");
    let (status, findings) = doctor(&world, &[]);
    assert_eq!((status, codes(&findings)), (Some(1), vec!["old-server-unreachable"]), "{findings:#?}");
    let told = findings.iter().find(|finding| finding["code"] == "old-server-unreachable").unwrap();
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("http://127.0.0.1:1: the old server cannot be reached"), "{message}");
    assert!(message.ends_with("1 of the clients are answered by it"), "{message}");
}

#[test]
fn two_urls_with_two_issuers_are_not_one_realm() {
    let mut world = Plan::new().files();
    healthy(&world);
    let url = world.realm.url();
    world.change("realm", "urls", &format!("[\"{url}\", \"{url}/\"]"));
    world.realm.next_at("openid-configuration", described(&url, ""));
    world.realm.next_at("openid-configuration", described("https://another.example.org/realms/SSO", ""));
    let (status, findings) = doctor(&world, &[]);
    assert_eq!(status, Some(1));
    assert!(codes(&findings).contains(&"issuers-differ"), "{findings:#?}");
}

#[test]
fn a_realm_that_lets_in_without_a_passport_is_told_and_its_session_ended() {
    let world = Plan::new().files();
    healthy(&world);
    world.realm.usually_at("token", Mood::Grant(crate::support::Granting::default()));
    let (status, findings) = doctor(&world, &[]);
    assert_eq!((status, codes(&findings)), (Some(1), vec!["open-door"]), "{findings:#?}");
    let ended = world.realm.asked("logout");
    assert_eq!(ended.len(), world.realm.asked("token").len(), "each session that was opened is ended");
    assert!(ended.iter().all(|seen| seen.field("refresh_token").is_some()));
}

#[test]
fn a_session_behind_an_open_door_is_told_as_ended_only_where_the_realm_has_ended_it() {
    let open = || Mood::Grant(crate::support::Granting::default());
    let bare = || Mood::Grant(crate::support::Granting { refresh: false, ..crate::support::Granting::default() });
    let (no_token, refused) = ("the realm gave no refresh token", "the realm answered 503");
    for (granted, ending, why) in [
        (open(), Mood::ended(), None),
        (bare(), Mood::ended(), Some(no_token)),
        (open(), Mood::answer(503, "text/plain", "later"), Some(refused)),
        (open(), Mood::answer(400, "text/plain", "no"), Some("the realm answered 400")),
        (open(), Mood::Reset, Some("the realm was asked to, and ")),
    ] {
        let world = Plan::new().files();
        healthy(&world);
        world.realm.usually_at("token", granted);
        world.realm.usually_at("logout", ending);
        let (status, findings) = doctor(&world, &[]);
        assert_eq!((status, codes(&findings)), (Some(1), vec!["open-door"]), "{findings:#?}");
        let told = findings.iter().find(|finding| finding["code"] == "open-door").unwrap();
        let (message, hint) = (told["message"].as_str().unwrap(), told["hint"].as_str().unwrap());
        let session = why
            .map_or("; that session was ended".to_owned(), |why| format!("; that session may be there still: {why}"));
        assert!(message.contains(&session), "{message}");
        assert_eq!(hint.contains("end what began just now"), why.is_some(), "{hint}");
    }
}

#[test]
fn a_realm_that_drops_a_long_parameter_is_told() {
    let world = Plan::new().files();
    healthy(&world);
    let (bad, dropped) = ("Passport certificate is malformed", "Missing parameter: signature");
    world.realm.next_at("token", Mood::Refuse(400, "invalid_grant", bad));
    world.realm.next_at("token", Mood::Refuse(400, "invalid_grant", bad));
    world.realm.next_at("token", Mood::Refuse(400, "invalid_request", dropped));
    let (status, findings) = doctor(&world, &[]);
    assert_eq!((status, codes(&findings)), (Some(0), vec!["long-parameter"]), "{findings:#?}");
    assert!(findings.iter().any(|finding| finding["message"].as_str().unwrap().contains("`signature` of 4001")));
    let long = &world.realm.asked("token")[2];
    assert_eq!((long.field("signature").unwrap().len(), long.field("certificate").unwrap().len()), (4001, 4));
}

#[test]
fn a_first_secret_that_is_refused_leaves_nothing_unseen_where_the_second_is_right() {
    let both = "client_secret = [{ env = \"NEW_SECRET\" }, { env = \"NEW_SECRET\" }]";
    let world = Plan::new().without_clients().client(&client(OLD_ID, both)).files();
    healthy(&world);
    let wrong = || Mood::Refuse(401, "unauthorized_client", "Invalid client or Invalid client credentials");
    world.realm.next_at("introspect", wrong());
    world.realm.next_at("token", wrong());
    let (status, findings) = doctor(&world, &[]);
    assert_eq!((status, codes(&findings)), (Some(0), vec!["secret-refused"]), "{findings:#?}");
    assert!(!unchecked(&findings).contains("a parameter"), "{findings:#?}");
}

#[test]
fn answers_that_say_nothing_are_told_as_such_and_nobody_waits_for_ever() {
    for (mood, code) in [
        (Mood::answer(502, "text/html", "<html>"), "unexpected-answer"),
        (Mood::Refuse(403, "access_denied", "Realm not enabled"), "unexpected-answer"),
        (Mood::Refuse(403, "invalid_request", "HTTPS required"), "unexpected-answer"),
        (Mood::Refuse(403, "invalid_request", "Client not allowed."), "client-public"),
        (Mood::Reset, "realm-unreachable"),
        (Mood::Hang, "realm-unreachable"),
    ] {
        let world = Plan::new().set("realm", "timeout", "\"300ms\"").files();
        healthy(&world);
        world.realm.usually_at("introspect", mood.clone());
        let (status, findings) = doctor(&world, &[]);
        assert_eq!((status, codes(&findings)), (Some(1), vec![code]), "{mood:?}: {findings:#?}");
        assert_eq!(findings.last().unwrap()["client"], OLD_ID);
    }
    let world = Plan::new().files();
    world.realm.close();
    let (status, findings) = doctor(&world, &[]);
    assert_eq!((status, codes(&findings)), (Some(1), vec!["realm-unreachable"]), "{findings:#?}");
    assert!(unchecked(&findings).contains("the clients"), "{findings:#?}");
}

#[test]
fn a_proxy_that_has_no_realm_behind_it_or_lets_nobody_through_is_no_wrong_url() {
    for status in [401, 403, 429, 502, 503, 504] {
        let world = Plan::new().files();
        world.realm.usually_at("openid-configuration", Mood::answer(status, "text/html", "<html>"));
        let (_, findings) = doctor(&world, &[]);
        assert_eq!(codes(&findings), ["realm-unreachable"], "{findings:#?}");
        let told = |finding: &Value| finding["message"].as_str().unwrap().contains(&format!("it answered {status}"));
        assert!(findings.iter().any(told), "{findings:#?}");
    }
}

#[test]
fn a_thousand_clients_are_looked_at_a_few_at_a_time_and_told_in_their_order() {
    let mut plan = Plan::new().without_clients();
    for number in 0..1_000 {
        plan = plan.client(&client(&format!("old-{number:04}"), &format!("client_id = \"new-{number:04}\"")));
    }
    let world = plan.files();
    healthy(&world);
    world.realm.usually_at("introspect", Mood::answer(403, "application/json", "{}"));
    let (status, findings) = doctor(&world, &[]);
    assert_eq!(status, Some(1));
    let told: Vec<&str> = findings.iter().filter_map(|finding| finding["client"].as_str()).collect();
    assert_eq!(told, (0..1_000).map(|number| format!("old-{number:04}")).collect::<Vec<_>>());
}

#[test]
fn the_running_bridge_says_how_its_store_is_and_what_is_refused_asks_nobody() {
    let mut world = Plan::new().start();
    healthy(&world);
    let ops = world.running().addresses().ops;
    world.change("listen", "ops", &format!("\"{ops}\""));
    let (status, findings) = doctor(&world, &["--client", OLD_ID]);
    assert_eq!((status, codes(&findings)), (Some(0), vec![]), "{findings:#?}");
    assert!(!unchecked(&findings).contains("the token store"), "{findings:#?}");
    let asked = world.realm.count();
    let wrong = run(&world, &["doctor", "--client", "nobody"], "");
    assert_eq!(wrong.status.code(), Some(1), "as `client show` says it");
    assert!(talk(&wrong).contains("no file maps the client `nobody`\n  hint: "), "{}", talk(&wrong));
    world.change_clients(&[client(OLD_ID, "nonsense = 1")]);
    assert_eq!(run(&world, &["doctor"], "").status.code(), Some(2));
    assert_eq!(world.realm.count(), asked);
}

/// A certificate that ends so many days from now, with its key, into `old.pem` and `old.key`.
fn certify(world: &World, days: i64) {
    let (year, month, day) = crate::support::tls::day(days);
    let mut wish = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    wish.not_before = rcgen::date_time_ymd(2001, 1, 1);
    wish.not_after = rcgen::date_time_ymd(year, month, day);
    put(world, &wish);
}

/// Such a certificate and its key.
fn put(world: &World, wish: &rcgen::CertificateParams) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = pem("CERTIFICATE", wish.self_signed(&key).unwrap().der());
    std::fs::write(world.path().join("old.pem"), certificate).unwrap();
    std::fs::write(world.path().join("old.key"), pem("PRIVATE KEY", &key.serialize_der())).unwrap();
}

#[test]
fn certificates_near_their_end_are_told_by_check_and_by_doctor() {
    let tls = "{ certificate = \"old.pem\", key = \"old.key\" }";
    let world = Plan::new().set("tls", "legacy", tls).files();
    healthy(&world);
    for (days, code, status) in
        [(-400, Some("certificate-expired"), 1), (20, Some("certificate-expiring"), 0), (40, None, 0)]
    {
        certify(&world, days);
        let checked = run(&world, &["check"], "");
        assert_eq!(checked.status.code(), Some(0), "it is shown all the same");
        assert_eq!(code.is_some(), out(&checked).contains("warning[certificate-"), "{days}: {}", out(&checked));
        let (answer, findings) = doctor(&world, &[]);
        assert_eq!((answer, codes(&findings)), (Some(status), Vec::from_iter(code)), "{days}: {findings:#?}");
    }
    let mut wish = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (wish.not_before, wish.not_after) = (rcgen::date_time_ymd(2150, 3, 5), rcgen::date_time_ymd(2160, 1, 1));
    put(&world, &wish);
    let checked = run(&world, &["check"], "");
    assert!(
        out(&checked).contains("warning[certificate-not-yet]") && out(&checked).contains("2150-03-05"),
        "{}",
        out(&checked)
    );
    let (answer, findings) = doctor(&world, &[]);
    assert_eq!((answer, codes(&findings)), (Some(1), vec!["certificate-not-yet"]), "{findings:#?}");
    std::fs::write(world.path().join("old.key"), self_signed(&["localhost"]).1).unwrap();
    let checked = run(&world, &["check"], "");
    assert_eq!(checked.status.code(), Some(1));
    assert!(out(&checked).contains("error[unfit-certificate]"), "a key of another certificate: {}", out(&checked));
}

#[test]
fn a_reader_sees_the_realms_clock_its_scopes_and_its_longest_session() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/mappings/dialects/otk-passport.toml");
    let dialect = std::fs::read_to_string(shipped).unwrap();
    let said = "[realm]\nscopes = [\"orders\", \"nowhere\"]\nlongest_session = \"30m\"\n";
    let dialect = dialect.replacen("[[realm.errors]]", &format!("{said}\n[[realm.errors]]"), 1);
    let mut world = Plan::new().dialect("otk-passport", &dialect).files();
    let checked = run(&world, &["check"], "");
    assert_eq!(checked.status.code(), Some(0), "{}", out(&checked));
    let told = "warning[promise-too-long]: 1h are promised, and a session of the realm lasts 30m, says the dialect";
    assert!(out(&checked).contains(told), "{}", out(&checked));
    world.change_clients(&[client(OLD_ID, "access_token_lifetime = \"30m\"")]);
    assert!(!out(&run(&world, &["check"], "")).contains("promise-too-long"));
    healthy(&world);
    // Three knocks find out how long a parameter may be.
    for _ in 0..3 {
        world.realm.next_at("token", Mood::Refuse(400, "invalid_grant", "a"));
    }
    // Its clock stands at the beginning of 2020.
    let jwt = "e30.eyJpYXQiOjE1Nzc4MzY4MDB9.c2ln";
    let token = format!("{{\"access_token\":\"{jwt}\",\"expires_in\":60}}");
    world.realm.usually_at("token", Mood::answer(200, "application/json", &token));
    let settings = "{\"revokeRefreshToken\":true,\"ssoSessionIdleTimeout\":60,\"ssoSessionMaxLifespan\":36000,\"accessTokenLifespan\":60}";
    world.realm.usually_at("SSO", Mood::answer(200, "application/json", settings));
    world.realm.usually_at("client-scopes", Mood::answer(200, "application/json", "[{\"name\":\"orders\"}]"));
    world.realm.usually_at(
        &format!("clients?clientId={NEW_ID}"),
        Mood::answer(
            200,
            "application/json",
            "[{\"enabled\":true,\"attributes\":{\"client.session.idle.timeout\":\"1200\"}}]",
        ),
    );
    let (_, findings) = doctor(&world, &["--reader", "reader"]);
    let codes = codes(&findings);
    for code in ["clock-skew", "unknown-scope", "longest-session", "rotation-unknown", "promise-short"] {
        assert!(codes.contains(&code), "{code}: {findings:#?}");
    }
    assert!(
        world.realm.asked("SSO").iter().all(|seen| seen.header("authorization").unwrap() == format!("Bearer {jwt}"))
    );
}

/// What a reader is told, of a realm with these settings among the usual ones, and a client with these of its own.
fn read(realm: &str, own: &str, policies: &str) -> Vec<Value> {
    read_scoped(realm, own, policies, "[]")
}

/// The same of a realm with these scopes.
fn read_scoped(realm: &str, own: &str, policies: &str, scopes: &str) -> Vec<Value> {
    let world = Plan::new().files();
    healthy(&world);
    for _ in 0..3 {
        world.realm.next_at("token", Mood::Refuse(400, "invalid_grant", "a"));
    }
    let json = |text: &str| Mood::answer(200, "application/json", text);
    world.realm.usually_at("token", json("{\"access_token\":\"e30.e30.c2ln\",\"expires_in\":60}"));
    let usual = "\"ssoSessionIdleTimeout\":36000,\"ssoSessionMaxLifespan\":36000,\"accessTokenLifespan\":300";
    world.realm.usually_at("SSO", json(&format!("{{{usual}{realm}}}")));
    world.realm.usually_at("client-scopes", json(scopes));
    world.realm.usually_at(&format!("clients?clientId={NEW_ID}"), json(&format!("[{{\"enabled\":true{own}}}]")));
    world.realm.usually_at("policies", json(policies));
    let profiles = "{\"profiles\":[{\"name\":\"ours\",\"executors\":[{\"executor\":\"dpop-bind-enforcer\"}]},
        {\"name\":\"light\",\"executors\":[{\"executor\":\"use-lightweight-access-token\"}]},
        {\"name\":\"once\",\"executors\":[{\"executor\":\"suppress-refresh-token-rotation\"}]}],
        \"globalProfiles\":[{\"name\":\"theirs\",\"executors\":[{\"executor\":\"pkce-enforcer\"},{\"executor\":\"reject-ropc-grant\"}]}]}";
    world.realm.usually_at("profiles?include-global-profiles=true", json(profiles));
    doctor(&world, &["--reader", "reader"]).1
}

/// What is said with this code.
fn said(findings: &[Value], code: &str) -> Vec<String> {
    let those = findings.iter().filter(|finding| finding["code"] == code);
    those.map(|finding| finding["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_reader_sees_what_a_client_is_told_to_do_that_the_bridge_does_not() {
    let of = |attribute: &str, value: &str| read("", &format!(",\"attributes\":{{\"{attribute}\":\"{value}\"}}"), "{}");
    for attribute in ["dpop.bound.access.tokens", "tls.client.certificate.bound.access.tokens"] {
        let findings = of(attribute, "true");
        assert_eq!(said(&findings, "tokens-bound").len(), 1, "{findings:#?}");
        assert_eq!(said(&of(attribute, "false"), "tokens-bound").len(), 0);
    }
    let findings = of("use.refresh.tokens", "false");
    assert_eq!(said(&findings, "no-refresh-tokens").len(), 1, "{findings:#?}");
    let kept = "1h are promised, and the realm's tokens last 5m: that is told instead";
    assert_eq!(said(&findings, "promise-short"), [kept]);
    let findings = of("use.refresh.tokens", "true");
    assert_eq!((said(&findings, "no-refresh-tokens").len(), said(&findings, "promise-short").len()), (0, 0));
}

#[test]
fn a_reader_sees_every_end_of_a_session_that_the_realm_and_the_client_set() {
    const OFFLINE: &str = ",\"defaultClientScopes\":[\"offline_access\"]";
    const END: &str =
        ",\"offlineSessionMaxLifespanEnabled\":true,\"offlineSessionIdleTimeout\":36000,\"offlineSessionMaxLifespan\":";
    let own = |attribute: &str| format!(",\"attributes\":{{\"{attribute}\":\"600\"}}");
    for (realm, own, is_short) in [
        (String::new(), String::new(), false),
        (",\"clientSessionIdleTimeout\":600".to_owned(), String::new(), true),
        (",\"clientSessionMaxLifespan\":600".to_owned(), String::new(), true),
        (",\"clientSessionMaxLifespan\":0".to_owned(), String::new(), false),
        (String::new(), own("client.session.max.lifespan"), true),
        (format!("{END}600"), String::new(), false),
        (format!("{END}600"), OFFLINE.to_owned(), true),
        (format!("{END}36000"), OFFLINE.to_owned(), false),
        (format!("{END}36000"), own("client.offline.session.idle.timeout") + OFFLINE, true),
        (END.replacen("true", "false", 1) + "600", OFFLINE.to_owned(), false),
        (",\"clientSessionIdleTimeout\":600".to_owned(), OFFLINE.to_owned(), false),
    ] {
        let kept = "1h are promised, and the realm's tokens last 10m: that is told instead";
        let expected = if is_short { vec![kept] } else { vec![] };
        assert_eq!(said(&read(&realm, &own, "{}"), "promise-short"), expected, "{realm} {own}");
    }
}

/// A policy that meets whom it likes.
fn policy(name: &str, enabled: bool, profile: &str) -> String {
    format!("{{\"name\":\"{name}\",\"enabled\":{enabled},\"profiles\":[\"{profile}\"]}}")
}

/// A mapper of the user's name, told to lightweight tokens or not.
fn mapper(is_light: bool) -> String {
    let config = format!("{{\"claim.name\":\"preferred_username\",\"lightweight.claim\":\"{is_light}\"}}");
    format!("\"protocolMappers\":[{{\"config\":{{\"claim.name\":\"email\"}}}},{{\"config\":{config}}}]")
}

#[test]
fn a_reader_sees_lightweight_tokens_that_name_no_user() {
    const LIGHT: &str = ",\"attributes\":{\"client.use.lightweight.access.token.enabled\":\"true\"}";
    let profile = |is_light: bool| format!("[{{\"name\":\"profile\",{}}}]", mapper(is_light));
    let always = format!("{LIGHT},\"defaultClientScopes\":[\"profile\"]");
    for (own, scopes, count) in [
        (LIGHT.replace("true", "false"), "[]".to_owned(), 0),
        (LIGHT.to_owned(), "[]".to_owned(), 1),
        (always.clone(), profile(false), 1),
        (always, profile(true), 0),
        // Not every login has that scope.
        (LIGHT.to_owned(), profile(true), 1),
        (format!("{LIGHT},{}", mapper(false)), "[]".to_owned(), 1),
        (format!("{LIGHT},{}", mapper(true)), "[]".to_owned(), 0),
    ] {
        let findings = read_scoped("", &own, "{}", &scopes);
        let words = format!(
            "the realm gives `{NEW_ID}` lightweight tokens, which name no user: `token find --user` does not find its logins"
        );
        assert_eq!(said(&findings, "no-user-name"), vec![words; count], "{own} {scopes}: {findings:#?}");
    }
    let policies = format!("{{\"policies\":[{},{}]}}", policy("a", true, "light"), policy("b", false, "light"));
    let findings = read_scoped("", "", &policies, &profile(false));
    let words = "the realm's client policy `a` has `use-lightweight-access-token`: `token find --user` does not find the logins of clients that it meets";
    assert_eq!(said(&findings, "no-user-name"), [words], "{findings:#?}");
    assert_eq!(said(&read_scoped("", "", &policies, &profile(true)), "no-user-name"), [""; 0]);
}

#[test]
fn a_reader_sees_a_policy_by_which_a_login_is_good_for_one_refresh() {
    let policies = format!("{{\"policies\":[{}]}}", policy("a", true, "once"));
    let words = "the realm's client policy `a` has `suppress-refresh-token-rotation`: the realm revokes used refresh tokens, so a login of clients that it meets is good for one refresh";
    let findings = read(",\"revokeRefreshToken\":true", "", &policies);
    assert_eq!(said(&findings, "refreshed-once"), [words], "{findings:#?}");
    let findings = read(",\"revokeRefreshToken\":false", "", &policies);
    assert_eq!(said(&findings, "refreshed-once"), [""; 0], "{findings:#?}");
}

#[test]
fn a_secret_that_the_realm_takes_by_basic_alone_is_not_told_as_a_wrong_one() {
    let bare = || Mood::Refuse(401, "invalid_client", "Client authentication failed.");
    let only = "Invalid method used to get client secret. Client requires method 'client_secret_basic' to obtain client secret from the request";
    for (words, code) in
        [(only, "secret-by-basic"), ("Invalid client or Invalid client credentials", "credentials-refused")]
    {
        let world = Plan::new().files();
        healthy(&world);
        world.realm.usually_at("introspect", bare());
        world.realm.usually_at("token", Mood::Refuse(401, "unauthorized_client", words));
        let (status, findings) = doctor(&world, &[]);
        assert_eq!((status, codes(&findings)), (Some(1), vec![code]), "{findings:#?}");
    }
}

#[test]
fn a_reader_sees_policies_of_the_realm_that_may_lock_clients_out() {
    let all = [policy("a", true, "ours"), policy("b", false, "ours"), policy("c", true, "theirs")].join(",");
    let findings = read("", "", &format!("{{\"policies\":[{all}]}}"));
    let words = |name: &str, demand: &str| {
        format!("the realm's client policy `{name}` has `{demand}`: clients that it meets cannot log in")
    };
    let expected = [words("a", "dpop-bind-enforcer"), words("c", "reject-ropc-grant")];
    assert_eq!(said(&findings, "policy-forbids"), expected, "{findings:#?}");
}
