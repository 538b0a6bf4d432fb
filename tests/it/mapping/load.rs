//! Mapping files: what is taken, and what is said of every fault that can be planted into one.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use passbridge::document::{Finding, Findings};
use passbridge::domain::client::{LegacySecret, Stage};
use passbridge::mapping::{self, Loaded};
use passbridge::secrets::Environment;
use secrecy::ExposeSecret;

use crate::support::planted::{Planted, assert_meant, error, slips, warning};

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2Fs$c29tZWhhc2hzb21laGFzaHNvbWVoYXNoc29tZWhhc2g";

struct Site(tempfile::TempDir);

impl Site {
    fn new(clients: &str) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        site.write("clients/a.toml", clients);
        site
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file that its owner alone can read.
    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn load(&self) -> (Option<Loaded>, Findings) {
        // As a Secret of Kubernetes has it that was made of `echo`'s output.
        let new = "planted-secret-new\n";
        let environment: Environment = [("OLD", "planted-secret-old"), ("NEW", new), ("EMPTY", ""), ("END", "\r\n")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect();
        let findings = Findings::new();
        (mapping::load(&mapping::Place::new(self.path()), &environment, &findings), findings)
    }

    #[track_caller]
    fn loaded(&self) -> Loaded {
        let (loaded, findings) = self.load();
        loaded.unwrap_or_else(|| panic!("{:#?}", findings.into_sorted()))
    }

    #[track_caller]
    fn findings(&self) -> Vec<Finding> {
        self.load().1.into_sorted()
    }
}

/// A client with these lines, and the usual ones for what they do not say.
fn client(lines: &str) -> String {
    let usual = [
        ("legacy_id", "\"old\""),
        ("legacy_secret", "{ env = \"OLD\" }"),
        ("client_id", "\"new\""),
        ("client_secret", "{ env = \"NEW\" }"),
        ("stage", "\"live\""),
    ];
    let said =
        |key: &str| lines.lines().any(|line| line.trim_start_matches(['▲', ' ']).starts_with(&format!("{key} ")));
    let rest = usual.iter().filter(|(key, _)| !said(key)).map(|(key, value)| format!("{key} = {value}\n"));
    format!("[[client]]\n{}{lines}\n", rest.collect::<String>())
}

fn without(key: &str) -> String {
    client("").lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect()
}

#[track_caller]
fn assert_all_found(planted: &[Planted]) {
    for fault in planted {
        let site = Site::new(&fault.written());
        site.write("clients/empty", "");
        site.write("clients/secret", "planted-secret\n");
        site.write("clients/readable", "planted-secret\n");
        fs::set_permissions(site.path().join("clients/readable"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(site.path().join("clients/binary"), [0xff, 0xfe]).unwrap();
        site.write("clients/long", &"x".repeat(64 * 1024 + 1));
        let (loaded, findings) = site.load();
        assert_eq!(loaded.is_none(), findings.blocked(), "{}", fault.text);
        fault.assert_found("clients/a.toml", findings);
    }
}

#[test]
fn a_client_has_all_that_its_file_says() {
    let site = Site::new(&client(&format!(
        "legacy_id = \"l7xx Клиент\"\nlegacy_secret = [{{ hash = \"{HASH}\" }}, {{ file = \"secret\" }}]\n\
         client_secret = [{{ env = \"NEW\" }}, {{ file = \"secret\" }}]\nstage = \"retired\"\ndialect = \"otk-passport\"\n\
         scopes = {{ orders = \"new_orders\" }}\naccess_token_lifetime = \"90m\"\nmay_introspect = true\n\
         allow_query_credentials = true\nmend_unescaped_plus = true"
    )));
    site.write("clients/secret", "\u{feff}planted-secret\r\n");
    let loaded = site.loaded();
    let client = loaded.table.client("l7xx Клиент").unwrap();
    assert_eq!(
        (client.client_id.as_str(), client.stage, client.dialect.name.as_str()),
        ("new", Stage::Retired, "otk-passport")
    );
    let LegacySecret::Hash(hash) = &client.legacy_secrets[0] else { panic!("a hash") };
    let LegacySecret::Clear(clear) = &client.legacy_secrets[1] else { panic!("a file's secret") };
    assert_eq!((hash.as_str(), clear.expose_secret()), (HASH, "planted-secret"));
    let new: Vec<_> = client.client_secrets.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(new, ["planted-secret-new", "planted-secret"]);
    assert_eq!(client.scopes, [("orders".to_owned(), "new_orders".to_owned())]);
    assert_eq!(client.promise(), Duration::from_secs(5_400));
    assert!(client.may_introspect && client.allow_query_credentials && client.mend_unescaped_plus);
}

#[test]
fn what_a_client_does_not_say_is_the_usual() {
    let loaded = Site::new(&client("")).loaded();
    let client = loaded.table.client("old").unwrap();
    assert_eq!(
        (client.dialect.name.as_str(), client.scopes.len(), client.promise().as_secs()),
        ("otk-passport", 0, 3_600)
    );
    assert!(!client.may_introspect && !client.allow_query_credentials && !client.mend_unescaped_plus);
}

#[test]
fn wrong_keys_and_values_are_told() {
    assert_all_found(&[
        error("unknown-key", client("▲stagee = \"live\""), "unknown key `client.stagee`", "did you mean `stage`?"),
        error("unknown-key", client("▲mirror = true"), "unknown key `client.mirror`", "known here: legacy_id"),
        error(
            "unknown-key",
            format!("▲clients = 1\n{}", client("")),
            "unknown key `clients`",
            "did you mean `client`?",
        ),
        error(
            "unknown-key",
            client("legacy_secret = { env = \"OLD\", ▲hsah = \"x\" }"),
            "`client.legacy_secret.hsah`",
            "",
        ),
        error("wrong-type", client("legacy_id = ▲7"), "`client.legacy_id` is a whole number, wanted text", ""),
        error("wrong-type", client("may_introspect = ▲\"yes\""), "is text, wanted true or false", ""),
        error("wrong-type", client("scopes = ▲[\"a\"]"), "`client.scopes` is a list, wanted a table", ""),
        error("wrong-type", "client = ▲7\n", "`client` is a whole number, wanted a list of tables", ""),
        error("bad-value", client("legacy_id = ▲\"\""), "`client.legacy_id` is not a text with something in it", ""),
        error("bad-value", client("client_id = ▲\"\""), "`client.client_id`", ""),
        error("bad-value", client("access_token_lifetime = ▲\"0s\""), "between one second and 366 days", ""),
        error("bad-value", client("access_token_lifetime = ▲\"soon\""), "a duration such as \"10s\"", ""),
        error(
            "unknown-stage",
            client("stage = ▲\"lvie\""),
            "is not one of `legacy`, `shadow`, `canary`, `live`, `retired`",
            "did you mean `live`?",
        ),
        error(
            "unknown-stage",
            client("stage = ▲\"mirrored\""),
            "is not one of `legacy`, `shadow`, `canary`, `live`, `retired`",
            "",
        ),
        error("no-old-server", client("stage = ▲\"legacy\""), "there is no [otk]", "`otk.url` in passbridge.toml"),
        error("no-old-server", client("stage = ▲\"canary\"\ncanary = { percent = 5 }"), "there is no [otk]", ""),
        error("no-old-server", client("stage = ▲\"shadow\""), "there is no [otk]", ""),
        error("bad-value", client("shadow = ▲\"ask\""), "`client.shadow` is not one of `exchange`", ""),
        error("no-old-server", client("legacy_secret = ▲{ learn = true }"), "there is no [otk]", "write-learned"),
        error("bad-value", client("legacy_secret = ▲{ learn = false }"), "nothing is learned", "{ learn = true }"),
        error("bad-value", client("canary = { percent = ▲0 }"), "`client.canary.percent`", ""),
        error("bad-value", client("canary = { percent = 5, step_back_at = ▲101 }"), "`client.canary.step_back_at`", ""),
        error("missing-key", client("canary = ▲{ step_back_at = 1 }"), "`client.canary.percent` is missing", ""),
        error("unknown-key", client("canary = { percent = 5, ▲share = 1 }"), "unknown key `client.canary.share`", ""),
        error("unknown-dialect", client("dialect = ▲\"otk\""), "there is no dialect `otk`", "known here: otk-passport"),
        error("wrong-type", client("dialect = ▲1"), "`client.dialect` is a whole number", ""),
        error("bad-value", client("scopes = { orders = ▲\"two words\" }"), "`two words` is no scope word", ""),
        error("bad-value", client("scopes = { orders = ▲\"\" }"), "`` is no scope word", ""),
        error("bad-value", client("scopes = { ▲\"a b\" = \"c\" }"), "`a b` is no scope word", ""),
        warning(
            "ambiguous-scope",
            client("scopes = { a = \"c\", ▲b = \"c\" }"),
            "`a` and `b` are one scope",
            "is told `a`",
        ),
    ]);
}

#[test]
fn a_slip_in_any_key_of_a_client_is_told_with_the_key_that_was_meant() {
    let all = client(
        "dialect = \"otk-passport\"\naccess_token_lifetime = \"1h\"\nmay_introspect = false\nshadow = \"exchange\"\n\
         allow_query_credentials = false\nmend_unescaped_plus = false\ncanary = { percent = 5, step_back_at = 2 }\n\
         stage_change = { from = \"live\", at = \"2026-01-31T12:00:00Z\", why = \"x\" }\nscopes = { \"a\" = \"b\" }",
    );
    let secrets =
        ["{ hash = \"x\" }", "{ learn = true }", "{ file = \"x\" }", "{ sealed = \"x\" }", "[{ hash = \"x\" }]"];
    let others =
        secrets.map(|secret| client(&format!("legacy_secret = {secret}\nclient_secret = {{ env = \"NEW\" }}")));
    for (key, text) in others.iter().chain([&all]).flat_map(|text| slips(text)) {
        assert_meant(&key, Site::new(&text).load().1);
    }
}

#[test]
fn a_secret_that_stands_in_the_place_of_a_key_is_not_told() {
    for secret in ["Hunter2Planted", "envHunter2Planted", "hash-Hunter2Planted"] {
        for text in [
            format!("client_secret = {{ {secret} = 1 }}"),
            format!("client_secret = {{ env = \"NEW\", {secret} = 1 }}"),
            format!("legacy_secret = {{ {secret} = 1 }}"),
            format!("legacy_secret = {{ learn = true, {secret} = 1 }}"),
            format!("legacy_secret = {{ hash = \"{HASH}\", {secret} = 1 }}"),
        ] {
            let findings = Site::new(&client(&text)).load().1.into_sorted();
            assert!(findings.iter().any(|finding| finding.code == "unknown-key"), "{text}: {findings:?}");
            assert!(!format!("{findings:?}").contains("Planted"), "{text}: {findings:?}");
        }
    }
}

#[test]
fn a_secret_with_a_slip_in_its_one_key_is_told_once_and_all_that_it_may_be_is_named() {
    assert_all_found(&[
        error("unknown-key", client("legacy_secret = { ▲hsh = \"x\" }"), "`client.legacy_secret.hsh`", "`hash`"),
        error("unknown-key", client("legacy_secret = { ▲lern = true }"), "`client.legacy_secret.lern`", "`learn`"),
        error("unknown-key", client("client_secret = { ▲fiel = \"x\" }"), "`client.client_secret.fiel`", "`file`"),
        error(
            "unknown-key",
            client("legacy_secret = { ▲bcrypt = \"x\" }"),
            "unknown key in `client.legacy_secret`",
            "known here: learn, hash, env, file, sealed",
        ),
        error("missing-key", client("legacy_secret = ▲{}"), "names no secret", "{ hash = "),
        error("unknown-key", client("▲mirror = 1"), "`client.mirror`", "canary, shadow, dialect, scopes,"),
    ]);
}

#[test]
fn what_is_missing_is_told() {
    for key in ["legacy_id", "legacy_secret", "client_id", "client_secret", "stage"] {
        let site = Site::new(&without(key));
        let found = site.findings();
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!((found[0].code, found[0].origin.line), ("missing-key", 1));
        assert!(found[0].message.contains(&format!("`client.{key}` is missing")), "{}", found[0].message);
    }
}

#[test]
fn a_canary_without_a_share_is_told_beside_the_old_server_that_is_missing() {
    let codes: Vec<_> =
        Site::new(&client("stage = \"canary\"")).findings().into_iter().map(|found| found.code).collect();
    assert_eq!(codes, ["missing-key", "no-old-server"]);
}

#[test]
fn faults_of_the_text_itself_are_told() {
    assert_all_found(&[
        error("duplicate-key", client("stage = \"live\"\n▲stage = \"live\""), "duplicate key", ""),
        error("syntax", client("may_introspect = ▲"), "not valid TOML", ""),
        error("syntax", client("client_secret = ▲planted-secret"), "not valid TOML", ""),
    ]);
}

#[test]
fn what_is_no_text_in_utf_8_is_told_with_what_to_do() {
    let utf_16: Vec<u8> = "[[client]]".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, message, hint) in [
        (vec![0xff], "the file is not UTF-8", "save it in UTF-8"),
        ([&[0xff, 0xfe][..], &utf_16].concat(), "the file is no text: it has zero bytes", "write it anew, in UTF-8"),
        (utf_16, "the file is no text: it has zero bytes", "write it anew, in UTF-8"),
        (vec![0; 10_000_000], "the file is no text: it has zero bytes", "write it anew, in UTF-8"),
    ] {
        let site = Site::new(&client(""));
        fs::write(site.path().join("clients/b.toml"), bytes).unwrap();
        let [found] = &site.findings()[..] else { panic!("not one finding: {:#?}", site.findings()) };
        assert_eq!((found.code, found.message.as_str(), found.hint.as_str()), ("unreadable-file", message, hint));
    }
}

#[test]
fn secrets_that_cannot_be_had_or_may_not_stand_there_are_told() {
    let clear = "is a secret in clear text";
    assert_all_found(&[
        error("clear-text-secret", client("client_secret = ▲\"planted-secret\""), clear, "use { env = \"NAME\" }"),
        error("clear-text-secret", client("client_secret = ▲12345"), clear, ""),
        error("clear-text-secret", client("client_secret = [{ env = \"NEW\" },\n ▲\"planted-secret\"]"), clear, ""),
        error("clear-text-secret", client("legacy_secret = ▲\"planted-secret\""), clear, "passbridge secret hash"),
        error("bad-value", client("client_secret = ▲[]"), "one secret or a list of two", ""),
        error(
            "bad-value",
            client(&format!("client_secret = ▲[{}]", "{ env = \"NEW\" },".repeat(3))),
            "a list of two",
            "",
        ),
        error("missing-key", client("client_secret = ▲{}"), "names no secret", "use { env"),
        error(
            "bad-value",
            client("client_secret = ▲{ env = \"NEW\", file = \"secret\" }"),
            "more than one of a variable, a file and a sealed value",
            "",
        ),
        error(
            "unset-variable",
            client("client_secret = { env = ▲\"NWE\" }"),
            "`NWE`, which is not set",
            "set NWE where the bridge is started, and here",
        ),
        error("unset-variable", client("client_secret = { env = ▲\"EMPTY\" }"), "which is set to nothing", ""),
        error("unset-variable", client("client_secret = { env = ▲\"END\" }"), "which is set to nothing", ""),
        error(
            "unreadable-secret",
            client("client_secret = { file = ▲\"gone\" }"),
            "names a file that cannot be read: No such file",
            "its path begins at",
        ),
        error("unreadable-secret", client("client_secret = { file = ▲\".\" }"), "which is a directory", ""),
        error("unreadable-secret", client("client_secret = { file = ▲\"/dev/null\" }"), "which is no regular file", ""),
        error("unreadable-secret", client("client_secret = { file = ▲\"empty\" }"), "which is empty", ""),
        error("unreadable-secret", client("client_secret = { file = ▲\"binary\" }"), "which is not UTF-8", ""),
        error("unreadable-secret", client("client_secret = { file = ▲\"long\" }"), "is longer than 65536 bytes", ""),
        warning(
            "world-readable",
            client("client_secret = { file = ▲\"readable\" }"),
            "can be read by everybody",
            "chmod o-r",
        ),
    ]);
}

/// The commonest slip with these forms.
#[test]
fn a_secret_that_stands_where_a_name_belongs_is_not_told() {
    let (variable, file) = ("names an environment variable that is not set", "names a file that cannot be read");
    let hint = "never the secret itself";
    let unset = |text: &str| error("unset-variable", client(text), variable, hint);
    let unreadable = |text: &str| error("unreadable-secret", client(text), file, "");
    assert_all_found(&[
        unset("client_secret = { env = ▲\"planted-secret\" }"),
        unset("client_secret = { env = ▲\"planted_secret\" }"),
        unset("client_secret = { env = ▲\"PLANTED0SECRET\" }"),
        unset("client_secret = [{ env = \"NEW\" },\n { env = ▲\"planted-secret\" }]"),
        unset("legacy_secret = { env = ▲\"planted-secret\" }"),
        unreadable("client_secret = { file = ▲\"planted-secret\" }"),
        unreadable("client_secret = { file = ▲\"/planted-secret.7\" }"),
        unreadable("legacy_secret = { file = ▲\"planted-secret/+x\" }"),
        error("bad-value", client("client_secret = { env = ▲\"\" }"), "is not the name of a variable", ""),
        error("bad-value", client("client_secret = { file = ▲\"\" }"), "`client.client_secret.file` is not a path", ""),
        error("wrong-type", client("client_secret = { env = ▲7 }"), "`client.client_secret.env`", ""),
    ]);
}

#[test]
fn hashes_that_are_none_or_cost_too_much_or_too_little_are_told() {
    let hash = |text: &str| client(&format!("legacy_secret = {{ hash = ▲\"{text}\" }}"));
    let hint = "passbridge secret hash";
    assert_all_found(&[
        error("malformed-hash", hash("planted-secret"), "is no hash in PHC text", hint),
        error("malformed-hash", hash("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2Fs"), "is no hash", hint),
        error("malformed-hash", hash(&HASH.replace("argon2id", "argon2i")), "another algorithm than argon2id", hint),
        error("malformed-hash", hash("$2b$12$c29tZXNhbHRzb21lc2Fs"), "hash", hint),
        error("malformed-hash", hash(&HASH.replace("m=19456", "m=4194304")), "costs too much", hint),
        error("malformed-hash", hash(&HASH.replace("t=2", "t=17")), "costs too much", hint),
        warning("weak-hash", hash(&HASH.replace("m=19456", "m=19455")), "cheap to guess", hint),
        warning("weak-hash", hash(&HASH.replace("t=2", "t=1")), "cheap to guess", hint),
        error(
            "unknown-key",
            client(&format!("legacy_secret = {{ hash = \"{HASH}\", ▲env = \"OLD\" }}")),
            "legacy_secret.env",
            "",
        ),
    ]);
}

#[test]
fn clients_are_held_side_by_side_and_both_places_are_named() {
    let other = client("legacy_id = \"other\"\nclient_id = \"another\"");
    assert_all_found(&[
        error(
            "duplicate-client",
            client("") + &other + &client("legacy_id = ▲\"old\"\nclient_id = \"third\""),
            "the client `old` is mapped twice",
            "leave one of the two: the first one is at ",
        ),
        warning(
            "shared-client",
            client("") + &other + &client("legacy_id = \"third\"\nclient_id = ▲\"new\""),
            "the new client `new` serves two old ones",
            "cannot tell this one from the one at ",
        ),
        warning(
            "shared-series",
            client("") + &client("legacy_id = ▲\"unknown\"\nclient_id = \"fourth\""),
            "metrics call all `unknown`",
            "of this client and of them is one",
        ),
    ]);
    let site = Site::new(&client(""));
    site.write("clients/b.toml", &client("client_id = \"another\""));
    let found = site.findings();
    assert_eq!((found.len(), found[0].code), (1, "duplicate-client"));
    assert!(found[0].origin.file.ends_with("b.toml") && found[0].hint.contains("a.toml:2:13"), "{}", found[0]);
}

#[test]
fn a_client_that_is_wrong_in_itself_is_compared_all_the_same() {
    let codes: BTreeSet<_> = Site::new(&(client("stage = \"x\"") + &client("client_id = \"b\"")))
        .findings()
        .iter()
        .map(|found| found.code)
        .collect();
    assert_eq!(codes, BTreeSet::from(["duplicate-client", "unknown-stage"]));
}

#[test]
fn a_hundred_faults_are_told_at_once_in_the_order_of_their_places() {
    let text: String =
        (0..100).map(|n| client(&format!("legacy_id = \"{n}\"\nclient_id = \"{n}\"\nstage = \"x\""))).collect();
    let found = Site::new(&text).findings();
    assert_eq!(found.len(), 100);
    assert!(found.is_sorted_by_key(|finding| finding.origin.line));
}

#[test]
fn a_broken_dialect_is_told_once_and_not_again_at_each_client() {
    let site = Site::new(
        &(client("dialect = \"mine\"") + &client("legacy_id = \"b\"\nclient_id = \"b\"\ndialect = \"mine\"")),
    );
    site.write("dialects/mine.toml", "nonsense = 1\n[tokens]\n");
    let found = site.findings();
    assert!(found.iter().all(|finding| finding.origin.file.ends_with("dialects/mine.toml")), "{found:#?}");
    assert!(found.iter().any(|finding| finding.code == "unknown-key"));
}

#[test]
fn scopes_are_held_against_those_that_the_dialect_says_its_realm_has() {
    let shipped =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/mappings/dialects/otk-passport.toml")).unwrap();
    let site = Site::new(&client("dialect = \"mine\"\nscopes = { orders = \"orders\", mail = \"maiil\" }"));
    site.write(
        "dialects/mine.toml",
        &format!("{shipped}\n[realm]\nscopes = [\"orders\", \"mail\"]\n").replace("[[realm.errors]]", "[[unused]]"),
    );
    let found = site.findings();
    assert!(
        found.iter().any(|finding| finding.code == "unknown-scope" && finding.message.contains("`maiil`")),
        "{found:#?}"
    );
    // A realm without any is one to hold clients against, too.
    let without = "\n[realm]\nscopes = []\n";
    site.write("dialects/mine.toml", &format!("{shipped}{without}").replace("[[realm.errors]]", "[[unused]]"));
    let found = site.findings();
    let told = found.iter().filter(|finding| finding.code == "unknown-scope");
    assert_eq!(told.map(|finding| finding.hint.as_str()).collect::<Vec<_>>(), ["the dialect says that it has none"; 2]);
}

#[test]
fn the_shipped_dialect_serves_a_directory_without_dialects_and_a_file_takes_its_place() {
    let site = Site::new(&client(""));
    assert_eq!(site.loaded().table.default_dialect().endpoints.token, "/auth/oauth/v2/token");
    let shipped =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/mappings/dialects/otk-passport.toml")).unwrap();
    site.write("dialects/otk-passport.toml", &shipped.replace("/auth/oauth/v2/token\"", "/token\""));
    assert_eq!(site.loaded().table.default_dialect().endpoints.token, "/token");
}

#[test]
fn a_directory_that_is_not_there_is_told_and_one_without_clients_is_a_warning() {
    let empty = tempfile::tempdir().unwrap();
    let environment = Environment::default();
    let findings = Findings::new();
    assert!(mapping::load(&mapping::Place::new(empty.path()), &environment, &findings).is_none());
    let found = findings.into_sorted();
    assert_eq!((found.len(), found[0].code), (1, "unreadable-file"), "{found:#?}");
    fs::create_dir(empty.path().join("clients")).unwrap();
    let findings = Findings::new();
    assert!(mapping::load(&mapping::Place::new(empty.path()), &environment, &findings).is_some());
    assert_eq!(findings.into_sorted()[0].code, "no-clients");
}

#[test]
fn editors_leavings_and_other_files_are_none_of_ours() {
    let site = Site::new(&client(""));
    for name in [".a.toml.swp", ".#a.toml", "a.toml~", "#a.toml#", "README.md", "secret"] {
        site.write(&format!("clients/{name}"), "nonsense");
    }
    assert_eq!(site.loaded().table.len(), 1);
}

#[test]
fn a_dangling_link_is_a_file_that_cannot_be_read() {
    let site = Site::new(&client(""));
    symlink("gone", site.path().join("clients/b.toml")).unwrap();
    let found = site.findings();
    assert_eq!((found.len(), found[0].code), (1, "unreadable-file"));
    assert!(found[0].origin.file.ends_with("clients/b.toml"));
}

#[test]
fn a_pipe_a_device_and_a_directory_are_refused_and_never_waited_for() {
    let site = Site::new(&client(""));
    let folder = site.path().join("clients");
    let made = Command::new("mkfifo").arg(folder.join("pipe.toml")).status().unwrap();
    assert!(made.success());
    symlink("/dev/zero", folder.join("device.toml")).unwrap();
    symlink("loop.toml", folder.join("loop.toml")).unwrap();
    fs::create_dir(folder.join("folder.toml")).unwrap();
    let (_, findings) = site.load();
    // Who looks for a change must not see one in what stays: it would be read, and refused, again and again.
    assert!(mapping::watch::Watch::new(findings.footing().into()).look().is_empty());
    let findings = findings.into_sorted();
    let told: Vec<_> = findings.iter().map(|found| (found.code, found.message.as_str())).collect();
    let refused = |message| ("unreadable-file", message);
    let (device, folder) = (refused("the file is no regular file"), refused("the file is a directory"));
    let endless = refused("the file cannot be read: Too many levels of symbolic links");
    assert_eq!(told, [device, folder, endless, device]);
    assert!(findings[1].hint.contains("rename it"), "{:?}", findings[1].hint);
}

#[test]
fn a_session_that_lasts_as_long_as_can_be_said_is_as_good_as_any() {
    let shipped =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/mappings/dialects/otk-passport.toml")).unwrap();
    let site = Site::new(&client("dialect = \"mine\""));
    let realm = format!("\n[realm]\nlongest_session = \"{}s\"\n", u64::MAX);
    site.write("dialects/mine.toml", &(shipped + &realm).replace("[[realm.errors]]", "[[unused]]"));
    assert!(site.findings().iter().all(|finding| finding.code != "promise-too-long"), "{:#?}", site.findings());
}

#[test]
fn a_long_file_is_read_as_a_short_one_whatever_stands_before_its_first_client() {
    for before in ["client = []\n", "client.legacy_id = \"x\"\n", "[client]\n", "[\"client\".scopes]\n"] {
        let told = |comments: usize| {
            let site = Site::new(&format!("{before}{}{}", "# A comment.\n".repeat(comments), client("")));
            let found = site.findings();
            assert!(found.iter().any(|finding| finding.code == "duplicate-key"), "{before}: {found:#?}");
            found.into_iter().map(|finding| (finding.code, finding.message)).collect::<Vec<_>>()
        };
        assert_eq!(told(4_000), told(1), "{before}");
    }
}

#[test]
fn the_digest_changes_with_any_byte_or_name_and_with_nothing_else() {
    let site = Site::new(&client(""));
    let first = site.loaded().digest;
    assert_eq!(first.len(), 64);
    assert_eq!(site.loaded().digest, first);
    let elsewhere = Site::new(&client("")).loaded().digest;
    assert_eq!(elsewhere, first, "wherever the directory is");
    site.write("clients/a.toml", &format!("{}#", client("")));
    let second = site.loaded().digest;
    fs::rename(site.path().join("clients/a.toml"), site.path().join("clients/b.toml")).unwrap();
    let third = site.loaded().digest;
    assert_eq!(BTreeSet::from([first, second, third]).len(), 3);
}

#[test]
fn ten_thousand_clients_in_one_file_know_their_places() {
    let text: String =
        (0..10_000).map(|n| client(&format!("legacy_id = \"old-{n}\"\nclient_id = \"new-{n}\""))).collect();
    let site = Site::new(&text);
    let loaded = site.loaded();
    assert_eq!((loaded.table.len(), loaded.table.client("old-9999").unwrap().client_id.as_str()), (10_000, "new-9999"));
    let planted =
        error("unknown-stage", text + &client("legacy_id = \"x\"\nclient_id = \"y\"\nstage = ▲\"x\""), "", "");
    site.write("clients/a.toml", &planted.written());
    planted.assert_found("clients/a.toml", site.load().1);
}
