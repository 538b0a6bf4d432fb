//! A secret from where it lies: the environment or a file, never the configuration itself.
//!
//! Must not: look at the environment (it is handed in, read once at the edge), or put a secret into a finding.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::document::{Findings, Origin, Reader, Spotted, Table, Value};

/// No secret is longer.
const LONGEST: u64 = 64 * 1024;

/// The environment, as it was when the program started.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl Environment {
    /// The value of a variable.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Every variable whose name begins so.
    pub fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Where relative paths begin, and what the environment says.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The directory of the file that names the secret.
    pub directory: &'a Path,
    /// The environment.
    pub environment: &'a Environment,
}

/// Reads `{ env = "NAME" }` or `{ file = "PATH" }`. `None`: it cannot be had, and a finding says why.
pub fn read(value: Spotted<Value>, key: &str, sources: Sources<'_>, findings: &Findings) -> Option<SecretString> {
    let kind = value.value.kind();
    if let Value::Table(table) = value.value {
        return read_table(table, key, sources, findings);
    }
    if matches!(value.value, Value::Text(_) | Value::Unparsed(_)) {
        let hint = "use { env = \"NAME\" } or { file = \"PATH\" }".to_owned();
        findings.error("clear-text-secret", &value.origin, format!("`{key}` is a secret in clear text"), hint);
    } else {
        let message = format!("`{key}` is {kind}, wanted a table such as {{ file = \"PATH\" }}");
        findings.error("wrong-type", &value.origin, message, None);
    }
    None
}

fn read_table(table: Table, key: &str, sources: Sources<'_>, findings: &Findings) -> Option<SecretString> {
    let mut reader = Reader::new(table, key, findings);
    let (env, file) = (reader.text("env"), reader.text("file"));
    let origin = reader.origin().clone();
    reader.finish();
    match (env, file) {
        (Some(name), None) => from_environment(&name, key, sources.environment, findings),
        (None, Some(path)) => from_file(&path, key, sources.directory, findings),
        (Some(_), Some(_)) => {
            findings.error(
                "bad-value",
                &origin,
                format!("`{key}` names both a variable and a file"),
                "leave one".to_owned(),
            );
            None
        }
        (None, None) => {
            findings.error(
                "missing-key",
                &origin,
                format!("`{key}` names no secret"),
                "use { env = \"NAME\" } or { file = \"PATH\" }".to_owned(),
            );
            None
        }
    }
}

fn from_environment(
    name: &Spotted<String>,
    key: &str,
    environment: &Environment,
    findings: &Findings,
) -> Option<SecretString> {
    match environment.value(&name.value).filter(|value| !value.is_empty()) {
        Some(value) => Some(SecretString::from(value)),
        None => {
            let message = format!("`{key}` names the environment variable `{}`, which is not set", name.value);
            findings.error(
                "unset-variable",
                &name.origin,
                message,
                format!("set {} where the bridge is started", name.value),
            );
            None
        }
    }
}

fn from_file(name: &Spotted<String>, key: &str, directory: &Path, findings: &Findings) -> Option<SecretString> {
    let path = directory.join(&name.value);
    warn_of_readers(&path, &name.origin, findings);
    match text_of(&path) {
        Ok(text) => Some(text),
        Err(reason) => {
            findings.error(
                "unreadable-secret",
                &name.origin,
                format!("`{key}` names the file {}, which {reason}", path.display()),
                None,
            );
            None
        }
    }
}

/// The file's text without one line end behind it.
fn text_of(path: &PathBuf) -> Result<SecretString, String> {
    let metadata = fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("is no file".to_owned());
    }
    if metadata.len() > LONGEST {
        return Err("is longer than 64 KiB".to_owned());
    }
    let text = zeroize::Zeroizing::new(fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?);
    let trimmed = text.strip_suffix('\n').unwrap_or(&text);
    let trimmed = trimmed.strip_suffix('\r').unwrap_or(trimmed);
    if trimmed.is_empty() { Err("is empty".to_owned()) } else { Ok(SecretString::from(trimmed)) }
}

/// Kubernetes mounts secrets readable for all, so this blocks nothing.
pub fn warn_of_readers(path: &Path, origin: &Origin, findings: &Findings) {
    let Ok(metadata) = fs::metadata(path) else { return };
    if metadata.permissions().mode() & 0o004 != 0 {
        let hint = format!("chmod o-r {}", path.display());
        findings.warning(
            "world-readable",
            origin,
            format!("the secret file {} can be read by everybody", path.display()),
            hint,
        );
    }
}
