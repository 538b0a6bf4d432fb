//! What a crash or a bad disk leaves behind: a torn last write is cut off, a flipped bit is named, neither is read as good.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use passbridge::domain::family::{Ending, FamilyId, FamilyState};
use passbridge::domain::opaque::Fingerprint;
use passbridge::domain::seal::Sealed;
use passbridge::domain::time::Timestamp;
use passbridge::store::{Find, PendingRevocation, StoreError, TokenStore};

use super::world::{BEGIN, HOUR, Login, ManualClock, Seeded, World, block_on, embedded};
use crate::support::{World as Bridge, eventually};

/// A directory as a crash leaves it: copied while the store is open, every login in it acknowledged one by one.
fn crashed(logins: usize) -> (tempfile::TempDir, Vec<Login>) {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(&embedded(directory.path()));
    let kept = (0..logins).map(|_| block_on(world.kept())).collect();
    let copy = tempfile::tempdir().unwrap();
    copy_all(directory.path(), copy.path());
    trim(&journal(copy.path()));
    (copy, kept)
}

/// A directory as it is after an orderly end.
fn closed(logins: usize) -> (tempfile::TempDir, Vec<Login>) {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(&embedded(directory.path()));
    let kept = (0..logins).map(|_| block_on(world.kept())).collect();
    block_on(world.store.close());
    trim(&journal(directory.path()));
    (directory, kept)
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            copy_all(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn journal(directory: &Path) -> PathBuf {
    directory.join("engine/0.jnl")
}

/// Cuts the zeros off that a journal is given in advance, so that copies are small.
fn trim(journal: &Path) {
    let bytes = fs::read(journal).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    fs::write(journal, &bytes[..end]).unwrap();
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn open(directory: &Path) -> Result<TokenStore, StoreError> {
    TokenStore::open(&embedded(directory), ManualClock::new())
}

/// How many of the logins are there, whole. A damaged or wrong one is a failed test.
fn found(store: &TokenStore, logins: &[Login]) -> usize {
    let all = logins.iter().filter(|login| {
        let record = block_on(store.access(&login.access)).unwrap();
        assert!(record.is_none() || record.as_ref() == Some(&login.new.access.1));
        record.is_some()
    });
    all.count()
}

#[test]
fn a_crash_loses_nothing_of_what_was_acknowledged() {
    let (directory, logins) = crashed(20);
    let store = open(directory.path()).unwrap();
    assert_eq!(found(&store, &logins), 20);
    assert_eq!(store.statistics().torn_bytes, 0);
}

#[test]
fn a_torn_last_write_is_cut_off_wherever_it_is_torn() {
    let (directory, logins) = crashed(4);
    let whole = fs::read(journal(directory.path())).unwrap();
    let begins = last_batch(&whole);
    let cuts = (begins + 1..whole.len()).step_by(97).chain([whole.len() - 1]);
    for cut in cuts {
        fs::write(journal(directory.path()), &whole[..cut]).unwrap();
        let copy = tempfile::tempdir().unwrap();
        copy_all(directory.path(), copy.path());
        let store = open(copy.path()).unwrap();
        assert_eq!(found(&store, &logins), 3, "cut at {cut} of {}", whole.len());
        assert!(store.statistics().torn_bytes > 0);
        // It goes on from there.
        block_on(store.put(logins[3].new.clone())).unwrap();
        drop(store);
        assert_eq!(found(&open(copy.path()).unwrap(), &logins), 4);
    }
}

#[test]
fn a_last_write_that_lacks_a_sector_is_cut_off() {
    let (directory, logins) = crashed(4);
    let mut torn = fs::read(journal(directory.path())).unwrap();
    let sector = (last_batch(&torn) / 512 + 2) * 512;
    assert!(sector + 512 < torn.len());
    torn[sector..sector + 512].fill(0);
    fs::write(journal(directory.path()), &torn).unwrap();
    let store = open(directory.path()).unwrap();
    assert_eq!(found(&store, &logins), 3);
    assert!(store.statistics().torn_bytes > 0);
}

/// Where the last batch of a journal begins: behind the last but one end.
fn last_batch(journal: &[u8]) -> usize {
    let ends: Vec<usize> =
        journal.windows(4).enumerate().filter(|(_, it)| *it == b"FJL\x03").map(|(at, _)| at + 4).collect();
    ends[ends.len() - 2]
}

/// Flips one bit of each file at many places: every login is then found as it was, or the store names the damage.
fn every_flip_is_named_or_harmless((directory, logins): (tempfile::TempDir, Vec<Login>), flips_per_file: usize) {
    let mut named = 0;
    for file in files(directory.path()) {
        let name = file.strip_prefix(directory.path()).unwrap().to_owned();
        let length = fs::metadata(&file).unwrap().len() as usize;
        for flip in 0..flips_per_file.min(length) {
            let at = flip * length / flips_per_file.min(length);
            let copy = tempfile::tempdir().unwrap();
            copy_all(directory.path(), copy.path());
            let mut bytes = fs::read(&file).unwrap();
            bytes[at] ^= 1 << (flip % 8);
            fs::write(copy.path().join(&name), bytes).unwrap();
            let what = format!("{} at byte {at} of {length}", name.display());
            named += usize::from(is_named(copy.path(), &logins, &what));
        }
    }
    assert!(named > 0, "some flip must hit a record");
}

fn is_named(directory: &Path, logins: &[Login], what: &str) -> bool {
    // fjall asserts in debug builds what it checks nowhere in release builds: told loudly, too.
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Result<(), StoreError> {
        let store = open(directory)?;
        for login in logins {
            let record = block_on(store.access(&login.access))?;
            assert_eq!(record.as_ref(), Some(&login.new.access.1), "{what}: lost in silence");
            let refresh = block_on(store.refresh(&login.refresh))?;
            assert_eq!(refresh.as_ref(), login.new.refresh.as_ref().map(|(_, it)| it), "{what}: lost in silence");
            let family = block_on(store.family(login.id()))?.map(|it| it.value);
            assert_eq!(family.as_ref(), Some(&login.new.family), "{what}: lost in silence");
        }
        Ok(())
    }));
    match outcome {
        Ok(Ok(())) => false,
        Ok(Err(error)) => {
            assert!(
                matches!(error, StoreError::Corrupt { .. } | StoreError::CannotRead { .. } | StoreError::Format { .. }),
                "{what}: {error:?}"
            );
            true
        }
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            assert!(!said.contains("lost in silence"), "{said}");
            true
        }
    }
}

