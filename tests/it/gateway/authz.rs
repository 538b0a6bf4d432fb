//! The questions of other proxies.

use super::{FOR_ANOTHER, NONE, call, plan, refused, routes, told, two_ways, uuid};
use crate::support::world::REVOKE;
use crate::support::{Connection, FakeApi, OLD_ID, OLD_SECRET, Plan, RawReply, World, post};

#[track_caller]
fn question(world: &World, target: &str, lines: &str) -> RawReply {
    asked(world, target, lines.as_bytes())
}

#[track_caller]
fn asked(world: &World, target: &str, lines: &[u8]) -> RawReply {
    let mut connection = Connection::open(world.running().addresses().authz.expect("it may be asked"));
    connection.ask(&[format!("GET {target} HTTP/1.1\r\nHost: authz\r\n").as_bytes(), lines, b"\r\n"].concat())
}

#[test]
fn a_good_uuid_is_answered_with_the_jwt_and_a_revoked_one_refused() {
    let world = Plan::new().set("listen", "authz", "\"127.0.0.1:0\"").start();
    let uuid = uuid(&world);
    let line = format!("Authorization: Bearer {uuid}\r\n");
    let yes = question(&world, "/any", &line);
    assert_eq!((yes.status, yes.body.as_str()), (200, ""));
    let jwt = yes.header("authorization").unwrap().replace("Bearer ", "");
    assert!(world.realm.tokens().contains(&jwt));
    let revoking = [("client_id", OLD_ID), ("client_secret", OLD_SECRET), ("token", uuid.as_str())];
    assert_eq!(world.ask(&post(REVOKE, &revoking)).status, 200);
    assert_eq!(refused(&question(&world, "/any", &line)), told(401, "invalid_token", "3003990"));
    assert_eq!(refused(&question(&world, "/any", "")), told(401, "invalid_token", "3003992"));
}

#[test]
fn routes_count_for_the_original_request() {
    let api = FakeApi::good();
    let world = plan(&api, ", anonymous = \"pass\"").start();
    let line = format!("Authorization: Bearer {}\r\n", uuid(&world));
    for told in ["X-Original-URI: /api/x?q=1\r\n", "X-Forwarded-Uri: /api\r\n"] {
        assert_eq!(question(&world, "/verify", &format!("{line}{told}")).status, 200);
    }
    assert_eq!(question(&world, "/api/x", &line).status, 200, "as Envoy asks");
    let open = question(&world, "/", "X-Original-URI: /api\r\n");
    assert_eq!((open.status, open.header("authorization")), (200, None));
    assert_eq!(refused(&question(&world, "/", &format!("{line}X-Original-URI: /other\r\n"))).0, 404);
    assert_eq!(refused(&question(&world, "/", &format!("{line}X-Original-URI: /api/../x\r\n"))).0, 400);
    let twice = format!("{line}X-Original-URI: /api\r\nX-Original-URI: /x\r\n");
    assert_eq!(refused(&question(&world, "/", &twice)).0, 400);
    assert!(api.seen().is_empty());
}

