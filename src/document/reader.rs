//! Takes typed values out of a table and reports what does not fit.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::finding::{Findings, Origin};
use super::slip::{meant, nearest};
use super::units;
use super::value::{Spotted, Table, Value};

/// Reads one table. Every value is taken by its key; [`Reader::finish`] reports those that nobody took. A key that was asked for,
/// in whatever way, is one that the table may have: there is no look at it that does not note its key.
#[derive(Debug)]
pub struct Reader<'f> {
    table: Table,
    name: Rc<str>,
    known: Vec<&'static str>,
    findings: &'f Findings,
}

impl<'f> Reader<'f> {
    /// Reads a whole document; `name` is how messages call the table ("" for the document itself).
    #[must_use]
    pub fn new(table: Table, name: &str, findings: &'f Findings) -> Self {
        Self::named(table, Rc::from(name), findings)
    }

    fn named(table: Table, name: Rc<str>, findings: &'f Findings) -> Self {
        // No table of ours has more keys, and a mapping has a hundred thousand tables.
        Self { table, name, known: Vec::with_capacity(16), findings }
    }

    /// Where the table begins.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.table.origin
    }

    /// Where findings go.
    #[must_use]
    pub fn findings(&self) -> &'f Findings {
        self.findings
    }

    /// Where the value of this key stands, if it is still there to be taken.
    #[must_use]
    pub fn origin_of(&mut self, key: &'static str) -> Option<Origin> {
        self.look(key).map(|found| found.origin.clone())
    }

    /// `section.key`, as messages name a key.
    #[must_use]
    pub fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Where the key is among those that nobody took.
    fn index(&mut self, key: &'static str) -> Option<usize> {
        // Who asks whether it is there mostly takes it next.
        if self.known.last() != Some(&key) {
            self.known.push(key);
        }
        self.table.entries.iter().position(|(name, _)| name.value == key)
    }

    /// What stands under the key, left where it is.
    pub(super) fn look(&mut self, key: &'static str) -> Option<&Spotted<Value>> {
        let index = self.index(key)?;
        self.table.entries.get(index).map(|(_, found)| found)
    }

    /// Takes whatever stands under the key.
    pub fn take(&mut self, key: &'static str) -> Option<Spotted<Value>> {
        let index = self.index(key)?;
        Some(self.table.entries.remove(index).1)
    }

    /// Reports a key that must be there and is not.
    pub fn missing(&self, key: &str, hint: impl Into<String>) {
        self.findings.error("missing-key", self.origin(), format!("`{}` is missing", self.path(key)), hint);
    }

    pub(super) fn wrong(&self, key: &str, (kind, origin): (&str, &Origin), wanted: &str) {
        self.findings.error(
            "wrong-type",
            origin,
            format!("`{}` is {kind}, wanted {wanted}", self.path(key)),
            format!("write {wanted}"),
        );
    }

    /// Reports a value of the right type that means nothing.
    pub fn bad_value(&self, key: &str, origin: &Origin, wanted: &str) {
        self.findings.error(
            "bad-value",
            origin,
            format!("`{}` is not {wanted}", self.path(key)),
            format!("write {wanted}"),
        );
    }

    /// Reports a URL that cannot be taken. One that carries a password is told as a secret, so that its line is shown nowhere.
    pub fn bad_url(&self, key: &str, text: &Spotted<String>, wanted: &str) {
        if !text.value.contains('@') {
            return self.bad_value(key, &text.origin, wanted);
        }
        let message = format!("`{}` carries a password", self.path(key));
        self.findings.error("clear-text-secret", &text.origin, message, "leave out what stands before `@`");
    }

    /// A text, if it is there.
    pub fn text(&mut self, key: &'static str) -> Option<Spotted<String>> {
        self.text_for(key, "text")
    }

    /// The same, where it is to be a text of a kind.
    pub fn text_for(&mut self, key: &'static str, wanted: &str) -> Option<Spotted<String>> {
        let found = self.take(key)?;
        let kind = found.value.kind();
        let (Value::Text(value) | Value::Unparsed(value)) = found.value else {
            self.wrong(key, (kind, &found.origin), wanted);
            return None;
        };
        Some(Spotted { value, origin: found.origin })
    }

    /// A text that must be there.
    pub fn required_text(&mut self, key: &'static str) -> Option<Spotted<String>> {
        self.demand(key, format_args!("{key} = \"...\""));
        self.text(key)
    }

    /// Reports a key that must be there, if it is not; whatever stands there is still to be taken.
    pub fn demand(&mut self, key: &'static str, hint: impl fmt::Display) {
        if !self.has(key) {
            self.missing(key, hint.to_string());
        }
    }

    /// A text that names something, and so is not empty: a directory with an empty path behind it is the directory itself.
    pub fn filled(&mut self, key: &'static str, wanted: &str) -> Option<Spotted<String>> {
        self.parsed(key, wanted, |text| (!text.is_empty()).then(|| text.to_owned()))
    }

    /// The same, where it must be there.
    pub fn required_filled(&mut self, key: &'static str, wanted: &str) -> Option<Spotted<String>> {
        self.demand(key, format_args!("{key} = \"...\""));
        self.filled(key, wanted)
    }

    /// Whether the key is still there to be taken.
    #[must_use]
    pub fn has(&mut self, key: &'static str) -> bool {
        self.look(key).is_some()
    }

    /// Whether every key was taken, so that [`Reader::finish`] will report none.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.table.entries.is_empty()
    }

    /// A text that means something of a kind.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<Spotted<T>> {
        let text = self.text_for(key, wanted)?;
        match read(&text.value) {
            Some(value) => Some(Spotted { value, origin: text.origin }),
            None => {
                self.bad_value(key, &text.origin, wanted);
                None
            }
        }
    }

    /// One of a closed list of words.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<Spotted<T>> {
        self.word_or(key, words, "bad-value")
    }

    /// One of a closed list of words; the code is that of the finding for any other.
    pub fn word_or<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
        code: &'static str,
    ) -> Option<Spotted<T>> {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let wanted = known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let text = self.text_for(key, &format!("one of {wanted}"))?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(Spotted { value: *value, origin: text.origin });
        }
        let hint = nearest(&known, &text.value);
        let hint = hint.map_or_else(|| "write one of these".to_owned(), |word| format!("did you mean `{word}`?"));
        let message = format!("`{}` is not one of {wanted}", self.path(key));
        self.findings.error(code, &text.origin, message, hint);
        None
    }

    /// A duration such as `10s` or `250ms`.
    pub fn duration(&mut self, key: &'static str) -> Option<Spotted<Duration>> {
        self.parsed(key, "a duration such as \"10s\" or \"1h\"", units::duration)
    }

    /// A duration within bounds, both included; else `absent`, which is also what a missing one means.
    pub fn duration_within(
        &mut self,
        key: &'static str,
        absent: Duration,
        least: Duration,
        most: Duration,
    ) -> Duration {
        let Some(found) = self.duration(key) else { return absent };
        if (least..=most).contains(&found.value) {
            return found.value;
        }
        self.bad_value(key, &found.origin, &units::between("a duration", least, most));
        absent
    }

    /// The same, in whole seconds: for what others are told in such.
    pub fn seconds_within(&mut self, key: &'static str, absent: Duration, least: Duration, most: Duration) -> Duration {
        let Some(found) = self.duration(key) else { return absent };
        if (least..=most).contains(&found.value) && found.value.subsec_nanos() == 0 {
            return found.value;
        }
        self.bad_value(key, &found.origin, &units::between("whole seconds", least, most));
        absent
    }

    /// A size such as `64KiB`, in bytes; a bare whole number is bytes.
    pub fn size(&mut self, key: &'static str) -> Option<Spotted<u64>> {
        const WANTED: &str = "a size such as \"64KiB\"";
        let number = match self.look(key).map(|found| &found.value) {
            Some(Value::Integer(number)) => Some(u64::try_from(*number)),
            _ => None,
        };
        match number {
            None => self.parsed(key, WANTED, units::size),
            Some(Ok(value)) => Some(Spotted { value, origin: self.take(key)?.origin }),
            Some(Err(_negative)) => {
                let origin = self.take(key)?.origin;
                self.bad_value(key, &origin, WANTED);
                None
            }
        }
    }

    /// A size within bounds, both included, in bytes.
    pub fn size_within(&mut self, key: &'static str, least: u64, most: u64) -> Option<u64> {
        let found = self.size(key)?;
        if (least..=most).contains(&found.value) {
            return Some(found.value);
        }
        let wanted = format!("a size from {} to {}", units::written(least), units::written(most));
        self.bad_value(key, &found.origin, &wanted);
        None
    }

    /// A whole number within bounds, both included.
    pub fn integer(&mut self, key: &'static str, least: u64, most: u64) -> Option<Spotted<u64>> {
        let found = self.take(key)?;
        let number = if let Value::Integer(number) = &found.value {
            u64::try_from(*number).ok()
        } else if let Value::Unparsed(text) = &found.value {
            text.trim().parse().ok()
        } else {
            self.wrong(key, (found.value.kind(), &found.origin), "a whole number");
            return None;
        };
        match number.filter(|number| (least..=most).contains(number)) {
            Some(value) => Some(Spotted { value, origin: found.origin }),
            None => {
                self.bad_value(key, &found.origin, &format!("a whole number from {least} to {most}"));
                None
            }
        }
    }

    /// `true` or `false`; absent means `absent`.
    pub fn boolean(&mut self, key: &'static str, absent: bool) -> bool {
        let Some(found) = self.take(key) else { return absent };
        if let Value::Boolean(truth) = &found.value {
            return *truth;
        }
        if let Value::Unparsed(text) = &found.value
            && let Ok(truth) = text.trim().parse()
        {
            return truth;
        }
        self.wrong(key, (found.value.kind(), &found.origin), "true or false");
        absent
    }

    /// A table below this one, if it is there.
    pub fn section(&mut self, key: &'static str) -> Option<Reader<'f>> {
        let found = self.take(key)?;
        let name = self.path(key);
        let kind = found.value.kind();
        let Value::Table(table) = found.value else {
            let message = format!("`{name}` is {kind}, wanted a table");
            self.findings.error("wrong-type", &found.origin, message, self.how_a_table_stands(key));
            return None;
        };
        Some(Reader::new(table, &name, self.findings))
    }

    /// A table that must be there.
    pub fn required_section(&mut self, key: &'static str) -> Option<Reader<'f>> {
        self.demand(key, self.how_a_table_stands(key));
        self.section(key)
    }

    fn how_a_table_stands(&self, key: &str) -> String {
        format!("it stands as [{}], or as {key} = {{ ... }}", self.path(key))
    }

    /// A list of tables (`[[key]]`); absent: none.
    pub fn sections(&mut self, key: &'static str) -> Vec<Reader<'f>> {
        let Some(found) = self.take(key) else { return Vec::new() };
        let name: Rc<str> = Rc::from(self.path(key));
        let kind = found.value.kind();
        let Value::List(items) = found.value else {
            self.findings.error(
                "wrong-type",
                &found.origin,
                format!("`{name}` is {kind}, wanted a list of tables"),
                if found.origin.is_variable() {
                    format!("set a variable for each key of each, by its number from 0: {}__0__KEY", found.origin)
                } else {
                    format!("begin each with [[{name}]]")
                },
            );
            return Vec::new();
        };
        let read = |item: Spotted<Value>| {
            let kind = item.value.kind();
            let Value::Table(table) = item.value else {
                self.wrong(key, (kind, &item.origin), "a table");
                return None;
            };
            Some(Reader::named(table, Rc::clone(&name), self.findings))
        };
        items.into_iter().filter_map(read).collect()
    }

    /// All that is left as texts, for a table of free keys with texts behind them.
    #[must_use]
    pub fn into_texts(self) -> Vec<(Spotted<String>, Spotted<String>)> {
        let Self { table, name, findings, .. } = self;
        let shell = Reader::new(Table::empty(table.origin), &name, findings);
        table
            .entries
            .into_iter()
            .filter_map(|(key, value)| Some((key.clone(), shell.list_text(&key.value, value)?)))
            .collect()
    }

    /// All that is left as tables, for a table of free keys with tables behind them.
    #[must_use]
    pub fn into_sections(self) -> Vec<(Spotted<String>, Reader<'f>)> {
        let Self { table, name, findings, .. } = self;
        let shell = Reader::new(Table::empty(table.origin), &name, findings);
        let read = |(key, value): (Spotted<String>, Spotted<Value>)| {
            let kind = value.value.kind();
            let Value::Table(table) = value.value else {
                shell.wrong(&key.value, (kind, &value.origin), "a table");
                return None;
            };
            let name = shell.path(&key.value);
            Some((key, Reader::new(table, &name, findings)))
        };
        table.entries.into_iter().filter_map(read).collect()
    }

    /// Reports every key that nobody took.
    pub fn finish(self) {
        self.finish_telling(|_, _| true);
    }

    /// The same, where such a key is told by its name if this says so of it, and of the known one that is near it.
    pub fn finish_telling(self, is_told: impl Fn(&str, Option<&str>) -> bool) {
        if self.is_spent() {
            return;
        }
        for (Spotted { value: key, origin }, _) in &self.table.entries {
            let (near, hint) = meant(&self.known, key);
            let told = if is_told(key, near) { format!("`{}`", self.path(key)) } else { format!("in `{}`", self.name) };
            self.findings.error("unknown-key", origin, format!("unknown key {told}"), hint);
        }
    }
}
