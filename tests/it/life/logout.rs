//! The realm's own logouts: a signed word of it ends a family, and nobody else's does.

use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use aws_lc_rs::{hmac, rsa};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use passbridge::domain::time::{Clock, Timestamp};
use passbridge::keycloak::logout_token;
use serde_json::{Value, json};

use super::{gated, grant, login, pair, refresh, refreshed, refreshes, refused, reply, rotation, send, until_asked};
use crate::support::{
    Connection, Granting, Look, Mood, OLD_ID, OLD_SECRET, Plan, RawReply, World, eventually, passport, post,
};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// What is said of a token that is not what the realm signed, or lacks what each has.
const NOT_GENUINE: &str = "is not genuine, or lacks a claim";
/// Of one that anybody could have signed.
const NO_REALMS: &str = "is signed with a secret";
const SESSION: &str = "9b3ffe4a-0000-4987-a279-a8d13bbf2b35";

static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());
static OTHER_KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What a realm publishes of a key.
fn jwk(id: &str, key: &KeyPair) -> Value {
    let public: &rsa::PublicKey = key.public_key();
    let modulus = public.modulus().big_endian_without_leading_zero().to_vec();
    let exponent = public.exponent().big_endian_without_leading_zero().to_vec();
    json!({"kid": id, "kty": "RSA", "alg": "RS256", "use": "sig", "n": base64(modulus), "e": base64(exponent)})
}

fn signed(header: &Value, claims: &Value, key: &KeyPair) -> String {
    let text = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    format!("{text}.{}", base64(signature))
}

fn header() -> Value {
    json!({"alg": "RS256", "typ": "logout+jwt", "kid": "first"})
}

/// A world whose realm may call, and publishes one key.
fn hearing(plan: Plan) -> World {
    let world = plan.set("listen", "realm", "\"127.0.0.1:0\"").start();
    publish(&world, &[jwk("first", &KEY)]);
    world
}

fn publish(world: &World, keys: &[Value]) {
    world.realm.usually_at("certs", Mood::answer(200, "application/json", &json!({"keys": keys}).to_string()));
}

/// A logout token as Keycloak writes it, named so.
fn claims(world: &World, id: &str) -> Value {
    let now = world.clock.now().secs();
    json!({
        "exp": now + 120, "iat": now, "jti": id, "iss": world.realm.url(), "aud": "test_api", "typ": "Logout",
        "sub": "f:4f1c2a3e:90417", "sid": SESSION, "events": {EVENT: {}},
    })
}

fn tell(world: &World, token: &str) -> RawReply {
    let realm = world.running().addresses().realm.expect("the realm may call");
    Connection::open(realm).ask(&post("/backchannel-logout", &[("logout_token", token)]))
}

#[track_caller]
fn heard(reply: &RawReply) {
    assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{}", reply.head);
    assert_eq!(reply.header("cache-control").as_deref(), Some("no-store"));
}

#[track_caller]
fn unheard(reply: &RawReply) {
    assert_eq!((reply.status, reply.text("error").as_str()), (400, "invalid_request"), "{}", reply.body);
    assert_eq!(reply.header("cache-control").as_deref(), Some("no-store"));
}

#[test]
fn a_logout_of_the_realm_ends_the_family_before_it_is_answered() {
    let world = hearing(rotation("on"));
    let (first, uuid) = login(&world);
    let (second, next) = refreshed(&world, &uuid);
    heard(&tell(&world, &signed(&header(), &claims(&world, "one"), &KEY)));
    assert!(!world.active(&first) && !world.active(&second));
    refused(&refresh(&world, &next));
    refused(&refresh(&world, &uuid));
    assert_eq!(refreshes(&world).len(), 1, "the realm is asked no more");
    assert!(super::told(&world).is_empty(), "and is not told what it knows");
    assert!((world.metric("passbridge_logouts_total{outcome=\"ok\"}") - 1.0).abs() < f64::EPSILON);
}

