//! How often Redis is asked for each thing: what docs/OPERATIONS.md and the first page of `store::redis` say.

use std::time::Duration;

use passbridge::domain::family::{Ending, Family};
use passbridge::store::{Change, Find, PendingRevocation, RedisMode, StoreSettings, Version};

use super::contract::rotated;
use super::line::Line;
use super::servers::{Server, settings};
use super::world::{HOUR, World, block_on};
use crate::support::{Bridge, Keycloak, Old};

const TTL: Duration = Duration::from_secs(10);

#[test]
fn each_operation_takes_as_many_round_trips_as_its_table_says() {
    let server = Server::start();
    let line = Line::to(server.port);
    let world = World::open(&StoreSettings::Redis(settings(RedisMode::Single, &[line.port])));
    let store = &world.store;
    block_on(async {
        let counted = |what: &str, round_trips: usize| assert_eq!(line.round_trips(), round_trips, "{what}");
        world.kept().await; // and the connection is there
        line.round_trips();
        let login = world.kept().await;
        counted("put", 2);
        store.access(&login.access).await.unwrap().unwrap();
        counted("access", 1);
        store.refresh(&login.refresh).await.unwrap().unwrap();
        counted("refresh", 1);
        store.session(&login.session()).await.unwrap().unwrap();
        counted("session", 1);
        store.family(login.id()).await.unwrap().unwrap();
        counted("family", 1);
        let lease = store.lease(login.id(), TTL).await.unwrap().unwrap();
        counted("lease", 1);
        assert!(store.renew(lease, TTL).await.unwrap());
        counted("renew", 1);
        let change = rotated(&world, &login);
        let family = change.family.clone();
        store.commit(change).await.unwrap();
        counted("commit with records", 3);
        let state = Family { generation: 2, ..family.clone() };
        store.commit(Change::of(Version(2), state.clone())).await.unwrap();
        counted("commit of the state alone", 2);
        let mut shorter = state;
        let forgotten = shorter.members.remove(0);
        store.commit(Change { removals: vec![forgotten], ..Change::of(Version(3), shorter) }).await.unwrap();
        counted("commit that forgets", 3);
        store.release(lease).await.unwrap();
        counted("release", 1);
        store.end(login.id(), Ending::Revoked).await.unwrap().unwrap();
        counted("end", 4);
        let sealed = passbridge::domain::seal::Sealed::from_bytes(vec![1; 40]);
        let until = world.now().plus(HOUR);
        store
            .outbox_put(&PendingRevocation { family: login.id(), client: "crm".to_owned(), sealed, until })
            .await
            .unwrap();
        counted("outbox", 1);
    });
}

#[test]
fn a_search_reads_many_families_by_one_round_trip() {
    let server = Server::start();
    let line = Line::to(server.port);
    let world = World::open(&StoreSettings::Redis(settings(RedisMode::Single, &[line.port])));
    block_on(async {
        for _ in 0..1_000 {
            world.kept().await;
        }
        line.round_trips();
        assert_eq!(world.store.find(Find::Client("crm".to_owned()), 2_000).await.unwrap().records.len(), 1_000);
        let round_trips = line.round_trips();
        assert!(round_trips <= 2 * 256, "one for each list and one for its families: {round_trips}");
    });
}

#[test]
fn a_swap_is_one_get_and_a_refresh_touches_what_the_manual_says() {
    let (server, keycloak) = (Server::start(), Keycloak::rotating());
    let line = Line::to(server.port);
    let store = format!("[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]", line.port);
    let bridge = Bridge::configured(&keycloak.url(), &[Old::of("test_api")], "rotation = \"on\"", &store);
    let (access, refresh) = bridge.pair("test_api", "90511");
    line.commands();
    assert!(bridge.active("test_api", &access));
    assert_eq!(line.commands(), ["GET"]);
    assert_eq!(bridge.refresh("test_api", &refresh).status, 200, "{}", bridge.log());
    // The former pair stays as long as the login: side by side with the records of the new one.
    let (asking, kept) = (["HMGET", "EVAL"], ["HMGET", "EVAL", "EVAL", "SET", "ZADD", "PEXPIRE", "PEXPIRE", "EVAL"]);
    let decided = ["GET", "HMGET", "EVAL", "HMGET"];
    let told = ["EVAL", "HMGET"];
    let expected = [decided.as_slice(), &asking, &kept, &told].concat();
    assert_eq!(line.commands().into_iter().filter(|command| command != "PING").collect::<Vec<_>>(), expected);
}
