//! One server, in clear text; and one with TLS and an access control list.

use std::fs;
use std::time::Duration;

use passbridge::domain::family::{AccessFate, AccessRecord, Ending, Family, FamilyState};
use passbridge::domain::seal::Sealed;
use passbridge::domain::time::Timestamp;
use passbridge::store::{
    Change, Find, Memo, Password, PendingRevocation, RedisMode, RedisSettings, StoreError, StoreSettings, TokenStore,
    Version,
};
use secrecy::SecretString;

use super::contract::{contract, rotated};
use super::servers::{Server, settings, single};
use super::world::{BEGIN, HOUR, ManualClock, Seeded, World, block_on};
use crate::support::pem::self_signed;
use crate::support::{eventually, free_ports, place};

fn on_single(test: impl AsyncFn(&World)) {
    let server = Server::start();
    let world = World::open(&single(&server));
    block_on(test(&world));
}

contract!(on_single, any clock);

#[test]
fn what_ends_while_the_clock_leaps_ahead_is_remembered_as_long_as_was_promised() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let login = block_on(world.kept());
    world.clock.set(BEGIN.plus(24 * HOUR));
    block_on(world.store.end(login.id(), Ending::Revoked)).unwrap();
    let (access, state) = (format!("pb:a:{}", login.access), format!("pb:{{{}}}:state", login.id()));
    let minutes = |key: &str| server.ttl(key) / 60_000;
    assert_eq!((minutes(&access), minutes(&state)), (119, 120));
}

/// What Redis's own clock says.
fn time_of(server: &Server) -> Timestamp {
    let said = String::from_utf8(server.cli(&["TIME"]).stdout).unwrap();
    Timestamp::from_secs(said.lines().next().unwrap().parse().unwrap())
}

/// An instance whose clock says this.
fn instance(server: &Server, day: Timestamp) -> World {
    let clock = ManualClock::new();
    clock.set(day);
    World { store: TokenStore::open(&single(server), clock.clone()).unwrap(), clock, chance: Seeded::new(day.millis()) }
}

#[test]
fn an_instance_that_starts_with_its_clock_ahead_drops_no_login_of_the_others() {
    let server = Server::start();
    let now = time_of(&server);
    let right = instance(&server, now);
    let login = block_on(right.kept());
    let ahead = instance(&server, now.plus(24 * HOUR));
    assert!(ahead.store.believed(ahead.now()) < now.plus(HOUR));
    for _ in 0..3 {
        block_on(ahead.store.sweep(ahead.now())).unwrap();
        ahead.clock.pass(HOUR / 4);
    }
    assert!(block_on(right.store.access(&login.access)).unwrap().is_some());
    assert!(block_on(right.store.family(login.id())).unwrap().is_some());
}

#[test]
fn nor_does_one_whose_user_may_not_ask_what_time_it_is() {
    let server = Server::start();
    let now = time_of(&server);
    server.cli(&["ACL", "SETUSER", "default", "-time"]);
    let right = instance(&server, now);
    let login = block_on(right.kept());
    let ahead = instance(&server, now.plus(24 * HOUR));
    for _ in 0..3 {
        block_on(ahead.store.sweep(ahead.now())).unwrap();
        ahead.clock.pass(HOUR / 4);
    }
    assert!(ahead.store.believed(ahead.now()) < now);
    assert!(block_on(right.store.access(&login.access)).unwrap().is_some());
    assert!(block_on(right.store.family(login.id())).unwrap().is_some());
}

#[test]
fn every_connection_to_it_is_kept_alive() {
    let server = Server::start();
    let world = World::open(&single(&server));
    block_on(world.kept());
    let to_it = format!(":{:04X}", server.port);
    eventually("the kernel looks whether it is still there", || {
        let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
        let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        let timers: Vec<_> =
            rows.filter(|row| row[2].ends_with(&to_it) && row[3] == "01").map(|row| row[5].to_owned()).collect();
        // Which timer runs, and when it goes off: the second is that of `SO_KEEPALIVE`.
        !timers.is_empty() && timers.iter().all(|timer| timer.starts_with("02:"))
    });
}