#[test]
fn a_flipped_bit_in_what_a_crash_left_is_named() {
    every_flip_is_named_or_harmless(crashed(6), 150);
}

#[test]
fn a_flipped_bit_in_what_an_orderly_end_left_is_named() {
    every_flip_is_named_or_harmless(closed(6), 60);
}

#[test]
fn damage_in_the_middle_of_a_journal_is_named_with_its_file() {
    let (directory, _) = crashed(6);
    let mut bytes = fs::read(journal(directory.path())).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(journal(directory.path()), bytes).unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("0.jnl is not what was written"), "{error}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("begin at byte"));
}

/// A login whose family lies beside the tree, as its access record does.
pub fn large_login(chance: &Seeded, now: Timestamp, client: &str) -> Login {
    let mut login = Login::new(chance, now, client);
    login.new.family.scope = "x".repeat(600).into();
    login
}

/// Flips a bit of the value under a key, which lies beside the tree, in the directory of a store that was closed.
pub fn flip(directory: &Path, kind: u8, name: &[u8]) {
    let key = [&[kind], name].concat();
    let beside = files(directory).into_iter().filter(|file| file.parent().unwrap().ends_with("blobs"));
    let mut flipped = 0;
    for file in beside {
        let mut bytes = fs::read(&file).unwrap();
        if let Some(at) = bytes.windows(key.len()).position(|window| window == key) {
            bytes[at + key.len() + 100] ^= 1;
            fs::write(&file, bytes).unwrap();
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1, "the value lies there once");
}

pub fn flip_family(directory: &Path, family: FamilyId) {
    flip(directory, b'f', &family.0);
}

pub fn flip_access(directory: &Path, access: &Fingerprint) {
    flip(directory, b'a', access.as_bytes());
}

/// Puts what no record is under a key of this tree, in the directory of a store that was closed.
pub fn spoil(directory: &Path, tree: &str, key: &[u8]) {
    // A program that another test is just starting has the files that were open until it becomes that program.
    let mut opened = None;
    eventually("nobody holds them", || {
        opened = fjall::Database::builder(directory.join("engine")).open().ok();
        opened.is_some()
    });
    let files = opened.unwrap();
    let tree = files.keyspace(tree, fjall::KeyspaceCreateOptions::default).unwrap();
    tree.insert(key, b"not what was written").unwrap();
    files.persist(fjall::PersistMode::SyncAll).unwrap();
}

pub fn spoil_access(directory: &Path, access: &Fingerprint) {
    spoil(directory, "access", &[b"a", access.as_bytes().as_slice()].concat());
}

/// Three logins, each with a word that the realm must be told; the first one's family and word are damaged, and the last one's
/// access record.
fn damaged() -> (tempfile::TempDir, TokenStore, Vec<Login>) {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(&embedded(directory.path()));
    let mut logins: Vec<Login> = (0..3).map(|_| large_login(&world.chance, BEGIN, "crm")).collect();
    logins.sort_by_key(Login::id);
    for login in &logins {
        block_on(world.store.put(login.new.clone())).unwrap();
        block_on(world.store.outbox_put(&pending(login))).unwrap();
    }
    block_on(world.store.close());
    drop(world);
    flip_family(directory.path(), logins[0].id());
    flip(directory.path(), b'o', &logins[0].id().0);
    flip_access(directory.path(), &logins[2].access);
    let store = open(directory.path()).unwrap();
    (directory, store, logins)
}

fn pending(login: &Login) -> PendingRevocation {
    let sealed = Sealed::from_bytes(vec![7; 600]);
    PendingRevocation { family: login.id(), client: "crm".to_owned(), sealed, until: BEGIN.plus(HOUR) }
}

#[test]
fn a_damaged_record_does_not_keep_others_from_being_found() {
    let (_directory, store, logins) = damaged();
    assert!(matches!(block_on(store.family(logins[0].id())), Err(StoreError::Corrupt { .. })));
    let sound = [logins[1].id(), logins[2].id()];
    block_on(async {
        let all = store.find(Find::Client("crm".to_owned()), 10).await.unwrap();
        assert_eq!((all.records.iter().map(|it| it.id).collect::<Vec<_>>(), all.damaged), (sound.to_vec(), 1));
        let first = store.find_living(Find::User(logins[0].new.family.user.unwrap()), None, 1).await.unwrap();
        assert_eq!((first.records[0].id, first.damaged), (sound[0], 1));
        let by_token = store.find(Find::Prefix(logins[0].access.to_string()), 10).await.unwrap();
        assert_eq!((by_token.records.len(), by_token.damaged), (0, 1));
        let moved = store.export(None, 10).await.unwrap();
        assert_eq!(
            (moved.records.iter().map(|it| it.family.id).collect::<Vec<_>>(), moved.damaged),
            (sound.to_vec(), 2)
        );
        let left: Vec<_> = moved.records.iter().map(|it| (it.access.len(), it.refresh.len())).collect();
        assert_eq!(left, [(1, 1), (0, 1)]);
        let outbox = store.outbox().await.unwrap();
        assert_eq!((outbox.records, outbox.damaged), (vec![pending(&logins[1]), pending(&logins[2])], 1));
    });
}

#[test]
fn a_login_with_a_damaged_record_is_ended_all_the_same() {
    let (_directory, store, logins) = damaged();
    block_on(async {
        assert!(matches!(store.access(&logins[2].access).await, Err(StoreError::Corrupt { .. })));
        let before = store.end(logins[2].id(), Ending::Revoked).await.unwrap().unwrap();
        assert_eq!(before, logins[2].new.family);
        let family = store.family(logins[2].id()).await.unwrap().unwrap().value;
        assert_eq!(family.state, FamilyState::Over(Ending::Revoked));
        assert!(store.refresh(&logins[2].refresh).await.unwrap().unwrap().key.as_bytes().is_empty());
        assert_eq!(store.access(&logins[2].access).await.unwrap(), None, "nobody can read it, and it opens nothing");
    });
}

#[test]
fn what_a_sweep_finds_damaged_is_told_in_the_log() {
    let mut world = Bridge::new();
    world.login();
    world.end();
    // Of those that are forgotten at the first moment there is: due at every sweep, that of the start among them.
    spoil(&world.store(), "others", &[b"x", &[0; 16][..]].concat());
    eventually("it starts", || world.try_begin().is_ok());
    eventually("it is told", || {
        let told = world.log("sweeping what has expired");
        told.iter().any(|line| (&line["event"], &line["damaged"]) == (&"store".into(), &1.into()))
    });
    world.login();
}
