//! `passbridge client`.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::said::{Said, run, run_with};
use crate::support::{Connection, NEW_ID, NEW_SECRET, OLD_ID, OLD_SECRET, Plan, World, client, eventually, passport};

/// A file with every way of writing that an edit must not disturb.
pub(super) const ODD: &str = "# Partners; ask Ann before you change anything.\n\n[[client]]\nlegacy_id = 'l7xx3c0ffee'   # the shop\nlegacy_secret = { env = \"OLD_SECRET\" } # rotated in May\nclient_id=\"test_api\"\nclient_secret = { env = \"NEW_SECRET\" }\nstage = \"live\"\t# since spring\n\n# The second one.\n[[client]]\n  legacy_id = \"second\"\n  client_id = \"second_api\"\n  legacy_secret = [\n    { env = \"OLD_SECRET\" },\n    { env = \"NEW_SECRET\" },\n  ]\n  client_secret = { env = \"NEW_SECRET\" }\n  stage = \"live\"\n  access_token_lifetime = \"2h\"\n[client.scopes]\nread = \"realm_read\" # end\n";

pub(super) fn odd() -> World {
    Plan::new().without_clients().client(ODD).files()
}

pub(super) fn file(world: &World, name: &str) -> PathBuf {
    world.path().join("mappings/clients").join(name)
}

pub(super) fn all(world: &World) -> String {
    fs::read_to_string(file(world, "all.toml")).unwrap()
}

#[test]
fn a_list_says_what_stands_where_and_no_secret() {
    let world = odd();
    let listed = run(&world, &["client", "list", "--format", "json"], "").fine().json();
    let first = &listed[0];
    assert_eq!(first["legacy_id"], OLD_ID);
    assert_eq!(first["client_id"], NEW_ID);
    assert_eq!(first["stage"], "live");
    assert_eq!(first["stage_change"], serde_json::Value::Null);
    assert_eq!(first["dialect"], "otk-passport");
    assert_eq!(
        first["legacy_secrets"],
        serde_json::json!([{"kind": "env", "name": "OLD_SECRET", "learned": null, "last_used": null}])
    );
    assert_eq!(first["used_since"], serde_json::Value::Null);
    assert_eq!(first["line"], 3);
    assert!(first["file"].as_str().unwrap().ends_with("clients/all.toml"));
    assert_eq!(listed[1]["scopes"], serde_json::json!({"read": "realm_read"}));
    assert_eq!(listed[1]["access_token_lifetime"], "2h");
    assert_eq!(listed[1]["legacy_secrets"].as_array().unwrap().len(), 2);
    let human = run(&world, &["client", "list"], "").fine();
    assert_eq!(human.out.lines().count(), 3);
    assert!(human.out.starts_with("LEGACY ID"), "{}", human.out);
    assert!(human.err.contains("2 clients"), "{}", human.err);
    assert_eq!(run(&world, &["client", "list", "--stage", "retired"], "").fine().out.lines().count(), 1);
    run(&world, &["client", "list", "--stage", "gone"], "")
        .refused(2, "possible values: legacy, shadow, canary, live, retired");
}

#[test]
fn what_stands_where_a_name_belongs_and_may_be_the_secret_is_shown_by_no_command() {
    for slip in ["{ env = \"S3kr3tPassw0rd!\" }", "{ file = \"S3kr3tPassw0rd!\" }"] {
        let world = Plan::new().without_clients().client(&ODD.replacen("{ env = \"NEW_SECRET\" }", slip, 1)).files();
        for way in [&["list"][..], &["show", OLD_ID]] {
            for format in ["human", "json"] {
                let said = run(&world, &[&["client"], way, &["--format", format]].concat(), "").fine();
                assert!(!format!("{}{}", said.out, said.err).contains("S3kr3t"), "{}", said.out);
                assert!(said.out.contains("OLD_SECRET"), "{}", said.out);
            }
        }
    }
}

#[test]
fn a_bridge_that_refuses_what_the_files_say_is_told_beside_it() {
    let mut world = Plan::new().start();
    let ops = world.running().addresses().ops;
    world.change("listen", "ops", &format!("\"{ops}\""));
    let ways = [&["client", "list"][..], &["client", "show", OLD_ID]];
    let told = |world: &World, way: &[&str]| run(world, way, "").fine().err.contains("the bridge at");
    assert!(ways.iter().all(|way| !told(&world, way)));
    let unfit = client("other", "client_secret = { env = \"NOT_SET\" }");
    world.change_clients(&[client(OLD_ID, "stage = \"retired\""), unfit]);
    assert!(world.running().reload().is_err());
    assert!(ways.iter().all(|way| told(&world, way)));
}

#[test]
fn with_an_old_server_a_client_that_no_command_moved_goes_back_to_it() {
    let world = Plan::new().set("otk", "url", "\"http://127.0.0.1:1\"").files();
    run(&world, &["client", "rollback", OLD_ID], "").fine();
    let shown = run(&world, &["client", "show", OLD_ID, "--format", "json"], "").fine().json();
    assert_eq!((&shown["stage"], &shown["stage_change"]["from"]), (&"legacy".into(), &"live".into()));
    run(&world, &["client", "stage", OLD_ID, "live", "--why", "forward again"], "").fine();
    assert_eq!(run(&world, &["client", "list", "--stage", "live"], "").fine().out.lines().count(), 2);
}

#[test]
fn without_an_old_server_nobody_is_moved_to_it() {
    let world = Plan::new().files();
    let before = all(&world);
    run(&world, &["client", "stage", OLD_ID, "legacy", "--why", "a test"], "")
        .refused(1, "stage `legacy` needs an old server, and there is no [otk]");
    assert_eq!(all(&world), before);
}

