//! Who may use whom: the wall that a workspace would have been. Reads `src/` and fails on a forbidden `use`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may use, all of which stand above it: none uses one that uses it. A room that is not here may not be.
const MAY_USE: [(&str, &[&str]); 20] = [
    ("domain", &[]),
    ("disk", &[]),
    ("document", &[]),
    ("lifecycle", &[]),
    // What the rooms share that hear or send what goes on. When a certificate ends is a time.
    ("relay", &["domain"]),
    // Chance, for what is sealed.
    ("secrets", &["document", "domain"]),
    ("legacy", &["domain"]),
    // What a certificate that is not trusted is called; and reads those of the system aside, when it asks over new connections.
    ("keycloak", &["domain", "lifecycle", "relay"]),
    // Carries bytes to the old server and back; whose they are `exchange` decides.
    ("otk", &["domain", "lifecycle", "relay"]),
    // What looks after the way to a Redis, for everybody.
    ("store", &["disk", "domain", "lifecycle"]),
    ("mapping", &["domain", "document", "secrets"]),
    ("telemetry", &["disk", "domain", "document", "lifecycle"]),
    ("exchange", &["domain", "legacy", "keycloak", "otk", "mapping", "store", "telemetry", "lifecycle"]),
    // Sends calls on; what a UUID is worth `exchange` decides, and how a refusal reads `legacy`.
    ("gateway", &["domain", "legacy", "exchange", "lifecycle", "relay", "telemetry"]),
    (
        "config",
        &[
            "domain",
            "document",
            "secrets",
            "keycloak",
            "otk",
            "relay",
            "mapping",
            "store",
            "exchange",
            "gateway",
            "telemetry",
        ],
    ),
    // A backup of the store has a thread of its own.
    ("ops", &["domain", "document", "exchange", "keycloak", "lifecycle", "store", "telemetry", "mapping"]),
    (
        "server",
        &[
            "domain",
            "document",
            "secrets",
            "legacy",
            "keycloak",
            "otk",
            "relay",
            "mapping",
            "store",
            "telemetry",
            "exchange",
            "gateway",
            "config",
            "ops",
            "lifecycle",
        ],
    ),
    // `doctor` asks the realm by the probes of `keycloak`, and knocks at the old server.
    (
        "cli",
        &[
            "domain",
            "document",
            "secrets",
            "keycloak",
            "otk",
            "relay",
            "mapping",
            "store",
            "config",
            "lifecycle",
            "server",
            "telemetry",
        ],
    ),
    ("lib.rs", &[]),
    ("main.rs", &[]),
];

#[test]
fn each_room_uses_none_but_those_above_it() {
    for (number, (room, may)) in MAY_USE.iter().enumerate() {
        let below = |name: &&&str| MAY_USE[number..].iter().any(|(other, _)| *other == **name);
        let wrong: Vec<_> = may.iter().filter(below).collect();
        assert!(wrong.is_empty(), "{room} uses {wrong:?}, which may use it in turn");
    }
}

/// No file is longer before its tests: a longer one is a question about its seams.
const LONGEST: usize = 400;

pub fn sources(directory: &str) -> Vec<PathBuf> {
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

/// A file without the tests at its end. A mere `mod tests;` ends nothing.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// The rooms that a file names by `crate::ROOM`, outside its tests, or by so many `super::` that they lead there. What is no name, as the `{` of a
/// group or a `*`, stands for itself: no room is called so, and none may use it.
fn used(text: &str, depth: usize) -> BTreeSet<String> {
    let word = |rest: &str| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        rest[..end.max(1).min(rest.len())].to_owned()
    };
    let up = "super::".repeat(depth.max(1));
    code(text)
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line.split("crate::").skip(1), line.split(up.as_str()).skip(1)])
        .flat_map(|rests| rests.map(word).collect::<Vec<_>>())
        .collect()
}

/// The rooms that this file names. Of `super::` as many lead out of its room as it has modules above it and is one itself.
fn used_by(path: &Path) -> BTreeSet<String> {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let depth = below.components().count() - usize::from(path.ends_with("mod.rs"));
    used(&fs::read_to_string(path).unwrap(), depth)
}

