//! `passbridge replay`: captured requests again, and their replies held against the captured ones (tests/golden/README.md has the
//! format of files; HAR is read too).
//!
//! What a reply handed out in the capture is another UUID now: where a later request of the run has the captured one, the new
//! one is sent in its place. No request is shown, and no UUID, JWT or value of a request in what is shown of replies.

mod capture;
mod compare;
mod har;
mod learned;
mod target;
mod template;
mod told;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use self::capture::{Capture, Pair};
use self::compare::Difference;
use self::learned::Learned;
use self::target::Target;
use self::told::Report;
use super::{Format, WRONG_USE, show};
use crate::secrets::Environment;

/// What is sent again, and where.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// NAME.request with NAME.reply beside it, a folder of such, or a HAR file; sent in the order in which they stand here
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where they are sent: http://HOST:PORT or https://HOST:PORT; default: the legacy listener of the configuration
    #[arg(long, value_name = "URL")]
    against: Option<String>,
    /// Certificates (PEM) that are trusted in place of the system's, for --against https://
    #[arg(long, value_name = "FILE", requires = "against")]
    ca: Option<PathBuf>,
    /// How what was found is written
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// What became of one captured request.
struct Replayed {
    name: String,
    outcome: Outcome,
}

enum Outcome {
    Same,
    Different(Vec<Difference>),
    /// It was not sent; why.
    Skipped(String),
    /// It was sent, and no reply could be read; why.
    Unanswered(String),
}

/// Sends all of them, one after the other; a difference makes the answer a "no".
pub(super) fn run(path: &Path, environment: &Environment, asked: &Asked) -> Result<ExitCode, ExitCode> {
    let prepared = captures(&asked.files).and_then(|captures| Ok((captures, target(path, environment, asked)?)));
    let (captures, target) = prepared.map_err(|reason| show::failed(WRONG_USE, reason))?;
    let mut learned = Learned::default();
    let mut report = Report::new(asked.format);
    for capture in captures {
        report.add(match capture {
            Capture::Pair(pair) => replay(*pair, &target, &mut learned),
            Capture::Skipped { name, why } => Replayed { name, outcome: Outcome::Skipped(why) },
        });
        if report.is_unseen() {
            break;
        }
    }
    Ok(report.end(&target))
}

/// All that the files hold, in their order.
fn captures(files: &[PathBuf]) -> Result<Vec<Capture>, String> {
    let mut captures = Vec::new();
    for file in files {
        if file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("har")) {
            captures.extend(har::read(file)?);
        } else {
            captures.extend(capture::read(file)?);
        }
    }
    Ok(captures)
}

fn target(path: &Path, environment: &Environment, asked: &Asked) -> Result<Target, String> {
    if let Some(url) = &asked.against {
        return Target::of_url(url, asked.ca.as_deref());
    }
    let config = super::configured(path, environment);
    config
        .map_err(|_said| "where to? The configuration is refused\n  hint: --against URL".to_owned())
        .map(|config| Target::of(&config))
}

fn replay(pair: Pair, target: &Target, learned: &mut Learned) -> Replayed {
    let Pair { name, request, reply } = pair;
    let request = match learned.filled(&request) {
        Ok(request) => request,
        Err(why) => return Replayed { name, outcome: Outcome::Skipped(why) },
    };
    let outcome = match target.ask(&request) {
        Ok(answer) => {
            let differences = compare::differences(&reply, &answer, &request, learned);
            learned.newest_of(&answer);
            if differences.is_empty() { Outcome::Same } else { Outcome::Different(differences) }
        }
        Err(error) => Outcome::Unanswered(error),
    };
    Replayed { name, outcome }
}
