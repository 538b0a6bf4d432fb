//! What can be read of a text that is no TOML, and what cannot.

use std::sync::Arc;

use toml::de::DeTable;

use super::value::{BYTE_ORDER_MARK, FAULTS, Lines, Table, WINDOW, fault, until};

/// What of a text could not be read. A value that is not found may be there.
#[derive(Debug, Default)]
pub struct Lost(Vec<Line>);

/// A line that could not be read.
#[derive(Debug)]
struct Line {
    /// The names in the header that it stands under. Empty: under none, or that one cannot be read either.
    header: Vec<String>,
    /// The words of it that may be names.
    words: Vec<String>,
}

impl Lost {
    /// Whether the value of this key may be among it, by whatever slip it is called something else under its own header.
    #[must_use]
    pub fn may_hold(&self, path: [&str; 2]) -> bool {
        self.0.iter().any(|line| {
            if line.header.is_empty() {
                line.words.iter().any(|word| path.contains(&word.as_str()))
            } else {
                line.header.iter().zip(path).all(|(name, wanted)| name == wanted)
            }
        })
    }

    fn add(&mut self, header: &str, text: &str) {
        for line in text.lines().filter(|line| !is_bare(line)) {
            let words = if is_header(line) { line } else { line.split('=').next().unwrap_or(line) };
            let names = header.split(']').next().unwrap_or(header);
            self.0.push(Line { header: self::words(names), words: self::words(words) });
        }
    }
}

/// What can be read at the beginning of a text that is no TOML, without the lines that have faults: for whoever needs a value
/// that may well stand in another one. With a header that has one what stands below it goes too: it would else be of another table.
#[must_use]
pub fn salvaged(file: &str, text: &str) -> (Table, Lost) {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let (beginning, behind) = text.split_at(until(text, WINDOW).len());
    let mut lost = Lost::default();
    lost.add("", behind);
    // Each part by itself, so that what is left open is so up to the next header; then together, as a name may stand in two of them.
    let apart: String = parts(beginning).into_iter().map(|part| mended(part.to_owned(), &mut lost)).collect();
    let text = mended(apart, &mut lost);
    let (table, _) = DeTable::parse_recoverable(&text);
    (Lines::new(&Arc::from(file), &text, 0).table(table.into_inner(), 0), lost)
}

/// A text without what has faults in it; all lines stay where they are.
fn mended(mut text: String, lost: &mut Lost) -> String {
    for _ in 0..FAULTS {
        let Err(error) = DeTable::parse(&text) else { return text };
        let at = text.floor_char_boundary(fault(&error).0);
        let starts =
            || text.split_inclusive('\n').scan(0, |end, line| Some((std::mem::replace(end, *end + line.len()), line)));
        // Of what is left open the fault is at the end.
        let Some((start, line)) = starts().filter(|(start, line)| *start <= at && !is_bare(line)).last() else { break };
        let header = starts().filter(|(at, line)| *at <= start && is_header(line)).last().map(|(_, header)| header);
        let is_value = is_value(line);
        let end = if is_value {
            start + line.len()
        } else {
            starts().find(|(at, line)| *at > start && is_header(line)).map_or(text.len(), |(at, _)| at)
        };
        let Some(cut) = text.get(start..end) else { break };
        lost.add(header.filter(|header| DeTable::parse(header).is_ok()).unwrap_or_default(), cut);
        if !is_value && !is_header(line) {
            lost.add("", cut);
        }
        let blank = "\n".repeat(cut.matches('\n').count());
        text.replace_range(start..end, &blank);
    }
    if DeTable::parse(&text).is_ok() {
        return text;
    }
    lost.add("", &text);
    "\n".repeat(text.matches('\n').count())
}

/// A text, parted before each header.
fn parts(text: &str) -> Vec<&str> {
    let headers =
        text.split_inclusive('\n').scan(0, |end, line| Some((std::mem::replace(end, *end + line.len()), line)));
    let mut starts: Vec<usize> = headers.filter(|(_, line)| is_header(line)).map(|(start, _)| start).collect();
    starts.insert(0, 0);
    starts.push(text.len());
    starts.windows(2).filter_map(|ends| text.get(*ends.first()?..*ends.last()?)).collect()
}