#[test]
fn a_client_is_shown_with_its_place() {
    let world = odd();
    let shown = run(&world, &["client", "show", "second"], "").fine().out;
    assert!(shown.contains("clients/all.toml:11\n"), "{shown}");
    assert!(shown.contains("env:OLD_SECRET env:NEW_SECRET\n"), "{shown}");
    assert!(shown.contains("read is realm_read at the realm\n"), "{shown}");
    let json = run(&world, &["client", "show", "second", "--format", "json"], "").fine().json();
    assert_eq!(json["client_id"], "second_api");
    run(&world, &["client", "show", "third"], "").refused(1, "`passbridge client list` shows all");
}

#[test]
fn a_broken_file_does_not_hide_the_others() {
    let world = odd();
    fs::write(file(&world, "broken.toml"), "[[client]\n").unwrap();
    let listed = run(&world, &["client", "list"], "");
    listed.refused(1, "broken.toml");
    assert_eq!(listed.out.lines().count(), 3);
}

/// A slip in it guards nothing, and nobody else would say so.
#[test]
fn check_tells_of_a_client_in_a_route_that_no_mapping_has() {
    let route = format!(
        "[{{ prefix = \"/api\", upstream = \"http://127.0.0.1:1\", clients = [\"{OLD_ID}\", \"l7xx3c0ffeE\"] }}]"
    );
    let world = Plan::new().set("listen", "gateway", "\"127.0.0.1:0\"").set("gateway", "route", &route).files();
    let checked = run(&world, &["check"], "").fine();
    let told: Vec<&str> = checked.out.lines().filter(|line| line.contains("[unknown-route-client]")).collect();
    let [line] = told[..] else { panic!("{}", checked.out) };
    assert!(line.contains("passbridge.toml:") && line.contains("`l7xx3c0ffeE`"), "{line}");
}

#[test]
fn a_configuration_that_cannot_be_read_names_no_mapping() {
    let world = odd();
    fs::write(world.config(), "[realm\n").unwrap();
    for command in [&["client", "list"][..], &["client", "show", OLD_ID]] {
        let said = run(&world, command, "");
        said.refused(2, "passbridge.toml:1:7: error[syntax]");
        assert!(said.out.is_empty(), "{}", said.out);
    }
    let checked = run(&world, &["check"], "");
    checked.refused(1, "the mappings were not looked at");
    assert!(checked.out.contains("error[syntax]") && !checked.out.contains("mappings/clients"), "{}", checked.out);
    // As after a slip in its name.
    fs::remove_file(world.config()).unwrap();
    for command in [&["client", "list"][..], &["client", "show", OLD_ID]] {
        run(&world, command, "").refused(2, "passbridge.toml: error[unreadable-file]");
    }
}

#[test]
fn a_stage_changes_its_lines_and_no_other() {
    let world = odd();
    let said = run(&world, &["client", "stage", OLD_ID, "retired", "--why", "moved \"away\""], "").fine();
    assert!(said.out.is_empty());
    assert!(said.err.contains("moved from live to retired"), "{}", said.err);
    assert!(said.err.contains("no bridge answers at"), "{}", said.err);
    let after = all(&world);
    let (changed, rest): (Vec<_>, Vec<_>) = after.lines().partition(|line| line.contains("stage_change"));
    let expected = ODD.replacen("stage = \"live\"\t# since", "stage = \"retired\"\t# since", 1);
    assert_eq!(rest, expected.lines().collect::<Vec<_>>());
    assert_eq!(changed.len(), 1);
    let shown = run(&world, &["client", "show", OLD_ID, "--format", "json"], "").fine().json();
    assert_eq!(shown["stage_change"]["from"], "live");
    assert_eq!(shown["stage_change"]["why"], "moved \"away\"");
    assert!(shown["stage_change"]["at"].as_str().unwrap().ends_with('Z'));
    run(&world, &["check"], "").fine();
}

#[test]
fn a_client_goes_back_to_the_stage_before() {
    let world = odd();
    run(&world, &["client", "rollback", OLD_ID], "").refused(1, "without [otk] there is no stage `legacy`");
    run(&world, &["client", "stage", OLD_ID, "retired", "--why", "a test"], "").fine();
    run(&world, &["client", "rollback", OLD_ID, "--why", "too early"], "").fine();
    let shown = run(&world, &["client", "show", OLD_ID, "--format", "json"], "").fine().json();
    assert_eq!((&shown["stage"], &shown["stage_change"]["from"]), (&"live".into(), &"retired".into()));
    assert_eq!(shown["stage_change"]["why"], "rolled back: to live: too early");
}

#[test]
fn a_move_back_that_is_said_again_moves_nothing_forward() {
    let world = odd();
    run(&world, &["client", "stage", OLD_ID, "retired", "--why", "a test"], "").fine();
    for why in [&[][..], &["--why", "too early"]] {
        run(&world, &["client", "stage", OLD_ID, "retired", "--why", "rolled backwards"], "").fine();
        let back = [&["client", "rollback", OLD_ID], why].concat();
        run(&world, &back, "").fine();
        let before = all(&world);
        // As after a refused load, or where nobody waited for the end of the first.
        let said = run(&world, &back, "").fine();
        assert!(said.err.contains("is at stage live already, rolled back at 20"), "{said:?}");
        assert!(
            said.err.contains(&format!("hint: to move it forward again: passbridge client stage {OLD_ID} retired"))
        );
        assert_eq!(all(&world), before);
    }
    // The way back has a way back.
    run(&world, &["client", "stage", OLD_ID, "retired", "--why", "not too early"], "").fine();
    run(&world, &["client", "rollback", OLD_ID], "").fine();
    let shown = run(&world, &["client", "show", OLD_ID, "--format", "json"], "").fine().json();
    assert_eq!((&shown["stage"], &shown["stage_change"]["from"]), (&"live".into(), &"retired".into()));
}

