//! A refresh over real sockets, and what two who refresh at once get.

use passbridge::domain::family::{AccessFate, AccessRecord, Ending, FamilyState, RefreshRecord};
use passbridge::domain::opaque::{OpaqueToken, TokenUse};
use passbridge::domain::seal::Sealed;
use passbridge::store::{Change, Find};

use super::{
    OTHER, gated, grant, login, noted, pair, refresh, refreshed, refreshes, refreshing, refreshing_by, refused, reply,
    revoke, rotation, send, server_error, until_asked,
};
use crate::store::world::block_on;
use crate::support::{
    Granting, Mood, NEW_SECRET, OLD_ID, OLD_SECRET, Plan, RawReply, TOKEN, World, client, eventually, passport, post,
};

#[test]
fn the_answer_is_laid_out_as_in_the_document() {
    let world = World::new();
    let (_, old) = login(&world);
    let reply = refresh(&world, &old);
    let (access, refresh) = pair(&reply);
    assert_eq!(
        reply.body,
        format!(
            "{{\r\n  \"grant_type\": \"refresh_token\",\r\n  \"access_token\":\"{access}\",\r\n  \"token_type\":\"Bearer\",\r\n  \
             \"expires_in\":3600,\r\n  \"refresh_token\":\"{refresh}\",\r\n  \"scope\":\"client_registration\"\r\n}}"
        )
    );
    assert_eq!(reply.header("content-type").as_deref(), Some("application/json;charset=UTF-8"));
    assert_eq!(reply.header("pragma").as_deref(), Some("no-cache"));
}

