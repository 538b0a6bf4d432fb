//! API calls with the UUIDs: an API that takes only the realm's JWTs, behind our own gateway and behind the proxies that sites run. The story is
//! written once; each proxy gives only its configuration, which is the shipped example.

pub mod api;
mod front;
mod long;
mod twice;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use self::api::{Api, values};
use self::front::{Front, Places};
use super::support::{Answer, Bridge, Keycloak, Old, eventually, free_ports, send};

/// Where clients are, in these tests: not where the proxies are, whose word counts.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Where a client says that it is.
const CLAIMED: &str = "203.0.113.9";
/// In what words a client says who it is and where it comes from, and with a `_` for a `-` as CGI and its heirs read them.
const SAID: [&str; 27] = [
    "Forwarded",
    "X-Forwarded-Access-Token",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Host",
    "X-Forwarded-Method",
    "X-Forwarded-Port",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Prefix",
    "X-Forwarded-Protocol",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Tls-Client-Cert",
    "X-Forwarded-Tls-Client-Cert-Info",
    "X-Forwarded-Uri",
    "X-Forwarded-User",
    "X-Real-Ip",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X_Forwarded_For",
    "X_Forwarded_User",
    "X-Forwarded_User",
    "X_Original_URL",
    "X_Real_Ip",
    "X_Rewrite_URL",
];
const NOBODY: &str = "Authorization: Bearer 7c9e6679-7425-40de-944b-e07fc1f90ae7\r\n";

/// A bridge with routes, an API behind it, and whoever stands in front.
struct Site {
    bridge: Bridge,
    api: Api,
    places: Places,
}

impl Site {
    fn start() -> Self {
        Self::with("")
    }

    /// With a further line of `[gateway]`.
    fn with(line: &str) -> Self {
        let keycloak = Keycloak::shared();
        let api = Api::before(keycloak);
        let [gateway, authz, front] = free_ports();
        let upstream = format!("upstream = \"http://127.0.0.1:{}\"", api.port);
        let further = format!(
            "trusted_proxies = [\"127.0.0.1/32\"]\n[gateway]\n{line}\nroute = [{{ prefix = \"/api\", {upstream} }}, \
             {{ prefix = \"/api/open\", {upstream}, anonymous = \"pass\" }}, \
             {{ prefix = \"/api/others\", {upstream}, clients = [\"somebody\"] }}, \
             {{ prefix = \"/api\", {upstream}, host = \"vip.example.org\", clients = [\"somebody\"] }}]\n# gateway at {gateway}\n# authz at {authz}\n"
        );
        let clients = [Old::of("test_api"), Old { id: "somebody", client_id: "back_office", further: "" }];
        let bridge = Bridge::configured(&keycloak.url(), &clients, "rotation = \"off\"", &further);
        let places = Places { front, gateway, authz, api: api.port };
        Self { bridge, api, places }
    }

    /// The line that a client of this user calls with, and the UUID in it.
    fn logged_in(&self, user: &'static str) -> (String, String) {
        let (access, _) = self.bridge.pair("test_api", user);
        (format!("Authorization: Bearer {access}\r\n"), access)
    }
}

/// Sends a request as a client does: HTTP/1.1, from an address of its own.
#[track_caller]
fn call(port: u16, method_and_target: &str, lines: &str, body: &str) -> Answer {
    try_call(port, method_and_target, lines, body).unwrap_or_else(|heard| panic!("{method_and_target}: {heard}"))
}

/// The same; where the answer is not whole, what there is of it.
fn try_call(port: u16, method_and_target: &str, lines: &str, body: &str) -> Result<Answer, String> {
    let mut stream = connect(port);
    let closing = if lines.contains("Connection: ") { "" } else { "Connection: close\r\n" };
    let length = body.len();
    let host = if lines.starts_with("Host: ") { "" } else { "Host: api.example.org\r\n" };
    let head = format!("{method_and_target} HTTP/1.1\r\n{host}Content-Length: {length}\r\n");
    stream.write_all(format!("{head}{closing}{lines}\r\n{body}").as_bytes()).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    Answer::read(bytes.clone()).ok_or_else(|| format!("{end:?} behind {}", bytes.escape_ascii()))
}

