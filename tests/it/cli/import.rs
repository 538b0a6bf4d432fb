//! `passbridge client import`.

use std::fs::{self, File};

use passbridge::domain::unseen::is_unseen;

use super::said::{Said, run};
use crate::support::{OLD_ID, Plan, World, passport};

const HEADER: &str = "legacy_id,legacy_secret,client_id,client_secret,scopes,stage,dialect\n";

fn import(world: &World, name: &str, text: &str, more: &[&str]) -> Said {
    let table = world.path().join(name);
    fs::write(&table, text).unwrap();
    run(world, &[&["client", "import", table.to_str().unwrap()], more].concat(), "")
}

fn imported(world: &World) -> Option<String> {
    fs::read_to_string(world.path().join("mappings/clients/imported.toml")).ok()
}

#[test]
fn an_import_is_dry_until_it_is_told_to_write() {
    let world = Plan::new().start();
    // Another order, a byte order mark, quotes and a comma in a field, a column that is left out.
    let text = "\u{feff}client_id,client_secret,legacy_id,legacy_secret,stage,scopes\r\nnew_a,env:NEW_SECRET,\"a, the \"\"first\"\"\",planted-typed-a,live,read=realm.read write\r\nnew_b,env:NEW_SECRET,b,planted-typed-b,,\r\n";
    let dry = import(&world, "all.csv", text, &["--stage", "live"]).fine();
    let added = "add a, the \"first\" as new_a, at stage live, scopes read=realm.read write=write\n\
        add b as new_b, at stage live\n";
    assert_eq!(dry.out, added);
    assert!(dry.err.contains("hint: --write adds them"), "{}", dry.err);
    assert_eq!(imported(&world), None);
    let written = import(&world, "all.csv", text, &["--stage", "live", "--write"]).fine();
    assert!(
        written.err.contains("2 clients added") && written.err.contains("has it, as generation"),
        "{}",
        written.err
    );
    let mapping = imported(&world).unwrap();
    assert!(!mapping.contains("planted-typed") && mapping.matches("$argon2id$").count() == 2, "{mapping}");
    assert!(mapping.contains("scopes = { read = \"realm.read\", write = \"write\" }"), "{mapping}");
    assert_eq!(world.token(&passport("b", "planted-typed-b")).status, 200);
    assert_ne!(world.token(&passport("b", "planted-typed-a")).status, 200);
    let again = import(&world, "all.csv", text, &["--stage", "live", "--write"]);
    again.refused(1, "nothing was changed: 2 problems");
    assert!(
        again.out.contains("all.csv:2: error: the client `a, the \"first\"` is mapped already, at "),
        "{}",
        again.out
    );
    assert_eq!(imported(&world).unwrap(), mapping);
}

#[test]
fn an_old_secret_that_nobody_knows_is_learned() {
    let world = Plan::new().set("otk", "url", "\"http://127.0.0.1:1\"").files();
    let text = "legacy_id,legacy_secret,client_id,client_secret\na,learn,new_a,env:NEW_SECRET\n";
    import(&world, "all.csv", text, &["--stage", "legacy", "--write"]).fine();
    assert!(imported(&world).unwrap().contains("legacy_secret = { learn = true }"), "{:?}", imported(&world));
    let add = ["client", "add", "b", "--client-id", "new_b", "--client-secret", "env:NEW_SECRET", "--stage", "legacy"];
    run(&world, &[&add[..], &["--legacy-secret", "learn"]].concat(), "").fine();
    for id in ["a", "b"] {
        let shown = run(&world, &["client", "show", id, "--format", "json"], "").fine().json();
        assert_eq!(shown["legacy_secrets"][0]["kind"], "learn");
    }
    // Nobody learns what is sent to the realm, nor without an old server.
    let new = "legacy_id,legacy_secret,client_id,client_secret\nc,env:OLD_SECRET,new_c,learn\n";
    import(&world, "all.csv", new, &["--stage", "legacy"]).refused(1, "nothing was changed");
    import(&Plan::new().files(), "all.csv", text, &["--stage", "live"]).refused(1, "nothing was changed");
}

