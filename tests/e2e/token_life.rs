//! The UUIDs live: refresh, renewal, revocation and the realm's own logouts, on the real Keycloak.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use passbridge::domain::family::FamilyId;
use passbridge::domain::seal::{Binding, SealingKey};
use passbridge::domain::time::Timestamp;
use passbridge::store::{PendingRevocation, TokenStore};
use serde_json::{Value, json};

use super::store::line::{COMMIT, Cut, KEEP, Line, RENEW};
use super::store::servers::{Server, single};
use super::store::world::{ManualClock, Seeded, block_on};
use super::support::{Answer, Bridge, Keycloak, Old, Passport, Wish, eventually, free_ports, send};

const REFRESH_REFUSED: (u16, &str, &str) = (400, "3003113", "invalid_grant");

#[track_caller]
fn refused(bridge: &Bridge, client: &str, token: &str) {
    let answer = bridge.refresh(client, token);
    let (status, code, error) = answer.refusal();
    assert_eq!((status, code.as_str(), error.as_str()), REFRESH_REFUSED, "{answer:?}\n{}", bridge.log());
}

/// The tokens of an answer.
fn pair(answer: &Answer) -> (String, String) {
    (answer.text("access_token"), answer.text("refresh_token"))
}

#[test]
fn a_refresh_gives_the_next_pair_whatever_the_realms_rotation_is() {
    for (keycloak, rotation) in [(Keycloak::shared(), "off"), (Keycloak::rotating(), "on")] {
        let bridge =
            Bridge::configured(&keycloak.url(), &[Old::of("test_api")], &format!("rotation = \"{rotation}\""), "");
        let (first_access, first) = bridge.pair("test_api", "90501");
        let answer = bridge.refresh("test_api", &first);
        assert_eq!(answer.status, 200, "{answer:?}\n{}", bridge.log());
        let (access, second) = (answer.text("access_token"), answer.text("refresh_token"));
        let expected = format!(
            "{{\r\n  \"grant_type\": \"refresh_token\",\r\n  \"access_token\":\"{access}\",\r\n  \"token_type\":\"Bearer\",\r\n  \"expires_in\":3600,\r\n  \"refresh_token\":\"{second}\",\r\n  \"scope\":\"client_registration\"\r\n}}"
        );
        assert_eq!(answer.body, expected);
        assert!(bridge.active("test_api", &access) && bridge.active("test_api", &first_access));
        let again = bridge.refresh("test_api", &first);
        assert_eq!(pair(&again), pair(&answer), "a lost answer can be fetched again");
        let third = bridge.refresh("test_api", &second);
        assert_eq!(third.status, 200, "the realm's session lives: {third:?}\n{}", bridge.log());
        refused(&bridge, "test_api", &first);
        assert_eq!(bridge.refresh("test_api", &third.text("refresh_token")).status, 200, "reuse ends nothing");
    }
}

#[test]
fn fifty_refreshes_at_once_are_one_question_and_get_one_pair() {
    let keycloak = Keycloak::rotating();
    let bridge = Bridge::configured(&keycloak.url(), &[Old::of("test_api")], "rotation = \"on\"", "");
    let (_, token) = bridge.pair("test_api", "90502");
    let answers: Vec<(String, String)> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..50).map(|_| scope.spawn(|| bridge.refresh("test_api", &token))).collect();
        asked
            .into_iter()
            .map(|answer| answer.join().unwrap())
            .map(|answer| {
                assert_eq!(answer.status, 200, "{answer:?}\n{}", bridge.log());
                pair(&answer)
            })
            .collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(bridge.refresh("test_api", &answers[0].1).status, 200, "the session lives on");
}