#[test]
fn a_client_that_was_moved_by_hand_after_a_move_back_goes_back_to_the_old_server() {
    let world = Plan::new().set("otk", "url", "\"http://127.0.0.1:1\"").without_clients();
    let world = world.client(&client(OLD_ID, "stage = \"legacy\"")).files();
    run(&world, &["client", "stage", OLD_ID, "live", "--why", "a test"], "").fine();
    run(&world, &["client", "rollback", OLD_ID], "").fine();
    let canary = "stage = \"canary\"\ncanary = { percent = 5 }\n";
    fs::write(file(&world, "all.toml"), all(&world).replace("stage = \"legacy\"\n", canary)).unwrap();
    for _ in 0..2 {
        run(&world, &["client", "rollback", OLD_ID], "").fine();
        let shown = run(&world, &["client", "show", OLD_ID, "--format", "json"], "").fine().json();
        assert_eq!((&shown["stage"], &shown["stage_change"]["from"]), (&"legacy".into(), &"canary".into()));
    }
    // What an older version wrote does not say where it went.
    let older = all(&world).replace("rolled back: to legacy", "rolled back");
    fs::write(file(&world, "all.toml"), older.replace("stage = \"legacy\"\n", "stage = \"live\"\n")).unwrap();
    let said = run(&world, &["client", "rollback", OLD_ID], "").fine();
    assert!(said.err.contains("is at stage live already, rolled back at 20"), "{said:?}");
}

#[test]
fn a_stage_that_is_none_is_mended_by_naming_one() {
    for command in [&["client", "stage", OLD_ID, "live", "--why", "a typo"][..], &["client", "rollback", OLD_ID]] {
        let typo = client(OLD_ID, "stage = \"lvie\"");
        let world = Plan::new().set("otk", "url", "\"http://127.0.0.1:1\"").without_clients().client(&typo).files();
        run(&world, &["check"], "").refused(1, "1 error");
        run(&world, command, "").fine();
        run(&world, &["check"], "").fine();
        // Nobody came from where nobody can be.
        let shown = run(&world, &["client", "show", OLD_ID, "--format", "json"], "").fine().json();
        assert_eq!(shown["stage_change"], serde_json::Value::Null);
    }
}

#[test]
fn a_client_whose_stage_was_mended_goes_back_to_where_it_was_before_the_slip() {
    let world = odd();
    run(&world, &["client", "stage", OLD_ID, "retired", "--why", "a test"], "").fine();
    fs::write(file(&world, "all.toml"), all(&world).replace("\"retired\"", "\"retierd\"")).unwrap();
    run(&world, &["client", "stage", OLD_ID, "retired", "--why", "a slip"], "").fine();
    let shown = run(&world, &["client", "show", OLD_ID, "--format", "json"], "").fine().json();
    assert_eq!((&shown["stage_change"]["from"], &shown["stage_change"]["why"]), (&"live".into(), &"a slip".into()));
    run(&world, &["client", "rollback", OLD_ID], "").fine();
    run(&world, &["check"], "").fine();
}

#[test]
fn what_means_nothing_is_refused_and_changes_nothing() {
    let world = odd();
    let why = ["--why", "a test"];
    run(&world, &["client", "stage", OLD_ID, "gone", why[0], why[1]], "")
        .refused(2, "possible values: legacy, shadow, canary, live, retired");
    run(&world, &["client", "stage", OLD_ID, "retired"], "").refused(2, "--why");
    run(&world, &["client", "stage", OLD_ID, "retired", "--why", " "], "").refused(2, "hint: --why");
    run(&world, &["client", "rollback", OLD_ID, "--why", ""], "").refused(2, "hint: --why");
    run(&world, &["client", "stage", OLD_ID, "retired", "--why", "one\ntwo"], "").refused(2, "a reason is one line");
    run(&world, &["client", "rollback", OLD_ID, "--why", "one\rtwo"], "").refused(2, "a reason is one line\n  hint: ");
    run(&world, &["client", "stage", OLD_ID, "retired", "--why", "rolled back: again"], "")
        .refused(2, "is that of `client rollback`");
    run(&world, &["client", "stage", OLD_ID, "live", "--percent", "5", why[0], why[1]], "")
        .refused(2, "--percent goes with the stage `canary` alone");
    // Whether a share is missing hangs on the file, which may have one.
    run(&world, &["client", "stage", OLD_ID, "canary", why[0], why[1]], "").refused(1, "hint: --percent 5");
    run(&world, &["client", "stage", "nobody", "retired", why[0], why[1]], "")
        .refused(1, "there is no client `nobody`");
    run(&world, &["client", "stage", OLD_ID, "live", why[0], why[1]], "").fine();
    assert_eq!(all(&world), ODD);
}

#[test]
fn an_added_client_can_log_in_once_the_command_is_done() {
    let world = Plan::new().start();
    let add = ["client", "add", "l7xxnew", "--client-id", "new_api", "--client-secret", "env:NEW_SECRET"];
    let said = run(&world, &add, "planted-typed\n").fine();
    assert!(said.err.contains("has it, as generation"), "{}", said.err);
    let text = fs::read_to_string(file(&world, "added.toml")).unwrap();
    assert!(text.contains("$argon2id$") && !text.contains("planted-typed"), "{text}");
    assert_eq!(world.token(&passport("l7xxnew", "planted-typed")).status, 200);
    run(&world, &add, "planted-typed\n").refused(1, "`l7xxnew` is mapped already, at ");
    assert_eq!(fs::read_to_string(file(&world, "added.toml")).unwrap(), text);
    run(&world, &["client", "stage", "l7xxnew", "retired", "--why", "a test"], "").fine();
    assert_ne!(world.token(&passport("l7xxnew", "planted-typed")).status, 200);
    run(&world, &["client", "rollback", "l7xxnew"], "").fine();
    assert_eq!(world.token(&passport("l7xxnew", "planted-typed")).status, 200);
}

