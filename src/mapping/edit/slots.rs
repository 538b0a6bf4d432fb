//! The secrets of a client as they stand in its entry, each with the comments that are about it.

use std::{fmt, mem};

use toml_edit::{Array, Item, RawString, TableLike, Value};

use super::fields::{NewSecret, set};
use crate::domain::client::MOST_SECRETS;
use crate::mapping::entries::Entry;

/// The secrets under a key as they stood when nobody was kept from changing them.
pub struct Known {
    key: &'static str,
    text: String,
}

impl Known {
    /// Those of a client.
    ///
    /// # Errors
    /// Its file cannot be read any more, or has it no more.
    pub fn of(entry: &Entry, key: &'static str) -> Result<Self, String> {
        let text = super::standing(entry, |table| text_of(table, key))?;
        Ok(Self { key, text })
    }

    /// Looks whether they still stand so.
    ///
    /// # Errors
    /// They do not.
    pub fn still(&self, table: &dyn TableLike) -> Result<(), String> {
        if text_of(table, self.key) == self.text {
            return Ok(());
        }
        Err("these secrets were changed by somebody else meanwhile\n  hint: run the command again".to_owned())
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Known({})", self.key)
    }
}

fn text_of(table: &dyn TableLike, key: &str) -> String {
    table.get(key).map(Item::to_string).unwrap_or_default()
}

/// One or two secrets of a client. The first is the preferred one.
#[derive(Default)]
pub struct SecretSlots {
    /// A comment in the line of the `[`.
    head: String,
    slots: Vec<Slot>,
    /// What stands between the last one's line and the `]`.
    foot: String,
    ends_with_comma: bool,
}

/// A secret, and what stands around it. Behind a comma, a comment is the next value's to TOML, and the one's in front of it to people.
struct Slot {
    above: String,
    value: Value,
    behind: String,
}

impl Slot {
    fn of(value: Value) -> Self {
        Self { above: String::new(), value, behind: String::new() }
    }
}

impl fmt::Debug for SecretSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretSlots({})", self.slots.len())
    }
}

impl SecretSlots {
    /// Those under `legacy_secret` or `client_secret`.
    ///
    /// # Errors
    /// They are written in a way that nothing changes.
    pub fn of(table: &dyn TableLike, key: &str) -> Result<Self, String> {
        match table.get(key) {
            Some(Item::Value(Value::Array(list))) => Ok(Self::listed(list)),
            Some(Item::Value(value @ Value::InlineTable(_))) => {
                let mut value = value.clone();
                // A comment behind it is the key's, and stays there.
                value.decor_mut().clear();
                Ok(Self { slots: vec![Slot::of(value)], ..Self::default() })
            }
            Some(_) | None => Err(format!(
                "`{key}` is not written as {{ ... }} or as a list of them\n  hint: write it so, or change it by hand"
            )),
        }
    }

    fn listed(list: &Array) -> Self {
        let text = |raw: Option<&RawString>| raw.and_then(RawString::as_str).unwrap_or_default().to_owned();
        let mut all = Self { ends_with_comma: list.trailing_comma(), ..Self::default() };
        let mut gap = String::new();
        for value in list {
            let mut slot = Slot::of(value.clone());
            let decor = mem::take(slot.value.decor_mut());
            slot.above = all.end_line(gap + &text(decor.prefix()));
            gap = text(decor.suffix());
            all.slots.push(slot);
        }
        all.foot = all.end_line(gap + &text(Some(list.trailing())));
        all
    }

    /// Gives a comment in the first line of a gap to what stands in that line. What is left is about what follows.
    fn end_line(&mut self, gap: String) -> String {
        match gap.split_once('\n') {
            Some((line, rest)) if line.contains('#') => {
                let place = self.slots.last_mut().map_or(&mut self.head, |slot| &mut slot.behind);
                line.clone_into(place);
                format!("\n{rest}")
            }
            Some(_) | None => gap,
        }
    }

    /// Adds one as the second.
    ///
    /// # Errors
    /// There are two.
    pub fn add(&mut self, secret: &NewSecret) -> Result<(), String> {
        let [only] = self.slots.as_slice() else {
            return Err("the client has two secrets already\n  hint: `retire` ends the second one".to_owned());
        };
        let next = Slot { above: indent(&only.above), ..Slot::of(secret.value()) };
        self.slots.push(next);
        Ok(())
    }

    /// Makes the second the first.
    ///
    /// # Errors
    /// There is one.
    pub fn promote(&mut self) -> Result<(), String> {
        let [first, second] = self.slots.as_mut_slice() else {
            return Err("the client has one secret only\n  hint: `add` brings the second one".to_owned());
        };
        mem::swap(first, second);
        // Blanks are the place's, and comments the secret's.
        if ![&first.above, &second.above].into_iter().any(|above| above.contains('#')) {
            mem::swap(&mut first.above, &mut second.above);
        }
        Ok(())
    }

    /// Ends the second.
    ///
    /// # Errors
    /// There is one.
    pub fn retire(&mut self) -> Result<(), String> {
        if self.slots.len() != 2 {
            return Err("the client has one secret only, and would have none\n  hint: to switch the client off: `client stage ID retired`".to_owned());
        }
        self.slots.pop();
        Ok(())
    }

