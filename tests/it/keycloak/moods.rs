//! A realm that is down, slow, broken or talks nonsense.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::support::api2::Http2Api;
use crate::support::program::Program;
use crate::support::tls::Authority;
use crate::support::{
    Connection, FakeRealm, Granting, Mood, OLD_ID, OLD_SECRET, Plan, RawReply, TOKEN, World, block_on, eventually,
    passport, post, within,
};

fn login(world: &World) -> RawReply {
    world.token(&passport(OLD_ID, OLD_SECRET))
}

/// The dialect's `server_error`, byte for byte: all that the client may hear of any of this.
#[track_caller]
fn is_server_error(reply: &RawReply, mood: &str) {
    assert_eq!(reply.body, "{\r\n  \"error\":\"server_error\"\r\n}", "{mood}");
    assert_eq!((reply.status, reply.header("x-ca-err").as_deref()), (500, Some("3003000")), "{mood}");
}

fn named(head: &str) -> Mood {
    Mood::Bytes(head.as_bytes().to_vec())
}

/// Answers after which nobody knows whether the passport was spent.
fn unknown() -> Vec<(&'static str, Mood)> {
    let json = "application/json";
    let long_token = format!(r#"{{"access_token":"{}","expires_in":1}}"#, "e".repeat(300 * 1024));
    vec![
        ("reset", Mood::Reset),
        ("closed without a word", named("")),
        ("half a head", named("HTTP/1.1 200 OK\r\ncontent-ty")),
        (
            "half an answer",
            named("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{\"acc"),
        ),
        ("half a chunk", named("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n100\r\n{\"access_tok")),
        ("no HTTP", named("SSH-2.0-OpenSSH_9.6\r\n")),
        ("500", Mood::answer(500, json, r#"{"error":"unknown_error","error_description":"secret-of-the-realm"}"#)),
        ("501", Mood::answer(501, "text/html", "<h1>secret-of-the-realm</h1>")),
        ("502", Mood::answer(502, "text/html", "<h1>Bad Gateway secret-of-the-realm</h1>")),
        ("504", Mood::answer(504, "text/plain", "secret-of-the-realm")),
        ("408", Mood::answer(408, "text/plain", "")),
        ("201", Mood::answer(201, json, r#"{"access_token":"a.b.c","expires_in":60}"#)),
        ("204", named("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")),
        ("HTML", Mood::answer(200, "text/html", "<html>secret-of-the-realm</html>")),
        ("an empty 200", Mood::answer(200, json, "")),
        ("wrong JSON", Mood::answer(200, json, r#"{"access_token":17,"expires_in":60}"#)),
        ("JSON cut short", Mood::answer(200, json, r#"{"access_token":"eyJ.secret-of-the-realm"#)),
        ("no access token", Mood::answer(200, json, r#"{"expires_in":3599,"token_type":"Bearer"}"#)),
        ("an empty access token", Mood::answer(200, json, r#"{"access_token":"","expires_in":60}"#)),
        (
            "an access token that splits a head",
            Mood::answer(200, json, r#"{"access_token":"not a jwt \r\n x","expires_in":60}"#),
        ),
        ("an access token of two words", Mood::answer(200, json, r#"{"access_token":"a.b.c d","expires_in":60}"#)),
        ("an access token behind a blank", Mood::answer(200, json, r#"{"access_token":" a.b.c","expires_in":60}"#)),
        (
            "an access token of other letters",
            Mood::answer(200, json, r#"{"access_token":"\u00e4.b.c","expires_in":60}"#),
        ),
        (
            "an access token with a mark in its midst",
            Mood::answer(200, json, r#"{"access_token":"a=b","expires_in":60}"#),
        ),
        ("an access token of nothing but filling", Mood::answer(200, json, r#"{"access_token":"==","expires_in":60}"#)),
        ("an error under 200", Mood::answer(200, json, r#"{"error":"invalid_grant"}"#)),
        ("a negative life", Mood::answer(200, json, r#"{"access_token":"a.b.c","expires_in":-1}"#)),
        ("a huge answer", Mood::answer(200, json, &long_token)),
        ("an endless answer", Mood::Endless),
    ]
}

/// Answers that spent nothing.
fn unspent() -> Vec<(&'static str, Mood)> {
    vec![
        ("503", Mood::answer(503, "text/html", "booting secret-of-the-realm")),
        ("429", Mood::answer(429, "application/json", r#"{"error":"slow_down"}"#)),
        ("404 HTML", Mood::answer(404, "text/html", "<h1>secret-of-the-realm</h1>")),
        ("401 without JSON", Mood::answer(401, "text/plain", "secret-of-the-realm")),
    ]
}

#[test]
fn whatever_the_realm_does_it_is_asked_once_and_the_client_hears_server_error() {
    let other = FakeRealm::start();
    let world = two_urls(&other);
    for (name, mood) in unknown().into_iter().chain(unspent()) {
        let asked = logins(&world.realm);
        world.realm.next_at("token", mood);
        is_server_error(&login(&world), name);
        assert_eq!(logins(&world.realm), asked + 1, "{name}: sent twice");
        assert_eq!(other.count(), 0, "{name}: sent to the second URL");
        world.turn(6); // until then the next one goes there
    }
    assert_eq!(login(&world).status, 200, "the next login is a new request");
}

#[test]
fn a_kept_connection_that_breaks_under_a_request_is_not_asked_again() {
    let world = World::new();
    for (name, mood) in [("reset", Mood::Reset), ("closed", named(""))] {
        assert_eq!(login(&world).status, 200);
        let asked = world.realm.count();
        world.realm.next(mood);
        is_server_error(&login(&world), name);
        assert_eq!(world.realm.count(), asked + 1, "{name}");
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let other = FakeRealm::start();
    let world = World::new();
    for status in [301, 302, 303, 307, 308] {
        let head = format!(
            "HTTP/1.1 {status} Moved\r\nconnection: close\r\nlocation: {}/token\r\ncontent-length: 0\r\n\r\n",
            other.url()
        );
        world.realm.next(Mood::Bytes(head.into_bytes()));
        is_server_error(&login(&world), &status.to_string());
    }
    assert_eq!((world.realm.count(), other.count()), (5, 0));
}

#[test]
fn a_realm_that_never_answers_is_given_up_after_the_configured_time_and_not_asked_again() {
    let other = FakeRealm::start();
    let world = with_two_urls(Plan::new().set("realm", "timeout", "\"150ms\""), &other);
    let half = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{\"acc".to_vec();
    for (name, mood) in [("no answer", Mood::Hang), ("half an answer", Mood::BytesThenHang(half))] {
        let asked = logins(&world.realm);
        world.realm.next_at("token", mood);
        is_server_error(&login(&world), name);
        assert_eq!((logins(&world.realm), other.count()), (asked + 1, 0), "{name}");
        world.turn(6);
    }
}

#[test]
fn an_answer_that_came_while_the_process_stood_still_is_heard_though_its_time_is_over() {
    let world = Plan::new().set("realm", "timeout", "\"1s\"").files();
    let program = Program::serve(&world);
    let gate = Arc::new(Notify::new());
    world.realm.next_at("token", Mood::Gate(Arc::clone(&gate), Box::new(Mood::Grant(Granting::default()))));
    let mut waiting = Connection::open(program.legacy);
    waiting.write(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    eventually("the realm is asked", || logins(&world.realm) == 1);
    program.signal("STOP");
    let state = format!("/proc/{}/stat", program.id());
    eventually("it stands still", || fs::read_to_string(&state).unwrap().contains(") T "));
    gate.notify_one();
    let stopped = Instant::now();
    eventually("its time is over, and more", || stopped.elapsed() > Duration::from_millis(2_500));
    program.signal("CONT");
    let reply = waiting.reply().unwrap();
    world.plant(&reply);
    assert_eq!(reply.status, 200, "{}", reply.body);
}

#[test]
fn a_slow_realm_inside_the_time_is_waited_for() {
    let world = World::new();
    let gate = Arc::new(Notify::new());
    world.realm.next(Mood::Gate(Arc::clone(&gate), Box::new(Mood::Grant(Granting::default()))));
    let mut waiting = world.connect();
    waiting.write(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    eventually("the realm is asked", || world.realm.count() == 1);
    // One worker serves all: others are not held up.
    assert_eq!(login(&world).status, 200);
    gate.notify_one();
    assert_eq!(world.checked(waiting.reply().unwrap()).status, 200);
}

fn logins(realm: &FakeRealm) -> usize {
    realm.asked("token").len()
}

fn two_urls(other: &FakeRealm) -> World {
    with_two_urls(Plan::new(), other)
}

fn with_two_urls(plan: Plan, other: &FakeRealm) -> World {
    let mut world = plan.start();
    let urls = format!("[\"{}\", \"{}\"]", world.realm.url(), other.url());
    world.change("realm", "urls", &urls);
    world.running().reload().unwrap();
    world
}

#[test]
fn a_refused_connection_goes_to_the_second_url_and_back_when_the_first_is_there_again() {
    let other = FakeRealm::start();
    let world = two_urls(&other);
    world.realm.close();
    assert_eq!(login(&world).status, 200);
    assert_eq!((world.realm.count(), other.count()), (0, 1));
    world.realm.listen();
    assert_eq!(login(&world).status, 200);
    assert_eq!((world.realm.count(), other.count()), (0, 2), "passed over for five seconds");
    world.turn(6);
    assert_eq!(login(&world).status, 200);
    assert_eq!((logins(&world.realm), other.count()), (1, 2));
}

#[test]
fn a_url_that_hangs_costs_one_login_and_no_other_though_it_is_looked_at_again_and_again() {
    let other = FakeRealm::start();
    let world = with_two_urls(Plan::new().set("realm", "timeout", "\"500ms\""), &other);
    world.realm.usually(Mood::Hang);
    is_server_error(&login(&world), "it may have been heard");
    for number in 1..=3 {
        world.turn(6);
        assert_eq!(login(&world).status, 200, "whose turn it is looks first");
        assert_eq!(login(&world).status, 200);
        assert_eq!((logins(&world.realm), logins(&other)), (1, 2 * number));
    }
    world.realm.usually(Mood::Grant(Granting::default()));
    world.turn(6);
    assert_eq!(login(&world).status, 200);
    assert_eq!((logins(&world.realm), logins(&other)), (2, 6));
}

#[test]
fn while_a_url_lets_callers_wait_and_answers_nobody_the_next_login_goes_to_the_second() {
    let other = FakeRealm::start();
    let world = two_urls(&other);
    let gate = Arc::new(Notify::new());
    world.realm.next(Mood::Gate(Arc::clone(&gate), Box::new(Mood::Grant(Granting::default()))));
    let mut waiting = world.connect();
    waiting.write(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    eventually("the realm is asked", || world.realm.count() == 1);
    world.turn(3);
    assert_eq!(login(&world).status, 200);
    assert_eq!((logins(&world.realm), logins(&other)), (1, 1));
    gate.notify_one();
    assert_eq!(world.checked(waiting.reply().unwrap()).status, 200);
    assert_eq!(login(&world).status, 200, "it was slow, and is well");
    assert_eq!((logins(&world.realm), logins(&other)), (2, 1));
}

#[test]
fn after_a_url_that_hangs_or_answers_for_a_realm_that_is_away_the_next_login_goes_to_the_second() {
    let other = FakeRealm::start();
    for (name, mood) in [
        ("502", Mood::answer(502, "text/html", "<h1>Bad Gateway</h1>")),
        ("503", Mood::answer(503, "text/html", "booting")),
        ("504", Mood::answer(504, "text/plain", "")),
        ("reset", Mood::Reset),
        ("no answer", Mood::Hang),
    ] {
        let world = with_two_urls(Plan::new().set("realm", "timeout", "\"500ms\""), &other);
        let before = other.count();
        let asked = |world: &World| (logins(&world.realm), other.count() - before);
        world.realm.next(mood);
        is_server_error(&login(&world), name);
        assert_eq!(asked(&world), (1, 0), "{name}: it may have been heard");
        assert_eq!(login(&world).status, 200, "{name}");
        assert_eq!(asked(&world), (1, 1), "{name}: passed over for five seconds");
        world.turn(6);
        assert_eq!(login(&world).status, 200, "{name}");
        assert_eq!(asked(&world), (2, 1), "{name}: then the first is asked first again");
    }
}

#[test]
fn of_two_urls_that_have_both_failed_the_one_that_is_back_is_asked_again() {
    let other = FakeRealm::start();
    let world = two_urls(&other);
    let away = || Mood::answer(502, "text/html", "<h1>Bad Gateway</h1>");
    world.realm.usually(away());
    other.next(away());
    for (asked, name) in [((1, 0), "the first"), ((1, 1), "the second, once"), ((2, 1), "the first may be back")] {
        is_server_error(&login(&world), name);
        assert_eq!((logins(&world.realm), logins(&other)), asked, "{name}");
        world.turn(1);
    }
    for number in 2..=4 {
        assert_eq!(login(&world).status, 200, "and so may the second");
        assert_eq!((logins(&world.realm), logins(&other)), (2, number));
    }
}

#[test]
fn a_kept_connection_that_the_realm_has_closed_fails_over_too() {
    let other = FakeRealm::start();
    let world = two_urls(&other);
    assert_eq!(login(&world).status, 200);
    world.realm.close();
    let reply = login(&world);
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!((world.realm.count(), other.count()), (1, 1));
}

#[test]
fn with_every_url_refused_the_client_hears_server_error_until_the_realm_is_back() {
    let world = World::new();
    assert!(world.ops("/readyz").body.contains("\"realm\":\"unasked\""));
    world.realm.close();
    is_server_error(&login(&world), "refused");
    assert!(world.ops("/readyz").body.contains("\"realm\":\"unreachable\""));
    assert_eq!(world.ops("/readyz").status, 200);
    world.realm.listen();
    assert_eq!(login(&world).status, 200);
    assert!(world.ops("/readyz").body.contains("\"realm\":\"reachable\""));
}

#[test]
fn nothing_is_kept_of_a_login_that_the_realm_did_not_grant() {
    let world = World::new();
    for (_, mood) in unknown().into_iter().take(6) {
        world.realm.next(mood);
        login(&world);
    }
    assert_eq!(block_on(world.running().bridge().store.export(None, 10)).unwrap().records.len(), 0);
}

#[test]
fn an_unknown_fate_is_told_to_operators_as_the_realms_fault() {
    let world = World::new();
    world.realm.next(Mood::Reset);
    login(&world);
    let fault = format!("passbridge_faults_total{{client=\"{OLD_ID}\",fault=\"upstream\"}}");
    assert!((world.metric(&fault) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn a_connection_that_falls_silent_under_the_questions_of_a_whole_worker_is_given_up() {
    let authority = Authority::new();
    let realm = Http2Api::over_tls(&authority.shown("localhost", None));
    let mut plan = Plan::new().set("realm", "ca", "\"realm-ca.pem\"").set("realm", "timeout", "\"1s\"");
    plan = plan.set("realm", "urls", &format!("[\"{}/auth/realms/SSO\"]", realm.url("https", "localhost")));
    let mut world = plan.files();
    fs::write(world.path().join("realm-ca.pem"), &authority.pem).unwrap();
    world.begin();
    let asked = || realm.seen().iter().filter(|seen| seen.uri.path().ends_with("/token")).count();
    assert_eq!(login(&world).said(), (500, "server_error".to_owned()), "it says no JSON");
    assert_eq!(asked(), 1);
    realm.fall_silent();
    within(Duration::from_secs(30), "it is asked over another one", || {
        login(&world);
        asked() > 1
    });
}