#[test]
fn a_logout_is_in_the_audit_with_the_login_that_it_ended() {
    let mut world = hearing(rotation("on"));
    login(&world);
    heard(&tell(&world, &signed(&header(), &claims(&world, "one"), &KEY)));
    unheard(&tell(&world, "no token"));
    world.end();
    let audit = world.audit();
    let kind = |what: &str| audit.iter().filter(|record| record["what"] == what).collect::<Vec<_>>();
    let (logins, logouts) = (kind("login"), kind("logout"));
    assert_eq!((&logouts[0]["outcome"], &logouts[0]["family"]), (&json!("ok"), &logins[0]["family"]));
    assert_eq!(logouts[0]["client"], logins[0]["client"]);
    assert_eq!((&logouts[1]["outcome"], &logouts[1]["client"]), (&json!("invalid_request"), &Value::Null));
}

#[test]
fn only_that_sessions_family_ends() {
    let world = hearing(rotation("on"));
    let (one, _) = login(&world);
    world.realm.next(Mood::Grant(Granting { session: "kSQx2yqZ1Yb0Zc9fG3hJ4kLm".to_owned(), ..Granting::default() }));
    let (other, _) = login(&world);
    heard(&tell(&world, &signed(&header(), &claims(&world, "one"), &KEY)));
    assert!(!world.active(&one) && world.active(&other));
}

#[test]
fn a_session_that_nobody_knows_is_answered_as_ended() {
    let world = hearing(rotation("on"));
    let mut claims = claims(&world, "unknown");
    claims["sid"] = "nobody".into();
    heard(&tell(&world, &signed(&header(), &claims, &KEY)));
}

#[test]
fn what_the_realm_did_not_sign_ends_nothing() {
    let world = hearing(rotation("on"));
    let (access, _) = login(&world);
    let good = signed(&header(), &claims(&world, "good"), &KEY);
    let (text, signature) = good.rsplit_once('.').unwrap();
    let (_, body) = text.split_once('.').unwrap();
    let with_header = |header: Value| format!("{}.{body}", base64(header.to_string()));
    let secret = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
    let shared = with_header(json!({"alg": "HS256", "kid": "first"}));
    let modulus = KEY.public_key().modulus().big_endian_without_leading_zero().to_vec();
    let der = KEY.public_key().as_ref();
    let by = |bytes: &[u8]| format!("{shared}.{}", base64(hmac::sign(&secret(bytes), shared.as_bytes())));
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[100] ^= 1;
    let other_claims = base64(claims(&world, "other").to_string());
    let cases = [
        ("another key's signature", signed(&header(), &claims(&world, "a"), &OTHER_KEY), NOT_GENUINE),
        ("a flipped bit", format!("{text}.{}", base64(flipped)), NOT_GENUINE),
        (
            "other claims under the signature",
            format!("{}.{other_claims}.{signature}", base64(header().to_string())),
            NOT_GENUINE,
        ),
        ("no signature", format!("{text}."), NOT_GENUINE),
        (
            "a key that is not published",
            signed(&json!({"alg": "RS256", "kid": "second"}), &claims(&world, "b"), &KEY),
            "signed by a key that the realm does not publish",
        ),
        ("no key's name", signed(&json!({"alg": "RS256"}), &claims(&world, "c"), &KEY), "names no key"),
        ("alg none", format!("{}.", with_header(json!({"alg": "none", "kid": "first"}))), "is no JWT"),
        (
            "alg none with a signature",
            format!("{}.{signature}", with_header(json!({"alg": "none", "kid": "first"}))),
            "is no JWT",
        ),
        ("HS256 by the public key's modulus", by(&modulus), NO_REALMS),
        ("HS256 by the public key's DER", by(der), NO_REALMS),
        ("HS256 by nothing", by(b""), NO_REALMS),
        (
            "an algorithm that nobody here has heard of",
            format!("{}.{signature}", with_header(json!({"alg": "ES512", "kid": "first"}))),
            "or signed in a way that is not known here",
        ),
        ("no JWT", "nonsense".to_owned(), "is no JWT"),
        ("an empty one", String::new(), "carries no `logout_token`"),
    ];
    end_nothing(&world, &access, cases);
    heard(&tell(&world, &good));
    assert!(!world.active(&access));
}

