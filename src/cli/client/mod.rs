//! `passbridge client`: the mapping table, and one client's way through its migration.

mod change;
mod fares;
mod import;
mod learned;
mod list;
mod rows;
mod taken;
mod uses;

use std::path::Path;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, StringValueParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};

use super::show::counted;
use super::{Format, NO, WRONG_USE, show};
use crate::config::{self, Config};
use crate::document::Severity;
use crate::domain::client::Stage;
use crate::domain::unseen::is_unseen;
use crate::mapping::edit::{self, NewSecret, Refused};
use crate::secrets::{Environment, Means};

/// What is done with clients.
#[derive(Debug, Subcommand)]
pub(super) enum Client {
    /// List the clients that the mapping files have
    List {
        /// Only those at this stage
        #[arg(long, value_name = "STAGE", value_parser = stages())]
        stage: Option<&'static str>,
        /// How clients are written
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Show what the mapping files say of a client, and where; of secrets how they are kept, and when each was last used
    Show {
        /// The old client id
        id: String,
        /// How the client is written
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Add a client; its old secret is read from standard input and kept as a hash
    Add(Add),
    /// Move a client to a stage, and wait until the running bridge has it
    Stage {
        /// The old client id
        id: String,
        /// Where it goes
        #[arg(value_parser = stages())]
        stage: &'static str,
        /// Why: kept in the file beside the stage, and told in the audit
        #[arg(long, value_name = "TEXT")]
        why: String,
        /// Of a hundred passports, so many log in at the realm; for the stage `canary`
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=99))]
        percent: Option<u8>,
    },
    /// Move a client back to the stage before its last change; said again it changes nothing
    Rollback {
        /// The old client id
        id: String,
        /// Why: kept in the file beside the stage
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
    },
    /// Exchange a secret while it is used: add the second, promote it to the first, retire the second; or write learned hashes into the file
    Secret(Slot),
    /// Show what a table of clients (CSV or JSON) would add to the mapping; add it with --write
    Import(import::Import),
}

/// A client that no file has.
#[derive(Debug, Args)]
pub(super) struct Add {
    /// The old client id
    id: String,
    /// The client id at the realm
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// Where its secret at the realm lies: `env:NAME`, `file:PATH`, or `sealed:TEXT`
    #[arg(long, value_name = "WHERE")]
    client_secret: Reference,
    /// Where its old secret lies, or `learn`; without this it is read from standard input and kept as a hash
    #[arg(long, value_name = "WHERE", value_parser = StringValueParser::new().map(|text| Reference(NewSecret::old_reference(&text))))]
    legacy_secret: Option<Reference>,
    /// Its stage
    #[arg(long, default_value = "live", value_parser = stages())]
    stage: &'static str,
    /// How it speaks, where it is not the default
    #[arg(long, value_name = "NAME")]
    dialect: Option<String>,
    /// The legacy word of a scope and the realm's; can be given again
    #[arg(long = "scope", value_name = "OLD=NEW", value_parser = scope)]
    scopes: Vec<(String, String)>,
    /// The file of the mapping that it goes into
    #[arg(long, value_name = "FILE", default_value = "added.toml", value_parser = file_name)]
    into: String,
}

/// One of the two secrets of a client.
#[derive(Debug, Args)]
pub(super) struct Slot {
    /// The old client id
    id: String,
    /// What happens
    #[arg(value_enum)]
    action: Action,
    /// The realm's secret; without this the old one
    #[arg(long)]
    new: bool,
    /// Promote or retire though the bridge uses another table than the files have, or retire what was used last, or where neither was used
    #[arg(long)]
    yes: bool,
    /// Where the added secret lies: `env:NAME`, `file:PATH`, or `sealed:TEXT`; else it is read from standard input, an old one kept as a hash, a new one sealed
    #[arg(long, value_name = "WHERE")]
    from: Option<Reference>,
}

/// What happens to the slots of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    /// A second one counts too
    Add,
    /// The second one becomes the first, and the first the second
    Promote,
    /// The second one ends
    Retire,
    /// What the running bridge has learned is written in place of { learn = true }
    WriteLearned,
}

/// Where a secret lies; what somebody typed who gave the secret itself is not kept, so that no message repeats it.
#[derive(Clone, Debug)]
struct Reference(Option<NewSecret>);

impl From<String> for Reference {
    fn from(text: String) -> Self {
        Self(NewSecret::reference(&text))
    }
}

