//! Where a client's credentials may stand.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::{OLD_ID, OLD_SECRET, Plan, RawReply, TOKEN, World, client, passport, post_with};

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn without_credentials() -> Vec<(&'static str, &'static str)> {
    passport("", "").into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn by_basic(world: &World, authorization: &str) -> RawReply {
    world.ask(&post_with(TOKEN, &[("Authorization", authorization)], &without_credentials()))
}

#[test]
fn basic_counts_like_the_body_and_is_not_passed_on() {
    let world = World::new();
    assert_eq!(by_basic(&world, &basic(OLD_ID, OLD_SECRET)).status, 200);
    let seen = world.realm.last();
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.field("client_id").as_deref(), Some("test_api"));
    assert_eq!(by_basic(&world, &basic(OLD_ID, OLD_SECRET).replace("Basic ", "bAsIc ")).status, 200);
    assert_eq!(by_basic(&world, &basic(OLD_ID, "wrong")).said(), (401, "invalid_client".to_owned()));
}

#[test]
fn basic_counts_as_it_is_and_form_decoded() {
    let world = Plan::new()
        .environment("ODD_SECRET", "planted a+b:%2F%")
        .environment("RAW_SECRET", "planted%2Braw")
        .client(&client("odd client", "legacy_secret = { env = \"ODD_SECRET\" }"))
        .client(&client("raw", "legacy_secret = { env = \"RAW_SECRET\" }"))
        .start();
    assert_eq!(by_basic(&world, &basic("odd client", "planted a+b:%2F%")).status, 200, "as it is");
    assert_eq!(by_basic(&world, &basic("odd+client", "planted+a%2Bb%3a%252F%25")).status, 200, "form-decoded");
    assert_eq!(by_basic(&world, &basic("raw", "planted%2Braw")).status, 200, "as it is");
    assert_eq!(by_basic(&world, &basic("raw", "planted%252Braw")).status, 200, "form-decoded");
    assert_eq!(by_basic(&world, &basic("raw", "planted+raw")).status, 401);
}

#[test]
fn the_query_counts_only_where_the_mapping_allows_it() {
    let world = Plan::new().client(&client("very-old", "allow_query_credentials = true")).start();
    let path = |id: &str| format!("{TOKEN}?client_id={id}&client_secret={OLD_SECRET}");
    assert_eq!(world.ask(&post_with(&path("very-old"), &[], &without_credentials())).status, 200);
    let refused = world.ask(&post_with(&path(OLD_ID), &[], &without_credentials()));
    assert_eq!(refused.said(), (401, "invalid_client".to_owned()));
    let unknown = world.ask(&post_with(&path("nobody"), &[], &without_credentials()));
    assert_eq!(refused.body, unknown.body);
    assert_eq!(world.realm.count(), 1);
}

#[test]
fn the_query_carries_credentials_and_nothing_else() {
    let world = Plan::new().client(&client("very-old", "allow_query_credentials = true")).start();
    let path = format!("{TOKEN}?client_id=very-old&client_secret={OLD_SECRET}&signature=from-the-query");
    let fields: Vec<_> = without_credentials().into_iter().filter(|(name, _)| *name != "signature").collect();
    assert_eq!(world.ask(&post_with(&path, &[], &fields)).said(), (400, "invalid_request".to_owned()));
}

#[test]
fn the_body_speaks_before_the_query() {
    let world = Plan::new().client(&client("very-old", "allow_query_credentials = true")).start();
    let path = format!("{TOKEN}?client_id=very-old&client_secret=wrong");
    assert_eq!(world.ask(&post_with(&path, &[], &passport(OLD_ID, OLD_SECRET))).status, 200);
}

#[test]
fn credentials_that_contradict_each_other_are_refused() {
    let world = Plan::new().client(&client("other", "")).start();
    let both = |id: &str, secret: &str| {
        world.ask(&post_with(TOKEN, &[("Authorization", &basic(OLD_ID, OLD_SECRET))], &passport(id, secret)))
    };
    assert_eq!(both(OLD_ID, OLD_SECRET).status, 200);
    assert_eq!(both("other", OLD_SECRET).said(), (400, "invalid_request".to_owned()));
    assert_eq!(both(OLD_ID, "another").said(), (400, "invalid_request".to_owned()));
    let twice = [("Authorization", basic(OLD_ID, OLD_SECRET)), ("Authorization", basic("other", OLD_SECRET))];
    let twice: Vec<_> = twice.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let reply = world.ask(&post_with(TOKEN, &twice, &without_credentials()));
    assert_eq!(reply.said(), (400, "invalid_request".to_owned()));
}

#[test]
fn another_scheme_or_unreadable_basic_is_wrong_credentials() {
    let world = World::new();
    for header in ["Bearer x", "Basic", "Basic !!!", "Basic bm9jb2xvbg==", "Basic gICA", "Digest username=x"] {
        assert_eq!(by_basic(&world, header).said(), (401, "invalid_client".to_owned()), "{header}");
    }
    assert_eq!(world.realm.count(), 0);
}

#[test]
fn another_scheme_beside_parameters_that_say_who_asks_is_passed_over() {
    let world = World::new();
    let beside =
        |header: &str| world.ask(&post_with(TOKEN, &[("Authorization", header)], &passport(OLD_ID, OLD_SECRET)));
    for header in ["Bearer x", "bearer 0f4c3b1a-8f2e-4d6a-9b57-2c1e5d7a9f30", "Negotiate TlRMTVNTUAAB", "x"] {
        assert_eq!(beside(header).status, 200, "{header}");
        assert_eq!(world.realm.last().header("authorization"), None, "{header}");
    }
    for header in ["Basic !!!", "basic"] {
        assert_eq!(beside(header).said(), (401, "invalid_client".to_owned()), "{header}");
    }
    let wrong = post_with(TOKEN, &[("Authorization", "Bearer x")], &passport(OLD_ID, "another"));
    assert_eq!(world.ask(&wrong).said(), (401, "invalid_client".to_owned()));
}

#[test]
fn one_of_two_old_secrets_is_enough_and_neither_passes_for_another_client() {
    let more = "legacy_secret = [{ env = \"OLD_SECRET\" }, { env = \"OLDER_SECRET\" }]";
    let world =
        Plan::new().client(&client("rotating", more)).environment("OLDER_SECRET", "planted-older-secret").start();
    assert_eq!(world.token(&passport("rotating", OLD_SECRET)).status, 200);
    assert_eq!(world.token(&passport("rotating", "planted-older-secret")).status, 200);
    assert_eq!(world.token(&passport(OLD_ID, "planted-older-secret")).status, 401);
}

#[test]
fn an_empty_secret_is_nobodys() {
    let world = World::new();
    assert_eq!(world.token(&passport(OLD_ID, "")).status, 401);
    assert_eq!(by_basic(&world, &basic(OLD_ID, "")).status, 401);
}

#[test]
fn ids_are_compared_exactly_and_may_be_anything() {
    let ids = ["7f0c3a52-6a0f-4a7e-9d7e-3f3c0b0d2a11", "plain word", "Сервис"];
    let plan = ids.iter().fold(Plan::new(), |plan, id| plan.client(&client(id, "")));
    let world = plan.start();
    for id in ids {
        assert_eq!(world.token(&passport(id, OLD_SECRET)).status, 200, "{id}");
    }
    assert_eq!(world.token(&passport(&OLD_ID.to_ascii_uppercase(), OLD_SECRET)).status, 401);
}
