//! When the store cannot do what it is asked: it says why, and acknowledges nothing.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use passbridge::store::{Find, Progress, StoreError, TokenStore};

use super::world::{BEGIN, Login, ManualClock, Seeded, World, block_on, embedded};

fn open(directory: &Path) -> Result<TokenStore, StoreError> {
    TokenStore::open(&embedded(directory), ManualClock::new())
}

#[test]
fn a_second_process_is_told_who_has_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let _world = World::open(&embedded(directory.path()));
    let error = open(directory.path()).unwrap_err();
    let expected = format!(
        "the token store {} belongs to another process (pid {}): one bridge per directory",
        directory.path().display(),
        std::process::id()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn the_next_process_may_have_it_once_the_first_has_gone() {
    let directory = tempfile::tempdir().unwrap();
    drop(World::open(&embedded(directory.path())));
    drop(World::open(&embedded(directory.path())));
    let world = World::open(&embedded(directory.path()));
    block_on(world.store.close());
    open(directory.path()).unwrap();
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(World::open(&embedded(directory.path())));
    fs::write(directory.path().join("format"), "9\n").unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Format { found: 9, .. }));
    assert!(error.to_string().contains("has format 9, and this program knows formats up to"), "{error}");
    assert_eq!(fs::read_to_string(directory.path().join("format")).unwrap(), "9\n");
}

#[test]
fn a_directory_without_its_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(World::open(&embedded(directory.path())));
    fs::remove_file(directory.path().join("format")).unwrap();
    assert!(matches!(open(directory.path()), Err(StoreError::CannotOpen { .. })));
}

#[test]
fn a_store_whose_making_was_cut_off_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("format"), "1\n").unwrap();
    fs::create_dir_all(directory.path().join("engine/keyspaces")).unwrap();
    fs::write(directory.path().join("engine/lock"), "").unwrap();
    fs::write(directory.path().join("engine/0.jnl"), [0; 4096]).unwrap();
    let store = open(directory.path()).unwrap();
    block_on(store.put(Login::new(&Seeded::new(1), BEGIN, "crm").new)).unwrap();
}

#[test]
fn a_store_that_lost_its_version_marker_is_not_taken_for_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    drop(World::open(&embedded(directory.path())));
    fs::remove_file(directory.path().join("engine/version")).unwrap();
    assert!(open(directory.path()).is_err());
    assert!(directory.path().join("engine/0.jnl").exists());
}

#[test]
fn a_file_in_the_directorys_place_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    fs::write(&path, "not a directory").unwrap();
    let error = open(&path).unwrap_err();
    assert!(error.to_string().starts_with("the token store cannot open"), "{error}");
    let cause = error.source().unwrap().to_string();
    assert_eq!(cause, "not a directory");
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    // /proc takes no directories, not even from root.
    let error = open(Path::new("/proc/passbridge-store")).unwrap_err();
    assert!(matches!(error, StoreError::CannotOpen { .. }), "{error:?}");
}

#[test]
fn the_directory_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_directory_that_is_taken_away_gets_nothing_until_it_is_back() {
    let home = tempfile::tempdir().unwrap();
    let (data, aside) = (home.path().join("data"), home.path().join("aside"));
    let world = World::open(&embedded(&data));
    let kept = world.login();
    block_on(world.store.put(kept.new.clone())).unwrap();
    let refused = || {
        let error = block_on(world.store.put(world.login().new)).unwrap_err();
        let why = error.source().unwrap().to_string();
        assert_eq!(why, "its directory was removed, or another was put in its place", "{error:?}");
        assert!(!world.store.statistics().writable);
        world.clock.pass(Duration::from_secs(1));
    };
    fs::rename(&data, &aside).unwrap();
    refused();
    block_on(world.store.sweep(world.now())).unwrap();
    assert!(!world.store.statistics().writable, "a sweep that had nothing to write says nothing of the disk");
    // As whoever restores a backup does under a running bridge: what it wrote then would be gone at its next start.
    drop(World::open(&embedded(&data)));
    refused();
    refused();
    assert!(block_on(world.store.access(&kept.access)).unwrap().is_some(), "what is kept is read");
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&aside, &data).unwrap();
    block_on(world.store.sweep(world.now())).unwrap();
    assert!(world.store.statistics().writable, "nobody is sent here to log in before it says so");
    block_on(world.store.put(world.login().new)).unwrap();
    assert!(world.store.statistics().writable);
}

