//! What was found, for people side by side and for programs.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::super::{Format, NO, show};
use super::compare::Difference;
use super::target::Target;
use super::{Outcome, Replayed};

/// A column of a body is no wider.
const WIDEST: usize = 72;

/// What was found so far.
pub(super) struct Report {
    format: Format,
    replayed: Vec<Replayed>,
    /// Whether it could be shown.
    written: io::Result<()>,
}

impl Report {
    pub(super) fn new(format: Format) -> Self {
        Self { format, replayed: Vec::new(), written: Ok(()) }
    }

    /// Whether nobody sees it any more. Each request spends something: then none should be sent.
    pub(super) fn is_unseen(&self) -> bool {
        self.written.is_err()
    }

    /// Tells people at once: whoever ends the run knows what was sent, and what came.
    pub(super) fn add(&mut self, one: Replayed) {
        if self.format == Format::Human {
            self.written = human(&one, &mut show::data());
        }
        self.replayed.push(one);
    }

    /// Tells the rest; the answer is "no" unless something was compared and all of it is the same.
    pub(super) fn end(self, target: &Target) -> ExitCode {
        let Self { format, replayed, mut written } = self;
        let count = |of: fn(&Outcome) -> bool| replayed.iter().filter(|one| of(&one.outcome)).count();
        let same = count(|outcome| matches!(outcome, Outcome::Same));
        let different = count(|outcome| matches!(outcome, Outcome::Different(_)));
        let unanswered = count(|outcome| matches!(outcome, Outcome::Unanswered(_)));
        let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        // Of what was not sent any more nobody knows.
        let fine = same > 0 && different + unanswered == 0 && written.is_ok();
        if format == Format::Json {
            let replies: Value = replayed.iter().map(as_json).collect();
            let body = json!({"same": fine, "compared": same + different, "skipped": skipped, "replies": replies});
            written = writeln!(show::data(), "{body:#}");
        }
        show::say(&format!(
            "{target}: {same} the same, {different} different, {unanswered} unanswered, {skipped} skipped"
        ));
        if same + different + unanswered == 0 {
            show::complain("nothing was compared");
        }
        show::ended(written, if fine { 0 } else { NO })
    }
}

/// docs/MIGRATION.md has this shape.
fn as_json(one: &Replayed) -> Value {
    let (outcome, why, differences) = match &one.outcome {
        Outcome::Same => ("same", None, [].as_slice()),
        Outcome::Different(differences) => ("different", None, differences.as_slice()),
        Outcome::Skipped(why) => ("skipped", Some(why), [].as_slice()),
        Outcome::Unanswered(why) => ("unanswered", Some(why), [].as_slice()),
    };
    let difference = |one: &Difference| json!({"what": one.what, "captured": one.captured, "replayed": one.replayed, "byte": one.byte, "note": one.note});
    let differences: Value = differences.iter().map(difference).collect();
    json!({"name": one.name, "outcome": outcome, "why": why, "differences": differences})
}

fn human(one: &Replayed, out: &mut dyn Write) -> io::Result<()> {
    let name = show::plain(&one.name);
    match &one.outcome {
        Outcome::Same => writeln!(out, "{name}: same"),
        Outcome::Skipped(why) => writeln!(out, "{name}: skipped: {}", show::plain(why)),
        Outcome::Unanswered(why) => writeln!(out, "{name}: unanswered: {}", show::plain(why)),
        Outcome::Different(differences) => {
            writeln!(out, "{name}: different")?;
            differences.iter().try_for_each(|difference| beside(difference, out))
        }
    }
}

fn beside(difference: &Difference, out: &mut dyn Write) -> io::Result<()> {
    let Difference { what, captured, replayed, byte, note } = difference;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "(none)".to_owned());
    let (captured, replayed) = (text(captured), text(replayed));
    let Some(byte) = byte else {
        return writeln!(out, "  {what}: captured {captured}, replayed {replayed}");
    };
    let (left, right): (Vec<_>, Vec<_>) = (captured.split('\n').collect(), replayed.split('\n').collect());
    let width = left.iter().map(|line| line.chars().count()).max().unwrap_or(0).clamp("captured".len(), WIDEST);
    writeln!(out, "  {what}, from byte {byte} on:")?;
    writeln!(out, "    {:width$}   replayed", "captured")?;
    for index in 0..left.len().max(right.len()) {
        let line = |lines: &[&str]| lines.get(index).copied().unwrap_or_default().to_owned();
        let (left, right) = (line(&left), line(&right));
        let mark = if left == right { ' ' } else { '|' };
        writeln!(out, "    {}", format!("{left:width$} {mark} {right}").trim_end())?;
    }
    note.map_or(Ok(()), |note| writeln!(out, "  note: {note}"))
}