    /// Puts hashes in place of `{ learn = true }`; a comment at it stays at the first.
    ///
    /// # Errors
    /// Nothing is learned there, or there are too many.
    pub fn learned(&mut self, hashes: &[String]) -> Result<(), String> {
        let learns = |slot: &Slot| slot.value.as_inline_table().is_some_and(|table| table.contains_key("learn"));
        let Some(place) = self.slots.iter().position(learns) else {
            return Err("the client has no { learn = true }\n  hint: nothing is to be written".to_owned());
        };
        if self.slots.len() - 1 + hashes.len() > MOST_SECRETS {
            return Err("the client would have more than two secrets\n  hint: `retire` ends the second one".to_owned());
        }
        let Slot { mut above, mut behind, .. } = self.slots.remove(place);
        for (offset, hash) in hashes.iter().enumerate() {
            let next = indent(&above);
            let value = NewSecret::Hash(hash.clone()).value();
            self.slots.insert(
                place + offset,
                Slot { above: mem::replace(&mut above, next), value, behind: mem::take(&mut behind) },
            );
        }
        Ok(())
    }

    /// Puts them under the key.
    pub fn into(self, table: &mut dyn TableLike, key: &str) {
        let Self { head, mut slots, foot, ends_with_comma } = self;
        let around = slots.iter().flat_map(|slot| [&slot.above, &slot.behind]);
        if !around.chain([&head, &foot]).any(|text| text.contains('#')) {
            // On one line, and one alone without a list.
            match slots.pop() {
                Some(only) if slots.is_empty() => set(table, key, only.value),
                last => set(table, key, slots.into_iter().chain(last).map(|slot| slot.value).collect::<Array>()),
            }
            return;
        }
        let (mut list, mut line) = (Array::new(), head);
        for Slot { above, mut value, behind } in slots {
            value.decor_mut().set_prefix(followed(line, &above));
            list.push_formatted(value);
            line = behind;
        }
        list.set_trailing(followed(line, &foot));
        list.set_trailing_comma(ends_with_comma);
        set(table, key, list);
    }
}

/// Where the next one stands: in a line of its own where this one does.
fn indent(above: &str) -> String {
    above.rsplit_once('\n').map_or_else(|| " ".to_owned(), |(_, blanks)| format!("\n{blanks}"))
}

/// A comment ends with its line.
fn followed(line: String, next: &str) -> String {
    let is_open = line.contains('#') && !next.trim_start_matches([' ', '\t', '\r']).starts_with('\n');
    line + if is_open { "\n" } else { "" } + next
}

#[cfg(test)]
mod tests {
    use toml_edit::DocumentMut;

    use super::*;

    type Act = fn(&mut SecretSlots) -> Result<(), String>;

    fn changed(list: &str, act: Act) -> String {
        let mut document: DocumentMut = format!("s = {list} # of the key\n").parse().unwrap();
        let mut slots = SecretSlots::of(document.as_table(), "s").unwrap();
        act(&mut slots).unwrap();
        slots.into(document.as_table_mut(), "s");
        let text = document.to_string();
        text.parse::<DocumentMut>().unwrap();
        text.strip_prefix("s = ").unwrap().strip_suffix(" # of the key\n").unwrap().to_owned()
    }

    const TWO: &str = "[ # which one is which\n  { env = 'A' }, # of 2019, goes\n  # typed by hand\n  { env = 'B' }, # of 2026, stays\n  # no third\n]";

    #[test]
    fn a_comment_goes_with_the_secret_in_whose_line_or_below_which_it_stands() {
        let promoted = "[ # which one is which\n  # typed by hand\n  { env = 'B' }, # of 2026, stays\n  { env = 'A' }, # of 2019, goes\n  # no third\n]";
        assert_eq!(changed(TWO, SecretSlots::promote), promoted);
        let retired = "[ # which one is which\n  { env = 'A' }, # of 2019, goes\n  # no third\n]";
        assert_eq!(changed(TWO, SecretSlots::retire), retired);
        let without_comma = "[{ env = 'A' }, # of 2019\n  { env = 'B' } # of 2026\n]";
        let promoted = "[{ env = 'B' }, # of 2026\n  { env = 'A' } # of 2019\n]";
        assert_eq!(changed(without_comma, SecretSlots::promote), promoted);
        assert_eq!(changed(without_comma, SecretSlots::retire), "[{ env = 'A' } # of 2019\n]");
    }

    #[test]
    fn one_that_is_added_takes_no_comment_of_another() {
        let add: Act = |slots| slots.add(&NewSecret::Env("C".to_owned()));
        let one = "[\n  { env = 'A' }, # of 2019\n]";
        assert_eq!(changed(one, add), "[\n  { env = 'A' }, # of 2019\n  { env = \"C\" },\n]");
        assert_eq!(changed("[{ env = 'A' } # of 2019\n]", add), "[{ env = 'A' }, # of 2019\n { env = \"C\" }\n]");
        let learned: Act = |slots| slots.learned(&["X".to_owned(), "Y".to_owned()]);
        let both = "[\n  { hash = \"X\" }, # nobody knows it\n  { hash = \"Y\" }\n]";
        assert_eq!(changed("[\n  { learn = true } # nobody knows it\n]", learned), both);
    }

    #[test]
    fn without_comments_they_stand_on_one_line_and_one_in_no_list() {
        let two = "[\n  { env = 'A' },\n  { env = 'B' },\n]";
        assert_eq!(changed(two, SecretSlots::promote), "[{ env = 'B' }, { env = 'A' }]");
        assert_eq!(changed(two, SecretSlots::retire), "{ env = 'A' }");
    }
}
