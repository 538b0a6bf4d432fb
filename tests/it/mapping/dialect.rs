//! Dialect files: every fault that can be planted into one is told at its place, before a client or the realm meets it.

use std::fs;

use passbridge::document::Findings;
use passbridge::mapping::{self, Place};
use passbridge::secrets::Environment;

use crate::support::planted::{MARK, Planted, assert_meant, error, slips, warning};

const SHIPPED: &str = include_str!("../../../mappings/dialects/otk-passport.toml");

/// The shipped dialect with this in place of that. What is put in holds the mark.
#[track_caller]
fn with(that: &str, this: &str) -> String {
    assert!(SHIPPED.contains(that), "the shipped dialect does not say: {that}");
    SHIPPED.replacen(that, this, 1)
}

/// All of a list of the reply.
#[track_caller]
fn reply(list: &str, members: &str) -> String {
    let line = SHIPPED
        .lines()
        .find(|line| line.starts_with(list) && line.contains("['"))
        .expect("the shipped dialect has the list");
    with(line, &format!("{list} = {members}"))
}

fn findings(files: &[(&str, &str)]) -> Findings {
    let site = tempfile::tempdir().unwrap();
    for directory in ["clients", "dialects"] {
        fs::create_dir(site.path().join(directory)).unwrap();
    }
    let client = "[[client]]\nlegacy_id = \"a\"\nlegacy_secret = { env = \"OLD\" }\nclient_id = \"b\"\n\
                  client_secret = { env = \"NEW\" }\nstage = \"live\"\ndialect = \"mine\"\n";
    fs::write(site.path().join("clients/a.toml"), client).unwrap();
    for (name, text) in files {
        fs::write(site.path().join(format!("dialects/{name}.toml")), text).unwrap();
    }
    let environment: Environment =
        ["OLD", "NEW"].map(|name| (name.to_owned(), "planted-secret".to_owned())).into_iter().collect();
    let findings = Findings::new();
    let loaded = mapping::load(&Place::new(site.path()), &environment, &findings);
    assert_eq!(loaded.is_none(), findings.blocked());
    findings
}

#[track_caller]
fn assert_all_found(planted: &[Planted]) {
    for fault in planted {
        assert!(fault.text.contains(MARK));
        fault.assert_found("dialects/mine.toml", findings(&[("mine", &fault.written())]));
    }
}

