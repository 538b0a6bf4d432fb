//! What mapping files say of their clients, without opening a secret: for people who ask, and for changing it.

use std::path::{Path, PathBuf};

use super::load;
use crate::document::{Findings, Origin, Reader, Value, parse};
use crate::domain::table::DEFAULT_DIALECT;
use crate::secrets::is_like_a_name;

/// In place of a variable's or a file's name that may be no name.
const UNTOLD: &str = "[not told, as it may be the secret]";

/// A `[[client]]` as it stands in its file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The old client id.
    pub legacy_id: String,
    /// The client id at the realm.
    pub client_id: String,
    /// The stage's word, good or not.
    pub stage: String,
    /// The last change of the stage, where a command made it.
    pub stage_change: Option<StageChange>,
    /// Percent, and the difference at which it steps back, where the file says them.
    pub canary: Option<(u64, Option<u64>)>,
    /// What is done at stage shadow beyond looking, where the file says it.
    pub shadow: Option<String>,
    /// The dialect's name.
    pub dialect: String,
    /// Old secrets, the preferred one first.
    pub legacy_secrets: Vec<SecretKind>,
    /// Secrets at the realm, the preferred one first.
    pub client_secrets: Vec<SecretKind>,
    /// Legacy word and realm's word.
    pub scopes: Vec<(String, String)>,
    /// The promise, where it is not the dialect's.
    pub access_token_lifetime: Option<String>,
    /// It may ask about every client's tokens.
    pub may_introspect: bool,
    /// It may put its credentials into the query of a POST.
    pub allow_query_credentials: bool,
    /// Blanks in its certificates are turned back into `+`.
    pub mend_unescaped_plus: bool,
    /// The file.
    pub file: PathBuf,
    /// Where it stands there.
    pub origin: Origin,
}

/// `stage_change = { from = "live", at = "2026-11-24T12:00:00Z", why = "..." }`
#[derive(Clone, Debug)]
pub struct StageChange {
    /// The stage before.
    pub from: String,
    /// When, RFC 3339.
    pub at: String,
    /// Why, in somebody's words.
    pub why: String,
}

/// How a secret is kept. Never the secret, nor its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// Its hash.
    Hash,
    /// The name of a variable.
    Env(String),
    /// The path of a file.
    File(String),
    /// Sealed, where it stands.
    Sealed,
    /// Learned from the old server; so many are, where somebody knows.
    Learn(Option<u64>),
    /// In a way that no mapping may.
    Unfit,
}

impl SecretKind {
    /// The word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Env(_) => "env",
            Self::File(_) => "file",
            Self::Sealed => "sealed",
            Self::Learn(_) => "learn",
            Self::Unfit => "unfit",
        }
    }

    /// How many are learned, where they are and somebody knows.
    #[must_use]
    pub fn learned(&self) -> Option<u64> {
        match self {
            Self::Learn(count) => *count,
            Self::Hash | Self::Env(_) | Self::File(_) | Self::Sealed | Self::Unfit => None,
        }
    }

    /// The variable or the file.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Env(name) | Self::File(name) => Some(name),
            Self::Hash | Self::Sealed | Self::Learn(_) | Self::Unfit => None,
        }
    }
}

/// Every client of the mapping directory, by file and line. Findings tell of files that cannot be read.
#[must_use]
pub fn entries(mappings: &Path, findings: &Findings) -> Vec<Entry> {
    let mut entries = Vec::new();
    for path in load::client_files(mappings, findings) {
        let Some(text) = load::readable(&path, findings) else { continue };
        entries.extend(of_file(&path, &text, findings));
    }
    entries
}

/// Every client of one file.
pub(super) fn of_file(path: &Path, text: &str, findings: &Findings) -> Vec<Entry> {
    let Some(table) = parse(&path.to_string_lossy(), text, findings) else { return Vec::new() };
    // What is wrong in a client is for `check` to say.
    let unheard = Findings::new();
    let mut file = Reader::new(table, "", &unheard);
    file.sections("client").into_iter().map(|entry| read(entry, path)).collect()
}

fn read(mut entry: Reader<'_>, path: &Path) -> Entry {
    let origin = entry.origin().clone();
    let stage_change = entry.section("stage_change").and_then(|mut change| {
        let mut text = |key| change.text(key).map(|text| text.value);
        let (from, at, why) = (text("from"), text("at"), text("why"));
        Some(StageChange { from: from?, at: at.unwrap_or_default(), why: why.unwrap_or_default() })
    });
    let canary = entry.section("canary").and_then(|mut canary| {
        let step_back_at = canary.integer("step_back_at", 0, 100).map(|found| found.value);
        canary.integer("percent", 1, 99).map(|percent| (percent.value, step_back_at))
    });
    let scopes = entry.section("scopes").map(Reader::into_texts).unwrap_or_default();
    let (legacy_secrets, client_secrets) =
        (kinds(&mut entry, "legacy_secret", path), kinds(&mut entry, "client_secret", path));
    let text = |entry: &mut Reader<'_>, key| entry.text(key).map(|text| text.value);
    Entry {
        legacy_id: text(&mut entry, "legacy_id").unwrap_or_default(),
        client_id: text(&mut entry, "client_id").unwrap_or_default(),
        stage: text(&mut entry, "stage").unwrap_or_default(),
        dialect: text(&mut entry, "dialect").unwrap_or_else(|| DEFAULT_DIALECT.to_owned()),
        access_token_lifetime: text(&mut entry, "access_token_lifetime"),
        stage_change,
        canary,
        shadow: text(&mut entry, "shadow"),
        legacy_secrets,
        client_secrets,
        scopes: scopes.into_iter().map(|(legacy, realm)| (legacy.value, realm.value)).collect(),
        may_introspect: entry.boolean("may_introspect", false),
        allow_query_credentials: entry.boolean("allow_query_credentials", false),
        mend_unescaped_plus: entry.boolean("mend_unescaped_plus", false),
        file: path.to_owned(),
        origin,
    }
}

fn kinds(entry: &mut Reader<'_>, key: &'static str, path: &Path) -> Vec<SecretKind> {
    let Some(found) = entry.take(key) else { return Vec::new() };
    let values = if let Value::List(items) = found.value {
        items.into_iter().map(|item| item.value).collect()
    } else {
        vec![found.value]
    };
    values.into_iter().map(|value| kind(value, path)).collect()
}

fn kind(value: Value, path: &Path) -> SecretKind {
    let Value::Table(table) = value else { return SecretKind::Unfit };
    let unheard = Findings::new();
    let mut table = Reader::new(table, "", &unheard);
    if table.has("hash") {
        return SecretKind::Hash;
    }
    if table.has("learn") {
        return SecretKind::Learn(None);
    }
    if table.has("sealed") {
        return SecretKind::Sealed;
    }
    let told = |name: String, is_name: bool| if is_name { name } else { UNTOLD.to_owned() };
    if let Some(name) = table.text("env") {
        let is_name = is_like_a_name(&name.value);
        return SecretKind::Env(told(name.value, is_name));
    }
    let Some(file) = table.text("file") else { return SecretKind::Unfit };
    let is_there = path.parent().is_some_and(|directory| directory.join(&file.value).symlink_metadata().is_ok());
    SecretKind::File(told(file.value, is_there))
}
