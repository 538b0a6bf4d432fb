//! A parsed document: values that know where they stand.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::{Finding, Findings, Origin, Severity};

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Spotted<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub origin: Origin,
}

/// What may stand behind a key.
#[derive(Clone)]
pub enum Value {
    /// A string.
    Text(String),
    /// A number without a fraction.
    Integer(i64),
    /// A number with one: nothing of ours wants one.
    Float,
    /// `true` or `false`.
    Boolean(bool),
    /// A date or a time: nothing of ours wants one.
    Datetime,
    /// A list.
    List(Vec<Spotted<Value>>),
    /// A table, inline or not.
    Table(Table),
    /// Text out of the environment, which has no types: whatever the reader wants it to be.
    Unparsed(String),
}

/// A value of the environment may be a secret, and one in a file may be what should not stand there.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Value {
    /// The word for what this is.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "a whole number",
            Self::Float => "a fraction",
            Self::Boolean(_) => "true or false",
            Self::Datetime => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Unparsed(_) => "a value of the environment",
        }
    }
}

/// A table, in the order of its file.
#[derive(Clone, Debug)]
pub struct Table {
    /// Where it begins.
    pub origin: Origin,
    pub(super) entries: Vec<(Spotted<String>, Spotted<Value>)>,
}

impl Table {
    /// A table with nothing in it.
    #[must_use]
    pub fn empty(origin: Origin) -> Self {
        Self { origin, entries: Vec::new() }
    }

    /// Puts a value of the environment in place of whatever stands under this path, making tables on the way. Within a list of tables
    /// the path has the number of one, from 0; the number behind the last one's makes another.
    ///
    /// # Errors
    /// The path leads through something that is not a table.
    pub fn overlay(&mut self, path: &[String], variable: &str, text: String) -> Result<(), Finding> {
        let origin = Origin::variable(variable);
        let Some((key, rest)) = path.split_first() else { return Ok(()) };
        let found = self.entries.iter().position(|(name, _)| name.value == *key);
        if rest.is_empty() {
            let value = Spotted { value: Value::Unparsed(text), origin: origin.clone() };
            match found.and_then(|index| self.entries.get_mut(index)) {
                Some(entry) => entry.1 = value,
                None => self.entries.push((Spotted { value: key.clone(), origin }, value)),
            }
            return Ok(());
        }
        let index = found.unwrap_or_else(|| {
            let is_of_a_list = rest.len() > 1 && rest.first().is_some_and(|key| key.parse::<usize>().is_ok());
            let value = if is_of_a_list { Value::List(Vec::new()) } else { Value::Table(Self::empty(origin.clone())) };
            let key = Spotted { value: key.clone(), origin: origin.clone() };
            self.entries.push((key, Spotted { value, origin: origin.clone() }));
            self.entries.len() - 1
        });
        let found = self.entries.get_mut(index).and_then(|(_, found)| entered(&mut found.value, rest, &origin));
        match found {
            Some((table, rest)) => table.overlay(rest, variable, text),
            None => Err(Finding {
                severity: Severity::Error,
                code: "wrong-type",
                origin,
                message: format!("`{key}` is not a section"),
                hint: format!(
                    "unset {variable}, or name a key of a section, PASSBRIDGE__SECTION__KEY; in a list of tables the number of one, from 0"
                ),
            }),
        }
    }
}

/// The table that a path leads into, and what is left of the path there: in a list of tables behind the number of one, be it the next.
fn entered<'v, 'p>(value: &'v mut Value, path: &'p [String], origin: &Origin) -> Option<(&'v mut Table, &'p [String])> {
    if let Value::Table(table) = value {
        return Some((table, path));
    }
    let Value::List(items) = value else { return None };
    let (number, rest) = path.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let number: usize = number.parse().ok()?;
    if number == items.len() {
        items.push(Spotted { value: Value::Table(Table::empty(origin.clone())), origin: origin.clone() });
    }
    let Value::Table(table) = &mut items.get_mut(number)?.value else { return None };
    Some((table, rest))
}

/// Parses a document. `file` is the name that findings show. `None`: the text is no TOML; every fault of it is among the
/// findings, and nothing else of the document, so that one slip is not told twenty times.
pub fn parse(file: &str, text: &str, findings: &Findings) -> Option<Table> {
    parse_part(&Arc::from(file), text, 0, findings)
}

