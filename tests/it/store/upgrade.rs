//! Directories that older versions wrote. Each under `tests/old-stores` was written by the program of its time: four logins of
//! `Seeded::new(81)` at `BEGIN`, of which the first and the third have no end, and the last two are over. Its
//! journal is cut behind its last record.

use std::fs;
use std::path::Path;

use passbridge::domain::family::{AccessFate, AccessRecord, Ending};
use passbridge::domain::seal::Sealed;
use passbridge::domain::time::Timestamp;
use passbridge::store::{StoreError, TokenStore};

use super::embedded::token_in;
use super::world::{BEGIN, HOUR, Login, ManualClock, REALM_REFRESH, Seeded, World, block_on, embedded, jwt_of};
use crate::support::world::copy_files;

/// A copy of a directory as it was written, and the logins in it.
fn written(format: &str) -> (tempfile::TempDir, Vec<Login>) {
    let directory = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/old-stores").join(format);
    copy_files(&golden, directory.path());
    for tree in fs::read_dir(directory.path().join("engine/keyspaces")).unwrap() {
        fs::create_dir_all(tree.unwrap().path().join("blobs")).unwrap(); // git keeps no empty directory
    }
    let chance = Seeded::new(81);
    (directory, (0..4).map(|_| Login::new(&chance, BEGIN, "crm")).collect())
}

fn format(directory: &Path) -> String {
    fs::read_to_string(directory.join("format")).unwrap()
}

fn opened(directory: &Path) -> World {
    World::open(&embedded(directory))
}

fn jwt(record: &AccessRecord) -> &Sealed {
    let AccessFate::Live { jwt, .. } = &record.fate else { panic!("it lives") };
    jwt
}

/// A login's record as it is minted today, with the JWT of the one that was found, which may be kept otherwise.
fn but_for_its_jwt(login: &Login, found: &AccessRecord) -> AccessRecord {
    let mut minted = login.new.access.1.clone();
    if let AccessFate::Live { jwt: today, .. } = &mut minted.fate {
        *today = jwt(found).clone();
    }
    minted
}

/// Every login is found as it was left.
fn all_is_there(world: &World, logins: &[Login]) {
    block_on(async {
        for (number, login) in logins.iter().enumerate() {
            let record = world.store.access(&login.access).await.unwrap().unwrap();
            let over = matches!(record.fate, AccessFate::Over(Ending::Revoked));
            assert_eq!(over, number >= 2, "login {number}");
            let family = world.store.family(login.id()).await.unwrap().unwrap().value;
            if !over {
                assert_eq!(token_in(login, jwt(&record), "access-jwt"), jwt_of(login.id()));
                assert_eq!(token_in(login, &family.renewal.unwrap(), "realm-refresh"), REALM_REFRESH);
                assert_eq!(record, but_for_its_jwt(login, &record));
                assert_eq!(world.store.session(&login.session()).await.unwrap(), Some(login.id()));
            }
            assert!(world.store.refresh(&login.refresh).await.unwrap().is_some());
        }
    });
}

#[test]
fn a_directory_of_an_older_format_opens_and_everything_in_it_is_found() {
    for older in [1, 2] {
        let (directory, logins) = written(&format!("format-{older}"));
        assert_eq!(format(directory.path()), format!("{older}\n"));
        let world = opened(directory.path());
        all_is_there(&world, &logins);
        assert_eq!(format(directory.path()), "3\n");
        drop(world);
        all_is_there(&opened(directory.path()), &logins);
    }
}

#[test]
fn what_was_over_and_had_no_end_in_format_1_is_swept_after_the_upgrade() {
    let (directory, logins) = written("format-1");
    let world = opened(directory.path());
    world.clock.pass(3 * HOUR);
    block_on(async {
        while world.store.sweep(world.now()).await.unwrap().more {}
        for (number, login) in logins.iter().enumerate() {
            let there = world.store.family(login.id()).await.unwrap().is_some();
            assert_eq!(there, number == 0, "login {number}: the first has no end and lives");
        }
        let first = world.store.refresh(&logins[0].refresh).await.unwrap().unwrap();
        assert_eq!(first.until, Timestamp::NEVER);
        world.store.end(logins[0].id(), Ending::Revoked).await.unwrap();
        world.clock.pass(HOUR);
        world.store.sweep(world.now()).await.unwrap();
        assert_eq!(world.store.family(logins[0].id()).await.unwrap(), None, "its access UUID's time was over already");
    });
}

#[test]
fn an_upgrade_that_was_cut_off_before_it_was_written_down_begins_again() {
    let (directory, logins) = written("format-1");
    for _ in 0..3 {
        drop(opened(directory.path()));
        fs::write(directory.path().join("format"), "1\n").unwrap();
    }
    let world = opened(directory.path());
    all_is_there(&world, &logins);
    world.clock.pass(3 * HOUR);
    block_on(async {
        while world.store.sweep(world.now()).await.unwrap().more {}
        assert_eq!(world.store.export(None, 10).await.unwrap().records.len(), 1);
    });
}

#[test]
fn an_upgrade_that_cannot_write_says_so_and_leaves_the_directory_as_it_was() {
    let (directory, logins) = written("format-1");
    let marker = directory.path().join("format.new");
    fs::create_dir(&marker).unwrap(); // where the number's draft would stand
    let error = TokenStore::open(&embedded(directory.path()), ManualClock::new()).unwrap_err();
    assert!(matches!(error, StoreError::CannotOpen { .. }), "{error:?}");
    assert_eq!(format(directory.path()), "1\n");
    fs::remove_dir(&marker).unwrap();
    all_is_there(&opened(directory.path()), &logins);
}

#[test]
fn formats_that_never_were_are_refused() {
    for (number, directory) in [("0", tempfile::tempdir().unwrap()), ("4", tempfile::tempdir().unwrap())] {
        drop(opened(directory.path()));
        fs::write(directory.path().join("format"), number).unwrap();
        let error = TokenStore::open(&embedded(directory.path()), ManualClock::new()).unwrap_err();
        assert!(error.to_string().contains(&format!("has format {number}, and this program knows formats")), "{error}");
    }
}