#[test]
fn a_client_is_added_behind_what_a_file_has() {
    let world = odd();
    let add = ["client", "add", "third \"3\"", "--client-id", "x", "--client-secret", "env:NEW_SECRET"];
    let more = ["--legacy-secret", "env:OLD_SECRET", "--scope", "read=realm.read", "--into", "all.toml"];
    run(&world, &[&add[..], &more[..]].concat(), "").fine();
    let text = all(&world);
    assert!(text.starts_with(ODD), "{text}");
    assert!(text.contains("scopes = { read = \"realm.read\" }"), "{text}");
    run(&world, &["client", "show", "third \"3\""], "").fine();
}

#[test]
fn a_client_is_added_under_the_header_that_a_file_has_so_that_all_of_it_can_still_be_changed() {
    for header in ["[[ client ]]", "[[\"client\"]]", "[[\tclient]]"] {
        let world = Plan::new().without_clients().client(&client(OLD_ID, "").replace("[[client]]", header)).files();
        let add = ["client", "add", "third", "--client-id", "x", "--client-secret", "env:NEW_SECRET"];
        run(&world, &[&add[..], &["--legacy-secret", "env:OLD_SECRET", "--into", "all.toml"]].concat(), "").fine();
        for id in [OLD_ID, "third"] {
            run(&world, &["client", "stage", id, "retired", "--why", "a test"], "").fine();
            run(&world, &["client", "rollback", id], "").fine();
        }
        assert_eq!(all(&world).matches(header).count(), 2, "{}", all(&world));
    }
}

#[test]
fn a_client_that_would_be_an_error_is_not_added() {
    let world = odd();
    let add = |id, secret, into| {
        let fixed = ["client", "add", id, "--client-id", "x", "--client-secret", secret, "--into", into];
        run(&world, &fixed, "planted-typed")
    };
    add("a", "env:UNSET", "added.toml").refused(1, "which is not set");
    add("a", "planted-typed", "added.toml").refused(2, "say env:NAME or file:PATH");
    add("a", "env:NEW_SECRET", "../x.toml").refused(2, "is no name for a mapping file");
    add("a", "env:NEW_SECRET", ".x.toml").refused(2, "is no name for a mapping file");
    let twice = ["client", "add", OLD_ID, "--client-id", "x", "--client-secret", "env:NEW_SECRET"];
    run(&world, &twice, "planted-typed").refused(1, &format!("the client `{OLD_ID}` is mapped already, at "));
    let empty = ["client", "add", "a", "--client-id", "x", "--client-secret", "env:NEW_SECRET"];
    run(&world, &empty, "\n").refused(2, "is empty");
    let scopes = [&empty[..], &["--scope", "a=b", "--scope", "c=b", "--scope", "a=c"]].concat();
    run(&world, &scopes, "planted-typed").refused(2, "--scope says `a` twice");
    let bare = [&empty[..], &["--legacy-secret", "planted-typed"]].concat();
    run(&world, &bare, "").refused(2, "say env:NAME or file:PATH");
    let names: Vec<_> = fs::read_dir(file(&world, "")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name == "all.toml" || name == ".passbridge.lock"), "{names:?}");
}

#[test]
fn a_fault_that_was_there_before_does_not_stop_a_change() {
    let world = odd();
    fs::write(file(&world, "other.toml"), client("other", "client_secret = { env = \"UNSET\" }\n")).unwrap();
    run(&world, &["client", "stage", OLD_ID, "retired", "--why", "a test"], "").fine();
}

#[test]
fn a_fault_that_was_there_before_stops_no_change_above_one_of_its_lines() {
    let world = Plan::new().client(&client("twice", "")).client(&client("below", "")).files();
    fs::write(file(&world, "b.toml"), client("twice", "client_id = \"other\"")).unwrap();
    let checked = run(&world, &["check"], "");
    assert!(checked.out.contains("error[duplicate-client]") && checked.out.contains("shared-client"), "{checked:?}");
    for id in [OLD_ID, "below"] {
        let said = run(&world, &["client", "stage", id, "retired", "--why", "a test"], "").fine();
        assert!(!said.err.contains("shared-client"), "told as if it were new: {said:?}");
    }
}

#[test]
fn whoever_is_sought_while_a_file_cannot_be_read_is_told_of_with_that_file() {
    let world = odd();
    let broken = file(&world, "broken.toml");
    fs::write(&broken, "[[client]]\nlegacy_id = \"third\"\nstage = \"live\n").unwrap();
    for command in [&["client", "show", "third"][..], &["client", "stage", "third", "live", "--why", "a test"]] {
        let said = run(&world, command, "");
        said.refused(1, "broken.toml:3:");
        said.refused(1, "error: there is no client `third` in what can be read of ");
        assert!(!said.err.contains("nothing was changed: the mapping would have"), "{said:?}");
    }
    fs::remove_file(&broken).unwrap();
    fs::create_dir(&broken).unwrap();
    run(&world, &["client", "show", "third"], "").refused(2, "error[unreadable-file]");
}

#[test]
fn the_lock_is_open_to_whoever_may_write_the_directory() {
    let world = odd();
    fs::set_permissions(file(&world, ""), fs::Permissions::from_mode(0o775)).unwrap();
    run(&world, &["client", "stage", OLD_ID, "retired", "--why", "a test"], "").fine();
    let lock = file(&world, ".passbridge.lock").metadata().unwrap();
    assert_eq!(lock.mode() & 0o7777, 0o664, "whatever the umask is");
}

#[test]
fn a_changed_file_keeps_its_mode_and_a_link_stays_a_link() {
    let world = odd();
    let real = world.path().join("elsewhere.toml");
    fs::rename(file(&world, "all.toml"), &real).unwrap();
    symlink(&real, file(&world, "all.toml")).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    run(&world, &["client", "stage", OLD_ID, "retired", "--why", "a test"], "").fine();
    assert!(file(&world, "all.toml").symlink_metadata().unwrap().is_symlink());
    assert_eq!(real.metadata().unwrap().mode() & 0o7777, 0o640);
    assert!(fs::read_to_string(&real).unwrap().contains("retired"));
}