/// Parses a part of a document that begins after so many lines of its file.
pub fn parse_part(file: &Arc<str>, text: &str, lines_before: usize, findings: &Findings) -> Option<Table> {
    // Some editors write a mark before UTF-8, which none of them counts as a column.
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let lines = Lines::new(file, text, lines_before);
    // The parser keeps all faults of what it is given, so a long text that has them is given to it in part: what is no TOML at all
    // shows at its beginning, other faults from the first one on.
    let beginning = until(text, WINDOW);
    let faults = if beginning.len() < text.len() { faults(beginning, text) } else { Vec::new() };
    if faults.len() > FAULTS {
        lines.tell(&faults, beginning, findings);
        return None;
    }
    match DeTable::parse(text) {
        Ok(table) => Some(lines.table(table.into_inner(), 0)),
        Err(first) => {
            let first = fault(&first);
            let read = until(text, first.0 + WINDOW);
            let mut faults = self::faults(read, text);
            if faults.is_empty() {
                faults.push(first);
            }
            lines.tell(&faults, read, findings);
            None
        }
    }
}

/// Where a fault is, and what.
type Fault = (usize, String);

pub(super) fn fault(error: &toml::de::Error) -> Fault {
    (error.span().map_or(0, |span| span.start), error.message().lines().next().unwrap_or("syntax error").to_owned())
}

/// The faults of the beginning of a text. Where that is cut off, what is still open is no fault.
fn faults(beginning: &str, text: &str) -> Vec<Fault> {
    let (_, errors) = DeTable::parse_recoverable(beginning);
    let (end, open) = (beginning.trim_end().len(), ["unclosed array,", "unclosed inline table"]);
    let is_cut = |error: &toml::de::Error| {
        beginning.len() < text.len()
            && (error.span().is_none_or(|span| span.end >= end)
                || open.iter().any(|words| error.message().starts_with(words)))
    };
    let mut faults: Vec<Fault> = errors.iter().filter(|error| !is_cut(error)).map(fault).collect();
    // What is not closed is found again by each level that it leaves open.
    faults.dedup();
    faults
}

/// The lines at a text's beginning that are about so long.
pub(super) fn until(text: &str, length: usize) -> &str {
    if text.len() <= length {
        return text;
    }
    let (lines, _) = text.split_at(text.floor_char_boundary(length));
    lines.rfind('\n').map_or(lines, |last| lines.split_at(last + 1).0)
}

/// U+FEFF.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// So many faults of one text are told: what is no TOML at all may have one in each line.
pub(super) const FAULTS: usize = 100;

/// Faults are looked for in about so many bytes of a longer text, counted from the first one.
pub(super) const WINDOW: usize = 64 * 1024;

