//! Whom the realm's passport step lets in and whom it does not, by settings that the realm SSO does not have.

use serde_json::{Value, json};

use super::support::{Bridge, Keycloak, Old, Passport, Wish};

fn before(realm: &str, client: &'static str) -> Bridge {
    Bridge::configured(realm, &[Old::of(client)], "rotation = \"off\"", "")
}

fn of(user: &'static str) -> Passport {
    Passport::of(&Wish { user, ..Wish::default() })
}

/// One more user.
fn add(realm: &mut Value, name: &str, employee: &str) {
    let email = format!("{name}@example.org");
    let user = json!({"username": name, "enabled": true, "email": email, "emailVerified": true, "firstName": "Нина",
        "lastName": "Вольская", "attributes": {"employee": [employee]}});
    realm["users"].as_array_mut().unwrap().push(user);
}

#[track_caller]
fn refused(bridge: &Bridge, client: &str, passport: &Passport, reason: &str) {
    let answer = bridge.login(client, passport, "");
    assert_eq!(answer.status, 401, "{answer:?}\n{}", bridge.log());
    bridge.says(reason);
}

#[track_caller]
fn let_in(bridge: &Bridge, client: &str, passport: &Passport) {
    let answer = bridge.login(client, passport, "");
    assert_eq!(answer.status, 200, "{answer:?}\n{}", bridge.log());
}

#[test]
fn a_subject_in_other_letters_than_the_users_name_is_somebody_else() {
    let realm = Keycloak::shared().other_realm(|realm| add(realm, "kovrov", "e-1"));
    let bridge = before(&realm, "test_api");
    let_in(&bridge, "test_api", &of("kovrov"));
    // The last one begins with the sign for Kelvin, which is a `k` in small letters.
    for subject in ["KOVROV", "Kovrov", "\u{212a}ovrov"] {
        refused(&bridge, "test_api", &of(subject), "Passport user is not known");
    }
}