#[test]
fn json_is_as_good_as_csv() {
    let world = Plan::new().files();
    let text = "[{\"legacy_id\": \"a\", \"legacy_secret\": \"env:OLD_SECRET\", \"client_id\": \"new_a\", \"client_secret\": \"env:NEW_SECRET\", \"scopes\": {\"read\": \"realm.read\"}, \"stage\": \"retired\", \"dialect\": null}]";
    let written = import(&world, "all.json", text, &["--write", "--format", "json"]).fine().json();
    let scopes = serde_json::json!({"read": "realm.read"});
    let add =
        serde_json::json!([{"line": 1, "legacy_id": "a", "client_id": "new_a", "stage": "retired", "scopes": scopes}]);
    assert_eq!(written, serde_json::json!({"add": add, "problems": [], "warnings": [], "write": true}));
    let shown = run(&world, &["client", "show", "a", "--format", "json"], "").fine().json();
    assert_eq!((&shown["stage"], &shown["scopes"]["read"]), (&"retired".into(), &"realm.read".into()));
    // As PowerShell writes UTF-8.
    let marked = format!("\u{feff}{}", text.replace("\"a\"", "\"marked\""));
    import(&world, "marked.json", &marked, &["--write"]).fine();
    import(&world, "bad.json", "{\"legacy_id\": \"planted-typed\"}", &[]).refused(2, "is no list of JSON objects");
    import(&world, "bad.json", "[{\"legacy\": \"planted-typed\"}]", &[]).refused(2, "unknown column `legacy`");
    import(&world, "bad.txt", text, &[]).refused(2, "name it .csv or .json");
}

#[test]
fn nothing_is_said_to_be_written_that_is_not() {
    let world = Plan::new().files();
    let text = HEADER.to_owned() + "a,env:OLD_SECRET,new_a,env:NEW_SECRET,,live,\n";
    let lock = File::create(world.path().join("mappings/clients/.passbridge.lock")).unwrap();
    lock.lock().unwrap();
    let said = import(&world, "all.csv", &text, &["--write", "--format", "json"]);
    said.refused(1, "somebody else is changing the mapping files");
    assert_eq!((&said.json()["write"], imported(&world)), (&false.into(), None));
}

#[test]
fn what_is_wrong_is_told_line_by_line_and_nothing_is_written() {
    let world = Plan::new().files();
    let hash = "$argon2id$v=19$m=8";
    let rows = [
        "good,env:OLD_SECRET,new,env:NEW_SECRET,,live,",
        "clear,planted-typed,new2,planted-typed,,live,",
        ",env:OLD_SECRET,new3,env:NEW_SECRET,,live,",
        "good,env:OLD_SECRET,new4,env:NEW_SECRET,,live,",
        "few,env:OLD_SECRET",
        "gone,env:OLD_SECRET,new6,env:NEW_SECRET,,gone,",
        "tongue,env:OLD_SECRET,new7,env:NEW_SECRET,,live,esperanto",
        "unset,env:OLD_SECRET,new8,env:UNSET,,live,",
        "hash,HASH,new9,env:NEW_SECRET,,live,",
        "scope,env:OLD_SECRET,new10,env:NEW_SECRET,a=\\,live,",
        "none,env:OLD_SECRET,new11,env:NEW_SECRET,,,",
        "twice,env:OLD_SECRET,new13,env:NEW_SECRET,a=b c a=c,live,",
    ];
    let mapped = format!("{OLD_ID},env:OLD_SECRET,new12,env:NEW_SECRET,,live,\n");
    let text = HEADER.to_owned() + &rows.join("\n").replace("HASH", &format!("\"{hash}\"")) + "\n" + &mapped;
    let said = import(&world, "bad.csv", &text, &["--write"]);
    said.refused(1, "nothing was changed: 12 problems");
    for (line, words) in [
        (3, "`client_secret` is a secret in clear text"),
        (4, "`legacy_id` is missing"),
        (5, "the client `good` is in line 2 already"),
        (6, "the row has 2 fields, the header 7"),
        (7, "`stage` is not one of "),
        (8, "there is no dialect `esperanto`"),
        (9, "`UNSET`, which is not set"),
        (10, "is no hash in PHC text"),
        (11, "is no scope word"),
        (12, "`stage` is missing"),
        (13, "`scopes` has `a` twice"),
        (14, "is mapped already"),
    ] {
        let found =
            said.out.lines().any(|told| told.contains(&format!("bad.csv:{line}: error: ")) && told.contains(words));
        assert!(found, "{line}: {words}: {}", said.out);
    }
    // What has a problem is not told as an addition.
    let added: Vec<_> = said.out.lines().filter(|line| line.starts_with("add ")).collect();
    assert_eq!(added, ["add good as new, at stage live"]);
    let json = import(&world, "bad.csv", &text, &["--format", "json"]).json();
    let added = serde_json::json!([{"line": 2, "legacy_id": "good", "client_id": "new", "stage": "live"}]);
    assert_eq!((&json["add"], json["problems"].as_array().unwrap().len()), (&added, 12));
    assert_eq!(imported(&world), None);
}

