//! Bad days of a shared store: gone, slow, restarted empty, an instance that was paused.

use std::time::{Duration, Instant};

use passbridge::domain::family::{AccessFate, AccessRecord, Ending, Family, FamilyState};
use passbridge::domain::refusal::sentence;
use passbridge::domain::seal::Sealed;
use passbridge::store::{
    Change, CommitError, Loss, Measures, Memo, PendingRevocation, RedisMode, RedisSettings, StoreError, StoreSettings,
    TokenStore, Unseen, Version, Wait, losses,
};
use passbridge::telemetry::Metrics;

use super::line::{Cut, KEEP, LEASE, Line, RELEASE};
use super::servers::{Server, settings, single};
use super::world::{HOUR, World, block_on};
use crate::support::{Bridge, Keycloak, Old, eventually, free_ports, send};

#[test]
fn a_redis_that_is_gone_is_told_at_once_and_one_that_is_back_is_used() {
    let mut server = Server::start();
    let world = World::open(&single(&server));
    let login = block_on(world.kept());
    server.kill();
    assert!(matches!(block_on(world.store.access(&login.access)), Err(StoreError::CannotRead { .. })));
    assert!(matches!(block_on(world.store.put(world.login().new)), Err(StoreError::CannotWrite { .. })));
    assert!(!world.store.statistics().writable);
    server.restart_empty();
    assert_eq!(
        block_on(world.store.access(&login.access)).unwrap(),
        None,
        "it came back empty: nobody's token is known"
    );
    let next = block_on(world.kept());
    assert!(block_on(world.store.access(&next.access)).unwrap().is_some());
    assert!(world.store.statistics().writable);
}

#[test]
fn a_redis_that_hangs_is_an_error_within_bounds_and_never_a_hang() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let login = block_on(world.kept());
    server.signal("-STOP");
    let begin = Instant::now();
    assert!(block_on(world.store.put(world.login().new)).is_err());
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    server.signal("-CONT");
    eventually("it answers again", || block_on(world.store.access(&login.access)).is_ok_and(|found| found.is_some()));
}

#[test]
fn a_change_that_has_happened_ends_its_uuids_though_the_connection_breaks_behind_it() {
    let server = Server::start();
    let line = Line::to(server.port);
    let world = World::open(&StoreSettings::Redis(settings(RedisMode::Single, &[line.port])));
    let login = block_on(world.kept());
    let replaced = AccessRecord { fate: AccessFate::Over(Ending::Replaced), ..login.new.access.1.clone() };
    let family = Family { generation: 1, ..login.new.family.clone() };
    let change = Change { access: vec![(login.access, replaced.clone())], ..Change::of(Version(1), family) };
    line.cut_after(KEEP, Cut::Once);
    block_on(world.store.commit(change)).unwrap();
    assert!(line.was_cut());
    assert_eq!(block_on(world.store.access(&login.access)).unwrap(), Some(replaced));
}

#[test]
fn what_is_kept_is_read_at_once_though_no_replica_takes_what_is_written() {
    let server = Server::start();
    let known = block_on(World::open(&single(&server)).kept());
    let wait = Wait { replicas: 1, timeout: Duration::from_secs(2) };
    let waiting = RedisSettings { wait: Some(wait), ..settings(RedisMode::Single, &[server.port]) };
    let world = World::open(&StoreSettings::Redis(waiting));
    std::thread::scope(|scope| {
        let puts: Vec<_> = (0..2)
            .map(|_| {
                let (store, new) = (world.store.clone(), world.login().new);
                scope.spawn(move || block_on(store.put(new)))
            })
            .collect();
        eventually("a write waits for a replica", || {
            String::from_utf8_lossy(&server.cli(&["client", "list"]).stdout).contains("cmd=wait")
        });
        let begin = Instant::now();
        assert!(block_on(world.store.access(&known.access)).unwrap().is_some());
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
        for put in puts {
            let Err(StoreError::CannotWrite { cause }) = put.join().unwrap() else { panic!("no replica has it") };
            assert_eq!(cause.to_string(), "0 of 1 replicas have it");
        }
    });
}

