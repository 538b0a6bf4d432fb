//! `kill -9` in the middle of writing, a hundred times: nothing that was acknowledged is lost.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use passbridge::domain::opaque::Fingerprint;
use passbridge::store::TokenStore;

use super::world::{BEGIN, Login, ManualClock, Seeded, block_on, embedded};

const DIRECTORY: &str = "PASSBRIDGE_TEST_CRASH_DIRECTORY";
const ROUND: &str = "PASSBRIDGE_TEST_CRASH_ROUND";
const WAITING: u64 = 16;

/// The process that is killed: it logs in without end and tells each login once it was acknowledged. Does nothing where it
/// is run as a test.
#[test]
#[expect(clippy::disallowed_methods, reason = "how this test speaks to the process that it starts")]
fn a_writer_that_will_be_killed() {
    let (Some(directory), Ok(round)) = (std::env::var_os(DIRECTORY), std::env::var(ROUND)) else { return };
    let store = TokenStore::open(&embedded(Path::new(&directory)), ManualClock::new()).unwrap();
    let round: u64 = round.parse().unwrap();
    block_on(futures_util::future::join_all((0..WAITING).map(|task| {
        let store = store.clone();
        async move {
            let chance = Seeded::new(round * WAITING + task);
            loop {
                let login = Login::new(&chance, BEGIN, "crm");
                store.put(login.new.clone()).await.unwrap();
                // One write: a line is told whole or not at all.
                std::io::stdout().lock().write_all(format!("kept {}\n", hex(&login.access)).as_bytes()).unwrap();
            }
        }
    })));
}

fn hex(fingerprint: &Fingerprint) -> String {
    fingerprint.to_string()
}

fn fingerprint(hex: &str) -> Fingerprint {
    let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
    Fingerprint::from_bytes(bytes.try_into().unwrap())
}

/// Starts a writer, kills it after so many acknowledgements, and answers all that it told.
fn killed_writer(directory: &Path, round: u64, after: usize) -> Vec<Fingerprint> {
    let program: PathBuf = std::env::current_exe().unwrap();
    let mut child = Command::new(program)
        .args(["--exact", "store::crash::a_writer_that_will_be_killed", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut kept = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The harness writes a line of its own before the test's first.
        if let Some((_, hex)) = line.split_once("kept ")
            && hex.len() == 64
        {
            kept.push(fingerprint(hex));
        }
        if kept.len() == after {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(kept.len() >= after, "the writer ended by itself after {} logins", kept.len());
    kept
}

#[test]
fn whatever_was_acknowledged_survives_a_hundred_kills() {
    for lives in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let mut kept = Vec::new();
        for round in lives * 10..(lives + 1) * 10 {
            // Each writer opens what the one before left behind.
            let after = usize::try_from(1 + round * 7 % 90).unwrap();
            kept.extend(killed_writer(directory.path(), round, after));
        }
        let store = TokenStore::open(&embedded(directory.path()), ManualClock::new()).unwrap();
        let lost = kept.iter().filter(|it| block_on(store.access(it)).unwrap().is_none()).count();
        assert_eq!(lost, 0, "of {} after ten kills", kept.len());
    }
}