impl Reference {
    fn secret(&self) -> Result<NewSecret, Undone> {
        let hint = "hint: say env:NAME or file:PATH, or sealed:TEXT with what `passbridge secret seal` prints";
        let bare = || Undone::Misused(format!("a secret is no argument: others could read it\n  {hint}"));
        self.0.clone().ok_or_else(bare)
    }
}

/// Why nothing was done.
enum Undone {
    /// Wrong use: what was said is wrong whatever the mapping files have. A sentence says what to do.
    Misused(String),
    /// What the mapping files or the bridge have stands against it.
    Refused(Refused),
}

impl From<Refused> for Undone {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<String> for Undone {
    fn from(sentence: String) -> Self {
        Self::Refused(sentence.into())
    }
}

/// Named one by one, so that help and completions have them.
fn stages() -> impl TypedValueParser<Value = &'static str> {
    PossibleValuesParser::new(Stage::WORDS.map(|(word, _)| word)).try_map(|text| stage_word(&text))
}

fn stage_word(text: &str) -> Result<&'static str, String> {
    let found = Stage::WORDS.iter().find(|(word, _)| *word == text);
    found.map(|(word, _)| *word).ok_or_else(|| format!("one of {}", Stage::WORDS.map(|(word, _)| word).join(", ")))
}

fn scope(text: &str) -> Result<(String, String), &'static str> {
    let (old, new) = text.split_once('=').ok_or("say OLD=NEW, the legacy word and the realm's")?;
    Ok((old.to_owned(), new.to_owned()))
}

fn file_name(text: &str) -> Result<String, &'static str> {
    let is_one = edit::is_file_name(text);
    is_one.then(|| text.to_owned()).ok_or("this is no name for a mapping file; `partners.toml` is one")
}

/// A legacy word that stands there twice: one of the two would be lost.
fn twice(scopes: &[(String, String)]) -> Option<&str> {
    let mut words: Vec<&str> = scopes.iter().map(|(old, _)| old.as_str()).collect();
    words.sort_unstable();
    words.windows(2).find_map(|pair| if let [one, other] = pair { (one == other).then_some(*one) } else { None })
}

/// Runs one of them.
pub(super) fn run(path: &Path, environment: &Environment, client: Client) -> Result<ExitCode, ExitCode> {
    match client {
        Client::List { stage, format } => list::list(path, environment, stage, format),
        Client::Show { id, format } => list::show(path, environment, &id, format),
        Client::Add(add) => with(path, environment, |config, means| change::add(config, means, &add)),
        Client::Stage { id, stage, why, percent } => {
            let to = change::To { stage, percent };
            with(path, environment, |config, means| change::stage(config, means, &id, to, &why))
        }
        Client::Rollback { id, why } => {
            with(path, environment, |config, means| change::rollback(config, means, &id, why.as_deref()))
        }
        Client::Import(import) => with(path, environment, |config, means| import::run(config, means, &import)),
        Client::Secret(slot) => with(path, environment, |config, means| change::secret(config, means, &slot)),
    }
}

/// Does something that needs the whole configuration.
fn with(
    path: &Path,
    environment: &Environment,
    act: impl FnOnce(&Config, Means<'_>) -> Result<ExitCode, Undone>,
) -> Result<ExitCode, ExitCode> {
    let config = super::configured(path, environment)
        .inspect_err(|_| show::complain("the configuration has errors; nothing was changed"))?;
    act(&config, config.means(environment)).map_err(|undone| match undone {
        Undone::Misused(sentence) => show::failed(WRONG_USE, sentence),
        Undone::Refused(reason) => refused(reason),
    })
}

fn refused(refused: Refused) -> ExitCode {
    match refused {
        Refused::Sentence(sentence) => show::failed(NO, sentence),
        Refused::Unread(sentence, findings) => {
            show::tell(&findings);
            show::failed(if config::unopened(&findings) { WRONG_USE } else { NO }, sentence)
        }
        Refused::Findings(findings) => {
            let bare = |mut finding: crate::document::Finding| {
                // The line would be that of a text which stands nowhere.
                finding.origin.line = 0;
                finding.origin.column = 0;
                finding
            };
            let findings: Vec<_> = findings.into_iter().map(bare).collect();
            show::tell(&findings);
            let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
            show::failed(NO, format!("nothing was changed: the mapping would have {}", counted(errors, "error")))
        }
    }
}

/// Without what a terminal would act upon.
fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if is_unseen(c) { c.escape_default().collect() } else { vec![c] }).collect()
}