#[test]
fn files_that_are_taken_away_below_the_directory_get_nothing_until_they_are_back() {
    let home = tempfile::tempdir().unwrap();
    let (engine, aside) = (home.path().join("engine"), home.path().join("aside"));
    let world = World::open(&embedded(home.path()));
    let kept = block_on(world.kept());
    fs::rename(&engine, &aside).unwrap();
    let error = block_on(world.store.put(world.login().new)).unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "its directory was removed, or another was put in its place");
    assert!(!world.store.statistics().writable);
    fs::rename(&aside, &engine).unwrap();
    world.clock.pass(Duration::from_secs(1));
    block_on(world.store.put(world.login().new)).unwrap();
    assert!(block_on(world.store.access(&kept.access)).unwrap().is_some());
}

#[test]
fn a_store_whose_reopening_failed_is_opened_by_the_next_sweep() {
    let home = tempfile::tempdir().unwrap();
    let (data, aside) = (home.path().join("data"), home.path().join("aside"));
    let world = World::open(&embedded(&data));
    let (read, other) = block_on(async { (world.kept().await, world.kept().await) });
    assert!(block_on(world.store.access(&read.access)).unwrap().is_some());
    fs::rename(&data, &aside).unwrap();
    block_on(world.store.put(world.login().new)).unwrap_err();
    fs::rename(&aside, &data).unwrap();
    // The disk takes bytes again, and does not give them back as they were.
    let marker = data.join("engine/version");
    let version = fs::read(&marker).unwrap();
    fs::write(&marker, "nonsense").unwrap();
    world.clock.pass(Duration::from_secs(1));
    block_on(world.store.put(world.login().new)).unwrap_err();
    assert!(matches!(block_on(world.store.access(&other.access)), Err(StoreError::Refusing { .. })));
    assert!(block_on(world.store.access(&read.access)).unwrap().is_some(), "it lies in memory");
    fs::write(&marker, version).unwrap();
    world.clock.pass(Duration::from_secs(1));
    block_on(world.store.sweep(world.now())).unwrap();
    assert!(block_on(world.store.access(&other.access)).unwrap().is_some());
}

#[test]
fn while_a_backup_keeps_the_files_from_being_opened_anew_they_are_read() {
    let home = tempfile::tempdir().unwrap();
    let (data, aside) = (home.path().join("data"), home.path().join("aside"));
    let world = World::open(&embedded(&data));
    let kept = block_on(world.kept());
    let backup = world.store.backup(&home.path().join("backup")).unwrap();
    fs::rename(&data, &aside).unwrap();
    block_on(world.store.put(world.login().new)).unwrap_err();
    fs::rename(&aside, &data).unwrap();
    world.clock.pass(Duration::from_secs(1));
    std::thread::scope(|scope| {
        let put = scope.spawn(|| block_on(world.store.put(world.login().new)));
        while !put.is_finished() {
            assert!(block_on(world.store.refresh(&kept.refresh)).unwrap().is_some());
        }
        put.join().unwrap().unwrap();
    });
    drop(backup);
}

const FULL: &str = "PASSBRIDGE_TEST_FULL_DIRECTORY";

