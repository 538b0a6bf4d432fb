//! Another site's legacy grant is another file, and not a line of code.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::pattern::{Values, matches};
use crate::support::raw::header;
use crate::support::{
    Granting, Mood, OLD_ID, OLD_SECRET, Plan, RawReply, TOKEN, World, client, passport, post, post_with,
};

/// The causes with their answers, all alike but in number and name.
fn causes() -> String {
    let words = [
        "server_error",
        "invalid_request",
        "method_not_allowed",
        "not_found",
        "refresh_token",
        "scope",
        "grant_forbidden",
        "grant_unsupported",
        "client_credentials",
        "resource_owner",
        "token_over",
        "token_unknown",
        "api_down",
        "api_slow",
    ];
    words.iter().enumerate().fold(String::new(), |mut text, (number, word)| {
        let _ = write!(text, "[causes.{word}]\nstatus = {}\nerror = \"E{number}\"\n", 460 + number);
        let _ = writeln!(text, "description = \"{word} by ACME\"\ncode = \"-{number}\"");
        text
    })
}

/// The invented dialect: other paths, credential names, grant, fields, layout, lifetimes and errors.
fn acme(token_path: &str) -> String {
    format!(
        r#"
[endpoints]
token = "{token_path}"
revoke = "/acme/sso/forget"
introspect = "/acme/sso/ask"

[credentials]
id = "app"
secret = "app_key"

[grants.cookie]
kind = "login"
scope = "rights"
realm = {{ grant_type = "password", grant_type_moex = "passport", flavour = "acme" }}

[grants.cookie.fields]
cookie = {{ to = "certificate", required = true, cause = "resource_owner" }}
alg = {{ to = "algorithm", values = ["A", "B"] }}
signature = {{ required = true }}
device = {{}}

[grants.go_on]
kind = "refresh"
realm = {{ grant_type = "refresh_token" }}

[grants.go_on.fields]
next = {{ to = "refresh_token", cause = "refresh_token" }}

[tokens]
shape = "uuid-epoch"
type = "ACME"

[lifetimes]
access_token = "30m"

[reply]
content_type = "text/x-acme"
headers = {{ "Cache-Control" = "no-store", "X-Test-Acme" = "yes" }}
line_end = "\n"
indent = "\t"
token = ['"rights" : {{scope}}', '"life" : {{expires_in}}', '"key" : {{access_token}}', '"kind" : {{token_type}}', '"fixed" : [1, 2]', '"next" : {{refresh_token}}']
error = ['"why" : {{error_description}}', '"error" : {{error}}']
revoked = ['"gone" : true']
active = ['"alive" : true', '"active" : true', '"who" : {{username}}', '"until" : {{exp}}']
inactive = ['"alive" : false']

[error_code]
header = "X-Test-Code"
token = "ACME"
revoke = "ACMEX"

[[realm.errors]]
error = "invalid_grant"
cause = "resource_owner"
fault = "client"

{}"#,
        causes()
    )
}

fn world(token_path: &str) -> World {
    Plan::new()
        .dialect("acme", &acme(token_path))
        .client(&client("acme-app", "dialect = \"acme\"\nscopes = { mailbox = \"email\" }"))
        .start()
}

fn cookie(world: &World, path: &str, more: &[(&str, &str)]) -> RawReply {
    let mut fields = vec![
        ("app", "acme-app"),
        ("app_key", OLD_SECRET),
        ("grant_type", "cookie"),
        ("cookie", "planted-certificate"),
        ("signature", "planted+signature"),
        ("rights", "mailbox"),
    ];
    for (name, value) in more {
        fields.retain(|(known, _)| known != name);
        if !value.is_empty() {
            fields.push((name, value));
        }
    }
    let reply = world.connect().ask(&post(path, &fields));
    if let Ok(body) = serde_json::from_str::<serde_json::Value>(&reply.body) {
        for name in ["key", "next"] {
            world.plant_text(body[name].as_str().unwrap_or_default());
        }
    }
    world.checked(reply)
}

const PATH: &str = "/acme/sso/login";

