//! What the bridge says, in documents: every log line, every metric, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::architecture::sources;
use crate::support::{OLD_ID, OLD_SECRET, TOKEN, World, passport, post};
use passbridge::domain::refusal::{Cause, Fault};

fn text(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// What stands in code in the first cell of each row below a heading, up to the next one.
fn rows(document: &str, heading: &str) -> BTreeSet<String> {
    let section = section(document, heading);
    section.lines().filter_map(|line| line.strip_prefix("| ")?.split('|').next()).flat_map(code).collect()
}

/// What stands below a heading, up to the next one.
fn section(document: &str, heading: &str) -> String {
    let text = text(document);
    let section = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("{document}: {heading}")).1;
    section.split("\n## ").next().unwrap().to_owned()
}

/// What stands in code.
fn code(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The words that an enum of a file is told by.
fn words(file: &str) -> BTreeSet<String> {
    let text = text(file);
    let texts = text.split("=> \"").skip(1).map(|rest| rest.split('"').next().unwrap());
    texts.filter(|text| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')).map(str::to_owned).collect()
}

fn names(names: impl IntoIterator<Item = &'static str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_event_of_the_log_is_documented() {
    let sources = sources("src").into_iter().map(|path| fs::read_to_string(path).unwrap()).collect::<String>();
    let events = sources.split("event = \"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    // The line of a request has a section of its own.
    let others: BTreeSet<String> = events.filter(|event| event != "request").collect();
    assert_eq!(rows("docs/LOGGING.md", "Other lines"), others);
}

#[test]
fn every_member_of_the_other_lines_is_documented() {
    let section = section("docs/LOGGING.md", "Other lines");
    let of_all = code(section.split("\n| ").next().unwrap());
    let source = text("src/telemetry/log.rs");
    for line in source.split("event = \"").skip(1).filter(|line| !line.starts_with("request\"")) {
        let (event, rest) = line.split_once('"').unwrap();
        let row = section.lines().find(|line| line.starts_with(&format!("| `{event}` |"))).unwrap();
        let end = [");", "),\n"].into_iter().filter_map(|end| rest.find(end)).min().unwrap();
        let unknown = &members(&rest[..end]) - &(&code(row) | &of_all);
        assert!(unknown.is_empty(), "{event}: {unknown:?}");
    }
}

/// The members of a line as its macro names them; a text without a name is its `message`.
fn members(named: &str) -> BTreeSet<String> {
    let mut is_quoted = false;
    let parts = named.split(|letter| {
        is_quoted ^= letter == '"';
        letter == ',' && !is_quoted
    });
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| if part.starts_with('"') { "message" } else { part.split(' ').next().unwrap().trim_matches('%') })
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_member_of_a_requests_line_is_documented() {
    let source = text("src/telemetry/log.rs");
    let macro_ = source.split("event = \"request\",\n").nth(1).unwrap().split("\n            )\n").next().unwrap();
    let members =
        macro_.lines().filter_map(|line| line.strip_prefix(&" ".repeat(16)).filter(|rest| !rest.starts_with(' ')));
    let mut members: BTreeSet<String> = members
        .map(|line| line.split([' ', ',']).next().unwrap().to_owned())
        .filter(|name| !name.contains('}'))
        .collect();
    members.extend(names(["timestamp", "level", "event", "target"]));
    assert_eq!(rows("docs/LOGGING.md", "The line of a request"), members);
    let world = World::new();
    world.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET)));
    let line = world.log("\"event\":\"request\"").remove(0);
    let said: BTreeSet<String> = line.as_object().unwrap().keys().cloned().collect();
    assert!(said.is_subset(&members), "{line}");
}

#[test]
fn every_word_of_a_log_line_is_documented() {
    assert_eq!(
        rows("docs/LOGGING.md", "Outcomes"),
        &names(Cause::ALL.map(Cause::word)) | &names(["ok", "passed", Cause::CallerGone.word()])
    );
    assert_eq!(rows("docs/LOGGING.md", "Faults"), names(Fault::ALL.map(Fault::word)));
    assert_eq!(rows("docs/LOGGING.md", "Notes"), words("src/telemetry/trail.rs"));
    assert_eq!(rows("docs/LOGGING.md", "Handshakes"), words("src/server/handshake.rs"));
}

#[test]
fn every_metric_is_documented_by_its_name() {
    let source = text("src/telemetry/metrics.rs") + &text("src/telemetry/stored.rs");
    let registered = source.split(".register(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
    let registered: BTreeSet<String> =
        registered.map(|rest| format!("passbridge_{}", rest.split('"').next().unwrap())).collect();
    let documented = rows("docs/OPERATIONS.md", "Metrics");
    let without_total = |name: &String| name.strip_suffix("_total").unwrap_or(name).to_owned();
    assert_eq!(documented.iter().map(without_total).collect::<BTreeSet<_>>(), registered);
    // And as it is said, of those that there are at once and after a login and a refusal.
    let world = World::new();
    world.login();
    world.ask(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
    let said = world.ops("/metrics").body;
    let samples = said.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(['{', ' ']).next().unwrap());
    for name in samples {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|ending| name.strip_suffix(ending));
        assert!(documented.contains(of_histogram.unwrap_or(name)), "{name}");
    }
}

/// Whoever compares two looks sees no growth in a series that was not there before.
#[test]
fn series_that_can_be_known_at_the_start_are_there_before_their_first_event() {
    let metrics = World::new().ops("/metrics").body;
    for series in [
        "faults_total{client=\"unknown\",fault=\"upstream\"}",
        "logouts_total{outcome=\"server_error\"}",
        "old_api_total{answer=\"gone\"}",
        "api_answers_cut_total",
    ] {
        assert!(metrics.contains(&format!("\npassbridge_{series} 0\n")), "{series}: {metrics}");
    }
    assert!(!metrics.contains("passbridge_handshakes_failed_total{"), "no listener speaks TLS");
}

#[test]
fn what_the_store_does_is_measured() {
    let world = World::new();
    let measured = |name: &str| {
        let (metrics, name) = (world.ops("/metrics").body, format!("passbridge_store_{name} "));
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name).map(str::to_owned));
        value.unwrap_or_else(|| panic!("{name}: {metrics}")).parse::<f64>().unwrap()
    };
    let (writes, groups) = (measured("writes_total{outcome=\"ok\"}"), measured("write_seconds_count"));
    let access = world.login().text("access_token");
    assert!(measured("writes_total{outcome=\"ok\"}") > writes);
    assert!(measured("write_seconds_count") > groups);
    assert!(measured("disk_bytes") > 0.0);
    assert!((measured("writable") - 1.0).abs() < f64::EPSILON);
    assert!(measured("writes_total{outcome=\"failed\"}").abs() < f64::EPSILON);
    let (misses, hits) = (measured("cache_total{outcome=\"miss\"}"), measured("cache_total{outcome=\"hit\"}"));
    assert!(world.active(&access) && world.active(&access));
    assert!(measured("cache_total{outcome=\"miss\"}") > misses && measured("cache_total{outcome=\"hit\"}") > hits);
}