#[test]
fn what_kubernetes_mounted_is_left_alone() {
    let world = odd();
    let version = file(&world, "..2026_11_24");
    fs::create_dir(&version).unwrap();
    fs::rename(file(&world, "all.toml"), version.join("all.toml")).unwrap();
    symlink("..2026_11_24", file(&world, "..data")).unwrap();
    symlink("..data/all.toml", file(&world, "all.toml")).unwrap();
    run(&world, &["client", "stage", OLD_ID, "retired", "--why", "a test"], "").refused(1, "change the ConfigMap");
    assert_eq!(all(&world), ODD);
}

#[test]
fn changes_at_the_same_time_take_turns() {
    let more: Vec<_> = (0..4).map(|number| client(&format!("c{number}"), "")).collect();
    let world = more.iter().fold(Plan::new(), |plan, text| plan.client(text)).files();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let world = &world;
            let id = format!("c{number}");
            scope.spawn(move || run(world, &["client", "stage", &id, "retired", "--why", "a test"], "").fine());
        }
    });
    assert_eq!(all(&world).matches("stage = \"retired\"").count(), 4);
}

#[test]
fn whoever_holds_the_files_is_waited_for() {
    let world = odd();
    let lock = File::create(file(&world, ".passbridge.lock")).unwrap();
    lock.lock().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&world, &["client", "stage", OLD_ID, "retired", "--why", "a test"], ""));
        eventually("it waits", || is_open_elsewhere(&file(&world, ".passbridge.lock")));
        // As long as others take, from their birth on, that read and check the same.
        for _ in 0..3 {
            run(&world, &["check"], "").fine();
        }
        assert_eq!(all(&world), ODD);
        lock.unlock().unwrap();
        waiting.join().unwrap().fine();
    });
}

/// Whether another process has a file open (proc(5)).
pub(super) fn is_open_elsewhere(path: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let others = processes.filter(|id| *id != std::process::id().to_string());
    let open = others.filter_map(|id| fs::read_dir(format!("/proc/{id}/fd")).ok()).flatten().flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == path)
}

#[test]
fn an_old_secret_is_exchanged_without_a_gap() {
    let world = Plan::new().without_clients().client(ODD).start();
    let secret = |action: &[&str], input| run(&world, &[&["client", "secret", OLD_ID], action].concat(), input);
    let status = |secret| world.token(&passport(OLD_ID, secret)).status;
    secret(&["promote"], "").refused(1, "`add` brings the second one");
    secret(&["retire"], "").refused(1, "would have none");
    secret(&["add"], "planted-typed\n").fine();
    assert_eq!((status(OLD_SECRET), status("planted-typed")), (200, 200));
    secret(&["add"], "planted-typed2\n").refused(1, "two secrets already");
    secret(&["promote"], "").fine();
    let text = all(&world);
    assert!(text.contains("}, { env = \"OLD_SECRET\" }] # rotated in May\n"), "{text}");
    secret(&["retire"], "").fine();
    assert_eq!((status(OLD_SECRET) == 200, status("planted-typed")), (false, 200));
    let text = all(&world);
    let lines = ODD.lines().zip(text.lines()).filter(|(old, new)| old != new).count();
    assert_eq!((lines, text.lines().count()), (1, ODD.lines().count()), "{text}");
}

/// A running bridge whose one client has two old secrets.
fn with_two_secrets() -> World {
    let mut plan = Plan::new().set("ops", "token", "{ env = \"OPS_TOKEN\" }");
    plan = plan.environment("OPS_TOKEN", NEW_SECRET).without_clients();
    let secrets = "legacy_secret = [{ env = \"OLD_SECRET\" }, { env = \"NEW_SECRET\" }]";
    plan.client(&client(OLD_ID, secrets)).start()
}

/// What is said of them to the command, by whoever may ask the bridge.
fn of_secrets(world: &World, arguments: &[&str]) -> Said {
    run_with(world, &[&["client", "secret", OLD_ID], arguments].concat(), &[("OPS_TOKEN", NEW_SECRET)])
}

#[test]
fn the_secret_that_was_used_last_is_not_ended_by_a_slip() {
    let world = with_two_secrets();
    let secret = |arguments: &[&str]| of_secrets(&world, arguments);
    // The client has changed already.
    assert_eq!(world.token(&passport(OLD_ID, NEW_SECRET)).status, 200);
    for _ in 0..2 {
        let said = secret(&["promote"]).fine();
        assert!(said.err.contains("the one before is the second now\n  hint: said again, this swaps"), "{said:?}");
    }
    let before = all(&world);
    secret(&["retire"]).refused(1, "the second old secret is the one that was used last\n  hint: `promote` makes");
    assert_eq!(all(&world), before);
    secret(&["promote"]).fine();
    secret(&["retire"]).fine();
    assert_eq!(world.token(&passport(OLD_ID, NEW_SECRET)).status, 200);
    assert_eq!(world.token(&passport(OLD_ID, OLD_SECRET)).status, 401);
}

#[test]
fn while_neither_secret_was_used_none_is_ended_by_a_slip() {
    let world = with_two_secrets();
    let secret = |arguments: &[&str]| of_secrets(&world, arguments);
    let before = all(&world);
    let told =
        "the bridge has seen neither old secret used, so it may be the second that is needed\n  hint: wait until";
    secret(&["retire"]).refused(1, told);
    assert_eq!(all(&world), before);
    assert_eq!(world.token(&passport(OLD_ID, NEW_SECRET)).status, 200);
    secret(&["promote"]).fine();
    secret(&["retire"]).fine();
    assert_eq!(world.token(&passport(OLD_ID, NEW_SECRET)).status, 200);
}

