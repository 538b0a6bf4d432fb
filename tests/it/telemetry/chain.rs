//! The chain: nothing is removed or changed unseen, whatever the machine does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use passbridge::domain::refusal::{Cause, Refusal};
use passbridge::telemetry::audit::{Audit, AuditSettings, Verdict, files, verify};
use passbridge::telemetry::{Edge, Metrics, Trail};

use crate::support::program::bare;
use crate::support::{ManualClock, OLD_ID, OLD_SECRET, Plan, World, eventually, passport};

/// An edge with an audit in a directory.
struct Kept {
    edge: Arc<Edge>,
    metrics: Arc<Metrics>,
    clock: Arc<ManualClock>,
    thread: JoinHandle<()>,
}

impl Kept {
    fn begin(path: &Path, keep_days: u64, file_size: u64) -> Self {
        Self::at(path, keep_days, file_size, Arc::default())
    }

    fn at(path: &Path, keep_days: u64, file_size: u64, clock: Arc<ManualClock>) -> Self {
        let settings =
            AuditSettings { path: path.to_owned(), keep: Duration::from_secs(keep_days * 86_400), file_size };
        let metrics = Arc::new(Metrics::new());
        // Another test's program has the lock's file too, between its birth and its own first word.
        let mut started = None;
        eventually("nobody holds the directory", || {
            let clock = Arc::<ManualClock>::clone(&clock);
            started = Audit::start(settings.clone(), clock, Arc::clone(&metrics)).ok();
            started.is_some()
        });
        let (audit, thread) = started.unwrap();
        Self { edge: Arc::new(Edge::new(Arc::clone(&metrics), Some(audit))), metrics, clock, thread }
    }

    /// Writes so many refusals down, and waits until they are in the files.
    #[track_caller]
    fn refuse(&self, times: u64) {
        let before = self.metrics.audit_records.get();
        self.refuse_unseen(times);
        eventually("all is written", || self.metrics.audit_records.get() >= before + times);
    }

    fn refuse_unseen(&self, times: u64) {
        for _ in 0..times {
            let refusal = Some(Refusal::client(Cause::NotFound, "no endpoint has this path"));
            self.edge.request(&Trail { refusal, ..Trail::default() }, 404, Duration::ZERO);
        }
    }

    /// Waits until it has been looked again which files are old.
    #[track_caller]
    fn look(&self) {
        for _ in 0..2 {
            let before = self.metrics.audit_left_out.get();
            // Beyond what is written of strangers in a minute; how many those were is written when it is looked.
            self.refuse_unseen(700);
            eventually("it is looked", || self.metrics.audit_left_out.get() > before);
        }
    }

    fn end(self) {
        self.edge.close();
        self.thread.join().unwrap();
    }
}

#[track_caller]
fn intact(path: &Path) -> Verdict {
    let verdict = verify(path).unwrap();
    assert_eq!(verdict.faults, [], "{verdict:?}");
    verdict
}

/// The messages of what is wrong.
fn faults(path: &Path) -> Vec<String> {
    verify(path).unwrap().faults.into_iter().map(|fault| fault.message).collect()
}

fn last(path: &Path) -> PathBuf {
    files(path).unwrap().pop().unwrap()
}

/// An audit of ten refusals between its start and its stop.
fn ten() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let kept = Kept::begin(directory.path(), 90, 1 << 20);
    kept.refuse(10);
    kept.end();
    let verdict = intact(directory.path());
    assert_eq!((verdict.records, verdict.first, verdict.last, verdict.crashes), (12, 1, 12, 0));
    directory
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(path, lines.join("\n") + "\n").unwrap();
}

#[test]
fn a_changed_a_removed_and_an_exchanged_record_show() {
    let directory = ten();
    let path = directory.path();
    edit(&last(path), |lines| lines[4] = lines[4].replace("not_found", "not_fount"));
    assert_eq!(faults(path), ["this is no record, or was changed", "records 5 to 5 are missing"]);
    let directory = ten();
    edit(&last(directory.path()), |lines| drop(lines.drain(3..6)));
    assert_eq!(faults(directory.path()), ["records 4 to 6 are missing"]);
    let directory = ten();
    edit(&last(directory.path()), |lines| lines.swap(3, 4));
    assert!(faults(directory.path()).contains(&"record 4 comes where 6 should".to_owned()));
    // A whole other chain spliced in: right by itself, and chained to nothing here.
    let (directory, other) = (ten(), tempfile::tempdir().unwrap());
    let kept = Kept::begin(other.path(), 90, 1 << 20);
    kept.clock.turn(Duration::from_secs(1));
    kept.refuse(10);
    kept.end();
    let foreign = fs::read_to_string(last(other.path())).unwrap();
    edit(&last(directory.path()), |lines| lines[8] = foreign.lines().nth(8).unwrap().to_owned());
    assert!(faults(directory.path()).contains(&"record 9 is not chained to the one before".to_owned()));
}

