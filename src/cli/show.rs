//! How findings and sentences are shown.

use std::fs;
use std::io::{self, Write};

use anstream::{eprintln as talk, stdout};
use anstyle::{AnsiColor, Style};
use serde_json::json;

use super::Format;
use crate::document::{Finding, Severity};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Says something to the person at the terminal.
pub(super) fn say(sentence: &str) {
    talk!("{sentence}");
}

/// Says what went wrong.
pub(super) fn complain(sentence: &str) {
    let red = AnsiColor::Red.on_default().bold();
    talk!("{red}error{red:#}: {sentence}");
}

/// Writes findings as data.
pub(super) fn findings(findings: &[Finding], format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{:#}", findings.iter().map(as_json).collect::<serde_json::Value>()),
        Format::Human => findings.iter().try_for_each(|finding| human(finding, out)),
    }
}

/// Standard output, with colour only where it can be seen.
pub(super) fn data() -> impl Write {
    stdout()
}

fn as_json(finding: &Finding) -> serde_json::Value {
    json!({
        "severity": finding.severity.word(),
        "code": finding.code,
        "file": &*finding.origin.file,
        "line": finding.origin.line,
        "column": finding.origin.column,
        "message": finding.message,
        "hint": finding.hint,
    })
}

/// The place, the sentence, and the line that is meant with a mark under the column.
fn human(finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
    let colour = match finding.severity {
        Severity::Error => AnsiColor::Red,
        Severity::Warning => AnsiColor::Yellow,
    };
    let style = colour.on_default().bold();
    let (word, code, origin) = (finding.severity.word(), finding.code, &finding.origin);
    writeln!(out, "{BOLD}{origin}{BOLD:#}: {style}{word}{style:#}[{code}]: {}", finding.message)?;
    if let Some(line) = line(finding) {
        let number = origin.line.to_string();
        let gap = " ".repeat(number.len());
        let indent = " ".repeat(usize::try_from(origin.column).unwrap_or(1).saturating_sub(1));
        writeln!(out, "{DIM}{number} |{DIM:#} {line}\n{DIM}{gap} |{DIM:#} {indent}{style}^{style:#}")?;
    }
    if let Some(hint) = &finding.hint {
        writeln!(out, "  {BOLD}hint:{BOLD:#} {hint}")?;
    }
    Ok(())
}

/// The line that is meant. Not where a clear secret stands in it.
fn line(finding: &Finding) -> Option<String> {
    if finding.origin.line == 0 || finding.code == "clear-text-secret" {
        return None;
    }
    let text = fs::read_to_string(&*finding.origin.file).ok()?;
    let line = text.lines().nth(usize::try_from(finding.origin.line).ok()?.checked_sub(1)?)?;
    let secret = line.contains("secret") || line.contains("password");
    (!secret && line.len() <= 400).then(|| line.replace('\t', " "))
}
