//! What the realm must still be told of revocations, while it is away.

use std::sync::Arc;

use passbridge::domain::family::FamilyId;
use passbridge::domain::seal::Sealed;
use passbridge::domain::time::Timestamp;
use passbridge::store::{PendingRevocation, TokenStore};
use tokio::sync::Notify;

use super::{login, refresh, refreshed, refused, revoke, rotation, told};
use crate::store::damage::flip;
use crate::store::world::{ManualClock, block_on, embedded};
use crate::support::{Granting, Mood, NEW_SECRET, OLD_ID, Plan, World, client, eventually};

fn untold(world: &World) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(world.running().bridge().store.outbox()).unwrap().records.len()
}

/// What became of revocations, by the log of this world's own client.
fn outcomes(world: &World, client: &str) -> Vec<String> {
    let lines = world.log("\"revocation\"").into_iter().filter(|line| line["client"] == client);
    let mut outcomes: Vec<String> = lines.map(|line| line["outcome"].as_str().unwrap().to_owned()).collect();
    outcomes.dedup(); // a slow machine sees it tried again by itself
    outcomes
}

/// A world of one client with a name of its own, whose log lines are its own among those of all worlds.
fn of(client_id: &str, more: &str) -> Plan {
    rotation("on").client(&client(client_id, more))
}

fn login_of(world: &World, client_id: &str) -> String {
    let reply = world.token(&crate::support::passport(client_id, crate::support::OLD_SECRET));
    reply.text("access_token")
}

fn revoke_by(world: &World, client_id: &str, uuid: &str) {
    let fields = [("client_id", client_id), ("client_secret", crate::support::OLD_SECRET), ("token", uuid)];
    let reply = world.ask(&crate::support::post(crate::support::world::REVOKE, &fields));
    assert_eq!(reply.status, 200);
}

/// Has the realm told again at once, in place of waiting for the next round.
fn hurry(world: &World) {
    world.turn(60); // it is told again at least so often
    next_round(world);
}

fn next_round(world: &World) {
    world.running().bridge().untold.notify_one();
}

#[test]
fn a_realm_that_is_away_keeps_no_revoked_uuid_alive_and_is_told_when_it_is_back() {
    let world = of("told-later", "").start();
    let access = login_of(&world, "told-later");
    let newest = world.realm.tokens().last().cloned().unwrap();
    world.realm.close();
    revoke_by(&world, "told-later", &access);
    assert!(!world.active(&access));
    eventually("it was tried", || outcomes(&world, "told-later") == ["untold"]);
    eventually("operators see it", || world.metric("passbridge_revocations_untold") == 1.0);
    world.realm.listen();
    hurry(&world);
    eventually("the realm is told", || told(&world) == [newest.clone()]);
    eventually("it is forgotten", || untold(&world) == 0 && world.metric("passbridge_revocations_untold") == 0.0);
    assert_eq!(outcomes(&world, "told-later"), ["untold", "told"]);
    let seen = world.realm.asked("logout").pop().unwrap();
    assert_eq!(seen.field("client_id").as_deref(), Some("test_api"));
    assert_eq!(seen.field("client_secret").as_deref(), Some(NEW_SECRET));
}

#[test]
fn what_the_realm_takes_its_time_to_hear_is_shown_meanwhile() {
    let world = of("told-slowly", "").start();
    let access = login_of(&world, "told-slowly");
    let gate = Arc::new(Notify::new());
    world.realm.next_at("logout", Mood::Gate(Arc::clone(&gate), Box::new(Mood::ended())));
    revoke_by(&world, "told-slowly", &access);
    eventually("it is asked", || told(&world).len() == 1);
    assert!((world.metric("passbridge_revocations_untold") - 1.0).abs() < 0.1);
    gate.notify_one();
    eventually("it has heard", || world.metric("passbridge_revocations_untold") < 0.1);
}

#[test]
fn a_damaged_word_does_not_keep_the_realm_from_hearing_the_others() {
    let mut world = rotation("on").start();
    let (access, _) = login(&world);
    let newest = world.realm.tokens().last().cloned().unwrap();
    world.realm.close();
    revoke(&world, &access);
    world.end();
    let data = world.path().join("data");
    let damaged = FamilyId([0; 16]);
    let store = TokenStore::open(&embedded(&data), ManualClock::new()).unwrap();
    block_on(async {
        let sealed = Sealed::from_bytes(vec![7; 600]);
        let pending = PendingRevocation { family: damaged, client: OLD_ID.to_owned(), sealed, until: Timestamp::NEVER };
        store.outbox_put(&pending).await.unwrap();
        store.close().await;
    });
    drop(store);
    flip(&data, b'o', &damaged.0);
    world.restart();
    world.realm.listen();
    hurry(&world);
    eventually("the realm is told", || told(&world) == [newest.clone()]);
    eventually("only the damaged one is left", || world.metric("passbridge_revocations_untold") == 1.0);
    assert_eq!(world.log("reading what the realm must be told").len(), 1, "it is said once");
}

