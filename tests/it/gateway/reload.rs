//! Routes that change while the bridge runs.

use std::sync::mpsc::channel;

use parking_lot::Mutex;

use super::{call, connect, get, plan, refused, told, uuid};
use crate::support::{FakeApi, OLD_ID, OLD_SECRET, World, client, passport};

fn lead(world: &mut World, routes: &[(&str, &FakeApi)]) {
    let route = |(prefix, api): &(&str, &FakeApi)| format!("{{ prefix = \"{prefix}\", upstream = \"{}\" }}", api.url());
    world.change("gateway", "route", &format!("[{}]", routes.iter().map(route).collect::<Vec<_>>().join(", ")));
    world.running().reload().unwrap();
}

#[test]
fn routes_come_and_go_without_a_restart_and_the_others_keep_their_connections() {
    let (api, next) = (FakeApi::good(), FakeApi::good());
    let mut world = plan(&api, "").set("server", "workers", "2").start();
    let uuid = uuid(&world);
    let mut connection = connect(&world);
    assert_eq!(connection.ask(&get("/api", &uuid)).status, 200);
    assert_eq!(call(&world, &get("/next", &uuid)).status, 404);
    lead(&mut world, &[("/next", &next), ("/api", &api)]);
    for _ in 0..8 {
        assert_eq!(call(&world, &get("/next", &uuid)).status, 200, "whichever worker is asked");
    }
    let before = api.connections();
    assert_eq!(connection.ask(&get("/api", &uuid)).status, 200);
    assert_eq!((api.connections(), next.seen().len()), (before, 8), "the same connection");
    lead(&mut world, &[("/api", &next)]);
    assert_eq!(connection.ask(&get("/api", &uuid)).status, 200);
    assert_eq!((api.seen().len(), next.seen().len()), (2, 9), "the route leads elsewhere");
    assert_eq!(refused(&connection.ask(&get("/next", &uuid))), told(404, "not_found", "3003000"));
}

#[test]
fn questions_go_by_the_new_routes_too() {
    let api = FakeApi::good();
    let mut world = plan(&api, "").start();
    let line = format!("GET /next HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", uuid(&world));
    let ask = |world: &World| {
        let address = world.running().addresses().authz.unwrap();
        crate::support::Connection::open(address).ask(line.as_bytes()).status
    };
    assert_eq!(ask(&world), 404);
    lead(&mut world, &[("/next", &api)]);
    assert_eq!(ask(&world), 200);
}

#[test]
fn a_route_to_no_server_is_refused_whole_and_calls_go_where_they_went() {
    let api = FakeApi::good();
    let mut world = plan(&api, "").start();
    let uuid = uuid(&world);
    world.change("gateway", "route", "[{ prefix = \"/api\", upstream = [] }]");
    assert!(world.running().reload().is_err());
    assert_eq!(call(&world, &get("/api", &uuid)).status, 200);
}

#[test]
fn a_call_whose_client_has_left_the_mappings_names_it_to_operators() {
    let api = FakeApi::good();
    let mut world = plan(&api, "").client(&client("the-last-of-them", "")).start();
    let reply = world.token(&passport("the-last-of-them", OLD_SECRET));
    world.change_clients(&[client(OLD_ID, "")]);
    world.running().reload().unwrap();
    assert_eq!(call(&world, &get("/api", &reply.text("access_token"))).status, 500);
    let line = world.log("in no mapping any more").pop().expect("it is told");
    assert_eq!(line["detail"], "the client of this token is in no mapping any more: the-last-of-them");
    assert_eq!(line["fault"], "operator");
}

#[test]
fn a_call_that_is_under_way_ends_as_it_began() {
    let (say, asked) = channel::<()>();
    let (open, gate) = channel::<()>();
    let (say, gate) = (Mutex::new(say), Mutex::new(gate));
    let slow = FakeApi::start(move |mut caller| {
        while caller.request().is_some() {
            say.lock().send(()).unwrap();
            gate.lock().recv().unwrap();
            caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow");
        }
    });
    let next = FakeApi::good();
    let mut world = plan(&slow, "").start();
    let uuid = uuid(&world);
    let mut waiting = connect(&world);
    waiting.write(&get("/api", &uuid));
    asked.recv_timeout(crate::support::PATIENCE).unwrap();
    lead(&mut world, &[("/api", &next)]);
    assert_eq!(call(&world, &get("/api", &uuid)).body, "good");
    open.send(()).unwrap();
    assert_eq!(waiting.reply().unwrap().body, "slow");
}

#[test]
fn what_a_call_may_cost_needs_a_restart_and_is_told() {
    let api = FakeApi::good();
    let mut world = plan(&api, "").start();
    world.change("gateway", "timeout", "\"5s\"");
    world.running().reload().unwrap();
    assert!(world.log("needs_restart").iter().any(|line| line["section"] == "gateway"));
}
