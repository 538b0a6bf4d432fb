//! APIs that speak HTTP/2.

use std::fs;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Full};

use super::{call, connect, get, open, plan, refused, routes, told, until, uuid, web_socket};
use crate::support::api2::Http2Api;
use crate::support::frames::{self, Frames};
use crate::support::tls::{Authority, TlsFront};
use crate::support::{Connection, FakeApi, Plan, World, eventually};

fn to(url: &str) -> Plan {
    routes(&format!("{{ prefix = \"/api\", upstream = \"{url}\", http2 = true }}"))
}

fn clear(api: &Http2Api) -> World {
    to(&api.url("http", "127.0.0.1")).start()
}

#[test]
fn a_call_goes_on_over_http2_where_the_route_says_so() {
    let api = Http2Api::start();
    let world = clear(&api);
    let uuid = uuid(&world);
    let mut connection = connect(&world);
    for _ in 0..3 {
        let reply = connection.ask(&get("/api/a%20b?q=1", &uuid));
        assert_eq!((reply.status, reply.header("x-api").as_deref()), (200, Some("yes")));
        assert_eq!(reply.header("transfer-encoding").as_deref(), Some("chunked"));
        drain(&mut connection);
    }
    let seen = api.seen();
    assert_eq!((seen.len(), api.connections()), (3, 1));
    assert_eq!(seen[0].uri, "http://api.example.org/api/a%20b?q=1");
    let headers = &seen[0].headers;
    for name in ["connection", "host", "te", "upgrade", "transfer-encoding"] {
        assert!(!headers.contains_key(name), "{headers:?}");
    }
    assert!(headers["authorization"].to_str().unwrap().starts_with("Bearer eyJ"));
    assert_eq!(headers["x-forwarded-host"], "api.example.org");
}

/// Reads a chunked body to its end.
fn drain(connection: &mut Connection) {
    connection.until(b"0\r\n\r\n");
}

