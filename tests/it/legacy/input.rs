//! Bad input: answered in the dialect's words or cut off, within bounds, and nothing else.

use std::fmt::Write as _;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::support::program::Program;
use crate::support::raw::post_body;
use crate::support::{Granting, Mood, OLD_ID, OLD_SECRET, Plan, RawReply, TOKEN, World, eventually, passport, post};

/// The dialect's words for what cannot be understood, byte for byte.
const MALFORMED: &str =
    "{\r\n  \"error\":\"invalid_request\",\r\n  \"error_description\":\"Missing or duplicate parameters\"\r\n}";

#[track_caller]
fn is_malformed(reply: &RawReply, what: &str) {
    reply.check();
    assert_eq!((reply.status, reply.body.as_str()), (400, MALFORMED), "{what}");
    assert_eq!(reply.header("x-ca-err").as_deref(), Some("3003103"), "{what}");
}

/// Sends bytes that end in the middle of something or make no sense: the dialect's error, and the connection is over.
#[track_caller]
fn refused_and_closed(world: &World, bytes: &[u8], what: &str) {
    let mut connection = world.connect();
    connection.write(bytes);
    let reply = connection.reply().unwrap_or_else(|| panic!("{what}: cut off without a word"));
    is_malformed(&reply, what);
    assert_eq!(reply.header("connection").as_deref(), Some("close"), "{what}");
    assert!(connection.is_closed(), "{what}");
    assert_eq!(world.realm.count(), 0, "{what}: the realm was asked");
}

fn with_head(head: &str, body: &str) -> Vec<u8> {
    format!("POST {TOKEN} HTTP/1.1\r\nHost: x\r\n{head}\r\n{body}").into_bytes()
}

fn good_body() -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(passport(OLD_ID, OLD_SECRET)).finish()
}

#[test]
fn a_form_that_is_not_well_formed_is_refused_and_the_connection_kept() {
    let world = World::new();
    let mut connection = world.connect();
    let good = good_body();
    let many = (0..60).fold(good.clone(), |mut text, number| {
        let _ = write!(text, "&p{number}=1");
        text
    });
    for (what, body) in [
        ("a cut escape", format!("{good}&x=%")),
        ("half an escape", format!("{good}&x=%4")),
        ("an escape of other letters", format!("{good}&x=%GG")),
        ("an escape that is no UTF-8", format!("{good}&x=%ff")),
        ("an overlong escape", format!("{good}&x=%c0%80")),
        ("half a surrogate", format!("{good}&x=%ed%a0%80")),
        ("a broken name", format!("{good}&%zz=1")),
        ("a duplicate parameter", format!("{good}&scope=x")),
        ("a duplicate of an empty one", format!("{good}&client_id=")),
        ("a duplicate under another spelling", format!("{good}&%73cope=x")),
        ("a duplicate of what nobody knows", format!("{good}&x=1&x=1")),
        ("too many parameters", many),
    ] {
        is_malformed(&connection.ask(&post_body(TOKEN, &[], body.as_bytes())), what);
    }
    is_malformed(&connection.ask(&post_body(TOKEN, &[], &[good.as_bytes(), b"&x=\xff"].concat())), "not UTF-8");
    is_malformed(&connection.ask(&post_body(&format!("{TOKEN}?x=%"), &[], good.as_bytes())), "a broken query");
    is_malformed(&connection.ask(&post_body(&format!("{TOKEN}?x=1&x=2"), &[], good.as_bytes())), "query twice");
    assert_eq!(world.realm.count(), 0);
    assert_eq!(world.checked(connection.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)))).status, 200);
}

