//! An API that refuses the JWT behind a good UUID.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{call, connect, get, plan, posting, refused, routes, told, uuid};
use crate::support::frames::{
    self, CANCEL, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, RST_STREAM, WINDOW_UPDATE, frame,
};
use crate::support::{Connection, FakeApi, Granting, Mood, OLD_ID, OLD_SECRET, Plan, TOKEN, World, eventually, post};

/// An API that refuses the first so many JWTs that it sees, each as often as it comes.
fn refusing(first: usize) -> FakeApi {
    let known = Arc::new(parking_lot::Mutex::new(Vec::<String>::new()));
    FakeApi::start(move |mut caller| {
        while let Some(seen) = caller.request() {
            let bearer = seen.header("authorization").unwrap();
            let mut known = known.lock();
            let number = known.iter().position(|there| *there == bearer).unwrap_or_else(|| {
                known.push(bearer);
                known.len() - 1
            });
            drop(known);
            caller.say(if number < first {
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nX-Api: no\r\nContent-Length: 2\r\n\r\nno"
            } else {
                b"HTTP/1.1 200 OK\r\nX-Api: yes\r\nContent-Length: 4\r\n\r\ngood"
            });
        }
    })
}

fn world(api: &FakeApi) -> World {
    rotating(plan(api, "")).start()
}

fn rotating(plan: Plan) -> Plan {
    plan.set("realm", "rotation", "\"on\"")
}

/// How often the realm was asked for another JWT.
fn renewals(world: &World) -> usize {
    world.realm.seen().iter().filter(|seen| seen.field("grant_type").as_deref() == Some("refresh_token")).count()
}

#[test]
fn a_jwt_that_the_api_refuses_is_renewed_and_the_call_sent_again() {
    let api = refusing(1);
    let world = world(&api);
    let uuid = uuid(&world);
    let mut connection = connect(&world);
    let reply = connection.ask(&get("/api/x?q=1", &uuid));
    assert_eq!((reply.status, reply.body.as_str()), (200, "good"));
    assert_eq!(connection.ask(&get("/api/x?q=1", &uuid)).status, 200, "the connection goes on");
    assert_eq!(renewals(&world), 1);
    let seen = api.seen();
    assert_eq!(seen.len(), 3);
    let without_token = |number: usize| {
        let lines = seen[number].head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("authorization"));
        lines.map(str::to_ascii_lowercase).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(without_token(0), without_token(1), "the same call, but for its JWT");
    assert_ne!(seen[0].header("authorization"), seen[1].header("authorization"));
    assert_eq!(seen[1].header("authorization"), seen[2].header("authorization"));
    let note = format!("passbridge_notes_total{{client=\"{OLD_ID}\",note=\"api_refused_jwt\"}}");
    assert!((world.metric(&note) - 1.0).abs() < 0.1);
}

