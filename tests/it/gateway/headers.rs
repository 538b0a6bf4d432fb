//! Which headers go on.

use super::{call, plan, refused, told, uuid};
use crate::support::FakeApi;

#[test]
fn what_is_meant_for_one_connection_goes_no_further() {
    let api = FakeApi::saying(
        b"HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nSet-Cookie: a=1\r\n\
          Set-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
    );
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let request = format!(
        "GET /api HTTP/1.1\r\nHost: a\r\nConnection: X-Own, Authorization, X-Forwarded-For, Host\r\nX-Own: 1\r\nTE: gzip\r\n\
         Proxy-Connection: x\r\nKeep-Alive: 1\r\nX-Kept: 1\r\nX-Kept: 2\r\nAuthorization: Bearer {uuid}\r\n\r\n"
    );
    let reply = call(&world, request.as_bytes());
    assert_eq!(reply.status, 200);
    assert_eq!((reply.header("x-hop"), reply.header("keep-alive")), (None, None));
    assert_eq!(reply.head.to_ascii_lowercase().matches("set-cookie").count(), 2, "{}", reply.head);
    let seen = api.only();
    for name in ["x-own", "te", "proxy-connection", "keep-alive", "connection"] {
        assert_eq!(seen.header(name), None, "{}", seen.head);
    }
    assert_eq!(seen.head.to_ascii_lowercase().matches("x-kept").count(), 2);
    assert!(seen.header("authorization").unwrap().starts_with("Bearer eyJ") && !seen.head.contains(&uuid));
    assert_eq!(seen.header("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(seen.header("host").as_deref(), Some("a"));
}

#[test]
fn a_strangers_word_about_himself_is_replaced_and_a_trusted_peers_continued() {
    for (trusted, expected) in
        [("[]", ["127.0.0.1", "http", "a"]), ("[\"127.0.0.1\"]", ["1.2.3.4, 127.0.0.1", "https", "old"])]
    {
        let api = FakeApi::good();
        let world = plan(&api, "").set("server", "trusted_proxies", trusted).start();
        let request = format!(
            // Proxies are there that hand on what their client says of the connection, beside lines of their own.
            "GET /api HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For, x-forwarded-proto, X-Forwarded-Host\r\nX-Forwarded-For: 1.2.3.4\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: old\r\nAuthorization: Bearer {}\r\n\r\n",
            uuid(&world)
        );
        assert_eq!(call(&world, request.as_bytes()).status, 200);
        let seen = api.only();
        let told = ["for", "proto", "host"].map(|name| seen.header(&format!("x-forwarded-{name}")).unwrap());
        assert_eq!(told, expected);
    }
}

#[test]
fn what_a_stranger_says_of_where_he_comes_from_goes_no_further_under_any_name() {
    let said = [
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Server",
        "X-Forwarded-Ssl",
        "X-Forwarded-User",
        "X_Forwarded_For",
        "X-Forwarded_Host",
        "X-Real-IP",
        "X-Original-URL",
        "X-Rewrite-URL",
        "Forwarded",
    ];
    let lines: String = said.iter().map(|name| format!("{name}: planted-word\r\n")).collect();
    // No proxy writes a `_`: whoever stands behind one does. What is said by `Forwarded` goes on in other words.
    let of_proxies = said.iter().filter(|name| !name.contains('_') && **name != "Forwarded").count();
    for (trusted, seen_of_it) in [("[]", 0), ("[\"127.0.0.1\"]", of_proxies)] {
        let api = FakeApi::good();
        let world = plan(&api, "").set("server", "trusted_proxies", trusted).start();
        let request = format!(
            "GET /api HTTP/1.1\r\nHost: a\r\n{lines}X-Forward: kept\r\nAuthorization: Bearer {}\r\n\r\n",
            uuid(&world)
        );
        assert_eq!(call(&world, request.as_bytes()).status, 200);
        let seen = api.only();
        assert_eq!(seen.head.matches("planted-word").count(), seen_of_it, "{trusted}: {}", seen.head);
        assert_eq!(seen.header("x-forward").as_deref(), Some("kept"));
    }
}

/// RFC 7239. The API hears one account of where a call came from, and it is the log's.
#[test]
fn what_a_trusted_peer_says_by_forwarded_alone_is_continued_in_the_words_of_the_others() {
    let api = FakeApi::good();
    let world = plan(&api, "").set("server", "trusted_proxies", "[\"127.0.0.0/8\"]").start();
    let uuid = uuid(&world);
    for (said, expected) in [
        ("Forwarded: for=1.2.3.4;proto=https;host=pub", ["1.2.3.4, 127.0.0.1", "https", "pub"]),
        // Of several the one that saw the client counts: before it stands what the client says, behind it who else was in between.
        (
            "Forwarded: for=6.6.6.6;proto=ftp;host=evil, For=\"[2001:db8::1]:4711\";Proto=https;Host=\"pub:8443\"\r\n\
             Forwarded: for=127.0.0.9;proto=http;host=inner",
            ["6.6.6.6, 2001:db8::1, 127.0.0.9, 127.0.0.1", "https", "pub:8443"],
        ),
        ("Forwarded: for=6.6.6.6;host=evil, for=_hidden;proto=https", ["6.6.6.6, unknown, 127.0.0.1", "https", "a"]),
        ("Forwarded: for=127.0.0.1;host=evil, for=unknown;host=pub", ["127.0.0.1, unknown, 127.0.0.1", "http", "pub"]),
        ("Forwarded: proto=https", ["unknown, 127.0.0.1", "https", "a"]),
        ("Forwarded: for=1.2.3.4;proto=\"a b\";host=\"u@pub\"", ["1.2.3.4, 127.0.0.1", "http", "a"]),
        // Section 4: in quotes stands what a client may have chosen.
        (
            "Forwarded: for=1.2.3.4;host=\"a,for=6.6.6.6;b\", for=127.0.0.9;host=\"\\\",for=6.6.6.6;proto=ftp;b\"",
            ["1.2.3.4, 127.0.0.9, 127.0.0.1", "http", "a"],
        ),
        // Where both are there `Forwarded` may be the client's.
        ("Forwarded: for=6.6.6.6;proto=ftp;host=evil\r\nX-Forwarded-For: 1.2.3.4", ["1.2.3.4, 127.0.0.1", "http", "a"]),
        ("Forwarded: for=1.2.3.4;proto=ws;host=pub\r\nX-Forwarded-Proto: wss", ["1.2.3.4, 127.0.0.1", "wss", "pub"]),
    ] {
        let request = format!("GET /api HTTP/1.1\r\nHost: a\r\n{said}\r\nAuthorization: Bearer {uuid}\r\n\r\n");
        assert_eq!(call(&world, request.as_bytes()).status, 200);
        let seen = api.seen().pop().unwrap();
        let told = ["for", "proto", "host"].map(|name| seen.header(&format!("x-forwarded-{name}")).unwrap());
        assert_eq!(told, expected, "{said}");
        assert_eq!(seen.header("forwarded"), None, "{said}");
    }
}

#[test]
fn what_connection_names_beside_bytes_that_are_no_name_goes_no_further_either() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let head = b"GET /api HTTP/1.1\r\nHost: a\r\nConnection: \xe9, X-Own\r\nX-Own: 1\r\nAuthorization: Bearer ";
    let request = [head.as_slice(), uuid(&world).as_bytes(), b"\r\n\r\n"].concat();
    assert_eq!(call(&world, &request).status, 200);
    assert_eq!(api.only().header("x-own"), None, "{}", api.only().head);
}

/// RFC 9110 section 7.6.2.
#[test]
fn a_call_about_options_goes_no_further_than_it_may() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let ask = |method: &str, left: &str| {
        let bearer = format!("Max-Forwards: {left}\r\nAuthorization: Bearer {uuid}");
        call(&world, format!("{method} /api HTTP/1.1\r\nHost: a\r\n{bearer}\r\n\r\n").as_bytes())
    };
    let here = ask("OPTIONS", "0");
    assert_eq!(refused(&here), told(405, "invalid_request", "3003103"));
    assert!(here.header("allow").unwrap().contains("GET"), "{}", here.head);
    for (method, left, further) in [("OPTIONS", "7", "6"), ("OPTIONS", "x", "x"), ("GET", "0", "0")] {
        assert_eq!(ask(method, left).status, 200);
        assert_eq!(api.seen().pop().unwrap().header("max-forwards").as_deref(), Some(further), "{method} {left}");
    }
}
