//! API calls over HTTP/2.

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{call, connect, get, plan, uuid};
use crate::support::frames::{self, Frames};
use crate::support::tls::Authority;
use crate::support::{FakeApi, PATIENCE, World, block_on, eventually};

/// An answer over HTTP/2.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

pub type Sender = SendRequest<Sent>;
/// A body that a test sends.
pub type Sent = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// Speaks HTTP/2 over a stream as long as the test has something to say.
async fn speaking<T>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    test: impl AsyncFnOnce(Sender) -> T,
) -> T {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.initial_stream_window_size(Some(64 * 1024));
    let (sender, connection) = http.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::select! {
        result = test(sender) => result,
        ended = connection => panic!("the connection ended: {ended:?}"),
    }
}

pub fn on_http2<T>(world: &World, test: impl AsyncFnOnce(Sender) -> T) -> T {
    let address = world.running().addresses().gateway.unwrap();
    block_on(async { speaking(TcpStream::connect(address).await.unwrap(), test).await })
}

pub async fn ask(sender: &mut Sender, request: Request<Sent>) -> Answer {
    sender.ready().await.unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    Answer { status: head.status, headers: head.headers, body: body.to_bytes(), trailers }
}

fn sent(text: &'static str) -> Sent {
    Full::from(text).boxed_unsync()
}

pub fn getting(path: &str, uuid: &str) -> Request<Sent> {
    let uri = format!("http://api.example.org{path}");
    Request::get(uri).header("authorization", format!("Bearer {uuid}")).body(sent("")).unwrap()
}

/// A refusal in the dialect's words.
#[track_caller]
fn is_refused(answer: &Answer, status: u16, number: &str) {
    assert_eq!((answer.status.as_u16(), answer.headers["x-ca-err"].to_str().unwrap()), (status, number), "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert!(answer.headers.get("connection").is_none());
    serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap();
}

#[test]
fn a_call_over_http2_goes_on_as_any_other() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    on_http2(&world, async |mut sender| {
        let mut request = getting("/api/a%20b?q=1", &uuid);
        request.headers_mut().append("cookie", "a=1".parse().unwrap());
        request.headers_mut().append("cookie", "b=2".parse().unwrap());
        let answer = ask(&mut sender, request).await;
        assert_eq!((answer.status, answer.body.as_ref()), (StatusCode::OK, b"good".as_slice()));
        assert_eq!(answer.headers["x-api"], "yes");
        is_refused(&ask(&mut sender, getting("/other", &uuid)).await, 404, "3003000");
        is_refused(&ask(&mut sender, getting("/api", "x")).await, 401, "3003992");
        is_refused(&ask(&mut sender, getting("/api/../x", &uuid)).await, 400, "3003103");
        let mut posting = getting("/api/post", &uuid);
        *posting.method_mut() = http::Method::POST;
        *posting.body_mut() = sent("abc");
        assert_eq!(ask(&mut sender, posting).await.body, "good", "a refused call ends no connection");
    });
    let seen = api.seen();
    assert!(seen[0].head.starts_with("GET /api/a%20b?q=1 HTTP/1.1\r\n"), "{}", seen[0].head);
    let told = ["host", "x-forwarded-host", "x-forwarded-for", "cookie"].map(|name| seen[0].header(name).unwrap());
    assert_eq!(told, ["api.example.org", "api.example.org", "127.0.0.1", "a=1; b=2"]);
    assert!(seen[0].header("authorization").unwrap().starts_with("Bearer eyJ") && !seen[0].head.contains(&uuid));
    assert_eq!((seen.len(), seen[1].body.as_slice()), (2, b"abc".as_slice()));
}

#[test]
fn many_calls_share_a_connection_and_each_gets_its_own_answer() {
    let api = FakeApi::start(|mut caller| {
        while let Some(seen) = caller.request() {
            let path = seen.head.split(' ').nth(1).unwrap().to_owned();
            caller.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()).as_bytes());
        }
    });
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    on_http2(&world, async |sender| {
        let calls = (0..100).map(|number| {
            let (mut sender, path) = (sender.clone(), format!("/api/{number}"));
            let request = getting(&path, &uuid);
            async move { (ask(&mut sender, request).await.body, path) }
        });
        for (body, path) in futures_util::future::join_all(calls).await {
            assert_eq!(body, path.as_bytes());
        }
    });
}

