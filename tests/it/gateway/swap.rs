//! The UUID goes in, the JWT comes out.

use super::{call, connect, get, plan, refused, routes, told, uuid};
use crate::support::world::REVOKE;
use crate::support::{FakeApi, Granting, Mood, OLD_ID, OLD_SECRET, client, passport, post};

const UNKNOWN: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

#[test]
fn the_uuid_goes_in_and_the_jwt_comes_out() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let reply = call(&world, &get("/api/a%20b/c?q=%2F&r", &uuid));
    assert_eq!((reply.status, reply.body.as_str()), (200, "good"));
    assert_eq!(reply.header("x-api").as_deref(), Some("yes"));
    let seen = api.only();
    assert!(seen.head.starts_with("GET /api/a%20b/c?q=%2F&r HTTP/1.1\r\n"), "{}", seen.head);
    let bearer = seen.header("authorization").unwrap();
    let jwt = bearer.strip_prefix("Bearer ").unwrap().to_owned();
    assert!(jwt.starts_with("eyJ") && world.realm.tokens().contains(&jwt));
    assert!(!seen.head.contains(&uuid));
    assert_eq!(seen.header("host").as_deref(), Some("api.example.org"));
}

/// RFC 6750 section 2.3 has a second place for it, which old gateways took: it would go on from there.
#[test]
fn a_uuid_that_stands_in_the_query_too_does_not_reach_the_api() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    for query in [
        format!("access_token={uuid}"),
        format!("access%5Ftoken={uuid}"),
        format!("a=b&access_token={}&c", uuid.to_uppercase().replace('-', "%2D")),
        // Servers read names in any case, blanks around, more signs between pairs, brackets behind a name, and some signs for others.
        format!("Access_Token=%20{uuid}+"),
        format!("a=1;access_token={uuid}%00"),
        format!("access_token[]=Bearer%20{uuid}"),
        format!("access.token={uuid}"),
        format!("token={uuid}"),
        uuid.clone(),
    ] {
        let reply = call(&world, &get(&format!("/api?{query}"), &uuid));
        assert_eq!(refused(&reply), told(400, "invalid_request", "3003103"), "{query}");
    }
    assert!(api.seen().is_empty());
    for query in [format!("access_token={UNKNOWN}"), "access_token=".to_owned(), "no_access_token=x".to_owned()] {
        assert_eq!(call(&world, &get(&format!("/api?{query}"), &uuid)).status, 200, "the API's own: {query}");
    }
}

#[test]
fn an_access_token_that_is_no_jwt_goes_on_as_the_realm_gave_it() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    for opaque in ["x", "aZ09-._~+/=="] {
        let answer = format!(r#"{{"access_token":"{opaque}","expires_in":3599}}"#);
        world.realm.next(Mood::answer(200, "application/json", &answer));
        assert_eq!(call(&world, &get("/api", &uuid(&world))).status, 200, "{opaque}");
        assert_eq!(api.seen().last().unwrap().header("authorization"), Some(format!("Bearer {opaque}")));
    }
}

#[test]
fn calls_share_a_connection_to_the_api() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let mut connection = connect(&world);
    for _ in 0..5 {
        assert_eq!(connection.ask(&get("/api", &uuid)).status, 200);
    }
    assert_eq!((api.seen().len(), api.connections()), (5, 1));
}

#[test]
fn a_revoked_uuid_is_over_and_another_unknown() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let revoking = [("client_id", OLD_ID), ("client_secret", OLD_SECRET), ("token", uuid.as_str())];
    assert_eq!(world.ask(&post(REVOKE, &revoking)).status, 200);
    let over = call(&world, &get("/api", &uuid));
    assert_eq!(refused(&over), told(401, "invalid_token", "3003990"));
    assert_eq!(over.header("www-authenticate").as_deref(), Some("Bearer"));
    let unknown = call(&world, &get("/api", UNKNOWN));
    assert_eq!(refused(&unknown), told(401, "invalid_token", "3003992"));
    assert_eq!(unknown.header("www-authenticate").as_deref(), Some("Bearer"));
    assert!(api.seen().is_empty());
}

#[test]
fn a_uuid_past_its_hour_is_over() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    world.turn(3600);
    assert_eq!(refused(&call(&world, &get("/api", &uuid))), told(401, "invalid_token", "3003990"));
}

