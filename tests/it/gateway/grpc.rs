//! The questions of Envoy over gRPC, and HTTP/2 beside HTTP/1.1 on one port.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::request::Builder;
use http::{HeaderMap, Request, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{FOR_ANOTHER, NONE, plan, refused, routes, two_ways, uuid};
use crate::support::world::REVOKE;
use crate::support::{Connection, FakeApi, OLD_ID, OLD_SECRET, World, block_on, eventually, post};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// An answer over HTTP/2.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

fn ask<B>(world: &World, request: Request<B>) -> Answer
where
    B: Body<Data = Bytes, Error = Infallible> + Unpin + Send + 'static,
{
    let address = world.running().addresses().authz.expect("it may be asked");
    block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let asked = async {
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap();
            let trailers = body.trailers().cloned().unwrap_or_default();
            Answer { status: head.status, headers: head.headers, body: body.to_bytes(), trailers }
        };
        tokio::select! {
            answer = asked => answer,
            ended = connection => panic!("the connection ended: {ended:?}"),
        }
    })
}

fn grpc(world: &World, path: &str, body: Vec<u8>) -> Answer {
    ask(world, streamed(marked(&format!("http://authz{path}")), body))
}

/// The head of a question over gRPC.
fn marked(uri: &str) -> Builder {
    Request::post(uri).header("content-type", "application/grpc").header("te", "trailers")
}

/// A request that does not tell its length, as those of gRPC.
fn streamed(head: Builder, body: Vec<u8>) -> Request<impl Body<Data = Bytes, Error = Infallible> + Unpin + Send> {
    head.body(StreamBody::new(stream::iter([Ok(Frame::data(Bytes::from(body)))]))).unwrap()
}

/// The same, with trailers of which each has no line.
fn trailed(head: Builder, body: Vec<u8>) -> Request<impl Body<Data = Bytes, Error = Infallible> + Unpin + Send> {
    let frames = [Frame::data(Bytes::from(body)), Frame::trailers(HeaderMap::new())];
    head.body(StreamBody::new(stream::iter(frames.map(Ok)))).unwrap()
}

/// A field of protobuf that has a length.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len();
    let length =
        if length < 128 { vec![length as u8] } else { vec![(length & 0x7f) as u8 | 0x80, (length >> 7) as u8] };
    [vec![number << 3 | 2], length, bytes.to_vec()].concat()
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0], (message.len() as u32).to_be_bytes().as_slice(), message].concat()
}

/// A `CheckRequest` about a call.
fn question(path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    asking(("GET", "api.example.org"), path, headers)
}

fn asking((method, host): (&str, &str), path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let entry =
        |(name, value): &(&str, &str)| field(3, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    let headers: Vec<u8> = headers.iter().flat_map(entry).collect();
    let http = [field(2, method.as_bytes()), headers, field(4, path.as_bytes()), field(5, host.as_bytes())].concat();
    let source = field(1, &field(1, &field(1, &field(2, b"192.0.2.7"))));
    framed(&field(1, &[source, field(4, &field(2, &http))].concat()))
}

#[track_caller]
fn check(world: &World, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    answer(world, question(path, headers))
}

#[track_caller]
fn answer(world: &World, question: Vec<u8>) -> Vec<u8> {
    let answer = grpc(world, CHECK, question);
    assert_eq!(
        (answer.status, answer.headers["content-type"].as_bytes()),
        (StatusCode::OK, b"application/grpc".as_slice())
    );
    assert_eq!(answer.trailers["grpc-status"], "0");
    assert_eq!(answer.body[..5], framed(&answer.body[5..])[..5], "one frame");
    answer.body[5..].to_vec()
}

/// Whether an answer has this field of its response in it, byte for byte.
fn has(answer: &[u8], bytes: &[u8]) -> bool {
    answer.windows(bytes.len()).any(|window| window == bytes)
}

fn header(name: &str, value: &str) -> Vec<u8> {
    field(2, &[field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat()), vec![0x12, 0]].concat())
}

