//! Old HTTP habits, by raw sockets (CONTRACT section 4).

use crate::support::raw::post_body;
use crate::support::{Connection, OLD_ID, OLD_SECRET, TOKEN, World, passport, post, post_with};

fn body() -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(passport(OLD_ID, OLD_SECRET)).finish()
}

#[test]
fn http_1_0_is_answered_and_the_connection_closed() {
    let world = World::new();
    let body = body();
    let mut connection = world.connect();
    let request = format!(
        "POST {TOKEN} HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = world.checked(connection.ask(request.as_bytes()));
    assert_eq!(reply.status, 200);
    assert!(reply.header("transfer-encoding").is_none());
    assert!(connection.is_closed());
}

#[test]
fn http_1_0_may_ask_to_keep_the_connection() {
    let world = World::new();
    let body = body();
    let mut connection = world.connect();
    for _ in 0..2 {
        let request = format!(
            "POST {TOKEN} HTTP/1.0\r\nConnection: keep-alive\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let reply = world.checked(connection.ask(request.as_bytes()));
        assert_eq!((reply.status, reply.header("connection").as_deref()), (200, Some("keep-alive")));
    }
}

#[test]
fn connection_close_is_honoured() {
    let world = World::new();
    let mut connection = world.connect();
    let reply = connection.ask(&post_with(TOKEN, &[("Connection", "close")], &passport(OLD_ID, OLD_SECRET)));
    assert_eq!(world.checked(reply).status, 200);
    assert!(connection.is_closed());
}

#[test]
fn who_expects_100_continue_gets_it_before_the_body_is_sent() {
    let world = World::new();
    let body = body();
    let mut connection = world.connect();
    let request = String::from_utf8(post_with(TOKEN, &[("Expect", "100-continue")], &[])).unwrap();
    let head = request.replace("Content-Length: 0", &format!("Content-Length: {}", body.len()));
    connection.write(head.as_bytes());
    connection.wait_for_interim();
    connection.write(body.as_bytes());
    let reply = world.checked(connection.reply().unwrap());
    assert_eq!((reply.status, connection.interim), (200, 1));
}

#[test]
fn a_chunked_body_is_read_and_its_connection_kept() {
    let world = World::new();
    let body = body();
    let (one, other) = body.split_at(40);
    let request = format!(
        "POST {TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:X};extension=1\r\n{other}\r\n0\r\nTrailer: x\r\n\r\n",
        one.len(),
        other.len()
    );
    let mut connection = world.connect();
    for _ in 0..2 {
        let reply = world.checked(connection.ask(request.as_bytes()));
        assert_eq!((reply.status, reply.header("connection")), (200, None));
    }
}

#[test]
fn a_body_may_come_byte_by_byte() {
    let world = World::new();
    let mut connection = world.connect();
    for byte in post(TOKEN, &passport(OLD_ID, OLD_SECRET)) {
        connection.write(&[byte]);
    }
    assert_eq!(world.checked(connection.reply().unwrap()).status, 200);
}

#[test]
fn a_charset_or_no_content_type_at_all_is_a_form_and_anything_else_is_not() {
    let world = World::new();
    let with = |content_type: &str| {
        let request = String::from_utf8(post_body(TOKEN, &[], body().as_bytes())).unwrap();
        world.ask(request.replace("Content-Type: application/x-www-form-urlencoded\r\n", content_type).as_bytes())
    };
    assert_eq!(with("").status, 200);
    assert_eq!(with("Content-Type: application/x-www-form-urlencoded;charset=UTF-8\r\n").status, 200);
    assert_eq!(with("content-type: Application/X-WWW-Form-URLEncoded ; charset=windows-1251\r\n").status, 200);
    assert_eq!(with("Content-Type: application/json\r\n").said(), (400, "invalid_request".to_owned()));
    assert_eq!(with("Content-Type: multipart/form-data; boundary=x\r\n").said(), (400, "invalid_request".to_owned()));
}

#[test]
fn percent_escapes_in_small_letters_are_escapes() {
    let world = World::new();
    let body = body().replace("%2B", "%2b").replace("%3D", "%3d").replace("%2F", "%2f");
    assert_eq!(world.token_body(body.as_bytes()).status, 200);
    assert_eq!(world.realm.last().field("signature").as_deref(), Some("planted+signature/with=signs=="));
}

#[test]
fn header_names_come_in_any_letter_case() {
    let world = World::new();
    let body = body();
    let request = format!(
        "POST {TOKEN} HTTP/1.1\r\nhOST: x\r\nCONTENT-TYPE:application/x-www-form-urlencoded\r\ncOnTeNt-LeNgTh:   {}  \r\n\r\n{body}",
        body.len()
    );
    assert_eq!(world.ask(request.as_bytes()).status, 200);
}

#[test]
fn a_connection_is_kept_and_requests_may_be_sent_ahead() {
    let world = World::new();
    let mut connection = world.connect();
    let good = post(TOKEN, &passport(OLD_ID, OLD_SECRET));
    let bad = post(TOKEN, &passport(OLD_ID, "wrong"));
    connection.write(&[good.clone(), bad, good.clone()].concat());
    let statuses: Vec<u16> = (0..3).map(|_| world.checked(connection.reply().unwrap()).status).collect();
    assert_eq!(statuses, [200, 401, 200]);
    assert_eq!(world.checked(connection.ask(&good)).status, 200);
}

#[test]
fn who_sends_all_and_then_shuts_his_side_is_still_answered() {
    let world = World::new();
    let mut connection = world.connect();
    connection.write(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    connection.half_close();
    assert_eq!(world.checked(connection.reply().unwrap()).status, 200);
}

#[test]
fn an_absolute_target_and_an_empty_line_ahead_are_understood() {
    let world = World::new();
    let request = post("http://old.example.org/auth/oauth/v2/token", &passport(OLD_ID, OLD_SECRET));
    assert_eq!(world.ask(&request).status, 200);
    let request = [b"\r\n".to_vec(), post(TOKEN, &passport(OLD_ID, OLD_SECRET))].concat();
    assert_eq!(world.ask(&request).status, 200);
}

#[test]
fn a_client_that_goes_away_harms_nobody() {
    let world = World::new();
    for cut in [1, 20, 150, 300] {
        let request = post(TOKEN, &passport(OLD_ID, OLD_SECRET));
        Connection::open(world.legacy()).write(&request[..cut]);
    }
    assert_eq!(world.login().status, 200);
}
