//! A login.

use crate::support::World;

#[test]
fn a_legacy_client_gets_its_pair_of_uuids() {
    let world = World::new();
    let reply = world.login();
    assert_eq!(reply.text("token_type"), "Bearer");
    assert!(world.active(&reply.text("access_token")));
}