#[test]
fn what_the_realm_signed_and_is_no_end_of_ours_ends_nothing() {
    let world = hearing(rotation("on"));
    let (access, _) = login(&world);
    let now = world.clock.now().secs();
    let changed = |name: &str, value: Value| {
        let mut claims = claims(&world, name);
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value;
        }
        signed(&header(), &claims, &KEY)
    };
    let cases = [
        ("another issuer", changed("iss", "http://elsewhere.example/auth/realms/SSO".into()), "is of another realm"),
        (
            "another realm of this server",
            changed("iss", world.realm.url().replace("SSO", "SSO2").into()),
            "is of another realm",
        ),
        ("another audience", changed("aud", "somebody_else".into()), "is meant for none of our clients"),
        ("other audiences", changed("aud", json!(["somebody", "else"])), "is meant for none of our clients"),
        ("no audience", changed("aud", Value::Null), NOT_GENUINE),
        ("expired", changed("exp", (now - 61).into()), "is not of this time"),
        ("from the future", changed("iat", (now + 61).into()), "is not of this time"),
        ("no time of issue", changed("iat", Value::Null), NOT_GENUINE),
        ("a nonce", changed("nonce", "n".into()), "is no logout token"),
        ("no event", changed("events", json!({})), "is no logout token"),
        (
            "another event",
            changed("events", json!({"http://schemas.openid.net/event/other": {}})),
            "is no logout token",
        ),
        ("no events", changed("events", Value::Null), NOT_GENUINE),
        ("no session", changed("sid", Value::Null), "names no session; switch on"),
        ("no name", changed("jti", Value::Null), NOT_GENUINE),
    ];
    end_nothing(&world, &access, cases);
    heard(&tell(&world, &signed(&header(), &claims(&world, "good"), &KEY)));
    assert!(!world.active(&access));
}

/// Each of them, by its name, is refused for what it is.
fn end_nothing<const CASES: usize>(world: &World, access: &str, cases: [(&str, String, &str); CASES]) {
    for (name, token, why) in cases {
        let reply = tell(world, &token);
        unheard(&reply);
        let told = reply.text("error_description");
        assert!(told.contains(why), "{name}: {told}");
        assert!(world.active(access), "{name}");
    }
}

#[test]
fn an_access_token_of_the_realm_is_no_logout_token() {
    let world = hearing(rotation("on"));
    let (access, _) = login(&world);
    let now = world.clock.now().secs();
    let claims = json!({
        "exp": now + 3600, "iat": now, "jti": "a", "iss": world.realm.url(), "aud": ["test_api", "account"], "sid": SESSION,
        "typ": "Bearer", "azp": "test_api",
    });
    unheard(&tell(&world, &signed(&header(), &claims, &KEY)));
    assert!(world.active(&access));
}

#[test]
fn clocks_may_differ_by_a_minute() {
    for offset in [-59_i64, 59] {
        let world = hearing(rotation("on"));
        let (access, _) = login(&world);
        let mut claims = claims(&world, "skewed");
        let now = i64::try_from(world.clock.now().secs()).unwrap() + offset;
        claims["iat"] = now.into();
        claims["exp"] = if offset < 0 { now.into() } else { (now + 60).into() };
        heard(&tell(&world, &signed(&header(), &claims, &KEY)));
        assert!(!world.active(&access));
    }
}

#[test]
fn one_of_several_audiences_and_the_public_name_are_enough() {
    let world = hearing(rotation("on").set("realm", "public_url", "\"https://sso.example.org/auth/realms/SSO\""));
    let (access, _) = login(&world);
    let mut claims = claims(&world, "public");
    claims["iss"] = "https://sso.example.org/auth/realms/SSO".into();
    claims["aud"] = json!(["account", "test_api"]);
    heard(&tell(&world, &signed(&header(), &claims, &KEY)));
    assert!(!world.active(&access));
}

#[test]
fn a_logout_token_counts_once() {
    let world = hearing(rotation("on"));
    let (first, _) = login(&world);
    let token = signed(&header(), &claims(&world, "once"), &KEY);
    heard(&tell(&world, &token));
    assert!(!world.active(&first));
    let (second, _) = login(&world); // the realm's session of the same name, again
    let again = tell(&world, &token);
    unheard(&again);
    assert_eq!(again.text("error_description"), "the logout token was heard before");
    assert!(world.active(&second));
    heard(&tell(&world, &signed(&header(), &claims(&world, "twice"), &KEY)));
    assert!(!world.active(&second));
}

