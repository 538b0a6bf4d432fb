//! How a log line is written: one JSON object, straight into the line's buffer.
//!
//! `tracing_subscriber`'s own JSON first makes a map of a line's values, each in memory of its own, and costs four times as much.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::domain::unseen::is_unseen;

/// Writes `timestamp`, `level`, the event's own members, `target`.
#[derive(Debug)]
pub struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, _context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if quotes_callers(event.metadata()) {
            return Ok(());
        }
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        writer.write_str("\",\"level\":\"")?;
        writer.write_str(event.metadata().level().as_str())?;
        writer.write_char('"')?;
        let mut members = Members { line: &mut writer, written: Ok(()) };
        event.record(&mut members);
        members.written?;
        writer.write_str(",\"target\":\"")?;
        writer.write_str(event.metadata().target())?;
        writer.write_str("\"}\n")
    }
}

/// Whether a library's line may hold what the other side sent: h2 tells a head that it refuses, with its path and query, a `TE`, and the words of
/// a GOAWAY, as they came, and warns of each answer to a ping that nobody sent, with its bytes. It has no line but for who looks for a bug in it, and
/// whoever sends what it tells of could fill the log.
fn quotes_callers(of: &Metadata<'_>) -> bool {
    of.target().split("::").next() == Some("h2")
}

/// Writes members one behind the other. A value that is not there is not visited.
struct Members<'l, W: Write> {
    line: &'l mut W,
    written: fmt::Result,
}

impl<W: Write> Members<'_, W> {
    fn member(&mut self, field: &Field, value: impl FnOnce(&mut W) -> fmt::Result) {
        let written = write!(self.line, ",\"{}\":", field.name()).and_then(|()| value(self.line));
        self.written = self.written.and(written);
    }
}

impl<W: Write> Visit for Members<'_, W> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, |line| text(line, |text| text.write_str(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field, |line| text(line, |text| write!(text, "{value:?}")));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |line| write!(line, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |line| write!(line, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |line| write!(line, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field, |line| if value.is_finite() { write!(line, "{value}") } else { line.write_str("null") });
    }
}

fn text<W: Write>(line: &mut W, value: impl FnOnce(&mut Escaped<'_, W>) -> fmt::Result) -> fmt::Result {
    line.write_char('"')?;
    value(&mut Escaped(line))?;
    line.write_char('"')
}

/// Writes what may stand in a JSON string (RFC 8259 section 7), and letters that are not seen by their numbers: whoever reads the very line, on a
/// terminal, reads what stands there.
struct Escaped<'l, W: Write>(&'l mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(|letter| matches!(letter, '"' | '\\') || is_unseen(letter)) {
            let Some((plain, special)) = rest.split_at_checked(at) else { break };
            self.0.write_str(plain)?;
            let mut special = special.chars();
            match special.next() {
                Some(sign @ ('"' | '\\')) => write!(self.0, "\\{sign}")?,
                Some(unseen) => {
                    for unit in unseen.encode_utf16(&mut [0; 2]) {
                        write!(self.0, "\\u{unit:04x}")?;
                    }
                }
                None => {}
            }
            rest = special.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_said_stays_one_string_of_one_line() {
        let said = "a \"quoted\" \\ path,\nтри\u{7f}\u{1f}\r\u{0}";
        let mut line = String::new();
        text(&mut line, |text| write!(text, "{said}")).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), said);
    }

    #[test]
    fn no_letter_that_is_not_seen_stands_in_a_line_and_none_is_lost() {
        let said = "x\u{1b}[31mR\u{202e}abc\u{2066}\u{200b}\u{9b}\u{7f}\u{e0041}é顧";
        let mut line = String::new();
        text(&mut line, |text| text.write_str(said)).unwrap();
        assert!(!line.chars().any(is_unseen), "{line:?}");
        assert!(line.ends_with("\\udb40\\udc41é顧\""), "{line}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), said);
    }
}
