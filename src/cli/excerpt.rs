//! The source line of a finding, with a mark under the column, and without a secret.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use crate::document::{BYTE_ORDER_MARK, Finding};

/// What stands in place of what is not shown.
const HIDDEN: &str = "\u{2026}";

/// A longer line helps nobody.
const LONGEST: usize = 400;

/// A line that has one of these in it may hold a secret behind its first `=`.
const SENSITIVE: [&str; 6] = ["secret", "password", "token", "key", "hash", "identity"];

/// The lines of files that were shown before: a thousand findings read their file once.
#[derive(Default)]
pub(super) struct Excerpts(HashMap<Arc<str>, Vec<String>>);

/// A line to be shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// The text, tabs as blanks.
    pub(super) line: String,
    /// Blanks before the mark.
    pub(super) before: usize,
    /// How many characters are meant.
    pub(super) marked: usize,
}

impl Excerpts {
    /// The line that is meant, where it can be shown.
    pub(super) fn of(&mut self, finding: &Finding) -> Option<Excerpt> {
        let number = usize::try_from(finding.origin.line).ok()?.checked_sub(1)?;
        let file = &finding.origin.file;
        let lines = self.0.entry(Arc::clone(file)).or_insert_with(|| {
            let text = fs::read_to_string(&**file).unwrap_or_default();
            // As columns are counted.
            text.trim_start_matches(BYTE_ORDER_MARK).lines().map(str::to_owned).collect()
        });
        let line = lines.get(number).filter(|line| line.len() <= LONGEST)?;
        let column = usize::try_from(finding.origin.column).unwrap_or(1);
        Some(excerpt(line, column, finding.code, is_about_a_secret(finding)))
    }
}

/// Of a list over several lines, and where the slip is in the very key, only the finding names the key. Where that is missing
/// there is nothing to hide.
fn is_about_a_secret(finding: &Finding) -> bool {
    let names = |text: &str| text.split('`').skip(1).step_by(2).any(is_sensitive);
    finding.code != "missing-key" && (names(&finding.message) || names(&finding.hint))
}

fn is_sensitive(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    SENSITIVE.iter().any(|word| lower.contains(word))
}

fn excerpt(line: &str, column: usize, code: &str, about_a_secret: bool) -> Excerpt {
    let shown = shown(line, column, code, about_a_secret).replace('\t', " ");
    let length = shown.chars().count();
    let before = column.saturating_sub(1).min(length.saturating_sub(1));
    Excerpt { marked: marked(&shown, before), before, line: shown }
}

/// The line as far as no secret can be in it. What is wrong may be that very secret's quoting, so what counts is what a line
/// could hold and not what it parses to.
fn shown(line: &str, column: usize, code: &str, about_a_secret: bool) -> String {
    // A password in a URL is one under whatever key, and whatever is wrong.
    let has_password = line.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
    let code = if has_password || about_a_secret { "clear-text-secret" } else { code };
    let is_secret = about_a_secret || is_sensitive(line);
    // What is quoted before it may be a secret that ends in one.
    let bare = line.split_once('=').filter(|(before, _)| !before.contains(['"', '\'']));
    if let Some((before, _)) = bare.filter(|_| is_secret) {
        return format!("{before}= {HIDDEN}");
    }
    // Within a list or a text of several lines, the key that says so stands above.
    let anywhere = matches!(code, "clear-text-secret" | "syntax" | "duplicate-key") || is_secret && line.contains('=');
    match line.split_once('=') {
        _ if !anywhere => line.to_owned(),
        Some((key, _)) if is_key(key) && code != "clear-text-secret" => line.to_owned(),
        Some(_) | None => {
            let start: String = line.chars().take(column.saturating_sub(1)).take_while(|c| c.is_whitespace()).collect();
            format!("{start}{HIDDEN}")
        }
    }
}