#[test]
fn the_first_records_do_not_vanish_without_a_word() {
    let missing =
        |first: u64| [format!("the records before {first} are missing, and none says that they were forgotten")];
    for gone in [1, 2] {
        let directory = ten();
        edit(&last(directory.path()), |lines| drop(lines.drain(..gone)));
        assert_eq!(faults(directory.path()), missing(gone as u64 + 1));
    }
    // Nor do those behind what was forgotten.
    let directory = tempfile::tempdir().unwrap();
    let kept = Kept::begin(directory.path(), 2, 1 << 20);
    kept.refuse(1);
    kept.clock.turn(Duration::from_secs(86_400));
    kept.refuse(2);
    let [forgotten, oldest] = files(directory.path()).unwrap().try_into().unwrap();
    kept.clock.turn(Duration::from_secs(2 * 86_400));
    eventually("the first day is forgotten", || !forgotten.exists());
    kept.end();
    let first = intact(directory.path()).first;
    edit(&oldest, |lines| drop(lines.remove(0)));
    assert_eq!(faults(directory.path()), missing(first + 1));
}

#[test]
fn sha256sum_comes_to_the_same_hash() {
    let directory = ten();
    let script = "sed -n 3p \"$1\" >\"$1.line\"; prev=$(sed 's/.*\"prev\":\"\\([0-9a-f]*\\)\".*/\\1/' \"$1.line\"); \
                  printf %s \"$prev$(sed 's/,\"hash\":\"[0-9a-f]*\"}$//' \"$1.line\")\" | sha256sum";
    let output = Command::new("bash").args(["-c", script, "check"]).arg(last(directory.path())).output().unwrap();
    let hash = String::from_utf8(output.stdout).unwrap()[..64].to_owned();
    assert!(fs::read_to_string(last(directory.path())).unwrap().lines().nth(2).unwrap().contains(&hash));
}

#[test]
fn a_torn_last_line_is_recognised_and_the_chain_goes_on_with_a_record_that_says_so() {
    for cut in [2, 3, 40, 200] {
        let directory = ten();
        let path = last(directory.path());
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
        let kept = Kept::begin(directory.path(), 90, 1 << 20);
        kept.refuse(1);
        kept.end();
        let verdict = intact(directory.path());
        assert_eq!((verdict.tears, verdict.crashes), (1, 1), "cut by {cut}");
        let text = fs::read_to_string(&path).unwrap();
        let records: Vec<&str> = text.lines().skip(12).collect();
        assert!(records[0].contains("\"what\":\"torn\"") && records[1].contains("\"what\":\"start\""), "{records:#?}");
        // Nobody may pass a change off as a tear.
        edit(&path, |lines| lines[11].clear());
        assert_eq!(verify(directory.path()).unwrap().faults.len(), 1);
    }
}

#[test]
fn a_torn_line_is_told_in_its_own_file_on_another_day_and_where_that_is_full_too() {
    for (days, file_size) in [(1, 1 << 20), (0, 64), (1, 64)] {
        let directory = ten();
        let path = last(directory.path());
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 40]).unwrap();
        let clock = Arc::<ManualClock>::default();
        clock.turn(Duration::from_secs(days * 86_400));
        let kept = Kept::at(directory.path(), 90, file_size, clock);
        kept.refuse(1);
        kept.end();
        let verdict = intact(directory.path());
        assert_eq!((verdict.tears, verdict.crashes, verdict.records), (1, 1, 15), "{days} days later, {file_size}");
        assert!(fs::read_to_string(&path).unwrap().lines().last().unwrap().contains("\"what\":\"torn\""));
        assert!(files(directory.path()).unwrap().len() > 1);
    }
}