#[test]
fn what_was_not_told_is_told_by_the_next_bridge_on_the_same_files() {
    for crash in [false, true] {
        let mut world = rotation("on").start();
        let (access, _) = login(&world);
        let newest = world.realm.tokens().last().cloned().unwrap();
        world.realm.close();
        revoke(&world, &access);
        if crash {
            world.crash();
        } else {
            world.restart();
        }
        assert!(!world.active(&access));
        assert_eq!(untold(&world), 1);
        world.realm.listen();
        hurry(&world);
        eventually("the realm is told", || told(&world) == [newest.clone()] && untold(&world) == 0);
    }
}

#[test]
fn a_realm_in_a_bad_mood_is_told_again() {
    let moods = [
        Mood::answer(503, "text/html", "booting"),
        Mood::answer(500, "application/json", "{}"),
        Mood::Reset,
        Mood::Refuse(401, "unauthorized_client", "Invalid client or Invalid client credentials"),
    ];
    for mood in moods {
        let world = rotation("on").start();
        let (access, _) = login(&world);
        world.realm.next_at("logout", mood.clone());
        revoke(&world, &access);
        // A thread that began late may have tried twice by now: at its start, and because it was woken.
        eventually("it was tried", || !told(&world).is_empty());
        hurry(&world);
        eventually("it was told", || told(&world).len() == 2 && untold(&world) == 0);
    }
}

#[test]
fn of_what_a_realm_does_not_hear_each_is_said_once_and_then_one_of_a_client_in_a_minute() {
    let id = "said-seldom";
    let world = of(id, "").start();
    let said = || world.log("\"untold\"").iter().filter(|line| line["client"] == id).count();
    let logins = [(); 2].map(|()| login_of(&world, id));
    world.realm.usually_at("logout", Mood::answer(503, "text/html", "booting"));
    for access in &logins {
        revoke_by(&world, id, access);
    }
    eventually("each is said", || said() == 2 && told(&world).len() == 2);
    // Each time it waits twice as long.
    for (seconds, tries) in [(5, 4), (10, 6), (20, 8)] {
        world.turn(seconds - 1);
        next_round(&world);
        super::meanwhile(&world);
        assert_eq!(told(&world).len(), tries - 2, "before its time");
        world.turn(1);
        next_round(&world);
        eventually("they are told again", || told(&world).len() == tries);
    }
    assert_eq!(said(), 2);
    hurry(&world);
    eventually("they are told again", || told(&world).len() == 10);
    eventually("a minute later one is said", || said() == 3);
    world.realm.usually_at("logout", Mood::ended());
    hurry(&world);
    eventually("both are told", || untold(&world) == 0);
    assert_eq!(said(), 3);
}

#[test]
fn a_session_that_is_gone_at_the_realm_is_as_good_as_ended() {
    for mood in [Mood::Refuse(400, "invalid_grant", "Session not active"), Mood::answer(200, "application/json", "{}")]
    {
        let world = rotation("on").start();
        let (access, _) = login(&world);
        world.realm.next_at("logout", mood.clone());
        revoke(&world, &access);
        eventually("it was told", || told(&world).len() == 1 && untold(&world) == 0);
    }
}

#[test]
fn a_session_that_the_realm_keeps_because_of_a_slip_on_our_side_is_told_again() {
    for (id, slip) in [
        ("called-otherwise", "Invalid token issuer. Expected 'http://sso.example.org/realms/SSO'"),
        ("another-id", "Invalid refresh token. Token client and authorized client don't match"),
        ("other-keys", "Invalid refresh token"),
    ] {
        let world = of(id, "").start();
        let access = login_of(&world, id);
        world.realm.next_at("logout", Mood::Refuse(400, "invalid_grant", slip));
        revoke_by(&world, id, &access);
        eventually("it was tried", || !outcomes(&world, id).is_empty());
        hurry(&world);
        eventually("it is told", || told(&world).len() == 2 && untold(&world) == 0);
        assert_eq!(outcomes(&world, id), ["untold", "told"], "{slip}");
        assert!(world.log("\"untold\"").iter().any(|line| line["detail"].as_str().unwrap().contains(slip)), "{slip}");
    }
}