/// nginx hands the second answer to the client: a yes would be the answer of a call that no API has seen.
#[test]
fn who_asks_for_the_words_of_a_refusal_never_hears_a_yes() {
    let api = FakeApi::good();
    let open = ", anonymous = \"pass\", bearer_jwt = \"pass\"";
    for world in [plan(&api, open).start(), Plan::new().set("listen", "authz", "\"127.0.0.1:0\"").start()] {
        let uuid = uuid(&world);
        let line = format!("X-Original-URI: /api\r\nAuthorization: Bearer {uuid}\r\n");
        assert_eq!(question(&world, "/", &line).status, 200);
        for first in ["404", "401", "502, 400", "200", ""] {
            let again = question(&world, "/", &format!("{line}X-Passbridge-Refused: {first}\r\n"));
            assert_eq!(refused(&again), told(500, "server_error", "3003000"), "{first}");
            assert_eq!((again.header("authorization"), again.header("x-accel-expires")), (None, None));
        }
        // A refusal is what it would be anyway.
        let unknown = "X-Original-URI: /api\r\nX-Passbridge-Refused: 404\r\nAuthorization: Bearer 7c9e6679-7425-40de-944b-e07fc1f90ae7\r\n";
        assert_eq!(refused(&question(&world, "/", unknown)), told(401, "invalid_token", "3003992"));
        assert_eq!(question(&world, "/", &line).status, 200, "the UUID is as good as before");
    }
    let world = plan(&api, open).start();
    for credentials in ["", "Authorization: Bearer aaaa.bbbb.cccc\r\n"] {
        let lines = format!("X-Original-URI: /api\r\n{credentials}");
        assert_eq!(question(&world, "/", &lines).status, 200);
        let again = question(&world, "/", &format!("{lines}X-Passbridge-Refused: 404\r\n"));
        assert_eq!(refused(&again), told(500, "server_error", "3003000"), "{credentials}");
    }
    assert!(api.seen().is_empty());
}

/// As at the gateway: the asking proxy sends it on as it came.
#[test]
fn a_uuid_that_stands_in_the_query_too_is_refused_whoever_tells_it() {
    let api = FakeApi::good();
    for world in [plan(&api, "").start(), Plan::new().set("listen", "authz", "\"127.0.0.1:0\"").start()] {
        let uuid = uuid(&world);
        let line = format!("Authorization: Bearer {uuid}\r\n");
        let ask = |query: &str| {
            let target = format!("/api?{query}");
            [
                question(&world, "/", &format!("{line}X-Original-URI: {target}\r\n")),
                question(&world, "/", &format!("{line}X-Forwarded-Uri: {target}\r\n")),
                question(&world, "/", &format!("{line}X-Original-URI: /api?a\r\nX-Forwarded-Uri: {target}\r\n")),
                question(&world, &target, &line),
            ]
        };
        for query in [
            format!("access_token={uuid}"),
            format!("access%5Ftoken={uuid}"),
            format!("a=?&access_token={}&c", uuid.to_uppercase().replace('-', "%2D")),
        ] {
            for reply in ask(&query) {
                assert_eq!(refused(&reply), told(400, "invalid_request", "3003103"), "{query}");
            }
        }
        for query in ["access_token=0c8df1ab-6f5c-4b1e-9a51-3f6f0f7b2a11", "access_token=", "no_access_token=x"] {
            assert!(ask(query).iter().all(|reply| reply.status == 200), "the API's own: {query}");
        }
    }
}

#[test]
fn a_path_that_is_told_in_two_ways_is_refused_unless_both_are_one() {
    let world = plan(&FakeApi::good(), ", anonymous = \"pass\"").start();
    let told = |ours: &str, theirs: &str| {
        question(&world, "/", &format!("X-Original-URI: {ours}\r\nX-Forwarded-Uri: {theirs}\r\n"))
    };
    assert_eq!(told("/api/x?a=1", "/api/x?b=2").status, 200);
    assert_eq!(refused(&told("/other", "/api/x")).0, 400);
    assert_eq!(refused(&told("/api/x", "/other")).0, 400);
}

#[test]
fn a_jwt_that_may_pass_is_answered_back_for_proxies_that_replace_the_header() {
    let world = plan(&FakeApi::good(), ", bearer_jwt = \"pass\"").start();
    let reply = question(&world, "/api/x", "Authorization: Bearer aaaa.bbbb.cccc\r\n");
    assert_eq!((reply.status, reply.header("authorization").as_deref()), (200, Some("Bearer aaaa.bbbb.cccc")));
}