/// Whether a line begins a table. None of ours has a list that goes on with a bracket.
fn is_header(line: &str) -> bool {
    line.trim_start().starts_with('[')
}

/// Whether a line gives a key some value, be it none that can be read. One that does not may have been a header.
fn is_value(line: &str) -> bool {
    line.split_once('=').is_some_and(|(key, _)| !is_header(key) && DeTable::parse(&format!("{key} = 1")).is_ok())
}

/// Whether nothing stands in a line but a comment.
fn is_bare(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

fn words(text: &str) -> Vec<String> {
    let is_between = |letter: char| !letter.is_alphanumeric() && !"_-".contains(letter);
    text.split(is_between).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Findings, Reader};

    #[test]
    fn what_stands_in_lines_without_a_fault_can_be_read_all_the_same() {
        for (before, behind) in [
            ("", "b = \n"),
            ("= 1\n", ""),
            ("word\n", "word\n"),
            ("[[\n", "[b\n"),
            ("[b\n", "x = \"\n"),
            ("x = 'я\n", "[section]\n"),
            ("\u{feff}x = tru\n", "x = \"\"\"\n"),
            ("x = 1 2\n", "x = { y = 1"),
            ("[b]\nx = [\n\"y\"\n", "x = [\n\"y\",\nz = 1\n"),
            ("[b]\nx = \"\"\"\n", "x = '''\ny = 2\n"),
            ("[b]\nx = {\n", "key = 2\n[section]\nkey = 3\n"),
        ] {
            let text = format!("{before}[section]\nkey = 1\n{behind}");
            let (table, _) = salvaged("a.toml", &text);
            let findings = Findings::new();
            let mut file = Reader::new(table, "", &findings);
            let read = file.section("section").and_then(|mut section| section.integer("key", 1, 1));
            let line = u32::try_from(before.lines().count() + 2).unwrap();
            assert_eq!(read.map(|found| found.origin.line), Some(line), "{text}");
        }
    }

    #[test]
    fn what_stands_below_a_header_with_a_fault_is_of_no_other_table() {
        for header in
            ["[section", "[sec'tion]", "[[section]", "[]", "[section]]", "section]", "=[section]", "[other]\n[other]"]
        {
            let text = format!("x = 1\n[other]\ny = 2\n{header}\nkey = 1\n[last]\nz = 3\n");
            let (table, lost) = salvaged("a.toml", &text);
            let findings = Findings::new();
            let mut file = Reader::new(table, "", &findings);
            let has = |file: &mut Reader<'_>, section, key| file.section(section).is_some_and(|mut it| it.has(key));
            assert!(file.has("x") && !file.has("key") && !file.has("section"), "{header}");
            assert!(has(&mut file, "last", "z"), "{header}");
            assert!(!has(&mut file, "other", "key"), "{header}");
            assert_eq!(lost.may_hold(["section", "key"]), header != "[other]\n[other]", "{header}");
            assert!(!lost.may_hold(["last", "z"]), "{header}");
        }
    }

    #[test]
    fn what_was_lost_may_hold_what_it_names_and_whatever_its_own_header_has() {
        let lost = |text: &str| salvaged("a.toml", text).1;
        let section = ["section", "key"];
        for text in [
            "[section]\nkey = 5s\n",
            "[section]\nkye = 5s\n",
            "[section]\nx = [\n",
            "[section.key]\nx = 5s\n",
            "[section.key\nx = 1\n",
            "[setcion\nkey = 1\n",
            "section = { key = 5s }\n",
            "section.key = 5s\n",
            "[\"section\"] # comment\nx = 5s\n",
            "[section]\nx = 1\n[section]\nkey = 1\n",
        ] {
            assert!(lost(text).may_hold(section), "{text}");
        }
        for text in [
            "[section]\nkey = 1\n",
            "[other]\nkey = 5s\n",
            "[other]\nx = [\n[section]\ny = 1\n",
            "[section.other]\nkey = 5s\n",
            "[other\n# section\nx = \"key\"\n",
            "other = \"key\n",
        ] {
            assert!(!lost(text).may_hold(section), "{text}");
        }
        let long = format!("[other]\nx = 5s\n{}", "# comment\n".repeat(10_000));
        assert!(!lost(&long).may_hold(section));
        assert!(lost(&(long + "[section]\nkey = 1\n")).may_hold(section), "nobody has looked there");
    }
}