#[test]
fn a_record_that_came_back_after_its_login_was_ended_is_ended_by_the_next_try() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let login = block_on(world.kept());
    let names = [format!("pb:a:{}", login.access), format!("pb:r:{}", login.refresh)];
    for (name, copy) in names.iter().zip(["lagging:a", "lagging:r"]) {
        server.cli(&["COPY", name, copy]);
    }
    block_on(world.store.end(login.id(), Ending::Revoked)).unwrap();
    for (name, copy) in names.iter().zip(["lagging:a", "lagging:r"]) {
        server.cli(&["COPY", copy, name, "REPLACE"]);
    }
    let access = || block_on(world.store.access(&login.access)).unwrap().unwrap();
    assert_eq!(access(), login.new.access.1, "as it was on a replica that lagged behind");
    let former = block_on(world.store.end(login.id(), Ending::SessionEnded)).unwrap().unwrap();
    assert_eq!(former.state, FamilyState::Over(Ending::Revoked));
    assert_eq!(access().fate, AccessFate::Over(Ending::Revoked));
    assert!(block_on(world.store.refresh(&login.refresh)).unwrap().unwrap().is_over());
}

#[test]
fn a_word_that_names_no_login_keeps_none_from_being_found_or_swept() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let login = block_on(world.kept());
    let list = format!("pb:x:{:02x}", login.id().0[0]);
    for score in ["1", "+inf"] {
        server.cli(&["ZADD", &list, score, &format!("garbage {score}")]);
    }
    let crm = || Find::Client("crm".to_owned());
    assert_eq!(block_on(world.store.find(crm(), 10)).unwrap().records.len(), 1);
    assert_eq!(block_on(world.store.export(None, 10)).unwrap().records.len(), 1);
    let swept = || block_on(world.store.sweep(world.now())).unwrap();
    assert_eq!((swept().damaged, swept().damaged), (1, 0), "it is told once, and taken out");
    world.clock.pass(4 * HOUR);
    assert_eq!(swept().families, 1);
}

#[test]
fn a_redis_that_was_emptied_says_its_format_again() {
    let server = Server::start();
    let world = World::open(&single(&server));
    server.cli(&["FLUSHALL"]);
    block_on(world.kept());
    block_on(world.store.sweep(world.now())).unwrap();
    assert_eq!(server.cli(&["GET", "pb:format"]).stdout, b"2\n");
}

#[test]
fn a_damaged_memo_keeps_no_other_from_being_read() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let memo = Memo { name: "a/crm".to_owned(), value: b"kept".to_vec() };
    block_on(world.store.memo_put(&memo)).unwrap();
    server.cli(&["HSET", "pb:memos", "b/crm", "nonsense"]);
    let memos = block_on(world.store.memos()).unwrap();
    assert_eq!((memos.records, memos.damaged), (vec![memo], 1));
}

/// A server that speaks TLS alone, knows one user, and lets him touch our keys alone.
fn guarded() -> (Server, RedisSettings) {
    let (own, own_key) = self_signed(&["127.0.0.1", "localhost"]);
    let files = place();
    let write = |name: &str, text: &str| {
        fs::write(files.path().join(name), text).unwrap();
        files.path().join(name).display().to_string()
    };
    let certificate = write("server.pem", &own);
    let key = write("server.key", &own_key);
    let users =
        write("users.conf", "user default off\nuser bridge on >an-invented-password ~pb:* +@all -@dangerous +info\n");
    let [port] = free_ports();
    let port_text = port.to_string();
    let arguments = [
        "--port",
        "0",
        "--tls-port",
        &port_text,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &certificate,
        "--tls-auth-clients",
        "no",
        "--aclfile",
        &users.replace("users.conf", "users.acl"),
    ];
    fs::rename(&users, users.replace("users.conf", "users.acl")).unwrap();
    let server = Server::within(files, port, &arguments);
    let known = RedisSettings {
        urls: vec![format!("rediss://localhost:{port}")],
        username: Some("bridge".to_owned()),
        password: Some(Password(SecretString::from("an-invented-password"))),
        ca: Some(own.into_bytes()),
        ..settings(RedisMode::Single, &[])
    };
    (server, known)
}

#[test]
fn a_server_with_tls_and_an_access_control_list_keeps_families() {
    let (_server, known) = guarded();
    let world = World::open(&StoreSettings::Redis(known));
    block_on(super::contract::a_family_that_was_put_is_found_by_each_of_its_names(&world));
    block_on(super::contract::a_family_that_ended_leaves_a_tombstone_until_its_promised_end(&world));
}

