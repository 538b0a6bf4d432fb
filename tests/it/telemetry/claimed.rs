//! What callers send where it does not belong: neither log nor audit tells a token or a secret of it. At its end each world looks for them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use passbridge::domain::opaque::{OpaqueToken, TokenUse};
use serde_json::Value;

use crate::gateway::uuid;
use crate::support::frames::{self, Frames};
use crate::support::raw::post_body;
use crate::support::{FakeApi, OLD_ID, OLD_SECRET, Plan, TOKEN, World, eventually, passport, post_with};

/// Asks with this in front of the colon of HTTP Basic.
fn ask(world: &World, id: &str) {
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:x")));
    let reply = world.ask(&post_with(TOKEN, &[("Authorization", &basic)], &[("grant_type", "refresh_token")]));
    assert_eq!(reply.status, 401, "{}", reply.body);
}

/// What the audit has of callers who proved nothing, once the bridge has ended: whom they claimed to be, and why they were refused.
fn claims(world: &mut World) -> Vec<(String, String)> {
    world.end();
    let text = |record: &Value, name: &str| record[name].as_str().unwrap().to_owned();
    let claims = world.audit().into_iter().filter(|record| record["claimed"].is_string());
    claims.map(|record| (text(&record, "claimed"), text(&record, "why"))).collect()
}

#[test]
fn a_token_that_stands_where_an_id_belongs_is_named_by_its_fingerprints_or_not_at_all() {
    let mut world = World::new();
    let token = world.login().text("access_token");
    let jwt = world.realm.tokens().into_iter().find(|token| token.starts_with("eyJ")).unwrap();
    for id in [&token, &format!("{token}\n"), &format!("Bearer {}", token.to_uppercase()), &jwt] {
        ask(&world, id);
    }
    let unreadable = format!("client_id={token}&x=%zz");
    assert!(world.ask(&post_body(TOKEN, &[], unreadable.as_bytes())).status >= 400);

    let token = OpaqueToken::parse(&token).unwrap();
    let [access, refresh] = [TokenUse::Access, TokenUse::Refresh].map(|token_use| token.fingerprint(token_use).short());
    let named = format!("[UUID {access}/{refresh}]");
    let told: Vec<String> = claims(&mut world).into_iter().map(|(claimed, _)| claimed).collect();
    assert_eq!(
        told,
        [&named, &format!("{named}\u{fffd}"), &format!("Bearer {named}"), "[long word]", &named].map(str::to_owned)
    );
}

#[test]
fn an_old_secret_that_is_exchanged_with_its_id_is_not_told_and_the_id_is() {
    let mut world = World::new();
    assert_eq!(world.token(&passport(OLD_SECRET, OLD_ID)).status, 401);
    let line = world.log("id and secret are exchanged");
    assert_eq!(line[0]["claimed"], OLD_ID, "{line:?}");
    assert_eq!(claims(&mut world), [(OLD_ID.to_owned(), "id and secret are exchanged".to_owned())]);
}

#[test]
fn an_id_that_a_mapping_has_is_told_though_it_looks_like_a_token() {
    let id = "54f0c455-4d80-421f-82ca-9194df24859d";
    let mut world = Plan::new().client(&crate::support::client(id, "")).start();
    ask(&world, id);
    assert_eq!(claims(&mut world), [(id.to_owned(), "the secret is wrong".to_owned())]);
}

#[test]
fn letters_that_turn_or_part_a_line_stand_in_none() {
    let mut world = World::new();
    ask(&world, "evil\u{1b}[31m\r\nX\u{202e}abc\u{2028}\u{200b}");
    let expected = "evil\u{fffd}*\u{fffd}\u{fffd}*\u{fffd}*\u{fffd}\u{fffd}";
    assert_eq!(claims(&mut world)[0].0, expected);
}

#[test]
fn a_target_that_is_refused_over_http2_and_the_words_of_a_goaway_are_told_by_no_line_of_a_library() {
    let api = FakeApi::good();
    let world = crate::gateway::plan(&api, "").start();
    let uuid = uuid(&world);
    let addresses = world.running().addresses();
    for address in [addresses.gateway, addresses.authz] {
        let refused =
            [("a".to_owned(), format!("/api?access_token={uuid} \u{7f}")), (format!("{uuid} a"), "/api".to_owned())];
        for (authority, path) in &refused {
            let mut frames = Frames::open(address.unwrap());
            let fields = [(":method", "GET"), (":scheme", "http"), (":authority", authority), (":path", path)];
            frames.send(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, 1, &frames::head(&fields));
            let told = std::iter::from_fn(|| frames.next())
                .find(|frame| [frames::RST_STREAM, frames::GOAWAY, frames::HEADERS].contains(&frame.kind));
            assert!(told.is_some(), "{path}");
        }
        let mut frames = Frames::open(address.unwrap());
        frames.send(frames::GOAWAY, 0, 0, &[&[0; 8], uuid.as_bytes()].concat());
        while frames.next().is_some() {}
    }
    assert!(api.seen().is_empty());
    eventually("libraries are heard", || !world.log("\"target\":\"hyper_util::").is_empty());
    assert!(world.log(&uuid).is_empty());
}

