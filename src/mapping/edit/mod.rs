//! Changes what mapping files say of a client: one file at a time, checked first, comments and order kept.
//!
//! Must not: write what would bring a new error, leave half a file, or lose what somebody else wrote meanwhile.

mod atomic;
mod fields;
mod lines;
mod slots;
mod turns;

use std::collections::HashMap;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, TableLike};

pub use atomic::still_unsure;
pub use fields::{BACK, NewClient, NewSecret, is_back, is_back_at, percent, reason_back, stage};
pub use slots::{Known, SecretSlots};

use super::Place;
use super::entries::{self, Entry, entries};
use super::load::{self, Proposed};
use crate::document::{BYTE_ORDER_MARK, Finding, Findings, Severity};
use crate::secrets::Means;
use crate::secrets::files::words;

/// Why nothing was changed.
#[derive(Debug)]
pub enum Refused {
    /// A sentence that says what to do.
    Sentence(String),
    /// The mapping would have these errors, which it does not have now.
    Findings(Vec<Finding>),
    /// What was looked for is in no file that can be read, and these errors are why others cannot.
    Unread(String, Vec<Finding>),
}

impl From<String> for Refused {
    fn from(sentence: String) -> Self {
        Self::Sentence(sentence)
    }
}

/// What was changed.
#[derive(Debug)]
pub struct Changed {
    /// The file.
    pub file: PathBuf,
    /// The digest that a bridge shows once it has the change.
    pub digest: String,
    /// What to be aware of that was not so before.
    pub warnings: Vec<Finding>,
    /// What may become of it.
    pub note: Option<String>,
}

/// The mapping directory, in the hands of one who changes it. Others wait, also those at another one that has a file in common.
#[derive(Debug)]
pub struct Desk<'a> {
    mappings: &'a Place,
    means: Means<'a>,
    _locks: Vec<File>,
}

impl<'a> Desk<'a> {
    /// Takes the directory in hand.
    ///
    /// # Errors
    /// It cannot be written, or somebody else has it.
    pub fn open(mappings: &'a Place, means: Means<'a>) -> Result<Self, Refused> {
        let locks = turns::take(&mappings.join("clients"))?;
        Ok(Self { mappings, means, _locks: locks })
    }

    /// A client as it is, where the files say already what they should.
    #[must_use]
    pub fn unchanged(&self, entry: &Entry) -> Changed {
        let digest = load::digest(self.mappings);
        Changed { file: entry.file.clone(), digest, warnings: Vec::new(), note: None }
    }

    /// What the files say of a client.
    ///
    /// # Errors
    /// Nothing, or twice.
    pub fn entry(&self, legacy_id: &str) -> Result<Entry, Refused> {
        entry(self.mappings, legacy_id)
    }

    /// Changes a client where it stands.
    ///
    /// # Errors
    /// The change says no, brings a new error, or the file cannot be written.
    pub fn change(
        &self,
        entry: &Entry,
        change: impl FnOnce(&mut dyn TableLike) -> Result<(), String>,
    ) -> Result<Changed, Refused> {
        let before = text(&entry.file)?;
        let after = edited(&before, &entry.legacy_id, change).map_err(|reason| at(&entry.file, &reason))?;
        self.take(&entry.file, Some(&before), &after)
    }

    /// Adds clients at the end of a file, which is made if there is none.
    ///
    /// # Errors
    /// One of them would bring a new error, or the file cannot be written.
    pub fn add(&self, addition: &Addition) -> Result<Changed, Refused> {
        self.take(&addition.path, addition.before.as_deref(), &addition.after)
    }

    /// Checks the whole directory as it would be, and only then writes.
    fn take(&self, path: &Path, before: Option<&str>, after: &str) -> Result<Changed, Refused> {
        let (digest, warnings) = check(self.mappings, self.means, path, after).map_err(Refused::Findings)?;
        let note = atomic::write(path, before, after).map_err(|reason| at(path, &reason))?;
        Ok(Changed { file: path.to_owned(), digest, warnings, note })
    }
}

