//! The guard from the outside: what is verified, how often, and what a caller can tell.

use crate::support::{OLD_ID, OLD_SECRET, Plan, Seeded, World, client, passport};

#[test]
fn the_second_login_of_a_client_verifies_nothing() {
    let hash = passbridge::mapping::hash(&OLD_SECRET.into(), &Seeded::new(3)).unwrap();
    let hashed = client(OLD_ID, &format!("legacy_secret = {{ hash = \"{hash}\" }}"));
    let world = Plan::new().without_clients().client(&hashed).start();
    assert_eq!(world.login().status, 200);
    assert_eq!(world.verifications(), 1, "the first login is verified");
    assert_eq!(world.login().status, 200);
    assert_eq!(world.verifications(), 1, "the second is known by a keyed hash");
}

#[test]
fn a_reload_that_leaves_a_clients_secrets_alone_has_nothing_verified_anew() {
    let hash = passbridge::mapping::hash(&OLD_SECRET.into(), &Seeded::new(3)).unwrap();
    let hashed = |more: &str| client(OLD_ID, &format!("legacy_secret = {{ hash = \"{hash}\" }}\n{more}"));
    let mut world = Plan::new().without_clients().client(&hashed("")).start();
    assert_eq!(world.login().status, 200);
    world.change_clients(&[hashed("client_id = \"market_terminal\"")]);
    world.running().reload().unwrap();
    assert_eq!(world.login().status, 200);
    assert_eq!(world.verifications(), 1);
    let other = passbridge::mapping::hash(&OLD_SECRET.into(), &Seeded::new(4)).unwrap();
    world.change_clients(&[client(OLD_ID, &format!("legacy_secret = {{ hash = \"{other}\" }}"))]);
    world.running().reload().unwrap();
    assert_eq!(world.login().status, 200);
    assert_eq!(world.verifications(), 2, "another hash is another secret until it is verified");
}

#[test]
fn a_wrong_secret_and_an_unknown_client_are_the_same_in_bytes_and_in_work() {
    let world = World::new();
    let before = world.verifications();
    let wrong = world.token(&passport(OLD_ID, "wrong"));
    let of_wrong = world.verifications() - before;
    let unknown = world.token(&passport("nobody", "wrong"));
    let of_unknown = world.verifications() - before - of_wrong;
    assert_eq!((wrong.status, &wrong.body), (401, &unknown.body));
    assert_eq!(wrong.header("x-ca-err"), unknown.header("x-ca-err"));
    assert_eq!(of_wrong, of_unknown, "both cost the same");
    assert!(of_wrong >= 1);
    assert_eq!(world.realm.count(), 0);
}

#[test]
fn beyond_the_limit_secrets_are_left_unverified_which_says_nothing_of_them_and_a_verified_client_is_served() {
    let world =
        Plan::new().set("limits", "wrong_secrets", "{ per_client = \"6/min\", per_address = \"1000/min\" }").start();
    assert_eq!(world.login().status, 200);
    let nobody = "nobody-at-the-limit";
    for id in [OLD_ID, nobody] {
        for _ in 0..3 {
            assert_eq!(world.token(&passport(id, "wrong")).status, 401);
        }
    }
    let verified = world.verifications();
    let [beyond, of_nobody] = [OLD_ID, nobody].map(|id| world.token(&passport(id, "wrong")));
    assert_eq!((beyond.status, world.verifications()), (500, verified), "no work");
    assert_eq!(
        (beyond.header("x-ca-err").as_deref(), beyond.text("error").as_str()),
        (Some("3003000"), "server_error")
    );
    assert_eq!((beyond.status, &beyond.body), (of_nobody.status, &of_nobody.body), "the same, whoever is meant");
    let told = world.log(nobody).pop().unwrap();
    assert_eq!((&told["level"], &told["fault"]), (&"INFO".into(), &"client".into()), "{told}");
    assert!(told["detail"].as_str().unwrap().ends_with("left unverified"), "{told}");
    assert_eq!(world.login().status, 200, "a secret that was right before is never left so");
    world.turn(61);
    assert_eq!(world.token(&passport(OLD_ID, "wrong")).status, 401);
    assert!(world.verifications() > verified, "a minute later they are verified again");
}

#[test]
fn one_address_cannot_try_many_clients() {
    let world =
        Plan::new().set("limits", "wrong_secrets", "{ per_client = \"1000/min\", per_address = \"5/min\" }").start();
    for number in 0..5 {
        assert_eq!(world.token(&passport(&format!("nobody-{number}"), OLD_SECRET)).status, 401);
    }
    let verified = world.verifications();
    assert_eq!(world.token(&passport("nobody-at-all", OLD_SECRET)).status, 500);
    assert_eq!(world.verifications(), verified);
}
