//! `passbridge audit`: the rows of one client, since a time, and whether they are what was written.

use std::fs;

use super::{out, run, talk};
use crate::support::{OLD_ID, OLD_SECRET, Plan, World, client, eventually, passport};

/// A login of each of two clients, the second a day later; the bridge has ended.
fn two_days() -> World {
    let mut world = Plan::new().client(&client("later", "client_id = \"other\"")).start();
    world.login();
    world.turn(86_400);
    assert_eq!(world.token(&passport("later", OLD_SECRET)).status, 200);
    world.end();
    world
}

#[test]
fn records_are_shown_to_people_and_programs_by_client_and_since_a_time() {
    let world = two_days();
    let all = run(&world, &["audit"], "");
    assert_eq!(all.status.code(), Some(0), "{}", talk(&all));
    let text = out(&all);
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(text.contains(&format!("login ok {OLD_ID} from 127.0.0.1 stage=live grant=passport family=")), "{text}");
    let mine = out(&run(&world, &["audit", "--client", OLD_ID], ""));
    assert_eq!(mine.lines().count(), 1, "{mine}");
    let began = world.audit()[0]["time"].as_str().unwrap()[..10].to_owned();
    let since = format!("{began}T23:59:59Z");
    let later = out(&run(&world, &["audit", "--since", &since, "--format", "json"], ""));
    let records: Vec<serde_json::Value> = later.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = records.iter().map(|record| record["what"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["login", "stop"]);
    assert_eq!(records[0]["client"], "later");
    assert!(records.iter().all(|record| record["seq"].is_u64() && record["hash"].is_string()), "as in the files");
    assert_eq!(out(&run(&world, &["audit", "--since", "1s"], "")), "", "the world's clock is long past");
    assert_eq!(out(&run(&world, &["audit", "--since", "100000d"], "")).lines().count(), 5);
}

#[test]
fn a_time_counts_at_whatever_offset_and_in_whatever_letters_it_is_said() {
    let world = two_days();
    let records = world.audit();
    let day = |index: usize| records[index]["time"].as_str().unwrap()[..10].to_owned();
    let (first, second) = (day(0), day(3));
    let since = |time: &str| run(&world, &["audit", "--since", time], "");
    let meant = out(&since(&format!("{first}T23:59:59Z")));
    assert_eq!(meant.lines().count(), 2, "{meant}");
    for time in [
        format!("{first}T20:29:59-03:30"),
        format!("{second}T02:59:59+03:00"),
        format!("{second}T02:59:59.000+03:00"),
        format!("{second} 02:59:59+03:00"),
        format!("{first}t23:59:59z"),
        format!("{first}T23:59:59+00:00"),
    ] {
        let told = since(&time);
        assert_eq!((told.status.code(), out(&told)), (Some(0), meant.clone()), "{time}: {}", talk(&told));
    }
    for end in ["", "+3:00", "+0300", "+25:00", "+03:60", "03:00", "+03:00Z", "я"] {
        let told = since(&format!("{first}T23:59:59{end}"));
        assert_eq!((told.status.code(), out(&told).as_str()), (Some(2), ""), "{end}");
        assert!(talk(&told).contains("+03:00, or 2h"), "{}", talk(&told));
    }
}

#[test]
fn who_somebody_claims_to_be_ends_where_it_ends() {
    let id = "l7xxone from 10.9.9.9 fault=client (the secret is wrong)";
    let mut world = Plan::new().client(&client(id, "")).start();
    world.token(&passport(id, "another"));
    world.end();
    let told = out(&run(&world, &["audit"], ""));
    assert!(told.contains(&format!("somebody as \"{id}\" from 127.0.0.1 ")), "{told}");
    // As an older version wrote it.
    let file = passbridge::telemetry::audit::files(&world.store().join("audit")).unwrap().remove(0);
    let text = fs::read_to_string(&file).unwrap().replace("is wrong)", "is wrong)\u{202e}");
    fs::write(&file, text).unwrap();
    let told = out(&run(&world, &["audit"], ""));
    assert!(told.contains("is wrong)\\u{202e}\" from 127.0.0.1 ") && !told.contains('\u{202e}'), "{told}");
}

#[test]
fn what_is_no_time_is_refused_with_what_to_write() {
    let world = Plan::new().files();
    let asked = run(&world, &["audit", "--since", "yesterday"], "");
    assert_eq!((asked.status.code(), out(&asked).as_str()), (Some(2), ""));
    assert!(talk(&asked).contains("or 2h"), "{}", talk(&asked));
    let asked = run(&world, &["audit"], "");
    assert_eq!(asked.status.code(), Some(2), "there is none yet");
    assert!(talk(&asked).contains("cannot be read"), "{}", talk(&asked));
    let off = Plan::new().set("audit", "enabled", "false").files();
    let asked = run(&off, &["audit", "verify"], "");
    assert_eq!(asked.status.code(), Some(2));
    assert!(talk(&asked).contains("no audit is kept"), "{}", talk(&asked));
}

#[test]
fn verify_says_yes_or_no_and_where() {
    let world = two_days();
    let verified = run(&world, &["audit", "verify"], "");
    assert_eq!(verified.status.code(), Some(0), "{}", talk(&verified));
    assert!(out(&verified).contains("5 records in 2 files, 1 to 5"), "{}", out(&verified));
    let file = passbridge::telemetry::audit::files(&world.store().join("audit")).unwrap().remove(0);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(OLD_ID, "l7xxc0ffee3")).unwrap();
    let verified = run(&world, &["audit", "verify", "--format", "json"], "");
    assert_eq!(verified.status.code(), Some(1));
    let verdict: serde_json::Value = serde_json::from_str(&out(&verified)).unwrap();
    assert_eq!((&verdict["intact"], &verdict["faults"][0]["line"]), (&false.into(), &3.into()), "{verdict}");
    let told = out(&run(&world, &["audit", "verify"], ""));
    assert!(told.contains(":3: this is no record, or was changed"), "{told}");
}

