//! Who answers: the old server or the bridge, stage by stage.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value::Null;

use super::{is_old, plan, world};
use crate::cli::said::run;
use crate::support::raw::post_body;
use crate::support::world::{INTROSPECT, REVOKE};
use crate::support::{FakeOld, OLD_ID, OLD_SECRET, RawReply, TOKEN, World, client, passport, post, post_with};

/// Asks without the checks that hold for what the bridge says itself.
fn ask(world: &World, path: &str, fields: &[(&str, &str)]) -> RawReply {
    let reply = world.connect().ask(&post(path, fields));
    world.plant(&reply);
    reply
}

fn refresh(token: &str) -> [(&str, &str); 4] {
    [("grant_type", "refresh_token"), ("client_id", OLD_ID), ("client_secret", OLD_SECRET), ("refresh_token", token)]
}

fn about(token: &str) -> [(&str, &str); 3] {
    [("client_id", OLD_ID), ("client_secret", OLD_SECRET), ("token", token)]
}

fn stage(world: &mut World, stage: &str) {
    world.change_clients(&[client(OLD_ID, &format!("stage = \"{stage}\""))]);
    world.running().reload().unwrap();
}

#[test]
fn at_stage_legacy_the_old_server_answers_everything() {
    let old = FakeOld::start();
    let world = world(&old, "legacy");
    let login = ask(&world, TOKEN, &passport(OLD_ID, OLD_SECRET));
    assert_eq!(login.status, 200);
    let (access, first) = (login.text("access_token"), login.text("refresh_token"));
    let next = ask(&world, TOKEN, &refresh(&first));
    assert_eq!(next.status, 200);
    assert!(ask(&world, INTROSPECT, &about(&access)).body.contains("true"));
    assert_eq!(ask(&world, REVOKE, &about(&access)).status, 200);
    assert!(!old.is_live(&access), "the old server heard it");
    let wrong = ask(&world, TOKEN, &passport(OLD_ID, "planted-wrong"));
    assert_eq!(wrong.status, 401);
    let odd = ask(&world, TOKEN, &[("client_id", OLD_ID), ("client_secret", OLD_SECRET), ("grant_type", "saml")]);
    assert!(is_old(&odd));
    for reply in [&login, &next, &wrong] {
        assert!(is_old(reply), "{}", reply.head);
    }
    assert_eq!(world.realm.count(), 0, "the realm is not asked");
    assert_eq!(world.verifications(), 0, "and nobody's secret is verified here");
    let answered =
        |answer: &str| world.metric(&format!("passbridge_old_server_total{{client=\"{OLD_ID}\",answer=\"{answer}\"}}"));
    assert_eq!((answered("2xx"), answered("4xx")), (5.0, 1.0));
    let told = world.log("\"outcome\":\"passed\"");
    let mut ours = told.iter().filter(|line| line["claimed"] == OLD_ID && line["stage"] == "legacy").peekable();
    assert!(ours.peek().is_some(), "{told:?}");
    assert!(
        ours.all(|line| line["old_ms"].is_number() && line["client"].is_null()),
        "nobody proved anything: {told:?}"
    );
}

#[test]
fn of_a_secret_that_the_old_server_looks_at_it_is_not_said_that_nobody_uses_it() {
    let old = FakeOld::start();
    let token = "{ env = \"NEW_SECRET\" }";
    let world = plan(&old).set("ops", "token", token).client(&client(OLD_ID, "stage = \"legacy\"")).start();
    assert!(is_old(&ask(&world, TOKEN, &passport(OLD_ID, OLD_SECRET))));
    let json = || run(&world, &["client", "show", OLD_ID, "--format", "json"], "").fine().json();
    let human = || run(&world, &["client", "show", OLD_ID], "").fine().out;
    let words = "old secret   env:OLD_SECRET, last use not known: at stage legacy the old server looks at it\n";
    assert!(human().contains(words), "{}", human());
    assert_eq!((&json()["used_since"], &json()["legacy_secrets"][0]["last_used"]), (&Null, &Null));
    // What was before its move, the bridge does not know either.
    run(&world, &["client", "stage", OLD_ID, "live", "--why", "a test"], "").fine();
    let moved = json();
    assert_eq!(moved["used_since"], moved["stage_change"]["at"], "{moved}");
    assert!(!is_old(&ask(&world, TOKEN, &passport(OLD_ID, OLD_SECRET))));
    assert!(human().contains("old secret   env:OLD_SECRET, used 20"), "{}", human());
    // At a canary some of them are looked at here.
    let canary = ["client", "stage", OLD_ID, "canary", "--percent", "50", "--why", "a test"];
    run(&world, &canary, "").fine();
    assert!(human().contains("old secret   env:OLD_SECRET, used 20"), "{}", human());
    assert_ne!(json()["used_since"], Null);
}