#[test]
fn over_tls_the_client_chooses_its_protocol() {
    let (api, authority) = (FakeApi::good(), Authority::new());
    let tls = "{ certificate = \"server.pem\", key = \"server.key\" }";
    let mut world = plan(&api, "").set("tls", "gateway", tls).files();
    let (certificate, key) = authority.shown("localhost", None).pem();
    fs::write(world.path().join("server.pem"), certificate).unwrap();
    fs::write(world.path().join("server.key"), key).unwrap();
    world.begin();
    let uuid = uuid(&world);
    let address = world.running().addresses().gateway.unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    for (offered, chosen) in
        [(vec!["h2", "http/1.1"], Some("h2")), (vec!["http/1.1"], Some("http/1.1")), (vec![], None)]
    {
        let mut config = ClientConfig::builder().with_root_certificates(roots.clone()).with_no_client_auth();
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), chosen.map(str::as_bytes));
            if chosen == Some("h2") {
                let answer = speaking(stream, async |mut sender| ask(&mut sender, getting("/api", &uuid)).await).await;
                assert_eq!(answer.body, "good");
            } else {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                stream.write_all(&get("/api", &uuid)).await.unwrap();
                let mut piece = [0; 15];
                stream.read_exact(&mut piece).await.unwrap();
                assert_eq!(&piece, b"HTTP/1.1 200 OK");
            }
        });
    }
    assert!(api.seen().iter().all(|seen| seen.header("x-forwarded-proto").as_deref() == Some("https")));
}

#[test]
fn trailers_come_through_as_grpc_needs_them() {
    let api = FakeApi::saying(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\nTrailer: Grpc-Status\r\n\r\n4\r\ngood\r\n\
          0\r\nGrpc-Status: 0\r\n\r\n",
    );
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    on_http2(&world, async |mut sender| {
        let mut request = getting("/api/pkg.Service/Call", &uuid);
        request.headers_mut().insert("te", "trailers".parse().unwrap());
        let answer = ask(&mut sender, request).await;
        assert_eq!(
            (answer.body.as_ref(), &answer.trailers["grpc-status"]),
            (b"good".as_slice(), &"0".parse().unwrap())
        );
    });
    assert_eq!(api.only().header("te").as_deref(), Some("trailers"));
}

#[test]
fn a_client_that_reads_nothing_of_its_answer_lets_the_api_go_and_keeps_its_connection() {
    let (say, heard) = channel::<()>();
    let say = Mutex::new(say);
    let api = FakeApi::start(move |mut caller| {
        while let Some(seen) = caller.request() {
            if !seen.head.starts_with("GET /api/endless") {
                caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
                continue;
            }
            caller.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let part = [b"4000\r\n".as_slice(), &vec![b'x'; 0x4000], b"\r\n"].concat();
            while caller.stream.get_mut().write_all(&part).is_ok() {}
            return say.lock().send(()).unwrap();
        }
    });
    let world = plan(&api, "").set("gateway", "idle_timeout", "\"300ms\"").start();
    let uuid = uuid(&world);
    on_http2(&world, async |mut sender| {
        sender.ready().await.unwrap();
        let mut unread = sender.send_request(getting("/api/endless", &uuid)).await.unwrap();
        let gone = tokio::task::spawn_blocking(move || heard.recv_timeout(PATIENCE));
        gone.await.unwrap().expect("the API is let go");
        assert_eq!(ask(&mut sender, getting("/api", &uuid)).await.body, "good");
        let rest = async { while unread.frame().await.expect("it does not end well").is_ok() {} };
        tokio::time::timeout(PATIENCE, rest).await.expect("what comes behind what was sent is a reset");
    });
}

