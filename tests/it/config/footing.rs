//! What a load rests on: every path that it looks at, whatever comes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use passbridge::config::{Examined, examine};
use passbridge::document::{Findings, Footing, Stamp};
use passbridge::mapping;
use passbridge::mapping::watch::Watch;
use passbridge::secrets::{Environment, Means};
use passbridge::server::SystemEntropy;

use crate::support::BEGIN;

/// What a load of these files rests on, and whether nothing is wrong with them.
fn survey(path: &Path, environment: &Environment) -> (Footing, bool) {
    let findings = Findings::new();
    let Examined { mappings, identities, .. } = examine(path, environment, BEGIN, &findings);
    let means = Means { environment, identities: &identities };
    let loaded = mappings.and_then(|mappings| mapping::load(&mappings, means, &findings));
    (findings.footing(), loaded.is_some())
}

#[test]
fn a_load_rests_on_everything_that_it_reads() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "passbridge.toml",
        "[realm]\nurls = [\"http://127.0.0.1:1\"]\n[ops]\ntoken = { file = \"ops.token\" }\n[secrets]\nidentity = { file = \"age.key\" }\n",
    );
    write("ops.token", "x");
    let identity = passbridge::secrets::age::Identity::new(&SystemEntropy).and_then(|it| it.text()).unwrap();
    write("age.key", secrecy::ExposeSecret::expose_secret(&identity));
    let client = "[[client]]\nlegacy_id = \"a\"\nlegacy_secret = { file = \"old\" }\nclient_id = \"b\"\n\
                  client_secret = { file = \"new\" }\nstage = \"live\"\n";
    write("mappings/clients/a.toml", client);
    write("mappings/clients/old", "x");
    let environment = Environment::default();
    let (footing, fine) = survey(&directory.path().join("passbridge.toml"), &environment);
    let relative = |path: &PathBuf| path.strip_prefix(directory.path()).unwrap().to_string_lossy().into_owned();
    let mut expected = ["passbridge.toml", "age.key", "ops.token", "mappings/clients", "mappings/dialects"].to_vec();
    expected.extend(["mappings/clients/a.toml", "mappings/clients/old", "mappings/clients/new"]);
    expected.sort_unstable();
    assert_eq!(footing.keys().map(relative).collect::<Vec<_>>(), expected);
    assert_eq!((fine, &footing[&directory.path().join("mappings/clients/new")]), (false, &Stamp::Absent));
    // The secret that was missing arrives, and so does a dialect.
    let mut watch = Watch::new(footing.into());
    for name in ["mappings/clients/new", "mappings/dialects/mine.toml"] {
        write(name, "x");
        assert!(!watch.observe(watch.look(), Duration::ZERO), "{name}");
        assert!(watch.observe(watch.look(), Duration::from_millis(250)), "{name}");
        watch.loaded(watch.look());
    }
    fs::remove_file(directory.path().join("mappings/dialects/mine.toml")).unwrap();
    assert!(survey(&directory.path().join("passbridge.toml"), &environment).1);
}