#[test]
fn a_logout_that_the_store_could_not_take_is_heard_when_the_realm_says_it_again() {
    let world = hearing(rotation("on"));
    let (access, _) = login(&world);
    let token = signed(&header(), &claims(&world, "again"), &KEY);
    let (store, aside) = (world.store(), world.path().join("aside"));
    std::fs::rename(&store, &aside).unwrap(); // it takes nothing more
    let reply = tell(&world, &token);
    assert_eq!((reply.status, reply.text("error").as_str()), (500, "server_error"), "{}", reply.body);
    assert!(world.active(&access));
    std::fs::rename(&aside, &store).unwrap();
    world.turn(1);
    heard(&tell(&world, &token));
    assert!(!world.active(&access));
}

/// Of those that were heard many the bridge forgets what is over by then.
#[test]
fn a_logout_token_is_remembered_for_as_long_as_it_would_be_taken() {
    let world = World::new();
    let claims = claims(&world, "once");
    let token = signed(&header(), &claims, &KEY);
    let keys = serde_json::from_value(json!({"keys": [jwk("first", &KEY)]})).unwrap();
    let read = |at: Timestamp| logout_token::read(&token, &keys, at);
    let until = read(world.clock.now()).unwrap().until;
    assert!(until > Timestamp::from_secs(claims["exp"].as_u64().unwrap()), "clocks differ");
    assert!(read(until.minus(Duration::from_millis(1))).is_ok());
    assert_eq!(read(until).unwrap_err(), "the logout token is not of this time");
}

fn told_by(world: &World, kid: &str, id: &str, key: &KeyPair) -> RawReply {
    tell(world, &signed(&json!({"alg": "RS256", "kid": kid}), &claims(world, id), key))
}

fn fetched(world: &World) -> usize {
    world.realm.asked("certs").len()
}

#[test]
fn keys_are_fetched_once_and_again_when_an_unknown_one_signs() {
    let world = hearing(rotation("on"));
    assert_eq!(fetched(&world), 0);
    heard(&told_by(&world, "first", "1", &KEY));
    heard(&told_by(&world, "first", "2", &KEY));
    assert_eq!(fetched(&world), 1);
    // The realm exchanges its key; the old one is passive for a while, then gone.
    publish(&world, &[jwk("second", &OTHER_KEY), jwk("first", &KEY)]);
    let (access, _) = login(&world);
    heard(&told_by(&world, "second", "3", &OTHER_KEY));
    assert!(!world.active(&access), "in the same second too: a logout that is refused is not told again");
    heard(&told_by(&world, "first", "4", &KEY));
    assert_eq!(fetched(&world), 2);
    publish(&world, &[jwk("second", &OTHER_KEY)]);
    unheard(&told_by(&world, "third", "5", &OTHER_KEY));
    unheard(&told_by(&world, "first", "6", &KEY));
    heard(&told_by(&world, "second", "7", &OTHER_KEY));
}

#[test]
fn a_flood_of_invented_keys_shares_the_next_question() {
    let world = hearing(rotation("on"));
    heard(&told_by(&world, "first", "1", &KEY));
    world.turn(1);
    let keys = json!({"keys": [jwk("first", &KEY)]}).to_string();
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let slow = Mood::Gate(std::sync::Arc::clone(&gate), Box::new(Mood::answer(200, "application/json", &keys)));
    world.realm.next_at("certs", slow);
    let realm = world.running().addresses().realm.unwrap();
    let mut waiting = Vec::new();
    for number in 0..20 {
        let header = json!({"alg": "RS256", "kid": format!("invented-{number}")});
        let token = signed(&header, &claims(&world, &format!("x{number}")), &KEY);
        let mut connection = Connection::open(realm);
        connection.write(&post("/backchannel-logout", &[("logout_token", &token)]));
        eventually("the keys are asked for", || fetched(&world) == 2);
        waiting.push(connection);
    }
    super::meanwhile(&world);
    gate.notify_one();
    for mut connection in waiting {
        unheard(&connection.reply().unwrap());
    }
    // The question that was under way when they came, and one for all of them.
    assert_eq!(fetched(&world), 3);
}

