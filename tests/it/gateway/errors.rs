//! What cannot be forwarded, in the dialect's words; and what the log says of it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use parking_lot::Mutex;
use passbridge::domain::opaque::{OpaqueToken, TokenUse};
use socket2::{Domain, SockRef, Socket, Type};

use super::many::{passbridge, serving};
use super::{call, connect, get, gone, nowhere, open, plan, refused, routes, told, uuid};
use crate::support::frames::{CANCEL, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM};
use crate::support::world::REVOKE;
use crate::support::{
    Connection, FakeApi, Granting, Mood, OLD_ID, OLD_SECRET, Plan, TOKEN, World, client, eventually, passport, post,
};

#[test]
fn no_route_is_not_found() {
    let api = FakeApi::good();
    let world = plan(&api, ", host = \"api.example.org\"").start();
    let uuid = uuid(&world);
    assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
    assert_eq!(refused(&call(&world, &get("/apis", &uuid))), told(404, "not_found", "3003000"));
    let elsewhere = String::from_utf8(get("/api", &uuid)).unwrap().replace("api.example.org", "b.example.org");
    assert_eq!(refused(&call(&world, elsewhere.as_bytes())), told(404, "not_found", "3003000"));
}

#[test]
fn whose_jwt_is_over_and_cannot_be_renewed_is_not_told_as_one_whose_time_has_passed() {
    let api = FakeApi::good();
    let world = plan(&api, "").set("realm", "rotation", "\"on\"").start();
    world.realm.next(Mood::Grant(Granting { expires_in: 60, refresh_expires_in: Some(36_000), ..Granting::default() }));
    let login = world.login();
    let refresh = login.text("refresh_token");
    world.realm.next(Mood::Reset);
    let fields = [("grant_type", "refresh_token"), ("client_id", OLD_ID), ("client_secret", OLD_SECRET)];
    let asked = [&fields[..], &[("refresh_token", refresh.as_str())]].concat();
    assert_eq!(world.token(&asked).status, 500, "its answer is lost");
    world.turn(60);
    let access = login.text("access_token");
    assert_eq!(refused(&call(&world, &get("/api", &access))), told(401, "invalid_token", "3003990"));
    let token = OpaqueToken::parse(&access).unwrap().fingerprint(TokenUse::Access).short();
    let lines = world.log(&format!("\"token\":\"{token}\""));
    // Other worlds' first UUID is the same, and good there, or refused for what needs no words.
    let refused = lines.iter().filter(|line| line["endpoint"] == "api" && line["status"] == 401);
    let details: Vec<_> = refused.map(|line| &line["detail"]).filter(|detail| !detail.is_null()).collect();
    assert_eq!(details, ["its JWT is over, and the realm gives no other"]);
}

#[test]
fn a_path_that_leaves_its_prefix_is_refused() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    for path in [
        "/api/../x",
        "/api/%2e%2e/x",
        "/api/..%2fx",
        "/api/..%5cx",
        "//api/x",
        "/api/..;/x",
        "/x/../api",
        // Escaped twice, for a server behind the one that we speak to.
        "/api/%252e%252e/x",
        "/api/..%252fx",
        // As IIS and servers of its age write and read them.
        "/api/%u002e%u002e/x",
        "/api/%c0%ae%c0%ae/x",
        "/api/..%c0%afx",
        "/api/%e0%80%ae%e0%80%ae/x",
        "/api/..%f0%80%80%afx",
        "/api/%25e0%2580%25ae./x",
        // To nginx a `\\` is a letter, to Envoy an escaped slash is, and to either a `;`: they climb further, or come back less.
        "/api/a%5cb/../../x",
        "/api/a%2fb/../../x",
        "/api/../x/..;/api",
        "/api/%2e%2e/x/%u002e%u002e/api",
        "/api/%2e%2e/x/..%5capi",
        "/api/%2e%2e/x/..%2fapi",
        // To whom a string ends in nothing, the rest is not there.
        "/api/..%00/x",
    ] {
        let reply = call(&world, &get(path, &uuid));
        assert_eq!(refused(&reply), told(400, "invalid_request", "3003103"), "{path}");
    }
    let kept =
        ["/api/a/../b//c", "/api/100%25", "/api/%252e%252e/api/a%252fb", "/api/%uzz%c0%zz%", "/api/\u{430}%d0%b0%c0"];
    for path in kept {
        assert_eq!(call(&world, &get(path, &uuid)).status, 200, "{path}");
    }
    for (seen, path) in api.seen().iter().zip(kept) {
        assert!(seen.head.starts_with(&format!("GET {path} HTTP/1.1")), "as it came: {}", seen.head);
    }
}