#[test]
fn a_good_uuid_is_let_on_with_the_jwt_in_its_place_and_a_revoked_one_denied() {
    let world = plan(&FakeApi::good(), "").set("server", "trusted_proxies", "[\"127.0.0.1/32\"]").start();
    let uuid = uuid(&world);
    let bearer = format!("Bearer {uuid}");
    let yes = check(&world, "/api/me?x=1", &[("authorization", &bearer)]);
    let jwt =
        world.realm.tokens().iter().map(|jwt| header("authorization", &format!("Bearer {jwt}"))).collect::<Vec<_>>();
    assert!(
        yes.starts_with(&[0x0a, 0, 0x1a]) && jwt.iter().any(|jwt| has(&yes, jwt)),
        "status OK, and one header that replaces"
    );
    assert!(!has(&yes, uuid.as_bytes()));
    let revoking = [("client_id", OLD_ID), ("client_secret", OLD_SECRET), ("token", uuid.as_str())];
    assert_eq!(world.ask(&post(REVOKE, &revoking)).status, 200);
    let no = check(&world, "/api/me", &[("authorization", &bearer)]);
    assert!(no.starts_with(&[0x0a, 2, 8, 16, 0x12]), "UNAUTHENTICATED, and a denied response");
    assert!(has(&no, &field(1, &[8, 0x91, 3])), "401");
    assert!(has(&no, &header("x-ca-err", "3003990")) && has(&no, b"\"error\":\"invalid_token\""));
    let told = world.log("192.0.2.7");
    assert!(told.iter().any(|line| line["outcome"] == "token_over"), "the client's own address: {told:?}");
}

/// RFC 9113 section 8.1: a HEADERS frame may end a stream and say nothing.
#[test]
fn a_question_that_ends_by_trailers_without_a_line_is_answered() {
    let world = plan(&FakeApi::good(), "").start();
    let uuid = uuid(&world);
    let asked = question("/api/users", &[("authorization", &format!("Bearer {uuid}"))]);
    let answer = ask(&world, trailed(marked(&format!("http://authz{CHECK}")), asked));
    let said = (answer.status, answer.trailers.get("grpc-status").map(http::HeaderValue::as_bytes));
    assert_eq!(said, (StatusCode::OK, Some(b"0".as_slice())), "{:?}", world.log("\"request\""));
}

#[test]
fn routes_count_for_the_path_that_envoy_tells_alone() {
    let api = FakeApi::good();
    let world =
        routes(&format!("{{ prefix = \"/api\", upstream = \"{0}\", anonymous = \"pass\" }}", api.url())).start();
    assert_eq!(check(&world, "/api/me", &[]), [0x0a, 0, 0x1a, 0], "OK as it came");
    for (path, status) in [("/other", 404u16), ("/api/../other", 400), ("*", 400)] {
        let no = check(&world, path, &[("x-original-uri", "/api"), ("x-forwarded-uri", "/api")]);
        assert!(is_denied(&no, status), "{path}");
    }
}

/// Whether it says `PERMISSION_DENIED`, and this status to the client.
fn is_denied(answer: &[u8], status: u16) -> bool {
    let status = [8, (status & 0x7f) as u8 | 0x80, (status >> 7) as u8];
    has(answer, &field(1, &status)) && answer.starts_with(&[0x0a, 2, 8, 7])
}

#[test]
fn a_host_that_envoy_tells_and_that_is_none_is_denied() {
    let world = routes(&two_ways(&FakeApi::good())).start();
    let bearer = format!("Bearer {}", uuid(&world));
    let ask = |host: &str| answer(&world, asking(("GET", host), "/api", &[("authorization", &bearer)]));
    assert!(ask("z:80").starts_with(&[0x0a, 0, 0x1a]));
    for (hosts, status) in [(&FOR_ANOTHER[..], 404), (&NONE[..], 400)] {
        for host in hosts {
            assert!(is_denied(&ask(host), status), "{host}");
        }
    }
}