#[test]
fn what_a_running_bridge_found_removed_is_told_in_its_log_and_verify_says_no() {
    let mut world = World::new();
    world.login();
    let audit = world.store().join("audit");
    eventually("the login is written", || world.audit().iter().any(|record| record["what"] == "login"));
    fs::remove_file(passbridge::telemetry::audit::files(&audit).unwrap().remove(0)).unwrap();
    world.login();
    world.end();
    let verified = run(&world, &["audit", "verify", "--format", "json"], "");
    assert_eq!(verified.status.code(), Some(1));
    let verdict: serde_json::Value = serde_json::from_str(&out(&verified)).unwrap();
    let removed = verdict["removed"].as_u64().unwrap();
    assert!(removed >= 2, "the start and the login at least: {verdict}");
    let told = world.log("\"removed\"");
    let tells = |line: &serde_json::Value| {
        (&line["event"], &line["seq"], &line["level"]) == (&"audit".into(), &0.into(), &"ERROR".into())
            && line["records"] == removed
    };
    assert!(told.iter().any(tells), "{told:?}");
    assert_eq!(
        (&verdict["intact"], &verdict["removed"], &verdict["lost"]),
        (&false.into(), &removed.into(), &0.into())
    );
    let verified = run(&world, &["audit", "verify"], "");
    assert!(out(&verified).contains(&format!(":1: {removed} records that were written before")), "{}", out(&verified));
    assert!(out(&verified).contains(" 0 records that could not be written") && talk(&verified).contains("is not what"));
    assert!(out(&run(&world, &["audit"], "")).contains(&format!(" gap removed={removed} (")));
}

#[test]
fn of_an_audit_without_a_record_nobody_says_that_nothing_was_removed() {
    let world = two_days();
    let audit = world.store().join("audit");
    let files = passbridge::telemetry::audit::files(&audit).unwrap();
    let refused = |state: &str| {
        let verified = run(&world, &["audit", "verify"], "");
        assert_eq!(verified.status.code(), Some(1), "{state}: {}", out(&verified));
        let line = "data/audit: there is no record: none was ever written here, or all were removed\n";
        assert!(out(&verified).starts_with(line), "{}", out(&verified));
        assert!(talk(&verified).starts_with("hint: is `audit.path`"), "{state}: {}", talk(&verified));
        let json = out(&run(&world, &["audit", "verify", "--format", "json"], ""));
        let verdict: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&verdict["intact"], &verdict["faults"][0]["line"]), (&false.into(), &serde_json::Value::Null));
    };
    for file in &files {
        fs::write(file, "").unwrap();
    }
    refused("emptied");
    for file in &files {
        fs::remove_file(file).unwrap();
    }
    refused("removed");
}