#[test]
fn a_client_is_known_by_its_id_wherever_that_stands() {
    let old = FakeOld::start();
    let world = world(&old, "legacy");
    let basic = format!("Basic {}", STANDARD.encode(format!("{OLD_ID}:x")));
    let by_basic = world.connect().ask(&post_with(TOKEN, &[("Authorization", &basic)], &[("grant_type", "passport")]));
    let by_query = world.connect().ask(&post(&format!("{TOKEN}?client_id={OLD_ID}&client_secret=x"), &[]));
    let by_delete = world
        .connect()
        .ask(format!("DELETE {REVOKE}?client_id={OLD_ID}&token=x HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    let by_json = world.connect().ask(
        format!("POST {TOKEN}?client_id={OLD_ID} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes(),
    );
    for reply in [by_basic, by_query, by_delete, by_json] {
        assert!(is_old(&reply), "{}", reply.head);
    }
    assert_eq!(old.count(), 4);
}

#[test]
fn who_names_two_clients_of_two_minds_is_passed_to_nobody() {
    let old = FakeOld::start();
    let clients = [client("goes", "stage = \"live\"\nclient_id = \"goes\""), client(OLD_ID, "stage = \"legacy\"")];
    let world = clients.iter().fold(plan(&old), |plan, client| plan.client(client)).start();
    let basic = format!("Basic {}", STANDARD.encode(format!("goes:{OLD_SECRET}")));
    let reply = world.ask(&post_with(TOKEN, &[("Authorization", &basic)], &passport(OLD_ID, OLD_SECRET)));
    assert_eq!(reply.said(), (400, "invalid_request".to_owned()));
    let twice = world.token_body(format!("client_id={OLD_ID}&client_id=goes&grant_type=passport").as_bytes());
    assert_eq!(twice.said(), (400, "invalid_request".to_owned()));
    assert_eq!(old.count(), 0);
}

#[test]
fn a_client_in_no_mapping_is_passed_and_counted_or_refused_as_configured() {
    let old = FakeOld::start();
    old.knows("stranger-of-stages", "planted-strange");
    let mut world = world(&old, "live");
    let reply = ask(&world, TOKEN, &passport("stranger-of-stages", "planted-strange"));
    assert_eq!((reply.status, is_old(&reply)), (200, true));
    assert!(is_old(&ask(&world, TOKEN, &[("grant_type", "passport")])), "who names nobody is unknown too");
    let counted = |world: &World, answer: &str| {
        world.metric(&format!("passbridge_old_server_total{{client=\"unknown\",answer=\"{answer}\"}}"))
    };
    assert_eq!((counted(&world, "2xx"), counted(&world, "4xx")), (1.0, 1.0));
    assert_eq!(world.log("\"claimed\":\"stranger-of-stages\"").len(), 1, "the log has the id");
    world.change("otk", "unknown_clients", "\"refuse\"");
    world.running().reload().unwrap();
    let refused = world.token(&passport("stranger-of-stages", "planted-strange"));
    assert_eq!(refused.said(), (401, "invalid_client".to_owned()));
    assert_eq!(old.count(), 2);
}

#[test]
fn an_old_secret_that_stands_where_an_id_does_is_not_told_though_the_old_server_answers() {
    let old = FakeOld::start();
    for stage in ["legacy", "live"] {
        let world = world(&old, stage);
        let pair = format!("{OLD_ID}:{OLD_SECRET}");
        for (id, secret) in [(pair.as_str(), OLD_SECRET), (OLD_SECRET, OLD_ID)] {
            assert_eq!(ask(&world, TOKEN, &passport(id, secret)).status, 401);
        }
        let encoded = format!("Basic {}", STANDARD.encode(pair.replace(':', "%3A") + ":"));
        let fields = [("grant_type", "passport"), ("token", "x")];
        for path in [TOKEN, REVOKE] {
            let reply = world.connect().ask(&post_with(path, &[("Authorization", &encoded)], &fields));
            assert!(is_old(&reply), "{}", reply.body);
        }
        assert!(!world.log(&format!("\"claimed\":\"{OLD_ID}\"")).is_empty());
        assert!(world.log(OLD_SECRET).is_empty());
    }
}

#[test]
fn an_id_that_looks_like_a_token_is_told_once_the_old_server_takes_it_for_one() {
    let id = "54f0c455-4d80-421f-82ca-9194df24859d";
    let old = FakeOld::start();
    old.knows(id, "planted-strange");
    let world = world(&old, "live");
    assert_eq!(ask(&world, TOKEN, &passport(id, "planted-other")).status, 401);
    assert!(world.log(id).is_empty(), "it may be anything");
    assert_eq!(ask(&world, TOKEN, &passport(id, "planted-strange")).status, 200);
    assert_eq!(world.log(&format!("\"claimed\":\"{id}\"")).len(), 1);
}

#[test]
fn a_live_client_brings_the_old_servers_tokens_with_it() {
    let old = FakeOld::start();
    let mut world = world(&old, "legacy");
    let before = ask(&world, TOKEN, &passport(OLD_ID, OLD_SECRET));
    let (access, token) = (before.text("access_token"), before.text("refresh_token"));
    stage(&mut world, "live");
    let login = world.token(&passport(OLD_ID, OLD_SECRET));
    assert_eq!((login.status, is_old(&login)), (200, false), "a login goes to the realm");
    let next = ask(&world, TOKEN, &refresh(&token));
    assert_eq!((next.status, is_old(&next)), (200, true), "{}", next.body);
    assert!(ask(&world, INTROSPECT, &about(&access)).body.contains("true"));
    assert!(is_old(&ask(&world, REVOKE, &about(&access))));
    assert!(!old.is_live(&access));
    // Of its own tokens the bridge speaks itself.
    let heard = old.count();
    assert!(world.active(&login.text("access_token")));
    assert_eq!(world.ask(&post(TOKEN, &refresh(&login.text("refresh_token")))).status, 200);
    let wrong = [("client_id", OLD_ID), ("client_secret", "planted-wrong"), ("token", &access)];
    assert_eq!(world.ask(&post(REVOKE, &wrong)).status, 401, "a live client proves to the bridge who it is");
    assert_eq!(old.count(), heard);
    world.end();
    let passed = world.audit().into_iter().filter(|record| record["outcome"] == "passed" && record["client"] == OLD_ID);
    let passed: Vec<_> = passed.map(|record| (record["what"].clone(), record["grant"].clone())).collect();
    assert_eq!(passed, [("refresh".into(), "refresh_token".into()), ("revocation".into(), Null)]);
}

#[test]
fn what_the_bridge_made_stays_good_whatever_the_stage_becomes() {
    let old = FakeOld::start();
    let mut world = world(&old, "live");
    let login = world.login();
    for there in ["legacy", "retired", "legacy"] {
        stage(&mut world, there);
        assert!(world.active(&login.text("access_token")), "{there}");
    }
    let next = world.ask(&post(TOKEN, &refresh(&login.text("refresh_token"))));
    assert_eq!((next.status, next.text("grant_type").as_str()), (200, "refresh_token"));
    assert_eq!(old.count(), 0, "the old server hears of none of them");
    let again = ask(&world, TOKEN, &passport(OLD_ID, OLD_SECRET));
    assert!(is_old(&again), "a new login is the old server's");
    assert_eq!(world.ask(&post(REVOKE, &about(&next.text("access_token")))).status, 200);
    assert!(!world.active(&next.text("access_token")));
    assert_eq!(old.count(), 1);
}

#[test]
fn a_uuid_of_the_bridge_in_a_strangers_hands_does_not_reach_the_old_server() {
    let old = FakeOld::start();
    let world = world(&old, "live");
    let login = world.login();
    for token in [login.text("access_token"), login.text("refresh_token").to_uppercase()] {
        let reply = world.ask(&post(REVOKE, &[("client_id", "stranger"), ("client_secret", "x"), ("token", &token)]));
        assert_eq!(reply.said(), (401, "invalid_client".to_owned()));
    }
    assert_eq!(old.count(), 0);
}

#[test]
fn a_uuid_of_the_bridge_with_blanks_about_it_does_not_reach_the_old_server() {
    let old = FakeOld::start();
    let mut world = world(&old, "live");
    let access = ask(&world, TOKEN, &passport(OLD_ID, OLD_SECRET)).text("access_token");
    stage(&mut world, "legacy");
    for token in [format!(" {access}"), format!("{access}\n"), format!("\t{access}\r\n")] {
        for id in [OLD_ID, "nobody"] {
            let reply = ask(&world, INTROSPECT, &[("client_id", id), ("client_secret", "x"), ("token", &token)]);
            assert!(!is_old(&reply), "{}", reply.head);
        }
    }
    assert_eq!(old.count(), 0);
}

#[test]
fn a_request_that_names_more_uuids_than_anybody_means_is_looked_up_nowhere_and_passed_to_nobody() {
    let old = FakeOld::start();
    let world = world(&old, "live");
    let uuids =
        (0..600).map(|number| format!("refresh_token=01d00000-0000-4000-8000-{number:012}")).collect::<Vec<_>>();
    let crowd = format!("{}{}", "grant_type=refresh_token&".repeat(1_300), uuids.join("&"));
    let reply = world.token_body(crowd.as_bytes());
    assert_eq!(reply.said(), (400, "invalid_request".to_owned()));
    let about = uuids.join("&").replace("refresh_", "");
    let reply = world.ask(&post_body(REVOKE, &[], about.as_bytes()));
    assert_eq!(reply.said(), (400, "invalid_request".to_owned()));
    assert_eq!(old.count(), 0);
    let twice = "grant_type=refresh_token&grant_type=refresh_token&refresh_token=a&refresh_token=b";
    assert_eq!(world.connect().ask(&post_body(TOKEN, &[], twice.as_bytes())).status, 401);
    assert_eq!(old.count(), 1, "whatever else is odd is for the old server to answer");
}

#[test]
fn a_retired_client_gets_nothing_new_from_either_side() {
    let old = FakeOld::start();
    let mut world = world(&old, "legacy");
    let before = ask(&world, TOKEN, &passport(OLD_ID, OLD_SECRET));
    stage(&mut world, "retired");
    assert_eq!(world.token(&passport(OLD_ID, OLD_SECRET)).said(), (400, "unauthorized_client".to_owned()));
    assert_eq!(
        world.ask(&post(TOKEN, &refresh(&before.text("refresh_token")))).said(),
        (400, "invalid_grant".to_owned())
    );
    assert_eq!(old.count(), 1);
    assert!(is_old(&ask(&world, REVOKE, &about(&before.text("access_token")))), "but what it has can be ended");
}

#[test]
fn a_login_is_one_whatever_grant_its_query_names() {
    let old = FakeOld::start();
    let world = world(&old, "live");
    let target = format!("{TOKEN}?grant_type=refresh_token&refresh_token=01d00000-0000-4000-8000-000000000001");
    let reply = world.ask(&post(&target, &passport(OLD_ID, OLD_SECRET)));
    assert_eq!((reply.status, is_old(&reply), old.count()), (200, false, 0), "{}", reply.body);
}

#[test]
fn a_retired_client_is_refused_however_its_id_is_written_for_the_old_server() {
    let old = FakeOld::start();
    let world = world(&old, "retired");
    let fields = "grant_type=passport&certificate=c&signature=s&algorithm=RSA";
    let secret = OLD_SECRET;
    let basic = STANDARD.encode(format!("{OLD_ID}:{secret}"));
    for (authorization, body) in [
        (format!("Basic {}", basic.trim_end_matches('=')), fields.to_owned()),
        (format!("Basic\t{basic}"), fields.to_owned()),
        (String::new(), format!("x=1;client_id={OLD_ID};client_secret={secret}&{fields}")),
        (String::new(), format!("{fields}&Client_Id={OLD_ID}&Client_Secret={secret}")),
        (String::new(), format!("{fields}&client.id={OLD_ID}&client.secret={secret}")),
        (String::new(), format!("{fields}&clientId={OLD_ID}&clientSecret={secret}")),
    ] {
        let headers: Vec<_> =
            Some(("Authorization", authorization.as_str())).filter(|it| !it.1.is_empty()).into_iter().collect();
        let reply = world.ask(&post_body(TOKEN, &headers, body.as_bytes()));
        assert!(reply.status == 400 || reply.status == 401, "{authorization} {body}: {reply:?}");
    }
    assert_eq!(old.count(), 0);
}

#[test]
fn a_reload_takes_another_old_server_and_none_is_refused_while_a_client_needs_one() {
    let (first, second) = (FakeOld::start(), FakeOld::start());
    let mut world = world(&first, "legacy");
    assert!(is_old(&ask(&world, TOKEN, &passport(OLD_ID, OLD_SECRET))));
    world.change("otk", "url", &format!("\"{}\"", second.url()));
    world.running().reload().unwrap();
    assert!(is_old(&ask(&world, TOKEN, &passport(OLD_ID, OLD_SECRET))));
    assert_eq!((first.count(), second.count()), (1, 1));
    assert_eq!(world.ops("/readyz").json("mappings")["current"], true);
    let config = std::fs::read_to_string(world.config()).unwrap();
    let without = config.replace("[otk]", "").replace(&format!("url = \"{}\"\n", second.url()), "");
    std::fs::write(world.config(), without).unwrap();
    let findings = world.running().reload().unwrap_err().findings;
    assert_eq!(findings.iter().map(|finding| finding.code).collect::<Vec<_>>(), ["no-old-server"], "{findings:?}");
    assert!(is_old(&ask(&world, TOKEN, &passport(OLD_ID, OLD_SECRET))), "what was in use stays in use");
}

#[test]
fn without_an_old_server_an_unknown_uuid_is_refused_here() {
    let world = World::new();
    let token = "01d00000-0000-4000-8000-000000000003";
    assert_eq!(world.ask(&post(TOKEN, &refresh(token))).said(), (400, "invalid_grant".to_owned()));
    assert!(!world.active(token));
}
