//! `passbridge.toml`: what is taken, and what is said of every fault that can be planted into it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use passbridge::config::{self, Config};
use passbridge::document::{Finding, Findings};
use passbridge::domain::time::Timestamp;
use passbridge::secrets::Environment;
use passbridge::store::{RedisMode, StoreSettings};
use secrecy::ExposeSecret;

use crate::support::BEGIN;
use crate::support::pem::self_signed;
use crate::support::planted::{Planted, error, warning};
use crate::support::tls::Authority;

const REALM: &str = "[realm]\nurls = [\"http://127.0.0.1:8180/auth/realms/SSO\"]\n";

struct Site {
    directory: tempfile::TempDir,
    environment: Vec<(String, OsString)>,
}

impl Site {
    fn new(text: &str) -> Self {
        let site = Self { directory: tempfile::tempdir().unwrap(), environment: Vec::new() };
        site.write("passbridge.toml", text);
        site
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("passbridge.toml")
    }

    fn load(&self) -> (Option<Config>, Findings) {
        self.load_at(BEGIN)
    }

    fn load_at(&self, now: Timestamp) -> (Option<Config>, Findings) {
        let environment: Environment = self.environment.iter().cloned().collect();
        let findings = Findings::new();
        (config::load(&self.path(), &environment, now, &findings), findings)
    }

    #[track_caller]
    fn loaded(&self) -> Config {
        let (config, findings) = self.load();
        config.unwrap_or_else(|| panic!("{:#?}", findings.into_sorted()))
    }

    #[track_caller]
    fn only(&self) -> Finding {
        let found = self.load().1.into_sorted();
        assert_eq!(found.len(), 1, "{found:#?}");
        found.into_iter().next().unwrap()
    }
}

#[track_caller]
fn assert_all_found(planted: &[Planted]) {
    for fault in planted {
        let site = Site::new(&fault.written());
        site.write("readable", "planted-secret\n");
        fs::set_permissions(site.directory.path().join("readable"), fs::Permissions::from_mode(0o644)).unwrap();
        let (config, findings) = site.load();
        assert_eq!(config.is_none(), findings.blocked(), "{}", fault.text);
        fault.assert_found("passbridge.toml", findings);
    }
}

/// A fault in a section beside a good realm.
fn beside(section: &str) -> String {
    format!("{REALM}{section}\n")
}

#[test]
fn only_the_realm_has_no_default() {
    let site = Site::new(REALM);
    let config = site.loaded();
    assert_eq!(
        (config.listen.legacy.to_string(), config.listen.ops.to_string()),
        ("127.0.0.1:8080".into(), "127.0.0.1:9090".into())
    );
    assert_eq!((config.listen.realm, config.workers, config.trusted_proxies.len()), (None, 0, 0));
    assert_eq!(config.realm.urls, ["http://127.0.0.1:8180/auth/realms/SSO"]);
    assert_eq!((config.realm.timeout, config.manner.recheck_after), (Duration::from_secs(10), Duration::from_mins(15)));
    assert_eq!(config.mappings.path, site.directory.path().join("mappings"));
    assert_eq!(
        (config.limits.body, config.limits.parameter.characters, config.limits.parameter.refuse),
        (65_536, 4_000, false)
    );
    let rates = config.limits.wrong_secrets;
    assert_eq!(
        (rates.per_client.count, rates.per_address.count, rates.per_address.period),
        (60, 300, Duration::from_mins(1))
    );
    let StoreSettings::Embedded { path, cache_bytes } = config.store else { panic!("embedded") };
    assert_eq!((path, cache_bytes), (site.directory.path().join("data"), 64 << 20));
    assert!(config.ops_token.is_none());
    let nothing = Site::new("").only();
    assert_eq!((nothing.code, nothing.message.as_str()), ("missing-key", "`realm` is missing"));
}

/// A peer is named by its IPv4 address, whichever kind of listener it came to.
#[test]
fn a_trusted_network_of_ipv4_may_be_written_as_ipv6_has_it() {
    let networks = "\"::ffff:10.0.0.1\", \"::ffff:10.0.0.0/104\", \"::ffff:0:0/96\", \"::/0\", \"::ffff:0:0/95\"";
    let trusted = Site::new(&beside(&format!("[server]\ntrusted_proxies = [{networks}]"))).loaded().trusted_proxies;
    let expected = ["10.0.0.1/32", "10.0.0.0/8", "0.0.0.0/0", "::/0", "::ffff:0:0/95"];
    assert_eq!(trusted, expected.map(|network| network.parse().unwrap()));
}

#[test]
fn every_value_can_come_from_the_environment() {
    let site = Site::new(
        "[realm]\nurls = [\"http://file\"]\ntimeout = \"1s\"\n[limits]\nwrong_secrets = { per_client = \"1/s\" }\n",
    )
    .with("PASSBRIDGE__REALM__URLS", "http://one/auth/realms/SSO, http://two/auth/realms/SSO")
    .with("PASSBRIDGE__REALM__ROTATION", "off")
    .with("PASSBRIDGE__LISTEN__LEGACY", "[::1]:80")
    .with("PASSBRIDGE__SERVER__WORKERS", "3")
    .with("PASSBRIDGE__SERVER__TRUSTED_PROXIES", "10.0.0.0/8,192.0.2.1")
    .with("PASSBRIDGE__LIMITS__WRONG_SECRETS__PER_ADDRESS", "7/h")
    .with("PASSBRIDGE__LIMITS__BODY", "8KiB")
    .with("PASSBRIDGE__LIMITS__OVER_LONG_SIGNATURE", "refuse")
    .with("PASSBRIDGE__OPS__TOKEN", "planted-secret\n")
    .with("PASSBRIDGE__STORE__CACHE", "1MiB")
    .with("PASSBRIDGE_RUN", "is somebody else's");
    let config = site.loaded();
    assert_eq!(config.realm.urls, ["http://one/auth/realms/SSO", "http://two/auth/realms/SSO"]);
    assert_eq!((config.realm.timeout.as_secs(), config.workers, config.trusted_proxies.len()), (1, 3, 2));
    assert_eq!((config.listen.legacy.to_string(), config.limits.body), ("[::1]:80".to_owned(), 8_192));
    let rates = config.limits.wrong_secrets;
    assert_eq!((rates.per_client.count, rates.per_address.count, rates.per_address.period.as_secs()), (1, 7, 3_600));
    assert!(config.limits.parameter.refuse);
    assert_eq!(config.ops_token.unwrap().expose_secret(), "planted-secret");
}