/// Clients at the end of a file, thought and not written.
pub struct Addition {
    path: PathBuf,
    before: Option<String>,
    after: String,
    /// The line that each client begins at.
    starts: Vec<usize>,
}

impl Addition {
    /// What a file would be with these clients behind what it has.
    ///
    /// # Errors
    /// There is no such file, and none of that name can be made.
    pub fn new(mappings: &Path, name: &str, clients: &[NewClient]) -> Result<Self, Refused> {
        if !is_file_name(name) {
            return Err(format!("`{name}` is no name for a mapping file\n  hint: one such as `partners.toml`").into());
        }
        let path = mappings.join("clients").join(name);
        let before = if path.symlink_metadata().is_ok() { Some(text(&path)?) } else { None };
        let mut after = before.clone().unwrap_or_default();
        let document = document(&after).map_err(|reason| at(&path, &reason))?;
        if matches!(document.get("client"), Some(Item::Value(_))) {
            let hint = "hint: name another file with --into";
            let reason = format!("`client` is a list in one value, to which nothing is added\n  {hint}");
            return Err(at(&path, &reason).into());
        }
        let header = header(&document);
        let mut line = after.lines().count() + 1;
        let mut starts = Vec::with_capacity(clients.len());
        for client in clients {
            if !after.is_empty() {
                after.push_str(if after.ends_with('\n') { "\n" } else { "\n\n" });
                line += 1;
            }
            starts.push(line);
            let text = client.text().replacen(HEADER, &header, 1);
            line += text.lines().count();
            after.push_str(&text);
        }
        Ok(Self { path, before, after, starts })
    }

    /// Checks without a change: warnings that would be new, or the errors.
    ///
    /// # Errors
    /// The errors that would be new.
    pub fn check(&self, mappings: &Place, means: Means<'_>) -> Result<Vec<Finding>, Vec<Finding>> {
        check(mappings, means, &self.path, &self.after).map(|(_digest, warnings)| warnings)
    }

    /// The added client that a finding is about.
    #[must_use]
    pub fn client_of(&self, finding: &Finding) -> Option<usize> {
        if *finding.origin.file != *self.path.to_string_lossy() {
            return None;
        }
        let line = usize::try_from(finding.origin.line).ok()?;
        self.starts.partition_point(|start| *start <= line).checked_sub(1)
    }
}

/// What a client begins with.
const HEADER: &str = "[[client]]";

/// The same as a file spells it. Where two spellings stand side by side no entry can be changed without touching the other.
fn header(document: &DocumentMut) -> String {
    let Some((key, _)) = document.get_key_value("client") else { return HEADER.to_owned() };
    let blank = |side: Option<&toml_edit::RawString>| {
        side.and_then(toml_edit::RawString::as_str).unwrap_or_default().to_owned()
    };
    let decor = key.leaf_decor();
    format!("[[{}{}{}]]", blank(decor.prefix()), key.display_repr(), blank(decor.suffix()))
}

/// Whether a file of clients may have this name.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    let plain = !name.starts_with('.') && !name.contains('/') && name.len() > 5;
    plain && Path::new(name).extension().is_some_and(|ending| ending == "toml")
}

/// The digest that the directory would have, and what would be new among its findings.
fn check(mappings: &Place, means: Means<'_>, path: &Path, after: &str) -> Result<(String, Vec<Finding>), Vec<Finding>> {
    let (now, then) = (Findings::new(), Findings::new());
    let _table = load::read(mappings, means, None, &now);
    let proposed = Proposed { path, text: after };
    let (_table, digest) = load::read(mappings, means, Some(proposed), &then);
    let new = unheard(&now.into_sorted(), then.into_sorted());
    let (errors, warnings): (Vec<_>, Vec<_>) = new.into_iter().partition(|finding| finding.severity == Severity::Error);
    if errors.is_empty() { Ok((digest, warnings)) } else { Err(errors) }
}

