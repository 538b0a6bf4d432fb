//! The stages of one client between an old server and the real realm.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::gateway::api::{Api, values};
use super::store::servers::Server;
use super::support::{Answer, Bridge, Keycloak, Old, Passport, Wish, eventually, free_ports, send};

/// A UUID of the old server's.
const ACCESS: &str = "01d00000-0000-4000-8000-000000000001";
const REFRESH: &str = "01d00000-0000-4000-8000-000000000002";
const NEXT: &str = "01d00000-0000-4000-8000-000000000003";

/// An old gateway: it lets everybody in, refreshes and introspects what it made itself, and answers API calls with it.
fn old_gateway() -> u16 {
    let [port] = free_ports();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _gone = old_answer(stream);
        }
    });
    port
}

fn old_answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = String::new();
    let is_whole = |request: &str| {
        let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
        values(head, "content-length").first().is_none_or(|length| length.parse() == Ok(body.len()))
    };
    while !is_whole(&request) {
        let mut piece = [0; 16 * 1024];
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        request.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    let pair = |access: &str| {
        format!(
            "{{\"access_token\":\"{access}\",\"expires_in\":3600,\"refresh_token\":\"{REFRESH}\",\"scope\":\"client_registration\"}}"
        )
    };
    let (status, body) = if request.starts_with("GET ") {
        let is_ours = request.contains(&format!("Bearer {ACCESS}"));
        if is_ours { ("200 OK", "the old API".to_owned()) } else { ("401 Unauthorized", "not one of ours".to_owned()) }
    } else if request.contains("/introspect") {
        ("200 OK", format!("{{\"active\":{}}}", request.contains(ACCESS)))
    } else if request.contains("grant_type=refresh_token") {
        if request.contains(REFRESH) { ("200 OK", pair(NEXT)) } else { ("400 Bad Request", "{}".to_owned()) }
    } else {
        ("200 OK", pair(ACCESS))
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nServer: Old-Gateway\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn is_old(answer: &Answer) -> bool {
    answer.header("server").as_deref() == Some("Old-Gateway")
}

/// A bridge with one client, an old server, and an API of the realm's; and the gateway's port.
fn between(keycloak: &Keycloak, stage: &'static str) -> (Bridge, u16) {
    let (old, api, [gateway]) = (old_gateway(), Api::before(keycloak), free_ports());
    let further = format!(
        "[ops]\ntoken = {{ env = \"NEW_CA\" }}\n[otk]\nurl = \"http://127.0.0.1:{old}\"\napi = \"http://127.0.0.1:{old}\"\n\
         [[gateway.route]]\nprefix = \"/api\"\nupstream = \"http://127.0.0.1:{}\"\n# gateway at {gateway}\n",
        api.port
    );
    let clients = [Old::with("test_api", stage)];
    (Bridge::configured(&keycloak.url(), &clients, "rotation = \"off\"", &further), gateway)
}

fn call(gateway: u16, uuid: &str) -> Answer {
    send(gateway, "GET", "/api/x", &[("Authorization", &format!("Bearer {uuid}"))], "")
}

fn staged(bridge: &Bridge, arguments: &[&str]) {
    let done = bridge.program(arguments);
    assert!(done.status.success(), "{done:?}\n{}", bridge.log());
}

#[test]
fn a_client_moves_to_the_realm_and_back_and_the_uuids_of_either_side_go_on_living() {
    let (bridge, gateway) = between(Keycloak::shared(), "stage = \"legacy\"");
    let login =
        || bridge.login("test_api", &Passport::of(&Wish { user: "90519", ..Wish::default() }), "client_registration");
    let before = login();
    assert!(is_old(&before) && before.text("access_token") == ACCESS, "{before:?}");
    let old_lives = || {
        let about = bridge.post("/auth/oauth/v2/token/introspect", "test_api", &[("token", ACCESS)]);
        assert!(is_old(&about) && about.json()["active"] == true, "{about:?}");
        let called = call(gateway, ACCESS);
        assert!(is_old(&called) && called.body == "the old API", "{called:?}");
        let next = bridge.refresh("test_api", REFRESH);
        assert!(is_old(&next) && next.text("access_token") == NEXT, "{next:?}");
    };
    old_lives();

    staged(&bridge, &["client", "stage", "test_api", "live", "--why", "the test moves it"]);
    let moved = login();
    assert_eq!((moved.status, is_old(&moved)), (200, false), "{moved:?}\n{}", bridge.log());
    let (access, refresh) = (moved.text("access_token"), moved.text("refresh_token"));
    let new_lives = |access: &str| {
        assert!(bridge.active("test_api", access));
        let called = call(gateway, access);
        assert_eq!((called.status, called.body.as_str()), (200, "90519 sent 0"), "{called:?}");
    };
    new_lives(&access);
    old_lives();

    staged(&bridge, &["client", "rollback", "test_api", "--why", "the test moves it back"]);
    assert!(is_old(&login()), "logins are the old server's again");
    old_lives();
    new_lives(&access);
    let next = bridge.refresh("test_api", &refresh);
    assert_eq!((next.status, is_old(&next)), (200, false), "{next:?}");
    new_lives(&next.text("access_token"));
}

/// Passports of each side: of those that log in at the realm, and the others.
fn sides(bridge: &Bridge, passports: Vec<Passport>) -> (Vec<Passport>, Vec<Passport>) {
    let at = |passport: &Passport| {
        let answer = bridge.login("test_api", passport, "client_registration");
        is_old(&answer)
    };
    let (old, realm) = passports.into_iter().partition(at);
    (realm, old)
}

#[test]
fn a_canary_parts_passports_for_good_and_steps_back_where_the_realm_refuses_them() {
    let (bridge, gateway) =
        between(Keycloak::shared(), "stage = \"canary\"\ncanary = { percent = 50, step_back_at = 2 }");
    let of = |flaw: &'static str| Passport::of(&Wish { user: "90518", flaw, ..Wish::default() });
    let (realm, old) = sides(&bridge, (0..16).map(|_| of("none")).collect());
    assert!(!realm.is_empty() && !old.is_empty(), "{} of 16 at the realm", realm.len());
    let bridge = bridge.kill_and_restart();
    let login = |passport: &Passport| bridge.login("test_api", passport, "client_registration");
    assert!(old.iter().all(|passport| is_old(&login(passport))), "sticky, over a restart");
    let answers: Vec<Answer> = realm.iter().map(login).collect();
    assert!(answers.iter().all(|answer| answer.status == 200 && !is_old(answer)), "{answers:?}\n{}", bridge.log());
    let access = answers[0].text("access_token");
    assert_eq!(call(gateway, &access).body, "90518 sent 0");

    // Forged signatures: the old server, which is past checking, takes them, and the realm does not.
    let forged = (0..64).map(|_| of("signature")).find(|forged| !is_old(&login(forged))).expect("one for the realm");
    eventually("it goes back", || is_old(&login(&forged)));
    bridge.says("\"event\":\"stepped_back\"");
    assert!(realm.iter().all(|passport| is_old(&login(passport))), "all of its logins are the old server's again");
    assert!(bridge.active("test_api", &access), "what the bridge made stays good");
    assert_eq!(call(gateway, &access).body, "90518 sent 0");
    let bridge = bridge.kill_and_restart();
    assert!(realm.iter().all(|passport| is_old(&bridge.login("test_api", passport, ""))), "for good");
    let metrics = send(bridge.ops, "GET", "/metrics", &[], "").body;
    assert!(metrics.contains("passbridge_canary_stepped_back{client=\"test_api\"} 1"), "{metrics}");
    staged(&bridge, &["client", "stage", "test_api", "canary", "--percent", "50", "--why", "the test is over"]);
    let answer = bridge.login("test_api", &realm[0], "client_registration");
    assert_eq!((answer.status, is_old(&answer)), (200, false), "staged again, it begins anew: {answer:?}");
}

#[test]
fn a_step_back_is_shown_by_another_instance_too_though_nobody_logs_in_there() {
    let (redis, old, [nobody]) = (Server::start(), old_gateway(), free_ports());
    let further = format!(
        "[otk]\nurl = \"http://127.0.0.1:{old}\"\n[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]\n",
        redis.port
    );
    let client = Old::with("test_api", "stage = \"canary\"\ncanary = { percent = 99 }");
    let realm = format!("http://127.0.0.1:{nobody}/auth/realms/SSO");
    let [one, other] = [(); 2].map(|()| Bridge::configured(&realm, &[client], "", &further));
    let shows = |bridge: &Bridge, back: u8| {
        let line = format!("\npassbridge_canary_stepped_back{{client=\"test_api\"}} {back}\n");
        send(bridge.ops, "GET", "/metrics", &[], "").body.contains(&line)
    };
    eventually("both show that it did not", || [&one, &other].iter().all(|bridge| shows(bridge, 0)));
    let logins = (90_000..90_200).take_while(|number: &u32| {
        let user = number.to_string().leak();
        one.login("test_api", &Passport::of(&Wish { user, ..Wish::default() }), "client_registration");
        !shows(&one, 1)
    });
    assert!((49..199).contains(&logins.count()), "{}", one.log());
    eventually("the other one shows it, too", || shows(&other, 1));
}