pub(super) struct Lines<'t> {
    file: Arc<str>,
    text: &'t str,
    /// Where each line begins; a mapping of 100,000 clients has a million of them.
    starts: Vec<usize>,
    before: usize,
    /// What was asked about last: its line, its place, and how many characters are before it there. The next one is near, and a line may be long.
    last: Cell<(usize, usize, usize)>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(file: &Arc<str>, text: &'t str, before: usize) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self {
            file: Arc::clone(file),
            text,
            starts: std::iter::once(0).chain(ends).collect(),
            before,
            last: Cell::default(),
        }
    }

    fn origin(&self, offset: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let characters = |from: usize, to: usize| self.text.get(from..to).map_or(0, |between| between.chars().count());
        let column = match self.last.get() {
            (of, last, column) if of == line && last <= offset => column + characters(last, offset),
            (of, last, column) if of == line => column.saturating_sub(characters(offset, last)),
            _ => characters(start, offset),
        };
        self.last.set((line, offset, column));
        Origin {
            file: Arc::clone(&self.file),
            line: u32::try_from(self.before + line).unwrap_or(0),
            column: u32::try_from(column + 1).unwrap_or(0),
        }
    }

    /// Tells the faults of what was read of the text.
    fn tell(&self, faults: &[Fault], read: &str, findings: &Findings) {
        for (at, message) in faults.iter().take(FAULTS) {
            let (code, hint) = if message == "duplicate key" {
                ("duplicate-key", "leave one of the two")
            } else {
                ("syntax", "texts stand in quotation marks, tables in braces; the slip is here or just before")
            };
            findings.error(code, &self.origin(*at), format!("not valid TOML: {message}"), hint);
        }
        let more = faults.len().saturating_sub(FAULTS);
        // The last line that was looked at: a long one has its fault where what was read ends before it does.
        let told = faults.iter().map(|(at, _)| self.origin(*at).line).max().unwrap_or(0);
        let last = self.origin(read.len()).line.saturating_sub(1).max(told);
        let is_last = read.len() == self.text.len() || self.before + self.text.lines().count() <= last as usize;
        let message = match (more, is_last) {
            (0, true) => return,
            (0, false) => format!("not valid TOML: what follows line {last} was not looked at"),
            (_, true) => format!("not valid TOML: {more} more faults"),
            (_, false) => {
                format!("not valid TOML: {more} more faults up to line {last}; what follows was not looked at")
            }
        };
        let hint = "mend the first of them: the others often follow from it";
        findings.error("syntax", &Origin::file(&self.file), message, hint);
    }

    pub(super) fn table(&self, table: DeTable<'_>, offset: usize) -> Table {
        let mut entries: Vec<_> = table
            .into_iter()
            .map(|(key, value)| {
                let at = key.span().start;
                (at, Spotted { origin: self.origin(at), value: key.into_inner().into_owned() }, self.value(value))
            })
            .collect();
        entries.sort_by_key(|entry| entry.0);
        Table {
            origin: self.origin(offset),
            entries: entries.into_iter().map(|(_, key, value)| (key, value)).collect(),
        }
    }

    fn value(&self, value: Spanned<DeValue<'_>>) -> Spotted<Value> {
        let offset = value.span().start;
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => Value::Integer(integer(number.as_str(), number.radix())),
            DeValue::Float(_) => Value::Float,
            DeValue::Boolean(truth) => Value::Boolean(truth),
            DeValue::Datetime(_) => Value::Datetime,
            DeValue::Array(list) => Value::List(list.into_iter().map(|item| self.value(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table, offset)),
        };
        Spotted { value, origin: self.origin(offset) }
    }
}

