//! What a family may grow to. That its access UUIDs are bounded too is proved beside `domain::issue`: it takes too many here.

use passbridge::domain::issue::MOST_REFRESH;
use passbridge::domain::opaque::{OpaqueToken, TokenUse};

use super::{login, refreshed, rotation};
use crate::support::block_on;

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