#[test]
fn an_instance_that_was_paused_cannot_overwrite_what_another_decided() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let other = World::open(&single(&server));
    let login = block_on(world.kept());
    let short = Duration::from_millis(200);
    let paused = block_on(world.store.lease(login.id(), short)).unwrap().expect("nobody has it");
    assert!(block_on(other.store.lease(login.id(), short)).unwrap().is_none(), "one at a time, on whatever instance");
    let known = block_on(world.store.family(login.id())).unwrap().unwrap();
    let mut taken = None;
    eventually("the lease runs out", || {
        taken = block_on(other.store.lease(login.id(), Duration::from_secs(60))).unwrap();
        taken.is_some()
    });
    assert!(taken.unwrap().fence > paused.fence);
    assert!(!block_on(world.store.renew(paused, short)).unwrap(), "it is lost");
    let late = Change {
        fence: Some(paused.fence),
        ..Change::of(known.version, Family { state: FamilyState::Unrefreshable, ..known.value })
    };
    assert!(matches!(block_on(world.store.commit(late)), Err(CommitError::Fenced)));
}

#[test]
fn a_lease_whose_answer_was_lost_is_had_by_whoever_asked_and_one_that_may_not_have_been_given_back_is_followed() {
    let server = Server::start();
    let line = Line::to(server.port);
    let world = World::open(&StoreSettings::Redis(settings(RedisMode::Single, &[line.port])));
    let other = World::open(&single(&server));
    let id = block_on(world.kept()).id();
    let long = Duration::from_secs(600);
    let lease = |world: &World| block_on(world.store.lease(id, long));

    line.cut_after(LEASE, Cut::Once);
    assert!(lease(&world).is_err() && line.was_cut());
    assert_eq!(lease(&other).unwrap(), None, "it is there, and another's");
    let had = lease(&world).unwrap().expect("it is this one's");
    assert_eq!(lease(&world).unwrap(), None, "now it is known");
    assert_eq!(lease(&other).unwrap(), None);
    assert!(block_on(world.store.renew(had, long)).unwrap());

    line.cut_after(RELEASE, Cut::Once);
    assert!(block_on(world.store.release(had)).is_err() && line.was_cut());
    let next = lease(&world).unwrap().unwrap();
    assert!(next.fence > had.fence, "it had been given back");
    assert_eq!(lease(&world).unwrap(), None);

    server.signal("-STOP");
    assert!(block_on(world.store.release(next)).is_err());
    assert!(lease(&world).is_err());
    server.signal("-CONT");
    let mut after = None;
    eventually("it is followed, whatever was heard of that", || {
        after = lease(&world).ok().flatten();
        after.is_some()
    });
    assert!(after.unwrap().fence > next.fence);
    assert_eq!(lease(&other).unwrap(), None);
    block_on(world.store.release(next)).unwrap();
    assert_eq!(lease(&other).unwrap(), None, "the old one is given back by nobody any more");
    block_on(world.store.release(after.unwrap())).unwrap();
    assert!(lease(&other).unwrap().is_some());
}

/// What was asked and given up may still be heard, behind what was asked after it.
#[test]
fn a_question_for_a_lease_that_is_heard_late_takes_it_from_nobody() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let id = block_on(world.kept()).id();
    let scripts = include_str!("../../../src/store/redis/scripts.rs");
    let (_, script) = scripts.split_once("const LEASE: &str = r\"").unwrap();
    let (script, _) = script.split_once("\";").unwrap();
    let late = |name: &str, flown: &str| {
        let keys = ["lease", "fence", "state"].map(|key| format!("pb:{{{id}}}:{key}"));
        let asked = ["eval", script, "3", &keys[0], &keys[1], &keys[2], "600000", name, flown];
        String::from_utf8_lossy(&server.cli(&asked).stdout).trim().to_owned()
    };
    let first = late("process.1", "");
    assert_eq!(late("process.1", ""), first, "it stays what it is");
    assert_eq!(late("process.2", ""), "0");
    let second = late("process.2", &first);
    assert!(second.parse::<u64>().unwrap() > first.parse().unwrap());
    assert_eq!(late("process.1", ""), "0");
    assert_eq!(late("process.2", &first), second);
    assert_eq!(late("process.3", &first), "0");
}

