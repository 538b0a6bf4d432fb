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
    let master = Server::start();
    let [port] = free_ports();
    let (port_text, master_text) = (port.to_string(), master.port.to_string());
    let replica = Server::with(port, &["--port", &port_text, "--replicaof", "127.0.0.1", &master_text]);
    eventually("the replica follows", || {
        String::from_utf8_lossy(&replica.cli(&["info", "replication"]).stdout).contains("master_link_status:up")
    });
    let sentinels: Vec<Server> = (0..3).map(|_| sentinel(master.port)).collect();
    eventually("the Sentinels know each other and the replica", || {
        sentinels.iter().all(|sentinel| {
            let said = String::from_utf8_lossy(&sentinel.cli(&["info", "sentinel"]).stdout).into_owned();
            said.contains("status=ok") && said.contains("slaves=1") && said.contains("sentinels=3")
        })
    });
    (master, replica, sentinels)
}

fn by(sentinels: &[Server]) -> World {
    let ports: Vec<u16> = sentinels.iter().map(|sentinel| sentinel.port).collect();
    let known = settings(RedisMode::Sentinel { master: "bridge".to_owned() }, &ports);
    World::open(&StoreSettings::Redis(known))
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
fn a_sentinel_that_hangs_holds_nobody_up() {
    let (master, _replica, sentinels) = watched();
    let world = by(&sentinels);
    let login = block_on(world.kept());
    sentinels[0].signal("-STOP");
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