#[test]
fn a_last_record_that_lacks_but_the_end_of_its_line_is_whole() {
    let directory = ten();
    let path = last(directory.path());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(intact(directory.path()).records, 12);
    Kept::begin(directory.path(), 90, 1 << 20).end();
    let verdict = intact(directory.path());
    assert_eq!((verdict.records, verdict.tears, verdict.crashes), (14, 0, 0));
}

#[test]
fn a_whole_record_that_was_changed_before_a_start_is_no_tear() {
    let directory = ten();
    edit(&last(directory.path()), |lines| lines[11] = lines[11].replace("stop", "stob"));
    let kept = Kept::begin(directory.path(), 90, 1 << 20);
    kept.refuse(1);
    kept.end();
    assert_eq!(faults(directory.path()), ["this is no record, or was changed"]);
}

#[test]
fn files_follow_each_other_by_size_and_by_day_and_old_ones_are_forgotten_with_a_word() {
    let directory = tempfile::tempdir().unwrap();
    let kept = Kept::begin(directory.path(), 2, 8 << 10);
    kept.refuse(100);
    let by_size = files(directory.path()).unwrap();
    assert!(by_size.len() > 3, "{by_size:?}");
    for path in &by_size {
        assert!(fs::metadata(path).unwrap().len() < 9 << 10);
    }
    kept.clock.turn(Duration::from_secs(86_400));
    kept.refuse(1);
    assert_eq!(files(directory.path()).unwrap().len(), by_size.len() + 1);
    assert_eq!(intact(directory.path()).first, 1);
    kept.clock.turn(Duration::from_secs(2 * 86_400));
    eventually("the first day is forgotten", || !by_size.iter().any(|path| path.exists()));
    kept.end();
    let verdict = intact(directory.path());
    assert!(verdict.first > 100, "{verdict:?}");
    // And a start goes on where it was.
    Kept::begin(directory.path(), 90, 8 << 10).end();
    assert!(intact(directory.path()).last > verdict.last);
}

#[test]
fn a_file_is_kept_to_the_last_second_of_its_time_and_no_longer() {
    let directory = tempfile::tempdir().unwrap();
    let kept = Kept::begin(directory.path(), 2, 1 << 20);
    kept.refuse(1);
    let first = last(directory.path());
    // From noon to noon; its own day is over at midnight, and two more are over at another one.
    kept.clock.turn(Duration::from_hours(24));
    kept.refuse(1);
    kept.look();
    kept.clock.turn(Duration::from_hours(36) - Duration::from_secs(1));
    kept.look();
    assert!(first.exists());
    kept.clock.turn(Duration::from_secs(1));
    eventually("it is forgotten", || !first.exists());
    kept.end();
    intact(directory.path());
}

#[test]
fn a_clock_that_leaps_ahead_has_nothing_forgotten_until_it_has_kept_its_lead_for_an_hour() {
    let directory = tempfile::tempdir().unwrap();
    let kept = Kept::begin(directory.path(), 90, 1 << 20);
    for _ in 0..3 {
        kept.refuse(1);
        kept.look();
        kept.clock.turn(Duration::from_secs(86_400));
    }
    let written = files(directory.path()).unwrap();
    assert_eq!(written.len(), 3);
    kept.clock.set_ahead(200 * 86_400);
    kept.look();
    kept.clock.turn(Duration::from_mins(59));
    kept.look();
    assert!(written.iter().all(|path| path.exists()), "{:?}", files(directory.path()));
    kept.clock.turn(Duration::from_mins(2));
    eventually("they are forgotten", || !written[..2].iter().any(|path| path.exists()));
    assert!(written[2].exists(), "the one behind it was begun at the leap");
    kept.end();
    assert!(intact(directory.path()).first > 1);
}

#[test]
fn a_clock_that_was_ahead_for_a_moment_leaves_a_file_that_takes_no_other_day_and_keeps_none_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let kept = Kept::begin(directory.path(), 2, 1 << 20);
    kept.refuse(1);
    kept.clock.set_ahead(400 * 86_400);
    kept.refuse(1);
    kept.clock.set_back(400 * 86_400);
    kept.refuse(1);
    kept.clock.turn(Duration::from_secs(86_400));
    kept.refuse(1);
    let listed = || files(directory.path()).unwrap();
    eventually("there are the day, the moment, the day again, and the next", || listed().len() == 4);
    let written = listed();
    kept.clock.turn(Duration::from_secs(2 * 86_400));
    eventually("all but the last day is forgotten", || !written[..3].iter().any(|path| path.exists()));
    assert!(written[3].exists());
    kept.end();
    intact(directory.path());
}

