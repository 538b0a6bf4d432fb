//! A cluster of six nodes on loopback: three masters, each with its replica.

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use passbridge::domain::family::{Ending, Family, FamilyState};
use passbridge::store::{Change, RedisMode, StoreSettings, TokenStore, Version};

use super::contract::contract;
use super::line::{COMMIT, Cut, Line};
use super::servers::{Server, settings};
use super::world::{Login, ManualClock, World, block_on};
use crate::support::{eventually, for_good, free_ports};

struct Cluster(Vec<Server>);

/// The one that all tests share, one after the other.
fn cluster() -> &'static Mutex<Cluster> {
    static CLUSTER: OnceLock<Mutex<Cluster>> = OnceLock::new();
    CLUSTER.get_or_init(|| Mutex::new(for_good(start)))
}

fn start() -> Cluster {
    made(&free_ports::<6>(), "1")
}

/// Each master with so many replicas. What is left of it goes on where a part is gone.
fn made(ports: &[u16], replicas: &str) -> Cluster {
    let node = |port: u16| {
        let (port_text, bus) = (port.to_string(), free_ports::<1>()[0].to_string());
        let cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", "3000", "--cluster-port", &bus];
        let cluster = [cluster.as_slice(), &["--cluster-require-full-coverage", "no"]].concat();
        Server::with(port, &[["--port", &port_text].as_slice(), &cluster].concat())
    };
    let nodes: Vec<Server> = ports.iter().copied().map(node).collect();
    let addresses = ports.iter().map(|port| format!("127.0.0.1:{port}"));
    let created = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(addresses)
        .args(["--cluster-replicas", replicas, "--cluster-yes"])
        .output()
        .expect("redis-cli runs");
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
    for node in &nodes {
        eventually("the cluster is whole", || {
            String::from_utf8_lossy(&node.cli(&["cluster", "info"]).stdout).contains("cluster_state:ok")
        });
    }
    Cluster(nodes)
}

fn on_cluster(test: impl AsyncFn(&World)) {
    let cluster = cluster().lock();
    for node in &cluster.0 {
        // Replicas refuse; their masters do it for them.
        node.cli(&["FLUSHALL"]);
    }
    let ports: Vec<u16> = cluster.0.iter().map(|node| node.port).collect();
    let world = World::open(&StoreSettings::Redis(settings(RedisMode::Cluster, &ports)));
    block_on(test(&world));
}

contract!(on_cluster, any clock);

/// A cluster of one node, which tells its clients to come by a line.
fn by_a_line() -> (Server, Line, World) {
    let [port, bus] = free_ports();
    let line = Line::to(port);
    let (port_text, bus, announced) = (port.to_string(), bus.to_string(), line.port.to_string());
    let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-announce-port", &announced];
    let node = Server::with(port, &[["--port", &port_text].as_slice(), &cluster].concat());
    assert!(node.cli(&["cluster", "addslotsrange", "0", "16383"]).status.success());
    eventually("the node has every slot", || {
        String::from_utf8_lossy(&node.cli(&["cluster", "info"]).stdout).contains("cluster_state:ok")
    });
    let world = World::open(&StoreSettings::Redis(settings(RedisMode::Cluster, &[line.port])));
    (node, line, world)
}

#[test]
fn a_change_is_ones_own_though_the_connection_broke_before_its_answer() {
    let (_node, line, world) = by_a_line();
    block_on(async {
        let login = world.kept().await;
        let state = FamilyState::Asking { fence: 1, since: world.now() };
        let asking = Family { state, ..login.new.family.clone() };
        line.cut_after(COMMIT, Cut::Once);
        world.store.commit(Change::of(Version(1), asking.clone())).await.unwrap();
        assert!(line.was_cut());
        let kept = world.store.family(login.id()).await.unwrap().unwrap();
        assert_eq!((&kept.value, kept.version), (&asking, Version(2)));
        line.cut_after(COMMIT, Cut::Once);
        assert_eq!(world.store.end(login.id(), Ending::Revoked).await.unwrap(), Some(asking), "it lived until then");
        assert!(line.was_cut());
        let over = world.store.end(login.id(), Ending::Revoked).await.unwrap().unwrap();
        assert_eq!(over.state, FamilyState::Over(Ending::Revoked));
    });
}

#[test]
fn a_node_that_hangs_holds_up_nobody_whose_record_is_on_another() {
    let cluster = made(&free_ports::<3>(), "0");
    let ports: Vec<u16> = cluster.0.iter().map(|node| node.port).collect();
    let world = World::open(&StoreSettings::Redis(settings(RedisMode::Cluster, &ports)));
    let hanging = &cluster.0[0];
    let is_there = |login: &Login| hanging.cli(&["EXISTS", &format!("pb:a:{}", login.access)]).stdout == b"1\n";
    let logins: Vec<Login> = (0..40).map(|_| block_on(world.kept())).collect();
    let (there, elsewhere): (Vec<&Login>, Vec<&Login>) = logins.iter().partition(|login| is_there(login));
    hanging.signal("-STOP");
    let over = AtomicBool::new(false);
    let (slowest, refused) = std::thread::scope(|scope| {
        for login in there.iter().take(6) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    assert!(block_on(world.store.access(&login.access)).is_err(), "nobody has it but who hangs");
                    let waited = asked.elapsed();
                    assert!(waited < Duration::from_secs(8), "5 s, and not twice: {waited:?}");
                }
            });
        }
        let (begin, mut slowest, mut refused) = (Instant::now(), Duration::ZERO, 0);
        while begin.elapsed() < Duration::from_secs(12) {
            for login in &elsewhere {
                let asked = Instant::now();
                refused += usize::from(!matches!(block_on(world.store.access(&login.access)), Ok(Some(_))));
                slowest = slowest.max(asked.elapsed());
            }
        }
        over.store(true, Ordering::Relaxed);
        (slowest, refused)
    });
    hanging.signal("-CONT");
    assert!(slowest < Duration::from_secs(1) && refused == 0, "{slowest:?}, {refused} refused");
}

#[test]
fn a_node_of_a_cluster_that_is_taken_for_a_server_of_its_own_is_told_at_the_start() {
    let [port, bus] = free_ports();
    let (port_text, bus) = (port.to_string(), bus.to_string());
    let node = Server::with(port, &["--port", &port_text, "--cluster-enabled", "yes", "--cluster-port", &bus]);
    assert!(node.cli(&["cluster", "addslotsrange", "0", "16383"]).status.success());
    let alone = StoreSettings::Redis(settings(RedisMode::Single, &[port]));
    let refused = TokenStore::open(&alone, ManualClock::new()).unwrap_err();
    assert!(alone.not_opened(&refused).contains("`store.mode = \"cluster\"`"), "{refused:?}");
}