/// What the files say of a client.
///
/// # Errors
/// Nothing, or twice.
pub fn entry(mappings: &Path, legacy_id: &str) -> Result<Entry, Refused> {
    let findings = Findings::new();
    let mut found: Vec<Entry> = entries(mappings, &findings);
    found.retain(|entry| entry.legacy_id == legacy_id);
    let errors = findings.into_sorted();
    match (found.pop(), found.pop()) {
        (Some(entry), None) => Ok(entry),
        (Some(second), Some(first)) => Err(Refused::Sentence(format!(
            "the client `{legacy_id}` is mapped twice: at {} and at {}\n  hint: leave one of the two",
            first.origin, second.origin
        ))),
        (None, _) if !errors.is_empty() => {
            let sentence = format!(
                "there is no client `{legacy_id}` in what can be read of {}\n  hint: mend what stands above",
                mappings.join("clients").display()
            );
            Err(Refused::Unread(sentence, errors))
        }
        (None, _) => Err(Refused::Sentence(format!(
            "there is no client `{legacy_id}` in {}\n  hint: `passbridge client list` shows all",
            mappings.join("clients").display()
        ))),
    }
}

/// Those of `then` that were not there `now`, whatever lines they have moved to: hints may name lines, sentences do not.
fn unheard(now: &[Finding], mut then: Vec<Finding>) -> Vec<Finding> {
    let sentence = |finding: &Finding| (finding.code, finding.message.clone(), finding.origin.file.to_string());
    let mut known: HashMap<_, usize> = HashMap::new();
    for finding in now {
        *known.entry(sentence(finding)).or_default() += 1;
    }
    then.retain(|finding| match known.get_mut(&sentence(finding)) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        Some(_) | None => true,
    });
    then
}

fn at(path: &Path, reason: &str) -> String {
    format!("{}: {reason}", path.display())
}

fn text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| at(path, &format!("cannot be read: {}", words(&error))))
}

fn document(text: &str) -> Result<DocumentMut, String> {
    text.parse().map_err(|error: toml_edit::TomlError| format!("not valid TOML: {}", error.message()))
}

const GONE: &str = "the client is not there any more";

/// What somebody sees in a client as it stands in its file.
fn standing<T>(entry: &Entry, see: impl FnOnce(&dyn TableLike) -> T) -> Result<T, String> {
    let text = text(&entry.file)?;
    let plain = lines::plain(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text));
    let mut document = document(&plain).map_err(|reason| at(&entry.file, &reason))?;
    let client = client(&mut document, &entry.legacy_id).ok_or_else(|| at(&entry.file, GONE))?;
    Ok(see(client))
}

/// The text with one client changed. Nothing but that client differs.
fn edited(
    before: &str,
    legacy_id: &str,
    change: impl FnOnce(&mut dyn TableLike) -> Result<(), String>,
) -> Result<String, String> {
    let text = before.strip_prefix(BYTE_ORDER_MARK).unwrap_or(before);
    let mark = if text.len() < before.len() { "\u{feff}" } else { "" };
    // How the others are written is no concern of this one.
    let all: Vec<&str> = text.split_inclusive('\n').collect();
    let own = own_lines(text, &all, legacy_id);
    let (above, rest) = all.split_at(own.start);
    let (own, below) = rest.split_at(own.len());
    let text = own.concat();
    let plain = lines::plain(&text);
    let mut document = document(&plain)?;
    if let Some(line) = lines::first_other(&plain, &lines::plain(&document.to_string())) {
        let line = above.len() + line;
        let hint = "hint: keep the keys of one table together and spell headers without blanks, or change it by hand and give the bridge a SIGHUP";
        return Err(format!("cannot be changed without touching line {line} too\n  {hint}"));
    }
    change(client(&mut document, legacy_id).ok_or(GONE)?)?;
    let after = lines::spliced(&text, &plain, &lines::plain(&document.to_string()));
    Ok(format!("{mark}{}{after}{}", above.concat(), below.concat()))
}