#[test]
fn what_was_written_while_a_machine_did_not_know_the_year_is_kept_as_long_as_what_came_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let kept = Kept::begin(directory.path(), 2, 1 << 20);
    kept.refuse(1);
    kept.clock.set_ahead(20_000 * 86_400);
    kept.refuse(1);
    kept.look();
    let written = files(directory.path()).unwrap();
    assert_eq!(written.len(), 2);
    kept.clock.turn(Duration::from_mins(61));
    kept.look();
    assert!(written[0].exists(), "{:?}", files(directory.path()));
    kept.clock.turn(Duration::from_secs(2 * 86_400));
    eventually("it is forgotten", || !written[0].exists());
    assert!(written[1].exists());
    kept.end();
    intact(directory.path());
}

#[test]
fn a_clock_that_is_wrong_at_the_start_has_nothing_forgotten_for_an_hour() {
    let directory = tempfile::tempdir().unwrap();
    let before = Kept::begin(directory.path(), 90, 1 << 20);
    before.refuse(10);
    before.clock.turn(Duration::from_secs(86_400));
    before.end();
    let clock = Arc::<ManualClock>::default();
    clock.set_ahead(200 * 86_400);
    let kept = Kept::at(directory.path(), 90, 1 << 20, clock);
    kept.refuse(1);
    kept.look();
    let first = files(directory.path()).unwrap().remove(0);
    assert_eq!(intact(directory.path()).first, 1);
    kept.clock.turn(Duration::from_mins(61));
    eventually("it is forgotten", || !first.exists());
    kept.end();
    assert_eq!(intact(directory.path()).first, 12);
}

#[test]
fn an_old_file_that_cannot_be_removed_is_told_once_a_day_and_is_no_want_of_writing() {
    let directory = ten();
    // Named as a file of the audit, and no file.
    let stuck = directory.path().join("000000000000-1970-01-01.jsonl");
    fs::create_dir(&stuck).unwrap();
    let kept = Kept::begin(directory.path(), 90, 1 << 20);
    let told = || {
        let text: String = files(directory.path()).unwrap().iter().flat_map(fs::read_to_string).collect();
        text.matches("\"what\":\"forgotten\"").count()
    };
    kept.look();
    kept.clock.turn(Duration::from_secs(90 * 86_400));
    eventually("it is old", || told() > 0);
    kept.look();
    kept.look();
    assert_eq!((told(), kept.metrics.audit_writable.get()), (1, 1));
    kept.clock.turn(Duration::from_secs(86_400));
    eventually("it is told again", || told() == 2);
    kept.end();
    fs::remove_dir(&stuck).unwrap();
    intact(directory.path());
}

#[test]
fn a_directory_that_is_gone_stops_no_login_and_what_waited_is_written_when_it_is_back() {
    let mut world = World::new();
    let path = world.store().join("audit");
    eventually("the audit began", || !files(&path).unwrap().is_empty());
    let aside = world.store().join("aside");
    fs::rename(&path, &aside).unwrap();
    // The next day's file has no place.
    world.turn(86_400);
    world.login();
    eventually("it is told", || world.metric("passbridge_audit_writable").abs() < f64::EPSILON);
    let detail = format!("{}: No such file or directory (os error 2)", path.display());
    assert!(world.log("\"audit\"").iter().any(|line| line["outcome"] == "failing" && line["detail"] == detail));
    assert_eq!(world.ops("/readyz").json("audit"), "failing");
    world.login();
    fs::rename(&aside, &path).unwrap();
    eventually("it is written again", || world.metric("passbridge_audit_writable") > 0.5);
    assert_eq!(world.ops("/readyz").json("audit"), "writing");
    world.end();
    assert_eq!(world.audit().iter().filter(|record| record["what"] == "login").count(), 2);
    assert_eq!(intact(&path).lost, 0);
}

