//! A parsed document: values that know where they stand.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::{Finding, Origin, Severity};

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Spotted<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub origin: Origin,
}

/// What may stand behind a key.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string.
    Text(String),
    /// A number without a fraction.
    Integer(i64),
    /// A number with one.
    Float(f64),
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

impl Value {
    /// The word for what this is.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a fraction",
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

    /// Puts a value of the environment in place of whatever stands under this path, making tables on the way.
    ///
    /// # Errors
    /// The path leads through something that is not a table.
    pub fn overlay(&mut self, path: &[String], variable: &str, text: String) -> Result<(), Finding> {
        let origin = Origin::file(&format!("${variable}"));
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
            let table = Value::Table(Self::empty(origin.clone()));
            self.entries.push((
                Spotted { value: key.clone(), origin: origin.clone() },
                Spotted { value: table, origin: origin.clone() },
            ));
            self.entries.len() - 1
        });
        match self.entries.get_mut(index).map(|entry| &mut entry.1.value) {
            Some(Value::Table(table)) => table.overlay(rest, variable, text),
            _ => Err(Finding {
                severity: Severity::Error,
                code: "wrong-type",
                origin,
                message: format!("`{key}` is not a section"),
                hint: None,
            }),
        }
    }
}

/// Parses a document. `file` is the name that findings show.
///
/// # Errors
/// The text is no TOML; the finding says where and why.
pub fn parse(file: &str, text: &str) -> Result<Table, Finding> {
    let lines = Lines::of(file, text);
    match DeTable::parse(text) {
        Ok(table) => Ok(lines.table(table.into_inner(), 0)),
        Err(error) => Err(Finding {
            severity: Severity::Error,
            code: "syntax",
            origin: lines.origin(error.span().map_or(0, |span| span.start)),
            message: format!("not valid TOML: {}", error.message().lines().next().unwrap_or("syntax error")),
            hint: None,
        }),
    }
}

/// A text, and where its lines begin: looked up and not counted anew for each value, of which a large table has 100,000.
struct Lines<'t> {
    file: Arc<str>,
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(file: &str, text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(end, _)| end + 1)).collect();
        Self { file: Arc::from(file), text, starts }
    }

    fn origin(&self, offset: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Origin {
            file: self.file.clone(),
            line: u32::try_from(line).unwrap_or(0),
            column: u32::try_from(column).unwrap_or(0),
        }
    }

    fn table(&self, table: DeTable<'_>, offset: usize) -> Table {
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
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Value::Text(number.to_string()), Value::Integer),
            DeValue::Float(number) => {
                number.as_str().parse().map_or_else(|_| Value::Text(number.to_string()), Value::Float)
            }
            DeValue::Boolean(truth) => Value::Boolean(truth),
            DeValue::Datetime(_) => Value::Datetime,
            DeValue::Array(list) => Value::List(list.into_iter().map(|item| self.value(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table, offset)),
        };
        Spotted { value, origin: self.origin(offset) }
    }
}
