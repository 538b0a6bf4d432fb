//! Interleaved rounds: every contestant once a round, the order turned by one each time, so that whatever else the machine does
//! meets all alike. Ratios are taken within a round.

use std::time::Duration;

use crate::load::{self, Load, Served};
use crate::process::{Cpu, Process};

/// One of those that are compared.
#[derive(Clone)]
pub struct Contestant<'a> {
    pub name: &'static str,
    pub process: &'a Process,
    pub load: Load,
}

/// What one contestant did in one round.
#[derive(Clone, Debug)]
pub struct Round {
    pub served: Served,
    pub cpu: Cpu,
}

impl Round {
    /// CPU microseconds a request.
    pub fn cost(&self) -> f64 {
        micros(self.cpu.all(), self.served.requests)
    }

    /// The same, of threads whose names begin so.
    pub fn cost_of(&self, prefix: &str) -> f64 {
        micros(self.cpu.of(prefix), self.served.requests)
    }
}

fn micros(time: Duration, requests: usize) -> f64 {
    time.as_secs_f64() * 1e6 / requests.max(1) as f64
}

/// Runs them; for each contestant its rounds, in order. One round more is run before, to warm up, and forgotten.
pub fn run(contestants: &[Contestant<'_>], rounds: usize) -> Vec<Vec<Round>> {
    let mut all = vec![Vec::new(); contestants.len()];
    for number in 0..=rounds {
        for turn in 0..contestants.len() {
            let index = (turn + number) % contestants.len();
            let contestant = &contestants[index];
            let before = contestant.process.cpu();
            let served = load::run(&contestant.load);
            rest(contestant.process, PUT_OFF);
            let cpu = contestant.process.cpu().since(&before);
            if number > 0 {
                all[index].push(Round { served, cpu });
            }
        }
    }
    all
}

/// What a contestant put off is its own work, and not the next one's. So long it is waited for.
const PUT_OFF: Duration = Duration::from_secs(2);

/// Waits until it has nothing to do, for so long at most.
pub fn rest(process: &Process, patience: Duration) {
    const GLANCE: Duration = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    while waited < patience {
        let before = process.cpu();
        std::thread::sleep(GLANCE);
        if process.cpu().since(&before).all() < GLANCE / 50 {
            return;
        }
        waited += GLANCE;
    }
}

/// Median and quartiles.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |quarter: usize| values[(values.len() - 1) * quarter / 4];
        Self { low: at(1), median: at(2), high: at(3) }
    }

    /// Of a figure of each round.
    pub fn over(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> Self {
        Self::of(rounds.iter().map(figure))
    }

    /// Of the ratio of two contestants' figures, round by round.
    pub fn ratio(of: &[Round], to: &[Round], figure: impl Fn(&Round) -> f64) -> Self {
        Self::of(of.iter().zip(to).map(|(of, to)| figure(of) / figure(to)))
    }
}
