//! A master with a replica, watched by three Sentinels: a failover is survived.

use std::fs;
use std::time::{Duration, Instant};

use passbridge::store::{Password, RedisMode, RedisSettings, StoreSettings, TokenStore, Wait};
use secrecy::SecretString;

use super::servers::{Server, settings};
use super::world::{ManualClock, Seeded, World, block_on};
use crate::support::{eventually, free_ports, place};

fn sentinel(master: u16) -> Server {
    sentinel_with(master, "")
}

fn sentinel_with(master: u16, more: &str) -> Server {
    let [port] = free_ports();
    let place = place();
    let file = place.path().join("sentinel.conf");
    let text = format!(
        "port {port}\nsentinel monitor bridge 127.0.0.1 {master} 2\nsentinel down-after-milliseconds bridge 500\nsentinel failover-timeout bridge 2000\n{more}"
    );
    fs::write(&file, text).unwrap();
    Server::within(place, port, &[&file.display().to_string(), "--sentinel"])
}

#[test]
fn a_failover_is_survived_and_what_a_replica_confirmed_is_there() {
    let (mut master, _replica, sentinels) = watched();
    let ports: Vec<u16> = sentinels.iter().map(|sentinel| sentinel.port).collect();
    let mut known = settings(RedisMode::Sentinel { master: "bridge".to_owned() }, &ports);
    known.wait = Some(Wait { replicas: 1, timeout: Duration::from_secs(2) });
    let world = World::open(&StoreSettings::Redis(known.clone()));
    let before = block_on(world.kept());
    master.kill();
    let alone = RedisMode::Sentinel { master: "bridge".to_owned() };
    let unwaiting = open_eventually(&StoreSettings::Redis(settings(alone, &ports)));
    eventually("the replica has become the master", || block_on(unwaiting.store.put(unwaiting.login().new)).is_ok());
    let found = block_on(world.store.access(&before.access)).unwrap();
    assert_eq!(found, Some(before.new.access.1.clone()), "what a replica had confirmed outlives its master");
    let put = block_on(world.store.put(world.login().new));
    assert!(put.is_err(), "no replica is left to confirm, so nothing is acknowledged");
}

/// A master, its replica and the three that watch them.
fn watched() -> (Server, Server, Vec<Server>) {
    let (master, [replica], sentinels) = watched_with();
    (master, replica, sentinels)
}

/// The same with so many replicas.
fn watched_with<const N: usize>() -> (Server, [Server; N], Vec<Server>) {
    let master = Server::start();
    let replicas = free_ports::<N>().map(|port| {
        let (port_text, master_text) = (port.to_string(), master.port.to_string());
        let replica = Server::with(port, &["--port", &port_text, "--replicaof", "127.0.0.1", &master_text]);
        eventually("the replica follows", || {
            String::from_utf8_lossy(&replica.cli(&["info", "replication"]).stdout).contains("master_link_status:up")
        });
        replica
    });
    let sentinels: Vec<Server> = (0..3).map(|_| sentinel(master.port)).collect();
    let all_replicas = format!("slaves={N},");
    eventually("the Sentinels know each other and the replicas", || {
        sentinels.iter().all(|sentinel| {
            let said = String::from_utf8_lossy(&sentinel.cli(&["info", "sentinel"]).stdout).into_owned();
            said.contains("status=ok") && said.contains(&all_replicas) && said.contains("sentinels=3")
        })
    });
    (master, replicas, sentinels)
}

fn known_by(sentinels: &[Server]) -> RedisSettings {
    let ports: Vec<u16> = sentinels.iter().map(|sentinel| sentinel.port).collect();
    settings(RedisMode::Sentinel { master: "bridge".to_owned() }, &ports)
}

fn by(sentinels: &[Server]) -> World {
    World::open(&StoreSettings::Redis(known_by(sentinels)))
}

/// The same, where one replica must have what is written.
fn by_waiting(sentinels: &[Server], timeout: Duration) -> World {
    let wait = Some(Wait { replicas: 1, timeout });
    World::open(&StoreSettings::Redis(RedisSettings { wait, ..known_by(sentinels) }))
}

#[test]
fn a_planned_failover_is_followed_before_the_former_master_throws_away_what_it_takes() {
    let (_master, replica, sentinels) = watched();
    let world = by(&sentinels);
    block_on(world.kept());
    assert!(sentinels[0].cli(&["SENTINEL", "FAILOVER", "bridge"]).status.success());
    eventually("another master is named", || {
        let said = sentinels[0].cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "bridge"]).stdout;
        String::from_utf8_lossy(&said).contains(&replica.port.to_string())
    });
    let named = Instant::now();
    eventually("a login is kept by the new master", || {
        let login = world.login();
        let kept = block_on(world.store.put(login.new.clone())).is_ok();
        kept && replica.cli(&["EXISTS", &format!("pb:a:{}", login.access)]).stdout == b"1\n"
    });
    // The former one is not told for some eight seconds more.
    assert!(named.elapsed() < Duration::from_secs(4), "{:?}", named.elapsed());
}

