//! `passbridge serve` as a process: files that change, signals, and a health check over TLS.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use super::{out, run, talk};
use crate::support::program::bare;
use crate::support::{Connection, OLD_ID, Plan, World, client, eventually};

/// A running program; ended with the test.
struct Served {
    child: Child,
    ops: SocketAddr,
}

impl Served {
    fn begin(world: &World) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_passbridge"));
        bare(command.current_dir(world.path()).arg("serve"));
        command.env("OLD_SECRET", "planted-old-secret").env("NEW_SECRET", "planted-new-secret");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let started = lines.find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).ok()?;
            (line["event"] == "started").then_some(line)
        });
        // Whoever writes a log that nobody reads is stopped by a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let ops = started.expect("it starts")["ops"].as_str().unwrap().parse().unwrap();
        Self { child, ops }
    }

    /// Generation, number of clients, and whether the last load was taken.
    fn table(&self) -> (u64, u64, bool) {
        let reply = Connection::open(self.ops).ask(b"GET /readyz HTTP/1.1\r\nHost: ops\r\n\r\n");
        let mappings = reply.json("mappings");
        let number = |name: &str| mappings[name].as_u64().unwrap();
        (number("generation"), number("clients"), mappings["current"].as_bool().unwrap())
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn two(second: &str) -> String {
    client(OLD_ID, "") + &client(second, &format!("client_id = \"new-{second}\""))
}

#[test]
fn a_changed_file_is_taken_however_it_was_written_and_a_wrong_one_is_not() {
    let world = Plan::new().files();
    let served = Served::begin(&world);
    let path = |name: &str| world.path().join("mappings/clients").join(name);
    assert_eq!(served.table(), (1, 1, true));
    fs::write(path("all.toml"), two("truncated")).unwrap();
    eventually("truncated and written", || served.table() == (2, 2, true));
    fs::write(path(".all.toml.new"), client(OLD_ID, "")).unwrap();
    fs::rename(path(".all.toml.new"), path("all.toml")).unwrap();
    eventually("another renamed over it", || served.table() == (3, 1, true));
    fs::write(path("more.toml"), client("more", "client_id = \"new-more\"")).unwrap();
    eventually("a new file", || served.table() == (4, 2, true));
    fs::write(path("more.toml"), client("more", "stagee = \"live\"")).unwrap();
    eventually("a fault: the last good table stays", || served.table() == (4, 2, false));
    fs::remove_file(path("more.toml")).unwrap();
    eventually("mended", || served.table() == (5, 1, true));
    fs::create_dir(path("..1")).unwrap();
    fs::create_dir(path("..2")).unwrap();
    fs::write(path("..1/all.toml"), two("one")).unwrap();
    fs::write(path("..2/all.toml"), two("two") + &client("three", "client_id = \"three\"")).unwrap();
    symlink("..1", path("..data")).unwrap();
    symlink("..data/all.toml", path("new")).unwrap();
    fs::rename(path("new"), path("all.toml")).unwrap();
    eventually("a mounted ConfigMap", || served.table() == (6, 2, true));
    symlink("..2", path("..new")).unwrap();
    fs::rename(path("..new"), path("..data")).unwrap();
    eventually("its link swapped", || served.table() == (7, 3, true));
}

#[test]
fn the_configuration_and_secret_files_are_watched_too() {
    let mut world =
        Plan::new().without_clients().client(&client(OLD_ID, "client_secret = { file = \"new.secret\" }")).files();
    let secret = world.path().join("mappings/clients/new.secret");
    fs::write(&secret, "planted-before").unwrap();
    let served = Served::begin(&world);
    fs::write(&secret, "planted-after-it").unwrap();
    eventually("the secret", || served.table() == (2, 1, true));
    fs::remove_file(&secret).unwrap();
    eventually("the secret is gone", || served.table() == (2, 1, false));
    fs::write(&secret, "planted-again").unwrap();
    eventually("the secret is back", || served.table() == (3, 1, true));
    world.change("limits", "body", "\"8KiB\"");
    eventually("the configuration", || served.table() == (4, 1, true));
    world.change("limits", "body", "\"nothing\"");
    eventually("a fault in the configuration", || served.table() == (4, 1, false));
    served.signal("HUP");
    world.change("limits", "body", "\"8KiB\"");
    eventually("mended", || served.table().2);
}

#[test]
fn health_asks_over_tls_where_the_ops_listener_speaks_it_and_trusts_no_other_certificate() {
    let made = || rcgen::generate_simple_self_signed(vec!["nowhere.example.org".to_owned()]).unwrap();
    let material = "{ certificate = \"ops.pem\", key = \"ops.key\" }";
    let mut world = Plan::new().set("tls", "ops", material).files();
    let put = |name: &str| {
        let made = made();
        fs::write(world.path().join(format!("{name}.pem")), made.cert.pem()).unwrap();
        fs::write(world.path().join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    };
    put("ops");
    put("other");
    let served = Served::begin(&world);
    world.change("listen", "ops", &format!("\"{}\"", served.ops));
    let asked = run(&world, &["health"], "");
    assert_eq!(asked.status.code(), Some(0), "{}{}", out(&asked), talk(&asked));
    let text = fs::read_to_string(world.config()).unwrap();
    fs::write(world.path().join("other.toml"), text.replace("ops.pem", "other.pem").replace("ops.key", "other.key"))
        .unwrap();
    let refused = run(&world, &["health", "--config", "other.toml"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(talk(&refused).contains("another certificate"), "{}", talk(&refused));
    served.signal("TERM");
    let mut served = served;
    assert!(served.child.wait().unwrap().success(), "a drain ends with status 0");
}
