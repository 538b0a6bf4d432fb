//! The embedded store keeps the contract, and what it keeps outlives it.

use futures_util::FutureExt;
use passbridge::domain::family::AccessFate;
use passbridge::domain::family::Ending;
use passbridge::domain::seal::{Binding, Sealed};
use passbridge::domain::time::Clock;
use passbridge::store::TokenStore;
use secrecy::ExposeSecret;

use super::contract::contract;
use super::world::{BEGIN, HOUR, Login, ManualClock, REALM_REFRESH, World, block_on, embedded, jwt_of};

fn on_embedded(test: impl AsyncFn(&World)) {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(&embedded(directory.path()));
    block_on(test(&world));
}

contract!(on_embedded);

fn reopened(world: World, directory: &std::path::Path) -> World {
    let World { store, clock, chance } = world;
    drop(store);
    let store = TokenStore::open(&embedded(directory), clock.clone()).unwrap();
    World { store, clock, chance }
}

#[test]
fn what_was_kept_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(&embedded(directory.path()));
    let (alive, ended) = block_on(async { (world.kept().await, world.kept().await) });
    block_on(world.store.end(ended.id(), Ending::Revoked)).unwrap();
    let world = reopened(world, directory.path());
    block_on(async {
        assert_eq!(world.store.access(&alive.access).await.unwrap(), Some(alive.new.access.1.clone()));
        assert_eq!(world.store.session(&alive.session()).await.unwrap(), Some(alive.id()));
        let tombstone = world.store.access(&ended.access).await.unwrap().unwrap();
        assert_eq!(tombstone.fate, AccessFate::Over(Ending::Revoked));
    });
}

#[test]
fn a_store_that_is_opened_while_the_clock_is_ahead_drops_no_login() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(&embedded(directory.path()));
    let login = block_on(world.kept());
    world.clock.set(BEGIN.plus(24 * HOUR));
    let world = reopened(world, directory.path());
    assert!(world.store.believed(world.now()) < BEGIN, "nor is the realm left untold of what ended");
    block_on(world.store.sweep(world.now())).unwrap();
    world.clock.set(BEGIN);
    let world = reopened(world, directory.path());
    assert_eq!(block_on(world.store.access(&login.access)).unwrap(), Some(login.new.access.1));
}

#[test]
fn fences_rise_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(&embedded(directory.path()));
    let id = block_on(world.kept()).id();
    let before = block_on(world.store.lease(id, HOUR)).unwrap().unwrap();
    let world = reopened(world, directory.path());
    let after = block_on(world.store.lease(id, HOUR)).unwrap().unwrap();
    assert!(after.fence > before.fence);
}

#[test]
fn workers_of_several_runtimes_share_one_store() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(&embedded(directory.path()));
    let logins: Vec<Vec<Login>> = (0..4).map(|_| (0..25).map(|_| world.login()).collect()).collect();
    std::thread::scope(|scope| {
        for part in &logins {
            let store = world.store.clone();
            scope.spawn(move || {
                block_on(futures_util::future::join_all(part.iter().map(|login| store.put(login.new.clone()))))
            });
        }
    });
    for login in logins.iter().flatten() {
        assert!(block_on(world.store.access(&login.access)).unwrap().is_some());
    }
    let statistics = world.store.statistics();
    assert!(statistics.writable && statistics.writes == 100 && statistics.failed_writes == 0);
    assert!(statistics.groups < 100, "writes that wait together become durable together");
}

#[test]
fn an_answer_that_nobody_waits_for_is_written_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(&embedded(directory.path()));
    let login = block_on(async {
        // The client hangs up: the future is dropped once it has handed its write over. A disk may be faster than that; then it was no such client.
        let login = loop {
            let login = world.login();
            if world.store.put(login.new.clone()).now_or_never().is_none() {
                break login;
            }
        };
        world.kept().await;
        login
    });
    assert!(block_on(world.store.access(&login.access)).unwrap().is_some());
}

#[test]
fn a_copy_of_the_directory_opens_no_jwt() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(&embedded(directory.path()));
    let login = block_on(world.kept());
    block_on(world.store.close());
    let files = files_of(directory.path());
    for secret in [jwt_of(login.id()).as_bytes(), REALM_REFRESH.as_bytes(), b"eyJhbGci", b"RS256"] {
        for (path, bytes) in &files {
            assert!(!contains(bytes, secret), "{} holds what it must not", path.display());
        }
    }
    let AccessFate::Live { jwt, .. } = &login.new.access.1.fate else { panic!("a login is live") };
    assert_eq!(token_in(&login, jwt, "access-jwt"), jwt_of(login.id()));
}

/// A token of the realm that is kept of a login.
pub fn token_in(login: &Login, sealed: &Sealed, purpose: &'static str) -> String {
    let opened = login.key.open_token(sealed, Binding { purpose, owner: &login.id().0 });
    opened.unwrap().expose_secret().to_owned()
}

fn files_of(directory: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_of(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            files.push((path, bytes));
        }
    }
    files
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn a_clock_that_steps_back_loses_nothing_and_sweeps_later() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(&embedded(directory.path()));
    world.clock.pass(4 * HOUR);
    block_on(world.store.sweep(world.now())).unwrap();
    world.clock.set(BEGIN);
    let login = block_on(world.kept());
    block_on(world.store.sweep(world.now())).unwrap();
    assert!(block_on(world.store.access(&login.access)).unwrap().is_some());
    world.clock.pass(3 * HOUR);
    block_on(world.store.sweep(world.now())).unwrap();
    assert!(
        block_on(world.store.access(&login.access)).unwrap().is_none(),
        "though its end lies before a former sweep"
    );
}

#[test]
fn a_lease_does_not_hear_the_time_of_day() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(&embedded(directory.path()));
    let id = block_on(world.kept()).id();
    block_on(world.store.lease(id, HOUR)).unwrap().unwrap();
    world.clock.set(BEGIN.plus(2 * HOUR));
    assert_eq!(block_on(world.store.lease(id, HOUR)).unwrap(), None);
}

#[test]
fn the_clock_of_these_tests_runs_as_it_is_turned() {
    let clock = ManualClock::new();
    clock.pass(HOUR);
    clock.set(BEGIN);
    assert_eq!((clock.now(), clock.monotonic()), (BEGIN, HOUR));
}

#[test]
fn of_more_records_than_the_cache_has_room_for_each_is_read_as_it_was_written_last() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(&embedded(directory.path()));
    block_on(async {
        let mut logins: Vec<Login> = Vec::new();
        for number in 0..800_u16 {
            let mut login = world.login();
            login.new.access.1.scope = format!("{number} {}", "s".repeat(16 << 10)).into();
            logins.push(login);
        }
        let put = |login: &Login| world.store.put(login.new.clone());
        for put in futures_util::future::join_all(logins.iter().map(put)).await {
            put.unwrap();
        }
        for (number, login) in logins.iter_mut().enumerate() {
            match number % 3 {
                0 => drop(world.store.end(login.id(), Ending::Revoked).await.unwrap()),
                1 => {
                    login.new.access.1.scope = format!("{number} again").into();
                    put(login).await.unwrap();
                }
                _ => {}
            }
        }
        for (number, login) in logins.iter().enumerate() {
            let found = world.store.access(&login.access).await.unwrap().unwrap();
            match number % 3 {
                0 => assert_eq!(found.fate, AccessFate::Over(Ending::Revoked)),
                _ => assert_eq!(found, login.new.access.1.clone()),
            }
        }
        assert!(world.store.statistics().cache_bytes <= 8 << 20);
    });
}