#[test]
fn a_method_that_reflects_the_jwt_is_denied() {
    let world = plan(&FakeApi::good(), "").start();
    let bearer = format!("Bearer {}", uuid(&world));
    let told = [("authorization", bearer.as_str()), ("x-original-method", "GET"), ("x-forwarded-method", "GET")];
    let ask = |method: &str| answer(&world, asking((method, "api.example.org"), "/api", &told));
    assert!(ask("POST").starts_with(&[0x0a, 0, 0x1a]));
    for (method, status) in [("TRACE", 405), ("trace", 405), ("CONNECT", 405), ("TRACE ", 400)] {
        assert!(is_denied(&ask(method), status), "{method}");
    }
}

#[test]
fn what_is_no_question_is_said_to_be_none_by_a_status_that_is_no_yes() {
    let world = plan(&FakeApi::good(), "").start();
    for body in [framed(&[0xff; 20]), question("/api", &[])[..20].to_vec(), vec![0; 300 << 10], Vec::new()] {
        let answer = grpc(&world, CHECK, body);
        assert_eq!((answer.status.as_u16(), answer.headers["grpc-status"].to_str().unwrap()), (400, "3"));
        assert!(answer.body.is_empty() && answer.headers.contains_key("grpc-message"));
    }
    eventually("each is told", || world.log("invalid_request").len() >= 4);
}

/// What a proxy sends that asks over HTTP, whose client has chosen all that a client can: no word of gRPC's makes a yes of it.
#[test]
fn a_question_of_a_path_is_no_question_over_grpc_whatever_its_client_says() {
    let api = FakeApi::good();
    let world = routes(&format!("{{ prefix = \"/\", upstream = \"{}\" }}", api.url())).start();
    let check = format!("http://authz{CHECK}");
    let said = || question("/api", &[("authorization", "Bearer none")]);
    let of = |method: &str, path: &str| marked(&format!("http://authz{path}")).method(method);
    let told = |name: &str, value: &str| marked(&check).header(name, value);
    let streams = [
        of("GET", "/api/x"),
        of("POST", "/api/x"),
        of("POST", &format!("/prefix{CHECK}")),
        of("POST", &format!("{CHECK}?x=1")),
        of("POST", &format!("{CHECK}/")),
        of("POST", "/grpc.health.v1.Health/Check"),
        of("GET", CHECK),
        of("PUT", CHECK),
        told("x-original-uri", "/api/x"),
        told("x-original-method", "GET"),
        told("x-forwarded-uri", "/api/x"),
        told("x-forwarded-method", "GET"),
        told("x-forwarded-host", "api.example.org"),
        Request::post(&check).header("content-type", "application/grpc"),
        Request::post(&check).header("content-type", "application/grpc").header("te", "gzip"),
        Request::post(&check).header("content-type", "application/grpcfoo").header("te", "trailers"),
        Request::post(&check).header("content-type", "application/grpc-web").header("te", "trailers"),
        Request::post(&check).header("te", "trailers"),
    ];
    let mut answers: Vec<Answer> = streams.into_iter().map(|head| ask(&world, streamed(head, said()))).collect();
    // Envoy tells the length of every question of its own, be it 0.
    answers.push(ask(&world, marked(&check).body(Full::new(Bytes::from(said()))).unwrap()));
    answers.push(ask(&world, marked(&check).header("content-length", "0").body(Full::default()).unwrap()));
    for (number, answer) in answers.iter().enumerate() {
        let code = answer.headers.get("x-ca-err").map(|code| code.to_str().unwrap());
        assert_eq!((answer.status.as_u16(), code), (401, Some("3003992")), "{number}");
    }
    assert_eq!(ask(&world, streamed(of("TRACE", "/api/x"), Vec::new())).status, 405);
    let lines = || world.log("token_unknown").iter().filter(|line| line["endpoint"] == "authz").count();
    eventually("each is told", || lines() >= answers.len());
    assert!(api.seen().is_empty());
}