#[test]
fn a_wrong_password_an_unknown_certificate_and_clear_text_are_each_told() {
    let (server, known) = guarded();
    let wrong = RedisSettings { password: Some(Password(SecretString::from("wrong"))), ..known.clone() };
    let stranger = self_signed(&["localhost"]).0.into_bytes();
    let untrusted = RedisSettings { ca: Some(stranger), ..known.clone() };
    let clear = RedisSettings { urls: vec![format!("redis://localhost:{}", server.port)], ..known };
    for settings in [wrong, untrusted, clear] {
        let opened = TokenStore::open(&StoreSettings::Redis(settings), ManualClock::new());
        assert!(matches!(opened, Err(StoreError::CannotOpen { .. })), "{opened:?}");
    }
}

#[test]
fn every_key_of_a_family_carries_its_expiry() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let login = block_on(world.kept());
    let short = Duration::from_secs(10);
    block_on(world.store.lease(login.id(), short)).unwrap();
    // Of a family that is gone meanwhile, too.
    let gone = world.login();
    block_on(world.store.lease(gone.id(), short)).unwrap();
    let keys = String::from_utf8(server.cli(&["--scan"]).stdout).unwrap();
    let mut seen = 0;
    for key in keys.lines().filter(|key| !key.starts_with("pb:x:") && *key != "pb:format") {
        assert!(server.ttl(key) > 0, "{key} has no expiry");
        seen += 1;
    }
    assert_eq!(seen, 8, "access, refresh, session, state, lease, fence; the other's lease and fence: {keys}");
}

#[test]
fn a_fence_lives_as_long_as_its_family_though_the_family_was_given_more_time() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let login = block_on(world.kept());
    block_on(world.store.lease(login.id(), Duration::from_secs(10))).unwrap();
    let mut change = rotated(&world, &login);
    for member in &mut change.family.members {
        member.until = world.now().plus(1_000 * HOUR);
    }
    block_on(world.store.commit(change)).unwrap();
    let ttl = |name: &str| server.ttl(&format!("pb:{{{}}}:{name}", login.id()));
    assert!(ttl("fence") > ttl("state"), "{} {}", ttl("fence"), ttl("state"));
}

#[test]
fn a_session_leads_to_its_login_though_that_was_refreshed_past_its_first_end() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let login = block_on(world.kept());
    let ttl = || server.ttl(&format!("pb:s:{}", login.session()));
    let first = ttl();
    let mut change = rotated(&world, &login);
    change.family.renewal_until = world.now().plus(1_000 * HOUR);
    let renewed =
        Change::of(Version(2), Family { renewal_until: world.now().plus(2_000 * HOUR), ..change.family.clone() });
    block_on(world.store.commit(change)).unwrap();
    let second = ttl();
    assert!(second > 400 * first, "{second} {first}");
    block_on(world.store.commit(renewed)).unwrap();
    assert!(ttl() > second + second / 2, "{} {second}", ttl());
}

#[test]
fn every_uuid_of_a_login_is_kept_as_long_as_the_login_whatever_its_end_becomes() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let login = block_on(world.kept());
    let change = rotated(&world, &login);
    let names = [
        format!("pb:a:{}", login.access),
        format!("pb:r:{}", login.refresh),
        format!("pb:a:{}", change.access[0].0),
        format!("pb:r:{}", change.refresh[0].0),
    ];
    let hours = || names.each_ref().map(|name| server.ttl(name).div_euclid(3_590_000));
    let mut family = change.family.clone();
    assert_eq!(hours(), [2, 2, -1, -1]);
    block_on(world.store.commit(change)).unwrap();
    assert_eq!(hours(), [2; 4]);
    for (version, (until, kept)) in (2..).zip([(7 * HOUR, 7), (3 * HOUR, 3), (Duration::MAX, -1), (5 * HOUR, 5)]) {
        family.members[3].until = world.now().plus(until);
        block_on(world.store.commit(Change::of(Version(version), family.clone()))).unwrap();
        assert_eq!(hours(), [kept; 4], "until {until:?} from now");
    }
}