#[test]
fn a_call_that_its_client_gives_up_is_given_up_at_the_api() {
    let (say, heard) = channel::<bool>();
    let say = Mutex::new(say);
    let api = FakeApi::start(move |mut caller| {
        caller.request();
        say.lock().send(true).unwrap();
        say.lock().send(caller.request().is_some()).unwrap();
    });
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let mut frames = Frames::open(world.running().addresses().gateway.unwrap());
    frames.send(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, 1, &head("GET", &uuid, &[]));
    assert!(heard.recv_timeout(PATIENCE).unwrap(), "it is on its way");
    frames.send(frames::RST_STREAM, 0, 1, &8u32.to_be_bytes());
    assert!(!heard.recv_timeout(PATIENCE).unwrap(), "the API's connection is closed");
}

pub fn head(method: &str, uuid: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let bearer = format!("Bearer {uuid}");
    let fields =
        [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", "/api"), ("authorization", &bearer)];
    frames::head(&[&fields[..], more].concat())
}

#[test]
fn headers_that_are_meant_for_one_connection_make_a_request_none() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let whole = frames::END_STREAM | frames::END_HEADERS;
    for field in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("keep-alive", "1"),
        ("proxy-connection", "1"),
        ("te", "gzip"),
        ("X-Upper", "1"),
        (":path", "/again"),
    ] {
        let mut frames = Frames::open(world.running().addresses().gateway.unwrap());
        frames.send(frames::HEADERS, whole, 1, &head("GET", &uuid, &[field]));
        let told = std::iter::from_fn(|| frames.next())
            .find(|frame| [frames::RST_STREAM, frames::GOAWAY].contains(&frame.kind));
        let told = told.expect("it is told");
        assert_eq!(told.code(), frames::PROTOCOL_ERROR, "{field:?}");
    }
    assert!(api.seen().is_empty(), "{:?}", api.seen());
}

/// RFC 9110 section 8.6: HTTP/1.1 servers refuse such a thing, and rightly.
/// Where a frame ends within a line, h2 forgets what was wrong before it (docs/adr/0010).
#[test]
fn what_is_malformed_in_the_first_part_of_a_head_does_not_reach_the_api() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    for (name, value) in [
        (":path", "/api/evil"),
        ("connection", "x-evil"),
        ("transfer-encoding", "evil"),
        ("te", "evil"),
        ("upgrade", "evil"),
        ("keep-alive", "evil"),
        ("proxy-connection", "evil"),
    ] {
        let mut frames = Frames::open(world.running().addresses().gateway.unwrap());
        let last = frames::head(&[("x-last", "1")]);
        let first = [head("GET", &uuid, &[(name, value)]), last[..1].to_vec()].concat();
        frames.send(frames::HEADERS, frames::END_STREAM, 1, &first);
        frames.send(frames::CONTINUATION, frames::END_HEADERS, 1, &last[1..]);
        frames.until(frames::HEADERS).expect("it is answered");
        let seen = api.seen().pop().unwrap();
        assert!(seen.head.starts_with("GET /api ") && !seen.head.contains("evil"), "{name}: {}", seen.head);
    }
}

#[test]
fn a_length_that_is_told_twice_or_is_none_goes_on_as_one() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let whole = frames::END_STREAM | frames::END_HEADERS;
    let mut frames = Frames::open(world.running().addresses().gateway.unwrap());
    let twice = [("content-length", "3"), ("content-length", "3")];
    frames.send(frames::HEADERS, frames::END_HEADERS, 1, &head("POST", &uuid, &twice));
    frames.send(frames::DATA, frames::END_STREAM, 1, b"abc");
    assert_eq!(frames.until(frames::DATA).unwrap().body, b"good");
    frames.send(frames::HEADERS, whole, 3, &head("GET", &uuid, &[("content-length", ""), ("content-length", "0")]));
    assert_eq!(frames.until(frames::DATA).unwrap().body, b"good");
    let seen = api.seen();
    let told = |number: usize| seen[number].head.to_ascii_lowercase().matches("content-length").count();
    assert_eq!((told(0), seen[0].header("content-length").as_deref()), (1, Some("3")), "{}", seen[0].head);
    assert_eq!(told(1), 0, "{}", seen[1].head);
}

