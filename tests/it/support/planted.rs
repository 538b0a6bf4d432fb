//! Faults planted into files: the text of a file with a mark before what is wrong, and what must be found there.

use passbridge::document::{Finding, Findings, Severity};

/// Stands in a text just before what is wrong.
pub const MARK: char = '▲';

/// A fault, and what is to be said of it.
pub struct Planted {
    pub code: &'static str,
    pub severity: Severity,
    /// The file's text with a [`MARK`]; without one the whole file is meant.
    pub text: String,
    /// Is in the message.
    pub message: &'static str,
    /// Is in the hint; empty: whatever it says.
    pub hint: &'static str,
}

/// An error.
pub fn error(code: &'static str, text: impl Into<String>, message: &'static str, hint: &'static str) -> Planted {
    Planted { code, severity: Severity::Error, text: text.into(), message, hint }
}

/// A warning.
pub fn warning(code: &'static str, text: impl Into<String>, message: &'static str, hint: &'static str) -> Planted {
    Planted { severity: Severity::Warning, ..error(code, text, message, hint) }
}

impl Planted {
    /// The text as the file has it.
    pub fn written(&self) -> String {
        self.text.replace(MARK, "")
    }

    fn place(&self) -> (u32, u32) {
        let Some((before, _)) = self.text.split_once(MARK) else { return (0, 0) };
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (u32::try_from(before.matches('\n').count() + 1).unwrap(), u32::try_from(column).unwrap())
    }

    /// Checks that this was found, and nothing else.
    #[track_caller]
    pub fn assert_found(&self, file: &str, findings: Findings) {
        let found = findings.into_sorted();
        let [Finding { severity, code, origin, message, hint }] = &found[..] else {
            panic!("not one finding for {}:\n{}\n{found:#?}", self.code, self.text)
        };
        assert_eq!((*code, *severity), (self.code, self.severity), "{message}");
        assert!(origin.file.ends_with(file), "{origin}");
        assert_eq!((origin.line, origin.column), self.place(), "{code}: {message}\n{}", self.text);
        assert!(message.contains(self.message), "{code}: {message}");
        assert!(hint.contains(self.hint), "{code}: {hint:?}");
        let said = format!("{message} {hint:?}");
        let bare = said.to_lowercase().replace(['_', '0'], "-");
        assert!(!bare.contains("planted-secret"), "a secret is said: {said}");
    }
}

/// Each key of a text that stands before ` =`, and the text with a slip in it there. What follows ` #` in a line is a comment.
pub fn slips(text: &str) -> Vec<(String, String)> {
    let is_of_a_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let (mut slips, mut begin) = (Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        let said = if line.starts_with('#') { "" } else { line.split(" #").next().unwrap_or_default() };
        for (at, _) in said.match_indices(" =") {
            let before = said[..at].trim_end();
            let key = before.rsplit(|c| !is_of_a_key(c)).next().unwrap_or_default();
            if let Some(last) = key.chars().last() {
                let (before, after) = text.split_at(begin + before.len());
                slips.push((key.to_owned(), format!("{before}{last}{after}")));
            }
        }
        begin += line.len();
    }
    slips
}

/// Checks that the slip is told, with the key that was meant.
#[track_caller]
pub fn assert_meant(key: &str, findings: Findings) {
    let found = findings.into_sorted();
    let meant = format!("did you mean `{key}`?");
    let told = |one: &&Finding| one.code == "unknown-key" && one.hint == *meant;
    assert_eq!(found.iter().filter(told).count(), 1, "{key}: {found:#?}");
}
