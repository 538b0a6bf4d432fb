//! What is long goes through every proxy whole: a JWT of many roles, a body, an answer that takes its time.

use std::thread;

use serde_json::json;

use super::super::support::{Keycloak, Passport, Wish, free_ports};
use super::api::SLOW;
use super::front::{Front, Places};
use super::{Site, try_call};

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
fn a_long_jwt_a_long_body_and_an_answer_that_takes_its_time_go_through_every_proxy() {
    many_roles(Keycloak::shared());
    let site = Site::start();
    let passport = Passport::of(&Wish { user: "90519", ..Wish::default() });
    let answer = site.bridge.login("test_api", &passport, &format!("client_registration {MANY_ROLES}"));
    assert_eq!(answer.status, 200, "{answer:?}\n{}", site.bridge.log());
    let bearer = format!("Authorization: Bearer {}\r\n", answer.text("access_token"));
    let wrong = thread::scope(|scope| {
        let begun = FRONTS.map(|(name, front)| {
            let (site, bearer) = (&site, &bearer);
            scope.spawn(move || {
                let [port] = free_ports();
                let _front = front(Places { front: port, ..site.places });
                through(port, bearer, name)
            })
        });
        let mut wrong = through(site.places.gateway, &bearer, "passbridge's own gateway");
        wrong.extend(begun.into_iter().flat_map(|one| one.join().unwrap()));
        wrong
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let longest = site.api.seen().iter().map(String::len).max();
    assert!(longest > Some(8000), "no JWT was long: {longest:?}");
}

/// What does not go through whoever stands here.
fn through(port: u16, bearer: &str, name: &str) -> Vec<String> {
    let body = "0123456789".repeat(200_000);
    let asked = [("POST /api/me", body.as_str(), "90519 sent 2000000".to_owned()), (SLOW.0, "", "s".repeat(SLOW.1))];
    let wrong = asked.into_iter().filter_map(|(target, body, expected)| match try_call(port, target, bearer, body) {
        Some(answer) if answer.body == expected => None,
        answer => Some(format!("{target} through {name}: {answer:?}")),
    });
    wrong.collect()
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