#[test]
fn a_request_has_one_host_and_no_method_that_reflects() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    on_http2(&world, async |mut sender| {
        let mut two = getting("/api", &uuid);
        two.headers_mut().insert("host", "other.example.org".parse().unwrap());
        is_refused(&ask(&mut sender, two).await, 400, "3003103");
        let mut same = getting("/api", &uuid);
        same.headers_mut().insert("host", "API.example.org".parse().unwrap());
        assert_eq!(ask(&mut sender, same).await.status, 200);
        let mut trace = getting("/api", &uuid);
        *trace.method_mut() = http::Method::TRACE;
        is_refused(&ask(&mut sender, trace).await, 405, "3003103");
    });
    api.only();
}

#[test]
fn heads_are_bounded_in_length_and_in_number() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    on_http2(&world, async |mut sender| {
        let mut many = getting("/api", &uuid);
        for number in 0..200 {
            let name = http::HeaderName::from_bytes(format!("x-flood-{number}").as_bytes()).unwrap();
            many.headers_mut().insert(name, "1".parse().unwrap());
        }
        is_refused(&ask(&mut sender, many).await, 400, "3003103");
        // 32 KiB are allowed, and twice as many are read, so that they can be refused.
        for (length, is_ours) in [(31_000, None), (33_000, Some(true)), (62_000, Some(true)), (66_000, Some(false))] {
            let mut long = getting("/api/long", &uuid);
            long.headers_mut().insert("x-long", "y".repeat(length).parse().unwrap());
            let answer = ask(&mut sender, long).await;
            match is_ours {
                None => assert_eq!(answer.body, "good"),
                Some(true) => is_refused(&answer, 400, "3003103"),
                Some(false) => {
                    assert_eq!((answer.status.as_u16(), answer.headers.len(), answer.body.len()), (431, 0, 0));
                }
            }
        }
        let path = format!("/api?{}", "y".repeat(33_000));
        is_refused(&ask(&mut sender, getting(&path, &uuid)).await, 400, "3003103");
        assert_eq!(ask(&mut sender, getting("/api/next", &uuid)).await.body, "good", "its connection goes on");
    });
    let seen = api.seen();
    assert!(
        seen.len() == 2 && seen[0].head.starts_with("GET /api/long ") && seen[1].head.starts_with("GET /api/next ")
    );
    let mut frames = Frames::open(world.running().addresses().gateway.unwrap());
    let long = "x".repeat(1000);
    frames.send(frames::HEADERS, frames::END_STREAM, 1, &head("GET", &uuid, &[]));
    let mut sent = 0;
    while frames.send(frames::CONTINUATION, 0, 1, &frames::head(&[("x-flood", &long)])) {
        sent += 1;
        assert!(sent < 100_000, "somebody reads without an end");
    }
    assert_eq!(api.seen().len(), 2);
    assert_eq!(call(&world, &get("/api", &uuid)).status, 200, "others are served");
}

#[test]
fn rapid_resets_end_their_connection_and_no_other() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let mut frames = Frames::open(world.running().addresses().gateway.unwrap());
    let block = head("GET", &uuid, &[]);
    let is_closed = (0..10_000u32).any(|number| {
        let stream = 2 * number + 1;
        !(frames.send(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, stream, &block)
            && frames.send(frames::RST_STREAM, 0, stream, &8u32.to_be_bytes()))
    });
    let told = frames.until(frames::GOAWAY);
    assert!(is_closed || told.is_some(), "the connection is ended");
    if let Some(told) = told {
        assert_eq!(told.code(), frames::ENHANCE_YOUR_CALM);
    }
    assert_eq!(call(&world, &get("/api", &uuid)).status, 200, "others are served");
    assert!(api.seen().len() < 1_000, "{} calls were made for nobody", api.seen().len());
}

#[test]
fn more_streams_than_are_allowed_are_refused_unserved() {
    let api = FakeApi::start(|mut caller| while caller.request().is_some() {});
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let mut frames = Frames::open(world.running().addresses().gateway.unwrap());
    let block = head("GET", &uuid, &[]);
    for number in 0..300u32 {
        frames.send(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, 2 * number + 1, &block);
    }
    for _ in 0..44 {
        let reset = frames.until(frames::RST_STREAM).expect("it is told");
        assert_eq!(reset.code(), frames::REFUSED_STREAM);
        assert!(reset.stream > 2 * 256, "{}", reset.stream);
    }
}

