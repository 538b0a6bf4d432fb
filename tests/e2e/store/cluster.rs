//! A cluster of six nodes on loopback: three masters, each with its replica.

use std::process::Command;
use std::sync::OnceLock;

use parking_lot::Mutex;

use passbridge::store::{RedisMode, StoreSettings};

use super::contract_of_redis;
use super::servers::{Server, settings};
use super::world::{World, block_on};
use crate::support::{eventually, for_good, free_ports};

struct Cluster(Vec<Server>);

/// The one that all tests share, one after the other.
fn cluster() -> &'static Mutex<Cluster> {
    static CLUSTER: OnceLock<Mutex<Cluster>> = OnceLock::new();
    CLUSTER.get_or_init(|| Mutex::new(for_good(start)))
}

fn start() -> Cluster {
    let ports: [u16; 6] = free_ports();
    let node = |port: u16| {
        let (port_text, bus) = (port.to_string(), free_ports::<1>()[0].to_string());
        let cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", "3000", "--cluster-port", &bus];
        Server::with(port, &[["--port", &port_text].as_slice(), &cluster].concat())
    };
    let nodes: Vec<Server> = ports.into_iter().map(node).collect();
    let addresses = ports.map(|port| format!("127.0.0.1:{port}"));
    let created = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(addresses)
        .args(["--cluster-replicas", "1", "--cluster-yes"])
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

contract_of_redis!(on_cluster);