#[test]
fn a_yes_may_be_kept_for_as_long_as_configured_and_never_beyond_what_it_is_about() {
    let kept = |world: &World, line: &str| {
        let reply = question(world, "/any", line);
        (reply.status, reply.header("cache-control").unwrap(), reply.header("x-accel-expires"))
    };
    let told = |seconds: u64| (200, format!("max-age={seconds}"), Some((seconds - 1).to_string()));
    let plan = || Plan::new().set("listen", "authz", "\"127.0.0.1:0\"");
    let world = plan().set("gateway", "authz_cache", "\"5s\"").start();
    let line = format!("Authorization: Bearer {}\r\n", uuid(&world));
    assert_eq!(kept(&world, &line), told(5));
    assert_eq!(kept(&world, ""), (401, "no-store".to_owned(), None), "a no is never kept");
    // The promise is 3600 s.
    world.turn(3597);
    assert_eq!(kept(&world, &line), told(3));
    world.turn(2);
    assert_eq!(kept(&world, &line), told(1));
    world.turn(1);
    assert_eq!(kept(&world, &line).0, 401);

    let world = plan().start();
    let line = format!("Authorization: Bearer {}\r\n", uuid(&world));
    assert_eq!(kept(&world, &line), (200, "no-store".to_owned(), None));
}

/// Routes are by path: a query is the API's to read. Old clients on Windows write it in letters of their own, and a path in UTF-8.
#[test]
fn a_target_may_be_in_letters_that_should_be_escaped() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let line = format!("Authorization: Bearer {}\r\n", uuid(&world));
    let ask = |name: &str, target: &[u8]| {
        let lines = [name.as_bytes(), b": ", target, b"\r\n", line.as_bytes()].concat();
        asked(&world, "/", &lines).status
    };
    for name in ["X-Original-URI", "X-Forwarded-Uri"] {
        for target in
            ["/api/поиск?q=Ветрова".as_bytes(), b"/api/x?q=\xc2\xe5\xf2\xf0\xee\xe2\xe0", b"/api/<x>?q=\"a b\"\\^`{|}"]
        {
            assert_eq!(ask(name, target), 200, "{}", String::from_utf8_lossy(target));
        }
        // Where nobody knows how the API reads a path, nobody knows what it reaches.
        for target in [b"/api/\xcf".as_slice(), b"/api/a b", b"/api/a\tb", b"api/x", b"", b"?/api"] {
            assert_eq!(ask(name, target), 400, "{}", String::from_utf8_lossy(target));
        }
    }
}

/// The asking proxy sends on what stands behind it; a server that takes it for a part of the path would be somewhere else.
#[test]
fn a_path_with_a_fragment_cannot_be_read() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    assert_eq!(
        question(&world, "/", &format!("X-Original-URI: /api/a\r\nAuthorization: Bearer {uuid}\r\n")).status,
        200
    );
    for name in ["X-Original-URI", "X-Forwarded-Uri"] {
        let reply = question(&world, "/", &format!("{name}: /api/a#/../../b\r\nAuthorization: Bearer {uuid}\r\n"));
        assert_eq!(refused(&reply), told(400, "invalid_request", "3003103"), "{name}");
    }
}

/// A proxy that adds its word behind the client's would else have the client choose the route.
#[test]
fn a_host_that_is_told_twice_is_refused_where_routes_count() {
    let api = FakeApi::good();
    let more = ", host = \"open.example.org\", anonymous = \"pass\"";
    let world = plan(&api, more).start();
    let ask = |hosts: &str| question(&world, "/", &format!("X-Original-URI: /api\r\n{hosts}"));
    let (open, other) = ("X-Forwarded-Host: open.example.org\r\n", "X-Forwarded-Host: api.example.org\r\n");
    assert_eq!(ask(open).status, 200);
    assert_eq!(refused(&ask(&format!("{open}{other}"))).0, 400);
    assert_eq!(refused(&ask("Host: open.example.org\r\n")).0, 400);
}