/// A bare key, as all of ours are: what stands behind its `=` is told apart from a secret by its name.
fn is_key(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// The word or the quoted text that begins here.
fn marked(line: &str, before: usize) -> usize {
    let mut rest = line.chars().skip(before);
    match rest.next() {
        Some(quote @ ('"' | '\'')) => {
            let inside = rest.clone().take_while(|c| *c != quote).count();
            if inside < rest.count() { inside + 2 } else { 1 }
        }
        Some(first) if is_word(first) => 1 + rest.take_while(|c| is_word(*c)).count(),
        Some(_) | None => 1,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Origin;

    fn shown_as(line: &str, column: usize, code: &str) -> (String, String) {
        let excerpt = excerpt(line, column, code, false);
        (excerpt.line, format!("{}{}", " ".repeat(excerpt.before), "^".repeat(excerpt.marked)))
    }

    fn pair(line: &str, mark: &str) -> (String, String) {
        (line.to_owned(), mark.to_owned())
    }

    #[test]
    fn the_word_that_is_meant_is_marked() {
        assert_eq!(shown_as("legcy = \"x\"", 1, "unknown-key"), pair("legcy = \"x\"", "^^^^^"));
        assert_eq!(shown_as("\tops = \"x y\" # z", 8, "bad-value"), pair(" ops = \"x y\" # z", "       ^^^^^"));
        assert_eq!(shown_as("\"имя\" = [", 9, "wrong-type"), pair("\"имя\" = [", "        ^"));
        assert_eq!(shown_as("", 1, "missing-key"), pair("", "^"));
    }

    #[test]
    fn a_line_shows_no_secret_where_only_the_finding_says_that_one_stands_there() {
        let found = |code: &'static str, message: &str, hint: &str| {
            let (message, hint) = (message.to_owned(), hint.to_owned());
            Finding { severity: crate::document::Severity::Error, code, origin: Origin::file("a.toml"), message, hint }
        };
        let unset = found("unset-variable", "`client.client_secret` names an environment variable that is not set", "");
        let slip = found("unknown-key", "unknown key `client.client_secrt`", "did you mean `client_secret`?");
        for (line, finding) in [
            (" { env = \"hunter2\" }]", &unset),
            (" { \"env\" = \"hunter2\" }]", &unset),
            (" \"hunter2\",", &unset),
            (" \"hunter2=\",", &unset),
            ("client_secrt = \"hunter2\"", &slip),
        ] {
            assert!(is_about_a_secret(finding), "{finding}");
            let shown = excerpt(line, 2, finding.code, true).line;
            assert!(!shown.contains("hunter2"), "{line} is shown as {shown}");
        }
        for (code, message, hint) in [
            ("missing-key", "`client.client_secret` is missing", ""),
            ("bad-value", "`limits.body` is not a size from 1KiB to 64MiB", "write a size from 1KiB to 64MiB"),
        ] {
            assert!(!is_about_a_secret(&found(code, message, hint)), "{message}");
        }
    }

    #[test]
    fn no_line_shows_what_may_be_a_secret() {
        let secret = "hunter2";
        for (line, column, code) in [
            ("client_secret = \"hunter2\"", 17, "clear-text-secret"),
            ("client_secret = \"hunter2", 17, "syntax"),
            ("client_secret = hunter2", 17, "syntax"),
            ("  \"hunter2\",", 3, "clear-text-secret"),
            ("  \"hunter2\" \"x\",", 13, "syntax"),
            ("hunter2=", 1, "clear-text-secret"),
            ("\"hunter2==\" x", 13, "syntax"),
            ("{ client_secret = \"hunter2\", staeg = \"live\" }", 31, "unknown-key"),
            ("token = { env = \"X\", file = \"hunter2\" }", 9, "bad-value"),
            ("hunter2\"\"\"", 8, "syntax"),
            ("urll = \"https://me:hunter2@a\"", 1, "unknown-key"),
            ("  \"https://me:hunter2=@a\", 7,", 28, "wrong-type"),
            ("  \"hunter2=\", 7, # the second key", 14, "wrong-type"),
        ] {
            let (shown, mark) = shown_as(line, column, code);
            assert!(!shown.contains(secret), "{line} is shown as {shown}");
            assert!(mark.trim_end().chars().count() <= shown.chars().count().max(1), "{shown}\n{mark}");
        }
        assert_eq!(
            shown_as("client_secret = \"hunter2\"", 17, "clear-text-secret"),
            pair("client_secret = …", "                ^")
        );
    }
}
