//! What is printed for whoever looks for a bug, in a log line or a panic: of what holds a secret, only that it does.

use std::fmt::Debug;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use passbridge::document::{Origin, Spotted, Value as Found};
use passbridge::domain::dialect::Slot;
use passbridge::domain::form::Form;
use passbridge::legacy::reply::{Reply, Says, Value};
use passbridge::legacy::request::Incoming;
use passbridge::mapping::Lesson;
use passbridge::mapping::edit::NewSecret;
use passbridge::otk::Answer;

const PLANTED: &str = "planted-secret";

fn assert_hidden(printed: &[&dyn Debug]) {
    for one in printed {
        for text in [format!("{one:?}"), format!("{one:#?}")] {
            let as_numbers = format!("{:?}", &PLANTED.as_bytes()[..4]);
            let is_hidden = [PLANTED, as_numbers.trim_matches(['[', ']'])].iter().all(|shown| !text.contains(shown));
            assert!(is_hidden, "{text}");
            assert!(text.len() > 3, "nothing is printed at all: {text}");
        }
    }
}

#[test]
fn a_request_prints_neither_its_query_nor_its_credentials_nor_its_body() {
    let uri: Uri = format!("/auth/oauth/v2/token?client_secret={PLANTED}").parse().unwrap();
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(PLANTED))]);
    let mut form = Form::default();
    form.push("certificate".to_owned(), PLANTED.to_owned());
    let body = PLANTED.as_bytes();
    assert_hidden(&[&Incoming { method: &Method::POST, uri: &uri, headers: &headers, body }, &form]);
}

#[test]
fn a_reply_prints_neither_its_body_nor_the_values_of_its_headers() {
    let headers = || HeaderMap::from_iter([(header::SET_COOKIE, HeaderValue::from_static(PLANTED))]);
    let body = Bytes::from_static(PLANTED.as_bytes());
    let ours = Reply { status: StatusCode::OK, headers: headers(), body: body.clone() };
    let theirs = Answer { status: StatusCode::OK, headers: headers(), body };
    let values = [(Slot::AccessToken, Value::Text(PLANTED))];
    assert_hidden(&[&ours, &theirs, &Says::Token(&values), &Says::Active(&values)]);
}

#[test]
fn a_value_of_a_file_or_of_the_environment_and_a_hash_print_nothing_of_what_they_are() {
    let text = |value| Spotted { value, origin: Origin::file("passbridge.toml") };
    let list = Found::List(vec![text(Found::Text(PLANTED.to_owned()))]);
    assert_hidden(&[&text(Found::Unparsed(PLANTED.to_owned())), &text(list)]);
    assert_hidden(&[&NewSecret::Hash(PLANTED.to_owned()), &Lesson::New(PLANTED.to_owned())]);
}