/// RFC 9112 section 4: there may be no reason.
#[test]
fn a_status_that_has_no_name_is_told_without_one() {
    let api = Http2Api::start();
    let world = clear(&api);
    let mut stream = open(&world);
    stream.write_all(&get("/api/unnamed", &uuid(&world))).unwrap();
    let head = until(&mut stream, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 520 \r\n"), "{head}");
}

#[test]
fn bodies_and_trailers_pass_to_an_old_client() {
    let api = Http2Api::start();
    let world = clear(&api);
    let token = format!("Authorization: Bearer {}\r\n", uuid(&world));
    let mut stream = open(&world);
    let head = format!(
        "POST /api HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n{token}Transfer-Encoding: chunked\r\nTrailer: X-Mark\r\n\r\n"
    );
    stream.write_all(format!("{head}3\r\nabc\r\n0\r\nX-Mark: 9\r\n\r\n").as_bytes()).unwrap();
    let answer = until(&mut stream, "0\r\n\r\n").to_ascii_lowercase();
    assert!(answer.ends_with("4\r\ngood\r\n0\r\ngrpc-status: 0\r\n\r\n"), "{answer}");
    let seen = api.seen().remove(0);
    assert_eq!(
        (seen.method.as_str(), seen.body.as_ref(), &seen.trailers["x-mark"]),
        ("POST", b"abc".as_slice(), &"9".parse().unwrap())
    );
    assert_eq!(seen.headers["te"], "trailers");
}

#[test]
fn a_grpc_call_passes_whole_from_end_to_end() {
    let api = Http2Api::start();
    let world = clear(&api);
    let uuid = uuid(&world);
    super::http2::on_http2(&world, async |mut sender: super::http2::Sender| {
        let mark = HeaderMap::from_iter([("x-mark".parse::<http::HeaderName>().unwrap(), "9".parse().unwrap())]);
        let body = Full::new(Bytes::from_static(b"abc")).with_trailers(std::future::ready(Some(Ok(mark))));
        let request = super::http2::getting("/api/pkg.Service/Call", &uuid).map(|_| body.boxed_unsync());
        let mut request = request;
        *request.method_mut() = http::Method::POST;
        request.headers_mut().insert("te", "trailers".parse().unwrap());
        let answer = super::http2::ask(&mut sender, request).await;
        assert_eq!(
            (answer.body.as_ref(), &answer.trailers["grpc-status"]),
            (b"good".as_slice(), &"0".parse().unwrap())
        );
    });
    let seen = api.seen().remove(0);
    assert_eq!((seen.body.as_ref(), &seen.trailers["x-mark"]), (b"abc".as_slice(), &"9".parse().unwrap()));
}

fn secure(url: &str, authority: &Authority) -> World {
    let route = format!("[{{ prefix = \"/api\", upstream = \"{url}\", http2 = true, ca = \"api-ca.pem\" }}]");
    let plan = Plan::new().set("listen", "gateway", "\"127.0.0.1:0\"").set("gateway", "route", &route);
    let mut world = plan.set("gateway", "connect_timeout", "\"1m\"").files();
    fs::write(world.path().join("api-ca.pem"), &authority.pem).unwrap();
    world.begin();
    world
}

#[test]
fn over_tls_the_server_chooses() {
    let authority = Authority::new();
    let shown = authority.shown("localhost", None);
    let two = Http2Api::over_tls(&shown);
    let world = secure(&two.url("https", "localhost"), &authority);
    assert_eq!(call(&world, &get("/api", &uuid(&world))).status, 200);
    assert_eq!(two.seen()[0].uri.scheme_str(), Some("https"));
    let one = FakeApi::good();
    let front = TlsFront::start(&shown, one.address());
    let world = secure(&front.url("localhost"), &authority);
    assert_eq!(call(&world, &get("/api", &uuid(&world))).body, "good");
    assert!(one.only().head.starts_with("GET /api HTTP/1.1"));
}

/// RFC 9110 section 8.6: it has none, and a client over HTTP/2 that is told one all the same takes the stream for broken.
#[test]
fn of_an_answer_without_content_no_length_is_told() {
    let api = Frames::api(|api, stream| {
        let told = frames::head(&[(":status", "204"), ("content-length", "5"), ("x-api", "yes")]);
        api.send(frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, stream, &told)
    });
    let world = to(&api.url()).start();
    let uuid = uuid(&world);
    let answer = super::http2::on_http2(&world, async |mut sender: super::http2::Sender| {
        super::http2::ask(&mut sender, super::http2::getting("/api", &uuid)).await
    });
    assert_eq!((answer.status.as_u16(), &answer.headers["x-api"]), (204, &"yes".parse().unwrap()));
    assert!(!answer.headers.contains_key("content-length"), "{answer:?}");
    let mut connection = connect(&world);
    connection.write(&get("/api", &uuid));
    let reply = connection.reply_without_body().unwrap();
    assert_eq!((reply.status, reply.header("content-length")), (204, None), "{}", reply.head);
}

/// A call on a connection of its own, sent and not answered yet.
fn begun(world: &World, uuid: &str) -> Connection {
    let mut connection = connect(world);
    connection.write(&get("/api", uuid));
    connection
}

#[test]
fn a_hundred_calls_at_once_share_a_connection_and_more_get_another() {
    let api = Http2Api::gated();
    let world = clear(&api);
    let uuid = uuid(&world);
    let begin = || begun(&world, &uuid);
    let mut waiting = vec![begin()];
    eventually("the first is there", || api.waiting() == 1);
    waiting.extend((1..100).map(|_| begin()));
    eventually("a hundred are there", || api.waiting() == 100);
    assert_eq!(api.connections(), 1);
    waiting.extend((0..20).map(|_| begin()));
    eventually("and twenty more", || api.waiting() == 120);
    assert!((2..=21).contains(&api.connections()), "{}", api.connections());
    api.let_go(120);
    for mut connection in waiting {
        assert_eq!(connection.reply().unwrap().status, 200);
    }
}

#[test]
fn a_server_that_takes_fewer_calls_at_once_gets_more_connections() {
    let api = Http2Api::narrow(10);
    let world = clear(&api);
    let uuid = uuid(&world);
    let begin = || begun(&world, &uuid);
    let mut waiting = Vec::new();
    for count in 1..=20 {
        waiting.push(begin());
        eventually("each is there", || api.waiting() == count);
    }
    assert_eq!(api.connections(), 2);
    // Many at once need no connection that has told it first.
    waiting.extend((0..20).map(|_| begin()));
    eventually("and twenty more", || api.waiting() == 40);
    api.let_go(40);
    for connection in &mut waiting {
        assert_eq!(connection.reply().unwrap().status, 200);
    }
}

#[test]
fn a_web_socket_gets_a_connection_of_its_own() {
    let api = web_socket();
    let world = plan(&api, ", http2 = true").start();
    let uuid = uuid(&world);
    let mut stream = open(&world);
    let head = format!(
        "GET /api HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer {uuid}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    until(&mut stream, "hello");
    stream.write_all(b"ping").unwrap();
    until(&mut stream, "ping");
}

#[test]
fn an_api_that_gives_a_call_up_ends_that_call_alone() {
    let api = Http2Api::start();
    let world = clear(&api);
    let uuid = uuid(&world);
    for _ in 0..3 {
        let reply = call(&world, &get("/api/reset", &uuid));
        assert_eq!(refused(&reply), told(502, "temporarily_unavailable", "3003000"));
        assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
    }
    assert_eq!((api.connections(), api.seen().len()), (1, 6), "nothing was sent twice");
}

#[test]
fn an_api_that_is_slow_is_told_to_give_the_call_up() {
    let api = Http2Api::gated();
    let world = to(&api.url("http", "127.0.0.1")).set("gateway", "timeout", "\"200ms\"").start();
    let uuid = uuid(&world);
    assert_eq!(refused(&call(&world, &get("/api", &uuid))), told(504, "temporarily_unavailable", "3003000"));
    eventually("nobody waits for it any more", || api.waiting() == 0);
    api.let_go(1);
    assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
}

/// As events have them. `h2` takes more than some for abuse, of whoever they are.
#[test]
fn small_frames_that_lie_unread_for_some_callers_end_no_call_of_the_others() {
    const READERS: u32 = 40;
    let api = Http2Api::start();
    let world = clear(&api);
    let uuid = uuid(&world);
    let mut callers = Frames::open(world.running().addresses().gateway.unwrap());
    // Nothing is to be sent.
    callers.send(frames::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let bearer = format!("Bearer {uuid}");
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/api/small"),
        ("authorization", &bearer),
    ];
    for number in 0..READERS {
        let whole = frames::END_STREAM | frames::END_HEADERS;
        callers.send(frames::HEADERS, whole, 2 * number + 1, &frames::head(&fields));
        callers.until(frames::HEADERS).expect("there is an answer");
    }
    let all = READERS as usize * 4_000;
    eventually("all has come for which there is room", || api.small() >= all || api.closed() > 0);
    assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
    assert_eq!((api.connections(), api.closed()), (1, 0));
}

#[test]
fn a_shared_connection_that_has_fallen_silent_is_left_behind_the_first_call_that_waits_in_vain() {
    let api = Http2Api::start();
    let world = to(&api.url("http", "127.0.0.1")).set("gateway", "timeout", "\"300ms\"").start();
    let uuid = uuid(&world);
    let status = || call(&world, &get("/api", &uuid)).status;
    assert_eq!((status(), api.connections()), (200, 1));
    api.fall_silent();
    assert_eq!((status(), api.connections()), (504, 1));
    assert_eq!((status(), api.connections()), (200, 2));
}

#[test]
fn a_connection_that_is_told_to_go_is_replaced_and_nobody_notices() {
    let api = Http2Api::start();
    let world = clear(&api);
    let uuid = uuid(&world);
    let mut connection = connect(&world);
    assert_eq!(connection.ask(&get("/api", &uuid)).status, 200);
    drain(&mut connection);
    for _ in 0..20 {
        api.go_away();
        assert_eq!(connection.ask(&get("/api", &uuid)).status, 200);
        drain(&mut connection);
    }
    assert!(api.connections() > 1 && api.seen().len() == 21, "{}", api.seen().len());
}

#[test]
fn an_old_shared_connection_gets_no_other_call_and_closes_once_its_own_have_ended() {
    let api = Http2Api::gated();
    let world = clear(&api);
    let uuid = uuid(&world);
    let mut first = begun(&world, &uuid);
    eventually("the first is there", || api.waiting() == 1);
    world.turn(299);
    let mut second = begun(&world, &uuid);
    eventually("so is the second", || api.waiting() == 2);
    assert_eq!(api.connections(), 1);
    world.turn(1);
    let mut third = begun(&world, &uuid);
    eventually("and the third", || api.waiting() == 3);
    assert_eq!((api.connections(), api.closed()), (2, 0));
    api.let_go(3);
    for connection in [&mut first, &mut second, &mut third] {
        assert_eq!(connection.reply().unwrap().status, 200);
        drain(connection);
    }
    eventually("the old one closes", || api.closed() == 1);
}

#[test]
fn one_call_opens_another_in_the_place_of_an_old_shared_connection_and_meanwhile_the_others_go_on_over_that_one() {
    let authority = Authority::new();
    let api = Http2Api::over_tls(&authority.shown("localhost", None));
    let world = secure(&api.url("https", "localhost"), &authority);
    let uuid = uuid(&world);
    let answered = |mut connection: Connection| assert_eq!(connection.reply().map(|reply| reply.status), Some(200));
    answered(begun(&world, &uuid));
    world.turn(300);
    let mute = api.mute();
    let opening = begun(&world, &uuid);
    eventually("one opens another", || api.connections() == 2);
    let others: Vec<_> = (0..20).map(|_| begun(&world, &uuid)).collect();
    others.into_iter().for_each(answered);
    assert_eq!((api.connections(), api.seen().len()), (2, 21), "nobody else opens one, or waits for it");
    world.turn(5);
    let next = begun(&world, &uuid);
    eventually("of one that never comes another call makes up", || api.connections() == 3);
    answered(begun(&world, &uuid));
    drop(mute);
    [opening, next].into_iter().for_each(answered);
    eventually("the old one closes", || api.closed() >= 1);
    answered(begun(&world, &uuid));
    assert_eq!(api.connections(), 3);
}

#[test]
fn an_api_that_speaks_no_http2_is_down() {
    let api = FakeApi::start(|mut caller| {
        let mut piece = [0; 64];
        let _ = caller.stream.read(&mut piece);
        caller.say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let world = to(&api.url()).start();
    let reply = call(&world, &get("/api", &uuid(&world)));
    assert_eq!(refused(&reply), told(502, "temporarily_unavailable", "3003000"));
}

/// Nobody looks any more after what is opened then.
#[test]
fn a_connection_that_is_opened_at_the_end_does_not_hold_it_up() {
    let api = Http2Api::start();
    let mut world = clear(&api);
    let request = get("/api", &uuid(&world));
    let (said, rest) = request.split_at(20);
    let (mut idle, mut caller) = (connect(&world), connect(&world));
    assert!(caller.write(said));
    assert_eq!(call(&world, &get("/none", "none")).status, 404, "what was sent before is there too");
    world.running().stop();
    assert!(idle.is_closed() && caller.write(rest));
    assert_eq!(caller.reply().unwrap().status, 200);
    let began = Instant::now();
    world.end();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}; `server.drain` is 30 s", began.elapsed());
}