#[test]
fn a_blank_behind_a_comma_is_no_part_of_an_id_a_secret_or_a_reference() {
    let world = Plan::new().set("secrets", "identity", "{ file = \"age.key\" }").files();
    let key = run(&world, &["secret", "keygen"], "").fine().out;
    world.plant_text(key.lines().last().unwrap());
    fs::write(world.path().join("age.key"), key).unwrap();
    let text = "legacy_id, legacy_secret, client_id, client_secret\n\
        sp1, planted-typed, csp1, env:NEW_SECRET\n\
        good,planted-typed,new,env:NEW_SECRET\n\
        tail,planted-typed ,new2,ENV:NEW_SECRET\n\
        words,Learn,new3,env:\n\
        none,env:OLD_SECRET,new4,learn\n";
    let said = import(&world, "sp.csv", text, &["--stage", "retired", "--write"]);
    said.refused(1, "nothing was changed: 8 problems");
    for (line, words) in [
        (2, "`legacy_secret` begins or ends with a blank\n  hint: take it away"),
        (2, "`client_id` begins or ends with a blank"),
        (2, "`client_secret` begins or ends with a blank"),
        (4, "`legacy_secret` begins or ends with a blank"),
        (4, "`client_secret` is no reference, and looks like one\n  hint: as `env:NAME`"),
        (5, "`legacy_secret` is no reference, and looks like one"),
        (5, "`client_secret` is no reference, and looks like one"),
        (6, "`client_secret` is no reference, and looks like one"),
    ] {
        assert!(said.out.contains(&format!("sp.csv:{line}: error: {words}")), "{line}: {words}: {}", said.out);
    }
    assert!(said.out.starts_with("add good as new, at stage retired\n"), "{}", said.out);
    assert_eq!(imported(&world), None);
}

#[test]
fn words_of_scopes_that_something_else_than_blanks_separates_are_a_problem_of_their_row() {
    let world = Plan::new().files();
    for (scopes, sign) in [
        ("cr=client_registration;mail=email", "`;`"),
        ("a=b|c=d", "`|`"),
        ("\"a=b,c=d\"", "`,`"),
        ("\"a=b, c=d\"", "`,`"),
        ("read a=b; c=d", "`;`"),
        ("\"read,write\"", "`,`"),
        ("a=b=c", "two `=`"),
    ] {
        let row = format!("{HEADER}a1,env:OLD_SECRET,n1,env:NEW_SECRET,{scopes},live,\n");
        let said = import(&world, "i.csv", &row, &["--write"]);
        said.refused(1, "nothing was changed: 1 problem");
        let problem = format!("i.csv:2: error: `scopes` has {sign} within a word\n  hint: blanks alone separate");
        assert!(said.out.contains(&problem) && !said.out.contains("add a1"), "{scopes}: {said:?}");
    }
    let entry = |scopes: &str| {
        format!(
            "[{{\"legacy_id\": \"a\", \"legacy_secret\": \"env:OLD_SECRET\", \"client_id\": \"new\", \"client_secret\": \"env:NEW_SECRET\", \"stage\": \"live\", \"scopes\": {scopes}}}]"
        )
    };
    let text = import(&world, "i.json", &entry("\"a=b,c=d\""), &["--write"]);
    text.refused(1, "nothing was changed: 1 problem");
    assert!(text.out.contains("i.json:1: error: `scopes` has `,` within a word"), "{text:?}");
    assert_eq!(imported(&world), None);
    // RFC 6749 section 3.3 has scopes with any of these: here there is no doubt.
    import(&world, "i.json", &entry("{\"a,b\": \"c=d;e=f|g\"}"), &["--write"]).fine();
    assert!(imported(&world).unwrap().contains("scopes = { \"a,b\" = \"c=d;e=f|g\" }"), "{:?}", imported(&world));
}