/// One more that follows it.
fn replica_of(master: &Server) -> Server {
    let [port] = free_ports();
    let (port_text, master_text) = (port.to_string(), master.port.to_string());
    let replica = Server::with(port, &["--port", &port_text, "--replicaof", "127.0.0.1", &master_text]);
    eventually("the replica follows", || {
        String::from_utf8_lossy(&replica.cli(&["info", "replication"]).stdout).contains("master_link_status:up")
    });
    replica
}

#[test]
fn connections_that_were_closed_while_nobody_used_them_cost_no_login() {
    let server = Server::start();
    let _replica = replica_of(&server);
    let wait = Wait { replicas: 1, timeout: Duration::from_secs(2) };
    let waiting = RedisSettings { wait: Some(wait), ..settings(RedisMode::Single, &[server.port]) };
    let world = World::open(&StoreSettings::Redis(waiting));
    let login = block_on(world.kept());
    for _ in 0..3 {
        assert!(server.cli(&["CLIENT", "KILL", "TYPE", "normal"]).status.success());
        // By the time that this is answered, on a new connection, the end of the others has been seen as well.
        assert!(block_on(world.store.access(&login.access)).unwrap().is_some());
        block_on(world.store.put(world.login().new)).unwrap();
    }
}

#[test]
fn what_needs_no_replica_says_nothing_of_whether_a_login_can_be_kept() {
    let server = Server::start();
    let mut replica = replica_of(&server);
    let wait = Wait { replicas: 1, timeout: Duration::from_millis(200) };
    let waiting = RedisSettings { wait: Some(wait), ..settings(RedisMode::Single, &[server.port]) };
    let world = World::open(&StoreSettings::Redis(waiting));
    let login = block_on(world.kept());
    assert!(world.store.takes_writes());
    replica.kill();
    assert!(block_on(world.store.put(world.login().new)).is_err());
    let lease = block_on(world.store.lease(login.id(), HOUR)).unwrap().expect("nobody has it");
    block_on(world.store.release(lease)).unwrap();
    assert!(!world.store.takes_writes());
    let _another = replica_of(&server);
    eventually("a look, which there is every few seconds, finds it out", || {
        block_on(world.store.outbox()).unwrap();
        world.store.takes_writes()
    });
}

#[test]
fn a_refresh_that_no_replica_would_have_is_answered_to_nobody_and_can_be_asked_again() {
    let keycloak = Keycloak::shared();
    let server = Server::start();
    let mut replica = replica_of(&server);
    let store = format!(
        "[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]\nwait = {{ replicas = 1, timeout = \"200ms\" }}",
        server.port
    );
    let bridge = Bridge::configured(&keycloak.url(), &[Old::of("test_api")], "rotation = \"off\"", &store);
    let (access, refresh) = bridge.pair("test_api", "90516");
    replica.kill();
    for _ in 0..2 {
        let refusal = bridge.refresh("test_api", &refresh).refusal();
        assert_eq!(refusal, (500, "3003000".to_owned(), "server_error".to_owned()), "{}", bridge.log());
    }
    assert!(bridge.active("test_api", &access), "what is kept is read");
    let _another = replica_of(&server);
    eventually("that one has it", || bridge.refresh("test_api", &refresh).status == 200);
}

#[test]
fn writes_that_wait_for_replicas_wait_together() {
    let server = Server::start();
    let _replica = replica_of(&server);
    let line = Line::to(server.port);
    let wait = Wait { replicas: 1, timeout: Duration::from_secs(2) };
    let waiting = RedisSettings { wait: Some(wait), ..settings(RedisMode::Single, &[line.port]) };
    let world = World::open(&StoreSettings::Redis(waiting));
    let memos: Vec<Memo> = (0..50).map(|number| Memo { name: format!("a/{number}"), value: vec![number] }).collect();
    block_on(world.store.memo_put(&memos[0])).unwrap();
    line.commands();
    line.hold_at("WAIT");
    std::thread::scope(|scope| {
        let written = scope.spawn(|| {
            let all = memos.iter().map(|memo| world.store.memo_put(memo));
            block_on(futures_util::future::join_all(all))
        });
        // By now each of them waits: they are asked for at once, and the first is not answered.
        eventually("the first of them waits", || line.is_held());
        line.mend();
        assert!(written.join().unwrap().iter().all(Result::is_ok));
    });
    let commands = line.commands();
    let count = |word: &str| commands.iter().filter(|command| *command == word).count();
    assert_eq!(count("HSET"), 50);
    assert!(count("WAIT") <= 10, "{}", count("WAIT"));
}

