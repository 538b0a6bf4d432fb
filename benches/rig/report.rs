//! What was measured: a table for people on standard output, and the same as JSON for machines.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::rounds::Spread;

/// How a figure is to be judged.
#[derive(Clone, Copy)]
pub enum Bar {
    /// Good when at most this.
    AtMost(f64),
    /// Good when at least this.
    AtLeast(f64),
    /// Told, not judged.
    None,
}

impl Bar {
    fn words(self, figure: f64) -> (String, &'static str) {
        let verdict = |good| if good { "yes" } else { "NO" };
        match self {
            Self::AtMost(bar) => (format!("<= {bar}"), verdict(figure <= bar)),
            Self::AtLeast(bar) => (format!(">= {bar}"), verdict(figure >= bar)),
            Self::None => (String::new(), ""),
        }
    }
}

/// Everything measured so far.
pub struct Report {
    begun: String,
    rows: Vec<Value>,
}

impl Report {
    pub fn begin() -> Self {
        println!("| what | figure | quartiles | unit | bar | met |");
        println!("|---|---|---|---|---|---|");
        Self { begun: load_average(), rows: Vec::new() }
    }

    /// Adds a figure with its spread over rounds.
    pub fn spread(&mut self, chapter: &str, what: &str, unit: &str, spread: Spread, bar: Bar) {
        let quartiles = format!("{}-{}", digits(spread.low), digits(spread.high));
        self.row(chapter, what, unit, (spread.median, quartiles), bar);
    }

    /// Adds a figure that was measured once.
    pub fn once(&mut self, chapter: &str, what: &str, unit: &str, figure: f64, bar: Bar) {
        self.row(chapter, what, unit, (figure, String::new()), bar);
    }

    fn row(&mut self, chapter: &str, what: &str, unit: &str, (figure, quartiles): (f64, String), bar: Bar) {
        let (bar, met) = bar.words(figure);
        println!("| {what} | {} | {quartiles} | {unit} | {bar} | {met} |", digits(figure));
        self.rows.push(json!({
            "chapter": chapter, "what": what, "unit": unit, "figure": figure, "quartiles": quartiles, "bar": bar, "met": met,
        }));
    }

    /// Writes target/bench/rig.json.
    pub fn write(self) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench/rig.json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let all = json!({
            "load_average": { "begin": self.begun, "end": load_average() },
            "cores": std::thread::available_parallelism().map_or(1, usize::from),
            "rows": self.rows,
        });
        fs::write(&path, format!("{all:#}\n")).unwrap();
        eprintln!("bench: the same as JSON: {}", path.display());
    }
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Three digits that count, whole numbers from a hundred on.
fn digits(figure: f64) -> String {
    match figure.abs() {
        small if small < 10.0 => format!("{figure:.2}"),
        middle if middle < 100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}
