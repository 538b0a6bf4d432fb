//! What `doctor` found out, and how it is shown. docs/OPERATIONS.md has this shape.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::super::{Format, show::plain};

const BOLD: Style = Style::new().bold();

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Logins fail, or will.
    Error,
    /// Somebody should look.
    Warning,
    /// What could not be looked at.
    Note,
}

impl Weight {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that was found out.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) weight: Weight,
    /// A stable word for scripts.
    pub(super) code: &'static str,
    /// Where it concerns one client: its old id.
    pub(super) client: Option<String>,
    pub(super) message: String,
    pub(super) hint: String,
}

impl Finding {
    pub(super) fn error(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { weight: Weight::Error, code, client: None, message: message.into(), hint: hint.into() }
    }

    pub(super) fn warning(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { weight: Weight::Warning, ..Self::error(code, message, hint) }
    }

    /// Something was not checked; the hint says how it would be.
    pub(super) fn unchecked(what: impl std::fmt::Display, hint: impl Into<String>) -> Self {
        Self { weight: Weight::Note, ..Self::error("not-checked", format!("not checked: {what}"), hint) }
    }

    pub(super) fn of(self, client: &str) -> Self {
        Self { client: Some(client.to_owned()), ..self }
    }
}

/// Writes findings as data.
pub(super) fn write(findings: &[Finding], format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{:#}", findings.iter().map(as_json).collect::<Value>()),
        Format::Human => findings.iter().try_for_each(|finding| human(finding, out)),
    }
}

fn as_json(finding: &Finding) -> Value {
    json!({
        "severity": finding.weight.word(),
        "code": finding.code,
        "client": finding.client,
        "message": finding.message,
        "hint": finding.hint,
    })
}

fn human(finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
    let colour = match finding.weight {
        Weight::Error => AnsiColor::Red,
        Weight::Warning => AnsiColor::Yellow,
        Weight::Note => AnsiColor::Cyan,
    };
    let style = colour.on_default().bold();
    let (word, code) = (finding.weight.word(), finding.code);
    let client = finding.client.as_ref().map(|client| format!("client {}: ", plain(client))).unwrap_or_default();
    writeln!(out, "{style}{word}{style:#}[{code}]: {client}{}", plain(&finding.message))?;
    writeln!(out, "  {BOLD}hint:{BOLD:#} {}", plain(&finding.hint))
}
