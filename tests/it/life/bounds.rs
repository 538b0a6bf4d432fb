//! What a family may grow to.

use super::{login, refreshed, refreshes, rotation};
use passbridge::domain::issue::{MOST_ACCESS, MOST_REFRESH};
use passbridge::domain::opaque::{OpaqueToken, TokenUse};

#[test]
fn a_client_that_refreshes_all_the_time_does_not_make_the_store_grow() {
    let world = rotation("off").start();
    let (first, mut uuid) = login(&world);
    let mut newest = first.clone();
    let mut all = vec![first];
    for _ in 0..MOST_ACCESS + 50 {
        world.turn(1);
        (newest, uuid) = refreshed(&world, &uuid);
        all.push(newest.clone());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = &world.running().bridge().store;
    let fingerprint = OpaqueToken::parse(&uuid).unwrap().fingerprint(TokenUse::Refresh);
    let record = runtime.block_on(store.refresh(&fingerprint)).unwrap().unwrap();
    let family = runtime.block_on(store.family(record.family)).unwrap().unwrap().value;
    assert_eq!(family.members.len(), MOST_ACCESS + MOST_REFRESH);
    assert!(world.active(&newest));
    assert!(world.active(&all[51]), "the newest {MOST_ACCESS} are good");
    assert!(!world.active(&all[50]), "what was pushed out is forgotten");
    let forgotten = OpaqueToken::parse(&all[50]).unwrap().fingerprint(TokenUse::Access);
    assert!(runtime.block_on(store.access(&forgotten)).unwrap().is_none(), "with its record");
    assert_eq!(refreshes(&world).len(), MOST_ACCESS + 50);
}
