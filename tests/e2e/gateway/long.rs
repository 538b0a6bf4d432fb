//! What is long goes through every proxy whole: a JWT of many roles, a body, an answer that takes its time, a WebSocket.

use std::io::{Read, Write};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::support::{Keycloak, Passport, Wish, free_ports};
use super::api::{Api, HELD, SLOW};
use super::front::{Front, Places};
use super::{Site, connect, try_call};

type Begin = fn(Places) -> Front;

const FRONTS: [(&str, Begin); 7] = [
    ("nginx", Front::nginx),
    ("nginx that keeps answers", |places| Front::nginx_with(places, "passbridge-cached.conf")),
    ("Caddy", Front::caddy),
    ("Traefik", Front::traefik),
    ("HAProxy", Front::haproxy),
    ("Envoy", |places| Front::envoy(places, "http.yaml")),
    ("Envoy over gRPC", |places| Front::envoy(places, "grpc.yaml")),
];
/// The scope that brings them.
const MANY_ROLES: &str = "many_roles";

#[test]
fn a_long_jwt_a_long_body_an_answer_that_takes_its_time_and_a_websocket_go_through_every_proxy() {
    many_roles(Keycloak::shared());
    let site = Site::start();
    let passport = Passport::of(&Wish { user: "90519", ..Wish::default() });
    let answer = site.bridge.login("test_api", &passport, &format!("client_registration {MANY_ROLES}"));
    assert_eq!(answer.status, 200, "{answer:?}\n{}", site.bridge.log());
    let bearer = format!("Authorization: Bearer {}\r\n", answer.text("access_token"));
    let wrong = thread::scope(|scope| {
        let fronts = FRONTS.into_iter().zip(free_ports::<{ FRONTS.len() }>());
        let begun = fronts.map(|((name, front), port)| {
            let (places, bearer, api) = (Places { front: port, ..site.places }, &bearer, &site.api);
            scope.spawn(move || {
                let _front = front(places);
                through(port, bearer, name, api)
            })
        });
        let begun: Vec<_> = begun.collect();
        let mut wrong = through(site.places.gateway, &bearer, "passbridge's own gateway", &site.api);
        wrong.extend(begun.into_iter().flat_map(|one| one.join().unwrap()));
        wrong
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let longest = site.api.seen().iter().map(String::len).max();
    assert!(longest > Some(8000), "no JWT was long: {longest:?}");
}

/// Of callers whose question nobody answers.
#[test]
fn a_proxy_that_asks_a_bridge_that_hangs_says_so_within_a_bound_and_lets_nobody_through() {
    let site = Site::start();
    let (bearer, _) = site.logged_in("90519");
    let asking = FRONTS.into_iter().filter(|(name, _)| *name != "HAProxy").zip(free_ports::<{ FRONTS.len() }>());
    let fronts: Vec<(&str, u16, Front)> =
        asking.map(|((name, front), port)| (name, port, front(Places { front: port, ..site.places }))).collect();
    for (name, port, _) in &fronts {
        assert_eq!(try_call(*port, "GET /api/me", &bearer, "").map(|answer| answer.status), Ok(200), "{name}");
    }
    site.api.seen();
    let stopped = Command::new("kill").args(["-STOP", &site.bridge.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    let begun = Instant::now();
    let wrong: Vec<String> = thread::scope(|scope| {
        let bearer = &bearer;
        // Not what nginx has kept.
        let called = |(name, port): (&'static str, u16)| {
            let answer = try_call(port, "GET /api/others/me", bearer, "");
            let took = begun.elapsed();
            let is_refused = answer.as_ref().is_ok_and(|answer| answer.status >= 500) && took < Duration::from_secs(45);
            (!is_refused).then(|| format!("{name} after {took:?}: {answer:?}"))
        };
        let calls = fronts.iter().map(|(name, port, _)| (*name, *port));
        let calls: Vec<_> = calls.map(|front| scope.spawn(move || called(front))).collect();
        calls.into_iter().filter_map(|call| call.join().unwrap()).collect()
    });
    assert!(wrong.is_empty() && site.api.seen().is_empty(), "{}", wrong.join("\n"));
}

/// What does not go through whoever stands here.
fn through(port: u16, bearer: &str, name: &str, api: &Api) -> Vec<String> {
    let body = "0123456789".repeat(200_000);
    let asked = [("POST /api/me", body.as_str(), "90519 sent 2000000".to_owned()), (SLOW.0, "", "s".repeat(SLOW.1))];
    let wrong = asked.into_iter().filter_map(|(target, body, expected)| match try_call(port, target, bearer, body) {
        Ok(answer) if answer.body == expected => None,
        answer => Some(format!("{target} through {name}: {answer:?}")),
    });
    let wrong = wrong.chain(held(port, bearer, api).err().map(|heard| format!("a part through {name}: {heard}")));
    wrong.chain(tunnel(port, bearer).err().map(|heard| format!("a WebSocket through {name}: {heard}"))).collect()
}

/// Whether the first letter of an answer comes before the API says the second.
fn held(port: u16, bearer: &str, api: &Api) -> Result<(), String> {
    let mut stream = connect(port);
    let head = format!("{HELD}{port} HTTP/1.1\r\nHost: api.example.org\r\n{bearer}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (mut heard, mut byte) = (String::new(), [0]);
    let letters = |heard: &str| heard.split_once("\r\n\r\n").map_or(0, |(_, body)| body.matches('s').count());
    while letters(&heard) == 0 && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        heard.push(char::from(byte[0]));
    }
    let came = letters(&heard);
    api.heard.lock().insert(port.to_string());
    while letters(&heard) < 2 && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        heard.push(char::from(byte[0]));
    }
    if (came, letters(&heard)) == (1, 2) { Ok(()) } else { Err(heard) }
}

/// Says something through a WebSocket, as far as a proxy looks at one.
fn tunnel(port: u16, bearer: &str) -> Result<(), String> {
    let mut stream = connect(port);
    let wanted = "Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let head = format!("GET /api/me HTTP/1.1\r\nHost: api.example.org\r\n{wanted}{bearer}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut heard = String::new();
    let mut byte = [0];
    while !heard.ends_with("\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        heard.push(char::from(byte[0]));
    }
    let mut echo = [0; 5];
    let open = heard.starts_with("HTTP/1.1 101 ") && stream.write_all(b"hello").is_ok();
    if open && stream.read_exact(&mut echo).is_ok() && echo == *b"hello" { Ok(()) } else { Err(heard) }
}

/// From now on a client of the realm may ask for a scope with which a JWT is over 8 KB.
fn many_roles(keycloak: &Keycloak) {
    let roles: Vec<String> = (0..200).map(|number| format!("a-role-of-some-department-{number}")).collect();
    let mapper = json!({
        "name": "roles", "protocol": "openid-connect", "protocolMapper": "oidc-hardcoded-claim-mapper",
        "config": {"claim.name": "roles", "claim.value": roles.join(" "), "jsonType.label": "String", "access.token.claim": "true"},
    });
    let scope = json!({"name": MANY_ROLES, "protocol": "openid-connect", "protocolMappers": [mapper]});
    let made = keycloak.admin("POST", "/client-scopes", &scope);
    assert_eq!(made.status, 201, "{made:?}");
    let scope = made.header("location").expect("it tells where").rsplit('/').next().unwrap().to_owned();
    let client = keycloak.client("test_api")["id"].as_str().unwrap().to_owned();
    let path = format!("/clients/{client}/optional-client-scopes/{scope}");
    assert_eq!(keycloak.admin("PUT", &path, &json!({})).status, 204);
}