#[test]
fn an_old_secret_that_is_put_together_with_its_id_is_not_told_and_the_id_is() {
    let mut world = Plan::new().client(&crate::support::client("odd client", "")).start();
    let pair = format!("{OLD_ID}:{OLD_SECRET}");
    for id in [&pair, &STANDARD.encode(&pair)] {
        assert_eq!(world.token(&passport(id, "")).status, 401);
        ask(&world, id);
    }
    // Exchanged, with a colon in the secret, and with many.
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    for (pair, id) in [
        (format!("p%41ss:{OLD_SECRET}:{OLD_ID}"), OLD_ID),
        (format!("p%41ss{}{OLD_ID}", ":".repeat(20)), OLD_ID),
        ("odd%20client:wrong".to_owned(), "odd client"),
    ] {
        let reply =
            world.ask(&post_with(TOKEN, &[("Authorization", &basic(&pair))], &[("grant_type", "refresh_token")]));
        assert_eq!(reply.status, 401, "{id}");
    }
    let told: Vec<String> = claims(&mut world).into_iter().map(|(claimed, _)| claimed).collect();
    assert_eq!(told, [OLD_ID, OLD_ID, OLD_ID, OLD_ID, OLD_ID, OLD_ID, "odd client"]);
}

/// Two clients whose old secret was right before: one lies in the environment, the other is a hash.
fn with_two_secrets() -> World {
    let secret = "planted-dor-and-3";
    let hash = passbridge::mapping::hash(&secret.into(), &passbridge::server::SystemEntropy).unwrap();
    let hashed = crate::support::client("l7xxhashed", &format!("legacy_secret = {{ hash = \"{hash}\" }}"));
    let world = Plan::new().environment("UNUSED", secret).client(&hashed).start();
    for (id, secret) in [(OLD_ID, OLD_SECRET), ("l7xxhashed", secret)] {
        assert_eq!(world.token(&passport(id, secret)).status, 200);
    }
    world
}

#[test]
fn an_old_secret_that_was_right_before_and_stands_where_an_id_does_is_not_told() {
    let mut world = with_two_secrets();
    for (id, secret) in [(OLD_ID, OLD_SECRET), ("l7xxhashed", "planted-dor-and-3")] {
        for (shown, beside) in
            [(secret.to_owned(), "other"), (format!(" {secret}\n"), "other"), (format!("{id}{secret}"), "other")]
        {
            assert_eq!(world.token(&passport(&shown, beside)).status, 401);
        }
        assert!(world.ask(&post_body(TOKEN, &[], format!("client_id={secret}&x=%zz").as_bytes())).status >= 400);
        assert_eq!(world.token(&passport(secret, secret)).status, 401);
        ask(&world, secret);
    }
    let told: Vec<String> = claims(&mut world).into_iter().map(|(claimed, _)| claimed).collect();
    let expected = [OLD_ID, "l7xxhashed"].map(|id| {
        ["[secret]", "[secret]", &format!("{id}[secret]"), "[secret]", "[secret]", "[secret]"].map(str::to_owned)
    });
    assert_eq!(told, expected.concat());
}

#[test]
fn an_unknown_id_that_comes_without_a_secret_or_with_itself_as_one_may_be_the_secret_and_is_not_told() {
    let mut world = World::new();
    for secret in ["", "planted-never-right"] {
        assert_eq!(world.token(&passport("planted-never-right", secret)).status, 401);
    }
    let basic = format!("Basic {}", STANDARD.encode("planted-never-right:"));
    assert_eq!(world.ask(&post_with(TOKEN, &[("Authorization", &basic)], &[("grant_type", "x")])).status, 401);
    // Whoever shows a secret beside it is told.
    assert_eq!(world.token(&passport("some-client_2.x", "wrong")).status, 401);
    let told: Vec<String> = claims(&mut world).into_iter().map(|(claimed, _)| claimed).collect();
    assert_eq!(told[..3], ["[id alone: 19 letters]"; 3].map(str::to_owned));
    assert_eq!(told[3], "some-client_2.x");
}

#[test]
fn what_follows_a_sign_that_ids_seldom_have_is_not_told() {
    let mut world = World::new();
    let (id, secret) = (OLD_ID, "planted-never-right");
    let behind = [
        format!("{id}/{secret}"),
        format!("{id} {secret}"),
        format!(" {id}&client_secret={secret}"),
        format!("{{\"id\":\"{id}\",\"secret\":\"{secret}\"}}"),
        format!("l7xxunknown;{secret}"),
        format!("Клиент {secret}"),
    ];
    for shown in &behind {
        assert_eq!(world.token(&passport(shown, "other")).status, 401);
    }
    let told: Vec<String> = claims(&mut world).into_iter().map(|(claimed, _)| claimed).collect();
    let expected = [&format!("{id}*"), &format!("{id} *"), &format!(" {id}*"), "*", "l7xxunknown*", "Клиент *"];
    assert_eq!(told, expected.map(str::to_owned));
    assert!(world.log(secret).is_empty());
}