/// What a gRPC server says to who is not known comes with HTTP's 200, in the head of an answer that has nothing else.
#[test]
fn a_jwt_that_an_api_refuses_over_grpc_is_renewed_and_the_call_sent_again() {
    const OK: (&str, &str) = (":status", "200");
    const GRPC: (&str, &str) = ("content-type", "application/grpc");
    let ways: [(&'static [(&str, &str)], usize); 6] = [
        (&[OK, GRPC, ("grpc-status", "16")], 1),
        (&[OK, ("content-type", "Application/gRPC+proto"), ("grpc-status", "16"), ("grpc-message", "no")], 1),
        (&[OK, GRPC, ("grpc-status", "7")], 0),
        (&[OK, GRPC], 0),
        (&[OK, ("content-type", "application/json"), ("grpc-status", "16")], 0),
        (&[OK, ("grpc-status", "16")], 0),
    ];
    for (refusal, times) in ways {
        // What is longer is not sent again.
        for (length, again) in [(9, times), ((64 << 10) + 1, 0)] {
            let asked = AtomicUsize::new(0);
            let api = Frames::api(move |api, stream| {
                api.until(DATA);
                for whose in [0, stream] {
                    api.send(WINDOW_UPDATE, 0, whose, &(1_u32 << 20).to_be_bytes());
                }
                let said = if asked.fetch_add(1, Ordering::Relaxed) == 0 { refusal } else { &[(":status", "204")] };
                api.send(HEADERS, END_HEADERS | END_STREAM, stream, &frames::head(said))
            });
            let world = rotating(plan(&api, ", http2 = true")).start();
            let body = format!("Content-Length: {length}\r\n\r\n{}", "x".repeat(length));
            let reply = call(&world, &posting(&uuid(&world), &body));
            assert_eq!((reply.status, renewals(&world)), ([200, 204][again], times), "{refusal:?}, {length} bytes");
            let note = format!("passbridge_notes_total{{client=\"{OLD_ID}\",note=\"api_refused_jwt\"}}");
            assert_eq!(world.metric(&note) > 0.0, times == 1, "{refusal:?}, {length} bytes");
        }
    }
}

#[test]
fn an_api_whose_server_takes_no_head_with_a_jwt_is_told_of() {
    let api = FakeApi::start(|mut caller| {
        while caller.request().is_some() {
            caller.say(b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 2\r\n\r\nno");
        }
    });
    let world = world(&api);
    assert_eq!(call(&world, &get("/api", &uuid(&world))).status, 431);
    let note = format!("passbridge_notes_total{{client=\"{OLD_ID}\",note=\"api_refused_head\"}}");
    eventually("it is noted", || (world.metric(&note) - 1.0).abs() < 0.1);
}

#[test]
fn a_call_that_is_sent_again_to_another_server_names_that_one() {
    let (refusing, good) = (refusing(1), FakeApi::good());
    let upstreams = format!("[\"{}\", \"{}\"]", refusing.url(), good.url());
    let route = format!("{{ prefix = \"/api\", upstream = {upstreams}, upstream_host = \"upstream\" }}");
    let world = rotating(routes(&route)).start();
    assert_eq!(call(&world, &get("/api", &uuid(&world))).status, 200);
    for api in [&refusing, &good] {
        assert_eq!(api.only().header("host"), Some(api.address().to_string()));
    }
}

#[test]
fn an_api_that_refuses_the_next_jwt_too_has_the_last_word_for_a_minute() {
    let api = refusing(2);
    let world = world(&api);
    let uuid = uuid(&world);
    for calls in [2, 3, 4] {
        let reply = call(&world, &get("/api", &uuid));
        assert_eq!((reply.status, reply.body.as_str(), reply.header("x-api").as_deref()), (401, "no", Some("no")));
        assert_eq!((renewals(&world), api.seen().len()), (1, calls), "asked once more the first time only");
    }
    world.turn(59);
    assert_eq!(call(&world, &get("/api", &uuid)).status, 401);
    assert_eq!(renewals(&world), 1);
    world.turn(1);
    assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
    assert_eq!(renewals(&world), 2);
}

#[test]
fn a_renewed_jwt_is_asked_for_anew_where_the_clock_was_set_back_since() {
    let api = refusing(1);
    let world = world(&api);
    let uuid = uuid(&world);
    world.turn(900);
    assert_eq!(call(&world, &get("/api", &uuid)).status, 401, "it was renewed this moment");
    assert_eq!(renewals(&world), 1);
    world.clock.set_back(600);
    // A realm that cannot say just now: the API that refuses the old one is a reason to ask it once more.
    world.realm.next(Mood::answer(503, "text/html", "booting"));
    assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
    assert_eq!(renewals(&world), 3);
}

#[test]
fn another_login_is_renewed_on_its_own() {
    let api = refusing(2);
    let world = world(&api);
    let (first, second) = (uuid(&world), uuid(&world));
    // The first login's JWT is refused, its next one too.
    assert_eq!(call(&world, &get("/api", &first)).status, 401);
    assert_eq!(call(&world, &get("/api", &second)).status, 200, "its own JWT is the third");
    assert_eq!(renewals(&world), 1);

    let api = refusing(9);
    let world = self::world(&api);
    let (first, second) = (uuid(&world), uuid(&world));
    for uuid in [&first, &second, &first, &second] {
        assert_eq!(call(&world, &get("/api", uuid)).status, 401);
    }
    assert_eq!(renewals(&world), 2, "once for each login");
}

#[test]
fn a_call_with_a_small_body_is_sent_again_with_all_of_it() {
    let most = "x".repeat(64 << 10);
    let sized = |body: &str| format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let chunked = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n".to_owned();
    for (framing, body) in [(sized("abc"), "abc"), (sized(&most), most.as_str()), (chunked, "abcdefg")] {
        let api = refusing(1);
        let world = world(&api);
        let uuid = uuid(&world);
        let mut connection = connect(&world);
        let reply = connection.ask(&posting(&uuid, &framing));
        assert_eq!((reply.status, reply.body.as_str()), (200, "good"));
        let seen = api.seen();
        assert_eq!((renewals(&world), seen.len()), (1, 2));
        assert!(seen[1].body == body.as_bytes(), "{}", seen[1].head);
        assert_eq!(seen[1].header("content-length"), Some(body.len().to_string()));
        assert_eq!(seen[1].header("transfer-encoding"), None);
        assert_ne!(seen[0].header("authorization"), seen[1].header("authorization"));
    }
}

#[test]
fn a_call_with_a_small_body_over_http2_is_sent_again_with_all_of_it() {
    let api = refusing(1);
    let world = world(&api);
    let uuid = uuid(&world);
    super::http2::on_http2(&world, async |mut sender: super::http2::Sender| {
        let body = http_body_util::Full::from("abc");
        let mut request = super::http2::getting("/api", &uuid).map(|_| http_body_util::BodyExt::boxed_unsync(body));
        *request.method_mut() = http::Method::POST;
        assert_eq!(super::http2::ask(&mut sender, request).await.body, "good");
    });
    let seen = api.seen();
    assert_eq!((seen.len(), seen[0].body.as_slice(), seen[1].body.as_slice()), (2, &b"abc"[..], &b"abc"[..]));
}

/// As many clients send it: its length is told, and its end in a frame of its own.
#[test]
fn a_small_body_over_http2_has_passed_whole_though_its_end_is_still_to_come() {
    let api = refusing(1);
    let world = world(&api);
    let head = super::http2::head("POST", &uuid(&world), &[("content-length", "3")]);
    let mut client = Frames::open(world.running().addresses().gateway.unwrap());
    let sent =
        [frame(HEADERS, END_HEADERS, 1, &head), frame(DATA, 0, 1, b"abc"), frame(DATA, END_STREAM, 1, b"")].concat();
    assert!(client.say(&sent));
    assert_eq!(client.until(DATA).unwrap().body, b"good");
    let seen = api.seen();
    assert_eq!((seen.len(), seen[0].body.as_slice(), seen[1].body.as_slice()), (2, &b"abc"[..], &b"abc"[..]));
}

/// As others do with none: its length is told to be nothing, and its end comes in a frame of its own.
#[test]
fn a_body_of_nothing_over_http2_holds_up_no_second_try() {
    for method in ["POST", "GET"] {
        let api = refusing(1);
        let world = world(&api);
        let head = super::http2::head(method, &uuid(&world), &[("content-length", "0")]);
        let mut client = Frames::open(world.running().addresses().gateway.unwrap());
        assert!(client.say(&[frame(HEADERS, END_HEADERS, 1, &head), frame(DATA, END_STREAM, 1, b"")].concat()));
        assert_eq!(client.until(DATA).unwrap().body, b"good", "{method}");
        assert_eq!((renewals(&world), api.seen().len()), (1, 2), "{method}");
    }
}

#[test]
fn a_call_with_a_long_body_or_with_trailers_is_not_sent_again_but_the_next_one_goes_with_another_jwt() {
    let long = "x".repeat((64 << 10) + 1);
    for framing in [
        format!("Content-Length: {}\r\n\r\n{long}", long.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n", long.len()),
        "Trailer: X-Mark\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Mark: 1\r\n\r\n".to_owned(),
    ] {
        let api = refusing(1);
        let world = world(&api);
        let uuid = uuid(&world);
        assert_eq!(call(&world, &posting(&uuid, &framing)).body, "no");
        assert_eq!(call(&world, &posting(&uuid, &framing)).body, "good");
        assert_eq!((renewals(&world), api.seen().len()), (1, 2));
    }
}

#[test]
fn a_login_that_is_over_at_the_realm_is_told_so() {
    let api = refusing(9);
    let world = world(&api);
    let uuid = uuid(&world);
    world.realm.usually(Mood::Refuse(400, "invalid_grant", "Session not active"));
    for _ in 0..2 {
        assert_eq!(refused(&call(&world, &get("/api", &uuid))), told(401, "invalid_token", "3003990"));
    }
    assert_eq!((renewals(&world), api.seen().len()), (1, 1));
}

#[test]
fn a_realm_that_is_away_leaves_the_apis_word() {
    let api = refusing(9);
    let world = world(&api);
    let uuid = uuid(&world);
    world.realm.close();
    for _ in 0..2 {
        assert_eq!(call(&world, &get("/api", &uuid)).body, "no");
    }
    world.realm.listen();
    assert_eq!(call(&world, &get("/api", &uuid)).body, "no");
    assert_eq!(renewals(&world), 0, "not within the minute");
    world.turn(60);
    assert_eq!(call(&world, &get("/api", &uuid)).body, "no");
    assert_eq!(renewals(&world), 1);
}

#[test]
fn fifty_refused_at_once_are_one_renewal_and_all_are_served() {
    let api = refusing(1);
    let world = rotating(plan(&api, "")).set("server", "workers", "2").start();
    let uuid = uuid(&world);
    let gate = Arc::new(tokio::sync::Notify::new());
    world.realm.next(Mood::Gate(Arc::clone(&gate), Box::new(Mood::Grant(Granting::default()))));
    let waiting: Vec<Connection> = (0..50)
        .map(|_| {
            let mut connection = connect(&world);
            connection.write(&get("/api", &uuid));
            connection
        })
        .collect();
    eventually("all have been refused", || api.seen().len() == 50 && renewals(&world) == 1);
    gate.notify_one();
    for mut connection in waiting {
        assert_eq!(connection.reply().unwrap().body, "good");
    }
    assert_eq!(renewals(&world), 1);
}

#[test]
fn a_401_to_what_carried_no_uuid_is_the_apis_own_affair() {
    let api = refusing(9);
    let world = rotating(plan(&api, ", bearer_jwt = \"pass\"")).start();
    let _logged_in = uuid(&world);
    assert_eq!(call(&world, &get("/api", "a.b.c")).body, "no");
    assert_eq!((renewals(&world), api.seen().len()), (0, 1));
}

#[test]
fn a_renewal_waits_for_a_refresh_in_flight() {
    let api = refusing(1);
    let world = world(&api);
    let login = world.login();
    let (access, refresh) = (login.text("access_token"), login.text("refresh_token"));
    let gate = Arc::new(tokio::sync::Notify::new());
    world.realm.next(Mood::Gate(Arc::clone(&gate), Box::new(Mood::Grant(Granting::default()))));
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", OLD_ID),
        ("client_secret", OLD_SECRET),
        ("refresh_token", refresh.as_str()),
    ];
    let mut refreshing = world.connect();
    refreshing.write(&post(TOKEN, &fields));
    eventually("the realm is asked", || renewals(&world) == 1);
    let mut calling = connect(&world);
    calling.write(&get("/api", &access));
    eventually("the API has refused", || api.seen().len() == 1);
    gate.notify_one();
    assert_eq!(calling.reply().unwrap().body, "good");
    assert_eq!(world.checked(refreshing.reply().unwrap()).status, 200);
    assert_eq!(renewals(&world), 2, "the refresh, and behind it the renewal");
}

#[test]
fn whoever_hangs_up_while_another_jwt_is_asked_for_takes_it_from_nobody() {
    let api = refusing(1);
    let world = world(&api);
    let login = world.login();
    let (access, refresh) = (login.text("access_token"), login.text("refresh_token"));
    let gate = Arc::new(tokio::sync::Notify::new());
    world.realm.next(Mood::Gate(Arc::clone(&gate), Box::new(Mood::Grant(Granting::default()))));
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", OLD_ID),
        ("client_secret", OLD_SECRET),
        ("refresh_token", refresh.as_str()),
    ];
    let mut refreshing = world.connect();
    refreshing.write(&post(TOKEN, &fields));
    eventually("the realm is asked", || renewals(&world) == 1);
    let mut hasty = Frames::open(world.running().addresses().gateway.unwrap());
    let head = super::http2::head("GET", &access, &[]);
    assert!(hasty.send(HEADERS, END_HEADERS | END_STREAM, 1, &head));
    eventually("the API has refused", || api.seen().len() == 1);
    let mut patient = connect(&world);
    patient.write(&get("/api", &access));
    eventually("the API has refused again", || api.seen().len() == 2);
    assert!(hasty.send(RST_STREAM, 0, 1, &CANCEL.to_be_bytes()) && hasty.send(PING, 0, 0, &[0; 8]));
    hasty.until(PING).expect("he is heard");
    gate.notify_one();
    assert_eq!(patient.reply().unwrap().body, "good");
    assert_eq!(world.checked(refreshing.reply().unwrap()).status, 200);
    assert_eq!(renewals(&world), 2, "the refresh, and behind it the renewal");
}