#[test]
fn what_was_acknowledged_around_a_planned_failover_is_there_though_the_former_master_had_a_replica_left() {
    let (_master, replicas, sentinels) = watched_with::<2>();
    let world = by_waiting(&sentinels, Duration::from_millis(200));
    let has = |server: &Server, logins: &[String]| {
        let said = server.cli(&[&["EXISTS"], &*logins.iter().map(String::as_str).collect::<Vec<_>>()].concat()).stdout;
        String::from_utf8(said).unwrap().trim().parse::<usize>().unwrap()
    };
    let named = || {
        let said = sentinels[0].cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "bridge"]).stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        replicas.iter().find(|replica| said.contains(&replica.port.to_string()))
    };
    let put = || {
        let login = world.login();
        block_on(world.store.put(login.new)).is_ok().then(|| format!("pb:a:{}", login.access))
    };
    let mut kept = Vec::new();
    let more = |kept: &mut Vec<String>| kept.extend((0..20).filter_map(|_| put()));
    more(&mut kept);
    assert!(sentinels[0].cli(&["SENTINEL", "FAILOVER", "bridge"]).status.success());
    eventually("the new master keeps logins", || {
        more(&mut kept);
        named().is_some_and(|master| put().is_some_and(|login| has(master, &[login]) == 1))
    });
    let master = named().unwrap();
    let lost: usize = kept.chunks(1_000).map(|some| some.len() - has(master, some)).sum();
    assert_eq!(lost, 0, "of {} that were acknowledged", kept.len());
}

#[test]
fn a_sentinel_that_hangs_holds_nobody_up() {
    let (master, _replica, sentinels) = watched();
    let world = by(&sentinels);
    let waiting = by_waiting(&sentinels, Duration::from_secs(2));
    let login = block_on(world.kept());
    block_on(waiting.kept());
    sentinels[0].signal("-STOP");
    block_on(waiting.kept());
    let begin = Instant::now();
    for _ in 0..10 {
        block_on(waiting.kept());
    }
    assert!(begin.elapsed() < Duration::from_secs(4), "it is asked again by each: {:?}", begin.elapsed());
    assert!(master.cli(&["CLIENT", "KILL", "TYPE", "normal"]).status.success());
    for most in [Duration::from_secs(4), Duration::from_secs(1)] {
        let begin = Instant::now();
        let reads = (0..30).map(|_| world.store.access(&login.access));
        for read in block_on(futures_util::future::join_all(reads)) {
            assert!(read.unwrap().is_some());
        }
        assert!(begin.elapsed() < most, "{:?}", begin.elapsed());
    }
    sentinels[0].signal("-CONT");
}

#[test]
fn sentinels_that_ask_for_a_password_of_their_own_are_told_it() {
    let master = Server::start();
    master.cli(&["CONFIG", "SET", "requirepass", "the-masters"]);
    let sentinel = sentinel_with(master.port, "sentinel auth-pass bridge the-masters\nrequirepass the-sentinels\n");
    let secret = |text: &str| Some(Password(SecretString::from(text)));
    let known = settings(RedisMode::Sentinel { master: "bridge".to_owned() }, &[sentinel.port]);
    let known = RedisSettings { password: secret("the-masters"), ..known };
    let unknown = StoreSettings::Redis(known.clone());
    let refused = TokenStore::open(&unknown, ManualClock::new()).unwrap_err();
    assert!(unknown.not_opened(&refused).contains("`store.sentinel_password`"), "{refused:?}");
    let world =
        open_eventually(&StoreSettings::Redis(RedisSettings { sentinel_password: secret("the-sentinels"), ..known }));
    block_on(world.kept());
}

#[test]
fn the_database_that_the_urls_name_is_the_masters() {
    let master = Server::start();
    let sentinel = sentinel(master.port);
    let mut known = settings(RedisMode::Sentinel { master: "bridge".to_owned() }, &[sentinel.port]);
    known.urls = vec![format!("redis://127.0.0.1:{}/2", sentinel.port)];
    let world = open_eventually(&StoreSettings::Redis(known));
    block_on(world.kept());
    let size = |database: &str| {
        let said = master.cli(&["-n", database, "dbsize"]).stdout;
        String::from_utf8(said).unwrap().trim().parse::<usize>().unwrap()
    };
    assert!(size("2") > 0, "{} in it, {} in the first", size("2"), size("0"));
    assert_eq!(size("0"), 0);
}

/// Opens it as soon as it can be opened.
fn open_eventually(settings: &StoreSettings) -> World {
    let clock = ManualClock::new();
    let mut opened = None;
    eventually("the store opens", || {
        opened = TokenStore::open(settings, clock.clone()).ok();
        opened.is_some()
    });
    World { store: opened.unwrap(), clock: clock.clone(), chance: Seeded::new(2) }
}
