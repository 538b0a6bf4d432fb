//! Scope words both ways.

use super::login::with;
use crate::support::{Granting, Mood, OLD_ID, OLD_SECRET, Plan, World, client};

fn renaming() -> World {
    let scopes = "scopes = { reg = \"client_registration\", mail = \"email\", auth = \"2F_CA_Auth\" }";
    Plan::new().without_clients().client(&client(OLD_ID, scopes)).start()
}

/// What the client is told, and what the realm was asked.
fn told(world: &World, asked: &str) -> (String, Option<String>) {
    let reply = world.token(&with("scope", asked));
    assert_eq!(reply.status, 200, "{}", reply.body);
    (reply.text("scope"), world.realm.last().field("scope"))
}

fn asked(told: &str, realm: &str) -> (String, Option<String>) {
    (told.to_owned(), (!realm.is_empty()).then(|| realm.to_owned()))
}

#[test]
fn the_client_hears_what_it_asked_for_without_what_the_realm_added() {
    let world = World::new();
    assert_eq!(told(&world, "client_registration"), asked("client_registration", "client_registration"));
}

#[test]
fn words_are_renamed_on_the_way_there_and_back() {
    let world = renaming();
    assert_eq!(told(&world, "mail reg"), asked("mail reg", "email client_registration"));
    assert_eq!(told(&world, "  reg   mail "), asked("reg mail", "client_registration email"));
    assert_eq!(told(&world, "reg reg"), asked("reg", "client_registration client_registration"));
}

#[test]
fn a_scope_that_the_realm_refuses_is_the_operators_fault_where_the_mapping_names_each_word() {
    let world = renaming();
    let blamed =
        |fault: &str| world.metric(&format!("passbridge_faults_total{{client=\"{OLD_ID}\",fault=\"{fault}\"}}"));
    let refused = |asked: &str| {
        world.realm.next(Mood::Refuse(400, "invalid_scope", "Invalid scopes"));
        let reply = world.token(&with("scope", asked));
        assert_eq!(reply.header("x-ca-err").as_deref(), Some("3003115"), "{asked}");
        (blamed("operator"), blamed("client"))
    };
    assert_eq!(refused("mail reg"), (1.0, 0.0));
    assert_eq!(refused("mail nonsense"), (1.0, 1.0), "that word is the client's own");
    assert_eq!(refused("client_registration"), (1.0, 2.0), "and so is the realm's word for it");
    let refresh = world.login().text("refresh_token");
    world.realm.next(Mood::Refuse(400, "invalid_scope", "Invalid scopes"));
    let fields = [("grant_type", "refresh_token"), ("client_id", OLD_ID), ("client_secret", OLD_SECRET)];
    let asked = [&fields[..], &[("refresh_token", refresh.as_str()), ("scope", "reg")]].concat();
    assert_eq!(world.token(&asked).header("x-ca-err").as_deref(), Some("3003115"));
    assert_eq!((blamed("operator"), blamed("client")), (2.0, 2.0));
}

#[test]
fn asked_for_nothing_the_client_hears_all_that_was_granted_in_its_own_words() {
    assert_eq!(told(&renaming(), ""), asked("auth reg profile mail", ""));
}

#[test]
fn a_scope_of_blanks_asks_for_nothing() {
    assert_eq!(told(&renaming(), "  \t "), asked("auth reg profile mail", ""));
    let world = World::new();
    let uuid = world.login().text("refresh_token");
    let fields = [("grant_type", "refresh_token"), ("refresh_token", &uuid), ("scope", " ")];
    let reply = world.token(&[&fields[..], &[("client_id", OLD_ID), ("client_secret", OLD_SECRET)]].concat());
    assert_eq!((reply.status, world.realm.last().field("scope")), (200, None));
}

#[test]
fn what_was_not_granted_is_not_told() {
    let world = renaming();
    world.realm.usually(Mood::Grant(Granting { scope: Some("profile email"), ..Granting::default() }));
    assert_eq!(told(&world, "reg mail"), asked("mail", "client_registration email"));
    assert_eq!(told(&world, "reg"), asked("", "client_registration"));
}

#[test]
fn where_the_realm_does_not_say_what_it_granted_it_is_what_was_asked_for() {
    let world = renaming();
    world.realm.usually(Mood::Grant(Granting { scope: None, ..Granting::default() }));
    assert_eq!(told(&world, "reg mail"), asked("reg mail", "client_registration email"));
}

#[test]
fn an_over_long_scope_is_refused_because_the_realm_would_drop_it_in_silence() {
    let world = World::new();
    let fits = "s".repeat(4_000);
    let reply = world.token(&with("scope", &fits));
    assert_eq!(reply.status, 200);
    let too_long = "s".repeat(4_001);
    assert_eq!(world.token(&with("scope", &too_long)).said(), (400, "invalid_scope".to_owned()));
    assert_eq!(world.realm.count(), 1);
}

#[test]
fn a_scope_that_only_its_new_words_make_too_long_is_refused_too() {
    let scopes = format!("scopes = {{ short = \"{}\" }}", "l".repeat(4_001));
    let world = Plan::new().without_clients().client(&client(OLD_ID, &scopes)).start();
    assert_eq!(world.token(&with("scope", "short")).said(), (400, "invalid_scope".to_owned()));
    assert_eq!(world.realm.count(), 0);
}