#[test]
fn a_redis_that_is_gone_and_one_that_is_back_are_known_though_nobody_logs_in() {
    let mut server = Server::start();
    let world = World::open(&single(&server));
    let is_writable = || world.store.statistics().writable;
    server.kill();
    assert!(block_on(world.store.outbox()).is_err(), "which is read every few seconds");
    assert!(!is_writable());
    server.restart_empty();
    block_on(world.store.outbox()).unwrap();
    assert!(is_writable());
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert!(block_on(world.store.put(world.login().new)).is_err());
    block_on(world.store.outbox()).unwrap();
    assert!(!is_writable(), "it can be read, and takes nothing yet");
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    block_on(world.store.outbox()).unwrap();
    assert!(is_writable());
}

#[test]
fn a_redis_that_is_full_takes_no_login_and_ends_those_that_it_has() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let login = block_on(world.kept());
    server.cli(&["CONFIG", "SET", "maxmemory", "1000"]);
    let refused = block_on(world.store.put(world.login().new)).unwrap_err();
    assert_eq!(refused.to_string(), "the token store cannot write: there is no room left");
    let pending = PendingRevocation {
        family: login.id(),
        client: "crm".to_owned(),
        sealed: Sealed::from_bytes(vec![7; 40]),
        until: world.now().plus(HOUR),
    };
    block_on(world.store.outbox_put(&pending)).unwrap();
    assert_eq!(block_on(world.store.end(login.id(), Ending::Revoked)).unwrap(), Some(login.new.family.clone()));
    let over = block_on(world.store.access(&login.access)).unwrap().unwrap();
    assert_eq!(over.fate, AccessFate::Over(Ending::Revoked));
    assert_eq!(block_on(world.store.session(&login.new.family.session.unwrap())).unwrap(), None);
    assert_eq!(block_on(world.store.outbox()).unwrap().records, [pending]);
    assert!(!world.store.statistics().writable, "there is no more room for that");
}

#[test]
fn a_call_whose_record_cannot_be_read_asks_for_it_once() {
    let server = Server::start();
    let line = Line::to(server.port);
    let [gateway, authz, nobody] = free_ports();
    let nobody = format!("http://127.0.0.1:{nobody}");
    let further = format!(
        "# gateway at {gateway}\n# authz at {authz}\n[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]\n\
         [otk]\nurl = \"{nobody}\"\napi = \"{nobody}\"\n[[gateway.route]]\nprefix = \"/\"\nupstream = \"{nobody}\"",
        line.port
    );
    let bridge = Bridge::configured(&format!("{nobody}/auth/realms/SSO"), &[Old::of("test_api")], "", &further);
    assert!(server.cli(&["ACL", "SETUSER", "default", "-get"]).status.success());
    for port in [gateway, authz] {
        line.commands();
        let bearer = [("Authorization", "Bearer 0f4c3b1a-8f2e-4d6a-9b57-2c1e5d7a9f30")];
        let refusal = send(port, "GET", "/api", &bearer, "").refusal();
        assert_eq!(refusal, (500, "3003000".to_owned(), "server_error".to_owned()), "{}", bridge.log());
        let asked = line.commands().into_iter().filter(|command| command == "GET").count();
        assert_eq!(asked, 2, "the store itself tries a read twice; a Redis that hangs would be waited for as often");
    }
}

