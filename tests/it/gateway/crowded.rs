//! As many connections as there may be: whoever idles gives way, whoever works does not.

use std::net::SocketAddr;

use super::{get, plan, uuid};
use crate::support::frames::{self, Frames};
use crate::support::{
    Connection, FakeApi, OLD_ID, OLD_SECRET, Plan, TOKEN, World, eventually, passport, post, post_with,
};

/// What a client of HTTP/2 begins with, without a request.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What it hears in the end: the header of that frame.
const GOAWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0";

fn crowded(api: &FakeApi, connections: usize) -> World {
    plan(api, "")
        .set("limits", "connections", &connections.to_string())
        .set("limits", "head_timeout", "\"10m\"")
        .set("server", "drain", "\"1s\"")
        .start()
}

/// Each says this much, and nothing more.
fn silent(door: SocketAddr, count: usize, said: &[u8]) -> Vec<Connection> {
    let open = |_| {
        let mut connection = Connection::open(door);
        let _it_may_have_given_way = connection.write(said);
        connection
    };
    (0..count).map(open).collect()
}

fn doors(world: &World) -> [SocketAddr; 3] {
    let addresses = world.running().addresses();
    [world.legacy(), addresses.gateway.unwrap(), addresses.authz.unwrap()]
}

/// A request of which the last byte of the body is to come.
fn unfinished() -> (Vec<u8>, Vec<u8>) {
    let whole = post_with(TOKEN, &[("Expect", "100-continue")], &passport(OLD_ID, OLD_SECRET));
    let (most, last) = whole.split_at(whole.len() - 1);
    (most.to_vec(), last.to_vec())
}

#[test]
fn whoever_opens_connections_and_asks_for_nothing_shuts_nobody_out() {
    let api = FakeApi::good();
    let mut begun = 0;
    for said in [b"".as_slice(), b"GET /half/a/head", PREFACE] {
        let world = crowded(&api, 50);
        let uuid = uuid(&world);
        // Of HTTP/2 the listener of legacy clients knows nothing.
        for door in doors(&world).into_iter().skip(usize::from(said == PREFACE)) {
            let mut held = silent(door, 60, said);
            for _ in 0..10 {
                let mut login = world.connect();
                assert_eq!(login.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))).status, 200, "{begun}");
                let mut call = Connection::open(doors(&world)[1]);
                assert_eq!(call.ask(&get("/api", &uuid)).body, "good", "{begun}");
            }
            if said == PREFACE {
                held[0].until(GOAWAY);
            } else {
                assert!(held[0].is_closed(), "the first of them");
            }
            begun += 1;
        }
        assert!(world.metric("passbridge_connections_gave_way_total") >= 20.0);
        assert!(world.metric("passbridge_connections_turned_away_total") < 1.0);
        let told = world.log("\"turned_away\"");
        assert_eq!((told.len(), &told[0]["connections"]), (1, &50.into()), "once a minute: {told:?}");
    }
}

#[test]
fn whoever_works_or_was_there_a_moment_ago_does_not_give_way_to_strangers() {
    let api = FakeApi::good();
    let world = crowded(&api, 50);
    let uuid = uuid(&world);
    let (most, last) = unfinished();
    let mut uploading = silent(world.legacy(), 10, &most);
    uploading.iter_mut().for_each(Connection::wait_for_interim);
    let (mut kept, mut calling) = (world.connect(), Frames::open(doors(&world)[1]));
    for number in 0..30 {
        assert_eq!(kept.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))).status, 200, "{number}");
        let head = super::http2::head("GET", &uuid, &[]);
        calling.send(frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, 2 * number + 1, &head);
        assert_eq!(calling.until(frames::DATA).expect("its answer").body, b"good", "{number}");
        let strangers = silent(world.legacy(), 30, b"");
        eventually("all of them have come", || world.ops("/healthz").status == 200);
        drop(strangers);
    }
    for connection in &mut uploading {
        assert_eq!(connection.ask(&last).status, 200);
    }
}

#[test]
fn where_nobody_idles_newcomers_are_turned_away() {
    let world = crowded(&FakeApi::good(), 20);
    let (most, last) = unfinished();
    let mut held = silent(world.legacy(), 20, &most);
    held.iter_mut().for_each(Connection::wait_for_interim);
    assert!(Connection::open(world.legacy()).is_closed(), "everybody works");
    assert_eq!(held[0].ask(&last).status, 200);
    assert_eq!(world.token(&passport(OLD_ID, OLD_SECRET)).status, 200, "somebody rests");
    assert!(held[0].is_closed(), "he has given way");
    assert_eq!(held[1].ask(&last).status, 200);
}

#[test]
fn calls_that_wait_take_no_place_of_those_that_are_left_to_logins() {
    let api = FakeApi::start(|mut caller| while caller.request().is_some() {});
    let world = crowded(&api, 16);
    let uuid = uuid(&world);
    let calls = silent(doors(&world)[1], 14, &get("/api", &uuid));
    eventually("they wait", || api.connections() == 14);
    let mut kept = [world.connect(), world.connect()];
    assert!(Connection::open(doors(&world)[1]).is_closed(), "an eighth is not for calls");
    for kept in &mut kept {
        assert_eq!(kept.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))).status, 200);
    }
    drop(calls);
}

#[test]
fn whoever_fills_the_listener_of_operators_and_says_nothing_shuts_no_operator_out() {
    let world = Plan::new().set("limits", "head_timeout", "\"10m\"").start();
    let held = silent(world.ops_address().unwrap(), 300, b"");
    assert_eq!(world.ops("/readyz").status, 200);
    assert!(world.metric("passbridge_connections_gave_way_total") >= 40.0);
    let told = world.log("\"turned_away\"");
    assert_eq!((told.len(), &told[0]["listener"]), (1, &"ops".into()), "{told:?}");
    drop(held);
}