/// Runs under a limit on the size of files, as a full disk would be: writes until it fails, is given room, and goes on.
#[test]
#[expect(clippy::disallowed_methods, reason = "how this test speaks to the process that it starts")]
fn a_writer_on_a_full_disk() {
    let Some(directory) = std::env::var_os(FULL) else { return };
    let clock = ManualClock::new();
    let store = TokenStore::open(&embedded(Path::new(&directory)), clock.clone()).unwrap();
    let chance = Seeded::new(3);
    let mut kept: Vec<Login> = Vec::new();
    let error = loop {
        let login = large_login(&chance);
        match block_on(store.put(login.new.clone())) {
            Ok(()) => kept.push(login),
            Err(error) => break error,
        }
        assert!(kept.len() < 20, "the limit was never met");
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(!kept.is_empty());

    // It refuses, and does not wear the disk out by trying: reads go on.
    let next = block_on(store.put(large_login(&chance).new)).unwrap_err();
    let StoreError::Refusing { cause: Some(cause) } = next else { panic!("{next:?}") };
    assert_eq!(cause.to_string(), "the token store cannot write: there is no room left", "it says why, each time");
    assert!(!store.statistics().writable && store.statistics().failed_writes == 2);
    for login in &kept {
        assert!(block_on(store.access(&login.access)).unwrap().is_some());
    }
    clock.pass(Duration::from_secs(1));
    assert!(block_on(store.put(large_login(&chance).new)).is_err(), "there is still no room");

    // Somebody makes room.
    limit_files("unlimited");
    clock.pass(Duration::from_secs(1));
    let login = large_login(&chance);
    block_on(store.put(login.new.clone())).unwrap();
    kept.push(login);
    assert!(store.statistics().writable);
    for login in kept {
        assert!(block_on(store.access(&login.access)).unwrap().is_some());
        println!("kept {}", login.access);
    }
}

/// Runs under a limit as above: a backup finds no room for its first file, is given some, and goes to the same place.
#[test]
#[expect(clippy::disallowed_methods, reason = "how this test speaks to the process that it starts")]
fn a_backup_on_a_full_disk() {
    let Some(directory) = std::env::var_os(FULL) else { return };
    let place = tempfile::tempdir().unwrap();
    let store = TokenStore::open(&embedded(Path::new(&directory)), ManualClock::new()).unwrap();
    let backup = || store.backup(place.path())?.run(&Progress::default());
    limit_files("4096:unlimited");
    assert!(matches!(backup(), Err(StoreError::Full { .. })));
    limit_files("unlimited");
    backup().unwrap();
    println!("backed up");
}

/// In bytes: how long a file of this process may become.
fn limit_files(to: &str) {
    let pid = std::process::id().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={to}")]).status();
    assert!(status.unwrap().success());
}

fn large_login(chance: &Seeded) -> Login {
    let mut login = Login::new(chance, BEGIN, "crm");
    login.new.family.scope = "x".repeat(1 << 20).into();
    login
}

#[test]
fn a_full_disk_is_told_and_costs_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    // A new journal is made with room for 64 MiB; one that was closed has the size of what is in it.
    drop(open(directory.path()).unwrap());
    drop(open(directory.path()).unwrap());
    let said = limited("4096", "a_writer_on_a_full_disk", directory.path());
    let kept: Vec<&str> = said.lines().filter_map(|line| line.split_once("kept ").map(|(_, hex)| hex)).collect();
    assert!(kept.len() > 1);
    // The next process has everything.
    let store = open(directory.path()).unwrap();
    for hex in kept {
        let found = block_on(store.find(Find::Prefix(hex.to_owned()), 1)).unwrap();
        assert_eq!(found.records.len(), 1);
    }
}

#[test]
fn a_backup_that_finds_no_room_says_so_and_takes_the_same_directory_once_there_is() {
    let directory = tempfile::tempdir().unwrap();
    let said = limited("unlimited", "a_backup_on_a_full_disk", directory.path());
    assert!(said.contains("backed up"), "{said}");
}

/// Runs a test in a process of its own that lives under a limit, in KiB, on the size of files; what it says.
fn limited(size: &str, test: &str, directory: &Path) -> String {
    // The trap is for what is started here, the tests' own program: passbridge sees to it by itself.
    let script = "trap '' XFSZ; ulimit -S -f \"$1\"; shift; exec \"$@\"";
    let output = Command::new("/bin/bash")
        .args(["-c", script, "limited", size])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("store::refusal::{test}"), "--nocapture", "--test-threads=1"])
        .env(FULL, directory)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}