#[test]
fn a_redis_that_takes_no_scripts_is_no_store_and_one_that_takes_none_any_more_refuses_until_it_does() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let may = |word: &str| assert!(server.cli(&["ACL", "SETUSER", "default", word]).status.success());
    let is_writable = || world.store.statistics().writable;
    may("-eval");
    block_on(world.store.put(world.login().new)).unwrap_err();
    // As each second: what a login needs is tried again, and not another thing that works.
    block_on(world.store.outbox()).unwrap();
    assert!(!is_writable());
    let refused = TokenStore::open(&single(&server), world.clock.clone()).unwrap_err();
    assert!(sentence(&refused).to_lowercase().contains("permission"), "{}", sentence(&refused));
    may("+eval");
    block_on(world.store.outbox()).unwrap();
    assert!(is_writable());
}

#[test]
fn round_trips_and_writes_are_measured_and_those_that_fail_counted() {
    let mut server = Server::start();
    let world = World::open(&single(&server));
    let metrics = Metrics::new();
    world.store.measured_by(Measures {
        write_seconds: metrics.store.write_seconds.clone(),
        redis_seconds: metrics.store.redis_seconds.clone(),
        redis_failed: metrics.store.redis_failed.clone(),
    });
    let counted = || {
        ["write_seconds_count", "redis_seconds_count", "redis_failed_total"].map(|name| {
            let (text, name) = (metrics.text(), format!("passbridge_store_{name} "));
            text.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap()
        })
    };
    block_on(async {
        let login = world.kept().await;
        assert_eq!(counted(), [2, 2, 0], "a login is written in two steps");
        assert!(world.store.access(&login.access).await.unwrap().is_some());
        assert_eq!(counted(), [2, 3, 0]);
        server.kill();
        world.store.put(world.login().new).await.unwrap_err();
    });
    assert_eq!(counted(), [3, 4, 1]);
    assert_eq!((world.store.statistics().writes, world.store.statistics().failed_writes), (2, 1));
    let refusing = world.store.refusing();
    assert!(std::error::Error::source(&refusing).is_some(), "who is not tried for is told why: {refusing:?}");
}

#[test]
fn a_redis_that_drops_or_forgets_logins_is_found_out_and_one_that_lets_nobody_look_is_told() {
    let server = Server::start();
    let settings = settings(RedisMode::Single, &[server.port]);
    assert_eq!(losses(&settings).unwrap(), [Loss::ForgetsAtRestart], "without a bound it drops nothing");
    server.cli(&["CONFIG", "SET", "maxmemory", "100mb"]);
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    server.cli(&["CONFIG", "SET", "save", "60 1"]);
    assert_eq!(losses(&settings).unwrap(), [Loss::Evicts("allkeys-lru".to_owned())]);
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    assert_eq!(losses(&settings).unwrap(), []);
    server.cli(&["CONFIG", "SET", "save", ""]);
    server.cli(&["CONFIG", "SET", "appendonly", "yes"]);
    assert_eq!(losses(&settings).unwrap(), []);
    server.cli(&["ACL", "SETUSER", "default", "-config"]);
    let Unseen::Forbidden(error) = losses(&settings).unwrap_err() else { panic!("it serves") };
    let why = std::error::Error::source(&error).unwrap().to_string().to_lowercase();
    assert!(why.contains("permission"), "{why}");
}

#[test]
fn a_redis_that_takes_no_new_connection_is_found_out_while_the_bridge_lives_on_those_that_it_has() {
    let mut server = Server::start();
    let [nobody] = free_ports();
    let store = format!("[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]", server.port);
    let realm = format!("http://127.0.0.1:{nobody}/auth/realms/SSO");
    let bridge = Bridge::configured(&realm, &[Old::of("test_api")], "", &store);
    let doctor = || {
        let said = bridge.program(&["doctor", "--format", "json"]);
        let findings: Vec<serde_json::Value> = serde_json::from_slice(&said.stdout).unwrap();
        findings.iter().any(|finding| finding["code"] == "redis-refuses")
    };
    assert!(!doctor());
    assert!(server.cli(&["CONFIG", "SET", "requirepass", "another"]).status.success());
    assert!(doctor(), "it wants a password");
    let settings = settings(RedisMode::Single, &[server.port]);
    server.kill();
    assert!(matches!(losses(&settings), Err(Unseen::Refused(_))));
}