#[test]
fn where_neither_secret_was_used_the_second_is_ended_by_who_says_yes() {
    let world = with_two_secrets();
    of_secrets(&world, &["retire", "--yes"]).fine();
    assert_eq!(world.token(&passport(OLD_ID, NEW_SECRET)).status, 401);
}

#[test]
fn secrets_are_swapped_and_ended_where_the_bridge_has_what_the_files_say() {
    let world = odd();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let ops = [("PASSBRIDGE__LISTEN__OPS", address.as_str())];
    std::thread::scope(|scope| {
        scope.spawn(|| (0..3).for_each(|_| drop(listener.accept().unwrap())));
        for action in ["promote", "retire"] {
            let said = said_at(&world, &["client", "secret", "second", action], &ops);
            said.refused(1, "nothing was changed: it is not known whether the bridge at ");
            assert_eq!(all(&world), ODD);
        }
        let said = said_at(&world, &["client", "secret", "second", "promote", "--yes"], &ops);
        said.refused(1, "the file is changed, but it is not known whether");
    });
    assert_ne!(all(&world), ODD);
}

#[test]
fn a_secret_of_the_realm_is_named_and_never_typed() {
    let world = odd();
    let secret =
        |action: &[&str]| run(&world, &[&["client", "secret", "second", "--new"], action].concat(), "planted-typed");
    secret(&["add"]).refused(2, "--from file:PATH");
    secret(&["add", "--from", "planted-typed"]).refused(2, "say env:NAME or file:PATH");
    secret(&["write-learned"]).refused(2, "only old secrets are learned");
    secret(&["add", "--from", "env:UNSET"]).refused(1, "which is not set");
    secret(&["add", "--from", "env:OLD_SECRET"]).fine();
    secret(&["promote", "--from", "env:OLD_SECRET"]).refused(2, "leave it out");
    secret(&["promote"]).fine();
    let shown = run(&world, &["client", "show", "second"], "").fine().out;
    assert!(shown.contains("new secret   env:OLD_SECRET env:NEW_SECRET\n"), "{shown}");
    secret(&["retire"]).fine();
    let text = all(&world);
    assert_eq!(
        text,
        ODD.replace(
            "client_secret = { env = \"NEW_SECRET\" }\n  stage",
            "client_secret = { env = \"OLD_SECRET\" }\n  stage"
        )
    );
}

#[test]
fn a_move_is_told_in_the_audit_with_its_reason() {
    let mut world = Plan::new().client(&client("moving", "client_id = \"other\"")).start();
    run(&world, &["client", "stage", "moving", "retired", "--why", "ticket 4711: shut down"], "").fine();
    // A change by hand has no reason of its own, and not the one of the last command.
    let path = file(&world, "all.toml");
    let by_hand = all(&world).replacen("stage = \"retired\"", "stage = \"live\"", 1);
    fs::write(path, by_hand).unwrap();
    world.running().reload().unwrap();
    world.end();
    let told = run(&world, &["audit", "--client", "moving"], "").fine().out;
    let rows: Vec<&str> = told.lines().collect();
    assert_eq!(rows.len(), 2, "{told}");
    assert!(rows[0].ends_with("stage_before=live stage=retired (ticket 4711: shut down)"), "{told}");
    assert!(rows[1].ends_with("stage_before=retired stage=live"), "{told}");
}