#[test]
fn a_route_can_come_from_the_environment_by_its_number() {
    let on = "[listen]\ngateway = \"127.0.0.1:81\"\n";
    let prefixes = |site: Site| {
        let routes = site.loaded().gateway.routes;
        routes.into_iter().map(|route| (route.prefix, route.upstreams[0].address.clone())).collect::<Vec<_>>()
    };
    let route = |prefix: &str, port: u16| (prefix.to_owned(), format!("a:{port}"));
    let none = Site::new(&beside(on))
        .with("PASSBRIDGE__GATEWAY__ROUTE__0__PREFIX", "/x")
        .with("PASSBRIDGE__GATEWAY__ROUTE__0__UPSTREAM", "http://a:1")
        .with("PASSBRIDGE__GATEWAY__ROUTE__1__PREFIX", "/y")
        .with("PASSBRIDGE__GATEWAY__ROUTE__1__UPSTREAM", "http://a:2,http://a:3");
    assert_eq!(prefixes(none), [route("/x", 1), route("/y", 2)]);
    let written =
        |prefix: &str, port: u16| format!("[[gateway.route]]\nprefix = \"{prefix}\"\nupstream = \"http://a:{port}\"\n");
    let two = format!("{on}{}{}", written("/x", 1), written("/y", 2));
    let other = Site::new(&beside(&two)).with("PASSBRIDGE__GATEWAY__ROUTE__1__UPSTREAM", "http://a:7");
    assert_eq!(prefixes(other), [route("/x", 1), route("/y", 7)]);
    let more = Site::new(&beside(&two))
        .with("PASSBRIDGE__GATEWAY__ROUTE__2__PREFIX", "/z")
        .with("PASSBRIDGE__GATEWAY__ROUTE__2__UPSTREAM", "http://a:3");
    assert_eq!(prefixes(more), [route("/x", 1), route("/y", 2), route("/z", 3)]);
    for (variable, code) in [
        ("PASSBRIDGE__GATEWAY__ROUTE__3__PREFIX", "wrong-type"),
        ("PASSBRIDGE__GATEWAY__ROUTE__PREFIX", "wrong-type"),
        ("PASSBRIDGE__GATEWAY__ROUTE__0", "wrong-type"),
        ("PASSBRIDGE__REALM__URLS__0__X", "wrong-type"),
        ("PASSBRIDGE__GATEWAY__ROUTE__0__PREFX", "unknown-key"),
    ] {
        let found = Site::new(&beside(&two)).with(variable, "/z").only();
        assert_eq!((found.code, found.origin.to_string()), (code, format!("${variable}")), "{found}");
        assert!(found.hint.contains("from 0") || found.hint.contains("`prefix`"));
    }
}

#[test]
fn a_list_that_stands_in_a_variable_as_in_a_file_is_told_how_it_stands_there() {
    for (variable, value, code, hint) in [
        ("SERVER__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]", "bad-value", "with commas between"),
        ("REALM__URLS", " [ 'http://a', 'http://b' ]", "bad-value", "with commas between"),
        ("GATEWAY__ROUTE", "[{ prefix = \"/x\" }]", "wrong-type", "$PASSBRIDGE__GATEWAY__ROUTE__0__KEY"),
    ] {
        let found = Site::new(&beside("")).with(&format!("PASSBRIDGE__{variable}"), value).only();
        assert_eq!(found.code, code, "{found}");
        assert!(found.hint.contains(hint), "{found:?}");
    }
}

#[test]
fn a_variable_takes_the_place_of_a_secret_of_another_kind() {
    let named = beside("[ops]\ntoken = { env = \"GONE\" }");
    let site = Site::new(&named).with("PASSBRIDGE__OPS__TOKEN__FILE", "ops.token");
    site.write("ops.token", "planted-secret\n");
    assert_eq!(site.loaded().ops_token.unwrap().expose_secret(), "planted-secret");
    let site = Site::new(&beside("[ops]\ntoken = { file = \"gone\" }"))
        .with("PASSBRIDGE__OPS__TOKEN__ENV", "OPS_TOKEN")
        .with("OPS_TOKEN", "planted-secret");
    assert_eq!(site.loaded().ops_token.unwrap().expose_secret(), "planted-secret");
    let both =
        Site::new(&named).with("PASSBRIDGE__OPS__TOKEN__FILE", "a").with("PASSBRIDGE__OPS__TOKEN__ENV", "B").only();
    assert_eq!((both.code, both.origin.to_string().as_str()), ("bad-value", "$PASSBRIDGE__OPS__TOKEN__ENV"));
}

#[test]
fn two_variables_for_one_key_are_told() {
    let found =
        Site::new(REALM).with("PASSBRIDGE__REALM__TIMEOUT", "5s").with("PASSBRIDGE__Realm__Timeout", "6s").only();
    assert_eq!((found.code, found.origin.to_string().as_str()), ("duplicate-key", "$PASSBRIDGE__Realm__Timeout"));
    assert_eq!(found.message, "the variable says what PASSBRIDGE__REALM__TIMEOUT says");
}

#[test]
fn a_variable_that_means_nothing_is_told_by_its_name() {
    let typo = Site::new(REALM).with("PASSBRIDGE__LISTEN__LEGCY", "127.0.0.1:1").only();
    assert_eq!((typo.code, typo.origin.to_string().as_str()), ("unknown-key", "$PASSBRIDGE__LISTEN__LEGCY"));
    assert_eq!(typo.hint, "did you mean `legacy`?");
    let section = Site::new(REALM).with("PASSBRIDGE__LSITEN__LEGACY", "127.0.0.1:1").only();
    assert_eq!((section.code, section.hint.as_str()), ("unknown-key", "did you mean `listen`?"));
    let through =
        Site::new(REALM).with("PASSBRIDGE__REALM__TIMEOUT__MORE", "1s").with("PASSBRIDGE__REALM__TIMEOUT", "1s").only();
    assert_eq!((through.code, through.message.as_str()), ("wrong-type", "`timeout` is not a section"));
    let value = Site::new(REALM).with("PASSBRIDGE__SERVER__WORKERS", "many").only();
    assert_eq!((value.code, value.origin.to_string().as_str()), ("bad-value", "$PASSBRIDGE__SERVER__WORKERS"));
    for nothing in ["", "\n"] {
        assert_eq!(Site::new(REALM).with("PASSBRIDGE__OPS__TOKEN", nothing).only().code, "unset-variable");
    }
    let old = Site::new(REALM).with("PASSBRIDGE__REALM__TIMEOUT", OsString::from_vec(b"1s\xff".into())).only();
    assert_eq!((old.code, old.origin.to_string().as_str()), ("bad-value", "$PASSBRIDGE__REALM__TIMEOUT"));
    assert!(old.message.contains("is not UTF-8"), "{old}");
}

#[test]
fn a_secrets_variable_that_is_no_text_is_not_said_to_be_unset() {
    let named = beside("[ops]\ntoken = { env = \"OLD\" }");
    for (value, why) in [(&b"caf\xe9-planted-secret"[..], "which is not UTF-8"), (b"", "which is set to nothing")] {
        let found = Site::new(&named).with("OLD", OsString::from_vec(value.into())).only();
        assert!(found.code == "unset-variable" && found.message.ends_with(why), "{found}");
        assert!(!found.to_string().contains("planted"), "{found}");
    }
}

#[test]
fn the_audit_has_a_directory_of_its_own() {
    let hint = "leave it out";
    assert_all_found(&[
        error("bad-value", beside("[audit]\npath = ▲\"data\""), "`audit.path` is the directory of the store", hint),
        error(
            "bad-value",
            beside("[store]\npath = \"/var/lib/x\"\n[audit]\npath = ▲\"/var/lib/./x/\""),
            "`audit.path` is the directory of the store",
            hint,
        ),
        error(
            "bad-value",
            beside("[audit]\npath = ▲\"data/../data\""),
            "`audit.path` is the directory of the store",
            hint,
        ),
    ]);
    let linked = Site::new(&beside("[audit]\npath = \"link/../data\""));
    fs::create_dir(linked.directory.path().join("data")).unwrap();
    fs::create_dir_all(linked.directory.path().join("other/below")).unwrap();
    symlink("other/below", linked.directory.path().join("link")).unwrap();
    fs::create_dir(linked.directory.path().join("other/data")).unwrap();
    linked.loaded();
    fs::remove_dir(linked.directory.path().join("other/data")).unwrap();
    symlink("../data", linked.directory.path().join("other/data")).unwrap();
    assert_eq!(linked.only().message, "`audit.path` is the directory of the store");
    let off = Site::new(&beside("[audit]\nenabled = false\npath = \"data\"")).loaded();
    assert!(off.audit.is_none());
}

