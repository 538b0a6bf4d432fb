//! TLS of the listeners: spoken, asked for a client's certificate, exchanged on reload.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion};
use tokio::sync::Notify;

use crate::support::pem::pem;
use crate::support::program::Program;
use crate::support::{
    Connection, FakeApi, Granting, Mood, OLD_ID, OLD_SECRET, PATIENCE, Plan, RawReply, TOKEN, World, eventually,
    passport, post,
};

struct Made {
    certificate: String,
    key: String,
    der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

fn make() -> Made {
    named("somebody")
}

/// A certificate that vouches for itself under this name.
fn named(name: &str) -> Made {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    made(&params)
}

/// One that ends when a year begins.
fn until(year: i32) -> Made {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    made(&params)
}

fn made(params: &rcgen::CertificateParams) -> Made {
    let key = rcgen::KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    let (der, key_der) = (made.der().clone(), key.serialize_der());
    Made { certificate: pem("CERTIFICATE", &der), key: pem("PRIVATE KEY", &key_der), der, key_der }
}

fn world(server: &Made, client_ca: Option<&Made>) -> World {
    spoken_at(Plan::new(), "legacy", server, client_ca)
}

fn spoken_at(plan: Plan, listener: &str, server: &Made, client_ca: Option<&Made>) -> World {
    let mut world = to_be_spoken_at(plan, listener, server, client_ca);
    world.begin();
    world
}

fn to_be_spoken_at(plan: Plan, listener: &str, server: &Made, client_ca: Option<&Made>) -> World {
    let ca = client_ca.map_or_else(String::new, |_| ", client_ca = \"ca.pem\"".to_owned());
    let tls = format!("{{ certificate = \"server.pem\", key = \"server.key\"{ca} }}");
    let world = plan.set("tls", listener, &tls).files();
    put(&world, server);
    if let Some(ca) = client_ca {
        fs::write(world.path().join("ca.pem"), &ca.certificate).unwrap();
    }
    world
}

fn put(world: &World, server: &Made) {
    fs::write(world.path().join("server.pem"), &server.certificate).unwrap();
    fs::write(world.path().join("server.key"), &server.key).unwrap();
}

/// Logs in over TLS; nothing where the other side is not whom we trust, or does not trust us.
fn login(world: &World, trusted: &Made, own: Option<&Made>) -> Option<u16> {
    let reply = ask(world.legacy(), (trusted, own), &post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    reply.map(|reply| world.checked(reply).status)
}

fn open(address: SocketAddr, (trusted, own): (&Made, Option<&Made>)) -> StreamOwned<ClientConnection, TcpStream> {
    over(address, client(trusted, own))
}

fn over(address: SocketAddr, config: ClientConfig) -> StreamOwned<ClientConnection, TcpStream> {
    by(address, &Arc::new(config))
}

/// What was agreed on by one of these is remembered for the next.
fn by(address: SocketAddr, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let client = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(client, stream)
}

fn client(trusted: &Made, own: Option<&Made>) -> ClientConfig {
    speaking(rustls::DEFAULT_VERSIONS, trusted, own)
}

fn speaking(versions: &[&'static SupportedProtocolVersion], trusted: &Made, own: Option<&Made>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let config = ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots);
    match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::try_from(own.key_der.clone()).unwrap();
            config.with_client_auth_cert(vec![own.der.clone()], key).unwrap()
        }
    }
}

/// Asks over TLS.
fn ask(address: SocketAddr, who: (&Made, Option<&Made>), request: &[u8]) -> Option<RawReply> {
    let mut connection = Connection::over(open(address, who));
    if connection.write(request) { connection.reply() } else { None }
}

#[test]
fn a_login_over_tls_is_a_login() {
    let server = make();
    let world = world(&server, None);
    assert_eq!(login(&world, &server, None), Some(200));
    assert_eq!(login(&world, &make(), None), None, "a client that trusts another does not speak to us");
}

#[test]
fn a_clients_certificate_is_asked_for_where_a_ca_is_configured() {
    let (server, ca) = (make(), make());
    let world = world(&server, Some(&ca));
    assert_eq!(login(&world, &server, Some(&ca)), Some(200));
    assert_eq!(login(&world, &server, None), None);
    assert_eq!(login(&world, &server, Some(&make())), None);
}

/// A session that is resumed shows no certificate: one that is over would go on to let its client in.
#[test]
fn a_client_that_shows_a_certificate_shows_it_at_each_connection_and_others_resume_their_session() {
    let (server, ca) = (make(), make());
    for (client_ca, expected) in [(Some(&ca), HandshakeKind::Full), (None, HandshakeKind::Resumed)] {
        let world = world(&server, client_ca);
        for version in [&TLS12, &TLS13] {
            let config = Arc::new(speaking(&[version], &server, client_ca));
            let ask = || {
                let mut stream = by(world.legacy(), &config);
                stream.write_all(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))).unwrap();
                // A session that is offered comes with the answer.
                assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                stream.conn.handshake_kind()
            };
            assert_eq!(ask(), Some(HandshakeKind::Full));
            assert_eq!(ask(), Some(expected), "{version:?}, asked for a certificate: {}", client_ca.is_some());
        }
    }
}