#[test]
fn a_key_that_the_realm_has_taken_away_ends_nothing_after_five_minutes() {
    let world = hearing(rotation("on"));
    heard(&told_by(&world, "first", "1", &KEY));
    let (access, _) = login(&world);
    publish(&world, &[jwk("second", &OTHER_KEY)]);
    world.turn(300);
    let reply = told_by(&world, "first", "2", &KEY);
    unheard(&reply);
    assert!(reply.text("error_description").contains("signed by a key that the realm does not publish"));
    assert!(world.active(&access));
    heard(&told_by(&world, "second", "3", &OTHER_KEY));
    assert!(!world.active(&access));
}

#[test]
fn where_the_realm_gives_no_keys_one_that_it_gave_counts_on() {
    let world = hearing(rotation("on"));
    heard(&told_by(&world, "first", "1", &KEY));
    let (access, _) = login(&world);
    world.realm.usually_at("certs", Mood::answer(503, "text/html", "booting"));
    world.turn(300);
    heard(&told_by(&world, "first", "2", &KEY));
    assert!(!world.active(&access));
    assert_eq!(fetched(&world), 2);
}

#[test]
fn a_logout_by_a_known_key_does_not_wait_for_a_realm_that_hangs() {
    let world = hearing(rotation("on").set("realm", "timeout", "\"5m\""));
    heard(&told_by(&world, "first", "1", &KEY));
    let (access, _) = login(&world);
    world.realm.usually_at("certs", Mood::Hang);
    world.turn(300);
    heard(&told_by(&world, "first", "2", &KEY));
    assert!(!world.active(&access));
    assert_eq!(fetched(&world), 2);
}

#[test]
fn logouts_that_come_at_once_while_the_keys_are_fetched_are_all_heard() {
    let world = hearing(rotation("on"));
    let (access, _) = login(&world);
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let keys = json!({"keys": [jwk("first", &KEY)]}).to_string();
    let slow = Mood::Gate(std::sync::Arc::clone(&gate), Box::new(Mood::answer(200, "application/json", &keys)));
    world.realm.next_at("certs", slow);
    let realm = world.running().addresses().realm.unwrap();
    let mut waiting = Vec::new();
    for (id, session) in [("a", "nobody"), ("b", SESSION), ("c", "nobody else")] {
        let mut claims = claims(&world, id);
        claims["sid"] = session.into();
        let mut connection = Connection::open(realm);
        connection.write(&post("/backchannel-logout", &[("logout_token", &signed(&header(), &claims, &KEY))]));
        eventually("the keys are asked for", || world.realm.asked("certs").len() == 1);
        waiting.push(connection);
    }
    super::meanwhile(&world);
    gate.notify_one();
    for mut connection in waiting {
        heard(&connection.reply().unwrap());
    }
    assert!(!world.active(&access));
    assert_eq!(world.realm.asked("certs").len(), 1);
}

#[test]
fn while_the_keys_cannot_be_had_nothing_is_believed() {
    let world = hearing(rotation("on"));
    let (access, _) = login(&world);
    world.realm.usually_at("certs", Mood::answer(503, "text/html", "booting"));
    let token = signed(&header(), &claims(&world, "early"), &KEY);
    for _ in 0..2 {
        let reply = tell(&world, &token);
        assert_eq!((reply.status, reply.text("error").as_str()), (500, "server_error"), "{}", reply.body);
    }
    assert_eq!(world.realm.asked("certs").len(), 1, "once in a second");
    let said = world.log("the realm's keys cannot be had: the realm answered 503");
    assert!(said.iter().all(|line| line["event"] == "logout" && line["outcome"] == "server_error"), "{said:?}");
    assert!(said.len() >= 2);
    assert!(world.active(&access));
    publish(&world, &[jwk("first", &KEY)]);
    world.turn(1);
    heard(&tell(&world, &token));
    assert!(!world.active(&access));
}

#[test]
fn keys_that_do_not_come_are_waited_for_no_longer_than_any_answer() {
    let world = hearing(rotation("on").set("realm", "timeout", "\"150ms\""));
    let (access, _) = login(&world);
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"keys\"".to_vec();
    for (id, mood) in [("hangs", Mood::Hang), ("half", Mood::BytesThenHang(half))] {
        world.realm.next_at("certs", mood);
        let reply = tell(&world, &signed(&header(), &claims(&world, id), &KEY));
        assert_eq!((reply.status, reply.text("error").as_str()), (500, "server_error"), "{}", reply.body);
        world.turn(1);
    }
    assert_eq!(world.log("the realm's keys cannot be had: the realm did not answer in time").len(), 2);
    assert!(world.active(&access));
}

