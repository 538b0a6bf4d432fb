//! What is wrong with a file, where, and what to do about it.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::stamp::{Footing, Stamp};

/// Where something stands: a file's line and column, or an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file as it was named to us, or `$NAME` for an environment variable.
    pub file: Arc<str>,
    /// Line, from 1; 0 where the whole file (or a variable) is meant.
    pub line: u32,
    /// Column in characters, from 1; 0 where the whole line is meant.
    pub column: u32,
}

impl Origin {
    /// The whole of a file, without a line.
    #[must_use]
    pub fn file(file: &str) -> Self {
        Self { file: Arc::from(file), line: 0, column: 0 }
    }

    /// A variable of the environment.
    #[must_use]
    pub fn variable(name: &str) -> Self {
        Self::file(&format!("${name}"))
    }

    /// Whether it is one.
    #[must_use]
    pub fn is_variable(&self) -> bool {
        self.line == 0 && self.file.starts_with('$')
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        Ok(())
    }
}

/// Whether a finding blocks, or is something to be aware of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing of this configuration is used.
    Error,
    /// It is used, and somebody should look.
    Warning,
}

impl Severity {
    /// The word that people and machines read.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong. Never carries a value that could be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Blocks, or not.
    pub severity: Severity,
    /// A stable word for scripts, e.g. `unknown-key`.
    pub code: &'static str,
    /// Where.
    pub origin: Origin,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, code, origin, message, hint } = self;
        // A key has whatever letters it has; lines begin where we say so alone.
        let [message, hint] = [message, hint].map(|text| text.replace('\n', "\u{fffd}"));
        write!(f, "{origin}: {}[{code}]: {message}\n  hint: {hint}", severity.word())
    }
}

/// Everything that one load found out: what is wrong, in the order of finding, and which files it rests on. Shared by the
/// readers of that load.
#[derive(Debug, Default)]
pub struct Findings {
    found: RefCell<Vec<Finding>>,
    footing: RefCell<Footing>,
}

impl Findings {
    /// Nothing found yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that the load rests on this path. To be called before it is read: then a change while it is read shows later.
    /// Of two stamps the first counts, for the same reason.
    pub fn rests_on(&self, path: &Path, stamp: Stamp) {
        self.footing.borrow_mut().entry(path.to_owned()).or_insert(stamp);
    }

    /// What the load rests on so far.
    #[must_use]
    pub fn footing(&self) -> Footing {
        self.footing.borrow().clone()
    }

    /// Adds what a reader beside this one found out.
    pub fn absorb(&self, other: Self) {
        self.found.borrow_mut().extend(other.found.into_inner());
        let mut footing = self.footing.borrow_mut();
        for (path, stamp) in other.footing.into_inner() {
            footing.entry(path).or_insert(stamp);
        }
    }

    /// Adds one.
    pub fn push(&self, finding: Finding) {
        self.found.borrow_mut().push(finding);
    }

    /// Adds an error.
    pub fn error(&self, code: &'static str, origin: &Origin, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Finding {
            severity: Severity::Error,
            code,
            origin: origin.clone(),
            message: message.into(),
            hint: hint.into(),
        });
    }

    /// Adds a warning.
    pub fn warning(&self, code: &'static str, origin: &Origin, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Finding {
            severity: Severity::Warning,
            code,
            origin: origin.clone(),
            message: message.into(),
            hint: hint.into(),
        });
    }

    /// Whether one of them blocks.
    #[must_use]
    pub fn blocked(&self) -> bool {
        self.found.borrow().iter().any(|finding| finding.severity == Severity::Error)
    }

    /// All of them, sorted by place.
    #[must_use]
    pub fn into_sorted(self) -> Vec<Finding> {
        let mut all = self.found.into_inner();
        all.sort_by(|a, b| a.origin.cmp(&b.origin));
        all
    }
}