#[test]
fn a_jwt_that_is_over_is_renewed_under_the_call() {
    let api = FakeApi::good();
    let world = plan(&api, "").set("realm", "rotation", "\"on\"").start();
    world.realm.usually(Mood::Grant(Granting {
        expires_in: 60,
        refresh_expires_in: Some(36_000),
        ..Granting::default()
    }));
    let uuid = uuid(&world);
    assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
    world.turn(120);
    assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
    let bearers: Vec<_> = api.seen().iter().map(|seen| seen.header("authorization").unwrap()).collect();
    assert_ne!(bearers[0], bearers[1]);
}

#[test]
fn what_carries_no_uuid_is_refused_unless_the_route_takes_it() {
    let api = FakeApi::good();
    let world = routes(&format!(
        "{{ prefix = \"/api\", upstream = \"{url}\" }}, \
         {{ prefix = \"/open\", upstream = \"{url}\", anonymous = \"pass\", bearer_jwt = \"pass\" }}",
        url = api.url()
    ))
    .start();
    let with =
        |path: &str, line: &str| call(&world, format!("GET {path} HTTP/1.1\r\nHost: a\r\n{line}\r\n").as_bytes());
    for line in ["", "Authorization: Bearer a.b.c\r\n", "Authorization: Basic eDp5\r\n", "Authorization: Bearer x\r\n"]
    {
        assert_eq!(refused(&with("/api", line)), told(401, "invalid_token", "3003992"), "{line}");
    }
    assert_eq!(with("/open", "").status, 200);
    assert_eq!(with("/open", "Authorization: Bearer a.b.c\r\n").status, 200);
    assert_eq!(api.seen()[1].header("authorization").as_deref(), Some("Bearer a.b.c"));
    assert_eq!(refused(&with("/open", "Authorization: Bearer x\r\n")), told(401, "invalid_token", "3003992"));
    assert_eq!(refused(&with("/open", &format!("Authorization: Bearer {UNKNOWN}\r\n"))).0, 401, "a dead UUID is none");
    assert_eq!(api.seen().len(), 2);
}

#[test]
fn a_route_of_named_clients_is_for_them_alone() {
    let (mine, all) = (FakeApi::good(), FakeApi::good());
    let world = routes(&format!(
        "{{ prefix = \"/api\", upstream = \"{}\", clients = [\"{OLD_ID}\"] }}, \
         {{ prefix = \"/api\", upstream = \"{}\" }}, \
         {{ prefix = \"/own\", upstream = \"{}\", clients = [\"{OLD_ID}\"] }}",
        mine.url(),
        all.url(),
        mine.url()
    ))
    .client(&client("other", ""))
    .start();
    let ours = uuid(&world);
    let other = world.token(&passport("other", OLD_SECRET)).text("access_token");
    for token in [&ours, &other] {
        assert_eq!(call(&world, &get("/api", token)).status, 200);
    }
    assert_eq!((mine.seen().len(), all.seen().len()), (1, 1));
    assert_eq!(refused(&call(&world, &get("/own", &other))), told(404, "not_found", "3003000"));
}

#[test]
fn the_prefix_is_stripped_where_the_route_says_so() {
    let api = FakeApi::good();
    let world = plan(&api, ", strip_prefix = true, upstream_host = \"upstream\"").start();
    let uuid = uuid(&world);
    // Of two slashes at its beginning some server would read a host, and not all callers put one alone behind a prefix.
    for path in
        ["/api", "/api?q", "/api/x//y", "/api//evil.example.org/x", "/api///", "/api/x/../y?/../..", "/api/%2fx"]
    {
        assert_eq!(call(&world, &get(path, &uuid)).status, 200);
    }
    let targets: Vec<_> = api.seen().iter().map(|seen| seen.head.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(targets, ["/", "/?q", "/x//y", "/evil.example.org/x", "/", "/x/../y?/../..", "/%2fx"]);
    assert_eq!(api.seen()[0].header("host"), Some(api.url().replace("http://", "")));
}

#[test]
fn what_is_left_of_a_path_without_its_prefix_climbs_over_no_root() {
    let api = FakeApi::good();
    let world = plan(&api, ", strip_prefix = true").start();
    let uuid = uuid(&world);
    for path in
        ["/api/../api/z", "/api/..?q", "/api/x/../../api", "/api/%2e%2e/api/z", "/api/..;v=1/api/z", "/api//../api/z"]
    {
        assert_eq!(refused(&call(&world, &get(path, &uuid))), told(400, "invalid_request", "3003103"), "{path}");
    }
    assert!(api.seen().is_empty(), "{:?}", api.seen());
}