#[test]
fn calls_at_once_are_bounded_over_all_connections() {
    let api = FakeApi::start(|mut caller| while caller.request().is_some() {});
    let world = plan(&api, "").set("limits", "connections", "6").start();
    let uuid = uuid(&world);
    on_http2(&world, async |sender| {
        let refused = (0..20).map(|_| {
            let (mut sender, request) = (sender.clone(), getting("/api", &uuid));
            async move {
                let answer = ask(&mut sender, request).await;
                is_refused(&answer, 502, "3003000");
            }
        });
        let mut all: futures_util::stream::FuturesUnordered<_> = refused.collect();
        // One place is this connection's; the login's may not be free yet.
        for _ in 0..15 {
            futures_util::StreamExt::next(&mut all).await.expect("refused at once");
        }
    });
    eventually("the API has taken the others", || api.connections() > 0);
    assert!(api.connections() <= 5, "{}", api.connections());
    assert!(!world.log("more calls at once").is_empty());
}

/// Most clients read when they have sent everything: of a stream that is reset meanwhile they hear no answer.
#[test]
fn whoever_is_refused_while_he_sends_a_body_is_heard_out() {
    const PART: usize = 16 << 10;
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let mut frames = Frames::open(world.running().addresses().gateway.unwrap());
    frames.send(frames::HEADERS, frames::END_HEADERS, 1, &head("POST", "none-of-ours", &[]));
    // RFC 9113 section 6.9.2: our settings do not count before he has taken notice of them.
    let (mut stream, mut connection, mut is_refused) = (65_535, 65_535, false);
    for _ in 0..64 {
        while !is_refused || stream.min(connection) < PART {
            let frame = frames.next().expect("it is open");
            is_refused |= frame.kind == frames::DATA && frame.body.starts_with(b"{");
            assert_ne!(frame.kind, frames::RST_STREAM, "he is cut short");
            if frame.kind == frames::WINDOW_UPDATE {
                let more = usize::try_from(u32::from_be_bytes(frame.body[..4].try_into().unwrap())).unwrap();
                *if frame.stream == 1 { &mut stream } else { &mut connection } += more;
            }
        }
        assert!(frames.send(frames::DATA, 0, 1, &[b'x'; PART]));
        (stream, connection) = (stream - PART, connection - PART);
    }
    assert!(frames.send(frames::DATA, frames::END_STREAM, 1, b""));
    assert!(frames.send(frames::PING, 0, 0, b"anything"));
    let rest =
        std::iter::from_fn(|| frames.next()).find(|frame| [frames::PING, frames::RST_STREAM].contains(&frame.kind));
    assert_eq!(rest.unwrap().kind, frames::PING);
}

#[test]
fn whoever_is_heard_out_takes_up_his_place_until_then() {
    let api = FakeApi::good();
    let world = plan(&api, "").set("limits", "connections", "6").start();
    let uuid = uuid(&world);
    let mut frames = Frames::open(world.running().addresses().gateway.unwrap());
    let refused: Vec<u32> = (1..12).step_by(2).collect();
    for stream in &refused {
        frames.send(frames::HEADERS, frames::END_HEADERS, *stream, &head("POST", "none-of-ours", &[]));
        assert!(frames.until(frames::DATA).unwrap().body.starts_with(b"{"), "it is refused, this way or that");
    }
    let called = |frames: &mut Frames, stream| {
        frames.send(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, stream, &head("GET", &uuid, &[]));
        frames.until(frames::DATA).unwrap().body == b"good"
    };
    assert!(!called(&mut frames, 101), "all places are taken");
    for stream in refused {
        frames.send(frames::DATA, frames::END_STREAM, stream, b"");
    }
    let mut stream = 101;
    eventually("there is a place again", || {
        stream += 2;
        called(&mut frames, stream)
    });
}

