//! What older versions left in Redis.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use passbridge::domain::family::{AccessFate, Ending, FamilyState};
use passbridge::domain::seal::Sealed;
use passbridge::domain::time::Timestamp;
use passbridge::store::{Bundle, TokenStore};

use super::servers::{Server, single};
use super::world::{HOUR, Login, ManualClock, World, block_on, embedded};

/// A login whose refresh UUID has no end.
fn endless(world: &World) -> Login {
    let mut login = world.login();
    login.new.family.renewal_until = Timestamp::NEVER;
    login.new.family.members[1].until = Timestamp::NEVER;
    login.new.refresh.as_mut().unwrap().1.until = Timestamp::NEVER;
    login
}

/// The same once it was over, as long as nobody gave it an end.
fn over_without_an_end(world: &World) -> (Login, Bundle) {
    let login = endless(world);
    let mut new = login.new.clone();
    new.family.state = FamilyState::Over(Ending::Revoked);
    new.family.session = None;
    new.family.renewal = None;
    new.access.1.fate = AccessFate::Over(Ending::Revoked);
    let refresh = new.refresh.map(|(print, record)| {
        let key = Sealed::from_bytes(Vec::new());
        (print, passbridge::domain::family::RefreshRecord { key, ..record })
    });
    let bundle = Bundle { family: new.family, access: vec![new.access], refresh: refresh.into_iter().collect() };
    (login, bundle)
}

fn keys(server: &Server) -> BTreeSet<String> {
    let scanned = server.cli(&["--scan", "--pattern", "pb:[^x]*"]).stdout;
    String::from_utf8(scanned).unwrap().lines().filter(|key| *key != "pb:format").map(str::to_owned).collect()
}

#[test]
fn a_login_without_an_end_that_an_older_version_ended_is_forgotten_and_one_that_lives_stays() {
    let server = Server::start();
    let world = World::open(&single(&server));
    let lives = endless(&world);
    let (left, bundle) = over_without_an_end(&world);
    block_on(world.store.put(lives.new.clone())).unwrap();
    block_on(world.store.lease(lives.id(), HOUR)).unwrap();
    let of_the_living = keys(&server);
    block_on(world.store.import(&bundle)).unwrap();
    block_on(world.store.lease(left.id(), HOUR)).unwrap();
    let (refresh, state) = (format!("pb:r:{}", left.refresh), format!("pb:{{{}}}:state", left.id()));
    assert_eq!((server.ttl(&refresh), server.ttl(&state)), (-1, -1), "nothing ends it");
    let access = format!("pb:a:{}", lives.access);
    server.cli(&["PEXPIRE", &access, "3600000"]);

    block_on(world.store.sweep(world.now())).unwrap();
    for key in [&refresh, &state] {
        assert!(server.ttl(key) > 0, "{key}: it is remembered as long as its access UUID was promised, and no longer");
    }
    let record = block_on(world.store.access(&left.access)).unwrap().unwrap();
    assert_eq!(record.fate, AccessFate::Over(Ending::Revoked));
    world.clock.pass(2 * HOUR);
    block_on(world.store.sweep(world.now())).unwrap();
    let there: BTreeSet<String> = keys(&server).into_iter().filter(|key| !key.ends_with(":lease")).collect();
    assert_eq!(there, of_the_living.into_iter().filter(|key| !key.ends_with(":lease")).collect());
    assert!(block_on(world.store.refresh(&lives.refresh)).unwrap().is_some());
    assert_eq!(server.ttl(&format!("pb:{{{}}}:state", lives.id())), -1, "the living one has no end still");
    assert_eq!(server.ttl(&access), -1, "and past its own end its access UUID still ends it");
}

