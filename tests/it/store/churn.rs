//! The disk of the embedded store stays within bounds, whatever is written and dropped.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use passbridge::domain::seal::Sealed;
use passbridge::domain::time::Timestamp;
use passbridge::store::TokenStore;

use super::world::{HOUR, Login, World, block_on, embedded};

/// Large tokens make a large store of few logins.
const RENEWAL: usize = 32 << 10;
const LOGINS: usize = 4_000;
const ALL: u64 = (LOGINS * RENEWAL) as u64;

/// What a tree may take in any case, and a little for the tree of access records.
const BESIDE: u64 = (64 + 12) << 20;

fn large(world: &World, until: Timestamp) -> Login {
    let mut login = world.login();
    let new = &mut login.new;
    new.family.renewal = Some(Sealed::from_bytes(vec![8; RENEWAL]));
    new.access.1.until = until;
    new.refresh.as_mut().unwrap().1.until = until;
    for member in &mut new.family.members {
        member.until = until;
    }
    login
}

/// So many at once; every eighth lives for a day, the others for an hour.
async fn written(world: &World, count: usize) -> Vec<Login> {
    let (soon, late) = (world.now().plus(HOUR), world.now().plus(24 * HOUR));
    let logins: Vec<Login> = (0..count).map(|at| large(world, if at % 8 == 0 { late } else { soon })).collect();
    for crowd in logins.chunks(200) {
        for put in join_all(crowd.iter().map(|login| world.store.put(login.new.clone()))).await {
            put.unwrap();
        }
    }
    logins.into_iter().step_by(8).collect()
}

async fn swept(world: &World) {
    while world.store.sweep(world.now()).await.unwrap().more {}
}

/// What the trees take: journals are bounded by themselves.
fn disk(directory: &Path) -> u64 {
    fn under(directory: &Path) -> u64 {
        let of = |entry: std::fs::DirEntry| {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() { under(&entry.path()) } else { metadata.len() }
        };
        std::fs::read_dir(directory).unwrap().map(|entry| of(entry.unwrap())).sum()
    }
    under(&directory.join("engine/keyspaces"))
}

async fn are_there(world: &World, logins: &[Login]) {
    for login in logins {
        assert_eq!(world.store.access(&login.access).await.unwrap(), Some(login.new.access.1.clone()));
        assert_eq!(world.store.family(login.id()).await.unwrap().unwrap().value, login.new.family);
    }
}

#[test]
fn what_was_dropped_is_given_back_even_if_nothing_more_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let settings = embedded(directory.path());
    let World { store, clock, chance } = World::open(&settings);
    let world = World { store, clock: clock.clone(), chance };
    let live = block_on(written(&world, LOGINS));
    drop(world.store);
    let full = disk(directory.path());
    assert!(full > ALL, "{full}");

    let world = World { store: TokenStore::open(&settings, clock).unwrap(), clock: world.clock, chance: world.chance };
    world.clock.pass(2 * HOUR);
    block_on(async {
        swept(&world).await;
        let (left, bound) = (disk(directory.path()), 2 * ALL / 8 + BESIDE);
        assert!(
            left < bound,
            "{} MB of {} MB are left; it should be less than {}",
            left >> 20,
            full >> 20,
            bound >> 20
        );
        are_there(&world, &live).await;

        let merged = others(directory.path());
        world.clock.pass(Duration::from_mins(1));
        swept(&world).await;
        assert_eq!(others(directory.path()), merged, "nothing is merged again for nothing");
    });
}

/// The names of one tree's sorted files.
fn others(directory: &Path) -> Vec<std::ffi::OsString> {
    let tables = std::fs::read_dir(directory.join("engine/keyspaces/2/tables")).unwrap();
    let mut names: Vec<_> = tables.map(|table| table.unwrap().file_name()).collect();
    names.sort();
    names
}
