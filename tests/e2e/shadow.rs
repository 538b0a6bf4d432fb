//! Shadow before the real realm: it is really asked, and no session is left behind.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use super::support::{Bridge, Keycloak, Old, Passport, Wish, eventually, free_ports};

/// An old server that says one thing, to whoever asks.
fn old_server() -> u16 {
    let [port] = free_ports();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    thread::spawn(move || {
        let body = r#"{"access_token":"01d00000-0000-4000-8000-000000000001","expires_in":3600,"scope":"client_registration"}"#;
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut bytes = [0; 16 * 1024];
            let _ = stream.read(&mut bytes);
            let head = format!(
                "HTTP/1.1 200 OK\r\nServer: Old-Gateway\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    port
}

#[test]
fn a_login_that_shadow_puts_to_the_realm_leaves_no_session_behind() {
    let keycloak = Keycloak::shared();
    keycloak.keep_events();
    let old = format!("[otk]\nurl = \"http://127.0.0.1:{}\"", old_server());
    let entry = Old::with("back_office", "stage = \"shadow\"\nshadow = \"exchange\"");
    let bridge = Bridge::configured(&keycloak.url(), &[entry], "rotation = \"off\"", &old);
    let passport = Passport::of(&Wish { user: "90520", ..Wish::default() });
    let answer = bridge.login("back_office", &passport, "client_registration");
    assert_eq!((answer.status, answer.header("server").as_deref()), (200, Some("Old-Gateway")), "{answer:?}");
    let counted = || super::support::send(bridge.ops, "GET", "/metrics", &[], "").body;
    eventually("it is compared", || counted().contains("passbridge_shadow_total{client=\"back_office\""));
    assert!(counted().contains("outcome=\"agreed\"} 1"), "{}\n{}", counted(), bridge.log());
    let users = keycloak.admin("GET", "/users?username=90520&exact=true", &serde_json::Value::Null).json();
    let of_the_user = |kind: &str| {
        let events = keycloak.events(kind, "back_office");
        events.into_iter().filter(|event| event["userId"] == users[0]["id"]).count()
    };
    assert_eq!((of_the_user("LOGIN"), of_the_user("LOGOUT")), (1, 1), "it was really asked, and ended");
    assert_eq!(keycloak.sessions("90520"), Vec::<serde_json::Value>::new());
}