#[test]
fn a_nul_is_a_character_like_others_in_a_value_and_nobodys_id() {
    let world = World::new();
    let body = good_body().replace("planted-certificate", "planted%00certificate");
    assert_eq!(world.token_body(body.as_bytes()).status, 200);
    assert!(world.realm.last().field("certificate").unwrap().starts_with("planted\0"));
    assert_eq!(world.token(&passport("l7xx3c0ffee\0", OLD_SECRET)).said(), (401, "invalid_client".to_owned()));
    assert_eq!(world.token_body(&[0; 64]).said(), (401, "invalid_client".to_owned()));
    assert_eq!(world.realm.count(), 1);
}

#[test]
fn other_methods_and_paths_are_refused_in_the_dialects_words() {
    let world = World::new();
    for method in ["GET", "PUT", "PATCH", "OPTIONS", "DELETE", "TRACE", "PROPFIND"] {
        let reply = world.ask(format!("{method} {TOKEN} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert_eq!(reply.said(), (405, "invalid_request".to_owned()), "{method}");
        assert_eq!(reply.header("allow").as_deref(), Some("POST"), "{method}");
    }
    for path in ["/", "/auth/oauth/v2/token/", "/AUTH/oauth/v2/token", "/auth/oauth/v2/../v2/token", "//", "/%00", "*"]
    {
        let reply = world.ask(&post(path, &passport(OLD_ID, OLD_SECRET)));
        assert_eq!(reply.said(), (404, "not_found".to_owned()), "{path}");
    }
    let mut connection = world.connect();
    connection.write(format!("HEAD {TOKEN} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    assert_eq!(connection.reply_without_body().unwrap().status, 405);
    connection.write(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    assert_eq!(world.checked(connection.reply().unwrap()).status, 200);
}

#[test]
fn a_body_over_the_limit_is_refused_and_one_at_it_is_read() {
    let world = World::new();
    let body = |length: usize| {
        let start = format!("{}&x=", good_body());
        format!("{start}{}", "a".repeat(length - start.len()))
    };
    assert_eq!(world.token_body(body(64 * 1024).as_bytes()).status, 200);
    world.realm.take_last();
    refused_and_closed(&world, &post_body(TOKEN, &[], body(64 * 1024 + 1).as_bytes()), "one byte more");
    let chunk = format!("10001\r\n{}\r\n0\r\n\r\n", body(0x1_0001));
    refused_and_closed(&world, &with_head("Transfer-Encoding: chunked\r\n", &chunk), "chunked");
}

#[test]
fn a_length_over_the_limit_is_refused_at_once_and_not_waited_for() {
    let world = Plan::new().set("limits", "body_timeout", "\"10m\"").start();
    refused_and_closed(&world, &with_head("Content-Length: 99999999999\r\n", "a"), "a claim of 99 GB");
    let mut connection = world.connect();
    connection.write(&with_head("Content-Length: 65537\r\nExpect: 100-continue\r\n", ""));
    is_malformed(&connection.reply().unwrap(), "expecting");
    assert_eq!(connection.interim, 0, "nobody is asked to send what will not be read");
}

#[test]
fn a_huge_body_is_refused_before_it_has_all_been_sent_and_the_sender_hears_it() {
    let world = World::new();
    refused_and_closed(&world, &post_body(TOKEN, &[], &vec![b'a'; 8 << 20]), "8 MiB");
}

#[test]
fn the_limit_of_a_body_is_a_setting_that_a_reload_changes() {
    let mut world = World::new();
    world.change("limits", "body", "\"1KiB\"");
    world.running().reload().unwrap();
    refused_and_closed(&world, &post_body(TOKEN, &[], &[b'a'; 1025]), "over 1 KiB");
}

#[test]
fn a_slow_body_is_cut_off_in_the_dialects_words() {
    let world = Plan::new().set("limits", "body_timeout", "\"100ms\"").start();
    refused_and_closed(&world, &with_head("Content-Length: 300\r\n", "grant_type=passport"), "slow");
    refused_and_closed(&world, &with_head("Transfer-Encoding: chunked\r\n", "5\r\ngra"), "slow chunks");
}

#[test]
fn a_slow_head_and_an_idle_connection_are_cut_off() {
    let world = Plan::new().set("limits", "head_timeout", "\"1s\"").start();
    for (what, bytes) in [("nothing", ""), ("half a head", "POST /auth/oauth/v2/token HTTP/1.1\r\nHost: x\r\nX-")] {
        let mut connection = world.connect();
        connection.write(bytes.as_bytes());
        if let Some(reply) = connection.reply() {
            is_malformed(&reply, what);
        }
        assert!(connection.is_closed(), "{what}");
    }
    let mut connection = world.connect();
    assert_eq!(world.checked(connection.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)))).status, 200);
    assert!(connection.is_closed(), "idle behind a request");
}

#[test]
fn a_body_that_ends_before_its_length_is_refused() {
    let world = World::new();
    let mut connection = world.connect();
    connection.write(&with_head("Content-Length: 300\r\n", "grant_type=passport"));
    connection.half_close();
    if let Some(reply) = connection.reply() {
        is_malformed(&reply, "cut");
    }
    assert!(connection.is_closed());
    assert_eq!(world.realm.count(), 0);
}

#[test]
fn broken_chunks_are_refused() {
    let world = World::new();
    for (what, chunks) in [
        ("no number", "zz\r\ngrant\r\n0\r\n\r\n"),
        ("a number too long", "fffffffffffffffff\r\ngrant\r\n"),
        ("no line end", "3\r\ngrant_type\r\n0\r\n\r\n"),
    ] {
        refused_and_closed(&world, &with_head("Transfer-Encoding: chunked\r\n", chunks), what);
    }
}

#[test]
fn lengths_that_contradict_each_other_are_refused_or_end_the_connection() {
    let world = World::new();
    let body = good_body();
    let length = body.len();
    for (what, head) in [
        ("two lengths", format!("Content-Length: {length}\r\nContent-Length: {}\r\n", length - 1)),
        ("two in one", format!("Content-Length: {length}, {}\r\n", length - 1)),
        ("no number", "Content-Length: many\r\n".to_owned()),
        ("a sign", format!("Content-Length: +{length}\r\n")),
        ("below nothing", "Content-Length: -1\r\n".to_owned()),
        ("beyond counting", "Content-Length: 99999999999999999999999\r\n".to_owned()),
        ("an unknown coding", "Transfer-Encoding: gzip\r\n".to_owned()),
        ("chunked not last", "Transfer-Encoding: chunked, gzip\r\n".to_owned()),
    ] {
        refused_and_closed(&world, &with_head(&head, &body), what);
    }
}

#[test]
fn a_body_in_a_coding_that_nobody_takes_away_is_refused_and_closed() {
    let world = World::new();
    let body = good_body();
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for codings in [
        "gzip, chunked",
        "gzip\r\nTransfer-Encoding: chunked",
        "identity, chunked",
        "chunked, chunked",
        "\u{e4}, chunked",
    ] {
        refused_and_closed(&world, &with_head(&format!("Transfer-Encoding: {codings}\r\n"), &chunks), codings);
    }
    refused_and_closed(&world, &with_head("Transfer-Encoding: gzip, chunked\r\n", ""), "nothing of it has come");
    eventually("it is counted where it was sent to", || {
        let counted = "passbridge_requests_total{endpoint=\"token\",client=\"unknown\",outcome=\"invalid_request\"}";
        world.metric(counted) > 4.0
    });
    let lists = with_head("Transfer-Encoding: , Chunked\r\n", &chunks);
    assert_eq!(world.ask(&lists).status, 200, "a list with empty elements is the same list (RFC 9110 section 5.6.1)");
}

#[test]
fn a_header_that_counts_once_is_refused_where_it_comes_twice() {
    let world = World::new();
    let mut connection = world.connect();
    let good = String::from_utf8(post(TOKEN, &passport(OLD_ID, OLD_SECRET))).unwrap();
    for (what, line) in [
        ("two hosts", "Host: other.example.org"),
        ("one host twice", "Host: old.example.org"),
        ("two media types", "Content-Type: text/plain"),
        ("one media type twice", "Content-Type: application/x-www-form-urlencoded"),
    ] {
        let behind = good.replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1);
        is_malformed(&connection.ask(behind.as_bytes()), what);
        let ahead = good.replacen("\r\n", &format!("\r\n{line}\r\n"), 1);
        is_malformed(&connection.ask(ahead.as_bytes()), what);
    }
    assert_eq!(world.realm.count(), 0);
    let nameless = good.replace("Host: old.example.org\r\n", "");
    assert_eq!(world.checked(connection.ask(nameless.as_bytes())).status, 200, "old clients name no host");
}

#[test]
fn a_media_type_that_is_a_list_is_refused_as_two_lines_of_it_are() {
    let world = World::new();
    let mut connection = world.connect();
    let good = String::from_utf8(post(TOKEN, &passport(OLD_ID, OLD_SECRET))).unwrap();
    for more in [", text/plain", "; charset=utf-8, text/plain", ", application/x-www-form-urlencoded", ","] {
        let joined = good.replacen("urlencoded\r\n", &format!("urlencoded{more}\r\n"), 1);
        is_malformed(&connection.ask(joined.as_bytes()), more);
    }
    assert_eq!(world.realm.count(), 0);
}

#[test]
fn a_body_that_says_to_be_packed_is_refused() {
    let world = World::new();
    let mut connection = world.connect();
    for coding in
        ["gzip", "X-Gzip", "deflate", "compress", "br", "zstd", "identity, gzip", "identity\r\nContent-Encoding: gzip"]
    {
        let said = post_body(TOKEN, &[("Content-Encoding", coding)], good_body().as_bytes());
        is_malformed(&connection.ask(&said), coding);
    }
    assert_eq!(world.realm.count(), 0);
    for habit in ["identity", "UTF-8", ""] {
        let said = post_body(TOKEN, &[("Content-Encoding", habit)], good_body().as_bytes());
        assert_eq!(world.checked(connection.ask(&said)).status, 200, "{habit} packs nothing");
    }
}

#[test]
fn what_is_smuggled_behind_a_chunked_body_with_a_length_is_not_answered() {
    let world = World::new();
    let body = good_body();
    let smuggled = String::from_utf8(post(TOKEN, &passport(OLD_ID, OLD_SECRET))).unwrap();
    for head in
        ["Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"]
    {
        let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n{smuggled}", body.len());
        let mut connection = world.connect();
        connection.write(&with_head(head, &chunks));
        let reply = world.checked(connection.reply().unwrap());
        assert_eq!(reply.header("connection").as_deref(), Some("close"));
        assert!(connection.is_closed(), "one reply and no more");
    }
}

#[test]
fn a_flood_of_headers_is_refused() {
    let world = World::new();
    let flood = (0..200).fold(String::new(), |mut text, number| {
        let _ = write!(text, "X-Header-{number}: x\r\n");
        text
    });
    refused_and_closed(&world, &with_head(&flood, ""), "200 headers");
    refused_and_closed(&world, &with_head(&format!("X-Long: {}\r\n", "x".repeat(64 * 1024)), ""), "64 KiB of header");
    let target = format!("POST /{} HTTP/1.1\r\n\r\n", "x".repeat(70 * 1024));
    refused_and_closed(&world, target.as_bytes(), "70 KiB of target");
}

#[test]
fn what_is_no_http_is_refused_in_the_dialects_words() {
    let world = World::new();
    for (what, bytes) in [
        ("garbage", &b"\x00\x01\x02\xff\xfe garbage\r\n\r\n"[..]),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        ("no version", b"POST /auth/oauth/v2/token\r\n\r\n"),
        ("HTTP/3.7", b"POST /auth/oauth/v2/token HTTP/3.7\r\n\r\n"),
        ("a NUL in a header", b"POST /auth/oauth/v2/token HTTP/1.1\r\nX: a\0b\r\n\r\n"),
        ("a blank in a name", b"POST /auth/oauth/v2/token HTTP/1.1\r\nX y: a\r\n\r\n"),
        ("a folded header", b"POST /auth/oauth/v2/token HTTP/1.1\r\nX: a\r\n b\r\n\r\n"),
        ("a blank in the target", b"POST /auth/oauth /v2/token HTTP/1.1\r\n\r\n"),
    ] {
        refused_and_closed(&world, bytes, what);
    }
}

/// How many requests were refused before they were read.
fn refused_unread(world: &World) -> u64 {
    let labels = "endpoint=\"none\",client=\"unknown\",outcome=\"invalid_request\"";
    world.metric(&format!("passbridge_requests_total{{{labels}}}")).to_string().parse().unwrap()
}

#[test]
fn what_is_malformed_behind_a_good_request_is_refused_after_it_was_answered() {
    let world = World::new();
    let good = String::from_utf8(post(TOKEN, &passport(OLD_ID, OLD_SECRET))).unwrap();
    let old = good.replacen(" HTTP/1.1\r\n", " HTTP/1.0\r\nConnection: keep-alive\r\n", 1);
    for (good, garbage) in
        [(&good, "\0garbage\r\n\r\n"), (&old, "\0garbage\r\n\r\n"), (&old, "GET  / HTTP/1.1\r\n\r\n")]
    {
        let before = refused_unread(&world);
        let mut connection = world.connect();
        connection.write(format!("{good}{garbage}").as_bytes());
        assert_eq!(world.checked(connection.reply().unwrap()).status, 200);
        is_malformed(&connection.reply().unwrap(), "garbage behind");
        assert!(connection.is_closed());
        assert_eq!(refused_unread(&world), before + 1, "counted as any other");
    }
}

#[test]
fn what_is_refused_before_it_is_read_is_counted_and_logged_too() {
    // In a process of its own, whose log has no other bridge's lines.
    let program = Program::serve(&Plan::new().files());
    is_malformed(&program.ask(b"\0garbage\r\n\r\n"), "garbage");
    let counted = "\npassbridge_requests_total{endpoint=\"none\",client=\"unknown\",outcome=\"invalid_request\"} 1\n";
    eventually("it is counted", || program.told("/metrics").body.contains(counted));
    eventually("it is logged", || !program.lines("request").is_empty());
    let line = program.lines("request").remove(0);
    let (outcome, address) = (&line["outcome"], &line["address"]);
    assert_eq!((outcome, address), (&"invalid_request".into(), &"127.0.0.1".into()), "{line}");
}

#[test]
fn connections_beyond_the_bound_are_closed_at_once_where_all_others_are_at_work() {
    let world = Plan::new().set("limits", "connections", "2").start();
    let gate = Arc::new(Notify::new());
    let mut held = [world.connect(), world.connect()];
    for connection in &mut held {
        let gated = Mood::Gate(Arc::clone(&gate), Box::new(Mood::Grant(Granting::default())));
        world.realm.next_at("token", gated);
        connection.write(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    }
    eventually("both are at work", || world.realm.count() == 2);
    assert!(world.connect().is_closed());
    gate.notify_waiters();
    for mut connection in held {
        assert_eq!(world.checked(connection.reply().unwrap()).status, 200);
    }
    eventually("there is room again", || {
        let mut connection = world.connect();
        connection.write(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
        connection.reply().is_some_and(|reply| world.checked(reply).status == 200)
    });
}

#[test]
fn who_begins_to_speak_http_2_is_cut_off() {
    let world = World::new();
    let mut connection = world.connect();
    connection.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(connection.is_closed());
    assert_eq!(world.login().status, 200);
}