/// How many families stand in the lists without a time.
fn without_a_time(server: &Server) -> usize {
    let count = "local n = 0
        for _, list in ipairs(redis.call('KEYS', 'pb:x:*')) do n = n + redis.call('ZCOUNT', list, '+inf', '+inf') end
        return n";
    String::from_utf8(server.cli(&["EVAL", count, "0"]).stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn leftovers_are_looked_for_once_a_start_and_a_bounded_number_a_sweep() {
    let server = Server::start();
    let world = World::open(&single(&server));
    block_on(async {
        for _ in 0..550 {
            world.store.put(endless(&world).new).await.unwrap();
            world.store.import(&over_without_an_end(&world).1).await.unwrap();
        }
    });
    let sweep = |store: &TokenStore| {
        block_on(store.sweep(world.now())).unwrap();
    };
    sweep(&world.store);
    let left = without_a_time(&server);
    assert!(left > 550 && left < 650, "{left}: a thousand were looked at, and a hundred are for the next sweep");
    sweep(&world.store);
    assert_eq!(without_a_time(&server), 550, "those that live");

    block_on(world.store.import(&over_without_an_end(&world).1)).unwrap();
    sweep(&world.store);
    assert_eq!(without_a_time(&server), 551, "nobody looks again");
    let next = World::open(&single(&server));
    sweep(&next.store);
    sweep(&next.store);
    assert_eq!(without_a_time(&server), 550, "but after the next start");
}

/// `store copy` from this Redis into files below `place`; what it says.
fn copied(server: &Server, place: &Path) -> String {
    let realm = "[realm]\nurls = [\"http://127.0.0.1:9/realms/SSO\"]\n";
    let redis = format!("{realm}[store]\nkind = \"redis\"\nurls = [\"redis://127.0.0.1:{}\"]\n", server.port);
    std::fs::write(place.join("passbridge.toml"), redis).unwrap();
    std::fs::write(place.join("files.toml"), format!("{realm}[store]\npath = \"data\"\n")).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_passbridge"));
    let output = program.current_dir(place).args(["store", "copy", "--to", "files.toml"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A login of some time ago, as the program's own clock counts.
fn some_time_ago(world: &World, ago: Duration) -> Timestamp {
    let then = Timestamp::of(SystemTime::now() - ago).unwrap();
    world.clock.set(then);
    then
}

#[test]
fn a_copy_leaves_behind_what_is_forgotten_and_gives_an_end_to_what_is_over_and_has_none() {
    let server = Server::start();
    let world = World::open(&single(&server));
    some_time_ago(&world, 3 * HOUR);
    let lives = endless(&world);
    let (forgotten, long_over) = over_without_an_end(&world);
    let now = some_time_ago(&world, Duration::ZERO);
    let (remembered, just_over) = over_without_an_end(&world);
    block_on(async {
        world.store.put(lives.new.clone()).await.unwrap();
        world.store.import(&long_over).await.unwrap();
        world.store.import(&just_over).await.unwrap();
    });
    let place = tempfile::tempdir().unwrap();
    let said = copied(&server, place.path());
    assert!(
        said.contains("2 logins copied") && said.contains("1 logins are forgotten by now, and were left behind"),
        "{said}"
    );

    let clock = ManualClock::new();
    clock.set(now);
    let files = TokenStore::open(&embedded(&place.path().join("data")), clock.clone()).unwrap();
    block_on(async {
        assert_eq!(files.family(forgotten.id()).await.unwrap(), None);
        assert_eq!(files.refresh(&forgotten.refresh).await.unwrap(), None);
        let access = files.access(&remembered.access).await.unwrap().unwrap();
        assert_eq!(access.fate, AccessFate::Over(Ending::Revoked), "an API client hears *over* still");
        assert_eq!(
            files.refresh(&remembered.refresh).await.unwrap().unwrap().until,
            access.until,
            "no longer than that"
        );
        clock.pass(2 * HOUR);
        while files.sweep(now.plus(2 * HOUR)).await.unwrap().more {}
        let left: Vec<_> =
            files.export(None, 10).await.unwrap().records.into_iter().map(|bundle| bundle.family.id).collect();
        assert_eq!(left, [lives.id()]);
        assert!(files.refresh(&lives.refresh).await.unwrap().is_some());
    });
}
