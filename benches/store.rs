//! The token store by itself: puts, look-ups, memory, opening after `kill -9`, and disk under churn.
//!
//!     cargo bench --bench store -- [--live N] [--dir DIR] [--only puts,live,churn,renewed]
//!
//! Prints a table to stderr and JSON to stdout. A family is a login with a JWT of 1.5 KB and a realm refresh token of 850 bytes, as they are packed.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time and starts the process that it kills")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for engineers, not a part of the service"
)]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use passbridge::domain::family::{
    AccessFate, AccessRecord, Family, FamilyId, FamilyState, Member, NewFamily, RefreshRecord,
};
use passbridge::domain::opaque::{Fingerprint, TokenUse};
use passbridge::domain::seal::Sealed;
use passbridge::domain::time::{Clock, Timestamp};
use passbridge::store::{Change, StoreSettings, TokenStore};
use tokio::runtime::{Builder, Runtime};

/// `[store] cache` as it is by default.
const CACHE: u64 = 64 << 20;
const HOT: u64 = 50_000;
const DAY: Timestamp = Timestamp::from_secs(1_700_000_000);

#[derive(Debug)]
struct RealClock(Instant);

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        DAY.plus(self.0.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

fn clock() -> Arc<RealClock> {
    Arc::new(RealClock(Instant::now()))
}

/// A clock that is turned by hand: hours of logins in minutes.
#[derive(Debug, Default)]
struct TurnedClock(AtomicU64);

impl TurnedClock {
    fn turn(&self, since_day: Duration) {
        self.0.store(u64::try_from(since_day.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for TurnedClock {
    fn now(&self) -> Timestamp {
        DAY.plus(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

fn open(directory: &Path, clock: Arc<dyn Clock>) -> TokenStore {
    let settings = StoreSettings::Embedded { path: directory.to_owned(), cache_bytes: CACHE };
    TokenStore::open(&settings, clock).unwrap()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Bytes that look random, from a number.
fn noise(mut seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        bytes.extend_from_slice(&(seed ^ (seed >> 33)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn print_of(purpose: &str, number: u64) -> Fingerprint {
    Fingerprint::of(purpose, &number.to_le_bytes())
}

/// The family of this number, which ends at `until`.
fn family(number: u64, until: Timestamp) -> NewFamily {
    let id = FamilyId(noise(number, 16).try_into().unwrap());
    let (client, scope): (Arc<str>, Arc<str>) = ("l7xx3c0ffee0123456789".into(), "client_registration".into());
    let (access, refresh) = (print_of("access", number), print_of("refresh", number));
    let seal = |salt: u64, length| Sealed::from_bytes(noise(number ^ (salt << 56), length));
    let member = |token_use, fingerprint| Member { token_use, fingerprint, until };
    let fate = AccessFate::Live {
        jwt: seal(1, 700 + 28),
        jwt_since: Timestamp::from_millis(0),
        jwt_until: until,
        key: seal(2, 60).into(),
    };
    let access_record =
        AccessRecord { family: id, client: client.clone(), scope: scope.clone(), issued: DAY, until, fate };
    let refresh_record =
        RefreshRecord { family: id, client: client.clone(), generation: 0, key: seal(3, 60), issued: DAY, until };
    let family = Family {
        id,
        client,
        born: DAY,
        scope,
        session: Some(print_of("session", number)),
        user: Some(print_of("user", number % 1000)),
        renewal: Some(seal(4, 350 + 28)),
        renewal_until: until,
        generation: 0,
        state: FamilyState::Resting,
        replay: None,
        members: vec![member(TokenUse::Access, access), member(TokenUse::Refresh, refresh)],
    };
    NewFamily { family, access: (access, access_record), refresh: Some((refresh, refresh_record)) }
}

/// CPU time of this process, all threads.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// CPU time of this thread: on a busy machine the clock on the wall counts what others do.
fn own_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Waits until the process has nothing to do; CPU time until then.
fn rest() -> Duration {
    let begun = cpu();
    loop {
        let before = cpu();
        std::thread::sleep(Duration::from_millis(200));
        if cpu() == before {
            return before.checked_sub(begun).unwrap();
        }
    }
}

/// Resident memory that is no file's, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn disk(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        // Files come and go while a store compacts.
        let Ok(entry) = entry else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { disk(&entry.path()) } else { metadata.blocks() * 512 };
    }
    bytes
}

struct Puts {
    per_second: f64,
    cpu_micros: f64,
    p50: Duration,
    p99: Duration,
}

/// Puts the families of a range while so many wait at once.
fn puts(store: &TokenStore, range: std::ops::Range<u64>, waiting: usize, until: impl Fn(u64) -> Timestamp) -> Puts {
    let next = Cell::new(range.start);
    let count = range.end - range.start;
    let (begun, before) = (Instant::now(), cpu());
    let mut took: Vec<Duration> = runtime()
        .block_on(futures_util::future::join_all((0..waiting).map(|_| async {
            let mut took = Vec::new();
            while next.get() < range.end {
                let number = next.replace(next.get() + 1);
                let new = family(number, until(number));
                let begun = Instant::now();
                store.put(new).await.unwrap();
                took.push(begun.elapsed());
            }
            took
        })))
        .concat();
    let (elapsed, used) = (begun.elapsed(), cpu().checked_sub(before).unwrap());
    took.sort();
    let generated = Instant::now();
    for number in 0..10_000 {
        std::hint::black_box(family(number, DAY));
    }
    let generator = generated.elapsed().as_secs_f64() * 1e6 / 10_000.0;
    Puts {
        per_second: count as f64 / elapsed.as_secs_f64(),
        cpu_micros: used.as_secs_f64() * 1e6 / count as f64 - generator,
        p50: took[took.len() / 2],
        p99: took[took.len() * 99 / 100],
    }
}

/// CPU microseconds a look-up among the first `live` families, picked from `hot` of them.
fn look_ups(store: &TokenStore, live: u64, hot: u64) -> f64 {
    let pick = |number: u64| {
        let random = u64::from_le_bytes(noise(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), 8).try_into().unwrap());
        print_of("access", random % hot * (live / hot))
    };
    let rounds = 200_000_u64;
    let run = |salt: u64, look: bool| {
        let begun = own_cpu();
        runtime().block_on(async {
            for number in 0..rounds {
                let fingerprint = pick(number + salt);
                if look {
                    assert!(store.access(&fingerprint).await.unwrap().is_some());
                } else {
                    std::hint::black_box(fingerprint);
                }
            }
        });
        micros(own_cpu().checked_sub(begun).unwrap()) / rounds as f64
    };
    run(1 << 40, true);
    run(0, true) - run(0, false)
}

/// The process that is killed: fills the store and says so.
fn fill(directory: &Path, live: u64) {
    let store = open(directory, clock());
    puts(&store, 0..live, 256, |_| DAY.plus(Duration::from_hours(1000)));
    println!("filled {}", resident());
    std::io::stdout().flush().unwrap();
    std::thread::sleep(Duration::from_hours(1));
}

fn filled_and_killed(directory: &Path, live: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--fill", &live.to_string(), "--dir"])
        .arg(directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    line.trim().strip_prefix("filled ").unwrap().parse().unwrap()
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| arguments.iter().position(|it| it == name).map(|at| arguments[at + 1].clone());
    let scratch = tempfile::tempdir().unwrap();
    let base: PathBuf = value("--dir").map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    if let Some(live) = value("--fill") {
        return fill(&base, live.parse().unwrap());
    }
    let live: u64 = value("--live").map_or(1_000_000, |live| live.parse().unwrap());
    let mut report = Vec::new();
    let only = value("--only");
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only.split(',').any(|it| it == name));
    if wanted("puts") {
        bench_puts(&base, &mut report);
    }
    for size in [1_000, 100_000, 1_000_000].into_iter().filter(|size| *size <= live && wanted("live")) {
        bench_live(&base, size, &mut report);
    }
    if wanted("churn") {
        bench_churn(&base, live, &mut report);
    }
    if wanted("renewed") {
        bench_renewed(&base, live, &mut report);
    }
    let fields: Vec<String> = report.iter().map(|(name, figure)| format!("\"{name}\": {figure:.2}")).collect();
    println!("{{{}}}", fields.join(", "));
}

fn tell(report: &mut Vec<(String, f64)>, name: String, figure: f64) {
    eprintln!("{name:<52} {figure:>14.2}");
    report.push((name, figure));
}

fn bench_puts(base: &Path, report: &mut Vec<(String, f64)>) {
    for waiting in [1, 64, 256] {
        let directory = base.join(format!("puts-{waiting}"));
        let store = open(&directory, clock());
        let count = if waiting == 1 { 2_000 } else { 100_000 };
        let figures = puts(&store, 0..count, waiting, |_| DAY.plus(Duration::from_hours(1000)));
        tell(report, format!("puts_per_second_{waiting}_waiting"), figures.per_second);
        tell(report, format!("put_cpu_micros_{waiting}_waiting"), figures.cpu_micros);
        tell(report, format!("put_p50_micros_{waiting}_waiting"), micros(figures.p50));
        tell(report, format!("put_p99_micros_{waiting}_waiting"), micros(figures.p99));
        drop(store);
        std::fs::remove_dir_all(directory).unwrap();
    }
}

fn bench_live(base: &Path, live: u64, report: &mut Vec<(String, f64)>) {
    let directory = base.join(format!("live-{live}"));
    let filling = filled_and_killed(&directory, live);
    tell(report, format!("resident_mb_after_filling_{live}"), filling as f64 / 1e6);
    let before = resident();
    let begun = Instant::now();
    let store = open(&directory, clock());
    tell(report, format!("open_ms_after_kill_{live}"), micros(begun.elapsed()) / 1e3);
    runtime().block_on(store.sweep(DAY)).unwrap();
    tell(report, format!("laid_out_cpu_ms_{live}"), micros(rest()) / 1e3);
    tell(report, format!("look_up_micros_hot_{live}"), look_ups(&store, live, HOT.min(live)));
    tell(report, format!("look_up_micros_uniform_{live}"), look_ups(&store, live, live));
    tell(report, format!("resident_mb_serving_{live}"), resident().saturating_sub(before) as f64 / 1e6);
    let beyond = resident().saturating_sub(before).saturating_sub(CACHE) as f64;
    tell(report, format!("resident_bytes_a_family_beyond_cache_{live}"), beyond / live as f64);
    tell(report, format!("disk_mb_{live}"), disk(&directory) as f64 / 1e6);
    drop(store);
    std::fs::remove_dir_all(directory).unwrap();
}

/// How long a login lives while the store is churned.
const LIFE: Duration = Duration::from_hours(8);

/// So many live at any time, three times as many written: each login lives as long as every other one.
fn bench_churn(base: &Path, live: u64, report: &mut Vec<(String, f64)>) {
    let directory = base.join("churn");
    let clock = Arc::new(TurnedClock::default());
    let store = open(&directory, clock.clone());
    let step = live / 20;
    let born = |number: u64| LIFE.mul_f64(number as f64 / live as f64);
    let (mut most, mut swept, begun, before) = (0, 0, Instant::now(), cpu());
    for part in 0..60 {
        puts(&store, part * step..(part + 1) * step, 256, |number| DAY.plus(born(number) + LIFE));
        clock.turn(born((part + 1) * step));
        loop {
            let portion = runtime().block_on(store.sweep(clock.now())).unwrap();
            swept += portion.families as u64;
            if !portion.more {
                break;
            }
        }
        most = most.max(disk(&directory));
        if part % 20 == 19 {
            tell(report, format!("churn_disk_mb_after_{}", (part + 1) * step), disk(&directory) as f64 / 1e6);
            tell(report, format!("churn_resident_mb_after_{}", (part + 1) * step), resident() as f64 / 1e6);
        }
    }
    assert!(swept >= live + live * 9 / 10, "the sweep dropped {swept} families alone");
    tell(report, "churn_disk_mb_at_most".to_owned(), most as f64 / 1e6);
    tell(report, "churn_seconds".to_owned(), begun.elapsed().as_secs_f64());
    let used = cpu().checked_sub(before).unwrap();
    tell(report, "churn_cpu_micros_a_login".to_owned(), micros(used) / (3 * live) as f64);
    drop(store);
    std::fs::remove_dir_all(directory).unwrap();
}

/// So many live all the time, and three times as many renewed: any of them, again and again, as JWTs are.
fn bench_renewed(base: &Path, live: u64, report: &mut Vec<(String, f64)>) {
    let directory = base.join("renewed");
    let store = open(&directory, clock());
    puts(&store, 0..live, 256, |_| DAY.plus(LIFE));
    tell(report, format!("renewed_disk_mb_after_{live}_written"), disk(&directory) as f64 / 1e6);
    let (mut most, begun, before) = (0, Instant::now(), cpu());
    let part = 3 * live / 60;
    for first in (0..3 * live).step_by(usize::try_from(part).unwrap()) {
        renew(&store, live, first..first + part);
        while runtime().block_on(store.sweep(DAY)).unwrap().more {}
        most = most.max(disk(&directory));
        if (first + part).is_multiple_of(live) {
            let name = format!("renewed_disk_mb_after_{}_renewals", first + part);
            tell(report, name, disk(&directory) as f64 / 1e6);
        }
    }
    tell(report, "renewed_disk_mb_at_most".to_owned(), most as f64 / 1e6);
    tell(report, "renewed_resident_mb".to_owned(), resident() as f64 / 1e6);
    tell(report, "renewed_seconds".to_owned(), begun.elapsed().as_secs_f64());
    let used = cpu().checked_sub(before).unwrap();
    tell(report, "renewed_cpu_micros_a_renewal".to_owned(), micros(used) / (3 * live) as f64);
    drop(store);
    std::fs::remove_dir_all(directory).unwrap();
}

fn renew(store: &TokenStore, live: u64, range: std::ops::Range<u64>) {
    let next = Cell::new(range.start);
    let any = |number: u64| {
        u64::from_le_bytes(noise(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), 8).try_into().unwrap()) % live
    };
    runtime().block_on(futures_util::future::join_all((0..256).map(|_| async {
        while next.get() < range.end {
            let number = next.replace(next.get() + 1);
            let new = family(any(number), DAY.plus(LIFE));
            let known = store.family(new.family.id).await.unwrap().unwrap();
            let change = Change { access: vec![new.access], ..Change::of(known.version, new.family) };
            // Two may have picked the same.
            drop(store.commit(change).await);
        }
    })));
}
