//! The old server is down, slow, says too much, or breaks off.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;

use super::{plan, world};
use crate::support::pem::pem;
use crate::support::{FakeOld, OLD_ID, OLD_SECRET, OldMood, Plan, RawReply, TOKEN, World, client, passport, post};

fn ask(world: &World) -> RawReply {
    world.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)))
}

fn refused(world: &World, word: &str, sentence: &str) {
    let reply = ask(world);
    assert_eq!(reply.said(), (500, "server_error".to_owned()));
    assert_eq!(reply.header("x-ca-err").as_deref(), Some("3003000"));
    let name = format!("passbridge_old_server_total{{client=\"{OLD_ID}\",answer=\"{word}\"}}");
    assert_eq!(world.metric(&name), 1.0, "{}", world.ops("/metrics").body);
    assert_eq!(world.metric(&format!("passbridge_faults_total{{client=\"{OLD_ID}\",fault=\"upstream\"}}")), 1.0);
    let line = world.log(sentence).pop().unwrap_or_else(|| panic!("no line says {sentence}"));
    assert_eq!((&line["old_server"], &line["level"]), (&word.into(), &"WARN".into()), "{line}");
}

#[test]
fn an_old_server_that_is_down_is_a_server_error_and_told() {
    // No system hands this port out by itself.
    let plan = Plan::new().without_clients().set("otk", "url", "\"http://127.0.0.1:1\"");
    let world = plan.client(&client(OLD_ID, "stage = \"legacy\"")).start();
    refused(&world, "down", "the old server cannot be reached");
}

#[test]
fn an_old_server_that_is_slow_is_not_waited_for_and_not_asked_twice() {
    let old = FakeOld::start();
    let world = plan(&old).set("otk", "timeout", "\"100ms\"").client(&client(OLD_ID, "stage = \"legacy\"")).start();
    old.next(OldMood::Hangs);
    refused(&world, "slow", "did not answer within 100ms (`otk.timeout`)");
    assert_eq!(old.count(), 1);
    let next = world.connect().ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    assert_eq!(next.status, 200, "the next request is another");
}

#[test]
fn an_answer_that_is_too_long_is_not_passed_on_whether_or_not_it_says_so() {
    let old = FakeOld::start();
    let told = world(&old, "legacy");
    old.next(OldMood::Long(1024 * 1024 + 1));
    refused(&told, "huge", "longer than 1048576 bytes");
    old.next(OldMood::Long(1024 * 1024));
    assert_eq!(told.connect().ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))).body.len(), 1024 * 1024);
    let untold = world(&old, "legacy");
    let endless = [b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), vec![b'x'; 1024 * 1024 + 1]].concat();
    old.next(OldMood::SaysAndCloses(endless));
    refused(&untold, "huge", "longer than 1048576 bytes");
}

#[test]
fn an_answer_that_breaks_off_is_a_server_error_and_the_request_is_not_sent_again() {
    let old = FakeOld::start();
    for broken in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b"no HTTP\r\n\r\n"] {
        let world = world(&old, "legacy");
        let before = old.count();
        old.next(OldMood::SaysAndCloses(broken.to_vec()));
        refused(&world, "broken", "the old server's answer broke off");
        assert_eq!(old.count(), before + 1, "{:?}", String::from_utf8_lossy(broken));
    }
}

#[test]
fn interim_answers_without_end_are_given_up_before_the_time_is_over() {
    let old = FakeOld::start();
    let world = world(&old, "legacy");
    let interim = b"HTTP/1.1 102 P\r\n\r\n";
    let told = b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\n{}";
    old.next(OldMood::Says([interim.repeat(100), told.to_vec()].concat()));
    assert_eq!(ask(&world).body, "{}");
    let before = old.count();
    old.next(OldMood::Says(interim.repeat(100_000)));
    refused(&world, "broken", "more than 100 interim answers (1xx)");
    assert_eq!(old.count(), before + 1);
    let next = world.connect().ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    assert_eq!(next.status, 200, "on a connection of its own");
}

#[test]
fn a_request_that_meets_a_closing_connection_is_never_sent_twice() {
    let old = FakeOld::start();
    let world = world(&old, "legacy");
    for _ in 0..20 {
        // Its answer promises to keep the connection, which then is closed.
        old.next(OldMood::SaysAndCloses(
            b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
        ));
        let before = old.count();
        let reply = ask(&world);
        assert!(reply.status == 200 || reply.status == 500, "{}", reply.status);
        assert!(old.count() <= before + 1, "nothing is sent twice");
    }
}

#[test]
fn an_old_server_behind_tls_is_spoken_to_only_where_its_certificate_is_trusted() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    passbridge::server::provide_tls();
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("\"https://localhost:{}\"", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
            let mut heard = [0; 4096];
            if stream.read(&mut heard).is_ok_and(|read| read > 0) {
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
                );
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    let plan = || Plan::new().without_clients().set("otk", "url", &url).client(&client(OLD_ID, "stage = \"legacy\""));
    let world = plan().set("otk", "ca", "\"old-ca.pem\"").files();
    fs::write(world.path().join("old-ca.pem"), pem("CERTIFICATE", made.cert.der())).unwrap();
    let mut world = world;
    world.begin();
    assert_eq!(ask(&world).body, "{}");
    refused(
        &plan().start(),
        "down",
        "the old server cannot be reached: nobody who is trusted vouches for its certificate",
    );
}

#[test]
fn a_connection_that_is_five_minutes_old_is_not_used_for_another_request() {
    let old = FakeOld::start();
    let world = world(&old, "legacy");
    for opened in [1, 2, 3] {
        for _ in 0..100 {
            let answered = world.connect().ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
            assert_eq!((answered.status, old.connections()), (200, opened));
            // It is not idle for long.
            world.turn(3);
        }
    }
}

#[test]
fn an_old_connection_is_better_than_none_and_then_for_as_long_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("\"http://{}\"", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Nobody else gets in.
        drop(listener);
        let (mut heard, mut length) = (BufReader::new(stream.try_clone().unwrap()), 0);
        let mut line = String::new();
        while heard.read_line(&mut line).unwrap() > 0 {
            let said = std::mem::take(&mut line).to_ascii_lowercase();
            if let Some(told) = said.strip_prefix("content-length:") {
                length = told.trim().parse().unwrap();
            }
            if said == "\r\n" {
                heard.read_exact(&mut vec![0; length]).unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\n{}").unwrap();
            }
        }
    });
    let plan = Plan::new().without_clients().set("otk", "url", &url);
    let world = plan.client(&client(OLD_ID, "stage = \"legacy\"")).start();
    for _ in 0..250 {
        assert_eq!(ask(&world).body, "{}");
        world.turn(3);
    }
}