#[test]
fn a_reload_shows_the_next_certificate_and_a_wrong_one_is_refused() {
    let (first, second) = (make(), make());
    let world = world(&first, None);
    put(&world, &second);
    world.running().reload().unwrap();
    assert_eq!(login(&world, &second, None), Some(200));
    fs::write(world.path().join("server.key"), &first.key).unwrap();
    let findings = world.running().reload().unwrap_err().findings;
    assert!(findings.iter().any(|found| found.code == "unfit-certificate"), "{findings:?}");
    assert_eq!(login(&world, &second, None), Some(200), "the last good one is shown");
}

#[test]
fn when_the_certificate_in_use_ends_is_shown() {
    let server = until(2060);
    let world = world(&server, None);
    let ends = || world.metric("passbridge_certificate_not_after_timestamp_seconds{listener=\"legacy\"}").to_string();
    assert_eq!(ends(), "2840140800");
    put(&world, &until(2061));
    world.running().reload().unwrap();
    assert_eq!(ends(), "2871763200");
    fs::write(world.path().join("server.key"), &server.key).unwrap();
    world.running().reload().unwrap_err();
    assert_eq!(ends(), "2871763200", "the last good one is shown");
    let metrics = world.ops("/metrics").body;
    assert!(!metrics.contains("timestamp_seconds{listener=\"ops\"}"), "it shows none");
    let failed = "passbridge_handshakes_failed_total{listener=\"legacy\",cause=\"no_tls\"}";
    assert!(metrics.contains(&format!("\n{failed} 0\n")), "counted from the start: {metrics}");
}

#[test]
fn a_reload_begins_and_ceases_to_ask_for_a_clients_certificate_and_says_nothing_else() {
    let (server, ca) = (make(), make());
    let mut world = world(&server, Some(&ca));
    let with = "{ certificate = \"server.pem\", key = \"server.key\", client_ca = \"ca.pem\" }";
    for (tls, served) in [(with.replace(", client_ca = \"ca.pem\"", ""), Some(200)), (with.to_owned(), None)] {
        world.change("tls", "legacy", &tls);
        world.running().reload().unwrap();
        assert!(world.log("needs_restart").iter().all(|line| line["section"] != "tls"), "{tls}");
        assert_eq!(login(&world, &server, None), served, "{tls}");
        assert_eq!(login(&world, &server, Some(&ca)), Some(200));
    }
}

/// A connection that was let in, and has been answered.
fn kept(
    address: SocketAddr,
    who: (&Made, Option<&Made>),
    request: &[u8],
) -> Connection<StreamOwned<ClientConnection, TcpStream>> {
    let mut connection = Connection::over(open(address, who));
    assert!(connection.write(request));
    assert_eq!(connection.reply().unwrap().status, 200);
    connection
}

#[test]
fn whoever_was_let_in_by_an_authority_that_a_reload_takes_away_is_closed_and_nobody_is_by_another_certificate() {
    let (server, first, second, api) = (make(), make(), make(), FakeApi::good());
    for listener in ["legacy", "gateway", "authz"] {
        let (world, address, request) = if listener == "legacy" {
            let world = world(&server, Some(&first));
            let address = world.legacy();
            (world, address, post(TOKEN, &passport(OLD_ID, OLD_SECRET)))
        } else {
            let (world, address) = gateway(&api, listener, &server, Some(&first));
            let request = with_token(&world);
            (world, address, request)
        };
        let mut before = kept(address, (&server, Some(&first)), &request);
        let next = make();
        put(&world, &next);
        world.running().reload().unwrap();
        assert!(before.write(&request));
        assert_eq!(before.reply().unwrap().status, 200, "{listener}: the same authority vouches for him");
        fs::write(world.path().join("ca.pem"), &second.certificate).unwrap();
        world.running().reload().unwrap();
        assert!(before.is_closed(), "{listener}");
        drop(kept(address, (&next, Some(&second)), &request));
    }
}