/// Its call may well be one of gRPC's, as the asking proxy hands its headers on.
#[test]
fn a_call_of_grpc_with_a_good_uuid_is_let_on_over_http2() {
    let world = plan(&FakeApi::good(), "").start();
    let bearer = format!("Bearer {}", uuid(&world));
    let asked =
        marked("http://authz/").method("GET").header("x-forwarded-uri", "/api/x").header("authorization", &bearer);
    let yes = ask(&world, asked.body(Full::default()).unwrap());
    assert!(yes.status == 200 && yes.headers["authorization"].to_str().unwrap().starts_with("Bearer eyJ"));
}

#[test]
fn a_call_whose_uuid_stands_in_its_query_too_is_denied() {
    let world = plan(&FakeApi::good(), "").start();
    let uuid = uuid(&world);
    let bearer = format!("Bearer {uuid}");
    let ask = |query: &str| check(&world, &format!("/api?{query}"), &[("authorization", &bearer)]);
    assert!(has(&ask(&format!("a=b&access_token={uuid}")), &header("x-ca-err", "3003103")));
    assert!(has(&ask("access_token=x"), b"Bearer eyJ"), "the API's own");
}

#[test]
fn a_plain_question_may_come_over_http2_too() {
    let world = plan(&FakeApi::good(), "").start();
    let get = |bearer: &str| {
        let request = Request::get("http://api.example.org/verify").header("x-forwarded-uri", "/api/x");
        ask(&world, request.header("authorization", bearer).body(Full::default()).unwrap())
    };
    let yes = get(&format!("Bearer {}", uuid(&world)));
    assert!(yes.status == 200 && yes.headers.contains_key("authorization"));
    assert_eq!(get("Bearer none").headers["x-ca-err"], "3003992");
}

#[test]
fn the_head_of_a_question_over_http2_is_bounded_in_length_and_in_number() {
    let world = plan(&FakeApi::good(), "").start();
    let bearer = format!("Bearer {}", uuid(&world));
    let asked = |path: &str, lines: usize, length: usize| {
        let request = Request::get(format!("http://api.example.org{path}")).header("authorization", &bearer);
        let more = (0..lines).map(|number| (format!("x-flood-{number}"), "y".repeat(length)));
        let request = more.fold(request, |request, (name, value)| request.header(name, value));
        let answer = ask(&world, request.body(Full::default()).unwrap());
        (answer.status.as_u16(), answer.headers.get("x-ca-err").map(|code| code.to_str().unwrap().to_owned()))
    };
    let refused = (400, Some("3003103".to_owned()));
    for (lines, length) in [(1, 31_000), (90, 10)] {
        assert_eq!(asked("/api", lines, length), (200, None), "{lines} of {length}");
    }
    for (lines, length) in [(1, 33_000), (200, 10)] {
        assert_eq!(asked("/api", lines, length), refused, "{lines} of {length}");
    }
    assert_eq!(asked(&format!("/api?{}", "y".repeat(33_000)), 0, 0), refused);
    eventually("each is told", || {
        world.log("invalid_request").iter().filter(|line| line["endpoint"] == "authz").count() == 3
    });
}

#[test]
fn half_a_preface_is_refused_and_a_silent_connection_does_not_hold_up_a_drain() {
    let mut world = plan(&FakeApi::good(), "").start();
    let address = world.running().addresses().authz.unwrap();
    let mut odd = Connection::open(address);
    let reply = odd.ask(b"PRI * HTTP/2.0\r\n\r\nno preface\r\n\r\n");
    assert_eq!(reply.status, 400);
    let mut silent = Connection::open(address);
    let mut begun = Connection::open(address);
    begun.write(b"PRI * HTTP");
    eventually("both are open", || {
        refused(&Connection::open(address).ask(b"GET /api HTTP/1.1\r\nHost: a\r\n\r\n")).0 == 401
    });
    world.running().stop();
    assert!(silent.is_closed() && begun.is_closed());
    world.end();
}