#[test]
fn no_room_uses_one_that_it_may_not() {
    let mut wrong = Vec::new();
    for path in sources("src").into_iter().filter(|path| !path.ends_with("tests.rs")) {
        let room = room(&path);
        let may = MAY_USE.iter().find(|(name, _)| *name == room).unwrap_or_else(|| panic!("what is {room}?")).1;
        for name in used_by(&path) {
            if name != room && !may.contains(&name.as_str()) && room != "main.rs" && room != "lib.rs" {
                wrong.push(format!("{} uses {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_a_room_may_use_it_uses() {
    let mut of_room: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in sources("src").into_iter().filter(|path| !path.ends_with("tests.rs")) {
        of_room.entry(room(&path)).or_default().extend(used_by(&path));
    }
    let holes = MAY_USE.iter().flat_map(|(room, may)| may.iter().map(move |name| (*room, *name)));
    let holes: Vec<_> = holes.filter(|(room, name)| !of_room[*room].contains(*name)).collect();
    assert!(holes.is_empty(), "nobody needs these holes in the wall: {holes:?}");
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
        let lines = code(&text).lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines", path.display());
    }
}

/// The files that a file declares by `mod NAME;`.
fn declared(path: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(path).unwrap();
    let names = text.lines().filter_map(|line| {
        let line = line.trim_start().trim_start_matches("pub(super) ").trim_start_matches("pub(crate) ");
        line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
    });
    let leads = ["mod.rs", "lib.rs", "main.rs"].iter().any(|name| path.ends_with(name));
    let below = if leads { path.parent().unwrap().to_owned() } else { path.with_extension("") };
    let file = |name: String| {
        let (plain, folder) = (below.join(format!("{name}.rs")), below.join(&name).join("mod.rs"));
        if folder.exists() { folder } else { plain }
    };
    names.map(file).collect()
}

#[test]
fn every_file_is_part_of_the_program_or_of_its_tests() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (directory, roots) in [("src", &["lib.rs", "main.rs"][..]), ("tests/it", &["main.rs"])] {
        let mut open: Vec<PathBuf> = roots.iter().map(|root| top.join(directory).join(root)).collect();
        let mut reached = BTreeSet::new();
        while let Some(path) = open.pop() {
            assert!(path.exists(), "{} is declared and not there", path.display());
            open.extend(declared(&path));
            reached.insert(path);
        }
        let lost: Vec<PathBuf> = sources(directory).into_iter().filter(|path| !reached.contains(path)).collect();
        assert!(lost.is_empty(), "nobody declares {lost:#?}");
    }
}

#[test]
fn the_wall_sees_a_forbidden_use() {
    let text = "use crate::store::X;\n#[cfg(test)]\nmod tests;\nfn f() -> crate::ops::Y";
    assert_eq!(used(text, 2), names(&["ops", "store"]));
    assert_eq!(used("// crate::ops\n#[cfg(test)]\nmod tests {\n    use crate::store;", 2), names(&[]));
    assert_eq!(used("use crate::{store::TokenStore, ops};", 2), names(&["{"]));
    assert_eq!(used("use crate::{\n    store::TokenStore,\n};\nuse crate::*;", 2), names(&["{", "*"]));
    let up = "use super::super::store::X;";
    assert_eq!((used(up, 2), used(up, 3)), (names(&["store"]), names(&[])));
    assert_eq!((used("use super::ops;", 1), used("use super::ops;", 2)), (names(&["ops"]), names(&[])));
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Where a test waits between two looks; of `paused.rs` for the time that its sentences name, of `api.rs` because that API is a slow one.
const LOOK_AGAIN: [&str; 6] = [
    "it/support/mod.rs",
    "it/cli/said.rs",
    "e2e/support/mod.rs",
    "e2e/realm.rs",
    "e2e/paused.rs",
    "e2e/gateway/api.rs",
];

#[test]
fn no_test_sleeps_and_no_machine_is_named() {
    for path in sources("tests").into_iter().chain(sources("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let in_a_test = !path.starts_with(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        let sleeps = [if in_a_test { "" } else { "thread::" }, "sle", "ep("].concat();
        assert!(!text.contains(&sleeps), "{} sleeps", path.display());
        let waits = ["park_", "timeout("].concat();
        let looks = !in_a_test || LOOK_AGAIN.iter().any(|name| path.ends_with(name));
        assert!(looks || !text.contains(&waits), "{} sleeps, and looks at nothing meanwhile", path.display());
        for place in [["/", "work/"].concat(), ["/", "root/"].concat()] {
            assert!(!text.contains(&place), "{} names {place}", path.display());
        }
    }
}