#[test]
fn a_session_that_the_realm_may_keep_when_it_refuses_a_refresh_is_ended_there() {
    // The log has not all of that.
    let late: &'static str = Box::leak(format!("{}Session not active", "words ".repeat(40)).into_boxed_str());
    for (word, stays) in [("User disabled", true), ("Stale token", true), ("Session not active", false), (late, false)]
    {
        let world = rotation("on").start();
        world.realm.usually_at("logout", Mood::ended());
        let (access, uuid) = login(&world);
        world.realm.next_at("token", Mood::Refuse(400, "invalid_grant", word));
        refused(&refresh(&world, &uuid));
        assert!(!world.active(&access), "{word}");
        if stays {
            let newest = world.realm.tokens().pop().unwrap();
            eventually("it is told", || told(&world) == [newest.as_str()] && untold(&world) == 0);
        }
        // Were there a word of the one that is gone, it was told by the time that a later one is.
        let (another, _) = login(&world);
        revoke(&world, &another);
        eventually("the realm heard the other", || told(&world).last() == world.realm.tokens().last());
        assert_eq!(told(&world).len(), if stays { 2 } else { 1 }, "{word}");
    }
}

#[test]
fn it_is_dropped_when_the_session_has_ended_by_itself() {
    let world = of("ended-by-itself", "").start();
    let access = login_of(&world, "ended-by-itself");
    world.realm.close();
    revoke_by(&world, "ended-by-itself", &access);
    eventually("it was tried", || outcomes(&world, "ended-by-itself") == ["untold"]);
    world.turn(3599);
    hurry(&world);
    eventually("it is dropped", || untold(&world) == 0);
    assert_eq!(outcomes(&world, "ended-by-itself"), ["untold", "dropped"]);
    world.realm.listen();
    assert!(told(&world).is_empty());
}

#[test]
fn no_word_is_left_where_the_session_has_ended_by_itself_before() {
    let id = "ran-out-before";
    let world = of(id, "").start();
    world.turn(3600); // the clock is believed from here on
    let minute = Granting { refresh_expires_in: Some(60), ..Granting::default() };
    world.realm.next_at("token", Mood::Grant(minute));
    let access = login_of(&world, id);
    world.turn(61);
    assert!(!world.active(&access), "its UUID is remembered, no more");
    revoke_by(&world, id, &access);
    let other = login_of(&world, id);
    revoke_by(&world, id, &other);
    eventually("the realm is told of the other", || !outcomes(&world, id).is_empty());
    assert_eq!((outcomes(&world, id), told(&world).len()), (vec!["told".to_owned()], 1));
    let noted = world.log(id).into_iter().filter(|line| line["notes"] == "realm_untold").count();
    assert_eq!(noted, 0, "it has ended there");
}

#[test]
fn a_clock_that_leaps_ahead_for_a_moment_drops_no_word() {
    let id = "a-moment-ahead";
    let world = of(id, "").start();
    let access = login_of(&world, id);
    let newest = world.realm.tokens().last().cloned().unwrap();
    let tries = || world.log("\"revocation\"").iter().filter(|line| line["client"] == id).count();
    world.realm.close();
    revoke_by(&world, id, &access);
    eventually("it was tried", || tries() == 1);
    world.clock.set_ahead(2 * 86_400);
    hurry(&world);
    eventually("it was tried again", || tries() == 2);
    world.clock.set_back(2 * 86_400);
    world.realm.listen();
    hurry(&world);
    eventually("the realm is told", || told(&world) == [newest.clone()] && untold(&world) == 0);
    assert_eq!(outcomes(&world, id), ["untold", "told"]);
}

#[test]
fn it_is_dropped_when_the_new_secret_was_exchanged() {
    let mut world = of("exchanged", "").environment("NEXT_SECRET", "planted-next-secret").start();
    let access = login_of(&world, "exchanged");
    world.realm.close();
    revoke_by(&world, "exchanged", &access);
    eventually("it was tried", || outcomes(&world, "exchanged") == ["untold"]);
    world.change_clients(&[client(OLD_ID, ""), client("exchanged", "client_secret = { env = \"NEXT_SECRET\" }")]);
    world.running().reload().unwrap();
    hurry(&world);
    eventually("it is dropped", || untold(&world) == 0);
    assert_eq!(outcomes(&world, "exchanged"), ["untold", "dropped"]);
}