#[test]
fn an_api_that_is_away_is_told_so() {
    let world = routes(&format!("{{ prefix = \"/api\", upstream = \"{}\" }}", nowhere())).start();
    let uuid = uuid(&world);
    assert_eq!(refused(&call(&world, &get("/api", &uuid))), told(502, "temporarily_unavailable", "3003000"));
}

#[test]
fn an_answer_that_is_cut_before_its_head_is_asked_for_only_once() {
    let api = FakeApi::closing(b"HTTP/1.1 200 OK\r\nContent-Le");
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    assert_eq!(refused(&call(&world, &get("/api", &uuid))), told(502, "temporarily_unavailable", "3003000"));
    api.only();
    names(&world, &api, "api_down");
}

/// The log says which of the servers it was.
#[track_caller]
fn names(world: &World, api: &FakeApi, outcome: &str) {
    let lines = world.log(outcome);
    let detail = lines.last().expect("the log tells it")["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with(&format!("{}: ", api.address())), "{detail}");
}

#[test]
fn an_api_that_does_not_answer_is_too_slow() {
    let api = FakeApi::start(|mut caller| while caller.request().is_some() {});
    let world = plan(&api, "").set("gateway", "timeout", "\"200ms\"").start();
    let uuid = uuid(&world);
    assert_eq!(refused(&call(&world, &get("/api", &uuid))), told(504, "temporarily_unavailable", "3003000"));
    names(&world, &api, "api_slow");
}

#[test]
fn a_server_that_refuses_is_passed_over() {
    let api = FakeApi::good();
    let world = routes(&format!("{{ prefix = \"/api\", upstream = [\"{}\", \"{}\"] }}", nowhere(), api.url())).start();
    let uuid = uuid(&world);
    let mut connection = connect(&world);
    for _ in 0..4 {
        assert_eq!(connection.ask(&get("/api", &uuid)).status, 200);
    }
    assert_eq!(api.seen().len(), 4);
}

#[test]
fn a_server_that_takes_calls_and_answers_none_is_passed_over_too() {
    for last_words in [&b""[..], b"SSH-2.0-OpenSSH_9.2\r\n"] {
        let (broken, good) = (FakeApi::closing(last_words), FakeApi::good());
        let world =
            routes(&format!("{{ prefix = \"/api\", upstream = [\"{}\", \"{}\"] }}", broken.url(), good.url())).start();
        let uuid = uuid(&world);
        let ask = |method: &str| {
            let request = String::from_utf8(get("/api", &uuid)).unwrap().replacen("GET", method, 1);
            call(&world, request.as_bytes()).status
        };
        let said: Vec<u16> = (0..6).map(|_| ask("POST")).collect();
        assert_eq!(
            said.iter().filter(|status| **status != 200).count(),
            1,
            "one call may have done something: {said:?}"
        );
        world.turn(5);
        let said: Vec<u16> = (0..6).map(|_| ask("POST")).collect();
        assert_eq!(said.iter().filter(|status| **status != 200).count(), 1, "tried again after a while: {said:?}");
        assert_eq!((broken.seen().len(), good.seen().len()), (2, 10));
    }
}

/// One route to these servers.
fn of_several(servers: &[String]) -> Plan {
    routes(&format!("{{ prefix = \"/api\", upstream = [\"{}\"] }}", servers.join("\", \"")))
}

/// The lines of this event about a server, of which no other world tells.
fn lines(world: &World, event: &str, server: SocketAddr) -> Vec<serde_json::Value> {
    let lines = world.log(&server.to_string()).into_iter();
    lines.filter(|line| line["event"] == event && line["server"] == server.to_string()).collect()
}

/// A process that is deadlocked still has its connections taken by the kernel.
#[test]
fn a_server_that_hangs_is_passed_over_and_tried_by_one_call_a_while_later() {
    let (hung, good) = (FakeApi::start(|mut caller| while caller.request().is_some() {}), FakeApi::good());
    let world = of_several(&[hung.url(), good.url()]).set("gateway", "timeout", "\"300ms\"").start();
    let uuid = uuid(&world);
    let ask = || call(&world, &get("/api", &uuid)).status;
    let failed = |count: usize| (0..count).filter(|_| ask() != 200).count();
    assert_eq!(failed(6), 1, "it has to be found out");
    assert_eq!(failed(6), 0);
    world.turn(5);
    assert_eq!(failed(6), 1, "it is tried");
    assert_eq!(hung.seen().len(), 2);
}

/// A way to call that breaks the call off: a connection's reset, or that of one stream of many.
enum Leaving {
    Connection(TcpStream),
    Stream(Frames),
}

impl Leaving {
    fn begin(world: &World, uuid: &str, is_http2: bool) -> Self {
        if is_http2 {
            let mut client = Frames::open(world.running().addresses().gateway.unwrap());
            assert!(client.send(HEADERS, END_HEADERS | END_STREAM, 1, &super::http2::head("GET", uuid, &[])));
            return Self::Stream(client);
        }
        let mut caller = open(world);
        caller.write_all(&get("/api", uuid)).unwrap();
        Self::Connection(caller)
    }

    /// Returns once it is heard.
    fn leave(self, world: &World) {
        let before = gone(world, "api", OLD_ID);
        let _open = match self {
            Self::Stream(mut client) => {
                client.send(RST_STREAM, 0, 1, &CANCEL.to_be_bytes());
                Some(client)
            }
            Self::Connection(caller) => {
                SockRef::from(&caller).set_linger(Some(Duration::ZERO)).unwrap();
                None
            }
        };
        eventually("it is heard that he is gone", || gone(world, "api", OLD_ID) > before);
    }
}

/// Callers may have less patience than `gateway.timeout`, and all of them leave before that.
#[test]
fn a_server_that_hangs_is_passed_over_when_a_caller_has_waited_in_vain_and_left() {
    for is_http2 in [false, true] {
        let (hung, good) = (FakeApi::start(|mut caller| while caller.request().is_some() {}), FakeApi::good());
        let world = of_several(&[hung.url(), good.url()]).set("gateway", "timeout", "\"10m\"").start();
        let uuid = uuid(&world);
        let passed_over = || lines(&world, "server_passed_over", hung.address()).len();
        for (waits, times) in [(0, 0), (1, 0), (2, 1)] {
            let asked = hung.seen().len();
            let caller = Leaving::begin(&world, &uuid, is_http2);
            eventually("it hangs", || hung.seen().len() > asked);
            world.turn(waits);
            caller.leave(&world);
            assert_eq!(passed_over(), times, "who leaves after {waits} s");
            assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
        }
        for _ in 0..4 {
            assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
        }
        assert_eq!(hung.seen().len(), 3);
    }
}

/// Each has its time from its own turn on: what one took before it failed says nothing of the one that is asked next.
#[test]
fn a_server_is_not_blamed_for_the_time_that_another_took_before_it() {
    for scheme in ["http", "https"] {
        let (fail, word) = channel::<()>();
        let word = Mutex::new(word);
        // It hears no head, or no certificate of it is seen.
        let slow = FakeApi::start(move |_caller| word.lock().recv().unwrap());
        let hung = FakeApi::start(|mut caller| while caller.request().is_some() {});
        let first = format!("{scheme}://localhost:{}", slow.address().port());
        let world = of_several(&[first, hung.url()]).set("gateway", "connect_timeout", "\"1m\"").start();
        let caller = Leaving::begin(&world, &uuid(&world), false);
        eventually("the first is asked", || slow.connections() == 1);
        world.turn(12);
        fail.send(()).unwrap();
        eventually("the second hangs", || hung.seen().len() == 1);
        caller.leave(&world);
        let second = hung.address();
        let detail = format!("the caller was gone after 12.0 s; {second} had not answered");
        let lines = world.log(&second.to_string());
        let line = lines.iter().find(|line| line["status"] == 499).expect("the log tells it");
        assert_eq!((&line["detail"], &line["fault"]), (&detail.into(), &"client".into()), "{line}");
        assert!(self::lines(&world, "server_passed_over", second).is_empty(), "{scheme}");
    }
}

/// An API that leaves a call of one path unanswered.
fn picky() -> FakeApi {
    FakeApi::start(|mut caller| {
        while let Some(request) = caller.request() {
            if !request.head.starts_with("GET /api/slow") {
                caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
            }
        }
    })
}

#[test]
fn a_server_that_answers_others_is_not_passed_over_for_a_caller_that_leaves() {
    let (one, two) = (picky(), picky());
    let world = of_several(&[one.url(), two.url()]).set("gateway", "timeout", "\"10m\"").start();
    let uuid = uuid(&world);
    let mut impatient = open(&world);
    impatient.write_all(&get("/api/slow", &uuid)).unwrap();
    eventually("it waits", || one.seen().len() + two.seen().len() == 1);
    for _ in 0..4 {
        assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
    }
    world.turn(60);
    Leaving::Connection(impatient).leave(&world);
    for api in [&one, &two] {
        assert!(lines(&world, "server_passed_over", api.address()).is_empty());
    }
}

/// It is the call that takes long: others are answered meanwhile.
#[test]
fn a_server_that_answers_others_is_not_passed_over_for_a_slow_call() {
    let (one, two) = (picky(), picky());
    let world = of_several(&[one.url(), two.url()]).set("gateway", "timeout", "\"1s\"").start();
    let uuid = uuid(&world);
    let mut slow = connect(&world);
    slow.write(&get("/api/slow", &uuid));
    eventually("it waits", || one.seen().len() + two.seen().len() == 1);
    for _ in 0..4 {
        assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
    }
    assert_eq!(slow.reply().map(|reply| reply.status), Some(504));
    for api in [&one, &two] {
        assert!(lines(&world, "server_passed_over", api.address()).is_empty());
    }
}

#[test]
fn what_a_server_that_is_away_would_have_got_is_shared_by_all_others() {
    let good = [FakeApi::good(), FakeApi::good(), FakeApi::good()];
    let [one, three, four] = &good;
    let world = of_several(&[one.url(), nowhere(), three.url(), four.url()]).start();
    let uuid = uuid(&world);
    let mut connection = connect(&world);
    for _ in 0..4 {
        assert_eq!(connection.ask(&get("/api", &uuid)).status, 200);
    }
    let seen = || good.each_ref().map(|api| api.seen().len());
    let before = seen();
    for _ in 0..30 {
        assert_eq!(connection.ask(&get("/api", &uuid)).status, 200);
    }
    let after = seen();
    assert_eq!([0, 1, 2].map(|number| after[number] - before[number]), [10, 10, 10]);
}

/// Where nobody listens yet, and nobody else may.
fn away() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Whoever is passed over may be back, and the one that is left may be away.
#[test]
fn a_call_that_the_servers_left_fail_is_sent_to_those_passed_over_too() {
    let ((socket, first), is_well) = (away(), Arc::new(AtomicBool::new(true)));
    let well = Arc::clone(&is_well);
    let second = FakeApi::start(move |mut caller| {
        caller.request();
        if well.load(Ordering::SeqCst) {
            caller.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nsecond");
        }
    });
    let world = of_several(&[format!("http://{first}"), second.url()]).start();
    let uuid = uuid(&world);
    assert_eq!(call(&world, &get("/api", &uuid)).body, "second");
    assert_eq!(lines(&world, "server_passed_over", first).len(), 1);
    socket.listen(16).unwrap();
    let _back = FakeApi::on(socket.into(), |mut caller| {
        while caller.request().is_some() {
            caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst");
        }
    });
    is_well.store(false, Ordering::SeqCst);
    assert_eq!(call(&world, &get("/api", &uuid)).body, "first");
    assert_eq!(lines(&world, "server_passed_over", second.address()).len(), 1, "it was asked before");
    assert_eq!(lines(&world, "server_back", first).len(), 1);
}

#[test]
fn what_the_servers_of_apis_answer_is_counted_by_server_and_class() {
    let torn = FakeApi::saying(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let well = FakeApi::saying(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n");
    let world = of_several(&[torn.url(), well.url()]).start();
    let uuid = uuid(&world);
    for _ in 0..6 {
        call(&world, &get("/api", &uuid));
    }
    let counted = |api: &FakeApi, answer| {
        let labels = format!("{{server=\"{}\",answer=\"{answer}\"}}", api.address());
        world.metric(&format!("passbridge_api_answers_total{labels}")).to_string()
    };
    assert_eq!((counted(&torn, "5xx"), counted(&well, "3xx")), ("3".to_owned(), "3".to_owned()));
    assert_eq!((counted(&torn, "2xx"), counted(&well, "5xx")), ("0".to_owned(), "0".to_owned()));
}

#[test]
fn a_server_that_is_away_is_told_while_others_answer_its_calls_and_so_is_its_return() {
    let ((socket, away), good) = (away(), FakeApi::good());
    let world = of_several(&[format!("http://{away}"), good.url()]).start();
    let uuid = uuid(&world);
    let ask = |count: usize| {
        for _ in 0..count {
            assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
        }
    };
    let told = |event| lines(&world, event, away);
    ask(4);
    let [line] = told("server_passed_over").try_into().expect("told once");
    assert_eq!(line["level"], "WARN");
    assert!(line["detail"].as_str().unwrap().contains("refused"), "{line}");
    for _ in 0..3 {
        world.turn(5);
        ask(2);
    }
    let counted = world.metric(&format!("passbridge_api_servers_passed_over_total{{server=\"{away}\"}}"));
    assert!((counted - 4.0).abs() < 0.1, "{counted}: each is counted");
    assert_eq!(told("server_passed_over").len(), 1, "told once a minute");
    world.turn(60);
    ask(2);
    assert_eq!((told("server_passed_over").len(), told("server_back").len()), (2, 0));
    socket.listen(16).unwrap();
    let back = FakeApi::on(socket.into(), |mut caller| {
        while caller.request().is_some() {
            caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
        }
    });
    world.turn(5);
    ask(4);
    assert_eq!((told("server_back").len(), back.seen().len()), (1, 2));
}

#[test]
fn a_connection_that_the_api_has_closed_is_let_go_though_nobody_calls_any_more() {
    let (close, closing) = channel();
    let (let_go, is_let_go) = channel();
    let played = Mutex::new((closing, let_go));
    let api = FakeApi::start(move |mut caller| {
        caller.request();
        caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
        let (closing, let_go) = &*played.lock();
        closing.recv().unwrap();
        caller.stream.get_ref().shutdown(Shutdown::Write).unwrap();
        let_go.send(matches!(caller.stream.read(&mut [0]), Ok(0))).unwrap();
    });
    let world = plan(&api, "").start();
    assert_eq!(call(&world, &get("/api", &uuid(&world))).status, 200);
    close.send(()).unwrap();
    assert!(is_let_go.recv().unwrap(), "its other side is still open");
}

/// Whoever tries it waits for as long as a connection may take, and nobody else has to.
#[test]
fn one_call_tries_whether_a_server_is_back_while_the_others_go_on() {
    let (hung, good) = (FakeApi::start(|mut caller| while caller.request().is_some() {}), FakeApi::good());
    let world = of_several(&[hung.url(), good.url()]).set("gateway", "timeout", "\"1s\"").start();
    let uuid = uuid(&world);
    assert_eq!((0..2).filter(|_| call(&world, &get("/api", &uuid)).status == 504).count(), 1);
    world.turn(5);
    let mut callers: Vec<Connection> = (0..10).map(|_| connect(&world)).collect();
    for caller in &mut callers {
        caller.write(&get("/api", &uuid));
    }
    let said: Vec<u16> = callers.iter_mut().map(|caller| caller.reply().unwrap().status).collect();
    assert_eq!(said.iter().filter(|status| **status == 504).count(), 1, "{said:?}");
}

#[test]
fn a_connection_that_the_api_closed_is_not_used_again() {
    let api = FakeApi::closing(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
    eventually("the close is seen", || call(&world, &get("/api", &uuid)).status == 200);
}

#[test]
fn the_program_logs_each_refusal_with_its_cause_and_forwards_nothing() {
    let (api, away) = (FakeApi::good(), nowhere());
    let plan = routes(&format!(
        "{{ prefix = \"/api\", upstream = \"{url}\" }}, {{ prefix = \"/down\", upstream = \"{away}\" }}, \
         {{ prefix = \"/own\", upstream = \"{url}\", clients = [\"{OLD_ID}\"] }}",
        url = api.url()
    ));
    let plan = plan.client(&client("other", "")).client(&client("brief", "access_token_lifetime = \"1s\""));
    let (world, program, ours) = serving(plan, passbridge());
    let login = |id| {
        let login = program.ask(&post(TOKEN, &passport(id, OLD_SECRET)));
        world.plant(&login);
        login.text("access_token")
    };
    let (other, brief) = (login("other"), login("brief"));
    let ask = |path: &str, token: &str| Connection::open(program.gateway()).ask(&get(path, token)).status;
    eventually("its second has passed", || ask("/api", &brief) == 401);
    let served = api.seen().len();
    let revoked = login(OLD_ID);
    let fields = [("client_id", OLD_ID), ("client_secret", OLD_SECRET), ("token", revoked.as_str())];
    assert_eq!(program.ask(&post(REVOKE, &fields)).status, 200);
    let (unknown, down) = ("0c8df1ab-6f5c-4b1e-9a51-3f6f0f7b2a11", away.replace("http://", ""));
    let passed = "the token's promised time has passed";
    for (path, token, status, (outcome, fault, detail)) in [
        ("/nowhere/hunter", ours.as_str(), 404, ("not_found", "client", "no route has this host and path: /nowhere/*")),
        ("/down", &ours, 502, ("api_down", "upstream", down.as_str())),
        ("/own", &other, 404, ("not_found", "client", "the route is not for this client")),
        ("/api/%2e%2e/own", &ours, 400, ("invalid_request", "client", "the path leaves its route once it is resolved")),
        ("/api", unknown, 401, ("token_unknown", "client", "nobody was given this token here")),
        ("/api", &brief, 401, ("token_over", "client", passed)),
        ("/api", &revoked, 401, ("token_over", "client", "the client revoked its login")),
        ("/api", "a.b.c", 401, ("token_unknown", "client", "a JWT, and the route takes none from clients")),
    ] {
        assert_eq!(ask(path, token), status, "{path}");
        let tells = |line: &serde_json::Value| {
            (&line["endpoint"], line["status"].as_u64(), &line["outcome"], &line["fault"])
                == (&"api".into(), Some(status.into()), &outcome.into(), &fault.into())
                && line["detail"].as_str().unwrap().contains(detail)
        };
        eventually(&format!("{path}: {detail}"), || program.lines("request").iter().any(tells));
    }
    assert_eq!(api.seen().len(), served, "none of them went on");
    for token in [ours.as_str(), &other, &brief, &revoked, unknown] {
        assert!(!program.log().contains(token), "no token is logged");
    }
}

#[test]
fn a_refusal_ends_the_connection_only_where_a_body_may_be_left_unread() {
    let api = FakeApi::good();
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let stranger = "00000000-0000-4000-8000-000000000000";
    let mut connection = connect(&world);
    for path in ["/elsewhere", "/api"] {
        let reply = connection.ask(&get(path, stranger));
        assert!(reply.status > 400 && reply.header("connection").is_none(), "{path}: {}", reply.head);
    }
    assert_eq!(connection.ask(&get("/api", &uuid)).body, "good", "on the same connection");
    let with_body = |path: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {stranger}\r\n{body}").into_bytes()
    };
    // All of it is here, and passed over.
    let next = get("/api", &uuid);
    for (path, status) in [("/elsewhere", 404), ("/api", 401)] {
        let refused = with_body(path, "Content-Length: 5\r\n\r\nabcde");
        connection.write(&[refused, next.clone()].concat());
        let reply = connection.reply().unwrap();
        assert_eq!((reply.status, reply.header("connection")), (status, None), "{path}");
        assert_eq!(connection.reply().unwrap().body, "good", "{path}: what stands behind it is the next");
    }
    for unread in ["Content-Length: 6\r\n\r\nabcde", "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"] {
        let mut connection = connect(&world);
        let reply = connection.ask(&with_body("/api", unread));
        let connected = reply.header("connection").map(|said| said.to_ascii_lowercase());
        assert_eq!((reply.status, connected.as_deref()), (401, Some("close")), "{unread}");
        assert!(connection.is_closed(), "{unread}");
    }
}

#[test]
fn a_refusal_behind_a_body_that_the_api_has_read_leaves_the_connection_to_its_client() {
    let api = FakeApi::start(|mut caller| {
        if caller.request().is_some_and(|seen| !seen.head.starts_with("POST")) {
            caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
        }
    });
    let world = plan(&api, "").start();
    let uuid = uuid(&world);
    let mut connection = connect(&world);
    for body in ["Content-Length: 5\r\n\r\nabcde", "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"] {
        let call = format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {uuid}\r\n{body}");
        let reply = connection.ask(call.as_bytes());
        assert_eq!((reply.status, reply.header("connection")), (502, None), "{body}");
    }
}