#[test]
fn what_an_import_would_change_is_shown_with_scopes_and_dialect() {
    let world = Plan::new().files();
    let row = format!("{HEADER}a,env:OLD_SECRET,new,env:NEW_SECRET,cr=client_registration mail,live,otk-passport\n");
    let dry = import(&world, "i.csv", &row, &[]).fine();
    let told = "add a as new, at stage live, scopes cr=client_registration mail=mail, dialect otk-passport\n";
    assert_eq!(dry.out, told);
    let json = import(&world, "i.csv", &row, &["--format", "json"]).fine().json();
    let scopes = serde_json::json!({"cr": "client_registration", "mail": "mail"});
    assert_eq!((&json["add"][0]["scopes"], &json["add"][0]["dialect"]), (&scopes, &"otk-passport".into()));
}

#[test]
fn a_warning_of_a_dry_run_names_the_row_and_not_a_file_that_is_not_there() {
    let world = Plan::new().set("otk", "url", "\"http://127.0.0.1:1\"").files();
    let text = "legacy_id,legacy_secret,client_id,client_secret\n\
        a,env:OLD_SECRET,new_a,env:NEW_SECRET\n\
        b,env:OLD_SECRET,new_b,env:NEW_SECRET\n\
        c,learn,new_c,env:NEW_SECRET\n";
    let dry = import(&world, "t.csv", text, &["--stage", "legacy"]).fine();
    assert!(dry.out.contains("t.csv:4: warning: "), "{dry:?}");
    assert!(!dry.out.contains("imported.toml") && !dry.err.contains("imported.toml"), "{dry:?}");
    let json = import(&world, "t.csv", text, &["--stage", "legacy", "--format", "json"]).fine().json();
    assert_eq!((json["warnings"].as_array().unwrap().len(), &json["warnings"][0]["line"]), (1, &4.into()), "{json}");
    // Now there is one.
    let written = import(&world, "t.csv", text, &["--stage", "legacy", "--write"]).fine();
    assert!(written.err.contains("imported.toml:") && !written.out.contains("warning"), "{written:?}");
}

#[test]
fn what_stands_twice_in_a_row_of_json_is_a_problem_of_that_row() {
    let world = Plan::new().files();
    let entry = |more: &str| {
        format!(
            "{{\"legacy_id\": \"a\", \"legacy_secret\": \"env:OLD_SECRET\", \"client_id\": \"new\", \"client_secret\": \"env:NEW_SECRET\"{more}}}"
        )
    };
    for (more, words) in [
        (", \"scopes\": {\"a\": \"b\", \"a\": \"c\"}", "`scopes` has `a` twice"),
        (", \"scopes\": \"a=b a=c\"", "`scopes` has `a` twice"),
        (", \"scopes\": {\"a\": 1}", "the row has something else than a text for a scope"),
        (", \"scopes\": {\"a b\": \"c\"}", "is no scope word"),
        (", \"scopes\": [\"a\"]", "the row has something else than a text as `scopes`"),
        (", \"client_id\": \"other\"", "the row has `client_id` twice"),
    ] {
        let said = import(&world, "x.json", &format!("[{}]", entry(more)), &["--stage", "live", "--write"]);
        said.refused(1, "nothing was changed: 1 problem");
        assert!(said.out.starts_with(world.path().to_str().unwrap()) && said.out.contains(words), "{more}: {said:?}");
    }
    assert_eq!(imported(&world), None);
}

