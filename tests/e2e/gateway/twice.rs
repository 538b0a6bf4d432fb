//! nginx asks twice where it is refused, and hands on what it hears the second time: never a yes.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

use super::super::support::free_ports;
use super::api::values;
use super::front::{Front, Places};
use super::{Site, call};

const EXAMPLES: [&str; 2] = ["passbridge.conf", "passbridge-cached.conf"];
/// What stands in the examples' place of the gateway is a second bridge's authz here.
const TWO_BRIDGES: [(&str, &str); 2] = [
    ("proxy_pass http://127.0.0.1:8082;", "proxy_pass http://bridges;"),
    ("\nserver {", "\nupstream bridges { server 127.0.0.1:8081; server 127.0.0.1:8082; }\nserver {"),
];

/// As in a rolling change: each question goes to the next of the two, so that one refuses and the other would not.
#[test]
fn a_call_that_one_of_two_bridges_refuses_is_refused_or_answered_by_its_api() {
    let site = Site::start();
    let other = Site::start();
    let (bearer, _) = site.logged_in("90519");
    for example in EXAMPLES {
        let [front] = free_ports();
        let places = Places { front, gateway: other.places.authz, ..site.places };
        let _nginx = Front::nginx_edited(places, example, &TWO_BRIDGES);
        site.api.seen();
        // The other bridge does not know the UUID.
        let mut good = 0;
        for number in 0..12 {
            // A refused call is two questions, this one is one: whoever is asked first changes.
            if number % 3 == 2 {
                call(front, "GET /api/open", "", "");
                site.api.seen();
            }
            let answer = call(front, "POST /api/me", &bearer, "pay");
            let seen = site.api.seen().len();
            if answer.status == 200 {
                assert_eq!((answer.body.as_str(), seen), ("90519 sent 3", 1), "{example}: {answer:?}");
                good += 1;
            } else {
                assert_eq!(answer.refusal(), (500, "3003000".to_owned(), "server_error".to_owned()), "{answer:?}");
                assert_eq!((seen, answer.header("authorization")), (0, None), "{answer:?}");
            }
        }
        assert!((1..12).contains(&good), "{example}: both bridges are asked first at times: {good}");
    }
}

/// Says these statuses one after the other to whoever asks, and keeps the heads of the questions.
fn saying(statuses: &'static [u16]) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&heads);
    thread::spawn(move || {
        let mut statuses = statuses.iter();
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
            // Whether nginx runs is asked by a call as well, before all others.
            let is_ready = head.contains("X-Original-URI: /api/ready\r\n");
            let status = if is_ready { 401 } else { *statuses.next().unwrap_or(&599) };
            if !is_ready {
                seen.lock().push(head);
            }
            let _gone = write!(
                stream,
                "HTTP/1.1 {status} So\r\nContent-Length: 4\r\nX-CA-Err: 1\r\nConnection: close\r\n\r\nsaid"
            );
        }
    });
    (port, heads)
}

#[test]
fn nginx_tells_that_it_was_refused_when_it_asks_again_and_asks_nobody_who_gave_no_answer() {
    for example in EXAMPLES {
        let [front, gateway, api] = free_ports();
        let (authz, heads) = saying(&[404, 400, 500, 500, 503, 404, 502, 504]);
        let _nginx = Front::nginx_with(Places { front, gateway, authz, api }, example);
        for (first, second) in [("404", 400), ("500", 500), ("503", 404)] {
            let answer = call(front, "GET /api/me", "X-Passbridge-Refused: 404\r\n", "");
            assert_eq!((answer.status, answer.body.as_str()), (second, "said"), "{example}: {answer:?}");
            let told: Vec<_> = heads.lock().drain(..).map(|head| values(&head, "x-passbridge-refused")).collect();
            assert_eq!(told, [vec![], vec![first.to_owned()]], "{example}: its own word alone");
        }
        for _ in [502, 504] {
            assert_eq!(call(front, "GET /api/me", "", "").status, 503, "{example}");
            assert_eq!(heads.lock().drain(..).count(), 1, "{example}: asked once");
        }
    }
}