#[test]
fn what_is_left_out_while_nothing_can_be_written_is_one_record_however_long_that_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let kept = Kept::begin(&path, 90, 1 << 20);
    // As many strangers as are written in a minute.
    kept.refuse(600);
    fs::remove_dir_all(&path).unwrap();
    // This one is to be written, so that the want of a place is seen, unless it was seen already.
    kept.refuse_unseen(1);
    eventually("it is told", || kept.metrics.audit_writable.get() == 0);
    let mut left_out = 1;
    for _ in 0..3 {
        kept.refuse_unseen(5);
        left_out += 5;
        eventually("it is counted, a second later", || kept.metrics.audit_left_out.get() == left_out);
    }
    fs::create_dir(&path).unwrap();
    eventually("it is written again", || kept.metrics.audit_writable.get() == 1);
    kept.end();
    // One for all since the directory was found gone, and one before where a record was what found it, and no look at it in vain.
    let told = left_out_of_strangers(&path);
    assert!(told.iter().sum::<u64>() == left_out && told.len() <= 2, "{told:?} of {left_out}");
}

#[test]
fn refusals_that_wait_leave_room_for_who_is_let_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let kept = Kept::begin(&path, 90, 1 << 20);
    kept.refuse(1);
    eventually("the start is written too", || kept.metrics.audit_records.get() == 2);
    fs::remove_dir_all(&path).unwrap();
    kept.refuse_unseen(1);
    eventually("it is told", || kept.metrics.audit_writable.get() == 0);
    // More than the queue holds, as many in each minute as are written of strangers.
    for _ in 0..60 {
        kept.clock.turn(Duration::from_mins(1));
        kept.refuse_unseen(600);
    }
    kept.edge.began(7, "a digest", 1);
    fs::create_dir(&path).unwrap();
    eventually("it is written again", || kept.metrics.audit_writable.get() == 1);
    kept.end();
    let text: String = files(&path).unwrap().iter().flat_map(fs::read_to_string).collect();
    let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.iter().any(|record| record["what"] == "load" && record["generation"] == 7));
    let why = "refusals came faster than they could be written; each is in the log";
    let gaps: Vec<_> = records.iter().filter(|record| record["why"] == why).collect();
    assert!(gaps.len() == 1 && gaps[0]["lost"].as_u64() > Some(18_000), "{gaps:?}");
    // What went with the directory, the start and the first refusal, is all that is told as removed.
    assert_eq!((faults(&path).len(), verify(&path).unwrap().removed), (1, 2));
}

/// What each record says that tells of strangers left out.
fn left_out_of_strangers(path: &Path) -> Vec<u64> {
    let text: String = files(path).unwrap().iter().flat_map(fs::read_to_string).collect();
    let records = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let gaps = records.filter(|record| record["why"].as_str().is_some_and(|why| why.contains("strangers")));
    gaps.map(|record| record["lost"].as_u64().unwrap()).collect()
}

