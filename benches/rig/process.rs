//! Processes that the rig starts: they end with it, and what they used of the machine can be read.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A process of ours. It ends when this is dropped.
pub struct Process(Child);

impl Process {
    pub fn start(mut command: Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}")))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// CPU time of the process and its children so far, by thread name. Of the kernel's scheduler, in nanoseconds: what utime
    /// and stime of /proc/PID/stat add up to, in a unit fine enough for short rounds. Threads that have ended are not in it.
    pub fn cpu(&self) -> Cpu {
        let mut cpu = Cpu::default();
        for id in tree(self.id()) {
            for task in fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten() {
                let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
                let nanoseconds = read("schedstat").split(' ').next().and_then(|text| text.parse::<u64>().ok());
                let nanoseconds = nanoseconds.unwrap_or_default();
                *cpu.0.entry(read("comm").trim().to_owned()).or_default() += Duration::from_nanos(nanoseconds);
            }
        }
        cpu
    }

    /// Resident memory of the process and its children, in bytes.
    pub fn resident(&self) -> u64 {
        tree(self.id()).into_iter().map(|id| kilobytes(id, "VmRSS:") * 1024).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let asked = Command::new("kill").args(["-TERM", &self.id().to_string()]).status();
        if let Err(error) = asked {
            eprintln!("bench: kill does not run, so that nobody ends by himself ({error}): scripts/install bench");
        }
        let patience = Instant::now() + Duration::from_secs(10);
        while self.running() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU time by thread name.
#[derive(Clone, Debug, Default)]
pub struct Cpu(BTreeMap<String, Duration>);

impl Cpu {
    pub fn since(&self, former: &Self) -> Self {
        let before = |name: &String| former.0.get(name).copied().unwrap_or_default();
        Self(self.0.iter().map(|(name, used)| (name.clone(), used.saturating_sub(before(name)))).collect())
    }

    pub fn all(&self) -> Duration {
        self.0.values().sum()
    }

    /// Of the threads whose names begin so.
    pub fn of(&self, prefix: &str) -> Duration {
        self.0.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, used)| *used).sum()
    }
}

/// A process and all that descend from it.
fn tree(root: u32) -> Vec<u32> {
    let parent = |id: u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = names.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = ids.filter_map(|id| Some((id, parent(id)?))).collect();
    let mut all = vec![root];
    let mut next = 0;
    while let Some(id) = all.get(next).copied() {
        all.extend(parents.iter().filter(|(_, parent)| *parent == id).map(|(child, _)| *child));
        next += 1;
    }
    all
}

fn kilobytes(id: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}

/// Waits until something is there, for at most so long.
pub fn eventually(what: &str, patience: Duration, mut there: impl FnMut() -> bool) {
    let end = Instant::now() + patience;
    while !there() {
        assert!(Instant::now() < end, "{what} in {patience:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