#[test]
fn a_revoked_uuid_is_dead_at_once_and_its_session_soon_after() {
    let keycloak = Keycloak::shared();
    let bridge = Bridge::before(keycloak, &[Old::of("test_api"), Old::of("market_terminal")]);
    for (user, by_refresh, delete) in [("90503", false, false), ("90504", true, false), ("90505", true, true)] {
        let (access, refresh) = bridge.pair("test_api", user);
        assert_eq!(keycloak.sessions(user).len(), 1);
        let token = if by_refresh { &refresh } else { &access };
        let foreign = bridge.post("/auth/oauth/v2/token/revoke", "market_terminal", &[("token", token)]);
        assert!(bridge.active("test_api", &access), "another client's word does nothing");
        let answer = if delete {
            let target =
                format!("/auth/oauth/v2/token/revoke?token={token}&client_id=test_api&client_secret={}", Old::SECRET);
            send(bridge.legacy, "DELETE", &target, &[], "")
        } else {
            bridge.post(
                "/auth/oauth/v2/token/revoke",
                "test_api",
                &[("token", token), ("token_type_hint", "access_token")],
            )
        };
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "{\r\n  \"result\":\"revoked\"\r\n}"),
            "{}",
            bridge.log()
        );
        assert_eq!(answer.body, foreign.body);
        assert!(!bridge.active("test_api", &access));
        refused(&bridge, "test_api", &refresh);
        eventually("the realm's session is over", || keycloak.sessions(user).is_empty());
        let again = bridge.post("/auth/oauth/v2/token/revoke", "test_api", &[("token", token)]);
        assert_eq!(again.body, answer.body, "it is idempotent");
    }
}

/// The realm announces logouts of one client, to one bridge at a time.
static ANNOUNCED: Mutex<()> = Mutex::new(());

/// Has the realm announce them here.
fn announce(keycloak: &Keycloak, bridge: &Bridge) {
    let mut client = keycloak.client("announced");
    let url = format!("http://127.0.0.1:{}/backchannel-logout", bridge.realm.expect("the listener for the realm"));
    client["attributes"]["backchannel.logout.url"] = json!(url);
    let id = client["id"].as_str().unwrap().to_owned();
    assert_eq!(keycloak.admin("PUT", &format!("/clients/{id}"), &client).status, 204);
}

/// An administrator ends the only session of this user.
fn end_session(keycloak: &Keycloak, user: &'static str) {
    let session = keycloak.sessions(user)[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(keycloak.admin("DELETE", &format!("/sessions/{session}"), &Value::Null).status, 204);
}

#[test]
fn a_logout_that_another_instance_hears_while_its_login_is_being_kept_ends_it() {
    let _one_at_a_time = ANNOUNCED.lock();
    let (keycloak, redis) = (Keycloak::shared(), Server::start());
    let line = Line::to(redis.port);
    let [one, other] = [line.port, redis.port].map(|port| {
        let further = format!("# back-channel\n[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{port}\"]");
        Bridge::configured(&keycloak.url(), &[Old::of("announced")], "rotation = \"off\"", &further)
    });
    announce(keycloak, &other);
    line.hold_at("pb:s:");
    let (access, _) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| one.pair("announced", "90506"));
        eventually("the login is being kept", || line.is_held());
        end_session(keycloak, "90506");
        other.says("\"event\":\"logout\"");
        line.mend();
        waiting.join().unwrap()
    });
    eventually("the UUID is dead", || !one.active("announced", &access));
}

#[test]
fn a_session_that_an_administrator_ends_is_dead_here_within_a_second() {
    let _one_at_a_time = ANNOUNCED.lock();
    let keycloak = Keycloak::shared();
    let bridge = Bridge::configured(&keycloak.url(), &[Old::of("announced")], "rotation = \"off\"", "# back-channel");
    announce(keycloak, &bridge);
    let (access, refresh) = bridge.pair("announced", "90506");
    assert!(bridge.active("announced", &access));
    end_session(keycloak, "90506");
    let begin = std::time::Instant::now();
    eventually("the UUID is dead", || !bridge.active("announced", &access));
    assert!(begin.elapsed() < std::time::Duration::from_secs(1), "{:?}\n{}", begin.elapsed(), bridge.log());
    refused(&bridge, "announced", &refresh);
}