#[test]
fn a_drain_finishes_what_is_under_way_and_takes_nothing_more() {
    let (say, asked) = channel::<()>();
    let (open, gate) = channel::<()>();
    let (say, gate) = (Mutex::new(say), Mutex::new(gate));
    let api = FakeApi::start(move |mut caller| {
        while caller.request().is_some() {
            say.lock().send(()).unwrap();
            let _ = gate.lock().recv();
            caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
        }
    });
    let mut world = plan(&api, "").start();
    let uuid = uuid(&world);
    let mut frames = Frames::open(world.running().addresses().gateway.unwrap());
    let block = head("GET", &uuid, &[]);
    frames.send(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, 1, &block);
    asked.recv_timeout(PATIENCE).unwrap();
    world.running().stop();
    assert_eq!(frames.until(frames::GOAWAY).expect("it is told").code(), 0);
    open.send(()).unwrap();
    assert_eq!(frames.until(frames::DATA).expect("it is finished").body, b"good");
    while frames.next().is_some() {}
    world.end();
}

#[test]
fn an_idle_connection_is_told_to_go_and_closed() {
    let api = FakeApi::good();
    let world = plan(&api, "").set("limits", "head_timeout", "\"200ms\"").start();
    let uuid = uuid(&world);
    let mut frames = Frames::open(world.running().addresses().gateway.unwrap());
    frames.send(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, 1, &head("GET", &uuid, &[]));
    assert_eq!(frames.until(frames::DATA).unwrap().body, b"good");
    assert_eq!(frames.until(frames::GOAWAY).expect("it is told").code(), 0);
    while frames.next().is_some() {}
}

