//! What an API says before its answer (RFC 9110 section 15.2).

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{connect, get, http2, plan, until, uuid};
use crate::support::tls::Authority;
use crate::support::{Connection, FakeApi, PATIENCE};

const PASS: &str = ", interim_responses = \"pass\"";

const HINT: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\nX-NAME: \xff\r\nConnection: x-mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nContent-Length: 9\r\n\r\n";
const SAID: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nX-Name: \xff\r\n\r\n";

/// An API that hints, and answers each call once it is told to.
fn hinting() -> (FakeApi, Sender<()>) {
    let (go_on, told) = channel();
    let told = Mutex::new(told);
    let api = FakeApi::start(move |mut caller| {
        while caller.request().is_some() {
            caller.say(HINT);
            told.lock().recv_timeout(PATIENCE).expect("the hint was read");
            caller.say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 On My Way\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
        }
    });
    (api, go_on)
}

/// The whole of two answers on one connection: the hint while the API still works, then the rest.
fn two_answers(connection: &mut Connection<impl std::io::Read + Write>, request: &[u8], go_on: &Sender<()>) {
    for _ in 0..2 {
        assert!(connection.write(request));
        assert_eq!(connection.next_bytes(SAID.len()), SAID);
        go_on.send(()).unwrap();
        let rest = connection.reply().unwrap();
        assert_eq!(rest.head, "HTTP/1.1 102 On My Way", "and not 100, which nobody had asked for");
        let answer = connection.reply().unwrap();
        assert_eq!((answer.status, answer.body.as_str(), answer.header("link")), (200, "good", None));
    }
}

#[test]
fn a_route_that_passes_them_has_the_client_hear_them_while_the_api_works() {
    let (api, go_on) = hinting();
    let world = plan(&api, PASS).start();
    let request = get("/api", &uuid(&world));
    two_answers(&mut connect(&world), &request, &go_on);
    assert_eq!(api.connections(), 1, "its connection is used again");
}

#[test]
fn they_are_passed_over_tls_too() {
    let (api, go_on) = hinting();
    let authority = Authority::new();
    let tls = "{ certificate = \"server.pem\", key = \"server.key\" }";
    let mut world = plan(&api, PASS).set("tls", "gateway", tls).files();
    let (certificate, key) = authority.shown("localhost", None).pem();
    fs::write(world.path().join("server.pem"), certificate).unwrap();
    fs::write(world.path().join("server.key"), key).unwrap();
    world.begin();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let stream = TcpStream::connect(world.running().addresses().gateway.unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    two_answers(&mut Connection::over(StreamOwned::new(session, stream)), &get("/api", &uuid(&world)), &go_on);
}

#[test]
fn hints_and_answers_to_calls_sent_ahead_come_in_their_order() {
    let api =
        FakeApi::saying(b"HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
    let world = plan(&api, PASS).start();
    let mut connection = connect(&world);
    connection.write(&get("/api", &uuid(&world)).repeat(5));
    for _ in 0..5 {
        let said = [connection.reply().unwrap(), connection.reply().unwrap()].map(|reply| reply.status);
        assert_eq!(said, [103, 200]);
    }
}

#[test]
fn neither_clients_of_http_1_0_nor_of_http_2_hear_any() {
    let api =
        FakeApi::saying(b"HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
    let world = plan(&api, PASS).start();
    let uuid = uuid(&world);
    let old = String::from_utf8(get("/api", &uuid)).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    let reply = connect(&world).ask(old.as_bytes());
    assert_eq!((reply.status, reply.body.as_str()), (200, "good"));
    http2::on_http2(&world, async |mut sender: http2::Sender| {
        let answer = http2::ask(&mut sender, http2::getting("/api", &uuid)).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, b"good".as_slice()));
        assert!(answer.headers.get("x").is_none(), "{answer:?}");
    });
}

#[test]
fn without_an_end_they_end_with_the_time_of_the_answer_however_slowly_they_are_read() {
    let api = FakeApi::start(|mut caller| {
        caller.request();
        while caller.stream.get_mut().write_all(b"HTTP/1.1 102 Processing\r\nX: 1\r\n\r\n").is_ok() {}
    });
    let world = plan(&api, PASS).set("gateway", "timeout", "\"500ms\"").start();
    let mut stream = super::open(&world);
    stream.write_all(&get("/api", &uuid(&world))).unwrap();
    until(&mut stream, "HTTP/1.1 102 Processing\r\nX: 1\r\n\r\n");
    let said = until(&mut stream, "}");
    let last = said.rfind("HTTP/1.1 ").expect("the last one");
    assert!(said[last..].starts_with("HTTP/1.1 504 "), "{}", &said[last..]);
}