#[test]
fn each_slot_tells_when_its_secret_was_last_used_whatever_slot_it_has_now() {
    let world = with_two_secrets();
    let tell = |arguments: &[&str]| run_with(&world, arguments, &[("OPS_TOKEN", NEW_SECRET)]);
    let uses = || {
        let shown = tell(&["client", "show", OLD_ID, "--format", "json"]).fine().json();
        let times = |name: &str| {
            let secrets = shown[name].as_array().unwrap().clone();
            secrets.into_iter().map(|secret| secret["last_used"].as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        (times("legacy_secrets"), times("client_secrets"), shown["used_since"].as_str().unwrap().to_owned())
    };
    let (old, new, since) = uses();
    assert_eq!((&old[..], &new[..]), (&[None, None][..], &[None][..]));
    world.turn(60);
    world.login();
    let (old, new, still) = uses();
    assert!(old[0].as_deref() > Some(&since) && old[1].is_none(), "{old:?}");
    assert_eq!((&new[0], &still), (&old[0], &since));
    world.turn(60);
    assert_eq!(world.token(&passport(OLD_ID, NEW_SECRET)).status, 200);
    world.turn(60);
    world.token(&passport(OLD_ID, NEW_SECRET));
    let (after, _, _) = uses();
    assert!(after[0] == old[0] && after[1] > after[0], "{after:?}");
    let said = tell(&["client", "secret", OLD_ID, "promote"]).fine().err;
    assert!(said.contains(&format!("the first old secret: used {}\n", after[0].as_ref().unwrap())), "{said}");
    let (promoted, _, _) = uses();
    assert_eq!(promoted, [after[1].clone(), after[0].clone()]);
    let human = tell(&["client", "show", OLD_ID]).fine().out;
    assert!(human.contains(&format!("old secret   env:NEW_SECRET, used {}\n", after[1].as_ref().unwrap())), "{human}");
    let (asked, nobody) = (tell(&["client", "show", OLD_ID]), run(&world, &["client", "show", OLD_ID], ""));
    assert!(asked.err.is_empty(), "{}", asked.err);
    assert!(nobody.err.contains("last used is not known: the configuration has errors"), "{}", nobody.err);
}

#[test]
fn where_no_bridge_runs_it_is_said_that_uses_are_not_known() {
    let world = Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }").files();
    let shown = run(&world, &["client", "show", OLD_ID], "").fine();
    assert!(
        shown.err.starts_with("note: when its secrets were last used is not known: no bridge answers at"),
        "{shown:?}"
    );
    let shown = run(&world, &["client", "show", OLD_ID, "--format", "json"], "").fine().json();
    assert_eq!(
        (&shown["used_since"], &shown["legacy_secrets"][0]["last_used"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
}

#[test]
fn when_secrets_were_used_is_told_to_whoever_shows_the_ops_token_alone() {
    let world = Plan::new().set("ops", "token", "{ env = \"OLD_SECRET\" }").start();
    let ask = |token: &str, body: &str| {
        let head = format!("POST /api/v1/clients/uses HTTP/1.1\r\nHost: ops\r\nAuthorization: Bearer {token}\r\n");
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        Connection::open(world.ops_address().unwrap()).ask(request.as_bytes())
    };
    assert_eq!(ask("wrong", "{\"client\":\"l7xx3c0ffee\"}").status, 401);
    assert_eq!(ask(OLD_SECRET, "{\"client\":\"nobody\"}").status, 404);
    assert_eq!(ask(OLD_SECRET, "{}").status, 400);
    let told = ask(OLD_SECRET, "{\"client\":\"l7xx3c0ffee\"}");
    assert_eq!((told.status, told.json("legacy_secrets")), (200, serde_json::json!([null])));
}

/// What the audit says of the one move of this client.
#[track_caller]
fn only_move(world: &World) -> String {
    let told = run(world, &["audit", "--client", "moving"], "").fine().out;
    assert_eq!(told.lines().count(), 1, "{told}");
    told
}

#[test]
fn a_move_while_no_bridge_ran_is_told_in_the_audit_by_the_next_one() {
    let mut world = Plan::new().client(&client("moving", "client_id = \"other\"")).start();
    world.end();
    run(&world, &["client", "stage", "moving", "retired", "--why", "while it was down"], "").fine();
    for _ in 0..2 {
        world.begin();
        world.end();
    }
    let told = only_move(&world);
    assert!(told.contains("stage_before=live stage=retired (while it was down)"), "{told}");
}

#[test]
fn a_move_that_a_refused_load_kept_out_is_told_by_the_start_that_brings_it_in() {
    let mut world = Plan::new().client(&client("moving", "client_id = \"other\"")).start();
    let broken = file(&world, "broken.toml");
    fs::write(&broken, "[[client]").unwrap();
    // As version control brings it: older than what the running bridge writes down.
    let change = "stage_change = { from = \"live\", at = \"2025-11-24T12:00:00Z\", why = \"ticket 99\" }";
    let moved = format!("client_id = \"other\"\nstage = \"retired\"\n{change}");
    world.change_clients(&[client(OLD_ID, ""), client("moving", &moved)]);
    world.running().reload().unwrap_err();
    fs::remove_file(broken).unwrap();
    for _ in 0..2 {
        world.restart();
    }
    world.end();
    let told = only_move(&world);
    assert!(told.contains("stage_before=live stage=retired (ticket 99)"), "{told}");
}

/// The stages, and the reasons, of the moves that the audit has of a client; and where a load left it out.
#[track_caller]
fn moves(world: &World) -> Vec<String> {
    let told = run(world, &["audit", "--client", "moving"], "").fine().out;
    let moved = |line: &str| match line.split_once("stage_before=") {
        Some((_, stages)) => stages.to_owned(),
        None if line.contains(" unmapped ") => "unmapped".to_owned(),
        None => panic!("no move: {line}"),
    };
    told.lines().map(moved).collect()
}

#[track_caller]
fn stage(world: &World, stage: &str, why: &str) {
    run(world, &["client", "stage", "moving", stage, "--why", why], "").fine();
}

fn moving() -> World {
    Plan::new().client(&client("moving", "client_id = \"other\"")).start()
}

#[track_caller]
fn by_hand(world: &World, before: &str, now: &str) {
    let (before, now) = (format!("stage = \"{before}\""), format!("stage = \"{now}\""));
    let (first, second) =
        all(world).split_once("moving").map(|(one, other)| (one.to_owned(), other.to_owned())).unwrap();
    assert!(second.contains(&before), "{second}");
    fs::write(file(world, "all.toml"), format!("{first}moving{}", second.replacen(&before, &now, 1))).unwrap();
}

#[test]
fn a_start_tells_what_was_changed_by_hand_without_the_reason_of_the_command_before() {
    let mut world = moving();
    stage(&world, "retired", "ticket 1");
    world.end();
    by_hand(&world, "retired", "live");
    world.begin();
    world.end();
    by_hand(&world, "live", "retired");
    world.begin();
    world.end();
    assert_eq!(moves(&world), ["live stage=retired (ticket 1)", "retired stage=live", "live stage=retired"]);
}

#[test]
fn a_start_tells_from_which_stage_a_client_came_that_the_bridge_had_in_use() {
    let mut world = moving();
    world.end();
    stage(&world, "retired", "never in use");
    stage(&world, "live", "never away");
    world.begin();
    world.end();
    stage(&world, "retired", "ticket 2");
    stage(&world, "live", "ticket 3");
    stage(&world, "retired", "ticket 4");
    world.begin();
    world.end();
    assert_eq!(moves(&world), ["live stage=retired (ticket 4)"]);
}

#[test]
fn a_move_that_was_taken_back_before_any_load_took_it_is_none() {
    let mut world = moving();
    let broken = file(&world, "broken.toml");
    fs::write(&broken, "[[client]").unwrap();
    run(&world, &["client", "stage", "moving", "retired", "--why", "kept out"], "").refused(1, "");
    run(&world, &["client", "rollback", "moving"], "").refused(1, "");
    fs::remove_file(broken).unwrap();
    world.running().reload().unwrap();
    world.end();
    assert_eq!(moves(&world), [""; 0]);
}

#[test]
fn a_move_is_told_before_it_is_remembered_so_that_a_bridge_that_is_killed_between_leaves_it_to_the_next() {
    let mut world = moving();
    let audit = world.store().join("audit");
    let remembers = |stage: &str| fs::read_to_string(audit.join("moves")).is_ok_and(|moves| moves.contains(stage));
    eventually("what the start has in use is remembered", || remembers("live"));
    // The next day's file has no place.
    world.turn(86_400);
    let first = passbridge::telemetry::audit::files(&audit).unwrap().remove(0);
    let date = first.file_stem().unwrap().to_str().unwrap().split_once('-').unwrap().1;
    let day = humantime::parse_rfc3339(&format!("{date}T00:00:00Z")).unwrap() + std::time::Duration::from_secs(86_400);
    let place = audit.join(format!("000000000003-{}.jsonl", &humantime::format_rfc3339(day).to_string()[..10]));
    fs::create_dir(&place).unwrap();
    stage(&world, "retired", "ticket 2");
    eventually("nothing can be written", || world.metric("passbridge_audit_writable").abs() < f64::EPSILON);
    assert!(!remembers("retired"));
    fs::remove_dir(&place).unwrap();
    eventually("it is remembered", || remembers("retired"));
    world.end();
    assert_eq!(moves(&world), ["live stage=retired (ticket 2)"]);
}

#[test]
fn a_client_that_one_load_left_out_is_not_told_anew() {
    let mut world = moving();
    stage(&world, "retired", "ticket 2");
    let with = all(&world);
    world.change_clients(&[client(OLD_ID, "")]);
    world.running().reload().unwrap();
    world.end();
    fs::write(file(&world, "all.toml"), with).unwrap();
    world.begin();
    world.end();
    assert_eq!(moves(&world), ["live stage=retired (ticket 2)", "unmapped"]);
}

#[test]
fn a_version_that_remembered_fewer_moves_or_none_is_followed_by_a_start_that_tells_the_new_ones() {
    let mut world = moving();
    stage(&world, "retired", "ticket 1");
    world.end();
    let remembered = world.store().join("audit/moves");
    // As it was written: a fingerprint of client, stage and change.
    let shown = run(&world, &["client", "show", "moving", "--format", "json"], "").fine().json();
    let at = shown["stage_change"]["at"].as_str().unwrap().to_owned();
    let change = passbridge::domain::client::Moved {
        from: Some(passbridge::domain::client::Stage::Live),
        at,
        why: "ticket 1".to_owned(),
    };
    let line = format!("{:?} Retired {change:?}", "moving");
    let line = passbridge::domain::opaque::Fingerprint::of("move", line.as_bytes());
    fs::write(&remembered, format!("{line}\n")).unwrap();
    by_hand(&world, "retired", "live");
    world.begin();
    world.end();
    // Before that nothing was: what is younger than the audit is new.
    fs::remove_file(&remembered).unwrap();
    let audit = world.store().join("audit");
    let written = |at: std::time::SystemTime| {
        for path in passbridge::telemetry::audit::files(&audit).unwrap() {
            File::options().append(true).open(path).unwrap().set_modified(at).unwrap();
        }
    };
    written(std::time::SystemTime::UNIX_EPOCH);
    stage(&world, "retired", "with the upgrade");
    world.begin();
    world.end();
    let told = ["live stage=retired (ticket 1)", "retired stage=live", "live stage=retired (with the upgrade)"];
    assert_eq!(moves(&world), told);
    fs::remove_file(&remembered).unwrap();
    written(std::time::SystemTime::now() + std::time::Duration::from_secs(10));
    world.begin();
    world.end();
    assert_eq!(moves(&world), told, "the audit is younger than the move");
}

#[test]
fn a_move_that_a_load_told_is_not_told_again_by_the_next_start() {
    let mut world = Plan::new().client(&client("moving", "client_id = \"other\"")).start();
    run(&world, &["client", "stage", "moving", "retired", "--why", "while it ran"], "").fine();
    world.restart();
    world.end();
    only_move(&world);
}

#[test]
fn whoever_answers_at_the_ops_address_and_is_no_bridge_is_not_taken_for_nobody() {
    let world = odd();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let ops = [("PASSBRIDGE__LISTEN__OPS", address.as_str())];
    std::thread::scope(|scope| {
        scope.spawn(|| drop(listener.accept().unwrap()));
        let said = said_at(&world, &["client", "stage", OLD_ID, "retired", "--why", "a test"], &ops);
        said.refused(1, &format!("the file is changed, but it is not known whether the bridge at {address} has it"));
        said.refused(1, "\n  hint: ");
        // Said again there is nothing to change, and it is not known all the same.
        scope.spawn(|| drop(listener.accept().unwrap()));
        let said = said_at(&world, &["client", "stage", OLD_ID, "retired", "--why", "a test"], &ops);
        said.refused(1, &format!("it is not known whether the bridge at {address} has it"));
        assert!(said.err.contains("is at stage retired already"), "{said:?}");
    });
    assert!(all(&world).contains("stage = \"retired\""), "{}", all(&world));
}

/// Runs the program where something else than this world's bridge is at the ops address.
pub(super) fn said_at(world: &World, arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_passbridge"));
    command.env_clear().env("OLD_SECRET", OLD_SECRET).env("NEW_SECRET", NEW_SECRET).envs(environment.iter().copied());
    let output = command.arg("--config").arg(world.config()).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let status = output.status.code().unwrap();
    Said { status, out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_client_that_one_load_left_out_is_told_where_the_next_brings_it_back_at_another_stage() {
    let mut world = moving();
    let with = all(&world);
    world.change_clients(&[client(OLD_ID, "")]);
    world.running().reload().unwrap();
    fs::write(file(&world, "all.toml"), with).unwrap();
    by_hand(&world, "live", "retired");
    world.running().reload().unwrap();
    world.end();
    assert_eq!(moves(&world), ["unmapped", "live stage=retired"]);
}
