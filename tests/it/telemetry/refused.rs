//! The log line of a refusal: an operator reads from it whose client it was, and why.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::raw::post_body;
use crate::support::world::REVOKE;
use crate::support::{OLD_ID, OLD_SECRET, Plan, TOKEN, World, client, eventually, passport, post_with};

fn body(id: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(passport(id, OLD_SECRET)).finish()
}

/// The one line that has this text in it: whom it names, and why the request was refused.
#[track_caller]
fn line(world: &World, text: &str) -> (String, String) {
    eventually("the line is written", || world.log(text).len() == 1);
    let line = world.log(text).remove(0);
    let said = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    (said("claimed"), said("detail"))
}

#[test]
fn it_names_the_client_that_a_request_names_which_cannot_be_read() {
    let world = World::new();
    let basic = |id: &str| format!("Basic {}", STANDARD.encode(format!("{id}:{OLD_SECRET}")));
    let ask = |headers: &[(&str, &str)], body: &str| {
        assert!(world.ask(&post_body(TOKEN, headers, body.as_bytes())).status >= 400);
    };
    let expect = |id: &str, detail: &str| assert_eq!(line(&world, id), (id.to_owned(), detail.to_owned()));

    ask(&[], &(body("named-1") + "&x=%zz"));
    expect("named-1", "the form has a broken percent-escape");
    ask(&[], &(body("named-2") + "&scope=x"));
    expect("named-2", "`scope` comes more than once");
    ask(&[], &(body("named-3") + "&planted-secret=1&planted-secret=1"));
    expect("named-3", "a parameter comes more than once");
    ask(&[("Authorization", "Basic x")], &body("named-4"));
    expect("named-4", "the Authorization header is not readable Basic");
    ask(&[("Authorization", &basic("named-5"))], "grant_type=%");
    expect("named-5", "the form has a broken percent-escape");
    let get = world.ask(format!("GET {TOKEN}?client_id=named-6 HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    assert_eq!(get.status, 405);
    expect("named-6", "the endpoint does not answer this method");
}

#[test]
fn a_client_whose_secret_is_wrong_is_named_by_the_log_and_counted_among_the_unknown() {
    let world = Plan::new().client(&client("shows-a-wrong-one", "")).start();
    assert_eq!(world.token(&passport("shows-a-wrong-one", "wrong")).status, 401);
    let expected = ("shows-a-wrong-one".to_owned(), "the secret is wrong".to_owned());
    assert_eq!(line(&world, "shows-a-wrong-one"), expected);
    let labels = "{endpoint=\"token\",client=\"unknown\",outcome=\"client_credentials\"}";
    assert_eq!(world.metric(&format!("passbridge_requests_total{labels}")), 1.0);
    assert!(!world.ops("/metrics").body.contains("shows-a-wrong-one"));
}

#[test]
fn it_names_nobody_where_a_request_names_two() {
    let world = World::new();
    let two = body("first-of-two") + "&client_id=second-of-two";
    let before = world.log("`client_id` comes more than once").len();
    assert_eq!(world.token_body(two.as_bytes()).status, 400);
    eventually("the line is written", || world.log("`client_id` comes more than once").len() > before);
    assert!(world.log("-of-two").is_empty());
}

#[test]
fn it_says_that_a_mapping_takes_no_credentials_from_the_query() {
    let world = Plan::new().client(&client("asks-by-query", "")).start();
    let fields: Vec<_> = passport("", "").into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let path = format!("{TOKEN}?client_id=asks-by-query&client_secret={OLD_SECRET}");
    assert_eq!(world.ask(&post_with(&path, &[], &fields)).said(), (401, "invalid_client".to_owned()));
    let detail = "the credentials stand in the query, and the mapping does not say `allow_query_credentials`";
    assert_eq!(line(&world, "asks-by-query"), ("asks-by-query".to_owned(), detail.to_owned()));
}

#[test]
fn it_says_of_a_revocation_that_its_body_was_not_read() {
    let world = World::new();
    let revoke = |headers: &str, id: &str| {
        let body = format!("client_id={id}&client_secret={OLD_SECRET}&token=abc");
        let head = format!("Host: x\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        world.ask(format!("DELETE {REVOKE} HTTP/1.1\r\n{head}{body}").as_bytes()).status
    };
    assert_eq!(revoke("", "not-read"), 401);
    let unread = "the body is no form, and was not read";
    assert_eq!(line(&world, "not-read").1, format!("the request carries no client credentials; {unread}"));
    let basic = STANDARD.encode(format!("{OLD_ID}:{OLD_SECRET}"));
    assert_eq!(revoke(&format!("Authorization: Basic {basic}\r\n"), OLD_ID), 400);
    assert_eq!(line(&world, "`token` is missing").1, format!("`token` is missing; {unread}"));
}