#[track_caller]
fn is_clean(text: &str) {
    let found = findings(&[("mine", text)]).into_sorted();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_place_that_no_request_can_come_to_is_told() {
    let revoke = "\"/auth/oauth/v2/token/revoke\"";
    assert_all_found(&[
        error("bad-value", with(revoke, "▲\"revoke\""), "`endpoints.revoke` is not a path that begins with `/`", ""),
        error("bad-value", with(revoke, "▲\"/re voke\""), "`endpoints.revoke`", "percent-escapes"),
        error("bad-value", with(revoke, "▲\"/отзыв\""), "`endpoints.revoke`", "percent-escapes"),
        error("bad-value", with(revoke, "▲\"/a\\tb\""), "`endpoints.revoke`", "percent-escapes"),
        error("bad-value", with(revoke, "▲\"/a?b\""), "is not a path alone, without `?` and `#`", ""),
        error(
            "endpoint-clash",
            with(revoke, "▲\"/auth/oauth/v2/token\""),
            "`endpoints.revoke` is the path of `endpoints.token`",
            "a path of its own",
        ),
    ]);
}

#[test]
fn a_path_that_is_two_endpoints_in_two_dialects_is_told() {
    let swapped = with("\"/auth/oauth/v2/token/revoke\"", "\"/other\"").replacen(
        "\"/auth/oauth/v2/token/introspect\"",
        "▲\"/auth/oauth/v2/token/revoke\"",
        1,
    );
    let fault = error(
        "endpoint-clash",
        swapped,
        "`endpoints.introspect` is the path of `endpoints.revoke` in the dialect `otk-passport`",
        "a path of its own",
    );
    fault.assert_found("dialects/mine.toml", findings(&[("mine", &fault.written())]));
}

#[test]
fn credentials_that_are_none_or_would_go_to_the_realm_are_told() {
    let (id, secret) = ("id     = \"client_id\"", "secret = \"client_secret\"");
    let certificate = "certificate = { required = true }";
    assert_all_found(&[
        error("bad-value", with(id, "id = ▲\"\""), "`credentials.id` is not a name", ""),
        error("bad-value", with(secret, "secret = ▲\"client_id\""), "`credentials.secret`", "a name of its own"),
        error("bad-value", with(id, "id = ▲\"grant_type\""), "`credentials.id` is not a name of its own", "write"),
        error("bad-value", with(secret, "secret = ▲\"token\""), "`credentials.secret` is not a name of its own", ""),
        error(
            "bad-value",
            with(certificate, &format!("{certificate}\n▲client_secret = {{}}")),
            "`grants.passport.fields.client_secret` is one of the client's old credentials",
            "leave it out",
        ),
    ]);
}

#[test]
fn a_scope_that_another_parameter_carries_is_told_before_a_passport_goes_where_scopes_are_repeated() {
    let scope = "kind  = \"login\"\nscope = \"scope\"";
    assert_all_found(&["certificate", "grant_type", "client_id", "client_secret"].map(|name| {
        let text = with(scope, &format!("kind = \"login\"\nscope = ▲\"{name}\""));
        error("bad-value", text, "`grants.passport.scope` is not a parameter of its own", "write")
    }));
}

#[test]
fn what_the_realm_would_hear_twice_or_not_at_all_is_told() {
    let (fixed, certificate) = ("grant_type_moex = \"passport\" }", "certificate = { required = true }");
    let both = "realm = { grant_type = \"password\", grant_type_moex = \"passport\" }";
    let twice = |to: &str| with(certificate, &format!("certificate = {{ required = true, to = ▲\"{to}\" }}"));
    assert_all_found(&[
        error("twice-at-realm", twice("grant_type"), "would send the realm `grant_type` twice", "under another name"),
        error("twice-at-realm", twice("client_id"), "would send the realm `client_id` twice", ""),
        error("twice-at-realm", twice("client_secret"), "would send the realm `client_secret` twice", ""),
        error("twice-at-realm", twice("scope"), "would send the realm `scope` twice", ""),
        error(
            "twice-at-realm",
            with(
                "signature   = { required = true }",
                "signature = { required = true }\nsign = { to = ▲\"signature\" }",
            ),
            "`grants.passport.fields.sign` would send the realm `signature` twice",
            "",
        ),
        error(
            "twice-at-realm",
            with(certificate, &format!("{certificate}\n▲grant_type = {{}}")),
            "would send the realm `grant_type` twice",
            "",
        ),
        error(
            "twice-at-realm",
            with(fixed, "grant_type_moex = \"passport\", ▲scope = \"x\" }"),
            "`grants.passport.realm.scope` would send the realm `scope` twice",
            "",
        ),
        error(
            "twice-at-realm",
            with(fixed, "grant_type_moex = \"passport\", ▲client_secret = \"x\" }"),
            "would send the realm `client_secret` twice",
            "",
        ),
        error(
            "missing-key",
            with(both, "realm = ▲{ grant_type_moex = \"passport\" }"),
            "`grants.passport.realm.grant_type` is missing",
            "grant_type = \"password\"",
        ),
        error(
            "bad-value",
            with(
                "[grants.refresh_token.fields]\nrefresh_token",
                "[grants.refresh_token.fields]\n▲device = {}\nrefresh_token",
            ),
            "`grants.refresh_token.fields.device` is not sent with a refresh",
            "leave it out",
        ),
    ]);
    // A fixed scope is another site's way, where no parameter carries one.
    is_clean(&with(fixed, "grant_type_moex = \"passport\", scope = \"x\" }").replacen("scope = \"scope\"\n", "", 1));
}

#[test]
fn a_field_that_no_value_is_good_enough_for_is_told_and_never_means_that_any_is() {
    let algorithm = "values = [\"GOST\", \"RSA\"]";
    assert_all_found(&[
        error(
            "bad-value",
            with(algorithm, "values = ▲[]"),
            "`grants.passport.fields.algorithm.values` is an empty list",
            "leave it out: then any value is taken",
        ),
        error("wrong-type", with(algorithm, "values = [▲7]"), "algorithm.values` is a whole number", ""),
        error(
            "bad-value",
            with(
                "[grants.refresh_token.fields]\nrefresh_token = { required = true }",
                "[grants.refresh_token.fields]\n▲refresh_token = { values = [\"a\"] }",
            ),
            "`grants.refresh_token.fields.refresh_token` has `values`",
            "leave `values` out",
        ),
    ]);
}

#[test]
fn every_reply_but_that_with_the_tokens_may_say_nothing() {
    for list in ["error", "revoked", "active", "inactive"] {
        is_clean(&reply(list, "[]"));
    }
}

#[test]
fn lifetimes_that_nobody_means_are_told() {
    assert_all_found(&[
        error(
            "bad-value",
            with("access_token  = \"1h\"", "access_token = ▲\"0s\""),
            "`lifetimes.access_token`",
            "366 days",
        ),
        error("bad-value", with("access_token  = \"1h\"", "access_token = ▲\"900y\""), "`lifetimes.access_token`", ""),
        error(
            "bad-value",
            with("refresh_grace = \"60s\"", "refresh_grace = ▲\"8d\""),
            "`lifetimes.refresh_grace`",
            "1day",
        ),
        error("bad-value", with("rounding      = \"5s\"", "rounding = ▲\"2h\""), "`lifetimes.rounding`", "5m"),
    ]);
}

#[test]
fn a_reply_that_no_client_could_read_is_told_at_its_member() {
    let access = "\"access_token\":{access_token}";
    let token = |member: &str| reply("token", &format!("['{access}', {member}]"));
    assert_all_found(&[
        error("unknown-value", token("▲'\"life\":{expires}'"), "`reply.token` has no value `{expires}`", "expires_in"),
        error("unknown-value", token("▲'\"who\":{username}'"), "`reply.token` has no value `{username}`", "scope"),
        error("unknown-value", reply("inactive", "[▲'\"active\":{scope}']"), "`reply.inactive` has no value", "text"),
        error(
            "broken-reply",
            token("▲'\"token_type\":\"{token_type}\"'"),
            "this member of `reply.token` makes no JSON",
            "brings its own quotes",
        ),
        error("broken-reply", token("▲'\"life\":{expires_in'"), "this member of `reply.token` makes no JSON", ""),
        error("broken-reply", token("▲'token_type:{token_type}'"), "this member of `reply.token` makes no JSON", ""),
        error("broken-reply", token("▲'\"access_token\":\"x\"'"), "`reply.token` says `access_token` twice", "one"),
        error("broken-reply", reply("token", "▲['\"a\":1']"), "`reply.token` has no `{access_token}`", access),
        error("bad-value", with("line_end     = \"\\r\\n\"", "line_end = ▲\"xx\""), "`reply.line_end`", "blanks"),
        error("bad-value", with("indent       = \"  \"", "indent = ▲\"--\""), "`reply.indent`", "blanks"),
        error(
            "bad-value",
            with("\"application/json;charset=UTF-8\"", "▲\"\""),
            "`reply.content_type` is not a media type",
            "",
        ),
    ]);
}

#[test]
fn what_makes_json_is_taken_as_it_is_and_another_media_type_need_not_make_it() {
    is_clean(&reply(
        "token",
        "['\"access_token\":{access_token}', '\"expires_in\":\"{expires_in}\"', '\"user\":{\"scopes\":[{scope}], \"none\":{}}']",
    ));
    is_clean(&reply("token", "['key = {access_token}']").replace("application/json;charset=UTF-8", "text/x-acme"));
}

#[test]
fn headers_that_the_bridge_sets_itself_or_that_are_none_are_told() {
    let (cache, owner) = ("\"Cache-Control\" = \"no-store\", ", "code   = \"202\"");
    let number = |header: &str| {
        let text = with("header = \"x-ca-err\"", &format!("header = ▲\"{header}\""));
        error("bad-value", text, "`error_code.header` is not a header that says nothing else", "write")
    };
    assert_all_found(&[
        error("bad-value", with(cache, "\"Content-Length\" = ▲\"5\", "), "`Content-Length`", "the bridge"),
        error("bad-value", with(cache, "\"transfer-encoding\" = ▲\"chunked\", "), "`transfer-encoding`", "the bridge"),
        error("bad-value", with(cache, "\"Content-Type\" = ▲\"text/x\", "), "`Content-Type`", "content_type"),
        error(
            "bad-value",
            with(owner, &format!("{owner}\nheaders = {{ \"Content-Length\" = ▲\"0\" }}")),
            "`Content-Length`",
            "",
        ),
        error(
            "bad-value",
            with("header = \"x-ca-err\"", "header = ▲\"content-length\""),
            "`content-length`",
            "the bridge",
        ),
        number("cache-control"),
        number("Set-Cookie"),
        number("WWW-Authenticate"),
        Planted { text: number("X-Site").text.replacen(cache, "\"x-site\" = \"5\", ", 1), ..number("x-site") },
        error("bad-value", with("token  = \"3003\"", "token = ▲\"30\\n03\""), "`error_code.token`", ""),
        error("bad-value", with("revoke = \"3004\"", "revoke = ▲\"код\""), "`error_code.revoke`", ""),
        error("bad-value", with(owner, "code = ▲\"2 02\""), "`causes.resource_owner.code`", ""),
        error("bad-value", with("status = 401", "status = ▲200"), "is not a whole number from 400 to 599", ""),
    ]);
}

#[test]
fn a_row_of_the_realms_errors_that_no_error_comes_to_is_a_warning() {
    let after = "[[realm.errors]]\nerror = \"invalid_grant\"\ngrant = \"refresh\"";
    let row = |lines: &str| with(after, &format!("▲[[realm.errors]]\n{lines}\n\n{after}"));
    let told = |lines: &str| {
        warning("unreachable-row", row(lines), "an earlier row takes every error that this one is for", "above")
    };
    assert_all_found(&[
        told("error = \"invalid_grant\"\ngrant = \"login\"\ndescription = \"Account disabled\"\ncause = \"scope\""),
        told("error = \"invalid_scope\"\ncause = \"server_error\""),
    ]);
    // One row takes it of logins, another of refreshes.
    let below = "[[realm.errors]]\nerror = \"invalid_request\"";
    let lines = "error = \"invalid_grant\"\ndescription = \"is prohibited\"\ncause = \"server_error\"";
    let text = with(below, &format!("▲[[realm.errors]]\n{lines}\n\n{below}"));
    assert_all_found(&[warning("unreachable-row", text, "an earlier row takes every error", "above")]);
    // Of refreshes none has taken it here.
    is_clean(&row(lines).replace('▲', ""));
}

#[test]
fn a_slip_in_any_key_of_a_dialect_is_told_with_the_key_that_was_meant() {
    let field = "certificate = { to = \"certificate\", required = true, cause = \"resource_owner\" }";
    let realm = "[realm]\nscopes = [\"a\"]\nlongest_session = \"10h\"\n\n[[realm.errors]]";
    let text = with("certificate = { required = true }", field).replacen("[[realm.errors]]", realm, 1);
    is_clean(&text);
    // Names that a dialect makes up itself.
    let own = ["grant_type", "grant_type_moex", "certificate", "algorithm", "signature", "refresh_token"];
    let slips: Vec<_> = slips(&text).into_iter().filter(|(key, _)| !own.contains(&key.as_str())).collect();
    assert!(slips.len() > 100, "{}", slips.len());
    for (key, text) in slips {
        assert_meant(&key, findings(&[("mine", &text)]));
    }
}

#[test]
fn a_dialect_in_which_nobody_can_log_in_is_told() {
    let text = with("[grants.passport]\nkind  = \"login\"", "[grants.passport]\nkind = \"refresh\"")
        .replace("certificate = { required = true }", "refresh_token = {}")
        .lines()
        .filter(|line| !line.starts_with("algorithm ") && !line.starts_with("signature "))
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    let fault = error("missing-key", text.replace("[grants.passport]\n", "[▲grants.passport]\n"), "no grant", "login");
    fault.assert_found("dialects/mine.toml", findings(&[("mine", &fault.written())]));
}