#[test]
fn relative_paths_begin_where_the_file_is() {
    let site = Site::new(&beside(
        "[mappings]\npath = \"../elsewhere\"\n[store]\npath = \"/var/lib/x\"\n[ops]\ntoken = { file = \"token\" }",
    ));
    site.write("token", "planted-secret\n");
    let config = site.loaded();
    assert_eq!(config.mappings.path, site.directory.path().join("../elsewhere"));
    assert!(matches!(config.store, StoreSettings::Embedded { path, .. } if path == std::path::Path::new("/var/lib/x")));
    assert_eq!(config.ops_token.unwrap().expose_secret(), "planted-secret");
}

#[test]
fn a_redis_store_has_keys_of_its_own() {
    let text = "[store]\nkind = \"redis\"\nurls = [\"redis://a:1\", \"redis://b:1\"]\nmode = \"sentinel\"\nmaster = \"main\"\n\
                username = \"bridge\"\npassword = { env = \"REDIS\" }\nsentinel_password = { env = \"SENTINEL\" }\n";
    let site = Site::new(&beside(text)).with("REDIS", "planted-secret").with("SENTINEL", "another-secret");
    let config = site.loaded();
    let StoreSettings::Redis(redis) = config.store else { panic!("redis") };
    assert_eq!(
        (redis.urls.len(), redis.mode, redis.username.as_deref()),
        (2, RedisMode::Sentinel { master: "main".into() }, Some("bridge"))
    );
    assert_eq!(redis.password.unwrap().0.expose_secret(), "planted-secret");
    assert_eq!(redis.sentinel_password.unwrap().0.expose_secret(), "another-secret");
}

#[test]
fn a_ca_that_vouches_for_nobody_never_means_whom_the_system_trusts() {
    let redis = beside("[store]\nkind = \"redis\"\nurls = [\"rediss://a:1\"]\nca = \"ca.pem\"");
    let old = beside("[otk]\nurl = \"https://old.example.org\"\nca = \"ca.pem\"");
    let realm = format!("{}ca = \"ca.pem\"\n", REALM.replace("http:", "https:"));
    for (text, key) in [(realm, "realm"), (old, "otk"), (redis, "store")] {
        let broken = "-----BEGIN CERTIFICATE-----\nx\n";
        for (pem, why) in
            [("", "has no certificate in it"), ("rubbish", "has no certificate"), (broken, "is no PEM file")]
        {
            let site = Site::new(&text);
            site.write("ca.pem", pem);
            let found = site.only();
            assert_eq!(found.code, "unfit-certificate", "{found}");
            assert!(found.message.starts_with(&format!("`{key}.ca` {why}")), "{found}");
        }
    }
}

/// A route of a host that no call can name, or that promises more than is compared.
fn no_host(host: &str) -> Planted {
    let route = "[listen]\ngateway = \"127.0.0.1:81\"\n[[gateway.route]]\nprefix = \"/a\"\nupstream = \"http://a\"";
    error(
        "bad-value",
        beside(&format!("{route}\nhost = ▲\"{host}\"")),
        "is not a name or an address without a port",
        "",
    )
}

