//! `passbridge doctor`: doors that do not open, and what is behind those that do.

use std::fs;

use serde_json::Value;

use super::doctor::{codes, doctor, healthy};
use super::{run, talk};
use crate::support::program::Program;
use crate::support::tls::{Authority, Shown, TlsFront};
use crate::support::{FakeApi, Mood, NEW_ID, OLD_ID, OLD_SECRET, Plan, TOKEN, World, eventually, passport, post};

fn told<'f>(findings: &'f [Value], code: &str, part: &str) -> &'f str {
    findings.iter().find(|finding| finding["code"] == code).unwrap()[part].as_str().unwrap()
}

/// With an old API, and an old server that is not the matter.
fn with_old_api(old: &FakeApi, api: &str) -> Plan {
    let plan = Plan::new().set("otk", "url", &format!("\"{}\"", old.url())).set("otk", "api", &format!("\"{api}\""));
    plan.set("listen", "gateway", "\"127.0.0.1:0\"")
}

#[test]
fn an_old_api_that_is_not_there_is_told_and_one_that_is_there_hears_nothing() {
    let old = FakeApi::good();
    let mut world = with_old_api(&old, &old.url()).files();
    healthy(&world);
    let (status, findings) = doctor(&world, &[]);
    assert_eq!((status, codes(&findings)), (Some(0), vec![]), "{findings:#?}");
    eventually("the server and the API are knocked at", || old.connections() == 2);
    assert!(old.seen().is_empty());
    world.change("otk", "api", "\"http://127.0.0.1:1\"");
    let (status, findings) = doctor(&world, &[]);
    assert_eq!((status, codes(&findings)), (Some(1), vec!["old-api-unreachable"]), "{findings:#?}");
    let message = told(&findings, "old-api-unreachable", "message");
    assert!(message.starts_with("http://127.0.0.1:1: the old API cannot be reached: "), "{message}");
    assert!(told(&findings, "old-api-unreachable", "hint").contains("`otk.api`"));
    let last = talk(&run(&world, &["doctor"], ""));
    assert!(last.ends_with("warnings: 0: what goes to the old server would fail\n"), "{last}");
}

#[test]
fn an_old_api_is_shaken_hands_with_as_a_call_would() {
    let (old, authority) = (FakeApi::good(), Authority::new());
    let front = TlsFront::start(&authority.shown("localhost", None), old.address());
    let world = with_old_api(&old, &front.url("localhost")).set("otk", "ca", "\"old-ca.pem\"").files();
    healthy(&world);
    fs::write(world.path().join("old-ca.pem"), &authority.pem).unwrap();
    assert_eq!(codes(&doctor(&world, &[]).1), [""; 0]);
    fs::write(world.path().join("old-ca.pem"), &Authority::new().pem).unwrap();
    let (status, findings) = doctor(&world, &[]);
    assert_eq!((status, codes(&findings)), (Some(1), vec!["old-api-unreachable"]), "{findings:#?}");
    let message = told(&findings, "old-api-unreachable", "message");
    assert!(message.ends_with("nobody who is trusted vouches for its certificate; `ca` names who does"), "{message}");
}

/// What is found of a realm that speaks TLS with this certificate, by a bridge that trusts this authority.
fn behind(shown: &Shown, trusted: &Authority) -> (Option<i32>, Vec<Value>) {
    let mut world = Plan::new().set("realm", "ca", "\"realm-ca.pem\"").files();
    fs::write(world.path().join("realm-ca.pem"), &trusted.pem).unwrap();
    let front = TlsFront::start(shown, world.realm.address);
    let url = format!("{}/auth/realms/SSO", front.url("localhost"));
    world.change("realm", "urls", &format!("[\"{url}\"]"));
    healthy(&world);
    world.realm.usually_at("openid-configuration", super::doctor::described(&url, ""));
    doctor(&world, &[])
}

#[test]
fn the_realms_certificate_is_told_where_it_is_over_or_nobody_vouches_for_it_or_it_is_anothers() {
    let authority = Authority::new();
    let fine = behind(&authority.shown("localhost", None), &authority);
    assert_eq!((fine.0, codes(&fine.1)), (Some(0), vec![]), "{:#?}", fine.1);
    for (shown, trusted, code, words, hint) in [
        (
            &authority.shown("localhost", Some(2001)),
            &authority,
            "certificate-expired",
            "its certificate has expired",
            "put the next one in its place",
        ),
        (
            &authority.shown("localhost", None),
            &Authority::new(),
            "certificate-refused",
            "nobody who is trusted vouches for its certificate",
            "`realm.ca`",
        ),
        (
            &authority.shown("elsewhere.example.org", None),
            &authority,
            "certificate-refused",
            "its certificate is for another name",
            "`realm.urls`",
        ),
        (
            &authority.own,
            &authority,
            "certificate-refused",
            "its certificate is that of an authority (CA:TRUE), which no server may show",
            "CA:FALSE",
        ),
    ] {
        let (status, findings) = behind(shown, trusted);
        assert_eq!((status, codes(&findings)), (Some(1), vec![code]), "{findings:#?}");
        let message = told(&findings, code, "message");
        assert!(message.starts_with("https://localhost:") && message.contains(words), "{message}");
        assert!(told(&findings, code, "hint").contains(hint), "{findings:#?}");
    }
}

