//! A secret from where it lies: the environment, a file, or sealed; never the configuration itself.
//!
//! Must not: look at the environment (it is handed in, read once at the edge), or put a secret into a finding: neither one that it has read
//! nor one that stands where the name of its variable or its file belongs.

pub mod age;
pub mod files;
mod sealed;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::SecretString;
use zeroize::Zeroizing;

pub use sealed::{Identities, identities};

use crate::document::{BYTE_ORDER_MARK, Findings, Origin, Reader, Spotted, Value};

const HOW: &str = "use { env = \"NAME\" }, { file = \"PATH\" } or { sealed = \"...\" }";

/// No secret is longer.
const LONGEST: u64 = 64 * 1024;

/// The environment, as it was when the program started. A value may be no UTF-8, such as an old secret in Latin-1.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<V: Into<OsString>> FromIterator<(String, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name, value.into())).collect())
    }
}

impl Environment {
    /// The value of a variable.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        self.0.get(name).map(OsString::as_os_str)
    }

    /// Every variable whose name begins so.
    pub fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (&str, &OsStr)> {
        self.0
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), value.as_os_str()))
    }
}

/// Where relative paths begin, and what the environment says.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The directory of the file that names the secret.
    pub directory: &'a Path,
    /// What opens it.
    pub means: Means<'a>,
}

/// What opens secrets: the environment that some lie in, and the identities that others are sealed to.
#[derive(Clone, Copy, Debug)]
pub struct Means<'a> {
    /// The environment.
    pub environment: &'a Environment,
    /// The identities.
    pub identities: &'a Identities,
}

/// The environment alone: nothing that is sealed opens.
impl<'a> From<&'a Environment> for Means<'a> {
    fn from(environment: &'a Environment) -> Self {
        Self { environment, identities: &sealed::NO_IDENTITIES }
    }
}

/// Reads `{ env = "NAME" }`, `{ file = "PATH" }` or `{ sealed = "..." }`. What came out of the environment is the secret itself: it lies where
/// `{ env }` would look for it. `None`: it cannot be had, and a finding says why.
pub fn read(value: Spotted<Value>, key: &str, sources: Sources<'_>, findings: &Findings) -> Option<SecretString> {
    if let Value::Table(table) = value.value {
        return read_table(Reader::new(table, key, findings), key, HOW, sources);
    }
    if let Value::Unparsed(text) = value.value {
        let text = Zeroizing::new(text);
        let secret = bare(&text);
        if secret.is_empty() {
            findings.error(
                "unset-variable",
                &value.origin,
                format!("`{key}` is set to nothing"),
                "unset the variable, or set it to the secret",
            );
            return None;
        }
        return Some(SecretString::from(secret));
    }
    // A number may be a secret as well as a text: neither is shown.
    let message = format!("`{key}` is a secret in clear text");
    findings.error("clear-text-secret", &value.origin, message, HOW.to_owned());
    None
}

/// The same of a table that somebody has looked into for more than that; `how` says what may stand there.
pub fn read_table(mut reader: Reader<'_>, key: &str, how: &str, sources: Sources<'_>) -> Option<SecretString> {
    let findings = reader.findings();
    let is_said = ["env", "file", "sealed"].map(|key| reader.has(key)).contains(&true);
    let (env, file) = (reader.filled("env", "the name of a variable"), reader.filled("file", "a path"));
    let mut said = [env, file, reader.text("sealed")];
    let (mut origin, is_spent) = (reader.origin().clone(), reader.is_spent());
    reader.finish_telling(is_told);
    // A variable takes the place of what the file says, whatever kind that is of; and of two, it is they that are too many.
    if let Some(variable) = said.iter().flatten().map(|text| &text.origin).find(|origin| origin.is_variable()) {
        origin = variable.clone();
        said = said.map(|text| text.filter(|text| text.origin.is_variable()));
    }
    let [env, file, sealed] = said;
    match (env, file, sealed) {
        (Some(name), None, None) => from_environment(&name, key, sources.means.environment, findings),
        (None, Some(path), None) => from_file(&path, key, sources.directory, findings),
        (None, None, Some(text)) => sealed::read(&text, key, sources.means.identities, findings),
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            let message = format!("`{key}` names more than one of a variable, a file and a sealed value");
            findings.error("bad-value", &origin, message, "leave one".to_owned());
            None
        }
        (None, None, None) => {
            // What is wrong with the one key is told already, be it a slip in it, with the key that was meant.
            if is_spent && !is_said {
                findings.error("missing-key", &origin, format!("`{key}` names no secret"), how);
            }
            None
        }
    }
}

/// Whether an unknown key of a table that says where a secret lies is told by its name: it may be the secret itself, unless it is a key of another such
/// table, or a slip in a known one that is near it.
pub(crate) fn is_told(key: &str, near: Option<&str>) -> bool {
    let is_slip = near.is_some_and(|near| key.len() <= near.len() + 1);
    is_slip || ["env", "file", "sealed", "hash", "learn"].contains(&key)
}

fn from_environment(
    name: &Spotted<String>,
    key: &str,
    environment: &Environment,
    findings: &Findings,
) -> Option<SecretString> {
    let value = environment.value(&name.value);
    let reason = match value.map(OsStr::to_str) {
        Some(Some(value)) if !bare(value).is_empty() => return Some(SecretString::from(bare(value))),
        Some(Some(_)) => "is set to nothing",
        Some(None) => "is not UTF-8",
        None => "is not set",
    };
    // The place is told whatever stands there.
    let (variable, hint) = if value.is_some() || is_like_a_name(&name.value) {
        let hint = format!("set {} where the bridge is started, and here", name.value);
        (format!("the environment variable `{}`, which", name.value), hint)
    } else {
        let hint = "write the name of a variable, never the secret itself, and set it where the bridge is started";
        ("an environment variable that".to_owned(), hint.to_owned())
    };
    findings.error("unset-variable", &name.origin, format!("`{key}` names {variable} {reason}"), hint);
    None
}

/// As variables are named by custom, and hardly a secret is written: capitals, and digits where words are joined.
pub(crate) fn is_like_a_name(text: &str) -> bool {
    let is_one = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.chars().all(is_one) && (text.contains('_') || !text.contains(|c: char| c.is_ascii_digit()))
}

fn from_file(name: &Spotted<String>, key: &str, directory: &Path, findings: &Findings) -> Option<SecretString> {
    let path = directory.join(&name.value);
    match text_of(&path, findings) {
        Ok(text) => {
            warn_of_readers(&path, &name.origin, findings);
            Some(text)
        }
        Err(reason) => {
            // What is not there may be no name at all.
            let file = match path.symlink_metadata() {
                Ok(_) => format!("the file {}, which", path.display()),
                Err(_) => "a file that".to_owned(),
            };
            let message = format!("`{key}` names {file} {reason}");
            let hint = "a file with the secret alone, which the bridge's user can read; its path begins at the directory of this file";
            findings.error("unreadable-secret", &name.origin, message, hint);
            None
        }
    }
}

/// The secret that is the file's text.
fn text_of(path: &Path, findings: &Findings) -> Result<SecretString, String> {
    let bytes = Zeroizing::new(files::bytes(path, LONGEST, findings)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let secret = bare(text);
    if secret.is_empty() { Err("is empty".to_owned()) } else { Ok(SecretString::from(secret)) }
}

/// A secret as somebody wrote or typed it: neither one line end behind it nor a byte order mark before it is of it.
#[must_use]
pub fn bare(text: &str) -> &str {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
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