/// What is too large for us is the largest that we have, which nothing of ours may be.
fn integer(digits: &str, radix: u32) -> i64 {
    let beyond = if digits.starts_with('-') { i64::MIN } else { i64::MAX };
    i64::from_str_radix(digits, radix).unwrap_or(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<(&'static str, u32, u32)> {
        let findings = Findings::new();
        assert!(parse("a.toml", text, &findings).is_none());
        findings.into_sorted().iter().map(|found| (found.code, found.origin.line, found.origin.column)).collect()
    }

    #[test]
    fn every_value_knows_its_line_and_its_column_in_characters() {
        let findings = Findings::new();
        let table =
            parse("a.toml", "\"имя\" = { b = 1 }\n\n[section]\n  key = [\"x\",\n    \"y\"]\n", &findings).unwrap();
        let places: Vec<_> =
            table.entries.iter().map(|(key, value)| (key.origin.clone(), value.origin.clone())).collect();
        let at = |line, column| Origin { file: Arc::from("a.toml"), line, column };
        assert_eq!(places, [(at(1, 1), at(1, 9)), (at(3, 2), at(3, 1))]);
        let Value::Table(section) = &table.entries[1].1.value else { panic!("a table") };
        let Value::List(items) = &section.entries[0].1.value else { panic!("a list") };
        assert_eq!(items.iter().map(|item| item.origin.clone()).collect::<Vec<_>>(), [at(4, 10), at(5, 5)]);
    }

    #[test]
    fn places_are_the_same_in_whatever_order_they_are_asked_about() {
        let text = "начало = 1\nдлинная = { строка = \"ö\" }\nк = 2\n";
        let lines = Lines::new(&Arc::from("a.toml"), text, 7);
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let count = places.len();
        // Forwards, and then with a stride that goes through all of them.
        for at in places.iter().copied().chain((0..count).map(|number| places[number * 17 % count])) {
            let before = text.split_at(at).0;
            let (line, start) =
                before.rsplit_once('\n').map_or((1, before), |(lines, start)| (2 + lines.matches('\n').count(), start));
            let origin = lines.origin(at);
            assert_eq!((origin.line as usize, origin.column as usize), (7 + line, start.chars().count() + 1), "{at}");
        }
    }

    #[test]
    fn every_fault_of_the_text_is_told_at_once() {
        assert_eq!(faults("a = 1\na = 2\nb = \n[c\n"), [("duplicate-key", 2, 1), ("syntax", 3, 5), ("syntax", 4, 3)]);
    }

    #[test]
    fn what_is_no_toml_at_all_is_told_a_hundred_times_and_what_follows_from_one_slip_once() {
        assert_eq!(faults(&"= 1\n".repeat(10_000)).len(), FAULTS + 1);
        let unclosed = faults(&format!("a = {}", "[".repeat(50)));
        assert_eq!(unclosed, [("syntax", 1, 55)], "fifty levels are open");
    }

    #[test]
    fn of_a_long_text_the_faults_near_the_first_one_are_told_and_none_that_is_not_there() {
        let far = "# comment\n".repeat(20_000);
        let late = faults(&format!("a = 1\n{far}= 1\na = 2\n{far}= 3\n"));
        let expected = [("syntax", 0, 0), ("syntax", 20_002, 1), ("duplicate-key", 20_003, 1)];
        assert_eq!(late, expected, "the last one is too far away");
        // What is open where the window ends is no fault.
        let several = [
            ("\"\"\"\n", "text", "\"\"\""),
            ("'''\n", "text", "'''"),
            ("[\n", "1,", "]"),
            ("[{ x = [\n", "1,", "] }]"),
        ];
        for (open, inside, close) in several {
            let text = format!("= 1\nc = {open}{}{close}\nd = 2\n", format!("{inside}\n").repeat(40_000));
            assert_eq!(faults(&text), [("syntax", 0, 0), ("syntax", 1, 1)], "{open}");
        }
        // One line without an end, of characters that are longer than a byte.
        assert_eq!(faults(&format!("= {}", "я".repeat(100_000))), [("syntax", 1, 1)], "nothing follows");
    }

    #[test]
    fn of_what_nests_too_deep_one_fault_is_told_and_what_follows_only_where_something_does() {
        let deep = [format!("x = {}", "[".repeat(100_000)), format!("a{} = 1", ".a".repeat(50_000))];
        assert_eq!(faults(&format!("y = 1\nz = 2\n{}\n", deep[0])).len(), 1);
        for line in &deep {
            assert_eq!(faults(line).len(), 1);
            let findings = Findings::new();
            assert!(parse("a.toml", &format!("{line}\nb = 1\n"), &findings).is_none());
            let told = findings.into_sorted();
            assert_eq!(told.len(), 2, "{told:?}");
            assert_eq!(told[0].message, "not valid TOML: what follows line 1 was not looked at");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_column() {
        assert_eq!(faults("\u{feff}= 1\na = 2\na = 3"), [("syntax", 1, 1), ("duplicate-key", 3, 1)]);
        let findings = Findings::new();
        let table = parse("a.toml", "\u{feff}a = 1\n", &findings).unwrap();
        assert_eq!(table.entries[0].0.origin.column, 1);
    }

    #[test]
    fn the_environment_takes_the_place_of_what_stands_in_the_file() {
        let findings = Findings::new();
        let mut table = parse("a.toml", "[limits]\nbody = \"1KiB\"\n", &findings).unwrap();
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        table.overlay(&path("limits.body"), "BODY", "2KiB".to_owned()).unwrap();
        table.overlay(&path("limits.wrong_secrets.per_client"), "RATE", "5/s".to_owned()).unwrap();
        let through = table.overlay(&path("limits.body.more"), "MORE", String::new()).unwrap_err();
        assert_eq!((through.code, through.origin.to_string().as_str()), ("wrong-type", "$MORE"));
        let mut file = crate::document::Reader::new(table, "", &findings);
        let mut limits = file.section("limits").unwrap();
        assert_eq!(limits.size("body").unwrap().value, 2048);
        assert_eq!(limits.section("wrong_secrets").unwrap().text("per_client").unwrap().value, "5/s");
    }
}