#[test]
fn an_invented_dialect_logs_in_by_its_own_names_and_hears_its_own_layout() {
    let world = world(PATH);
    let reply = cookie(&world, PATH, &[("device", "till 4"), ("alg", "B")]);
    let expected = "{\n\t\"rights\" : \"mailbox\",\n\t\"life\" : 1800,\n\t\"key\" : \"{{uuid a}}-1768478400\",\n\t\"kind\" : \"ACME\",\n\t\"fixed\" : [1, 2],\n\t\"next\" : \"{{uuid r}}-1768478400\"\n}";
    assert_eq!(matches(expected, &reply.body, &mut Values::new()), Ok(()));
    assert_eq!(header(&reply.head, "content-type").as_deref(), Some("text/x-acme"));
    assert_eq!(header(&reply.head, "x-test-acme").as_deref(), Some("yes"));
    let form = world.realm.last().form();
    let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).skip(2).collect();
    let expected = [
        ("grant_type", "password"),
        ("grant_type_moex", "passport"),
        ("flavour", "acme"),
        ("certificate", "planted-certificate"),
        ("algorithm", "B"),
        ("signature", "planted+signature"),
        ("device", "till 4"),
        ("scope", "email"),
    ];
    assert_eq!(form, expected);
}

#[test]
fn blanks_are_mended_in_certificate_and_signature_alone_whatever_the_dialect_calls_them() {
    let forgetful = client("acme-app", "dialect = \"acme\"\nmend_unescaped_plus = true");
    let world = Plan::new().dialect("acme", &acme(PATH)).client(&forgetful).start();
    cookie(&world, PATH, &[("cookie", "planted cookie"), ("signature", "planted signature"), ("device", "till 4")]);
    let sent = ["certificate", "signature", "device"].map(|name| world.realm.last().field(name).unwrap());
    assert_eq!(sent, ["planted+cookie", "planted+signature", "till 4"]);
}

#[test]
fn what_is_optional_in_a_dialect_may_be_missing() {
    let world = world(PATH);
    let reply = cookie(&world, PATH, &[("rights", "")]);
    assert_eq!(reply.text("rights"), "2F_CA_Auth client_registration profile mailbox");
    assert_eq!(world.realm.last().field("algorithm"), None);
    assert_eq!(world.realm.last().field("scope"), None);
}

