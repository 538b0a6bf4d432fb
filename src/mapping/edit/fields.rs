//! The keys of a client that commands change, and how a new client is written.

use std::fmt;

use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::domain::client::Stage;

/// Puts a value in place of the one under this key; a comment behind it stays.
pub(super) fn set(table: &mut dyn TableLike, key: &str, value: impl Into<Value>) {
    let mut value = value.into();
    match table.get_mut(key) {
        Some(there) => {
            if let Some(old) = there.as_value() {
                *value.decor_mut() = old.decor().clone();
            }
            *there = Item::Value(value);
        }
        None => drop(table.insert(key, Item::Value(value))),
    }
}

fn inline<const N: usize>(fields: [(&str, &str); N]) -> Value {
    let mut table = InlineTable::new();
    for (key, text) in fields {
        table.insert(key, text.into());
    }
    Value::InlineTable(table)
}

/// What the reason of a move back begins with. Whoever says `rollback` again, as the first time was refused or not waited for,
/// means that one move.
pub const BACK: &str = "rolled back";

/// The reason of a move back to this stage. Commands of older versions know it as one by what stands before the stage.
#[must_use]
pub fn reason_back(stage: &str, why: Option<&str>) -> String {
    why.map_or_else(|| format!("{BACK}: to {stage}"), |why| format!("{BACK}: to {stage}: {why}"))
}

/// Whether a reason is that of a move back.
#[must_use]
pub fn is_back(why: &str) -> bool {
    why.strip_prefix(BACK).is_some_and(is_end)
}

/// Whether it is, and the move went to this stage; one that older versions made does not say where it went.
#[must_use]
pub fn is_back_at(why: &str, stage: &str) -> bool {
    let told = |rest: &str| Stage::WORDS.into_iter().map(|(word, _)| word).find(|word| goes_to(rest, word));
    why.strip_prefix(BACK).is_some_and(|rest| is_end(rest) && told(rest).is_none_or(|to| to == stage))
}

fn goes_to(rest: &str, stage: &str) -> bool {
    rest.strip_prefix(": to ").and_then(|rest| rest.strip_prefix(stage)).is_some_and(is_end)
}

fn is_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(": ")
}

/// Moves a client to a stage, and remembers where it was, when it left, and why.
pub fn stage(table: &mut dyn TableLike, to: &str, at: &str, why: &str) {
    let before = table.get("stage").and_then(Item::as_str).unwrap_or_default().to_owned();
    let is_stage = Stage::WORDS.iter().any(|(word, _)| *word == before);
    let change = table.get("stage_change").and_then(Item::as_table_like);
    let text = |key| change.and_then(|change| change.get(key)).and_then(Item::as_str).map(str::to_owned);
    // What a move back left is nowhere to go back to.
    let kept = text("from").filter(|_| !text("why").is_some_and(|why| is_back(&why)));
    // Who is staged anew where he is (a canary) still came from where he came from, and so does who was nowhere, by a slip.
    let from = if is_stage && before != to {
        Some(before)
    } else {
        kept.or_else(|| is_stage.then(|| Stage::Legacy.word().to_owned()))
    };
    set(table, "stage", to);
    let Some(from) = from else {
        table.remove("stage_change");
        return;
    };
    let change = [("from", &*from), ("at", at), ("why", why)];
    match table.get_mut("stage_change").and_then(Item::as_table_like_mut) {
        Some(there) => change.into_iter().for_each(|(key, text)| set(there, key, text)),
        None => set(table, "stage_change", inline(change)),
    }
}

/// Says how many of a hundred passports of a client log in at the realm. What else the canary says stays.
///
/// # Errors
/// `canary` is written in a way that nothing changes.
pub fn percent(table: &mut dyn TableLike, percent: u8) -> Result<(), String> {
    let Some(there) = table.get_mut("canary") else {
        let mut canary = InlineTable::new();
        canary.insert("percent", i64::from(percent).into());
        set(table, "canary", Value::InlineTable(canary));
        return Ok(());
    };
    let canary =
        there.as_table_like_mut().ok_or("`canary` is not written as { percent = ... }\n  hint: write it so")?;
    set(canary, "percent", i64::from(percent));
    Ok(())
}

/// A secret as a mapping file may hold it.
#[derive(Clone, PartialEq, Eq)]
pub enum NewSecret {
    /// A hash in PHC text: of old secrets only.
    Hash(String),
    /// The name of a variable.
    Env(String),
    /// The path of a file.
    File(String),
    /// Sealed, as text.
    Sealed(String),
    /// What the old server accepts: of old secrets only.
    Learn,
}

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(_) => f.write_str("Hash(redacted)"),
            Self::Env(name) => write!(f, "Env({name})"),
            Self::File(path) => write!(f, "File({path})"),
            Self::Sealed(_) => f.write_str("Sealed(redacted)"),
            Self::Learn => f.write_str("Learn"),
        }
    }
}

impl NewSecret {
    /// `env:NAME`, `file:PATH` or `sealed:TEXT`; `None`: it is neither, and may be a secret.
    #[must_use]
    pub fn reference(text: &str) -> Option<Self> {
        let named = |prefix| text.strip_prefix(prefix).filter(|name: &&str| !name.is_empty()).map(str::to_owned);
        named("env:")
            .map(Self::Env)
            .or_else(|| named("file:").map(Self::File))
            .or_else(|| named("sealed:").map(Self::Sealed))
    }

    /// The same of an old secret, or the word `learn`: nobody knows it, and it is learned.
    #[must_use]
    pub fn old_reference(text: &str) -> Option<Self> {
        if text == "learn" { Some(Self::Learn) } else { Self::reference(text) }
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Self::Learn => {
                let mut table = InlineTable::new();
                table.insert("learn", true.into());
                Value::InlineTable(table)
            }
            Self::Hash(hash) => inline([("hash", hash)]),
            Self::Env(name) => inline([("env", name)]),
            Self::File(path) => inline([("file", path)]),
            Self::Sealed(text) => inline([("sealed", text)]),
        }
    }
}

/// A client that no file has yet.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// The old client id.
    pub legacy_id: String,
    /// Its secret.
    pub legacy_secret: NewSecret,
    /// The client id at the realm.
    pub client_id: String,
    /// Its secret there.
    pub client_secret: NewSecret,
    /// The stage's word.
    pub stage: String,
    /// The dialect, where it is not the default.
    pub dialect: Option<String>,
    /// Legacy word and realm's word.
    pub scopes: Vec<(String, String)>,
}

impl NewClient {
    /// As it stands in a file.
    pub(super) fn text(&self) -> String {
        let mut table = Table::new();
        set(&mut table, "legacy_id", &*self.legacy_id);
        set(&mut table, "legacy_secret", self.legacy_secret.value());
        set(&mut table, "client_id", &*self.client_id);
        set(&mut table, "client_secret", self.client_secret.value());
        set(&mut table, "stage", &*self.stage);
        if let Some(dialect) = &self.dialect {
            set(&mut table, "dialect", &**dialect);
        }
        if !self.scopes.is_empty() {
            let mut scopes = InlineTable::new();
            for (legacy, realm) in &self.scopes {
                scopes.insert(legacy, realm.as_str().into());
            }
            set(&mut table, "scopes", Value::InlineTable(scopes));
        }
        let mut clients = ArrayOfTables::new();
        clients.push(table);
        let mut document = DocumentMut::new();
        document.insert("client", Item::ArrayOfTables(clients));
        document.to_string()
    }
}
