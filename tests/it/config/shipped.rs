//! The files that are shipped load as they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use passbridge::config::{self, Limits};
use passbridge::document::{Findings, Severity};
use passbridge::domain::client::Stage;
use passbridge::mapping;
use passbridge::secrets::Environment;

use crate::support::BEGIN;
use crate::support::planted::{assert_meant, slips};

#[test]
fn a_fresh_clone_passes_its_own_check() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/passbridge.toml");
    let (environment, findings) = (Environment::default(), Findings::new());
    let config = config::load(&path, &environment, BEGIN, &findings).unwrap();
    let loaded = mapping::load(&config.mappings, &environment, &findings).unwrap();
    let found = findings.into_sorted();
    // A clone's files may be readable for everybody; nothing else may be worth a word.
    assert!(found.iter().all(|one| one.severity == Severity::Warning && one.code == "world-readable"), "{found:#?}");
    assert_eq!(loaded.table.dialects().keys().map(String::as_str).collect::<Vec<_>>(), ["otk-old", "otk-passport"]);
}

/// What a dialect says, but for these sections.
fn without<'t>(dialect: &'t str, sections: &[&str]) -> Vec<&'t str> {
    let mut is_of_those = false;
    let kept = dialect.lines().filter(|line| {
        if line.starts_with('[') {
            is_of_those = sections.iter().any(|section| line.starts_with(section));
        }
        !is_of_those && !line.is_empty() && !line.starts_with('#')
    });
    kept.collect()
}

#[test]
fn the_older_dialect_is_the_other_one_but_for_what_it_says_of_scopes_and_of_who_logs_in() {
    let read = |name: &str| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings/dialects").join(name)).unwrap()
    };
    let (older, other) = (read("otk-old.toml"), read("otk-passport.toml"));
    assert_ne!(without(&older, &[]), without(&other, &[]));
    let differ = ["[causes.scope]", "[causes.resource_owner]"];
    assert_eq!(without(&older, &differ), without(&other, &differ));
}

/// Envoy asks no second time where its question has met the end of a connection that nobody used for a while.
#[test]
fn envoy_ends_an_idle_connection_before_the_bridge_does() {
    let shipped = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/envoy/http.yaml")).unwrap();
    let cluster = shipped.split("\n    - name: ").find(|cluster| cluster.starts_with("passbridge\n")).unwrap();
    let seconds = cluster.split_once(" idle_timeout: ").and_then(|(_, told)| told.split_once("s "));
    let seconds = seconds.expect("it is told").0.parse().unwrap();
    assert!(Duration::from_secs(seconds) * 2 <= Limits::default().head_timeout);
}

#[test]
fn the_example_client_lets_nobody_in() {
    let mappings = mapping::Place::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings"));
    let loaded = mapping::load(&mappings, &Environment::default(), &Findings::new()).unwrap();
    assert!(!loaded.table.is_empty());
    assert!(loaded.table.clients().all(|client| client.stage == Stage::Retired));
}

/// Words in quotes in the sources of a room, outside its tests.
fn words(folder: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let text = if path.is_file() { fs::read_to_string(path).unwrap() } else { continue };
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            words.extend(line.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
    words
}

fn is_of_a_key(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

fn is_key(word: &str) -> bool {
    word.len() > 1 && word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(is_of_a_key)
}

#[test]
fn every_key_of_the_configuration_stands_in_the_shipped_file() {
    let shipped = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/passbridge.toml")).unwrap();
    let is_there = |word: &str| shipped.split(|c: char| !is_of_a_key(c)).any(|there| there == word);
    let missing: Vec<_> = words("src/config").into_iter().filter(|word| is_key(word) && !is_there(word)).collect();
    assert!(missing.is_empty(), "say what these are, with their defaults: {missing:?}");
}

/// The shipped file with every key that it offers, be it behind `#` or not.
fn with_every_key() -> String {
    let shipped = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/passbridge.toml")).unwrap();
    let offered = |line: &str| line.split_once(" = ").is_some_and(|(key, _)| is_key(key.trim()));
    // Of two lines with one key in one section, as `kind` has, the later counts.
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut section = String::new();
    for line in shipped.lines() {
        let bare = line.strip_prefix("# ").filter(|rest| offered(rest) || rest.starts_with('[')).unwrap_or(line);
        if bare.starts_with('[') {
            bare.clone_into(&mut section);
        }
        let key = bare.split_once('=').map_or(bare, |(key, _)| key).trim();
        let name = format!("{section} {key}");
        lines.retain(|(known, _)| !offered(bare) || *known != name);
        lines.push((name, bare.to_owned() + "\n"));
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

fn load(text: &str) -> Findings {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("passbridge.toml");
    fs::write(&path, text).unwrap();
    let findings = Findings::new();
    let _ = config::load(&path, &Environment::default(), BEGIN, &findings);
    findings
}

#[test]
fn every_key_that_the_shipped_file_offers_is_taken() {
    let with_all = with_every_key();
    for kind in ["kind = \"embedded\"", "kind = \"redis\""] {
        assert!(with_all.contains("kind = \"redis\""));
        for finding in load(&with_all.replace("kind = \"redis\"", kind)).into_sorted() {
            let expected = ["unreadable-file", "unreadable-secret", "unused-key"];
            assert!(expected.contains(&finding.code), "{finding}");
        }
    }
}

#[test]
fn a_slip_in_any_key_of_the_configuration_is_told_with_the_key_that_was_meant() {
    let slips = slips(&with_every_key());
    assert!(slips.len() > 70, "{}", slips.len());
    for (key, text) in slips {
        assert_meant(&key, load(&text));
    }
}

#[test]
fn every_code_of_a_finding_and_every_key_of_a_client_is_explained() {
    let explained = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/mappings/README.md")).unwrap();
    let is_code = |word: &str| {
        word.contains('-')
            && word.len() > 5
            && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
            && !["otk-passport", "uuid-epoch"].contains(&word)
    };
    let mut found = BTreeSet::new();
    for folder in ["src/document", "src/mapping", "src/config", "src/secrets"] {
        found.extend(words(folder).into_iter().filter(|word| is_code(word)));
    }
    assert!(found.len() > 20, "{found:?}");
    let missing: Vec<_> = found.iter().filter(|code| !explained.contains(&format!("`{code}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let source = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/mapping/client.rs")).unwrap();
    let keys = source.split('"').skip(1).step_by(2).filter(|word| is_key(word) && word.contains('_'));
    let missing: Vec<_> = keys.filter(|key| !explained.contains(&format!("{key} "))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