#[test]
fn whoever_is_being_answered_when_his_authority_is_taken_away_hears_the_answer() {
    let (server, ca) = (make(), make());
    let mut world = world(&server, Some(&ca));
    let gate = Arc::new(Notify::new());
    world.realm.next(Mood::Gate(Arc::clone(&gate), Box::new(Mood::Grant(Granting::default()))));
    let mut busy = Connection::over(open(world.legacy(), (&server, Some(&ca))));
    assert!(busy.write(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))));
    eventually("the realm is asked", || world.realm.count() == 1);
    fs::write(world.path().join("ca.pem"), &make().certificate).unwrap();
    world.running().reload().unwrap();
    gate.notify_one();
    let reply = busy.reply().unwrap();
    assert_eq!(world.checked(reply).status, 200);
    assert!(busy.is_closed());
    world.end();
}

/// A world with a gateway and questions, one of them over TLS.
fn gateway(api: &FakeApi, listener: &str, server: &Made, client_ca: Option<&Made>) -> (World, SocketAddr) {
    let route = format!("[{{ prefix = \"/api\", upstream = \"{}\" }}]", api.url());
    let plan = Plan::new().set("listen", listener, "\"127.0.0.1:0\"").set("gateway", "route", &route);
    let world = spoken_at(plan, listener, server, client_ca);
    let addresses = world.running().addresses();
    let address = addresses.gateway.or(addresses.authz).unwrap();
    (world, address)
}

fn with_token(world: &World) -> Vec<u8> {
    let uuid = world.login().text("access_token");
    format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {uuid}\r\n\r\n").into_bytes()
}

#[test]
fn api_calls_and_questions_over_tls_are_answered() {
    let (server, api) = (make(), FakeApi::good());
    for (listener, body) in [("gateway", "good"), ("authz", "")] {
        let (world, address) = gateway(&api, listener, &server, None);
        let request = with_token(&world);
        let reply = ask(address, (&server, None), &request).unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (200, body), "{listener}");
        assert!(
            ask(address, (&make(), None), &request).is_none(),
            "{listener}: who trusts another does not speak to us"
        );
        assert_eq!(ask(address, (&server, None), b"GET\r\n\r\n").unwrap().said(), (400, "invalid_request".to_owned()));
        let mut clear = TcpStream::connect(address).unwrap();
        clear.set_read_timeout(Some(PATIENCE)).unwrap();
        clear.write_all(&request).unwrap();
        let mut said = Vec::new();
        let _closed = clear.read_to_end(&mut said);
        assert!(!said.starts_with(b"HTTP"), "{listener}: clear text is not answered");
    }
    assert_eq!(api.only().header("x-forwarded-proto").as_deref(), Some("https"));
}

/// Old clients may say by TLS that they speak HTTP/1.0 alone.
#[test]
fn a_client_that_offers_http_1_0_is_served_and_one_that_offers_nothing_known_is_told() {
    let (server, api) = (make(), FakeApi::good());
    let offers = |address, protocol: &[u8]| {
        let mut config = client(&server, None);
        config.alpn_protocols = vec![b"http/0.9".to_vec(), protocol.to_vec()];
        Connection::over(over(address, config))
    };
    for listener in ["gateway", "authz"] {
        let (world, address) = gateway(&api, listener, &server, None);
        let mut old = offers(address, b"http/1.0");
        let request = String::from_utf8(with_token(&world)).unwrap().replace("HTTP/1.1", "HTTP/1.0");
        assert!(old.write(request.as_bytes()), "{listener}");
        assert_eq!(old.reply().map(|reply| reply.status), Some(200), "{listener}");
        let mut odd = offers(address, b"spdy/1");
        let _failed = odd.write(request.as_bytes());
        let is_told = |line: &serde_json::Value| {
            (&line["listener"], &line["cause"]) == (&listener.into(), &"nothing_in_common".into())
                && line["detail"].as_str().unwrap().contains("ALPN")
        };
        eventually("it is told", || world.log("handshake_failed").iter().any(is_told));
    }
}

