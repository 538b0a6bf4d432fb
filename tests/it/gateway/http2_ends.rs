//! APIs that speak HTTP/2 and end a connection or a call before its time, frame by frame.

use super::{call, get, routes, uuid};
use crate::support::frames::{END_HEADERS, END_STREAM, Frames, HEADERS, head};
use crate::support::{FakeApi, Plan, World};

fn to(apis: &[&FakeApi]) -> Plan {
    let urls: Vec<String> = apis.iter().map(|api| format!("\"{}\"", api.url())).collect();
    routes(&format!("{{ prefix = \"/api\", upstream = [{}], http2 = true }}", urls.join(", ")))
}

/// Answers without a body.
fn answer(frames: &mut Frames, stream: u32) -> bool {
    frames.send(HEADERS, END_HEADERS | END_STREAM, stream, &head(&[(":status", "200")]))
}

/// What so many calls hear.
fn heard(world: &World, uuid: &str, method: &str) -> Vec<u16> {
    let request = String::from_utf8(get("/api", uuid)).unwrap().replacen("GET", method, 1);
    (0..6).map(|_| call(world, request.as_bytes()).status).collect()
}

#[test]
fn a_server_that_takes_calls_over_http2_and_answers_none_is_passed_over_too() {
    let silent = || Frames::api(|_, _| false);
    let wrong = || FakeApi::closing(b"SSH-2.0-OpenSSH_9.2\r\n");
    for broken in [silent(), wrong()] {
        let good = Frames::api(answer);
        let world = to(&[&broken, &good]).start();
        let uuid = uuid(&world);
        assert_eq!(heard(&world, &uuid, "GET"), [200; 6], "a safe call is sent to the next");
        assert_eq!(broken.connections(), 1, "and no second one comes here");
        world.turn(5);
        let said = heard(&world, &uuid, "POST");
        let lost = said.iter().filter(|status| **status != 200).count();
        assert_eq!((lost, broken.connections()), (1, 2), "one call may have done something: {said:?}");
    }
}

#[test]
fn a_safe_call_on_a_kept_connection_that_breaks_is_sent_once_more() {
    // Each connection answers its first call, and closes on its second.
    let api = Frames::api(|frames, stream| stream == 1 && answer(frames, stream));
    let world = to(&[&api]).start();
    let uuid = uuid(&world);
    assert_eq!((heard(&world, &uuid, "GET"), api.connections()), (vec![200; 6], 6));
    let said = heard(&world, &uuid, "POST");
    assert!(said.contains(&502), "it may have done something: {said:?}");
}