#[test]
fn a_realm_that_is_asked_by_tls_and_speaks_none_is_told_so() {
    let clear = FakeApi::closing(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let url = format!("https://{}/auth/realms/SSO", clear.address());
    let world = Plan::new().set("realm", "urls", &format!("[\"{url}\"]")).files();
    let (status, findings) = doctor(&world, &[]);
    assert_eq!((status, codes(&findings)), (Some(1), vec!["realm-unreachable"]), "{findings:#?}");
    let message = told(&findings, "realm-unreachable", "message");
    assert!(message.ends_with("the realm cannot be reached: it speaks no TLS; is it http://?"), "{message}");
}

#[test]
fn the_realms_certificate_that_ends_within_thirty_days_is_told_and_blocks_nothing() {
    let authority = Authority::new();
    let (status, findings) = behind(&authority.shown_for("localhost", 20), &authority);
    assert_eq!((status, codes(&findings)), (Some(0), vec!["certificate-expiring"]), "{findings:#?}");
    let message = told(&findings, "certificate-expiring", "message");
    assert!(message.starts_with("the certificate of https://localhost:"), "{message}");
    let (status, findings) = behind(&authority.shown_for("localhost", 40), &authority);
    assert_eq!((status, codes(&findings)), (Some(0), vec![]), "{findings:#?}");
}

#[test]
fn a_client_that_the_realms_settings_do_not_have_is_told_to_a_reader() {
    let world = Plan::new().files();
    healthy(&world);
    // Three knocks find out how long a parameter may be.
    for _ in 0..3 {
        world.realm.next_at("token", Mood::Refuse(400, "invalid_grant", "a"));
    }
    let token = "{\"access_token\":\"e30.e30.c2ln\",\"expires_in\":60}";
    world.realm.usually_at("token", Mood::answer(200, "application/json", token));
    world.realm.usually_at("SSO", Mood::answer(200, "application/json", "{\"revokeRefreshToken\":false}"));
    world.realm.usually_at("client-scopes", Mood::answer(200, "application/json", "[]"));
    world.realm.usually_at(&format!("clients?clientId={NEW_ID}"), Mood::answer(200, "application/json", "[]"));
    let (status, findings) = doctor(&world, &["--reader", "reader"]);
    assert_eq!(status, Some(1), "{findings:#?}");
    assert!(codes(&findings).contains(&"client-unknown"), "{findings:#?}");
    let finding = findings.iter().find(|finding| finding["code"] == "client-unknown").unwrap();
    assert_eq!((&finding["client"], &finding["severity"]), (&OLD_ID.into(), &"error".into()));
    assert!(told(&findings, "client-unknown", "message").contains(&format!("no client `{NEW_ID}`")));
}

#[test]
fn a_client_policy_that_prohibits_the_password_grant_is_told_as_a_grant_that_is_off() {
    let world = Plan::new().files();
    healthy(&world);
    let prohibited = "resource owner password credentials grant is prohibited.";
    world.realm.usually_at("token", Mood::Refuse(400, "invalid_grant", prohibited));
    let (status, findings) = doctor(&world, &[]);
    assert_eq!((status, codes(&findings)), (Some(1), vec!["direct-grants-off"]), "{findings:#?}");
    assert!(told(&findings, "direct-grants-off", "hint").contains("reject-ropc-grant"), "{findings:#?}");
}

fn login(program: &Program) -> u16 {
    program.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))).status
}

/// Has doctor ask the ops listener of this program.
fn asking(world: &mut World, program: &Program) {
    world.change("listen", "ops", &format!("\"{}\"", program.ops));
}

#[test]
fn a_store_that_cannot_be_written_is_told_by_the_bridge_that_has_it() {
    let mut world = Plan::new().files();
    let program = Program::serve(&world);
    assert_eq!(login(&program), 200);
    asking(&mut world, &program);
    program.limit("1");
    assert_eq!(login(&program), 500);
    healthy(&world);
    let (status, findings) = doctor(&world, &[]);
    assert_eq!((status, codes(&findings)), (Some(1), vec!["store-refusing"]), "{findings:#?}");
    assert!(told(&findings, "store-refusing", "message").contains("cannot write: "), "{findings:#?}");
    program.limit("unlimited");
    // A token endpoint that grants, for the login that shows that there is room.
    world.realm.usually_at("token", Mood::Grant(crate::support::Granting::default()));
    eventually("there is room", || login(&program) == 200);
    healthy(&world);
    let (status, findings) = doctor(&world, &[]);
    assert_eq!((status, codes(&findings)), (Some(0), vec![]), "{findings:#?}");
}
