//! Takes lists of texts out of a table.

use super::reader::Reader;
use super::value::{Spotted, Value};

impl Reader<'_> {
    /// A list of texts that names something; from the environment they are separated by commas. Absent: `None`.
    ///
    /// An empty one is an error, for readers take it for "nothing said", and whoever wrote it hardly meant that. The hint says
    /// what to write.
    pub fn texts(&mut self, key: &'static str, hint: &str) -> Option<Vec<Spotted<String>>> {
        let found = self.take(key)?;
        if names_nothing(&found.value) {
            let message = format!("`{}` is an empty list", self.path(key));
            self.findings().error("bad-value", &found.origin, message, hint);
            return None;
        }
        self.listed(key, found)
    }

    /// The same, of a list that must be there.
    pub fn required_texts(&mut self, key: &'static str, hint: &str) -> Option<Vec<Spotted<String>>> {
        self.demand(key, hint);
        self.texts(key, hint)
    }

    /// A list of texts of which an empty one says "none", and is taken so. Absent: `None`.
    pub fn texts_or_none(&mut self, key: &'static str) -> Option<Vec<Spotted<String>>> {
        let found = self.take(key)?;
        self.listed(key, found)
    }

    /// A text, or a list of them that names something; one of both must be there.
    pub fn required_text_or_texts(&mut self, key: &'static str, hint: &str) -> Option<Vec<Spotted<String>>> {
        let is_text = self.look(key).is_some_and(|found| matches!(found.value, Value::Text(_)));
        if is_text { Some(vec![self.text(key)?]) } else { self.required_texts(key, hint) }
    }

    fn listed(&self, key: &str, found: Spotted<Value>) -> Option<Vec<Spotted<String>>> {
        let kind = found.value.kind();
        if let Value::List(items) = found.value {
            return Some(items.into_iter().filter_map(|item| self.list_text(key, item)).collect());
        }
        let Value::Unparsed(text) = found.value else {
            let message = format!("`{}` is {kind}, wanted a list", self.path(key));
            self.findings().error("wrong-type", &found.origin, message, "write a list: [\"...\"]");
            return None;
        };
        // No network and no URL of ours begins so.
        if text.trim_start().strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with(['"', '\''])) {
            let message = format!("`{}` is written as a list is in a file", self.path(key));
            let hint = "in a variable, write what it lists with commas between, without brackets and quotes";
            self.findings().error("bad-value", &found.origin, message, hint);
            return None;
        }
        Some(words(&text).map(|word| Spotted { value: word.to_owned(), origin: found.origin.clone() }).collect())
    }

    pub(super) fn list_text(&self, key: &str, item: Spotted<Value>) -> Option<Spotted<String>> {
        let kind = item.value.kind();
        let Value::Text(value) = item.value else {
            self.wrong(key, (kind, &item.origin), "text");
            return None;
        };
        Some(Spotted { value, origin: item.origin })
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn names_nothing(value: &Value) -> bool {
    if let Value::List(items) = value {
        return items.is_empty();
    }
    matches!(value, Value::Unparsed(text) if words(text).next().is_none())
}
