//! Rows of a table of clients, out of CSV or JSON (OPERATOR section 4).

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use zeroize::Zeroizing;

use super::super::show::words;
use super::super::unmarked;

/// Every column; the header has them in any order, and leaves out those behind the first four if it likes.
pub(super) const COLUMNS: [&str; 7] =
    ["legacy_id", "legacy_secret", "client_id", "client_secret", "scopes", "stage", "dialect"];

/// No table is longer.
const LONGEST: u64 = 256 * 1024 * 1024;

const ENCODING: &str = "hint: save it anew, as CSV in UTF-8";

/// One client of the table.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// The line of a CSV file; of JSON, the number of the entry.
    pub(super) line: u64,
    fields: BTreeMap<&'static str, Zeroizing<String>>,
    /// Of a JSON object of scopes; in a text they stand among the fields.
    scopes: Vec<(String, String)>,
    /// What is wrong before anybody knows what it means.
    pub(super) malformed: Option<String>,
}

impl Row {
    /// A field with something in it.
    pub(super) fn field(&self, column: &str) -> Option<&str> {
        self.fields.get(column).map(|text| text.as_str()).filter(|text| !text.is_empty())
    }

    /// A sign in a text of scopes that others put between words, or a second `=` in one. A scope may have either, but is hardly meant to.
    pub(super) fn separator(&self) -> Option<char> {
        let mut words = self.field("scopes").unwrap_or_default().split_whitespace();
        words.find_map(|word| {
            let other = word.chars().find(|sign| [';', ',', '|'].contains(sign));
            other.or_else(|| word.matches('=').nth(1).map(|_| '='))
        })
    }

    /// Legacy words of scopes and the realm's, as they stand there: one may stand there twice.
    pub(super) fn scopes(&self) -> Vec<(String, String)> {
        let pair = |word: &str| {
            let (old, new) = word.split_once('=').unwrap_or((word, word));
            (old.to_owned(), new.to_owned())
        };
        let words = self.field("scopes").unwrap_or_default().split_whitespace();
        words.map(pair).chain(self.scopes.iter().cloned()).collect()
    }
}

/// A JSON object's fields, one that stands twice too.
struct Fields(Vec<(String, Field)>);

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Field {
    Text(String),
    Fields(Fields),
    Null(()),
    Other(IgnoredAny),
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Reads all rows.
///
/// # Errors
/// It is no such table at all; a sentence says why.
pub(super) fn read(path: &Path) -> Result<Vec<Row>, String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {}", path.display(), words(&error));
    if fs::metadata(path).map_err(unreadable)?.len() > LONGEST {
        return Err(format!("{} is longer than 256 MiB\n  hint: import it in parts", path.display()));
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(unreadable)?);
    let rows = match path.extension().and_then(|ending| ending.to_str()) {
        Some("csv") => of_csv(unmarked(&bytes)),
        Some("json") => of_json(unmarked(&bytes)),
        Some(_) | None => Err("is neither CSV nor JSON by its name\n  hint: name it .csv or .json".to_owned()),
    };
    rows.map_err(|reason| format!("{} {reason}", path.display()))
}