#[test]
fn a_session_that_ended_unannounced_is_noticed_at_its_next_use() {
    let keycloak = Keycloak::shared();
    let bridge =
        Bridge::configured(&keycloak.url(), &[Old::of("test_api")], "rotation = \"off\"\nrecheck_after = \"1s\"", "");
    let (access, refresh) = bridge.pair("test_api", "90507");
    assert!(bridge.active("test_api", &access));
    let session = keycloak.sessions("90507")[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(keycloak.admin("DELETE", &format!("/sessions/{session}"), &Value::Null).status, 204);
    eventually("it is noticed at a use after `recheck_after`", || !bridge.active("test_api", &access));
    refused(&bridge, "test_api", &refresh);
}

/// The JWT that an API is shown for this UUID.
#[track_caller]
fn jwt_of(authz: u16, uuid: &str) -> String {
    let answer = send(authz, "GET", "/", &[("Authorization", &format!("Bearer {uuid}"))], "");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

/// Its `jti` and its scopes.
#[track_caller]
fn shown(authz: u16, uuid: &str) -> Vec<String> {
    let jwt = jwt_of(authz, uuid);
    let claims = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let mut words: Vec<String> = claims["scope"].as_str().unwrap().split(' ').map(str::to_owned).collect();
    words.sort();
    words.insert(0, claims["jti"].to_string());
    words
}

#[test]
fn a_uuid_of_fewer_scopes_than_its_login_opens_no_more_when_its_jwt_is_renewed() {
    for (keycloak, rotation) in [(Keycloak::shared(), "off"), (Keycloak::rotating(), "on")] {
        let [authz] = free_ports();
        let realm = format!("rotation = \"{rotation}\"\nrecheck_after = \"1s\"");
        let door = format!("# authz at {authz}\n");
        let bridge = Bridge::configured(&keycloak.url(), &[Old::of("test_api")], &realm, &door);
        let passport = Passport::of(&Wish { user: "90509", ..Wish::default() });
        let login = bridge.login("test_api", &passport, "client_registration market_data");
        let (wide, token) = (login.text("access_token"), login.text("refresh_token"));
        let fields = [("grant_type", "refresh_token"), ("refresh_token", &token), ("scope", "market_data")];
        let narrow = bridge.post("/auth/oauth/v2/token", "test_api", &fields);
        assert_eq!(narrow.text("scope"), "market_data", "{narrow:?}\n{}", bridge.log());
        let narrow = narrow.text("access_token");
        let first = shown(authz, &narrow);
        eventually("its JWT is renewed", || shown(authz, &narrow)[0] != first[0]);
        assert_eq!(shown(authz, &narrow)[1..], ["2F_CA_Auth", "email", "market_data", "profile"]);
        let first = shown(authz, &wide);
        eventually("that of the login's own is renewed", || shown(authz, &wide)[0] != first[0]);
        assert_eq!(shown(authz, &wide)[1..], ["2F_CA_Auth", "client_registration", "email", "market_data", "profile"]);
    }
}

#[test]
fn a_jwt_of_a_real_keycloak_is_kept_in_little_more_than_half() {
    let [authz] = free_ports();
    let bridge =
        Bridge::configured(&Keycloak::shared().url(), &[Old::of("test_api")], "", &format!("# authz at {authz}\n"));
    let (access, _) = bridge.pair("test_api", "90510");
    let jwt = jwt_of(authz, &access);
    let owner = Binding { purpose: "access-jwt", owner: b"a family" };
    let kept = SealingKey::derive(b"any", "key").seal_token(&jwt.clone().into(), owner, &Seeded::new(3));
    assert!(kept.as_bytes().len() * 5 < jwt.len() * 3, "{} of {}", kept.as_bytes().len(), jwt.len());
}

#[test]
fn a_pair_survives_a_kill_of_the_bridge() {
    let keycloak = Keycloak::rotating();
    let bridge = Bridge::configured(&keycloak.url(), &[Old::of("test_api")], "rotation = \"on\"", "");
    let (access, refresh) = bridge.pair("test_api", "90508");
    let bridge = bridge.kill_and_restart();
    assert!(bridge.active("test_api", &access));
    let answer = bridge.refresh("test_api", &refresh);
    assert_eq!(answer.status, 200, "{answer:?}\n{}", bridge.log());
    let bridge = bridge.kill_and_restart();
    let again = bridge.refresh("test_api", &refresh);
    assert_eq!(pair(&again), pair(&answer), "the answer can be fetched again after a crash");
}

#[test]
fn two_instances_on_one_redis_ask_once_and_answer_alike() {
    let keycloak = Keycloak::rotating();
    let redis = Server::start();
    let store = format!("[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]", redis.port);
    let clients = [Old::of("test_api")];
    let bridge = || Bridge::configured(&keycloak.url(), &clients, "rotation = \"on\"", &store);
    let (one, other) = (bridge(), bridge());
    let (access, token) = one.pair("test_api", "90509");
    assert!(other.active("test_api", &access), "what one hands out the other knows");
    let answers: Vec<String> = std::thread::scope(|scope| {
        let bridges = [&one, &other];
        let asked: Vec<_> = (0..50)
            .map(|number| (bridges[number % 2], &token))
            .map(|(bridge, token)| scope.spawn(move || bridge.refresh("test_api", token)))
            .collect();
        asked
            .into_iter()
            .map(|answer| answer.join().unwrap())
            .map(|answer| {
                assert_eq!(answer.status, 200, "{answer:?}\n{}\n{}", one.log(), other.log());
                answer.body
            })
            .collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let next: Value = serde_json::from_str(&answers[0]).unwrap();
    let newest = other.refresh("test_api", next["refresh_token"].as_str().unwrap());
    assert_eq!(newest.status, 200, "the session lives on: {newest:?}");
    let revoked = one.post("/auth/oauth/v2/token/revoke", "test_api", &[("token", &access)]);
    assert_eq!(revoked.status, 200);
    assert!(!other.active("test_api", &newest.text("access_token")), "what one ends is over at the other");
}

/// A bridge that has failed to refresh: Redis took the login down as *asking*, the bridge did not hear of it and asked no realm.
fn cut_before_the_realm_is_asked(user: &'static str, cut: Cut) -> (Server, Line, Bridge, String) {
    let redis = Server::start();
    let line = Line::to(redis.port);
    let store = format!("[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]", line.port);
    let url = Keycloak::rotating().url();
    let bridge = Bridge::configured(&url, &[Old::of("test_api")], "rotation = \"on\"", &store);
    let (_, refresh) = bridge.pair("test_api", user);
    line.cut_after(COMMIT, cut);
    assert_eq!(bridge.refresh("test_api", &refresh).status, 500);
    assert!(line.was_cut());
    (redis, line, bridge, refresh)
}

#[test]
fn a_login_whose_store_fails_before_the_realm_is_asked_can_be_refreshed_by_the_next_try() {
    let (_redis, line, bridge, refresh) = cut_before_the_realm_is_asked("90512", Cut::UntilMended);
    line.mend();
    let answer = bridge.refresh("test_api", &refresh);
    assert_eq!(answer.status, 200, "{answer:?}\n{}", bridge.log());
}

#[test]
fn a_store_that_hears_again_at_once_is_told_that_nothing_was_asked_and_a_crash_changes_nothing() {
    let (_redis, _line, bridge, refresh) = cut_before_the_realm_is_asked("90513", Cut::Once);
    let bridge = bridge.kill_and_restart();
    let answer = bridge.refresh("test_api", &refresh);
    assert_eq!(answer.status, 200, "{answer:?}\n{}", bridge.log());
}

#[test]
fn a_store_that_hears_again_later_is_told_too() {
    let (_redis, line, bridge, refresh) = cut_before_the_realm_is_asked("90515", Cut::UntilMended);
    line.commands();
    line.mend();
    eventually("it is told", || line.commands().iter().any(|command| command.starts_with("EVAL")));
    let bridge = bridge.kill_and_restart();
    let answer = bridge.refresh("test_api", &refresh);
    assert_eq!(answer.status, 200, "{answer:?}\n{}", bridge.log());
}

#[test]
fn a_store_that_fails_after_the_realm_has_answered_a_refresh_is_tried_again_for_a_while() {
    let redis = Server::start();
    let line = Line::to(redis.port);
    let store = format!("[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]", line.port);
    let url = Keycloak::rotating().url();
    let bridge = Bridge::configured(&url, &[Old::of("test_api")], "rotation = \"on\"", &store);
    let (_, token) = bridge.pair("test_api", "90514");
    let answer = std::thread::scope(|scope| {
        line.cut_after(KEEP, Cut::UntilMended);
        let waiting = scope.spawn(|| bridge.refresh("test_api", &token));
        eventually("the realm has answered, and Redis is gone", || line.was_cut());
        line.mend();
        waiting.join().unwrap()
    });
    assert_eq!(answer.status, 200, "what the realm gave is not lost: {answer:?}\n{}", bridge.log());
    let next = bridge.refresh("test_api", &answer.text("refresh_token"));
    assert_eq!(next.status, 200, "{next:?}\n{}", bridge.log());

    line.cut_after(KEEP, Cut::UntilMended);
    let begun = std::time::Instant::now();
    assert_eq!(bridge.refresh("test_api", &next.text("refresh_token")).status, 500);
    assert!(begun.elapsed() < std::time::Duration::from_secs(15), "not for ever: {:?}", begun.elapsed());
    line.mend();
    refused(&bridge, "test_api", &next.text("refresh_token"));
}

#[test]
fn a_login_that_redis_could_not_keep_leaves_no_session_at_the_realm() {
    let redis = Server::start();
    let line = Line::to(redis.port);
    let store = format!("[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]", line.port);
    let keycloak = Keycloak::rotating();
    let bridge = Bridge::configured(&keycloak.url(), &[Old::of("test_api")], "rotation = \"on\"", &store);
    line.cut_after(KEEP, Cut::UntilMended);
    let passport = || Passport::of(&Wish { user: "90503", ..Wish::default() });
    assert_eq!(bridge.login("test_api", &passport(), "").status, 500);
    bridge.says("the realm has ended the session of a login that could not be kept");
    assert!(keycloak.sessions("90503").is_empty());
    line.mend();
    eventually("the next is kept", || bridge.login("test_api", &passport(), "").status == 200);
}

#[test]
fn a_revoked_uuid_whose_login_redis_has_lost_is_dead_at_once() {
    let redis = Server::start();
    let store = format!("[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]", redis.port);
    let bridge = Bridge::configured(&Keycloak::rotating().url(), &[Old::of("test_api")], "rotation = \"on\"", &store);
    let (first, refresh) = bridge.pair("test_api", "90504");
    let second = bridge.refresh("test_api", &refresh).text("access_token");
    let states = redis.cli(&["--scan", "--pattern", "pb:{*}:state"]).stdout;
    redis.cli(&["del", String::from_utf8(states).unwrap().trim()]);
    for access in [&first, &second] {
        assert!(bridge.active("test_api", access), "its record is complete in itself");
        assert_eq!(bridge.post("/auth/oauth/v2/token/revoke", "test_api", &[("token", access)]).status, 200);
        assert!(!bridge.active("test_api", access), "{}", bridge.log());
    }
    bridge.says("outlived_login");
}

#[test]
fn a_timely_answer_of_the_realm_is_heard_though_redis_hangs_while_the_lease_is_renewed() {
    let keycloak = Keycloak::rotating();
    let redis = Server::start();
    let (to_redis, to_realm) = (Line::to(redis.port), Line::to(keycloak.port));
    let store = format!("[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]", to_redis.port);
    let url = keycloak.url().replace(&keycloak.port.to_string(), &to_realm.port.to_string());
    let bridge = Bridge::configured(&url, &[Old::of("test_api")], "rotation = \"on\"\ntimeout = \"8s\"", &store);
    let (_, token) = bridge.pair("test_api", "90518");
    to_realm.hold_at("grant_type=refresh_token");
    to_redis.hold_at(RENEW);
    let answer = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| bridge.refresh("test_api", &token));
        eventually("the lease is being renewed", || to_redis.is_held());
        to_realm.mend();
        bridge.says("keeping what the realm gave");
        to_redis.mend();
        waiting.join().unwrap()
    });
    assert_eq!(answer.status, 200, "{answer:?}\n{}", bridge.log());
}

#[test]
fn a_word_for_the_realm_waits_where_an_instance_is_behind_and_cannot_read_it() {
    let redis = Server::start();
    let words = TokenStore::open(&single(&redis), ManualClock::new()).unwrap();
    let another = SealingKey::derive(b"the next secret", "outbox");
    for (number, client) in [(1, "not-here-yet"), (2, "test_api")] {
        let family = FamilyId([number; 16]);
        let owner = Binding { purpose: "outbox", owner: &family.0 };
        let sealed = another.seal_token(&"a refresh token".into(), owner, &Seeded::new(number.into()));
        let word = PendingRevocation { family, client: client.to_owned(), sealed, until: Timestamp::NEVER };
        block_on(words.outbox_put(&word)).unwrap();
    }
    let store = format!("[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]", redis.port);
    let [nobody] = free_ports();
    let bridge =
        Bridge::configured(&format!("http://127.0.0.1:{nobody}/realms/SSO"), &[Old::of("test_api")], "", &store);
    eventually("it has looked at both", || bridge.log().matches("\"event\":\"revocation\"").count() == 2);
    assert_eq!(block_on(words.outbox()).unwrap().records.len(), 2, "{}", bridge.log());
    assert_eq!(bridge.log().matches("\"outcome\":\"untold\"").count(), 2, "{}", bridge.log());
}

#[test]
fn a_store_is_moved_to_redis_and_back_without_losing_a_login() {
    let keycloak = Keycloak::shared();
    let bridge = Bridge::before(keycloak, &[Old::of("test_api")]);
    let (access, refresh) = bridge.pair("test_api", "90510");
    let running = bridge.program(&["store", "copy", "--to", "passbridge.toml"]);
    assert_eq!(running.status.code(), Some(2), "one store is no two: {running:?}");
    let redis = Server::start();
    bridge.also_configured(
        "redis.toml",
        &format!("[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]", redis.port),
    );
    let busy = bridge.program(&["store", "copy", "--to", "redis.toml"]);
    assert_eq!(busy.status.code(), Some(1), "{busy:?}");
    assert!(
        String::from_utf8_lossy(&busy.stderr).contains("another process"),
        "a running bridge is not copied: {busy:?}"
    );
    bridge.kill();
    let copied = bridge.program(&["store", "copy", "--to", "redis.toml"]);
    assert!(copied.status.success(), "{copied:?}");
    assert!(String::from_utf8_lossy(&copied.stderr).contains("1 logins copied"), "{copied:?}");
    bridge.also_configured("back.toml", "[store]\npath = \"moved-back\"");
    let bridge = bridge.restart_with("redis.toml");
    assert!(bridge.active("test_api", &access));
    assert_eq!(bridge.refresh("test_api", &refresh).status, 200, "{}", bridge.log());
    bridge.kill();
    let copied = bridge.program(&["store", "copy", "--to", "back.toml"]);
    assert!(String::from_utf8_lossy(&copied.stderr).contains("1 logins copied"), "{copied:?}");
    let bridge = bridge.restart_with("back.toml");
    assert!(bridge.active("test_api", &access), "{}", bridge.log());
}
