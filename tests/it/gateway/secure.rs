//! APIs that speak TLS.

use std::fs;
use std::io::Read;

use serde_json::Value;

use super::{call, connect, get, nowhere, refused, routes, told, uuid};
use crate::support::tls::{Authority, Shown, TlsFront};
use crate::support::{FakeApi, World};

/// A world with one API behind TLS. `host`: the name that the route has for it; `more`: further keys.
fn world(url: &str, trusted: &Authority, more: &str) -> World {
    let mut world =
        routes(&format!("{{ prefix = \"/api\", upstream = \"{url}\", ca = \"api-ca.pem\"{more} }}")).files();
    fs::write(world.path().join("api-ca.pem"), &trusted.pem).unwrap();
    world.begin();
    world
}

#[test]
fn an_api_over_tls_is_called_and_its_connection_kept() {
    let (api, authority) = (FakeApi::good(), Authority::new());
    let front = TlsFront::start(&authority.shown("localhost", None), api.address());
    let world = world(&front.url("localhost"), &authority, "");
    let uuid = uuid(&world);
    let mut connection = connect(&world);
    for _ in 0..3 {
        assert_eq!(connection.ask(&get("/api/x", &uuid)).body, "good");
    }
    assert_eq!((api.seen().len(), api.connections()), (3, 1));
    assert_eq!(api.seen()[0].header("host").as_deref(), Some("api.example.org"), "as the client sent it");
    assert!(api.seen()[0].header("authorization").unwrap().starts_with("Bearer eyJ"));
}

#[test]
fn an_api_is_known_by_its_address_where_its_certificate_names_that() {
    let (api, authority) = (FakeApi::good(), Authority::new());
    let front = TlsFront::start(&authority.shown("127.0.0.1", None), api.address());
    let world = world(&front.url("127.0.0.1"), &authority, ", upstream_host = \"upstream\"");
    assert_eq!(call(&world, &get("/api", &uuid(&world))).body, "good");
    let host = front.url("127.0.0.1").replace("https://", "");
    assert_eq!(api.only().header("host"), Some(host));
}

/// A call to an API that shows this; nothing of it may arrive.
fn is_refused(shown: &Shown, trusted: &Authority, why: &str) {
    let api = FakeApi::good();
    let front = TlsFront::start(shown, api.address());
    let world = world(&front.url("localhost"), trusted, "");
    let reply = call(&world, &get("/api", &uuid(&world)));
    assert_eq!(refused(&reply), told(502, "temporarily_unavailable", "3003000"), "{why}");
    assert!(api.seen().is_empty(), "{why}");
    let lines = world.log(why);
    let server = front.url("localhost").replace("https://", "");
    let is_of_it = |line: &&Value| line["detail"].as_str().is_some_and(|detail| detail.starts_with(&server));
    let line = lines.iter().find(is_of_it).unwrap_or_else(|| panic!("no line says `{why}`"));
    assert_eq!((&line["outcome"], &line["fault"]), (&"api_down".into(), &"upstream".into()));
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    is_refused(&authority.shown("other.example.org", None), &authority, "its certificate is for another name");
}

#[test]
fn a_certificate_that_is_over_is_refused() {
    let authority = Authority::new();
    is_refused(&authority.shown("localhost", Some(2020)), &authority, "its certificate has expired");
}

#[test]
fn a_certificate_that_nobody_trusted_vouches_for_is_refused() {
    let shown = Authority::new().shown("localhost", None);
    is_refused(&shown, &Authority::new(), "nobody who is trusted vouches for its certificate");
}

#[test]
fn an_api_that_speaks_no_tls_is_down() {
    let (api, authority) = (FakeApi::closing(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Authority::new());
    let world = world(&api.url().replace("http://127.0.0.1", "https://localhost"), &authority, "");
    let reply = call(&world, &get("/api", &uuid(&world)));
    assert_eq!(refused(&reply), told(502, "temporarily_unavailable", "3003000"));
    let port = api.address().port();
    assert!(!world.log(&format!("localhost:{port}: it speaks no TLS; is it http://?")).is_empty());
}

#[test]
fn an_api_that_does_not_shake_hands_is_given_up() {
    let api = FakeApi::start(|mut caller| {
        let mut piece = [0; 64];
        while caller.stream.read(&mut piece).is_ok_and(|count| count > 0) {}
    });
    let mut world = world(&nowhere().replace("http://", "https://"), &Authority::new(), "");
    let url = api.url().replace("http://", "https://");
    world.change("gateway", "route", &format!("[{{ prefix = \"/api\", upstream = \"{url}\", ca = \"api-ca.pem\" }}]"));
    world.change("gateway", "connect_timeout", "\"200ms\"");
    world.restart();
    let reply = call(&world, &get("/api", &uuid(&world)));
    assert_eq!(refused(&reply), told(502, "temporarily_unavailable", "3003000"));
    assert!(!world.log("no TLS in time").is_empty());
}

#[test]
fn a_ca_that_cannot_be_used_is_a_finding() {
    for (pem, why) in
        [("", "`ca` has no certificate in it"), ("-----BEGIN CERTIFICATE-----\nx\n", "`ca` is no PEM file")]
    {
        let mut world = routes("{ prefix = \"/api\", upstream = \"https://localhost\", ca = \"api-ca.pem\" }").files();
        fs::write(world.path().join("api-ca.pem"), pem).unwrap();
        let error = format!("{:?}", world.try_begin().unwrap_err());
        assert!(error.contains("unfit-certificate") && error.contains(why), "{error}");
    }
    let mut world = routes("{ prefix = \"/api\", upstream = \"https://localhost\", ca = \"absent.pem\" }").files();
    assert!(format!("{:?}", world.try_begin().unwrap_err()).contains("unreadable-file"));
}