#[test]
fn nothing_is_written_into_a_file_that_was_removed_and_what_went_with_it_is_told_as_removed() {
    let directory = tempfile::tempdir().unwrap();
    let kept = Kept::begin(directory.path(), 90, 1 << 20);
    kept.refuse(3);
    eventually("the start is written too", || kept.metrics.audit_records.get() == 4);
    fs::remove_file(last(directory.path())).unwrap();
    kept.refuse(2);
    kept.end();
    let text = fs::read_to_string(last(directory.path())).unwrap();
    let whats: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["what"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(whats, ["gap", "request", "request", "stop"], "{text}");
    assert!(text.lines().next().unwrap().contains("\"removed\":4"), "the start and three refusals: {text}");
    assert!(!text.contains("\"lost\""), "{text}");
    // The next process goes on from there, and it stays told.
    Kept::begin(directory.path(), 90, 1 << 20).end();
    let verdict = verify(directory.path()).unwrap();
    assert_eq!((verdict.lost, verdict.removed, verdict.records), (0, 4, 6));
    let told = "4 records that were written before this one, by the same process, were removed or changed";
    assert_eq!(faults(directory.path()), [told]);
}

#[test]
fn a_file_that_is_put_back_without_its_last_records_or_with_others_in_their_place_is_told_as_removed() {
    let other = tempfile::tempdir().unwrap();
    let kept = Kept::begin(other.path(), 90, 1 << 20);
    kept.clock.turn(Duration::from_secs(1));
    kept.refuse(3);
    eventually("the start is written too", || kept.metrics.audit_records.get() == 4);
    // As many records, and a chain that is right by itself.
    let foreign = fs::read_to_string(last(other.path())).unwrap();
    kept.end();
    let ways: [(&str, &str, &Change<'_>); 4] = [
        ("put back without its last two", "2 records that were", &|path| {
            let text = fs::read_to_string(path).unwrap();
            let kept: String = text.lines().take(2).map(|line| format!("{line}\n")).collect();
            replace(path, &kept);
        }),
        ("others in their place", "1 record that was", &|path| replace(path, &foreign)),
        ("cut where it lies", "2 records that were", &|path| {
            let text = fs::read_to_string(path).unwrap();
            let kept: usize = text.lines().take(2).map(|line| line.len() + 1).sum();
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(kept as u64).unwrap();
        }),
        ("moved away", "4 records that were", &|path| fs::rename(path, path.with_extension("aside")).unwrap()),
    ];
    for (way, told, change) in ways {
        let directory = tempfile::tempdir().unwrap();
        let kept = Kept::begin(directory.path(), 90, 1 << 20);
        kept.refuse(3);
        eventually("the start is written too", || kept.metrics.audit_records.get() == 4);
        change(&last(directory.path()));
        eventually("it is told though nothing happens", || kept.metrics.audit_records.get() > 4);
        kept.refuse(1);
        kept.end();
        let faults = faults(directory.path());
        assert!(faults.len() == 1 && faults[0].starts_with(told), "{way}: {faults:?}");
        assert_eq!(verify(directory.path()).unwrap().lost, 0);
    }
}

/// What somebody does to a file.
type Change<'a> = dyn Fn(&Path) + 'a;

/// Puts a file in another's place at once.
fn replace(path: &Path, text: &str) {
    let aside = path.with_extension("new");
    fs::write(&aside, text).unwrap();
    fs::rename(aside, path).unwrap();
}

const FULL: &str = "PASSBRIDGE_TEST_FULL_AUDIT";

/// Runs under a limit on the size of files, as a full disk would be: a write is cut off in the middle of a line.
#[test]
#[expect(clippy::disallowed_methods, reason = "how this test speaks to the process that it starts")]
fn an_audit_on_a_full_disk() {
    let Some(directory) = std::env::var_os(FULL) else { return };
    let kept = Kept::begin(Path::new(&directory), 90, 1 << 20);
    let refuse = |times: u64| {
        for _ in 0..times {
            let refusal = Some(Refusal::client(Cause::NotFound, "no endpoint has this path"));
            kept.edge.request(&Trail { refusal, ..Trail::default() }, 404, Duration::ZERO);
        }
    };
    refuse(400);
    eventually("it is told", || kept.metrics.audit_writable.get() == 0);
    refuse(100);
    let pid = std::process::id().to_string();
    assert!(Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status().unwrap().success());
    eventually("there is room", || kept.metrics.audit_writable.get() == 1);
    let metrics = Arc::clone(&kept.metrics);
    kept.end();
    let records = intact(Path::new(&directory)).records;
    assert_eq!(metrics.audit_records.get(), records, "also of a batch that the disk took in part");
}

#[test]
fn a_full_disk_loses_nothing_that_waits_and_its_cut_off_line_is_told() {
    let directory = tempfile::tempdir().unwrap();
    // The trap is for what is started here, the tests' own program: passbridge sees to it by itself.
    let script = "trap '' XFSZ; ulimit -S -f 64; exec \"$@\"";
    let output = Command::new("/bin/bash")
        .args(["-c", script, "limited"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "telemetry::chain::an_audit_on_a_full_disk", "--nocapture", "--test-threads=1"])
        .env(FULL, directory.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let verdict = intact(directory.path());
    assert_eq!((verdict.tears, verdict.lost, verdict.crashes), (1, 0, 0));
    assert_eq!(verdict.records, 500 + 3, "start, torn, stop");
}

const UNSYNCED: &str = "PASSBRIDGE_TEST_UNSYNCED_AUDIT";

/// Runs where the syncs of one file fail.
#[test]
#[expect(clippy::disallowed_methods, reason = "how this test speaks to the process that it starts")]
fn an_audit_whose_disk_does_not_keep_a_file() {
    let Some(directory) = std::env::var_os(UNSYNCED) else { return };
    let kept = Kept::begin(Path::new(&directory), 2, 1 << 20);
    let fails = || kept.metrics.audit_writable.get() == 0;
    kept.refuse_unseen(1);
    kept.clock.turn(Duration::from_secs(86_400));
    kept.refuse_unseen(1);
    eventually("another day begins", || fails() || files(Path::new(&directory)).unwrap().len() == 2);
    kept.clock.turn(Duration::from_secs(2 * 86_400));
    eventually("it is told", fails);
    kept.end();
}

#[test]
fn behind_a_file_that_the_disk_does_not_keep_none_is_begun_and_none_is_forgotten_by_its_word() {
    for (unsynced, left) in [("000000000001-2026-01-15.jsonl", 1), ("000000000004-2026-01-18.jsonl", 3)] {
        let directory = tempfile::tempdir().unwrap();
        let syncs = ["-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO", "-P"];
        let mut traced = Command::new("strace");
        traced.args(syncs).arg(directory.path().join(unsynced)).arg(std::env::current_exe().unwrap());
        traced.args(["--exact", "telemetry::chain::an_audit_whose_disk_does_not_keep_a_file", "--test-threads=1"]);
        let output = traced.env(UNSYNCED, directory.path()).output().unwrap();
        assert!(output.status.success(), "{unsynced}: {}", String::from_utf8_lossy(&output.stdout));
        let files = files(directory.path()).unwrap();
        assert_eq!(files.len(), left, "{unsynced}: {files:?}");
    }
}

#[test]
fn what_a_killed_process_had_written_is_intact_and_the_next_one_goes_on() {
    let mut world = World::new();
    for round in 1..=3 {
        world.login();
        let logins = |world: &World| {
            let records = world.audit();
            records.iter().filter(|record| record["what"] == "login").count()
        };
        eventually("the login is written", || logins(&world) == round);
        world.crash();
    }
    world.end();
    let verdict = intact(&world.store().join("audit"));
    assert_eq!((verdict.crashes, verdict.lost), (3, 0));
}

#[test]
fn kill_minus_nine_under_load_leaves_a_chain_that_is_whole() {
    let mut world = Plan::new().files();
    for round in 0..4 {
        let mut served = Served::begin(&mut world);
        for _ in 0..20 * (round + 1) {
            served.login(&world);
        }
        served.child.kill().unwrap();
        served.child.wait().unwrap();
    }
    // The next start says what it found.
    let mut served = Served::begin(&mut world);
    served.login(&world);
    assert!(Command::new("kill").args(["-TERM", &served.child.id().to_string()]).status().unwrap().success());
    assert!(served.child.wait().unwrap().success());
    let verdict = intact(&world.store().join("audit"));
    assert_eq!((verdict.crashes, verdict.lost), (4, 0), "{verdict:?}");
    let logins = world.audit().iter().filter(|record| record["what"] == "login").count();
    assert!(
        logins > 150,
        "{logins} of 201: what was gathered in the five milliseconds before each kill is all that is lost"
    );
}

/// The real program.
struct Served {
    child: std::process::Child,
    address: std::net::SocketAddr,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    fn begin(world: &mut World) -> Self {
        let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (address, ops) = (port(), port());
        world.change("listen", "legacy", &format!("\"{address}\""));
        world.change("listen", "ops", &format!("\"{ops}\""));
        let mut command = Command::new(env!("CARGO_BIN_EXE_passbridge"));
        bare(command.args(["serve", "--config"]).arg(world.config()));
        let nothing = std::process::Stdio::null;
        command.env("OLD_SECRET", OLD_SECRET).env("NEW_SECRET", crate::support::NEW_SECRET);
        let child = command.stdin(nothing()).stdout(nothing()).stderr(nothing()).spawn().unwrap();
        eventually("the bridge listens", || std::net::TcpStream::connect(address).is_ok());
        Self { child, address }
    }

    #[track_caller]
    fn login(&mut self, world: &World) {
        let request = crate::support::post(crate::support::TOKEN, &passport(OLD_ID, OLD_SECRET));
        let reply = crate::support::Connection::open(self.address).ask(&request);
        assert_eq!(reply.status, 200, "{}", reply.body);
        world.plant(&reply);
    }
}
