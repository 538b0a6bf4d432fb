//! Whom the realm's passport step lets in and whom it does not, by settings that the realm SSO does not have.

use serde_json::{Value, json};

use super::support::{Answer, Bridge, Keycloak, Old, Passport, Wish, form, send};

fn before(realm: &str, client: &'static str) -> Bridge {
    Bridge::configured(realm, &[Old::of(client)], "rotation = \"off\"", "")
}

fn of(user: &'static str) -> Passport {
    Passport::of(&Wish { user, ..Wish::default() })
}

/// Changes a setting of the step, as clients have it that name no flow of their own.
fn set(realm: &mut Value, name: &str, value: &str) {
    realm["authenticatorConfig"][0]["config"][name] = json!(value);
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

/// A login at the realm itself, by the name of the user who has one.
fn by_password(realm: &str, client: &str, password: &str) -> Answer {
    let secret = format!("{}-secret", client.replace('_', "-"));
    let fields = [
        ("grant_type", "password"),
        ("client_id", client),
        ("client_secret", &secret),
        ("username", "90443"),
        ("password", password),
    ];
    let path = format!("{}/protocol/openid-connect/token", &realm[realm.find("/auth").unwrap()..]);
    let form_type = [("Content-Type", "application/x-www-form-urlencoded")];
    send(Keycloak::shared().port, "POST", &path, &form_type, &form(&fields))
}

#[test]
fn a_used_passport_locks_nobody_out_however_often_it_is_shown() {
    let realm = Keycloak::shared().other_realm(|realm| realm["bruteForceProtected"] = json!(true));
    let bridge = before(&realm, "once_only");
    let passport = of("90501");
    let_in(&bridge, "once_only", &passport);
    for _ in 0..3 {
        refused(&bridge, "once_only", &passport, "Passport certificate was already used");
    }
    let_in(&bridge, "once_only", &of("90501"));
}

#[test]
fn one_users_logins_at_once_are_all_let_in_where_the_realm_guards_against_guesses() {
    let realm = Keycloak::shared().other_realm(|realm| realm["bruteForceProtected"] = json!(true));
    let bridge = before(&realm, "test_api");
    let passports: Vec<Passport> = (0..16).map(|_| of("90501")).collect();
    std::thread::scope(|scope| {
        for passport in &passports {
            scope.spawn(|| let_in(&bridge, "test_api", passport));
        }
    });
}

#[test]
fn a_user_whom_wrong_passwords_have_locked_out_is_refused_with_a_good_passport_too() {
    let realm = Keycloak::shared().other_realm(|realm| {
        realm["bruteForceProtected"] = json!(true);
        realm["failureFactor"] = json!(1);
    });
    let bridge = before(&realm, "test_api");
    let_in(&bridge, "test_api", &of("90443"));
    let wrong = by_password(&realm, "flow_not_bound", "wrong-password");
    assert!(wrong.body.contains("Invalid user credentials"), "{wrong:?}");
    refused(&bridge, "test_api", &of("90443"), "Account temporarily disabled");
    let_in(&bridge, "test_api", &of("90501"));
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

#[test]
fn where_an_attribute_holds_the_subject_it_must_hold_it_of_exactly_one_person() {
    let realm = Keycloak::shared().other_realm(|realm| {
        set(realm, "passport.user.attribute", "employee");
        for (name, employee) in [("first", "E-1"), ("second", "E-2"), ("third", "E-3"), ("fourth", "E-3")] {
            add(realm, name, employee);
        }
        let users = realm["users"].as_array_mut().unwrap();
        let service = users.iter_mut().find(|user| !user["serviceAccountClientId"].is_null()).unwrap();
        service["attributes"] = json!({"employee": ["E-4"]});
    });
    let bridge = before(&realm, "test_api");
    let_in(&bridge, "test_api", &of("E-1"));
    let_in(&bridge, "test_api", &of("E-2"));
    for nobody in ["e-1", "E-3", "E-4", "E-5", "first", "90417"] {
        refused(&bridge, "test_api", &of(nobody), "Passport user is not known");
    }
}

#[test]
fn a_step_that_is_one_of_several_leaves_other_logins_to_the_others() {
    let realm = Keycloak::shared().other_realm(|realm| {
        let flows = realm["authenticationFlows"].as_array_mut().unwrap();
        let mut password = flows[2].clone();
        password["alias"] = json!("or by password");
        password["topLevel"] = json!(false);
        password["id"] = Value::Null;
        flows.push(password);
        let steps = flows[0]["authenticationExecutions"].as_array_mut().unwrap();
        steps[0]["requirement"] = json!("ALTERNATIVE");
        steps.push(json!({"flowAlias": "or by password", "requirement": "ALTERNATIVE", "priority": 20, "authenticatorFlow": true}));
    });
    let bridge = before(&realm, "test_api");
    let_in(&bridge, "test_api", &of("90443"));
    assert_eq!(by_password(&realm, "test_api", "invented-password").status, 200);
    let wrong = by_password(&realm, "test_api", "wrong-password");
    assert!(wrong.body.contains("Invalid user credentials"), "{wrong:?}");
    let forged = Passport::of(&Wish { flaw: "signature", ..Wish::default() });
    refused(&bridge, "test_api", &forged, "Signature does not match");
    let alone = by_password(&realm, "once_only", "invented-password");
    assert!(alone.status == 400 && alone.body.contains("Missing parameter: grant_type_moex"), "{alone:?}");
}

#[test]
fn a_step_with_a_setting_that_cannot_be_taken_lets_nobody_in_and_the_log_says_why() {
    let realm = Keycloak::shared().other_realm(|realm| set(realm, "passport.once", "yes"));
    let bridge = before(&realm, "test_api");
    let answer = bridge.login("test_api", &Passport::good(), "");
    assert_eq!(answer.refusal(), (500, "3003000".to_owned(), "server_error".to_owned()), "{answer:?}");
    bridge.says("the realm answered 500 server_error: Passport login is not configured");
}