#[test]
fn while_two_secrets_are_known_it_opens_with_either() {
    let mut world = of("rotating-secrets", "").environment("NEXT_SECRET", "planted-next-secret").start();
    let access = login_of(&world, "rotating-secrets");
    let newest = world.realm.tokens().last().cloned().unwrap();
    world.realm.close();
    revoke_by(&world, "rotating-secrets", &access);
    eventually("it was tried", || !outcomes(&world, "rotating-secrets").is_empty());
    let both = client("rotating-secrets", "client_secret = [{ env = \"NEXT_SECRET\" }, { env = \"NEW_SECRET\" }]");
    world.change_clients(&[both]);
    world.running().reload().unwrap();
    world.realm.listen();
    hurry(&world);
    eventually("the realm is told", || told(&world) == [newest.clone()] && untold(&world) == 0);
}

#[test]
fn it_is_dropped_with_its_clients_mapping() {
    let mut world = of("unmapped", "").start();
    let access = login_of(&world, "unmapped");
    world.realm.close();
    revoke_by(&world, "unmapped", &access);
    eventually("it was tried", || !outcomes(&world, "unmapped").is_empty());
    world.change_clients(&[client(OLD_ID, "")]);
    world.running().reload().unwrap();
    hurry(&world);
    eventually("it is dropped", || outcomes(&world, "unmapped").last().is_some_and(|last| last == "dropped"));
}

#[test]
fn the_word_opens_only_with_the_new_secret() {
    use passbridge::domain::issue::binding;
    use passbridge::domain::seal::SealingKey;
    use secrecy::ExposeSecret;
    let world = rotation("on").start();
    let (access, _) = login(&world);
    let newest = world.realm.tokens().last().cloned().unwrap();
    world.realm.close();
    revoke(&world, &access);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let pending = runtime.block_on(world.running().bridge().store.outbox()).unwrap().records.pop().unwrap();
    let open = |secret: &str, purpose| {
        let key = SealingKey::derive(secret.as_bytes(), purpose);
        key.open_token(&pending.sealed, binding("outbox", &pending.family)).ok()
    };
    assert_eq!(open(NEW_SECRET, "outbox").unwrap().expose_secret(), newest);
    assert!(open(crate::support::OLD_SECRET, "outbox").is_none());
    assert!(open(NEW_SECRET, "reply").is_none());
    assert!(open(&access, "outbox").is_none());
}

#[test]
fn a_word_that_a_late_grant_leaves_lives_as_long_as_the_session_that_it_prolonged() {
    let world = rotation("on").start();
    let (access, uuid) = login(&world);
    world.turn(3590);
    let gate = super::gated(&world, Mood::Grant(Granting::default()));
    let waiting = super::send(&world, &super::refreshing(&uuid));
    super::until_asked(&world, 1);
    revoke(&world, &access);
    eventually("the older one is told", || told(&world).len() == 1 && untold(&world) == 0);
    world.realm.next_at("logout", Mood::answer(503, "text/html", "booting"));
    gate.notify_one();
    refused(&super::reply(&world, waiting));
    eventually("it was tried", || told(&world).len() == 2);
    world.turn(60); // the older token would have ended by now
    hurry(&world);
    eventually("it is told", || told(&world).len() == 3 && untold(&world) == 0);
    assert_eq!(told(&world).last(), world.realm.tokens().last());
}

#[test]
fn a_newer_word_is_not_forgotten_with_the_one_that_was_just_told() {
    let world = rotation("on").start();
    let (_, uuid) = login(&world);
    let (access, next) = refreshed(&world, &uuid);
    let refresh = super::gated(&world, Mood::Grant(Granting::default()));
    let waiting = super::send(&world, &super::refreshing(&next));
    super::until_asked(&world, 2);
    // The realm hears of the older token slowly: in the meantime the refresh lands, and leaves word of the newer one.
    let logout = Arc::new(Notify::new());
    let slow = Mood::Gate(Arc::clone(&logout), Box::new(Mood::ended()));
    world.realm.next_at("logout", slow);
    revoke(&world, &access);
    eventually("the older one is being told", || told(&world).len() == 1);
    refresh.notify_one();
    refused(&super::reply(&world, waiting));
    logout.notify_one();
    eventually("the newer one is told too", || told(&world).last() == world.realm.tokens().last());
    eventually("nothing is left", || untold(&world) == 0);
}