/// What we cannot read the API behind the asking proxy may read well: nginx takes the name before a port that is none.
#[test]
fn a_host_that_the_gateway_would_refuse_does_not_lead_round_a_route_of_that_host() {
    let api = FakeApi::good();
    let world = routes(&two_ways(&api)).start();
    let line = format!("Authorization: Bearer {}\r\n", uuid(&world));
    let ask = |door: &str, host: &[u8]| match door {
        "X-Forwarded-Host" => asked(
            &world,
            "/",
            &[b"X-Original-URI: /api\r\nX-Forwarded-Host: ", host, b"\r\n", line.as_bytes()].concat(),
        ),
        "Host" => {
            let mut connection = Connection::open(world.running().addresses().authz.unwrap());
            connection.ask(&[b"GET /api HTTP/1.1\r\nHost: ", host, b"\r\n", line.as_bytes(), b"\r\n"].concat())
        }
        _ => call(&world, &[b"GET /api HTTP/1.1\r\nHost: ", host, b"\r\n", line.as_bytes(), b"\r\n"].concat()),
    };
    for door in ["X-Forwarded-Host", "Host", "the gateway"] {
        for host in [
            "z",
            "z:80",
            "api.vip.example.org",
            "a_b.example.org.",
            "10.0.0.1:80",
            "[::2]:80",
            "",
            "xn--e1afmkfd.example",
        ] {
            assert_eq!(ask(door, host.as_bytes()).status, 200, "{door}: {host}");
        }
        for host in FOR_ANOTHER {
            assert_eq!(refused(&ask(door, host.as_bytes())).0, 404, "{door}: {host}");
        }
        for host in NONE {
            let refused = refused(&ask(door, host.as_bytes()));
            assert_eq!(refused, told(400, "invalid_request", "3003103"), "{door}: {host}");
        }
        assert_eq!(refused(&ask(door, b"vip.example.org\xff")).0, 400, "{door}: no text");
    }
    assert_eq!(api.seen().len(), 8, "{:?}", api.seen());
}

/// TRACE has the API answer with what it was sent: the client would read the JWT.
#[test]
fn a_method_that_reflects_the_jwt_is_refused_whoever_tells_it() {
    let api = FakeApi::good();
    for world in [plan(&api, "").start(), Plan::new().set("listen", "authz", "\"127.0.0.1:0\"").start()] {
        let line = format!("Authorization: Bearer {}\r\n", uuid(&world));
        let ask = |own: &str, lines: &str| {
            let mut connection = Connection::open(world.running().addresses().authz.unwrap());
            connection.ask(format!("{own} /api HTTP/1.1\r\nHost: a\r\n{lines}{line}\r\n").as_bytes())
        };
        let both = |method: &str| format!("X-Original-Method: {method}\r\nX-Forwarded-Method: {method}\r\n");
        for (own, lines) in [("GET", "X-Original-Method: POST\r\n"), ("GET", &both("OPTIONS")), ("PROPFIND", "")] {
            assert_eq!(ask(own, lines).status, 200, "{own} {lines}");
        }
        for method in ["TRACE", "trace", "Trace", "CONNECT", "connect"] {
            let told_by = |name: &str| ("GET", format!("{name}: {method}\r\n"));
            let asked = [
                told_by("X-Original-Method"),
                told_by("X-Forwarded-Method"),
                ("GET", both(method)),
                (method, String::new()),
                (method, "X-Original-Method: GET\r\n".to_owned()),
            ];
            // hyper takes CONNECT with a host and a port alone.
            for (own, lines) in asked.iter().filter(|(own, _)| *own != "CONNECT") {
                assert_eq!(refused(&ask(own, lines)), told(405, "invalid_request", "3003103"), "{own} {lines}");
            }
        }
        for lines in [
            "X-Original-Method: GET\r\nX-Forwarded-Method: POST\r\n",
            "X-Original-Method: GET\r\nX-Forwarded-Method: TRACE\r\n",
            "X-Original-Method: GET\r\nX-Original-Method: GET\r\n",
            "X-Forwarded-Method: GET, TRACE\r\n",
            "X-Forwarded-Method: TR ACE\r\n",
            "X-Forwarded-Method:\r\n",
        ] {
            assert_eq!(refused(&ask("GET", lines)), told(400, "invalid_request", "3003103"), "{lines}");
        }
    }
    assert!(api.seen().is_empty());
}