#[test]
fn what_was_over_before_a_login_without_an_end_ended_is_forgotten_with_it() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let login = block_on(world.kept());
    let mut change = rotated(&world, &login);
    change.family.members[3].until = Timestamp::NEVER;
    let replaced = AccessRecord { fate: AccessFate::Over(Ending::Replaced), ..login.new.access.1.clone() };
    change.access.push((login.access, replaced));
    block_on(world.store.commit(change)).unwrap();
    let ttl = || server.ttl(&format!("pb:a:{}", login.access));
    assert_eq!(ttl(), -1);
    block_on(world.store.end(login.id(), Ending::Revoked)).unwrap();
    assert!(ttl() > 0, "{}", ttl());
}

#[test]
fn a_damaged_record_keeps_nothing_else_from_being_found_told_or_ended() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let (sound, damaged) = block_on(async { (world.kept().await, world.kept().await) });
    let pending = PendingRevocation {
        family: sound.id(),
        client: "crm".to_owned(),
        sealed: Sealed::from_bytes(vec![7; 40]),
        until: world.now().plus(HOUR),
    };
    block_on(world.store.outbox_put(&pending)).unwrap();
    server.cli(&["HSET", "pb:outbox", &damaged.id().to_string(), "nonsense"]);
    server.cli(&["HSET", &format!("pb:{{{}}}:state", damaged.id()), "d", "nonsense"]);
    server.cli(&["SET", &format!("pb:a:{}", sound.access), "Lnonsense"]);
    block_on(async {
        let outbox = world.store.outbox().await.unwrap();
        assert_eq!((outbox.records, outbox.damaged), (vec![pending], 1));
        let crm = || Find::Client("crm".to_owned());
        let living = world.store.find_living(crm(), None, 10).await.unwrap();
        assert_eq!((living.records.len(), living.records[0].id, living.damaged), (1, sound.id(), 1));
        let whole = world.store.find(Find::Prefix(damaged.access.to_string()), 10).await.unwrap();
        assert_eq!((whole.records.len(), whole.damaged), (0, 1));
        let moved = world.store.export(None, 10).await.unwrap();
        assert_eq!((moved.records.len(), moved.damaged), (1, 2));
        assert!(world.store.access(&sound.access).await.is_err());
        world.store.end(sound.id(), Ending::Revoked).await.unwrap().unwrap();
        assert_eq!(world.store.access(&sound.access).await.unwrap(), None, "nobody can read it, and it opens nothing");
        assert!(world.store.find_living(crm(), None, 10).await.unwrap().records.is_empty());
        world.clock.pass(4 * HOUR);
        let swept = world.store.sweep(world.now()).await.unwrap();
        assert_eq!((swept.families, swept.damaged), (1, 1));
    });
}

#[test]
fn a_newer_format_is_refused() {
    let server = Server::start();
    server.cli(&["SET", "pb:format", "3"]);
    let opened = TokenStore::open(&single(&server), ManualClock::new());
    assert!(matches!(opened, Err(StoreError::Format { found: 3, .. })), "{opened:?}");
}

#[test]
fn an_older_format_is_taken_and_raised_so_that_older_programs_refuse_it() {
    let server = Server::start();
    server.cli(&["SET", "pb:format", "1"]);
    let world = World::open(&single(&server));
    block_on(world.kept());
    assert_eq!(server.cli(&["GET", "pb:format"]).stdout, b"2\n");
}

#[test]
fn what_is_to_be_read_alone_is_there_or_told_and_nothing_is_written_to_it() {
    let server = Server::start();
    let open = || TokenStore::open_source(&single(&server), ManualClock::new());
    let empty = open().unwrap_err();
    assert_eq!(empty.to_string(), format!("there is no token store in redis://127.0.0.1:{}", server.port));
    assert_eq!(server.cli(&["DBSIZE"]).stdout, b"0\n");
    server.cli(&["SET", "pb:format", "1"]);
    open().unwrap();
    assert_eq!(server.cli(&["GET", "pb:format"]).stdout, b"1\n", "an older program can go on with it");
}

#[test]
fn a_backup_is_refused_and_left_to_the_means_of_redis() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let place = tempfile::tempdir().unwrap();
    let refused = world.store.backup(place.path()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the token store is a Redis: keep it by Redis's own means (BGSAVE, append-only file, a replica)"
    );
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