/// A column. In a table that has no header, or parts its fields otherwise, a secret stands where its name belongs: only what reads as a
/// name, among others that are, is told; of others among those, where it stands.
fn known(name: &str, among_others: Option<fmt::Arguments<'_>>) -> Result<&'static str, String> {
    let found = COLUMNS.into_iter().find(|column| *column == name);
    found.ok_or_else(|| {
        // As spreadsheets save it where the comma stands within numbers.
        let hint = match name.chars().find(|separator| [';', '\t'].contains(separator)) {
            Some(';') => "its columns are separated by `;`: save it with commas".to_owned(),
            Some(_) => "its columns are separated by tabs: save it with commas".to_owned(),
            None => format!("known are {}", COLUMNS.join(", ")),
        };
        let is_name = name.len() <= 30 && name.bytes().all(|byte| byte.is_ascii_alphabetic() || b"_ ".contains(&byte));
        let what = match (among_others, is_name) {
            (None, _) => "has no columns in its first line".to_owned(),
            (Some(place), false) => format!("has a column of another name, {place}"),
            (Some(place), true) => format!("has the unknown column `{name}`, {place}"),
        };
        format!("{what}\n  hint: {hint}")
    })
}

fn of_csv(bytes: &[u8]) -> Result<Vec<Row>, String> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::Headers).from_reader(bytes);
    let header = reader.headers().map_err(|_| format!("has no header in UTF-8\n  {ENCODING}"))?.clone();
    let is_header = header.iter().any(|name| COLUMNS.contains(&name));
    let column = |(name, number): (&str, usize)| known(name, is_header.then_some(format_args!("column {number}")));
    let columns = header.iter().zip(1..).map(column).collect::<Result<Vec<_>, _>>()?;
    for (index, column) in columns.iter().enumerate() {
        if columns.iter().take(index).any(|other| other == column) {
            return Err(format!("has the column `{column}` twice\n  hint: leave one of the two"));
        }
    }
    let missing: Vec<_> = COLUMNS.into_iter().take(4).filter(|column| !columns.contains(column)).collect();
    if !missing.is_empty() {
        let hint = format!("hint: the first line names the columns: {}", COLUMNS.join(","));
        return Err(format!("lacks the column `{}`\n  {hint}", missing.join("`, `")));
    }
    let mut lines = Lines { bytes, offset: 0, line: 1 };
    let mut rows = Vec::new();
    for record in reader.into_records() {
        rows.push(match record {
            Ok(record) => {
                let fits = record.len() == columns.len();
                let wrong = format!("has {} fields, the header {}", record.len(), columns.len());
                let fields = columns.iter().copied().zip(record.iter().map(|text| Zeroizing::new(text.to_owned())));
                let line = lines.of(record.position());
                Row { line, fields: fields.collect(), malformed: (!fits).then_some(wrong), ..Row::default() }
            }
            Err(error) => {
                let line = lines.of(error.position());
                Row { line, malformed: Some(format!("is not UTF-8\n  {ENCODING}")), ..Row::default() }
            }
        });
    }
    Ok(rows)
}

/// Counts lines as editors do. The reader's own count stands before the line end where that is `\r\n`.
struct Lines<'b> {
    bytes: &'b [u8],
    offset: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of what begins here or behind the line ends that are here. Positions only grow.
    fn of(&mut self, position: Option<&csv::Position>) -> u64 {
        let begin = position.and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(self.offset);
        while let Some(byte) = self.bytes.get(self.offset) {
            if self.offset >= begin && !matches!(byte, b'\r' | b'\n') {
                break;
            }
            self.line += u64::from(*byte == b'\n');
            self.offset += 1;
        }
        self.line
    }
}

fn of_json(bytes: &[u8]) -> Result<Vec<Row>, String> {
    let unfit = |error: &serde_json::Error| {
        // Its own words may repeat a value.
        let place = format!("line {}, column {}", error.line(), error.column());
        format!("is no list of JSON objects ({place})\n  hint: [{{\"legacy_id\": \"...\", ...}}, ...]")
    };
    let entries: Vec<Fields> = serde_json::from_slice(bytes).map_err(|error| unfit(&error))?;
    entries.into_iter().zip(1..).map(|(entry, line)| of_entry(entry, line)).collect()
}

fn of_entry(Fields(entry): Fields, line: u64) -> Result<Row, String> {
    let mut row = Row { line, ..Row::default() };
    for ((name, value), number) in entry.into_iter().zip(1..) {
        let column = known(&name, Some(format_args!("member {number} of entry {line}")))?;
        let text = match (value, column) {
            (Field::Text(text), _) => text,
            (Field::Fields(Fields(pairs)), "scopes") => {
                row.scopes = pairs.into_iter().filter_map(|pair| scope(pair, &mut row.malformed)).collect();
                String::new()
            }
            (Field::Null(()), _) => String::new(),
            (Field::Fields(_) | Field::Other(_), _) => {
                row.malformed = Some(format!("has something else than a text as `{column}`"));
                continue;
            }
        };
        if row.fields.insert(column, Zeroizing::new(text)).is_some() {
            row.malformed = Some(format!("has `{column}` twice"));
        }
    }
    Ok(row)
}

fn scope((old, new): (String, Field), malformed: &mut Option<String>) -> Option<(String, String)> {
    if let Field::Text(new) = new {
        return Some((old, new));
    }
    *malformed = Some("has something else than a text for a scope".to_owned());
    None
}
