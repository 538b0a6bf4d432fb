//! Reads an audit from end to end and says what is not as it was written.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::chain::{self, Head, Record};
use super::directory;

/// What an audit is worth.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Files.
    pub files: usize,
    /// Records that are as they were written.
    pub records: u64,
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// Its hash: whoever noted an earlier one elsewhere finds it in the files.
    pub hash: String,
    /// Lines that a crash cut off, each told by the record behind it.
    pub tears: u64,
    /// Starts after an end that was none in order.
    pub crashes: u64,
    /// Records that could not be written, or were left out, as the chain itself says.
    pub lost: u64,
    /// Records that were written and are gone, as the chain itself says: the process that wrote them was alive, and found them removed or changed.
    pub removed: u64,
    /// What was removed or changed. Empty: nothing.
    pub faults: Vec<Fault>,
}

/// Something that was removed or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub file: PathBuf,
    /// The line, from 1; `None`: all of it.
    pub line: Option<u64>,
    /// What.
    pub message: String,
}

/// Bytes that are no record.
#[derive(Default)]
struct Loose {
    bytes: u64,
    line: u64,
    /// One of the lines ends as a record does: it was one.
    whole: bool,
    unended: bool,
}

struct Reading<'a> {
    verdict: Verdict,
    head: Option<Head>,
    loose: Loose,
    /// Up to here records were forgotten, as the chain says.
    through: u64,
    file: &'a Path,
    line: u64,
}

/// Reads everything.
///
/// # Errors
/// A file cannot be read.
pub fn verify(path: &Path) -> io::Result<Verdict> {
    let files = directory::list(path)?;
    let mut reading = Reading {
        verdict: Verdict { files: files.len(), ..Verdict::default() },
        head: None,
        loose: Loose::default(),
        through: 0,
        file: path,
        line: 0,
    };
    for named in &files {
        reading.loose_ends(false);
        (reading.file, reading.line) = (&named.path, 0);
        let mut file = BufReader::new(File::open(&named.path)?);
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line)? > 0 {
            reading.line += 1;
            reading.take(&line);
            line.clear();
        }
    }
    reading.loose_ends(true);
    if reading.verdict.first > 1 && reading.through.saturating_add(1) < reading.verdict.first {
        let message =
            format!("the records before {} are missing, and none says that they were forgotten", reading.verdict.first);
        let file = files.first().map_or(path, |named| named.path.as_path()).to_owned();
        reading.verdict.faults.push(Fault { file, line: Some(1), message });
    }
    // Whoever writes begins with the record of its start: nothing at all is no audit of which nothing is missing.
    if reading.verdict.records == 0 {
        let message = "there is no record: none was ever written here, or all were removed".to_owned();
        reading.verdict.faults.push(Fault { file: path.to_owned(), line: None, message });
    }
    reading.verdict.hash = reading.head.unwrap_or_default().hash;
    Ok(reading.verdict)
}

impl Reading<'_> {
    fn take(&mut self, line: &[u8]) {
        let text = line.strip_suffix(b"\n");
        match chain::read(text.unwrap_or(line)) {
            Some(record) => self.record(record),
            None => {
                if self.loose.bytes == 0 {
                    self.loose.line = self.line;
                }
                self.loose.bytes += line.len() as u64;
                self.loose.whole |= chain::looks_whole(text.unwrap_or(line));
                self.loose.unended = text.is_none();
            }
        }
    }

    fn record(&mut self, record: Record) {
        let loose = std::mem::take(&mut self.loose);
        if loose.bytes > 0 && (record.torn != Some(loose.bytes) || loose.whole) {
            self.fault(loose.line, "this is no record, or was changed".to_owned());
        } else if record.torn.is_some() && loose.bytes == 0 {
            self.fault(self.line, "the cut-off line of which this record tells is not there".to_owned());
        } else {
            self.verdict.tears += u64::from(loose.bytes > 0);
        }
        if let Some(head) = &self.head {
            // What a file says may be any number.
            let expected = head.seq.saturating_add(1);
            if record.seq > expected {
                self.fault(self.line, format!("records {expected} to {} are missing", record.seq - 1));
            } else if record.seq < expected {
                self.fault(self.line, format!("record {} comes where {expected} should", record.seq));
            } else if record.prev != head.hash {
                self.fault(self.line, format!("record {} is not chained to the one before", record.seq));
            }
        } else {
            self.verdict.first = record.seq;
        }
        self.verdict.records += 1;
        self.verdict.last = record.seq;
        self.verdict.crashes += u64::from(record.clean == Some(false));
        self.verdict.lost = self.verdict.lost.saturating_add(record.lost.unwrap_or(0));
        if let Some(removed) = record.removed {
            self.verdict.removed = self.verdict.removed.saturating_add(removed);
            let (what, were) = if removed == 1 { ("record that was", "was") } else { ("records that were", "were") };
            self.fault(
                self.line,
                format!("{removed} {what} written before this one, by the same process, {were} removed or changed"),
            );
        }
        self.through = self.through.max(record.through.unwrap_or(0));
        self.head = Some(record.head());
    }

    /// Bytes behind the last record of a file. At the very end a running bridge may just be writing them, and the next start
    /// will tell of them.
    fn loose_ends(&mut self, at_the_end: bool) {
        let loose = std::mem::take(&mut self.loose);
        if loose.bytes > 0 && (!at_the_end || loose.whole || !loose.unended) {
            self.fault(loose.line, "this is no record, or was changed".to_owned());
        }
    }

    fn fault(&mut self, line: u64, message: String) {
        self.verdict.faults.push(Fault { file: self.file.to_owned(), line: Some(line), message });
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Entry;
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn numbers_that_no_record_can_have_are_told_and_end_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let most = Some(u64::MAX);
        let entry = Entry { lost: most, removed: most, through: most, ..Entry::new(Timestamp::from_secs(0), "gap") };
        let mut head = Head { seq: u64::MAX - 1, ..Head::default() };
        let last = chain::seal(&mut head, &entry).unwrap();
        head.seq = 0;
        let first = chain::seal(&mut head, &entry).unwrap();
        std::fs::write(directory.path().join("000000000001-1970-01-01.jsonl"), last + &first).unwrap();
        let verdict = verify(directory.path()).unwrap();
        assert_eq!((verdict.lost, verdict.removed), (u64::MAX, u64::MAX));
        let told = format!("record 1 comes where {} should", u64::MAX);
        assert!(verdict.faults.iter().any(|fault| fault.message == told), "{verdict:?}");
    }

    #[test]
    fn a_gap_of_an_older_version_which_had_one_word_for_every_gap_is_no_fault() {
        let entry = |what| Entry::new(Timestamp::from_secs(0), what);
        let why = Some("the disk lost what it had taken".to_owned());
        for (lost, removed) in [(Some(4), None), (None, Some(4))] {
            let directory = tempfile::tempdir().unwrap();
            let gap = Entry { lost, removed, why: why.clone(), ..entry("gap") };
            let mut head = Head::default();
            let lines: String =
                [gap, entry("stop")].iter().map(|entry| chain::seal(&mut head, entry).unwrap()).collect();
            std::fs::write(directory.path().join("000000000001-1970-01-01.jsonl"), lines).unwrap();
            let verdict = verify(directory.path()).unwrap();
            assert_eq!((verdict.records, verdict.lost, verdict.removed), (2, lost.unwrap_or(0), removed.unwrap_or(0)));
            assert_eq!(verdict.faults.len(), usize::from(removed.is_some()), "{verdict:?}");
        }
    }
}