#[test]
fn a_connection_in_the_middle_of_an_answer_is_not_idle() {
    let (open, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let api = FakeApi::start(move |mut caller| {
        caller.request();
        caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngo");
        let _ = gate.lock().recv();
        caller.say(b"od");
    });
    let world = plan(&api, "").set("limits", "head_timeout", "\"200ms\"").start();
    let uuid = uuid(&world);
    let opened = || Frames::open(world.running().addresses().gateway.unwrap());
    let mut busy = opened();
    busy.send(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, 1, &head("GET", &uuid, &[]));
    assert_eq!(busy.until(frames::DATA).unwrap().body, b"go");
    for _ in 0..3 {
        opened().until(frames::GOAWAY).expect("one that is idle is told to go");
    }
    open.send(()).unwrap();
    let next = busy.next().expect("it goes on");
    assert_eq!((next.kind, next.body), (frames::DATA, b"od".to_vec()));
    busy.until(frames::GOAWAY).expect("it is idle now");
}

#[test]
fn a_stream_that_nobody_reads_does_not_hold_an_idle_connection() {
    let api = FakeApi::start(|mut caller| {
        caller.request();
        caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        caller.say(&vec![b'x'; 1_000_000]);
    });
    let world =
        plan(&api, "").set("limits", "head_timeout", "\"200ms\"").set("gateway", "idle_timeout", "\"200ms\"").start();
    let uuid = uuid(&world);
    let mut frames = Frames::open(world.running().addresses().gateway.unwrap());
    frames.send(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, 1, &head("GET", &uuid, &[]));
    // The window of 64 KiB is never opened further.
    let mut left = 65_535;
    while left > 0 {
        left -= frames.until(frames::DATA).expect("the API's answer").body.len();
    }
    while frames.next().is_some() {}
}

/// However short they are: windows that stay shut would take up for good what there is for all callers.
#[test]
fn answers_that_nobody_reads_keep_no_place_from_others_and_hold_no_idle_connection() {
    let api = FakeApi::good();
    // Of that one byte goes out, and all the rest is out of our hands by that.
    for (idle, window) in [("60s", 0_u32), ("60s", 1), ("200ms", 0), ("200ms", 1)] {
        let plan =
            plan(&api, "").set("limits", "connections", "6").set("limits", "head_timeout", &format!("\"{idle}\""));
        let world = plan.set("gateway", "idle_timeout", "\"200ms\"").start();
        let uuid = uuid(&world);
        let mut frames = Frames::open(world.running().addresses().gateway.unwrap());
        let hardly_any = [&4_u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
        frames.send(frames::SETTINGS, 0, 0, &hardly_any);
        for stream in [1, 3, 5, 7, 9] {
            frames.send(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, stream, &head("GET", &uuid, &[]));
            frames.until(frames::HEADERS).expect("there is an answer");
        }
        eventually("others are served", || {
            let mut other = connect(&world);
            other.write(&get("/api", &uuid));
            other.reply().is_some()
        });
        while idle == "200ms" && frames.next().is_some() {}
    }
}

/// RFC 9110 section 9.3.2. A client that gets a body all the same takes the stream for broken, and says nothing of the refusal.
#[test]
fn a_refusal_of_a_head_request_has_its_length_and_no_body() {
    let world = plan(&FakeApi::good(), "").start();
    let addresses = world.running().addresses();
    for door in [addresses.gateway.unwrap(), addresses.authz.unwrap()] {
        block_on(async {
            let stream = TcpStream::connect(door).await.unwrap();
            let ask_both = async |mut sender: Sender| {
                let get = ask(&mut sender, getting("/none", "none")).await;
                let mut head = getting("/none", "none");
                *head.method_mut() = http::Method::HEAD;
                (get, ask(&mut sender, head).await)
            };
            let (get, head) = speaking(stream, ask_both).await;
            assert_eq!((head.status, head.body.len(), get.body.is_empty()), (get.status, 0, false), "{door}");
            assert_eq!(head.headers["content-length"], get.headers["content-length"]);
            assert_eq!(head.headers["x-ca-err"], get.headers["x-ca-err"]);
        });
    }
}

/// docs/adr/0010: hyper leaves no place to say 100, so whoever waits for that has to lose patience (RFC 9110 section 10.1.1).
#[test]
fn whoever_expects_a_word_before_its_body_hears_the_answer_alone() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let expecting = head("POST", &uuid(&world), &[("content-length", "3"), ("expect", "100-continue")]);
    let mut client = Frames::open(world.running().addresses().gateway.unwrap());
    client.send(frames::HEADERS, frames::END_HEADERS, 1, &expecting);
    client.send(frames::DATA, frames::END_STREAM, 1, b"abc");
    let answer = client.until(frames::HEADERS).expect("there is an answer");
    assert_eq!(answer.body[0], 0x88, "its first head is the final one: `:status: 200`, as HPACK has it");
    assert_eq!((api.only().body.as_slice(), api.only().header("expect")), (b"abc".as_slice(), None));
}

/// As over HTTP/1.1 (`wire`), where the connection is the call's own: it is not idle while a request is still on its way.
#[test]
fn the_rest_of_a_request_that_was_answered_early_keeps_its_place_and_its_connection() {
    let (say, heard) = channel::<bool>();
    let say = Mutex::new(say);
    let api = FakeApi::start(move |mut caller| {
        let mut line = String::new();
        while !line.ends_with("\r\n\r\n") {
            std::io::BufRead::read_line(&mut caller.stream, &mut line).unwrap();
        }
        caller.say(b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nearly");
        let is_whole = std::io::Read::read_exact(&mut caller.stream, &mut [0; 4]).is_ok();
        let _ = say.lock().send(is_whole);
    });
    let world = plan(&api, "").set("limits", "connections", "3").set("limits", "head_timeout", "\"300ms\"").start();
    let uuid = uuid(&world);
    let door = world.running().addresses().gateway.unwrap();
    let mut early = Frames::open(door);
    early.send(frames::HEADERS, frames::END_HEADERS, 1, &head("POST", &uuid, &[("content-length", "4")]));
    early.send(frames::DATA, 0, 1, b"bo");
    assert_eq!(early.until(frames::DATA).expect("there is an answer").body, b"early");
    let mut other = Frames::open(door);
    other.send(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, 1, &head("GET", &uuid, &[]));
    eventually("two connections and the request take all there is", || !world.log("more calls at once").is_empty());
    while other.next().is_some() {}
    early.send(frames::DATA, frames::END_STREAM, 1, b"dy");
    assert!(heard.recv_timeout(PATIENCE).unwrap(), "the API has read all of it");
    while early.next().is_some() {}
    assert_eq!(api.connections(), 1);
}
