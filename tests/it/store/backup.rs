//! A copy of a store that is in use.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use passbridge::domain::family::{AccessFate, Ending};
use passbridge::domain::opaque::TokenUse;
use passbridge::store::{BackedUp, Progress, StoreError};

use super::damage::spoil_access;
use super::world::{HOUR, Login, World, block_on, embedded};

fn backed_up(world: &World, to: &std::path::Path) -> BackedUp {
    world.store.backup(to).unwrap().run(&Progress::default()).unwrap()
}

#[test]
fn a_backup_opens_and_holds_everything_that_was_acknowledged_before_it() {
    let (directory, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World::open(&embedded(directory.path()));
    let logins: Vec<Login> = (0..50).map(|_| block_on(world.kept())).collect();
    block_on(world.store.end(logins[0].id(), Ending::Revoked)).unwrap();
    let before = block_on(world.store.lease(logins[1].id(), HOUR)).unwrap().unwrap();
    let copy = place.path().join("some/where");
    let told = backed_up(&world, &copy);
    assert_eq!((told.damaged, told.records > 200, told.bytes > 10_000), (0, true, true), "{told:?}");
    let later = block_on(world.kept());
    let copied = World::open(&embedded(&copy));
    block_on(async {
        let over = copied.store.access(&logins[0].access).await.unwrap().unwrap();
        assert_eq!(over.fate, AccessFate::Over(Ending::Revoked));
        for login in &logins[1..] {
            assert_eq!(copied.store.access(&login.access).await.unwrap(), Some(login.new.access.1.clone()));
            assert_eq!(copied.store.family(login.id()).await.unwrap().unwrap().value, login.new.family);
            assert_eq!(copied.store.session(&login.session()).await.unwrap(), Some(login.id()));
        }
        assert_eq!(copied.store.access(&later.access).await.unwrap(), None, "it is of one moment");
        let after = copied.store.lease(logins[1].id(), HOUR).await.unwrap().unwrap();
        assert!(after.fence > before.fence);
        copied.clock.pass(3 * HOUR);
        while copied.store.sweep(copied.now()).await.unwrap().more {}
        assert!(copied.store.export(None, 10).await.unwrap().records.is_empty(), "what expires when is in it too");
    });
    assert!(block_on(world.store.access(&later.access)).unwrap().is_some(), "the store itself goes on");
}

#[test]
fn a_backup_under_load_is_whole_and_of_one_moment() {
    let (directory, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World::open(&embedded(directory.path()));
    let (stop, acknowledged) = (AtomicBool::new(false), Mutex::new(Vec::<Login>::new()));
    for _ in 0..300 {
        acknowledged.lock().push(block_on(world.kept()));
    }
    for round in 0..3 {
        let copy = place.path().join(round.to_string());
        let before = std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        let login = block_on(world.kept());
                        block_on(world.store.end(login.id(), Ending::Revoked)).unwrap();
                        acknowledged.lock().push(block_on(world.kept()));
                    }
                });
            }
            crate::support::eventually("the load runs", || acknowledged.lock().len() > 310 * (round + 1));
            let before = acknowledged.lock().clone();
            backed_up(&world, &copy);
            stop.store(true, Ordering::SeqCst);
            before
        });
        stop.store(false, Ordering::SeqCst);
        let copied = World::open(&embedded(&copy));
        block_on(async {
            for login in &before {
                assert!(copied.store.access(&login.access).await.unwrap().is_some());
                assert!(copied.store.refresh(&login.refresh).await.unwrap().is_some());
            }
            for bundle in copied.store.export(None, 1_000_000).await.unwrap().records {
                let of = |token_use| bundle.family.members.iter().filter(|it| it.token_use == token_use).count();
                assert_eq!(bundle.access.len(), of(TokenUse::Access), "a family is there with all its records");
                assert_eq!(bundle.refresh.len(), of(TokenUse::Refresh));
            }
        });
    }
}

#[test]
fn a_backup_takes_no_directory_that_is_in_use() {
    let (directory, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World::open(&embedded(directory.path()));
    block_on(world.kept());
    let own = world.store.backup(directory.path()).unwrap_err();
    assert!(matches!(own, StoreError::NotFresh { .. }), "{own:?}");
    fs::write(place.path().join("a file"), "of somebody's").unwrap();
    let error = world.store.backup(place.path()).unwrap_err();
    assert!(error.to_string().ends_with("is not empty: name a directory that is empty or not there yet"), "{error}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing was put there");
    let copy = place.path().join("copy");
    fs::create_dir(&copy).unwrap();
    backed_up(&world, &copy);
    assert!(matches!(world.store.backup(&copy), Err(StoreError::NotFresh { .. })));
}

#[test]
fn a_backup_that_is_given_up_leaves_nothing_and_is_no_store() {
    let (directory, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World::open(&embedded(directory.path()));
    block_on(world.kept());
    let progress = Progress::default();
    let backup = world.store.backup(place.path()).unwrap();
    assert!(!place.path().join("format").exists(), "until it is whole it is no store");
    progress.give_up();
    assert!(backup.run(&progress).is_err());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    backed_up(&world, place.path());
}

#[test]
fn a_backup_that_was_not_run_leaves_what_the_next_one_takes() {
    let (directory, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World::open(&embedded(directory.path()));
    block_on(world.kept());
    drop(world.store.backup(place.path()).unwrap());
    let backup = world.store.backup(place.path()).unwrap();
    assert!(matches!(world.store.backup(place.path()), Err(StoreError::Busy { .. })), "one at a time");
    assert_eq!(backup.run(&Progress::default()).unwrap().damaged, 0);
}

#[test]
fn a_store_that_closes_does_not_wait_for_a_backup_to_end() {
    let (directory, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World::open(&embedded(directory.path()));
    block_on(world.kept());
    let backup = world.store.backup(place.path()).unwrap();
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| block_on(world.store.close()));
        crate::support::eventually("it is closed", || block_on(world.store.access(&world.login().access)).is_err());
        assert!(matches!(backup.run(&Progress::default()), Err(StoreError::Closed)));
        closing.join().unwrap();
    });
    drop(World::open(&embedded(directory.path())));
}

#[test]
fn a_damaged_record_is_copied_as_it_is_and_counted() {
    let (directory, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World::open(&embedded(directory.path()));
    let login = block_on(world.kept());
    block_on(world.store.close());
    drop(world);
    spoil_access(directory.path(), &login.access);
    let world = World::open(&embedded(directory.path()));
    assert_eq!(backed_up(&world, place.path()).damaged, 1);
    let copied = World::open(&embedded(place.path()));
    let error = block_on(copied.store.access(&login.access)).unwrap_err();
    assert!(error.to_string().starts_with("the token store is damaged: access record"), "{error}");
    assert!(block_on(copied.store.refresh(&login.refresh)).unwrap().is_some());
}