#[test]
fn an_invented_dialect_refuses_in_its_own_words() {
    let world = world(PATH);
    let expect = |reply: &RawReply, number: usize, word: &str| {
        assert_eq!(reply.body, format!("{{\n\t\"why\" : \"{word} by ACME\",\n\t\"error\" : \"E{number}\"\n}}"));
        assert_eq!(usize::from(reply.status), 460 + number);
        assert_eq!(header(&reply.head, "x-test-code"), Some(format!("ACME-{number}")));
    };
    expect(&cookie(&world, PATH, &[("cookie", "")]), 9, "resource_owner");
    expect(&cookie(&world, PATH, &[("signature", "")]), 1, "invalid_request");
    expect(&cookie(&world, PATH, &[("alg", "GOST")]), 1, "invalid_request");
    expect(&cookie(&world, PATH, &[("grant_type", "go_on")]), 4, "refresh_token");
    expect(&cookie(&world, PATH, &[("grant_type", "go_on"), ("next", "")]), 4, "refresh_token");
    expect(&cookie(&world, PATH, &[("grant_type", "passport")]), 7, "grant_unsupported");
    expect(&cookie(&world, PATH, &[("app_key", "wrong")]), 8, "client_credentials");
    expect(&cookie(&world, PATH, &[("rights", &"r".repeat(4_001))]), 5, "scope");
    assert_eq!(world.realm.count(), 0);
    world.realm.next(Mood::Refuse(400, "invalid_grant", ""));
    expect(&cookie(&world, PATH, &[]), 9, "resource_owner");
    world.realm.next(Mood::Refuse(400, "invalid_scope", "has no row in this dialect"));
    expect(&cookie(&world, PATH, &[]), 0, "server_error");
    let get = world.ask(format!("GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    expect(&get, 2, "method_not_allowed");
}

#[test]
fn an_invented_dialect_is_introspected_in_its_own_words() {
    let world = world(PATH);
    let key = cookie(&world, PATH, &[]).text("key");
    let asks = |token: &str| {
        world.ask(&post("/acme/sso/ask", &[("app", "acme-app"), ("app_key", OLD_SECRET), ("token", token)])).body
    };
    let until = crate::support::BEGIN.secs() + 1800;
    assert_eq!(
        asks(&key),
        format!("{{\n\t\"alive\" : true,\n\t\"active\" : true,\n\t\"who\" : \"90417\",\n\t\"until\" : {until}\n}}")
    );
    assert_eq!(asks("x"), "{\n\t\"alive\" : false\n}");
}

#[test]
fn two_dialects_share_a_path_and_each_client_hears_its_own() {
    let path = TOKEN;
    let world = world(path);
    assert_eq!(cookie(&world, path, &[]).text("kind"), "ACME");
    assert_eq!(world.token(&passport(OLD_ID, OLD_SECRET)).text("token_type"), "Bearer");
    let own = [("grant_type", "passport"), ("app", "acme-app"), ("app_key", OLD_SECRET)];
    assert_eq!(world.ask(&post(path, &own)).text("error"), "E7");
    // Whom nobody knows hears the default dialect, whichever names he used.
    let stranger = [("grant_type", "passport"), ("app", "nobody"), ("app_key", OLD_SECRET)];
    assert_eq!(world.ask(&post(path, &stranger)).said(), (401, "invalid_client".to_owned()));
    let garbage = world.ask(&crate::support::raw::post_body(path, &[], b"%"));
    assert_eq!(garbage.said(), (400, "invalid_request".to_owned()));
}

#[test]
fn basic_credentials_are_understood_in_every_dialect() {
    use base64::Engine;
    let world = world(PATH);
    let authorization = format!("Basic {}", STANDARD.encode(format!("acme-app:{OLD_SECRET}")));
    let fields = [("grant_type", "cookie"), ("cookie", "planted-certificate"), ("signature", "planted+signature")];
    let reply = world.connect().ask(&post_with(PATH, &[("Authorization", &authorization)], &fields));
    assert_eq!(reply.status, 200);
    world.plant_text(&reply.text("key"));
    world.plant_text(&reply.text("next"));
}

#[test]
fn a_client_logs_in_at_the_paths_of_its_own_dialect_alone() {
    let world = world(PATH);
    // The default dialect's client at the other's path, by the other's names.
    let fields = [("app", OLD_ID), ("app_key", OLD_SECRET), ("grant_type", "passport"), ("certificate", "x")];
    let reply = world.ask(&post(PATH, &fields));
    assert!(reply.status >= 400);
    assert_eq!(world.realm.count(), 0);
}

#[test]
fn a_dialect_without_error_codes_sends_none() {
    let text = acme(PATH).replace("[error_code]\nheader = \"X-Test-Code\"\ntoken = \"ACME\"\nrevoke = \"ACMEX\"", "");
    let world = Plan::new().dialect("acme", &text).client(&client("acme-app", "dialect = \"acme\"")).start();
    let reply = cookie(&world, PATH, &[("signature", "")]);
    assert_eq!(header(&reply.head, "x-test-code"), None);
    world.realm.next(Mood::Grant(Granting { refresh: false, ..Granting::default() }));
    assert!(!cookie(&world, PATH, &[]).body.contains("next"));
}

/// Basic is of every dialect, and each has names of its own for what may contradict it.
#[test]
fn basic_beside_another_client_is_refused_whichever_dialect_of_the_path_names_it() {
    let world = world(TOKEN);
    let basic = format!("Basic {}", STANDARD.encode(format!("acme-app:{OLD_SECRET}")));
    for (more, status) in [
        (&[][..], 200),
        (&[("app", "acme-app"), ("app_key", OLD_SECRET)], 200),
        (&[("app", "other")], 400),
        (&[("app_key", "other")], 400),
        (&[("client_id", "other")], 400),
    ] {
        let fields = [("grant_type", "cookie"), ("cookie", "planted-certificate"), ("signature", "planted+signature")];
        let reply = world.ask(&post_with(TOKEN, &[("Authorization", &basic)], &[&fields[..], more].concat()));
        assert_eq!(reply.status, status, "{more:?}: {}", reply.body);
    }
}
