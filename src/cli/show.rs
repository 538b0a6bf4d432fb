//! How findings and sentences are shown.

use std::io::{self, Write};
use std::process::ExitCode;

use anstream::{stderr, stdout};
use anstyle::{AnsiColor, Style};
use serde_json::json;

use super::excerpt::{Excerpt, Excerpts};
use super::{Format, WRONG_USE};
use crate::document::{Finding, Severity};
use crate::domain::unseen::is_unseen;
pub(super) use crate::secrets::files::words;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Says something to the person at the terminal. Where nobody hears it the command goes on all the same.
pub(super) fn say(sentence: &str) {
    let _unheard = writeln!(stderr(), "{}", lines(sentence));
}

/// Says how far it has come, over what was said before.
pub(super) fn progress(sentence: &str) {
    let _unheard = write!(stderr(), "\r{sentence} ");
}

/// Says what went wrong.
pub(super) fn complain(sentence: &str) {
    let red = AnsiColor::Red.on_default().bold();
    let _unheard = writeln!(stderr(), "{red}error{red:#}: {}", lines(sentence));
}

/// The same as the end of a command.
pub(super) fn failed(status: u8, sentence: impl AsRef<str>) -> ExitCode {
    complain(sentence.as_ref());
    ExitCode::from(status)
}

/// The end of a command: its answer, unless its data could not be written. Whoever closes a pipe has seen enough.
pub(super) fn ended(written: io::Result<()>, answer: impl Into<ExitCode>) -> ExitCode {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let hint = "hint: what was printed is not whole; is there room where it goes?";
            failed(WRONG_USE, format!("standard output cannot be written: {}\n  {hint}", words(&error)))
        }
        Ok(()) | Err(_) => answer.into(),
    }
}

/// Writes findings as data.
pub(super) fn findings(findings: &[Finding], format: Format, out: &mut dyn Write) -> io::Result<()> {
    let mut excerpts = Excerpts::default();
    match format {
        Format::Json => writeln!(out, "{:#}", findings.iter().map(as_json).collect::<serde_json::Value>()),
        Format::Human => findings.iter().try_for_each(|finding| human(finding, excerpts.of(finding), out)),
    }
}

/// Says them to the person at the terminal.
pub(super) fn tell(found: &[Finding]) {
    let _unheard = findings(found, Format::Human, &mut stderr());
}

/// Standard output, with colour only where it can be seen.
pub(super) fn data() -> impl Write {
    stdout()
}

/// The documented shape (docs/CONFIG.md): a place that is not a line of a file has neither line nor column.
fn as_json(finding: &Finding) -> serde_json::Value {
    let number = |number: u32| (number > 0).then_some(number);
    json!({
        "severity": finding.severity.word(),
        "code": finding.code,
        "file": &*finding.origin.file,
        "line": number(finding.origin.line),
        "column": number(finding.origin.column),
        "message": finding.message,
        "hint": finding.hint,
    })
}

/// The place, the sentence, and the line that is meant with a mark under the column.
fn human(finding: &Finding, excerpt: Option<Excerpt>, out: &mut dyn Write) -> io::Result<()> {
    let colour = match finding.severity {
        Severity::Error => AnsiColor::Red,
        Severity::Warning => AnsiColor::Yellow,
    };
    let style = colour.on_default().bold();
    let (word, code, origin) = (finding.severity.word(), finding.code, plain(&finding.origin.to_string()));
    writeln!(out, "{BOLD}{origin}{BOLD:#}: {style}{word}{style:#}[{code}]: {}", plain(&finding.message))?;
    if let Some(Excerpt { line, before, marked }) = excerpt {
        let number = finding.origin.line.to_string();
        let (gap, indent, mark) = (" ".repeat(number.len()), " ".repeat(before), "^".repeat(marked));
        writeln!(out, "{DIM}{number} |{DIM:#} {}\n{DIM}{gap} |{DIM:#} {indent}{style}{mark}{style:#}", plain(&line))?;
    }
    writeln!(out, "  {BOLD}hint:{BOLD:#} {}", plain(&finding.hint))
}

/// Without what would move a terminal's cursor, change its colours or turn the order of a line: keys, names and ids come from outside.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if is_unseen(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The same of what may have several lines.
pub(super) fn lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// `1 client`, `2 clients`.
pub(super) fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_with_a_finding_neither_moves_the_cursor_nor_turns_the_line() {
        let list = crate::document::Findings::new();
        let origin = crate::document::Origin::file("a\u{1b}[2K\u{9b}31m\u{202e}\u{7}.toml");
        list.warning("slip", &origin, "a sentence", "a hint");
        let mut out = Vec::new();
        findings(&list.into_sorted(), Format::Human, &mut out).unwrap();
        let told = String::from_utf8(out).unwrap();
        assert!(told.contains("a\u{fffd}[2K\u{fffd}31m\u{fffd}\u{fffd}.toml"), "{told:?}");
    }

    #[test]
    fn what_comes_from_outside_neither_moves_the_cursor_nor_turns_the_line() {
        assert_eq!(plain("a\u{202e}b\u{1b}[31m\u{2028}c"), "a\u{fffd}b\u{fffd}[31m\u{fffd}c");
        assert_eq!(plain("клиент"), "клиент");
        assert_eq!(lines("a\u{9b}\n  hint: b\u{202e}\n"), "a\u{fffd}\n  hint: b\u{fffd}\n");
    }
}