/// Routes that hold less than they seem to promise.
#[test]
fn a_route_for_named_clients_that_others_lead_round_or_that_passes_what_nobody_sent_is_told() {
    let gateway = "[listen]\ngateway = \"127.0.0.1:81\"\n[[gateway.route]]\n";
    let named = "prefix = \"/api/adm\"\nupstream = \"http://a\"\nclients = [\"l7xx3c0ffee\"]\n";
    let of_host = "[[gateway.route]]\nprefix = \"/\"\nupstream = \"http://b\"\nhost = \"vip.example.org\"\n";
    let round = gateway.replace("[[", "▲[[");
    assert_all_found(&[
        warning(
            "shadowed-route",
            beside(&format!("{round}{named}{of_host}")),
            "calls the host `vip.example.org`",
            "`/api/adm`",
        ),
        warning(
            "unused-key",
            beside(&format!("{gateway}{named}bearer_jwt = ▲\"pass\"")),
            "`bearer_jwt` where",
            "leave it out",
        ),
        warning(
            "unused-key",
            beside(&format!("{gateway}{named}anonymous = ▲\"pass\"")),
            "`anonymous` where",
            "leave it out",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_the_gateway_is_told() {
    assert_all_found(&[
        error(
            "listener-clash",
            beside("[listen]\ngateway = \"127.0.0.1:81\"\nauthz = ▲\"127.0.0.1:81\""),
            "are one address",
            "another port",
        ),
        error(
            "overlapping-routes",
            beside(
                "[listen]\ngateway = \"127.0.0.1:81\"\n[[gateway.route]]\nprefix = \"/a\"\nupstream = \"http://a\"\n▲[[gateway.route]]\nprefix = \"/a/\"\nupstream = \"http://b\"",
            ),
            "routed twice",
            "leave out",
        ),
        error(
            "bad-value",
            beside(
                "[listen]\ngateway = \"127.0.0.1:81\"\n[[gateway.route]]\nprefix = \"/a\"\nupstream = ▲\"127.0.0.1:80\"",
            ),
            "a URL without path",
            "",
        ),
        error(
            "bad-value",
            beside(
                "[listen]\ngateway = \"127.0.0.1:81\"\n[[gateway.route]]\nprefix = \"/a\"\nupstream = ▲\"http://a#x\"",
            ),
            "a URL without path",
            "",
        ),
        error(
            "bad-value",
            beside(
                "[listen]\ngateway = \"127.0.0.1:81\"\n[[gateway.route]]\nprefix = ▲\"/a/../b\"\nupstream = \"http://a\"",
            ),
            "is not a path",
            "",
        ),
        no_host("api.example.org:8443"),
        no_host("https://api.example.org"),
        no_host("*.example.org"),
        no_host("пример.example"),
        no_host(""),
    ]);
}

#[test]
fn how_long_a_yes_may_be_kept_is_told_in_whole_seconds_as_caches_count_them() {
    let cache = |time: &str| beside(&format!("[gateway]\nauthz_cache = {time}"));
    let (key, wanted) =
        ("`gateway.authz_cache` is not whole seconds from 0s to 1m", "write whole seconds from 0s to 1m");
    assert_all_found(&[
        error("bad-value", cache("▲\"1500ms\""), key, wanted),
        error("bad-value", cache("▲\"900ms\""), key, wanted),
        error("bad-value", cache("▲\"1s 1ns\""), key, wanted),
        error("bad-value", cache("▲\"61s\""), key, wanted),
        error("bad-value", cache("▲\"soon\""), "a duration such as", ""),
    ]);
    let seconds = |time: &str| Site::new(&cache(time)).loaded().gateway.authz_cache.as_secs();
    assert_eq!(["\"0s\"", "\"2000ms\"", "\"1m\""].map(seconds), [0, 2, 60]);
}

#[test]
fn what_of_the_gateway_nothing_uses_is_told_and_what_is_used_is_not() {
    let route = "[[gateway.route]]\nprefix = \"/a\"\nupstream = \"http://a\"\n";
    assert_all_found(&[
        warning(
            "unused-key",
            beside(&format!("[listen]\ngateway = \"127.0.0.1:81\"\n[gateway]\nauthz_cache = ▲\"2s\"\n{route}")),
            "`gateway.authz_cache` where no other proxy can ask",
            "set `listen.authz`, or leave it out",
        ),
        warning(
            "no-routes",
            beside("[listen]\ngateway = ▲\"127.0.0.1:81\"\n[gateway]\ntimeout = \"9s\""),
            "each is answered 404",
            "`[[gateway.route]]` or `otk.api`",
        ),
    ]);
    for used in [
        format!("[listen]\nauthz = \"127.0.0.1:81\"\n[gateway]\nauthz_cache = \"2s\"\n{route}"),
        format!("[listen]\ngateway = \"127.0.0.1:81\"\n[gateway]\nauthz_cache = \"0s\"\n{route}"),
        "[listen]\ngateway = \"127.0.0.1:81\"\n[otk]\nurl = \"http://old\"\napi = \"http://api\"".to_owned(),
    ] {
        assert!(Site::new(&beside(&used)).load().1.into_sorted().is_empty(), "{used}");
    }
}

#[test]
fn a_list_that_names_nothing_is_told_where_it_stands() {
    let route = |lines: &str| {
        beside(&format!("[listen]\ngateway = \"127.0.0.1:81\"\n[[gateway.route]]\nprefix = \"/a\"\n{lines}"))
    };
    assert_all_found(&[
        error("bad-value", route("upstream = ▲[]"), "`gateway.route.upstream` is an empty list", "upstream = \"http"),
        error("wrong-type", route("upstream = [▲7]"), "`gateway.route.upstream` is a whole number, wanted text", ""),
        error(
            "bad-value",
            route("upstream = \"http://a\"\nclients = ▲[]"),
            "`gateway.route.clients` is an empty list",
            "leave it out: then the route is everybody's",
        ),
        error("bad-value", "[realm]\nurls = ▲[]\n", "`realm.urls` is an empty list", "urls = ["),
        error("wrong-type", "[realm]\nurls = [▲7]\n", "`realm.urls` is a whole number, wanted text", ""),
        error(
            "bad-value",
            beside("[store]\nkind = \"redis\"\nurls = ▲[]"),
            "`store.urls` is an empty list",
            "urls = [",
        ),
        error("missing-key", beside("▲[store]\nkind = \"redis\""), "`store.urls` is missing", "urls = ["),
    ]);
    let variable = Site::new(REALM).with("PASSBRIDGE__REALM__URLS", " , ").only();
    assert_eq!((variable.code, variable.origin.to_string().as_str()), ("bad-value", "$PASSBRIDGE__REALM__URLS"));
    // Nobody is believed: that is what it says.
    assert!(Site::new(&beside("[server]\ntrusted_proxies = []")).loaded().trusted_proxies.is_empty());
}

#[test]
fn a_value_of_another_type_is_told_what_stands_there() {
    assert_all_found(&[
        error(
            "wrong-type",
            format!("{REALM}timeout = ▲10\n"),
            "`realm.timeout` is a whole number, wanted a duration such as \"10s\"",
            "write a duration such as \"10s\"",
        ),
        error(
            "wrong-type",
            format!("{REALM}rotation = ▲true\n"),
            "`realm.rotation` is true or false, wanted one of `on`, `off`, `unknown`",
            "write one of `on`",
        ),
        error(
            "wrong-type",
            beside("[server]\ntrusted_proxies = ▲\"10.0.0.0/8\""),
            "`server.trusted_proxies` is text, wanted a list",
            "write a list: [\"...\"]",
        ),
    ]);
    let huge = "99999999999999999999";
    assert_all_found(&[
        error("wrong-type", beside("[listen]\nlegacy = ▲8080"), "wanted an address such as", "\"127.0.0.1:8080\""),
        error(
            "wrong-type",
            beside(&format!("[listen]\nlegacy = ▲{huge}")),
            "is a whole number, wanted an address such as",
            "\"127.0.0.1:8080\"",
        ),
        error("bad-value", beside(&format!("[server]\nworkers = ▲{huge}")), "a whole number from 0 to 1024", ""),
        error("bad-value", beside(&format!("[server]\nworkers = ▲-{huge}")), "a whole number from 0 to 1024", ""),
        error("bad-value", beside(&format!("[limits]\nbody = ▲{huge}")), "a size from 1KiB to 64MiB", ""),
        error("bad-value", beside("[limits]\nbody = ▲-1"), "a size such as \"64KiB\"", "write a size such as"),
        error(
            "wrong-type",
            beside("[limits]\nwrong_secrets = ▲\"60/min\""),
            "`limits.wrong_secrets` is text, wanted a table",
            "it stands as [limits.wrong_secrets], or as wrong_secrets = { ... }",
        ),
        error(
            "wrong-type",
            beside("[limits]\nwrong_secrets = { per_client = ▲60 }"),
            "is a whole number, wanted a rate such as",
            "write a rate such as \"60/min\"",
        ),
    ]);
    let alone = Site::new("[realm]\nurls = \"https://sso.example.org/auth/realms/SSO\"\n").only();
    assert_eq!((alone.code, alone.message.as_str()), ("wrong-type", "`realm.urls` is text, wanted a list"));
}

#[test]
fn a_client_ca_that_is_none_is_told_by_its_name() {
    let shown = Authority::new().shown("localhost", None).pem();
    let site =
        Site::new(&beside("[tls]\nlegacy = { certificate = \"c.pem\", key = \"c.key\", client_ca = \"ca.pem\" }"));
    site.write("c.pem", &shown.0);
    site.write("c.key", &shown.1);
    site.write("ca.pem", "rubbish");
    let found = site.only();
    assert_eq!(
        (found.code, found.message.as_str()),
        ("unfit-certificate", "`tls.legacy.client_ca` has no PEM certificate in it")
    );
}

#[test]
fn a_certificates_time_is_judged_by_the_time_that_is_handed_in() {
    let authority = Authority::new();
    let site = Site::new(&beside("[tls]\nlegacy = { certificate = \"c.pem\", key = \"c.key\" }"));
    for (shown, day, told) in [
        (authority.shown("localhost", Some(2027)), "2026-11-30", None),
        (authority.shown("localhost", Some(2027)), "2026-12-03", Some("certificate-expiring")),
        (authority.shown("localhost", Some(2027)), "2027-01-01", Some("certificate-expired")),
        (authority.shown_from("localhost", 2027), "2026-12-31", Some("certificate-not-yet")),
        (authority.shown_from("localhost", 2027), "2027-01-01", None),
    ] {
        let (certificate, key) = shown.pem();
        site.write("c.pem", &certificate);
        site.write("c.key", &key);
        let now = humantime::parse_rfc3339(&format!("{day}T00:00:00Z")).unwrap();
        let (config, findings) = site.load_at(Timestamp::of(now).unwrap());
        let codes: Vec<_> = findings.into_sorted().iter().map(|finding| finding.code).collect();
        assert_eq!((config.is_some(), codes), (true, told.into_iter().collect()), "on {day}");
    }
}

#[test]
fn each_file_of_tls_that_cannot_be_used_is_told_by_its_name_with_what_is_wrong() {
    let text = "[tls]\nlegacy = { certificate = \"c.pem\", key = \"c.key\", client_ca = \"ca.pem\" }";
    let authority = Authority::new();
    let shown = authority.shown("localhost", None);
    let ((certificate, key), (_, other)) = (shown.pem(), authority.shown("localhost", None).pem());
    let first_version = shown.of_first_version();
    let of_first_version = "`tls.legacy.certificate` is of X.509 version 1, and TLS takes 3 alone";
    // As an RSA key of 1024 bits: PEM in order, and no key that is taken.
    let unfit = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned();
    let encrypted = [
        key.replace("PRIVATE", "ENCRYPTED PRIVATE"),
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n".to_owned(),
    ];
    let (no_key, no_certificate) = ("`tls.legacy.key` is no PEM private key", "has no PEM certificate in it");
    let locked = "`tls.legacy.key` is encrypted, and nobody types its passphrase here";
    let short = "`tls.legacy.key` is a key that TLS does not take: RSA from 2048 bits on, ECDSA and Ed25519 will do";
    let [of_certificate, of_ca] =
        &["certificate", "client_ca"].map(|piece| format!("`tls.legacy.{piece}` {no_certificate}"));
    for (files, told) in [
        ([&first_version, &key, &authority.pem], vec![of_first_version]),
        ([&first_version, &other, &authority.pem], vec![of_first_version]),
        ([&certificate, &encrypted[0], &authority.pem], vec![locked]),
        ([&certificate, &encrypted[1], &authority.pem], vec![locked]),
        ([&certificate, &unfit, &authority.pem], vec![short]),
        ([&certificate, &other, &authority.pem], vec!["`tls.legacy.key` is the key of another certificate"]),
        ([&certificate, &certificate, &authority.pem], vec![no_key]),
        ([&key, &key, &authority.pem], vec![of_certificate.as_str()]),
        ([&key, &certificate, &key], vec![of_certificate.as_str(), no_key, of_ca]),
    ] {
        let site = Site::new(&beside(text));
        for (name, pem) in ["c.pem", "c.key", "ca.pem"].iter().zip(files) {
            site.write(name, pem);
        }
        let found = site.load().1.into_sorted();
        assert!(found.iter().all(|one| one.code == "unfit-certificate"), "{found:#?}");
        assert_eq!(found.iter().map(|one| one.message.as_str()).collect::<Vec<_>>(), told);
        let columns: Vec<_> = found.iter().map(|one| one.origin.column).collect();
        assert!(columns.iter().all(|column| *column > 10) && columns.is_sorted_by(|a, b| a < b), "{found:#?}");
    }
}

#[test]
fn each_file_of_tls_that_cannot_be_read_is_told() {
    let text = "[tls]\nlegacy = { certificate = \"a.pem\", key = \"b.pem\", client_ca = \"c.pem\" }";
    let found = Site::new(&beside(text)).load().1.into_sorted();
    assert!(found.iter().all(|one| one.code == "unreadable-file"), "{found:#?}");
    for (one, name) in found.iter().zip(["a.pem", "b.pem", "c.pem"]) {
        assert!(one.message.contains(name), "{one}");
    }
    assert_eq!(found.len(), 3, "{found:#?}");
}

#[test]
fn two_listeners_at_one_address_are_told_defaults_among_them() {
    assert_all_found(&[
        error(
            "listener-clash",
            beside("[listen]\nlegacy = \"0.0.0.0:80\"\nops = ▲\"127.0.0.1:80\""),
            "are one address",
            "another port",
        ),
        error(
            "listener-clash",
            beside("[listen]\nops = ▲\"[::ffff:127.0.0.1]:8080\""),
            "`listen.legacy` and `listen.ops` are one address",
            "another port",
        ),
        error(
            "listener-clash",
            beside("[listen]\ngateway = \"[::ffff:0.0.0.0]:81\"\nauthz = ▲\"127.0.0.1:81\""),
            "`listen.gateway` and `listen.authz` are one address",
            "another port",
        ),
        error(
            "listener-clash",
            beside("[listen]\nops = ▲\"0.0.0.0:8080\""),
            "`listen.legacy` and `listen.ops` are one address",
            "another port; `listen.legacy` is 127.0.0.1:8080, where nothing else is said",
        ),
        error(
            "listener-clash",
            beside("[listen]\ngateway = ▲\"127.0.0.1:9090\""),
            "`listen.gateway` and `listen.ops` are one address",
            "`listen.ops` is 127.0.0.1:9090",
        ),
    ]);
}

#[test]
fn wrong_keys_and_values_are_told() {
    assert_all_found(&[
        error("unknown-key", beside("[▲lsiten]\nlegacy = \"x\""), "unknown key `lsiten`", "did you mean `listen`?"),
        error("unknown-key", beside("[listen]\n▲legcy = \"127.0.0.1:1\""), "unknown key `listen.legcy`", "`legacy`"),
        error(
            "unknown-key",
            beside("[limits]\nwrong_secrets = { ▲per_clients = \"1/s\" }"),
            "`limits.wrong_secrets.per_clients`",
            "`per_client`",
        ),
        error("wrong-type", format!("listen = ▲7\n{REALM}"), "`listen` is a whole number, wanted a table", ""),
        error("bad-value", beside("[listen]\nlegacy = ▲\"8080\""), "`listen.legacy` is not an address", ""),
        error("bad-value", beside("[listen]\nops = ▲\"localhost:9090\""), "an address such as", ""),
        error("bad-value", beside("[server]\nworkers = ▲-1"), "a whole number from 0 to 1024", ""),
        error("bad-value", beside("[server]\nworkers = ▲2000"), "a whole number from 0 to 1024", ""),
        error("bad-value", beside("[server]\ntrusted_proxies = [\"10.0.0.0/8\", ▲\"ten\"]"), "a list of networks", ""),
        error("bad-value", beside("[server]\ndrain = ▲\"2h\""), "a duration from 0s to 1h", ""),
        error(
            "bad-value",
            format!("{REALM}timeout = ▲\"0s\"\n"),
            "`realm.timeout` is not a duration from 100ms to 5m",
            "",
        ),
        error("bad-value", format!("{REALM}recheck_after = ▲\"0s\"\n"), "from 1s to 1day", ""),
        error("bad-value", format!("{REALM}rotation = ▲\"yes\"\n"), "is not one of", ""),
        error("bad-value", beside("[limits]\nbody = ▲\"1\""), "`limits.body` is not a size from 1KiB to 64MiB", ""),
        error("bad-value", beside("[limits]\nbody = ▲\"64 parsec\""), "a size such as", ""),
        error("bad-value", beside("[limits]\nhead = ▲\"1KiB\""), "a size from 8KiB to 1MiB", ""),
        error("bad-value", beside("[limits]\nhead_timeout = ▲\"0s\""), "from 100ms to 10m", ""),
        error(
            "bad-value",
            beside("[limits]\nwrong_secrets = { per_client = ▲\"0/min\" }"),
            "a rate such as \"60/min\"",
            "",
        ),
        error("bad-value", beside("[limits]\nwrong_secrets = { per_client = ▲\"60\" }"), "a rate such as", ""),
        error(
            "bad-value",
            beside("[limits]\nover_long_signature = ▲\"tel\""),
            "`tell`, `refuse`",
            "did you mean `tell`?",
        ),
        error("bad-value", beside("[log]\nfilter = ▲\"passbridge=loud\""), "a filter such as", ""),
        error("bad-value", beside("[log]\nfilter = ▲\"inof\""), "a filter such as", "\"info\""),
        error("bad-value", beside("[log]\nfilter = ▲\"warning\""), "a filter such as", ""),
        error("bad-value", beside("[log]\nfilter = ▲\"passbridge=debug,wran\""), "a filter such as", ""),
        error("bad-value", beside("[log]\nfilter = ▲\"info, passbridge=debug\""), "a filter such as", ""),
        error("bad-value", beside("[log]\nfilter = ▲\"passbrige=debug\""), "a filter such as", "\"info\""),
        error("bad-value", beside("[log]\nfilter = ▲\"passbridges=debug,h2=warn\""), "a filter such as", ""),
        error("bad-value", beside("[log]\nfilter = ▲\",\""), "a filter such as", ""),
        error("bad-value", beside("[log]\nfilter = ▲\"\""), "a filter such as", ""),
        error("syntax", beside("[limits▲\nbody = 1"), "not valid TOML", ""),
        error("duplicate-key", beside("[▲realm]"), "duplicate key", ""),
    ]);
}

#[test]
fn a_log_filter_that_says_something_is_taken() {
    let several = ["info", "WARN", "off", "error,passbridge=debug", "passbridge[{client}]=trace,info"];
    let named = ["passbridge=debug", "passbridge::server=debug", "passb=info", "h2=warn,info", "[{client}]=trace"];
    for filter in several.into_iter().chain(named) {
        assert_eq!(Site::new(&beside(&format!("[log]\nfilter = \"{filter}\""))).loaded().log, filter);
    }
}

#[test]
fn an_empty_path_is_told_by_its_key_or_its_variable() {
    let redis = "[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:1\"]";
    assert_all_found(&[
        error("bad-value", beside("[store]\npath = ▲\"\""), "`store.path` is not a path", "write a path"),
        error("bad-value", beside("[audit]\npath = ▲\"\""), "`audit.path` is not a path", ""),
        error("bad-value", beside("[mappings]\npath = ▲\"\""), "`mappings.path` is not a path", ""),
        error(
            "bad-value",
            beside("[tls]\nlegacy = { certificate = ▲\"\", key = \"passbridge.toml\" }"),
            "`tls.legacy.certificate` is not a path",
            "",
        ),
        error("bad-value", format!("{REALM}ca = ▲\"\"\n"), "`realm.ca` is not a path", ""),
        error(
            "bad-value",
            beside(&format!("{redis}\nmode = \"sentinel\"\nmaster = ▲\"\"")),
            "`store.master` is not a name",
            "",
        ),
    ]);
    for name in ["PASSBRIDGE__STORE__PATH", "PASSBRIDGE__AUDIT__PATH", "PASSBRIDGE__MAPPINGS__PATH"] {
        let found = Site::new(REALM).with(name, "").only();
        assert_eq!((found.code, found.origin.to_string()), ("bad-value", format!("${name}")));
    }
}

#[test]
fn a_wait_for_replicas_says_for_how_many() {
    let redis =
        |wait: &str| beside(&format!("[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:6379\"]\nwait = {wait}"));
    assert_all_found(&[
        error("missing-key", redis("▲{ timeout = \"1s\" }"), "`store.wait.replicas` is missing", "replicas = 1"),
        error("missing-key", redis("▲{}"), "`store.wait.replicas` is missing", "replicas = 1"),
        error("bad-value", redis("{ replicas = ▲0 }"), "a whole number from 1 to 16", ""),
    ]);
}

#[test]
fn a_realm_that_cannot_be_asked_is_told() {
    let url = "a URL such as";
    assert_all_found(&[
        error("missing-key", "▲[realm]\ntimeout = \"1s\"\n", "`realm.urls` is missing", "urls = ["),
        error("bad-value", "[realm]\nurls = [▲\"sso.example.org/auth/realms/SSO\"]\n", url, ""),
        error("bad-value", "[realm]\nurls = [▲\"ftp://sso.example.org\"]\n", url, ""),
        error("bad-value", "[realm]\nurls = [▲\"http://sso.example.org/?x=1\"]\n", url, ""),
        error("bad-value", "[realm]\nurls = [▲\"http://sso.example.org/auth/realms/SSO#prod\"]\n", url, ""),
        error("bad-value", format!("{REALM}public_url = ▲\"https://sso.example.org/auth/realms/SSO#\"\n"), url, ""),
        error("bad-value", "[realm]\nurls = [▲\"https://10.0.0.256/auth/realms/SSO\"]\n", url, ""),
        error("bad-value", "[realm]\nurls = [▲\"https://sso.example.org:84430/auth/realms/SSO\"]\n", url, ""),
        error("bad-value", format!("{REALM}public_url = ▲\"https://10.0.0.256/\"\n"), url, ""),
        error(
            "clear-text-secret",
            "[realm]\nurls = [▲\"http://x:planted-secret@sso.example.org\"]\n",
            "carries a password",
            "before `@`",
        ),
        error(
            "unreadable-file",
            "[realm]\nurls = [\"https://sso.example.org\"]\nca = ▲\"gone.pem\"\n",
            "gone.pem cannot be read: No such file",
            "",
        ),
        error("bad-value", "[realm]\nurls = [▲\"http://sso.example.org:0/auth/realms/SSO\"]\n", url, ""),
    ]);
}

#[test]
fn an_old_server_that_cannot_be_is_told() {
    let otk = |lines: &str| beside(&format!("[otk]\n{lines}"));
    assert_all_found(&[
        error("missing-key", beside("▲[otk]"), "`otk.url` is missing", ""),
        error("bad-value", otk("url = ▲\"old.example.org\""), "a URL without path", ""),
        error("bad-value", otk("url = ▲\"https://old.example.org/auth\""), "a URL without path", ""),
        error("bad-value", otk("url = ▲\"https://old.example.org#x\""), "a URL without path", ""),
        error("bad-value", otk("url = \"http://old\"\napi = ▲\"http://api/#x\""), "a URL without path", ""),
        error("bad-value", otk("url = ▲\"https://old.example.org:84430\""), "a URL without path", ""),
        error("bad-value", otk("url = ▲\"https://old.example.org:8443x\""), "a URL without path", ""),
        error("bad-value", otk("url = ▲\"https://old.example.org:\""), "a URL without path", ""),
        error("bad-value", otk("url = ▲\"https://old.example.org:0\""), "a URL without path", ""),
        error("bad-value", otk("url = \"http://old\"\napi = ▲\"http://api:0\""), "a URL without path", ""),
        error(
            "bad-value",
            otk("url = \"http://old\"\nunknown_clients = ▲\"ignore\""),
            "is not one of `pass`, `refuse`",
            "",
        ),
        error("bad-value", otk("url = \"http://old\"\napi = ▲\"api.example.org\""), "a URL without path", ""),
        error("bad-value", otk("url = \"http://old\"\napi = ▲\"http://api/v1\""), "a URL without path", ""),
        error("wrong-type", otk("url = \"http://old\"\napi = ▲[\"http://api\"]"), "`otk.api`", ""),
        warning(
            "no-routes",
            beside("[listen]\ngateway = ▲\"127.0.0.1:81\"\n[otk]\nurl = \"http://old\""),
            "each is answered 404",
            "`[[gateway.route]]` or `otk.api`",
        ),
        warning(
            "unused-key",
            otk("url = \"http://old\"\napi = ▲\"http://api\""),
            "`otk.api` where no listener takes API calls",
            "`listen.gateway`",
        ),
        error("unreadable-file", otk("url = \"https://old\"\nca = ▲\"gone.pem\""), "gone.pem cannot be read", ""),
    ]);
}

#[test]
fn a_password_in_a_url_is_told_as_one_whatever_else_is_wrong() {
    let route = "[listen]\ngateway = \"127.0.0.1:81\"\n[[gateway.route]]\nprefix = \"/a\"\n";
    let url = "▲\"https://me:planted-secret@a.example.org\"";
    let carries = |text: String| error("clear-text-secret", text, "carries a password", "");
    assert_all_found(&[
        carries(format!("[realm]\nurls = [{url}]\n")),
        carries(format!("{REALM}public_url = {url}\n")),
        carries(beside(&format!("[otk]\nurl = {url}"))),
        carries(beside(&format!("[listen]\ngateway = \"127.0.0.1:81\"\n[otk]\nurl = \"http://a\"\napi = {url}"))),
        carries(beside(&format!("{route}upstream = {url}"))),
        carries(beside(&format!("[store]\nkind = \"redis\"\nurls = [{url}]"))),
        carries(beside("[otk]\nurl = ▲\"https://me:planted/secret@a.example.org\"")),
        carries("[realm]\nurls = [▲\"https://me:planted secret@a.example.org\"]\n".to_owned()),
    ]);
}

#[test]
fn a_store_that_cannot_be_opened_is_told() {
    let redis = |lines: &str| beside(&format!("[store]\nkind = \"redis\"\n{lines}"));
    assert_all_found(&[
        error(
            "bad-value",
            beside("[store]\nkind = ▲\"rediss\"\nurls = [\"x\"]"),
            "`embedded`, `redis`",
            "did you mean `redis`?",
        ),
        error("bad-value", beside("[store]\ncache = ▲\"1KiB\""), "a size from 1MiB to", ""),
        warning(
            "unused-key",
            beside("[store]\nurls = ▲[\"redis://127.0.0.1:1\"]"),
            "means nothing to the embedded store",
            "",
        ),
        warning(
            "unused-key",
            redis("urls = [\"redis://127.0.0.1:1\"]\npath = ▲\"data\""),
            "means nothing to the redis store",
            "",
        ),
        warning(
            "unused-key",
            redis("urls = [\"redis://127.0.0.1:1\"]\nmaster = ▲\"main\""),
            "nothing without `mode",
            "",
        ),
        error(
            "bad-value",
            redis("urls = [\"redis://127.0.0.1:1\"]\nwait = { replicas = 1, timeout = ▲\"5s\" }"),
            "`store.wait.timeout` is not a duration from 1ms to 4s",
            "",
        ),
        error("bad-value", redis("urls = [▲\"http://a:1\"]"), "a URL such as \"redis://", ""),
        error(
            "clear-text-secret",
            redis("urls = [▲\"redis://:planted-secret@a:1\"]"),
            "carries a password",
            "password = {",
        ),
        error(
            "clear-text-secret",
            redis("urls = [\"redis://127.0.0.1:1\"]\npassword = ▲\"planted-secret\""),
            "in clear text",
            "use { env",
        ),
    ]);
}

#[test]
fn urls_of_a_redis_that_nobody_could_use_are_told() {
    let redis = |lines: &str| beside(&format!("[store]\nkind = \"redis\"\n{lines}"));
    let sentinel = |urls: &str| redis(&format!("mode = \"sentinel\"\nmaster = \"main\"\nurls = [{urls}]"));
    let cluster = |urls: &str| redis(&format!("mode = \"cluster\"\nurls = [{urls}]"));
    let (url, database) = ("a URL such as \"redis://127.0.0.1:6379\"", "a URL that ends in a database's number");
    let (number, beside_tls) = ("names another database than the first URL does", "has `redis://` and `rediss://`");
    assert_all_found(&[
        error("bad-value", redis("urls = [▲\"redis://127.0.0.1:99999\"]"), url, url),
        error("bad-value", redis("urls = [▲\"redis://127.0.0.1:x\"]"), url, url),
        error("bad-value", redis("urls = [▲\"redis://127.0.0.1:0\"]"), url, url),
        error("bad-value", redis("urls = [▲\"redis://\"]"), url, url),
        error("bad-value", redis("urls = [▲\"redis:///1\"]"), url, url),
        error("bad-value", redis("urls = [▲\"redis://0.0.0.0:6379\"]"), url, url),
        error("bad-value", redis("urls = [▲\"redis://127.0.0.1?protocol=resp9\"]"), url, url),
        error("bad-value", redis("urls = [▲\"redis://127.0.0.1/x\"]"), database, "redis://127.0.0.1:6379/2"),
        error("bad-value", redis("urls = [▲\"redis://127.0.0.1/-1\"]"), database, database),
        error("bad-value", redis("urls = [▲\"redis://127.0.0.1/99999999999\"]"), database, database),
        error("bad-value", redis("urls = [▲\"redis://127.0.0.1/1/2\"]"), database, database),
        error("bad-value", redis("urls = [▲\"rediss://127.0.0.1/#insecure\"]"), database, database),
        error(
            "bad-value",
            redis("urls = [\"redis://127.0.0.1:1\", ▲\"redis://127.0.0.2:1\"]"),
            "`store.urls` names a second server, which nobody would ask",
            "`mode = \"sentinel\"` or `mode = \"cluster\"`",
        ),
        error("bad-value", sentinel("\"redis://127.0.0.1:1/2\", ▲\"redis://127.0.0.2:1/3\""), number, "first"),
        error("bad-value", sentinel("\"redis://127.0.0.1:1/2\", ▲\"redis://127.0.0.2:1/0\""), number, "first"),
        error("bad-value", cluster("\"redis://127.0.0.1:1\", ▲\"redis://127.0.0.2:1/3\""), number, "first"),
        error("bad-value", cluster("▲\"redis://127.0.0.1:1/2\""), "a cluster has one alone", "leave the number out"),
        error(
            "bad-value",
            redis("mode = \"cluster\"\nurls = [\"redis://127.0.0.1:1\"]\nwait = ▲{ replicas = 1 }"),
            "`store.wait` is not possible with a cluster",
            "leave it out",
        ),
        error(
            "missing-key",
            beside("▲[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:1\"]\nusername = \"bridge\""),
            "`store.password` is missing",
            "or leave `username` out",
        ),
        error("bad-value", sentinel("\"redis://127.0.0.1:1\", ▲\"rediss://b:1\""), beside_tls, "TLS"),
        error("bad-value", cluster("\"rediss://a:1\", ▲\"redis://127.0.0.2:1\""), beside_tls, "TLS"),
    ]);
    for good in [
        redis("urls = [\"redis://127.0.0.1\"]"),
        redis("urls = [\"rediss://[::1]:6380/15\"]"),
        redis("urls = [\"redis://[::1]:6380/15\"]"),
        redis("urls = [\"redis://redis.example.org/\"]"),
        sentinel("\"redis://a:1/2\", \"redis://b:1/2\", \"redis://c:1\""),
        sentinel("\"redis://a:1\", \"redis://b:1/0\""),
        cluster("\"rediss://a:1\", \"rediss://b:1\""),
    ] {
        Site::new(&good).loaded();
    }
}

#[test]
fn a_store_on_another_machine_without_tls_is_told_once() {
    let redis = |lines: &str| beside(&format!("[store]\nkind = \"redis\"\n{lines}"));
    let told = |lines: &str| {
        let named = "`store.urls` names another machine without TLS";
        warning("clear-text-store", redis(lines), named, "let it begin with rediss://")
    };
    assert_all_found(&[
        told("urls = [▲\"redis://redis.example.org\"]"),
        told("urls = [▲\"redis://192.0.2.7:6379/2\"]"),
        told("urls = [▲\"redis://[2001:db8::1]:6379\"]"),
        told("mode = \"cluster\"\nurls = [\"redis://localhost:1\", ▲\"redis://a:1\", \"redis://b:1\"]"),
    ]);
    for here in ["rediss://redis.example.org", "redis://LOCALHOST", "redis://127.9.0.1", "redis://[::ffff:127.0.0.1]"] {
        let found = Site::new(&redis(&format!("urls = [\"{here}\"]"))).load().1.into_sorted();
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn a_drain_that_does_not_wait_for_the_realm_is_told() {
    let told = |text: String, message| warning("short-drain", text, message, "let whoever stops the bridge wait");
    let short = "`server.drain` is 5s, and the realm may take 12s to answer";
    assert_all_found(&[
        told(beside("[server]\ndrain = ▲\"5s\""), short),
        told(beside("[server]\ndrain = ▲\"0s\""), "`server.drain` is 0s"),
        told(format!("▲{REALM}timeout = \"1m\"\n"), "`server.drain` is 30s, and the realm may take 1m 2s to answer"),
        told(
            "[realm]\nurls = [\"http://a\", \"http://b\"]\ntimeout = \"3s\"\n[server]\ndrain = ▲\"6999ms\"\n"
                .to_owned(),
            "and the realm may take 7s to answer",
        ),
    ]);
    let enough = Site::new(&beside("[server]\ndrain = \"12s\"")).load().1.into_sorted();
    assert!(enough.is_empty(), "{enough:#?}");
}

#[test]
fn what_nothing_would_use_is_told() {
    let nobody = "where no server speaks TLS";
    let (shown, key) = Authority::new().shown("localhost", None).pem();
    for (text, message) in [
        (format!("{REALM}ca = ▲\"ca.pem\"\n"), "`realm.ca` where no server speaks TLS"),
        (beside("[otk]\nurl = \"http://old\"\nca = ▲\"ca.pem\""), "`otk.ca` where no server speaks TLS"),
        (beside("[store]\nkind = \"redis\"\nurls = [\"redis://[::1]\"]\nca = ▲\"ca.pem\""), nobody),
        (
            beside("[tls]\ngateway = ▲{ certificate = \"ca.pem\", key = \"c.key\" }"),
            "`tls.gateway` where nothing listens",
        ),
        (beside("[tls]\nauthz = ▲{ certificate = \"ca.pem\", key = \"c.key\" }"), "`tls.authz` where nothing listens"),
        (beside("[tls]\nrealm = ▲{ certificate = \"ca.pem\", key = \"c.key\" }"), "`tls.realm` where nothing listens"),
    ] {
        let planted = warning("unused-key", text, message, "leave it out");
        let site = Site::new(&planted.written());
        site.write("ca.pem", &shown);
        site.write("c.key", &key);
        planted.assert_found("passbridge.toml", site.load().1);
    }
    let some = "[realm]\nurls = [\"http://a\", \"HTTPS://b\"]\nca = \"ca.pem\"\n[listen]\nrealm = \"127.0.0.1:0\"\n\
                [tls]\nrealm = { certificate = \"ca.pem\", key = \"c.key\" }\n";
    let site = Site::new(some);
    site.write("ca.pem", &shown);
    site.write("c.key", &key);
    assert!(site.load().1.into_sorted().is_empty());
}

#[test]
fn certificates_and_secrets_that_cannot_be_had_are_told() {
    assert_all_found(&[
        error(
            "unreadable-file",
            beside("[tls]\nlegacy = { certificate = ▲\"gone.pem\", key = \"passbridge.toml\" }"),
            "gone.pem cannot be read",
            "",
        ),
        error(
            "clear-text-secret",
            beside("[ops]\ntoken = ▲\"planted-secret\""),
            "`ops.token` is a secret in clear text",
            "use { env",
        ),
        error("unset-variable", beside("[ops]\ntoken = { env = ▲\"NOWHERE\" }"), "which is not set", "set NOWHERE"),
        error("unreadable-secret", beside("[ops]\ntoken = { file = ▲\"gone\" }"), "cannot be read: No such file", ""),
        warning(
            "world-readable",
            beside("[ops]\ntoken = { file = ▲\"readable\" }"),
            "can be read by everybody",
            "chmod o-r",
        ),
    ]);
}

#[test]
fn the_key_of_a_certificate_that_everybody_can_read_is_told() {
    let (shown, key) = self_signed(&["bridge.example"]);
    let planted = warning(
        "world-readable",
        beside("[tls]\nlegacy = { certificate = \"a.pem\", key = ▲\"a.key\" }"),
        "can be read by everybody",
        "chmod o-r",
    );
    let site = Site::new(&planted.written());
    site.write("a.pem", &shown);
    site.write("a.key", &key);
    assert!(site.load().1.into_sorted().is_empty());
    fs::set_permissions(site.directory.path().join("a.key"), fs::Permissions::from_mode(0o644)).unwrap();
    planted.assert_found("passbridge.toml", site.load().1);
}

#[test]
fn an_ops_token_that_no_header_carries_is_refused_and_one_that_is_soon_guessed_is_told() {
    let text = format!("{REALM}[ops]\ntoken = {{ env = \"TOKEN\" }}\n");
    let several = [
        ("planted-two\nlines", false, Some("bad-value")),
        ("planted and blanks", false, Some("bad-value")),
        ("planted-за-словом", false, Some("bad-value")),
        ("planted", true, Some("weak-token")),
        ("planted-long-enough", true, None),
    ];
    for (token, is_taken, code) in several {
        let (config, findings) = Site::new(&text).with("TOKEN", token).load();
        assert_eq!(config.is_some(), is_taken, "{token}");
        let findings = findings.into_sorted();
        assert_eq!(findings.iter().map(|finding| finding.code).collect::<Vec<_>>(), Vec::from_iter(code), "{token}");
        assert!(findings.iter().all(|finding| !finding.to_string().contains("planted")), "{findings:?}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let text = "nonsense = 1\n[listen]\nlegacy = \"x\"\nlegcy = 1\n[limits]\nbody = true\n[ops]\ntoken = \"planted-secret\"\n[store]\nkind = 1\n";
    let site = Site::new(text).with("PASSBRIDGE__SERVER__WORKERS", "x").with("PASSBRIDGE__SERVER__WORKRES", "x");
    let mut codes: Vec<_> = site.load().1.into_sorted().iter().map(|finding| finding.code).collect();
    codes.sort_unstable();
    let expected = [
        "bad-value",
        "bad-value",
        "clear-text-secret",
        "missing-key",
        "unknown-key",
        "unknown-key",
        "unknown-key",
        "wrong-type",
        "wrong-type",
    ];
    assert_eq!(codes, expected);
}

#[test]
fn a_file_that_is_not_there_is_told_with_what_to_do() {
    let site = Site::new(REALM);
    fs::remove_file(site.path()).unwrap();
    let found = site.only();
    assert_eq!((found.code, found.origin.line), ("unreadable-file", 0));
    assert!(found.message.contains("No such file") && found.hint.contains("--config"), "{}", found.message);
    fs::create_dir(site.path()).unwrap();
    let found = site.only();
    assert!(found.message.contains("is a directory") && found.hint.contains("--config"), "{}", found.message);
    fs::remove_dir(site.path()).unwrap();
    fs::File::create(site.path()).unwrap().set_len((1 << 20) + 1).unwrap();
    let found = site.only();
    assert!(found.message.contains("is longer than") && found.hint.contains("--config"), "{}", found.message);
}

#[test]
fn where_the_mappings_are_is_known_even_if_the_rest_is_wrong() {
    let site = Site::new("[mappings]\npath = \"there\"\n[limits]\nbody = 1\n");
    let examined = config::examine(&site.path(), &Environment::default(), BEGIN, &Findings::new());
    assert!(examined.config.is_none());
    assert_eq!(examined.mappings.unwrap().path, site.directory.path().join("there"));
}
