//! Who may use whom: the wall that a workspace would have been. Reads `src/` and fails on a forbidden `use`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may use. A room that is not here may not be.
const MAY_USE: [(&str, &[&str]); 16] = [
    ("domain", &[]),
    ("document", &[]),
    ("lifecycle", &[]),
    ("secrets", &["document"]),
    ("legacy", &["domain"]),
    ("keycloak", &["domain"]),
    ("store", &["domain"]),
    ("mapping", &["domain", "document", "secrets"]),
    ("telemetry", &["domain", "document", "lifecycle"]),
    ("exchange", &["domain", "legacy", "keycloak", "mapping", "store", "telemetry", "lifecycle"]),
    ("config", &["domain", "document", "secrets", "keycloak", "mapping", "store", "exchange", "server", "telemetry"]),
    ("ops", &["domain", "document", "exchange", "keycloak", "store", "telemetry", "mapping"]),
    (
        "server",
        &[
            "domain",
            "document",
            "secrets",
            "legacy",
            "keycloak",
            "mapping",
            "store",
            "telemetry",
            "exchange",
            "config",
            "ops",
            "lifecycle",
        ],
    ),
    ("cli", &["domain", "document", "secrets", "mapping", "store", "config", "server", "telemetry", "ops"]),
    ("lib.rs", &[]),
    ("main.rs", &[]),
];

/// No file is longer before its tests: a longer one is a question about its seams.
const LONGEST: usize = 400;

fn sources(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
    while let Some(place) = open.pop() {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn room(path: &Path) -> String {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    below.components().next().unwrap().as_os_str().to_string_lossy().into_owned()
}

/// The rooms that a file names by `crate::ROOM`, outside its tests.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let word =
        |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1).map(word).collect::<Vec<_>>())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn no_room_uses_one_that_it_may_not() {
    let mut wrong = Vec::new();
    for path in sources("src").into_iter().filter(|path| !path.ends_with("tests.rs")) {
        let room = room(&path);
        let may = MAY_USE.iter().find(|(name, _)| *name == room).unwrap_or_else(|| panic!("what is {room}?")).1;
        for name in used(&fs::read_to_string(&path).unwrap()) {
            if name != room && !may.contains(&name.as_str()) && room != "main.rs" && room != "lib.rs" {
                wrong.push(format!("{} uses {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_room_says_what_it_must_not_do() {
    for path in sources("src") {
        let inner = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
        if path.ends_with("mod.rs") && inner.components().count() == 2 {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("//!") && text.contains("Must not"), "{}", path.display());
        }
    }
}

#[test]
fn no_file_is_a_question_about_its_seams() {
    for path in sources("src") {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines", path.display());
    }
}

#[test]
fn no_test_sleeps_and_no_machine_is_named() {
    for path in sources("tests").into_iter().chain(sources("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let sleeps = ["thread::", "sleep("].concat();
        assert!(!text.contains(&sleeps), "{} sleeps", path.display());
        for place in [["/", "work/"].concat(), ["/", "root/"].concat()] {
            assert!(!text.contains(&place), "{} names {place}", path.display());
        }
    }
}