/// The lines of a client, from its header to the next one's; all, where it has no header.
fn own_lines(text: &str, all: &[&str], legacy_id: &str) -> Range<usize> {
    let entries = entries::of_file(Path::new(""), text, &Findings::new());
    let line = |entry: &Entry| usize::try_from(entry.origin.line).unwrap_or_default().saturating_sub(1);
    let own = entries.iter().find(|entry| entry.legacy_id == legacy_id).map(line);
    let is_header = |line: &usize| all.get(*line).is_some_and(|text| text.trim_start().starts_with("[["));
    own.filter(is_header).map_or(0..all.len(), |own| {
        let next = entries.iter().map(line).filter(|line| *line > own).min();
        own..next.unwrap_or(all.len())
    })
}

fn client<'d>(document: &'d mut DocumentMut, legacy_id: &str) -> Option<&'d mut dyn TableLike> {
    let meant = |table: &dyn TableLike| table.get("legacy_id").and_then(Item::as_str) == Some(legacy_id);
    let clients = document.get_mut("client")?;
    if clients.is_array_of_tables() {
        let mut tables = clients.as_array_of_tables_mut()?.iter_mut();
        return tables.find(|table| meant(*table)).map(|table| table as &mut dyn TableLike);
    }
    let mut tables = clients.as_array_mut()?.iter_mut().filter_map(toml_edit::Value::as_inline_table_mut);
    tables.find(|table| meant(*table)).map(|table| table as &mut dyn TableLike)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# ours\n[[client]]\nlegacy_id = 'one' # first\nstage=\"live\"   # since spring\n\n  # the second\n[[client]]\nstage = \"live\"\nlegacy_id = \"two\"\n[client.scopes]\na = \"b\" # end";

    fn retired(text: &str, id: &str) -> Result<String, String> {
        edited(text, id, |table| {
            stage(table, "retired", "2026-11-24T12:00:00Z", "it is \"over\"");
            Ok(())
        })
    }

    #[test]
    fn a_stage_change_keeps_its_comments_however_it_is_written() {
        let change =
            [("from", "legacy", "before"), ("at", "2026-01-01T00:00:00Z", "UTC"), ("why", "a test", "ticket 1")];
        let lines = |prefix| change.map(|(key, text, note)| format!("{prefix}{key} = \"{text}\"  # {note}\n")).concat();
        let entry = "[[client]]\nlegacy_id = \"one\"\nstage = \"live\"\n";
        for text in [
            format!("{entry}{}# the end\n", lines("stage_change.")),
            format!("{entry}# about it\n[client.stage_change]  # ours\n{}", lines("")),
        ] {
            let wanted = text.replace("\"live\"", "\"retired\"").replace("\"legacy\"", "\"live\"");
            let wanted = wanted.replace("2026-01-01T00:00:00Z", "2026-11-24T12:00:00Z");
            assert_eq!(retired(&text, "one").unwrap(), wanted.replace("\"a test\"", "'it is \"over\"'"));
        }
    }

    #[test]
    fn a_canary_that_is_staged_anew_after_a_move_back_came_from_the_old_server() {
        let canary = |why: &str| {
            format!(
                "[[client]]\nlegacy_id = \"one\"\nstage = \"canary\"\nstage_change = {{ from = \"live\", at = \"a\", why = \"{why}\" }}\n"
            )
        };
        let anew = |why: &str| {
            let anew = |table: &mut dyn TableLike| {
                stage(table, "canary", "b", "a smaller share");
                Ok(())
            };
            edited(&canary(why), "one", anew).unwrap()
        };
        for back in [
            "rolled back",
            "rolled back: too many refusals",
            "rolled back: to canary",
            "rolled back: to canary: at once",
        ] {
            let wanted = "stage_change = { from = \"legacy\", at = \"b\", why = \"a smaller share\" }\n";
            assert!(anew(back).ends_with(wanted), "{}", anew(back));
        }
        for forward in ["rolled backwards", "rolled back to where it was: live"] {
            assert!(anew(forward).contains("from = \"live\""), "that was a move by `client stage`");
        }
    }

    #[test]
    fn only_the_lines_of_the_change_differ() {
        let note = "stage_change = { from = \"live\", at = \"2026-11-24T12:00:00Z\", why = 'it is \"over\"' }\n";
        let one = retired(FILE, "one").unwrap();
        let wanted =
            FILE.replace("stage=\"live\"   # since spring\n", &format!("stage=\"retired\"   # since spring\n{note}"));
        assert_eq!(one, wanted, "without an end of its last line, as before");
        let two = retired(FILE, "two").unwrap();
        let wanted = FILE.replace(
            "stage = \"live\"\nlegacy_id = \"two\"\n",
            &format!("stage = \"retired\"\nlegacy_id = \"two\"\n{note}"),
        );
        assert_eq!(two, wanted);
        let marked = retired(&format!("\u{feff}{FILE}"), "two").unwrap();
        assert_eq!(marked, format!("\u{feff}{wanted}"));
    }

    #[test]
    fn a_refusal_names_the_line_that_would_be_another() {
        let told = |text: &str, line: u32| {
            let refused = retired(text, "one").unwrap_err();
            assert!(refused.starts_with(&format!("cannot be changed without touching line {line} too\n")), "{refused}");
        };
        let entry = "legacy_id = \"one\"\nstage = \"live\"\n";
        told(&format!("[[client]]\nscopes.a = \"b\"\n{entry}scopes.c = \"d\"\n"), 3);
        let other = "# ours\r\n[[ client ]] # odd\r\nscopes.a = \"b\"\r\nlegacy_id = \"two\"\r\nscopes.c = \"d\"\r\n[client . headers]\r\n";
        told(&format!("{other}[[client]]\n{entry}[client . scopes]\n"), 10);
        // How the others are written is nobody's concern.
        let alone = format!("[[\"client\"]]\n{entry}");
        let changed = retired(&alone, "one").unwrap();
        for (above, below) in [(other, ""), ("", other), (other, "[other]\n[[client]]\n")] {
            let changed = format!("{above}{changed}{below}");
            assert_eq!(retired(&format!("{above}{alone}{below}"), "one").unwrap(), changed);
            let marked = format!("\u{feff}{above}{alone}{below}");
            assert_eq!(retired(&marked, "one").unwrap(), format!("\u{feff}{changed}"));
        }
    }

    #[test]
    fn lines_that_end_as_on_windows_stay_so() {
        let windows = FILE.replace('\n', "\r\n");
        let changed = retired(&windows, "one").unwrap();
        assert_eq!(changed.matches("\r\n").count(), changed.matches('\n').count());
        // Three lines end so, the others do not.
        let mixed = retired(&FILE.replacen('\n', "\r\n", 3), "two").unwrap();
        assert_eq!(mixed, retired(FILE, "two").unwrap().replacen('\n', "\r\n", 3));
        let mixed = retired(&FILE.replacen('\n', "\r\n", 3), "one").unwrap();
        assert_eq!(mixed, retired(FILE, "one").unwrap().replacen('\n', "\r\n", 3));
    }

    #[test]
    fn a_list_in_one_line_is_changed_too() {
        let text =
            "client = [{ legacy_id = \"one\", stage = \"live\" }, { legacy_id = \"two\", stage = \"live\" }] # all\n";
        let changed = retired(text, "two").unwrap();
        assert!(changed.starts_with(
            "client = [{ legacy_id = \"one\", stage = \"live\" }, { legacy_id = \"two\", stage = \"retired\""
        ));
        assert!(changed.ends_with("] # all\n"), "{changed}");
    }
}