/// By TLS itself a cut is told too; many clients do not listen to that.
#[test]
fn an_answer_that_is_cut_is_no_whole_one_over_tls_either() {
    let server = make();
    let api = FakeApi::closing(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n");
    let (world, address) = gateway(&api, "gateway", &server, None);
    let request = String::from_utf8(with_token(&world)).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    let mut stream = open(address, (&server, None));
    stream.write_all(request.as_bytes()).unwrap();
    let ended = stream.read_to_end(&mut Vec::new());
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn api_calls_and_questions_show_a_clients_certificate_where_a_ca_is_configured() {
    let (server, ca, api) = (make(), make(), FakeApi::good());
    for listener in ["gateway", "authz"] {
        let (world, address) = gateway(&api, listener, &server, Some(&ca));
        let request = with_token(&world);
        assert_eq!(ask(address, (&server, Some(&ca)), &request).unwrap().status, 200, "{listener}");
        assert!(ask(address, (&server, None), &request).is_none(), "{listener}");
        assert!(ask(address, (&server, Some(&make())), &request).is_none(), "{listener}");
    }
}

#[test]
fn a_reload_shows_api_calls_the_next_certificate() {
    let (first, second, api) = (make(), make(), FakeApi::good());
    for listener in ["gateway", "authz"] {
        let (world, address) = gateway(&api, listener, &first, None);
        put(&world, &second);
        world.running().reload().unwrap();
        assert_eq!(ask(address, (&second, None), &with_token(&world)).unwrap().status, 200, "{listener}");
    }
}

#[test]
fn who_has_not_finished_shaking_hands_does_not_hold_up_the_end() {
    let server = make();
    let mut world = world(&server, None);
    let mut silent = Connection::open(world.legacy());
    assert_eq!(login(&world, &server, None), Some(200), "whoever came before is there too");
    let began = Instant::now();
    world.end();
    assert!(silent.is_closed());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}; `server.drain` is 30 s", began.elapsed());
}

/// How many handshakes have failed at the listener of legacy clients: in all, or of one cause.
fn failed(program: &Program, cause: &str) -> u64 {
    let begin = format!("passbridge_handshakes_failed_total{{listener=\"legacy\",cause=\"{cause}");
    let text = program.told("/metrics").body;
    text.lines().filter_map(|line| line.strip_prefix(&begin)?.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Says this much, and breaks off.
fn break_off(program: &Program, said: &[u8]) {
    let mut caller = Connection::open(program.legacy);
    assert!(caller.write(said));
    caller.half_close();
    // An alert, or nothing.
    let _answered = caller.is_closed();
}

/// The beginning of a handshake.
const BEGUN: [u8; 6] = [22, 3, 1, 0, 200, 1];

#[test]
fn whom_tls_turns_away_and_why_is_told_once_and_counted_each_time() {
    let (server, ca) = (make(), make());
    let world = to_be_spoken_at(Plan::new(), "legacy", &server, Some(&ca));
    let program = Program::serve(&world);
    // Who looks whether somebody listens.
    break_off(&program, b"");
    let request = post(TOKEN, &passport(OLD_ID, OLD_SECRET));
    let stranger = named("a stranger");
    for count in 1..=2 {
        for (trusted, own, cause) in [
            (&server, None, "no_certificate"),
            (&server, Some(&stranger), "certificate_refused"),
            (&stranger, Some(&ca), "caller_refused"),
        ] {
            assert!(ask(program.legacy, (trusted, own), &request).is_none(), "{cause}");
            eventually(cause, || failed(&program, cause) == count);
        }
        break_off(&program, &request);
        eventually("clear text", || failed(&program, "no_tls") == count);
        break_off(&program, &BEGUN);
        eventually("broken off", || failed(&program, "broken_off") == count);
    }
    assert_eq!(ask(program.legacy, (&server, Some(&ca)), &request).unwrap().status, 200);
    assert_eq!(failed(&program, ""), 10, "who said nothing has failed in nothing");
    eventually("the log has it", || program.lines("handshake_failed").len() == 5);
    let lines = program.lines("handshake_failed");
    assert!(lines.iter().all(|line| line["listener"] == "legacy" && line["address"] == "127.0.0.1"), "{lines:?}");
    let told: Vec<_> =
        lines.iter().map(|line| [&line["cause"], &line["detail"]].map(|told| told.as_str().unwrap())).collect();
    assert_eq!(
        told,
        [
            ["no_certificate", "the caller showed no certificate, and `client_ca` asks for one"],
            ["certificate_refused", "nobody in `client_ca` vouches for the caller's certificate"],
            ["caller_refused", "the caller does not take what it is shown here: UnknownCA"],
            ["no_tls", "the caller speaks no TLS: clear text, or another protocol"],
            ["broken_off", "the caller was gone in the middle of it"],
        ]
    );
}

#[test]
fn who_begins_to_shake_hands_and_goes_no_further_is_told_and_who_says_nothing_is_not() {
    let server = make();
    // A listener of both kinds, where an address of IPv4 comes as one of IPv6.
    let plan = Plan::new().set("limits", "head_timeout", "\"300ms\"").set("listen", "legacy", "\"[::]:0\"");
    let world = to_be_spoken_at(plan, "legacy", &server, None);
    let mut program = Program::serve(&world);
    program.legacy.set_ip([127, 0, 0, 1].into());
    let (mut silent, mut slow) = (Connection::open(program.legacy), Connection::open(program.legacy));
    assert!(slow.write(&BEGUN));
    assert!(silent.is_closed() && slow.is_closed());
    eventually("it is told", || program.lines("handshake_failed").iter().any(|line| line["cause"] == "slow"));
    assert_eq!((failed(&program, ""), &program.lines("handshake_failed")[0]["address"]), (1, &"127.0.0.1".into()));
}
