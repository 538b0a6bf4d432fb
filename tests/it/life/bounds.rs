//! What a family may grow to. That its access UUIDs are bounded too is proved beside `domain::issue`: it takes too many here.

use passbridge::domain::family::AccessFate;
use passbridge::domain::issue::{MOST_ENDED, MOST_REFRESH};
use passbridge::domain::opaque::{OpaqueToken, TokenUse};

use super::{login, refreshed, rotation};
use crate::support::{OLD_ID, block_on, client};

#[test]
fn a_client_that_refreshes_all_the_time_does_not_make_its_family_grow() {
    let world = rotation("off").start();
    let store = &world.running().bridge().store;
    let (mut access, mut used) = (Vec::new(), Vec::new());
    let (first, mut uuid) = login(&world);
    access.push(first);
    for _ in 0..MOST_REFRESH + 20 {
        world.turn(1);
        let (newest, next) = refreshed(&world, &uuid);
        access.push(newest);
        used.push(std::mem::replace(&mut uuid, next));
    }
    let record = |uuid: &String| {
        let fingerprint = OpaqueToken::parse(uuid).unwrap().fingerprint(TokenUse::Refresh);
        block_on(store.refresh(&fingerprint)).unwrap()
    };
    let id = record(&uuid).unwrap().family;
    let family = block_on(store.family(id)).unwrap().unwrap().value;
    assert_eq!(family.members.len(), access.len() + MOST_REFRESH);
    assert!(access.iter().all(|access| world.active(access)), "each to its promised end");
    assert_eq!(used.iter().filter_map(record).count(), MOST_REFRESH - 1, "the forgotten ones went with their records");
    super::refused(&super::refresh(&world, &used[0]));
    super::refused(&super::refresh(&world, &used[used.len() - 2]));
    super::noted(&world, "refresh_reuse", 1.0);
}

#[test]
fn of_those_past_their_end_the_newest_are_remembered_without_their_jwt() {
    let plan = rotation("off").without_clients().client(&client(OLD_ID, "access_token_lifetime = \"10m\""));
    let world = plan.start();
    let store = &world.running().bridge().store;
    let (first, mut uuid) = login(&world);
    let mut access = vec![first];
    for _ in 0..MOST_ENDED + 4 {
        world.turn(900);
        let (newest, next) = refreshed(&world, &uuid);
        access.push(newest);
        uuid = next;
    }
    let newest = access.pop().unwrap();
    assert!(world.active(&newest));
    let record = |uuid: &String| {
        let fingerprint = OpaqueToken::parse(uuid).unwrap().fingerprint(TokenUse::Access);
        block_on(store.access(&fingerprint)).unwrap()
    };
    let (forgotten, left) = access.split_at(access.len() - MOST_ENDED);
    assert!(forgotten.iter().all(|access| record(access).is_none()));
    let is_small =
        |access| matches!(record(access).unwrap().fate, AccessFate::Live { jwt, .. } if jwt.as_bytes().is_empty());
    assert!(left.iter().all(is_small));
    assert!(left.iter().all(|access| !world.active(access)));
}