#[test]
fn a_table_that_is_none_is_refused_with_a_sentence() {
    let world = Plan::new().files();
    import(&world, "x.csv", "legacy_id,secret\n", &[]).refused(2, "unknown column `secret`");
    import(&world, "x.csv", "legacy_id,client_id\n", &[])
        .refused(2, "lacks the column `legacy_secret`, `client_secret`");
    let semicolons = HEADER.replace(',', ";");
    import(&world, "x.csv", &semicolons, &[]).refused(2, "hint: its columns are separated by `;`");
    fs::write(world.path().join("y.csv"), [HEADER.as_bytes(), b"\xeb\n"].concat()).unwrap();
    let encoded = run(&world, &["client", "import", world.path().join("y.csv").to_str().unwrap()], "");
    assert!(encoded.out.contains("the row is not UTF-8\n  hint: save it"), "{encoded:?}");
    fs::write(world.path().join("y.csv"), b"\xeb\n").unwrap();
    let encoded = run(&world, &["client", "import", world.path().join("y.csv").to_str().unwrap()], "");
    encoded.refused(2, "has no header in UTF-8\n  hint: save it");
    import(&world, "x.csv", "legacy_id,legacy_id\n", &[]).refused(2, "`legacy_id` twice");
    import(&world, "x.csv", "", &[]).refused(2, "lacks the column");
    import(&world, "x.csv", HEADER, &["--write"]).fine();
    import(&world, "x.csv", HEADER, &["--into", "../x.toml"]).refused(2, "no name for a mapping file");
    run(&world, &["client", "import", "nowhere.csv"], "").refused(2, "cannot be read");
    run(&world, &["client", "import", "."], "")
        .refused(2, "cannot be read: is a directory\n  hint: a CSV or JSON file");
    assert_eq!(imported(&world), None);
}

#[test]
fn a_secret_that_stands_where_the_name_of_a_column_belongs_is_not_told() {
    let world = Plan::new().files();
    let row = "l7xx3c0ffee,planted-typed,test_api,planted-typed-new,,live\n";
    let (semicolons, tabs) = (row.replace(',', ";"), row.replace(',', "\t"));
    // `run` holds all that is said against what is planted so.
    for (text, hint) in [
        (semicolons.as_str(), "its columns are separated by `;`: save it with commas"),
        (&tabs, "its columns are separated by tabs"),
        (row, "known are legacy_id, "),
        ("planted-typed,l7xx3c0ffee,test_api,planted-typed-new\n", "known are legacy_id, "),
    ] {
        import(&world, "x.csv", text, &[]).refused(2, &format!("has no columns in its first line\n  hint: {hint}"));
    }
    // A secret of letters alone, which reads as a name does.
    let letters = import(&world, "x.csv", "hunter,shop,shop,other\n", &[]);
    assert!(letters.status == 2 && !letters.err.contains("hunter"), "{letters:?}");
    import(&world, "x.csv", "legacy_id,planted-typed-1\n", &[])
        .refused(2, "has a column of another name, column 2\n  hint: known");
    let second = "[{\"legacy_id\": \"a\"}, {\"legacy_id\": \"b\", \"planted-typed-1\": \"a\"}]";
    import(&world, "x.json", second, &[])
        .refused(2, "has a column of another name, member 2 of entry 2\n  hint: known");
    let trailing = HEADER.replace('\n', ",\n");
    import(&world, "x.csv", &trailing, &[]).refused(2, "has the unknown column ``, column 8\n  hint: known");
}

#[test]
fn what_a_table_has_moves_no_terminal_and_turns_no_line() {
    let world = Plan::new().files();
    let odd = "x\u{1b}[31mR\u{202e}abc\u{9b}q";
    let row = format!("a,env:OLD_SECRET,new_a,env:NEW_SECRET,s\u{1b}[31m\u{202e}\u{9b}=b\u{9b}c,live,{odd}\n");
    let json = format!("[{{\"legacy_id\": \"a\", \"{}\": \"b\"}}]", odd.replace('\u{1b}', "\\u001b"));
    for (name, text) in [
        ("row.csv", format!("{HEADER}{row}")),
        ("header.csv", format!("legacy_id,{odd}\n")),
        ("member.json", json),
        ("odd\u{202e}\u{9b}.csv", format!("{HEADER}{row}")),
    ] {
        let said = import(&world, name, &text, &[]);
        assert_ne!(said.status, 0, "{said:?}");
        let unseen = |text: &str| text.chars().any(|letter| letter != '\n' && is_unseen(letter));
        assert!(!unseen(&said.out) && !unseen(&said.err), "{name}: {said:?}");
    }
    for command in [["client", "stage", odd, "live", "--why", "a test"].as_slice(), &["client", "rollback", odd]] {
        let said = run(&world, command, "");
        assert!(said.status != 0 && !said.err.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{said:?}");
    }
}