#[test]
fn the_realm_may_call_while_it_answers_a_refresh() {
    let world = hearing(rotation("on"));
    let (access, uuid) = login(&world);
    let gate = gated(&world, grant());
    let waiting = send(&world, &super::refreshing(&uuid));
    until_asked(&world, 1);
    heard(&tell(&world, &signed(&header(), &claims(&world, "during"), &KEY)));
    assert!(!world.active(&access));
    gate.notify_one();
    refused(&reply(&world, waiting));
    // What the refresh prolonged after the logout is ended too.
    eventually("the realm is told", || super::told(&world).last() == world.realm.tokens().last());
}

#[test]
fn the_realm_may_end_a_session_while_it_answers_its_login() {
    let world = hearing(rotation("on"));
    let gate = gated(&world, grant());
    let waiting = send(&world, &passport(OLD_ID, OLD_SECRET));
    eventually("the realm is asked", || world.realm.asked("token").len() == 1);
    world.turn(1);
    heard(&tell(&world, &signed(&header(), &claims(&world, "during"), &KEY)));
    gate.notify_one();
    let (access, uuid) = pair(&reply(&world, waiting));
    assert!(!world.active(&access));
    refused(&refresh(&world, &uuid));
    let (later, _) = login(&world); // of a session of the same name
    assert!(world.active(&later));
}

#[test]
fn a_logout_that_comes_while_its_login_is_being_kept_ends_it() {
    let world = hearing(rotation("on"));
    let gate = gated(&world, grant());
    let held = world.clock.hold_at("store-writer", Look::Passed);
    let waiting = send(&world, &passport(OLD_ID, OLD_SECRET));
    eventually("the realm is asked", || world.realm.asked("token").len() == 1);
    world.turn(1);
    gate.notify_one();
    eventually("the login is being kept", || world.clock.has_held());
    heard(&tell(&world, &signed(&header(), &claims(&world, "during"), &KEY)));
    drop(held);
    let (access, uuid) = pair(&reply(&world, waiting));
    assert!(!world.active(&access));
    refused(&refresh(&world, &uuid));
}

#[test]
fn a_logout_in_a_coding_that_nobody_takes_away_is_not_heard() {
    let world = hearing(rotation("on"));
    let (access, _) = login(&world);
    let body = format!("logout_token={}", signed(&header(), &claims(&world, "one"), &KEY));
    let ask = |codings: &str| {
        let head = format!("POST /backchannel-logout HTTP/1.1\r\nHost: realm\r\nTransfer-Encoding: {codings}\r\n\r\n");
        let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        Connection::open(world.running().addresses().realm.unwrap()).ask(format!("{head}{chunks}").as_bytes())
    };
    assert_eq!(ask("gzip, chunked").status, 400);
    assert!(world.active(&access));
    heard(&ask("chunked"));
    assert!(!world.active(&access));
}

#[test]
fn the_realms_listener_answers_nothing_else() {
    let world = hearing(rotation("on"));
    let realm = world.running().addresses().realm.unwrap();
    let status = |request: &[u8]| Connection::open(realm).ask(request).status;
    assert_eq!(status(b"GET /backchannel-logout HTTP/1.1\r\nHost: realm\r\n\r\n"), 405);
    assert_eq!(status(b"GET /metrics HTTP/1.1\r\nHost: realm\r\n\r\n"), 404);
    assert_eq!(status(&post(crate::support::TOKEN, &super::refreshing("x"))), 404);
    assert_eq!(status(&post("/backchannel-logout", &[("logout_token", &"x".repeat(17 * 1024))])), 413);
    assert_eq!(status(&post("/backchannel-logout", &[("token", "x")])), 400);
    let twice = [("logout_token", "x"), ("logout_token", "y")];
    assert_eq!(status(&post("/backchannel-logout", &twice)), 400);
}

#[test]
fn without_a_realm_listener_nobody_is_heard() {
    let world = World::new();
    assert_eq!(world.running().addresses().realm, None);
    let reply = world.ask(&post("/backchannel-logout", &[("logout_token", "x")]));
    assert_eq!(reply.status, 404);
}
