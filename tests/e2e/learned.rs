//! Old secrets that are learned by two bridges on one real Redis, and what they are worth at the real realm.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use super::store::line::Line;
use super::store::servers::Server;
use super::support::{Answer, Bridge, Keycloak, Old, Passport, Wish, eventually, form, free_ports, send};

const SECOND: &str = "another-old-secret-nobody-remembers";
const TOKEN: &str = "/auth/oauth/v2/token";

/// An old server that gives tokens to whoever shows one of the two secrets.
fn old_server() -> u16 {
    let [port] = free_ports();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut heard = Vec::new();
            let mut bytes = [0; 16 * 1024];
            // The body ends in this field.
            while !heard.ends_with(b"&end=1") {
                match stream.read(&mut bytes) {
                    Ok(read) if read > 0 => heard.extend_from_slice(&bytes[..read]),
                    _ => break,
                }
            }
            let heard = String::from_utf8_lossy(&heard).into_owned();
            let fits = [Old::SECRET, SECOND].iter().any(|secret| heard.contains(&format!("client_secret={secret}&")));
            let (status, body) = if fits {
                ("200 OK", r#"{"access_token":"01d00000-0000-4000-8000-000000000001","expires_in":3600}"#)
            } else {
                ("401 Unauthorized", r#"{"error":"invalid_client"}"#)
            };
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nServer: Old\r\nConnection: close\r\nContent-Length: {length}");
            let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
        }
    });
    port
}

/// The mapping of a client whose secrets the bridge learns.
const LEARNS: &str = "stage = \"legacy\"\nlegacy_secret = { learn = true }";

/// An old server, and a store in Redis.
fn further(redis: u16) -> String {
    format!(
        "[otk]\nurl = \"http://127.0.0.1:{}\"\n[ops]\ntoken = {{ env = \"WRONG\" }}\n\
         [store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]\n",
        old_server(),
        redis
    )
}

fn login(bridge: &Bridge, secret: &str) -> Answer {
    let passport = Passport::of(&Wish { user: "90519", ..Wish::default() });
    let fields = [
        ("client_id", "back_office"),
        ("client_secret", secret),
        ("grant_type", "passport"),
        ("certificate", &passport.certificate),
        ("algorithm", &passport.algorithm),
        ("signature", &passport.signature),
        ("end", "1"),
    ];
    let header = ("Content-Type", "application/x-www-form-urlencoded");
    send(bridge.legacy, "POST", TOKEN, &[header], &form(&fields))
}

fn is_old(answer: &Answer) -> bool {
    answer.header("server").as_deref() == Some("Old")
}

/// Runs a command that succeeds.
fn told(bridge: &Bridge, arguments: &[&str]) -> String {
    let output = bridge.program(arguments);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn learned(bridge: &Bridge) -> u64 {
    let listed: serde_json::Value =
        serde_json::from_str(&told(bridge, &["client", "list", "--format", "json"])).unwrap();
    listed[0]["legacy_secrets"][0]["learned"].as_u64().unwrap()
}

/// The old server accepts it at this bridge, and it is learned.
fn lesson(bridge: &Bridge, secret: &str, kept: u64) {
    let counted = "passbridge_secrets_learned_total{client=\"back_office\",outcome=\"kept\"} 1";
    eventually("it is learned", || {
        let answer = login(bridge, secret);
        assert!(answer.status == 200 && is_old(&answer), "{answer:?}");
        send(bridge.ops, "GET", "/metrics", &[], "").body.contains(counted)
    });
    assert_eq!(learned(bridge), kept);
}

#[test]
fn what_one_of_two_instances_learned_the_other_one_accepts_and_either_writes_all_of_it() {
    let (keycloak, redis) = (Keycloak::shared(), Server::start());
    let further = further(redis.port);
    let client = Old::with("back_office", LEARNS);
    let [one, other] = [(); 2].map(|()| Bridge::configured(&keycloak.url(), &[client], "rotation = \"off\"", &further));

    lesson(&one, Old::SECRET, 1);
    assert_eq!(learned(&other), 1, "the other one tells it, too");
    told(&other, &["client", "stage", "back_office", "live", "--why", "it was learned elsewhere"]);
    let answer = login(&other, Old::SECRET);
    assert!(answer.status == 200 && !is_old(&answer), "{answer:?}\n{}", other.log());
    assert_eq!(login(&other, SECOND).status, 401, "nobody has learned it yet");
    told(&other, &["client", "rollback", "back_office"]);

    lesson(&other, SECOND, 2);
    assert_eq!(learned(&one), 2);
    told(&one, &["client", "stage", "back_office", "live", "--why", "both are learned"]);
    for secret in [Old::SECRET, SECOND] {
        let answer = login(&one, secret);
        assert!(answer.status == 200 && !is_old(&answer), "{answer:?}\n{}", one.log());
    }
    assert_eq!(login(&one, "wrong").status, 401);

    told(&one, &["client", "secret", "back_office", "write-learned"]);
    let listed: serde_json::Value = serde_json::from_str(&told(&one, &["client", "list", "--format", "json"])).unwrap();
    let kinds: Vec<_> = listed[0]["legacy_secrets"].as_array().unwrap().iter().map(|kept| &kept["kind"]).collect();
    assert_eq!(kinds, ["hash", "hash"], "what either learned is in the file");
    for secret in [Old::SECRET, SECOND] {
        assert_eq!(login(&one, secret).status, 200);
    }
    for bridge in [&one, &other] {
        assert!(![Old::SECRET, SECOND].iter().any(|secret| bridge.log().contains(secret)), "a secret in the log");
    }
}

#[test]
fn what_another_instance_learned_in_the_meantime_is_not_written_over() {
    let redis = Server::start();
    let line = Line::to(redis.port);
    let [nobody] = free_ports();
    let realm = format!("http://127.0.0.1:{nobody}/auth/realms/SSO");
    let client = Old::with("back_office", LEARNS);
    let [one, other] = [line.port, redis.port].map(|port| Bridge::configured(&realm, &[client], "", &further(port)));
    line.hold_at("learned/back_office");
    assert!(is_old(&login(&one, Old::SECRET)));
    eventually("it has read that nothing is learned", || line.is_held());
    lesson(&other, SECOND, 1);
    line.mend();
    lesson(&one, Old::SECRET, 2);
    let [one, other] = [one, other].map(Bridge::kill_and_restart);
    assert_eq!([learned(&one), learned(&other)], [2, 2], "{}", one.log());
}

#[test]
fn while_what_was_learned_cannot_be_read_nobody_hears_that_the_right_secret_is_wrong() {
    let (keycloak, redis) = (Keycloak::shared(), Server::start());
    let further = further(redis.port);
    let client = Old::with("back_office", LEARNS);
    let bridge = Bridge::configured(&keycloak.url(), &[client], "rotation = \"off\"", &further);
    lesson(&bridge, Old::SECRET, 1);
    told(&bridge, &["client", "stage", "back_office", "live", "--why", "it is learned"]);
    let bridge = bridge.kill_and_restart();
    redis.signal("-STOP");
    let statuses = thread::scope(|scope| {
        let logins = [(); 3].map(|()| scope.spawn(|| login(&bridge, Old::SECRET).status));
        logins.map(|login| login.join().unwrap())
    });
    redis.signal("-CONT");
    assert_eq!(statuses, [500; 3], "{}", bridge.log());
    eventually("Redis is heard again", || login(&bridge, Old::SECRET).status == 200);
    assert_eq!(login(&bridge, "wrong").status, 401);
}