/// A connection as a client's.
fn connect(port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((CLIENT, 0)).into()).unwrap();
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()).expect("somebody listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// What every way to the API keeps, whoever stands in front.
fn story(site: &Site, port: u16, user: &'static str) {
    let (bearer, access) = site.logged_in(user);
    site.api.seen();
    let good = call(port, "GET /api/me?x=1%2F2", &bearer, "");
    assert_eq!(
        (good.status, good.body.as_str()),
        (200, format!("{user} sent 0").as_str()),
        "{good:?}\n{}",
        site.bridge.log()
    );
    let [head] = site.api.seen().try_into().expect("one call");
    assert!(head.starts_with("GET /api/me?x=1%2F2 HTTP/1.1\r\n"));
    assert!(!head.contains(&access));
    let body = "0123456789".repeat(10_000);
    let posted = call(port, "POST /api/me", &format!("{bearer}Content-Type: text/plain\r\n"), &body);
    assert_eq!(posted.body, format!("{user} sent 100000"), "{posted:?}");

    let unknown = call(port, "GET /api/me", NOBODY, "");
    assert_eq!(unknown.refusal(), (401, "3003992".to_owned(), "invalid_token".to_owned()), "{unknown:?}");
    assert_eq!(values(&unknown.head, "www-authenticate"), ["Bearer"]);
    assert_eq!(unknown.header("content-type").as_deref(), Some("application/json;charset=UTF-8"));
    assert_eq!(call(port, "GET /api/me", "", "").refusal().1, "3003992");
    others(port, &bearer);
    old_http(port, &bearer, user);

    whole_segments(site, port, &bearer);
    tricks(site, port, &bearer);
    another_host(site, port, &bearer);
    no_mirror(site, port, &bearer);
    revocation(site, port, &bearer, &access);
    let log = site.bridge.log();
    assert!(!log.contains(&access) && !log.contains("eyJ"));
}

/// Another client's route: a refusal like any other, whatever a proxy thinks of its status.
#[track_caller]
fn others(port: u16, bearer: &str) {
    for method in ["GET", "POST"] {
        let others = call(port, &format!("{method} /api/others"), bearer, "");
        assert_eq!(others.refusal(), (404, "3003000".to_owned(), "not_found".to_owned()), "{others:?}");
    }
}

/// HTTP/1.0, with a host and, as in the beginning, without.
#[track_caller]
fn old_http(port: u16, bearer: &str, user: &str) {
    for host in ["Host: api.example.org\r\n", ""] {
        let mut stream = connect(port);
        stream.write_all(format!("GET /api/me HTTP/1.0\r\n{host}{bearer}\r\n").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = bytes.escape_ascii().to_string();
        assert!(
            text.starts_with("HTTP/1.") && text.contains(" 200 OK") && text.contains(&format!("{user} sent 0")),
            "{text}"
        );
    }
}

/// A prefix is itself and what is below it.
#[track_caller]
fn whole_segments(site: &Site, port: u16, bearer: &str) {
    for target in ["/api", "/api?x=1", "/api/", "/api/me"] {
        let good = call(port, &format!("GET {target}"), bearer, "");
        assert_eq!((good.status, good.body.as_str()), (200, "90519 sent 0"), "{target}: {good:?}");
    }
    site.api.seen();
    for target in ["/apis", "/ap", "/api.json"] {
        let other = call(port, &format!("GET {target}"), bearer, "");
        assert!(other.status == 404 && site.api.seen().is_empty(), "{target}: {other:?}");
    }
}

/// A host of another client's route, in whatever words: the API may well read it out of them.
#[track_caller]
fn another_host(site: &Site, port: u16, bearer: &str) {
    for odd in [
        "vip.example.org",
        "VIP.example.org.:80",
        "vip.example.org:80x",
        "u@vip.example.org",
        "vip.example.org,z",
        "vip.example.org/x",
        "vip.example.org%2e",
        "vip.example.org%3a80",
        "vip%2eexample.org",
    ] {
        let vip = call(port, "GET /api/me", &format!("Host: {odd}\r\n{bearer}"), "");
        let seen = site.api.seen();
        assert!((400..500).contains(&vip.status) && seen.is_empty(), "{odd}: {vip:?} {seen:?}");
    }
}

/// A method whose answer is the request itself: it has the JWT in it.
#[track_caller]
fn no_mirror(site: &Site, port: u16, bearer: &str) {
    let told = "X-Original-Method: GET\r\nX-Forwarded-Method: GET\r\n";
    for method in ["TRACE", "trace", "Trace"] {
        for lines in [bearer.to_owned(), format!("{bearer}{told}")] {
            let mirrored = call(port, &format!("{method} /api/me"), &lines, "");
            let seen = site.api.seen();
            assert!((400..600).contains(&mirrored.status) && seen.is_empty(), "{method}: {mirrored:?} {seen:?}");
        }
    }
}

/// What a client says of itself in others' names is not believed.
fn tricks(site: &Site, port: u16, bearer: &str) {
    site.api.seen();
    // Another path: one where anybody may go, told in the words of the proxies.
    for name in ["X-Original-URI", "X-Forwarded-Uri", "X-Original-URL", "X-Rewrite-URL", "X-Envoy-Original-Path"] {
        let lines = format!("{name}: /api/open\r\nX-Original-Method: OPTIONS\r\nX-Forwarded-Method: OPTIONS\r\n");
        assert_eq!(call(port, "GET /api/me", &lines, "").refusal().1, "3003992", "{name}");
        // A path of another client's, told as one of ours.
        let lines = format!("{bearer}{name}: /api/me\r\n");
        let others = call(port, "GET /api/others", &lines, "");
        assert!(others.status >= 400, "{name}: {others:?}");
    }
    // Out of one's route by a detour: refused, or resolved before we are asked.
    for target in
        ["/api/me/../others", "/api/me/%2e%2e/others", "/api/open/..%2fme", "/api/me//..//others", "/api/open/../me"]
    {
        let lines = if target.starts_with("/api/open") { "" } else { bearer };
        let detour = call(port, &format!("GET {target}"), lines, "");
        let seen = site.api.seen();
        let resolved = seen.iter().all(|head| head.starts_with("GET /api/me/others HTTP/1."));
        assert!(
            detour.status >= 400 && seen.is_empty() || detour.status == 200 && resolved,
            "{target}: {detour:?} {seen:?}"
        );
    }
    // Headers that the proxy would have to take away, named as its own.
    for named in ["authorization", "x-forwarded-uri, x-original-uri", "x-forwarded-host, x-forwarded-for"] {
        let got = call(port, "GET /api/me", &format!("Connection: close, {named}\r\n{NOBODY}"), "");
        assert!(got.status >= 400, "{named}: {got:?}");
    }
    // Two of them: whoever reads the first, and whoever reads the last, agree on neither.
    for lines in [format!("{bearer}{NOBODY}"), format!("{NOBODY}{bearer}")] {
        let two = call(port, "GET /api/me", &lines, "");
        assert!(
            two.status >= 400 || values_of(site, "authorization").iter().all(|value| value.starts_with("Bearer eyJ")),
            "{two:?}"
        );
    }
    // A JWT of the realm's own is no UUID.
    assert_eq!(call(port, "GET /api/me", "Authorization: Bearer aaaa.bbbb.cccc\r\n", "").refusal().1, "3003992");
    assert!(site.api.seen().is_empty(), "none of this reached the API");

    no_second_http(site, port, bearer);

    // Where the call came from: the API and our log hear what the proxy saw.
    let lines = SAID.iter().map(|name| format!("{name}: for={CLAIMED}\r\n")).collect::<Vec<_>>().concat();
    let lines = format!("X-Forwarded-For: {CLAIMED}\r\n{lines}");
    assert_eq!(call(port, "GET /api/me", &format!("{bearer}{lines}"), "").status, 200);
    assert_eq!(call(port, "GET /api/me", &format!("{NOBODY}{lines}"), "").status, 401);
    let seen = site.api.seen();
    let told = seen.iter().flat_map(|head| values(head, "x-forwarded-for")).collect::<String>();
    let last = told.rsplit(',').map(str::trim).find(|hop| *hop != "127.0.0.1");
    assert_eq!(last, Some("127.0.0.2"), "{told}");
    let believed = |name: &&str| seen.iter().flat_map(|head| values(head, name)).any(|value| value.contains(CLAIMED));
    let believed: Vec<&str> = SAID.into_iter().filter(believed).collect();
    assert!(believed.is_empty(), "the API hears what the client says of itself: {believed:?}");
    let log = site.bridge.log();
    assert!(log.contains("\"127.0.0.2\"") && !log.contains(CLAIMED), "{log}");
}

/// A second HTTP within the call: who grants it has a tunnel to the API, and nobody asks us about what goes through. The call itself is like any other.
#[track_caller]
fn no_second_http(site: &Site, port: u16, bearer: &str) {
    let also = "Connection: close, Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";
    for wanted in ["h2c", "h2c-14", "H2-16", "HTTP/2.0", "http/1.1", "TLS/1.2", "TLS/1.0, HTTP/1.1"] {
        let offered = call(port, "GET /api/me", &format!("{bearer}{also}Upgrade: {wanted}\r\n"), "");
        assert_eq!((offered.status, values_of(site, "upgrade").as_slice()), (200, &[][..]), "{wanted}: {offered:?}");
    }
}

/// The values of a header in all calls that the API has seen since.
fn values_of(site: &Site, name: &str) -> Vec<String> {
    site.api.seen().iter().flat_map(|head| values(head, name)).collect()
}

/// A revoked UUID is refused within a second.
fn revocation(site: &Site, port: u16, bearer: &str, access: &str) {
    assert_eq!(call(port, "GET /api/me", bearer, "").status, 200);
    assert_eq!(site.bridge.post("/auth/oauth/v2/token/revoke", "test_api", &[("token", access)]).status, 200);
    let revoked = Instant::now();
    let over = call(port, "GET /api/me", bearer, "");
    assert_eq!(over.refusal(), (401, "3003990".to_owned(), "invalid_token".to_owned()), "{over:?}");
    assert!(revoked.elapsed() < Duration::from_secs(1));
}

/// When the bridge is gone nobody gets through.
fn alone(site: &Site, port: u16) {
    let (bearer, _) = site.logged_in("90519");
    assert_eq!(call(port, "GET /api/me", &bearer, "").status, 200);
    site.api.seen();
    site.bridge.kill();
    let alone = call(port, "GET /api/me", &bearer, "");
    assert!(alone.status >= 500 && site.api.seen().is_empty(), "{alone:?}");
}

/// The whole story before one proxy.
fn before(front: impl FnOnce(Places) -> Front) {
    let site = Site::start();
    let front = front(site.places);
    story(&site, site.places.front, "90519");
    alone(&site, site.places.front);
    let log = front.log();
    assert!(!log.contains("eyJ"), "{log}");
}

#[test]
fn a_uuid_calls_an_api_through_our_own_gateway_until_it_is_revoked() {
    let site = Site::start();
    let (bearer, _) = site.logged_in("90519");
    assert_eq!(call(site.api.port, "GET /api/me", &bearer, "").status, 401, "the API itself knows no UUIDs");
    story(&site, site.places.gateway, "90519");
}

#[test]
fn a_uuid_calls_an_api_through_nginx_until_it_is_revoked() {
    before(Front::nginx);
}

#[test]
fn a_uuid_calls_an_api_through_caddy_until_it_is_revoked() {
    before(Front::caddy);
}

#[test]
fn a_uuid_calls_an_api_through_traefik_until_it_is_revoked() {
    before(Front::traefik);
}

#[test]
fn a_uuid_calls_an_api_through_haproxy_until_it_is_revoked() {
    before(Front::haproxy);
}

#[test]
fn a_uuid_calls_an_api_through_envoy_until_it_is_revoked() {
    before(|places| Front::envoy(places, "http.yaml"));
}

#[test]
fn a_uuid_calls_an_api_through_envoy_that_asks_over_grpc_until_it_is_revoked() {
    before(|places| Front::envoy(places, "grpc.yaml"));
}

/// As Envoy may be set up: it asks over HTTP/2, hands every header and the body on, and takes calls of any path.
const OVER_HTTP2: [(&str, &str); 3] = [
    (
        "patterns: [{ exact: authorization }, { exact: x-forwarded-for }] }",
        "patterns: [{ safe_regex: { regex: \".*\" } }] }\n                      with_request_body: { max_request_bytes: 65536, allow_partial_message: true }",
    ),
    ("path_separated_prefix: /api", "prefix: /"),
    ("http_protocol_options: {} }", "http2_protocol_options: {} }"),
];

/// The answer to a question over gRPC is HTTP's 200 even where it is a no; whoever asks over HTTP would take that for a yes.
#[test]
fn nobody_gets_through_a_proxy_that_asks_over_http2_by_speaking_as_grpc_does() {
    let site = Site::start();
    let (bearer, _) = site.logged_in("90519");
    let [caddy, envoy] = free_ports();
    let at = |front| Places { front, ..site.places };
    let fronts =
        [(caddy, Front::caddy_over_http2(at(caddy))), (envoy, Front::envoy_with(at(envoy), "http.yaml", &OVER_HTTP2))];
    let as_grpc = "Content-Type: application/grpc\r\nTE: trailers\r\nConnection: close, TE\r\n";
    for (port, front) in &fronts {
        assert_eq!(call(*port, "GET /api/me", &bearer, "").body, "90519 sent 0", "{}", front.log());
        site.api.seen();
        for target in ["GET /api/me", "POST /api/me", "POST /envoy.service.auth.v3.Authorization/Check"] {
            // Nothing, and a question that asks about nothing.
            for body in ["", "\0\0\0\0\0"] {
                let answer = call(*port, target, as_grpc, body);
                let seen = site.api.seen();
                // To a call of gRPC Envoy tells a refusal as gRPC does.
                let is_refused = match answer.header("grpc-status") {
                    Some(code) => code != "0" && answer.header("x-ca-err").is_some(),
                    None => (400..500).contains(&answer.status),
                };
                assert!(is_refused && seen.is_empty(), "{target}: {answer:?} {seen:?}");
            }
        }
    }
}

/// How often the bridge was asked by a proxy, by its own count.
fn asked(site: &Site) -> u64 {
    let metrics = send(site.bridge.ops, "GET", "/metrics", &[], "").body;
    let of_authz = metrics
        .lines()
        .filter(|line| line.starts_with("passbridge_requests_total{") && line.contains("endpoint=\"authz\""));
    of_authz.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn an_nginx_that_keeps_answers_asks_seldom_and_lets_a_revoked_uuid_pass_no_longer_than_it_was_told() {
    let kept = Duration::from_secs(2);
    let site = Site::with("authz_cache = \"2s\"");
    let _front = Front::nginx_with(site.places, "passbridge-cached.conf");
    let port = site.places.front;
    let (bearer, access) = site.logged_in("90518");
    let before = asked(&site);
    for number in 0..200 {
        assert_eq!(call(port, &format!("GET /api/me?{number}"), &bearer, "").body, "90518 sent 0");
    }
    let questions = asked(&site) - before;
    assert!((1..100).contains(&questions), "200 calls, {questions} questions");
    // That yes is none for a call whose UUID the API would read.
    site.api.seen();
    for query in [
        access.clone(),
        access.to_uppercase(),
        access.replace('-', "%2D"),
        format!("{}%{:x}{}", &access[..3], access.as_bytes()[3], &access[4..]),
    ] {
        let answer = call(port, &format!("GET /api/me?key={query}"), &bearer, "");
        let seen = site.api.seen();
        assert!(answer.status == 400 && seen.is_empty(), "{query}: {answer:?} {seen:?}");
    }
    // A yes is one client's for one path.
    others(port, &bearer);
    assert_eq!(call(port, "GET /api/me", NOBODY, "").refusal().1, "3003992");
    assert_eq!(call(port, "GET /api/me", "", "").refusal().1, "3003992");

    assert_eq!(call(port, "GET /api/me", &bearer, "").status, 200);
    assert_eq!(site.bridge.post("/auth/oauth/v2/token/revoke", "test_api", &[("token", &access)]).status, 200);
    let revoked = Instant::now();
    eventually("the revoked one is refused", || {
        let since = revoked.elapsed();
        let over = call(port, "GET /api/me", &bearer, "");
        assert!(over.status == 401 || since < kept, "{since:?} after the revocation: {over:?}");
        over.status == 401 && over.refusal().1 == "3003990"
    });
    // And no no is kept: a new login is good at once.
    let (bearer, _) = site.logged_in("90518");
    assert_eq!(call(port, "GET /api/me", &bearer, "").status, 200);
}