#[test]
fn the_realm_hears_its_own_refresh_token_and_the_new_credentials_and_nothing_else() {
    let world = World::new();
    let (_, uuid) = login(&world);
    let realms = world.realm.tokens()[1].clone();
    refreshed(&world, &uuid);
    let expected = [
        ("client_id", "test_api"),
        ("client_secret", NEW_SECRET),
        ("grant_type", "refresh_token"),
        ("refresh_token", &realms),
    ];
    assert_eq!(world.realm.last().form(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(world.realm.last().header("x-forwarded-for").as_deref(), Some("127.0.0.1"), "who refreshes");
}

#[test]
fn a_refresh_token_of_any_text_goes_back_to_the_realm_as_it_came() {
    let world = World::new();
    let realms = "r \u{e4}&=+%2B\"\\\r\n";
    let answer = serde_json::json!({"access_token": "a.b.c", "expires_in": 3599, "refresh_token": realms});
    world.realm.next(Mood::answer(200, "application/json", &answer.to_string()));
    let (_, uuid) = login(&world);
    refreshed(&world, &uuid);
    assert_eq!(refreshes(&world), [realms]);
}

#[test]
fn each_refresh_gives_a_new_pair_and_spends_the_realms_newest_token() {
    let world = World::new();
    let (access, mut uuid) = login(&world);
    let mut seen = vec![access, uuid.clone()];
    for _ in 0..5 {
        let (access, next) = refreshed(&world, &uuid);
        assert!(world.active(&access));
        assert!(!seen.contains(&access) && !seen.contains(&next));
        seen.extend([access, next.clone()]);
        uuid = next;
    }
    let spent = refreshes(&world);
    let given: Vec<String> = world.realm.tokens().into_iter().skip(1).step_by(2).take(5).collect();
    assert_eq!(spent, given);
}

#[test]
fn the_old_access_uuid_stays_good_until_its_own_end() {
    let world = World::new();
    let (old, uuid) = login(&world);
    world.turn(600);
    let (new, _) = refreshed(&world, &uuid);
    assert!(world.active(&old) && world.active(&new));
    world.turn(2999);
    assert!(world.active(&old) && world.active(&new));
    world.turn(1);
    assert!(!world.active(&old) && world.active(&new));
}

#[test]
fn a_scope_that_is_asked_for_is_translated_narrowed_and_told_in_legacy_words() {
    let more = "[client.scopes]\nclient_registration = \"registration\"\nold_mail = \"email\"";
    let world = Plan::new().without_clients().client(&client(OLD_ID, more)).start();
    let granting = |scope| Mood::Grant(Granting { scope: Some(scope), ..Granting::default() });
    world.realm.next(granting("registration email profile"));
    let mut asked = passport(OLD_ID, OLD_SECRET);
    asked[3].1 = "client_registration old_mail";
    let first = world.token(&asked);
    assert_eq!(first.text("scope"), "client_registration old_mail");
    world.realm.next(granting("email profile"));
    let (_, uuid) = pair(&first);
    let narrow = world.token(&[refreshing(&uuid), vec![("scope", "old_mail")]].concat());
    assert_eq!(narrow.text("scope"), "old_mail");
    assert_eq!(world.realm.last().field("scope").as_deref(), Some("email"));
    assert_eq!(world.introspect(&narrow.text("access_token"), "").text("scope"), "old_mail");
    // Without a word about it the login's scope counts again (RFC 6749 section 6).
    world.realm.next(granting("registration email profile"));
    let (_, uuid) = pair(&narrow);
    let wide = refresh(&world, &uuid);
    assert_eq!(wide.text("scope"), "client_registration old_mail");
    assert_eq!(world.realm.last().field("scope"), None);
}

#[test]
fn a_word_of_the_realm_that_means_something_else_to_legacy_clients_is_told_to_nobody() {
    let plan = rotation("on").without_clients().client(&client(OLD_ID, "scopes = { email = \"old_mail\" }"));
    let world = plan.start();
    let granting = |scope| Mood::Grant(Granting { scope: Some(scope), ..Granting::default() });
    world.realm.usually(granting("profile email"));
    let asked: Vec<_> = passport(OLD_ID, OLD_SECRET).into_iter().filter(|(name, _)| *name != "scope").collect();
    let first = world.token(&asked);
    assert_eq!(first.text("scope"), "profile", "the realm's `email` is not the old one");
    world.realm.usually(granting("profile email old_mail"));
    let second = world.token(&asked);
    assert_eq!(second.text("scope"), "profile email");
    for (login, scope) in [(&first, "profile"), (&second, "profile email")] {
        assert_eq!(refresh(&world, &pair(login).1).text("scope"), scope);
    }
}

#[test]
fn a_scope_that_the_realm_takes_away_is_told_to_nobody_any_more() {
    let plan = rotation("on").without_clients().client(&client(OLD_ID, "scopes = { old_mail = \"email\" }"));
    let world = plan.set("realm", "recheck_after", "\"5m\"").start();
    let granting = |scope| Mood::Grant(Granting { scope: Some(scope), ..Granting::default() });
    world.realm.usually(granting("client_registration email profile"));
    let mut asked = passport(OLD_ID, OLD_SECRET);
    asked[3].1 = "client_registration old_mail";
    let (first, uuid) = pair(&world.token(&asked));
    let scope = |token: &str| world.introspect(token, "").text("scope");
    assert_eq!(scope(&first), "client_registration old_mail");
    world.realm.usually(granting("client_registration profile"));
    let reply = refresh(&world, &uuid);
    assert_eq!(reply.text("scope"), "client_registration");
    assert_eq!(scope(&reply.text("access_token")), "client_registration");
    world.turn(300);
    assert_eq!(scope(&first), "client_registration", "the JWT behind it opens no more");
    assert_eq!(world.realm.last().field("scope"), None);
}

#[test]
fn a_scope_that_the_realm_does_not_give_is_refused_and_the_login_lives() {
    let world = rotation("on").start();
    let (_, uuid) = login(&world);
    world.realm.next(Mood::Refuse(400, "invalid_scope", "Invalid scopes: more"));
    let reply = world.token(&[refreshing(&uuid), vec![("scope", "more")]].concat());
    assert_eq!(reply.header("x-ca-err").as_deref(), Some("3003115"));
    refreshed(&world, &uuid);
}

#[test]
fn a_scope_so_long_that_the_realm_would_drop_it_in_silence_is_refused() {
    let world = World::new();
    let (_, uuid) = login(&world);
    let long = "s".repeat(4001);
    let reply = world.token(&[refreshing(&uuid), vec![("scope", long.as_str())]].concat());
    assert_eq!(reply.header("x-ca-err").as_deref(), Some("3003115"));
    assert!(refreshes(&world).is_empty());
    refreshed(&world, &uuid);
}

#[test]
fn fifty_at_once_make_one_call_and_get_one_answer() {
    let world = rotation("on").set("server", "workers", "2").start();
    let (_, uuid) = login(&world);
    let gate = gated(&world, grant());
    let waiting: Vec<_> = (0..50).map(|_| send(&world, &refreshing(&uuid))).collect();
    until_asked(&world, 1);
    gate.notify_one();
    let replies: Vec<_> = waiting.into_iter().map(|connection| reply(&world, connection)).collect();
    assert_eq!(replies[0].status, 200, "{}", replies[0].body);
    assert!(replies.iter().all(|reply| reply.body == replies[0].body));
    assert_eq!(refreshes(&world).len(), 1);
    noted(&world, "replayed", 49.0);
    let asked = world.metric("passbridge_realm_seconds_count");
    assert!((asked - 2.0).abs() < 0.1, "the login and one refresh, not {asked}");
}

#[test]
fn fifty_at_once_hear_one_failure_of_the_realm() {
    let world = rotation("on").set("server", "workers", "2").start();
    let (_, uuid) = login(&world);
    let gate = gated(&world, Mood::Refuse(400, "invalid_grant", "Session not active"));
    let waiting: Vec<_> = (0..50).map(|_| send(&world, &refreshing(&uuid))).collect();
    until_asked(&world, 1);
    gate.notify_one();
    for connection in waiting {
        refused(&reply(&world, connection));
    }
    assert_eq!(refreshes(&world).len(), 1);
}

/// The same answer so many seconds later: its pair lives so much less.
fn later(first: &RawReply, seconds: u64) -> String {
    let told = first.json("expires_in").as_u64().unwrap();
    first.body.replace(&format!("\"expires_in\":{told}"), &format!("\"expires_in\":{}", told - seconds))
}

#[test]
fn an_answer_that_is_fetched_again_promises_no_more_than_is_left() {
    let plan = rotation("on").without_clients().client(&client(OLD_ID, "access_token_lifetime = \"30s\""));
    let world = plan.start();
    let (_, uuid) = login(&world);
    let first = refresh(&world, &uuid);
    assert_eq!(first.json("expires_in"), 30);
    for (turn, left) in [(20, 10), (9, 1), (1, 0), (20, 0)] {
        world.turn(turn);
        let again = refresh(&world, &uuid);
        assert_eq!((again.json("expires_in").as_u64(), pair(&again)), (Some(left), pair(&first)));
        assert_eq!(world.active(&first.text("access_token")), left > 0);
    }
    assert!(world.metric(&format!("passbridge_notes_total{{client=\"{OLD_ID}\",note=\"promise_short\"}}")) < 0.5);
}

#[test]
fn a_lost_answer_can_be_fetched_again_inside_the_grace_window() {
    let world = World::new();
    let (_, uuid) = login(&world);
    let first = refresh(&world, &uuid);
    world.turn(59);
    let again = refresh(&world, &uuid);
    assert_eq!(again.body, later(&first, 59));
    assert_eq!(refreshes(&world).len(), 1);
    noted(&world, "replayed", 1.0);
}

#[test]
fn a_lost_answer_can_be_fetched_again_though_the_used_uuids_own_end_came_in_between() {
    use passbridge::domain::opaque::{OpaqueToken, TokenUse};
    let world = World::new();
    let (_, uuid) = login(&world);
    world.turn(3590);
    let first = refresh(&world, &uuid);
    assert_eq!(first.status, 200, "{}", first.body);
    let fingerprint = OpaqueToken::parse(&uuid).unwrap().fingerprint(TokenUse::Refresh);
    let store = world.running().bridge().store.clone();
    let record = block_on(store.refresh(&fingerprint)).unwrap().unwrap();
    let left = record.until.since(world.running().bridge().clock.now());
    assert_eq!(left.as_secs(), 60, "a Redis forgets it at its end");
    world.turn(55);
    assert_eq!(refresh(&world, &uuid).body, later(&first, 55));
}

#[test]
fn a_lost_answer_can_be_fetched_again_though_the_used_uuids_end_came_while_the_realm_was_asked() {
    use passbridge::domain::opaque::{OpaqueToken, TokenUse};
    let world = World::new();
    let (_, uuid) = login(&world);
    world.turn(3590);
    let gate = gated(&world, grant());
    let waiting = send(&world, &refreshing(&uuid));
    until_asked(&world, 1);
    world.turn(20);
    gate.notify_one();
    let first = reply(&world, waiting);
    assert_eq!(first.status, 200, "{}", first.body);
    world.turn(55);
    assert_eq!(refresh(&world, &uuid).body, later(&first, 55));

    let fingerprint = OpaqueToken::parse(&uuid).unwrap().fingerprint(TokenUse::Refresh);
    let bridge = world.running().bridge();
    assert!(block_on(bridge.store.refresh(&fingerprint)).unwrap().is_some());
    world.turn(20_000);
    while block_on(bridge.store.sweep(bridge.clock.now())).unwrap().more {}
    assert_eq!(block_on(bridge.store.refresh(&fingerprint)).unwrap(), None, "it is forgotten with its family");
}

#[test]
fn whoever_waits_for_a_pair_has_it_however_long_that_takes_and_without_a_grace_window_nobody_else() {
    let world = strict("refresh_grace = \"0s\"").start();
    let (_, uuid) = login(&world);
    let gate = gated(&world, grant());
    let waiting = send(&world, &refreshing(&uuid));
    until_asked(&world, 1);
    world.turn(5);
    gate.notify_one();
    let (_, next) = pair(&reply(&world, waiting));
    world.turn(1);
    refused(&refresh(&world, &uuid));
    refreshed(&world, &next);
}

#[test]
fn a_lost_answer_can_be_fetched_again_from_another_bridge_on_the_same_files() {
    let mut world = World::new();
    let (_, uuid) = login(&world);
    let first = refresh(&world, &uuid);
    world.restart();
    assert_eq!(refresh(&world, &uuid).body, first.body);
}

#[test]
fn after_the_grace_window_reuse_is_refused_and_noted_and_the_login_lives() {
    let world = World::new();
    let (_, uuid) = login(&world);
    let (access, next) = refreshed(&world, &uuid);
    world.turn(60);
    refused(&refresh(&world, &uuid));
    noted(&world, "refresh_reuse", 1.0);
    assert!(world.active(&access));
    refreshed(&world, &next);
}

#[test]
fn only_the_newest_exchange_is_replayed() {
    let world = World::new();
    let (_, oldest) = login(&world);
    let (_, older) = refreshed(&world, &oldest);
    let newest = refreshed(&world, &older);
    refused(&refresh(&world, &oldest));
    assert_eq!(refreshed(&world, &older), newest);
    noted(&world, "refresh_reuse", 1.0);
}

#[test]
fn another_clients_uuid_is_refused_noted_and_still_its_owners() {
    let world = Plan::new().client(&client(OTHER, "")).start();
    let (access, uuid) = login(&world);
    refused(&world.token(&refreshing_by(OTHER, &uuid)));
    let foreign = format!("passbridge_notes_total{{client=\"{OTHER}\",note=\"foreign_token\"}}");
    assert!((world.metric(&foreign) - 1.0).abs() < f64::EPSILON);
    assert!(refreshes(&world).is_empty());
    assert!(world.active(&access));
    refreshed(&world, &uuid);
    refused(&world.token(&refreshing_by(OTHER, &uuid))); // nor its answer
}

#[test]
fn what_is_no_refresh_uuid_of_ours_is_refused_and_nobody_is_asked() {
    let world = World::new();
    let (access, uuid) = login(&world);
    let strangers = [access.as_str(), "7c9e6679-7425-40de-944b-e07fc1f90ae7", "nonsense", "eyJhbGciOiJIUzI1NiJ9.e30.x"];
    for stranger in strangers {
        refused(&refresh(&world, stranger));
    }
    assert!(refreshes(&world).is_empty());
    let without: Vec<_> = refreshing("").into_iter().filter(|(name, _)| *name != "refresh_token").collect();
    assert_eq!(world.token(&without).header("x-ca-err").as_deref(), Some("3003103"));
    // In capitals it is the same token.
    assert_eq!(refresh(&world, &uuid.to_ascii_uppercase()).status, 200);
}

#[test]
fn an_expired_refresh_uuid_is_refused_and_nobody_is_asked() {
    let world = World::new();
    let (_, uuid) = login(&world);
    world.turn(3599);
    refused(&refresh(&world, &uuid));
    assert!(refreshes(&world).is_empty());
}

#[test]
fn a_refresh_uuid_without_an_end_works_after_years() {
    let world = World::new();
    world.realm.usually(Mood::Grant(Granting { refresh_expires_in: Some(0), ..Granting::default() }));
    let (_, uuid) = login(&world);
    world.turn(5 * 365 * 24 * 3600);
    refreshed(&world, &uuid);
}

#[test]
fn a_client_that_hangs_up_loses_nothing() {
    let world = rotation("on").start();
    let (_, uuid) = login(&world);
    let gate = gated(&world, grant());
    let hasty = send(&world, &refreshing(&uuid));
    until_asked(&world, 1);
    drop(hasty);
    gate.notify_one();
    let patient = refresh(&world, &uuid);
    assert_eq!(patient.status, 200, "{}", patient.body);
    assert_eq!(refresh(&world, &uuid).body, patient.body);
    assert_eq!(refreshes(&world).len(), 1);
}

#[test]
fn a_realm_that_gives_no_new_refresh_token_leaves_the_old_one_good() {
    let world = rotation("off").start();
    let (_, uuid) = login(&world);
    let silent = || Mood::Grant(Granting { refresh: false, refresh_expires_in: None, ..Granting::default() });
    world.realm.next(silent());
    let (_, second) = refreshed(&world, &uuid);
    world.realm.next(silent());
    refreshed(&world, &second);
    let spent = refreshes(&world);
    assert_eq!(spent.len(), 2);
    assert_eq!(spent[0], spent[1]);
}

#[test]
fn a_realm_that_gives_no_new_refresh_token_where_each_is_good_once_is_asked_no_more_and_can_be_told_of_the_end() {
    for setting in ["on", "unknown"] {
        let world = rotation(setting).start();
        let (first, uuid) = login(&world);
        let given = world.realm.tokens()[1].clone();
        world.realm.next(Mood::Grant(Granting { refresh: false, expires_in: 300, ..Granting::default() }));
        let reply = refresh(&world, &uuid);
        assert_eq!(reply.json("expires_in"), 300, "{}", reply.body);
        assert!(!reply.body.contains("refresh_token\":"), "{}", reply.body);
        let second = reply.text("access_token");
        assert!(world.active(&first) && world.active(&second));
        world.turn(600);
        assert!(!world.active(&second), "it is not renewed");
        assert_eq!(refreshes(&world), std::slice::from_ref(&given));
        revoke(&world, &first);
        eventually("the realm is told", || super::told(&world) == [given.clone()]);
    }
}

#[test]
fn an_empty_refresh_token_of_the_realm_is_none() {
    let world = rotation("off").start();
    let (_, uuid) = login(&world);
    let answer = r#"{"access_token":"a.b.c","expires_in":60,"refresh_token":"","refresh_expires_in":36000}"#;
    let empty = || Mood::answer(200, "application/json", answer);
    world.realm.next(empty());
    let (_, second) = refreshed(&world, &uuid);
    refreshed(&world, &second);
    let spent = refreshes(&world);
    assert_eq!((spent.len(), &spent[0]), (2, &spent[1]), "the old one stays good");
    world.realm.next(empty());
    let bare = world.login();
    assert!(!bare.body.contains("refresh_token"), "{}", bare.body);
    assert_eq!(bare.json("expires_in"), 60, "and nothing else would keep a longer promise");
}

#[test]
fn a_refresh_token_that_is_not_replaced_ends_when_it_would_have_ended() {
    let world = rotation("off").start();
    let (_, uuid) = login(&world);
    let silent = Granting { refresh: false, refresh_expires_in: None, ..Granting::default() };
    world.realm.usually(Mood::Grant(silent));
    world.turn(3598);
    let (_, next) = refreshed(&world, &uuid);
    world.turn(1);
    refused(&refresh(&world, &next));
}

#[test]
fn a_clock_that_is_set_back_refuses_no_lost_answer() {
    let world = World::new();
    world.turn(600);
    let (_, uuid) = login(&world);
    let first = refresh(&world, &uuid);
    world.clock.set_back(300);
    assert_eq!(refresh(&world, &uuid).body, first.body);
    noted(&world, "refresh_reuse", 0.0);
}

#[test]
fn a_clock_that_is_set_back_while_the_realm_is_asked_makes_nobody_a_re_user() {
    let world = World::new();
    world.turn(600);
    let (_, uuid) = login(&world);
    let gate = gated(&world, grant());
    let waiting = send(&world, &refreshing(&uuid));
    until_asked(&world, 1);
    world.clock.set_back(300);
    gate.notify_one();
    assert_eq!(reply(&world, waiting).status, 200);
    noted(&world, "refresh_reuse", 0.0);
}

#[test]
fn a_clock_that_is_set_back_while_the_realm_is_asked_has_no_jwt_live_longer() {
    let world = World::new();
    world.turn(600);
    let gate = gated(&world, Mood::Grant(Granting { expires_in: 60, ..Granting::default() }));
    let waiting = send(&world, &passport(OLD_ID, OLD_SECRET));
    eventually("the realm is asked", || world.realm.count() == 1);
    world.clock.set_back(300);
    gate.notify_one();
    let uuid = reply(&world, waiting).text("access_token");
    assert!(world.active(&uuid) && refreshes(&world).is_empty());
    world.turn(60);
    assert!(world.active(&uuid));
    assert_eq!(refreshes(&world).len(), 1, "its JWT is over");
}

#[test]
fn a_clock_that_leaps_ahead_for_a_moment_forgets_no_older_access_uuid() {
    let world = World::new();
    world.realm.usually(Mood::Grant(Granting { refresh_expires_in: Some(36_000), ..Granting::default() }));
    let (access, uuid) = login(&world);
    world.clock.set_ahead(7200);
    refreshed(&world, &uuid);
    world.clock.set_back(7200);
    assert!(world.active(&access));
}

/// What a crash leaves in Redis between the tombstones of a login's UUIDs and its own.
fn half_ended(world: &World, access: &str, refresh: &str) {
    let print = |uuid, token_use| OpaqueToken::parse(uuid).unwrap().fingerprint(token_use);
    let (access, refresh) = (print(access, TokenUse::Access), print(refresh, TokenUse::Refresh));
    let store = &world.running().bridge().store;
    block_on(async {
        let live = store.access(&access).await.unwrap().unwrap();
        let over = AccessRecord { fate: AccessFate::Over(Ending::Revoked), ..live };
        let usable = store.refresh(&refresh).await.unwrap().unwrap();
        let known = store.family(usable.family).await.unwrap().unwrap();
        let used = RefreshRecord { key: Sealed::from_bytes(Vec::new()), ..usable };
        let change = Change::of(known.version, known.value);
        store.commit(Change { access: vec![(access, over)], refresh: vec![(refresh, used)], ..change }).await.unwrap();
    });
}

#[test]
fn a_login_that_a_crash_left_half_ended_is_over() {
    let world = rotation("on").start();
    let (access, uuid) = login(&world);
    half_ended(&world, &access, &uuid);
    assert_eq!(world.introspect(&uuid, "refresh_token").json("active"), false);
    refused(&refresh(&world, &uuid));
    assert!(refreshes(&world).is_empty());
    let found = block_on(world.running().bridge().store.find(Find::Client(OLD_ID.to_owned()), 10)).unwrap().records;
    assert_eq!(found[0].state, FamilyState::Over(Ending::Revoked), "its end is made whole, for its own cause");
}

#[test]
fn a_login_that_is_half_ended_is_over_to_its_client_though_the_store_takes_no_writes() {
    let world = rotation("on").start();
    let (access, uuid) = login(&world);
    half_ended(&world, &access, &uuid);
    let (store, aside) = (world.store(), world.path().join("aside"));
    std::fs::rename(&store, &aside).unwrap();
    refused(&refresh(&world, &uuid));
    std::fs::rename(&aside, &store).unwrap();
}

#[test]
fn a_second_new_secret_is_used_where_the_realm_refuses_the_first_and_told() {
    let more = "client_secret = [{ env = \"NEW_SECRET\" }, { env = \"NEXT_SECRET\" }]";
    let plan = rotation("on").without_clients().client(&client(OLD_ID, more));
    let world = plan.environment("NEXT_SECRET", "planted-next-secret").start();
    let (_, uuid) = login(&world);
    world.realm.next(Mood::Refuse(401, "unauthorized_client", "Invalid client or Invalid client credentials"));
    refreshed(&world, &uuid);
    let spent = refreshes(&world);
    assert_eq!((spent.len(), &spent[0]), (2, &spent[1]), "nothing was spent by the first");
    noted(&world, "second_secret", 1.0);
}

#[test]
fn our_own_wrong_credentials_are_the_operators_fault_and_spend_nothing() {
    let world = rotation("on").start();
    let (_, uuid) = login(&world);
    world.realm.next(Mood::Refuse(401, "unauthorized_client", "Invalid client or Invalid client credentials"));
    server_error(&refresh(&world, &uuid));
    let fault = format!("passbridge_faults_total{{client=\"{OLD_ID}\",fault=\"operator\"}}");
    assert!((world.metric(&fault) - 1.0).abs() < f64::EPSILON);
    refreshed(&world, &uuid);
}

#[test]
fn a_promise_that_a_refresh_cannot_keep_is_told_to_client_and_operators() {
    let world = World::new();
    let (_, uuid) = login(&world);
    let granting = Granting { expires_in: 60, refresh_expires_in: Some(120), ..Granting::default() };
    world.realm.next(Mood::Grant(granting));
    assert_eq!(refresh(&world, &uuid).json("expires_in"), 120);
    noted(&world, "promise_short", 1.0);
}

#[test]
fn a_refresh_that_the_realm_grants_in_the_last_second_of_its_session_is_the_logins_end() {
    for renews in [false, true] {
        let world = rotation("on").set("realm", "recheck_after", "\"5m\"").start();
        let (access, uuid) = login(&world);
        world.realm.usually_at(
            "token",
            Mood::Grant(Granting { expires_in: 0, refresh_expires_in: Some(0), ..Granting::default() }),
        );
        if renews {
            world.turn(300);
            assert!(!world.active(&access));
        }
        refused(&refresh(&world, &uuid));
        refused(&refresh(&world, &uuid));
        assert!(!world.active(&access));
        assert_eq!(refreshes(&world).len(), 1, "the realm is asked no more");
    }
}

#[test]
fn what_operators_have_switched_on_at_the_realm_is_their_fault_and_the_login_lives() {
    for (error, slip) in [
        ("invalid_scope", "Client no longer has requested consent from user"),
        ("invalid_grant", "Client certificate missing, or its thumbprint and one in the token did NOT match"),
    ] {
        let world = rotation("on").start();
        let (access, uuid) = login(&world);
        let faults = format!("passbridge_faults_total{{client=\"{OLD_ID}\",fault=\"operator\"}}");
        world.realm.next(Mood::Refuse(400, error, slip));
        server_error(&refresh(&world, &uuid));
        assert!((world.metric(&faults) - 1.0).abs() < f64::EPSILON, "{slip}");
        assert!(world.active(&access), "{slip}");
        refreshed(&world, &uuid);
    }
}

fn strict(line: &str) -> Plan {
    let dialect = include_str!("../../../mappings/dialects/otk-passport.toml");
    let (key, _) = line.split_once(" = ").unwrap();
    assert!(dialect.contains(&format!("{key} ")) || dialect.contains(&format!("\n{key}")));
    let changed: Vec<&str> =
        dialect.lines().map(|known| if known.trim_start().starts_with(key) { line } else { known }).collect();
    Plan::new().dialect("otk-passport", &changed.join("\n"))
}

#[test]
fn each_refresh_grant_of_a_dialect_asks_the_realm_in_its_own_words() {
    let dialect = include_str!("../../../mappings/dialects/otk-passport.toml");
    let another = "[grants.again]\nkind = \"refresh\"\nrealm = { grant_type = \"refresh_token\", channel = \"again\" }\n\n\
                   [grants.again.fields]\nrefresh_token = { required = true }\n\n[tokens]";
    let world = Plan::new().dialect("otk-passport", &dialect.replace("[tokens]", another)).start();
    let (_, uuid) = login(&world);
    let (_, uuid) = refreshed(&world, &uuid);
    assert_eq!(world.realm.last().field("channel"), None);
    let mut asked = refreshing(&uuid);
    asked[0].1 = "again";
    pair(&world.token(&asked));
    assert_eq!(world.realm.last().field("channel").as_deref(), Some("again"));
}

#[test]
fn a_dialect_can_end_the_old_access_uuid_with_its_refresh() {
    let world = strict("ends_old_access = true").start();
    let (first, uuid) = login(&world);
    let (second, uuid) = refreshed(&world, &uuid);
    assert!(!world.active(&first) && world.active(&second));
    let (third, _) = refreshed(&world, &uuid);
    assert!(!world.active(&first) && !world.active(&second) && world.active(&third));
    // What opened the realm's refresh token went with the old UUID.
    revoke(&world, &first);
    assert!(!world.active(&third));
    noted(&world, "realm_untold", 1.0);
    revoke(&world, &third);
    noted(&world, "realm_untold", 1.0);
}

#[test]
fn a_clock_that_leaps_ahead_for_a_moment_leaves_no_old_access_uuid_that_its_refresh_shall_end() {
    let world = strict("ends_old_access = true").start();
    world.realm.usually(Mood::Grant(Granting { refresh_expires_in: Some(36_000), ..Granting::default() }));
    let (first, uuid) = login(&world);
    world.clock.set_ahead(3700);
    refreshed(&world, &uuid);
    world.clock.set_back(3700);
    assert!(!world.active(&first));
}

#[test]
fn a_dialect_can_end_the_login_of_a_reused_refresh_uuid_here_and_at_the_realm() {
    let world = strict("reuse_ends_family = true").start();
    let (first, uuid) = login(&world);
    let (second, next) = refreshed(&world, &uuid);
    assert_eq!(refreshed(&world, &uuid), (second.clone(), next.clone()), "not inside the grace window");
    world.turn(60);
    refused(&refresh(&world, &uuid));
    assert!(!world.active(&first) && !world.active(&second));
    refused(&refresh(&world, &next));
    eventually("the realm is told", || super::told(&world).len() == 1);
    assert_eq!(Some(&super::told(&world)[0]), world.realm.tokens().last());
}

#[test]
fn a_refresh_uuid_is_described_while_it_is_on_its_way() {
    let world = rotation("on").start();
    let (_, uuid) = login(&world);
    let gate = gated(&world, grant());
    let waiting = send(&world, &refreshing(&uuid));
    until_asked(&world, 1);
    assert_eq!(world.introspect(&uuid, "refresh_token").json("active"), true);
    gate.notify_one();
    assert_eq!(reply(&world, waiting).status, 200);
    assert_eq!(world.introspect(&uuid, "refresh_token").json("active"), false);
}

#[test]
fn two_families_refresh_side_by_side() {
    let world = rotation("on").start();
    let (_, one) = login(&world);
    let (_, other) = login(&world);
    let gate = gated(&world, grant());
    let waiting = send(&world, &refreshing(&one));
    until_asked(&world, 1);
    refreshed(&world, &other); // while the first still waits
    gate.notify_one();
    assert_eq!(reply(&world, waiting).status, 200);
}

#[test]
fn one_connection_serves_refresh_after_refresh() {
    let world = World::new();
    let (_, mut uuid) = login(&world);
    let mut connection = world.connect();
    for _ in 0..20 {
        let answer = connection.ask(&post(TOKEN, &refreshing(&uuid)));
        let answer = world.checked(answer);
        uuid = answer.text("refresh_token");
    }
    assert_eq!(refreshes(&world).len(), 20);
}
