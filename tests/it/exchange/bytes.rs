//! Any bytes of certificate and signature arrive at the realm as they were sent.

use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::raw::post_body;
use crate::support::{OLD_ID, OLD_SECRET, TOKEN, World};

/// How an old client may write a form: each is the same value.
#[derive(Clone, Copy, Debug)]
enum Writing {
    /// As browsers do.
    Form,
    /// Every byte escaped, in small letters.
    EverythingSmall,
    /// Blanks escaped, what may stand plain stands plain.
    Sparing,
}

fn written(value: &str, writing: Writing) -> String {
    let escaped = |plain: &dyn Fn(u8) -> bool, small: bool| {
        value.bytes().fold(String::new(), |mut text, byte| {
            if plain(byte) {
                text.push(char::from(byte));
            } else if small {
                let _ = write!(text, "%{byte:02x}");
            } else {
                let _ = write!(text, "%{byte:02X}");
            }
            text
        })
    };
    match writing {
        Writing::Form => form_urlencoded::byte_serialize(value.as_bytes()).collect(),
        Writing::EverythingSmall => escaped(&|_| false, true),
        Writing::Sparing => escaped(&|byte| byte.is_ascii_graphic() && !b"+%&".contains(&byte), false),
    }
}

fn value() -> impl Strategy<Value = String> {
    let special =
        prop::sample::select("+/=%& \r\n\t\0;\"'\\<>#?:@{}\u{feff}\u{202e}\u{10ffff}Яэ".chars().collect::<Vec<_>>());
    let letter = prop_oneof![3 => any::<char>(), 2 => special, 2 => prop::char::range('0', 'z')];
    prop::collection::vec(letter, 1..48).prop_map(String::from_iter)
}

fn writing() -> impl Strategy<Value = Writing> {
    prop_oneof![Just(Writing::Form), Just(Writing::EverythingSmall), Just(Writing::Sparing)]
}

#[test]
fn any_certificate_and_signature_arrive_byte_for_byte() {
    let world = World::new();
    let mut connection = world.connect();
    let config = Config { cases: 3_000, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let connection = parking_lot::Mutex::new(&mut connection);
    runner
        .run(&(value(), value(), writing()), |(certificate, signature, writing)| {
            let body = format!(
                "grant_type=passport&client_id={OLD_ID}&client_secret={OLD_SECRET}&algorithm=RSA&certificate={}&signature={}",
                written(&certificate, writing),
                written(&signature, writing),
            );
            let reply = connection.lock().ask(&post_body(TOKEN, &[], body.as_bytes()));
            prop_assert_eq!(reply.status, 200, "{}", reply.body);
            let seen = world.realm.take_last();
            prop_assert_eq!(seen.field("certificate"), Some(certificate));
            prop_assert_eq!(seen.field("signature"), Some(signature));
            Ok(())
        })
        .unwrap();
}
