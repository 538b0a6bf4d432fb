//! The command line: a file for each command. Standard output carries data, standard error talk.
//!
//! Must not: hold a rule that a running bridge would need too.

mod ask;
mod audit;
mod check;
mod client;
mod diff;
mod doctor;
mod excerpt;
mod health;
mod limited;
mod pinned;
mod private;
mod replay;
mod secret;
mod serve;
mod shell;
mod show;
mod store;
mod token;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;

use crate::config::{self, Config};
use crate::document::{BYTE_ORDER_MARK, Findings};
use crate::domain::time::{Clock, Timestamp};
use crate::mapping::{self, Loaded};
use crate::secrets::Environment;
use crate::server::SystemClock;

/// Lets legacy passport clients keep logging in while everything behind them moves to Keycloak.
#[derive(Debug, Parser)]
#[command(
    name = "passbridge",
    version,
    about,
    after_help = "Exit status: 0 fine; 1 the answer is no; 2 wrong use or unreadable configuration."
)]
struct Arguments {
    /// The configuration
    #[arg(long, global = true, value_name = "FILE", default_value = "passbridge.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the bridge. SIGHUP reloads; SIGTERM drains and ends with status 0
    Serve,
    /// Check configuration and mappings, offline: every finding at once
    Check {
        /// How findings are written
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Ask the realm, live and free of side effects, whether logins would work: every URL, every client
    Doctor(doctor::Asked),
    /// Compare what the running bridge uses with what the files say
    Diff {
        /// How differences are written
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Send captured legacy requests again and compare the replies with the captured ones, byte for byte
    Replay(replay::Asked),
    /// Ask the running bridge whether it is ready: for health checks of containers
    Health,
    /// The mapping table, and one client's way through its migration
    #[command(subcommand)]
    Client(client::Client),
    /// Make what a mapping file may contain in place of a clear secret
    #[command(subcommand)]
    Secret(Secret),
    /// Find or end logins of the running bridge
    #[command(subcommand)]
    Token(Token),
    /// Show who was let in, refreshed, revoked, refused, and why; or verify that nothing was changed
    Audit(audit::Asked),
    /// Back up the token store of the running bridge, or move it while no bridge uses it
    #[command(subcommand)]
    Store(Store),
    /// Print what makes a shell complete commands and options: for its directory of completions
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command
    Man {
        /// Write pages into this directory, passbridge.1 and one for each command
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

const STORE_HELP: &str = "A backup is a store: to restore it, stop the bridge, put the directory in the place of \
`[store] path`, with the `audit` directory of the former one where `[audit] path` is not set, and start it. It opens \
nothing without a UUID, as the store itself. What a restored store no longer knows: logins, refreshes and revocations since. docs/OPERATIONS.md says more.";

#[derive(Debug, Subcommand)]
#[command(after_help = STORE_HELP)]
enum Store {
    /// Copy the embedded store, as it is this moment, into a directory of its own; the bridge goes on
    Backup {
        /// On the bridge's machine, and the bridge may write there: empty, or not there yet
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Copy every login into the store of another configuration, e.g. from the embedded one to Redis
    Copy {
        /// The configuration that names the store to copy to
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Show where tokens come from, what they may do, and how long; without an option that of the UUID on standard input
    Find(token::Which),
    /// End logins here, at once; without an option that of the UUID on standard input: then the realm is told too, else its session runs out by itself
    Revoke(token::Which),
}

#[derive(Debug, Subcommand)]
enum Secret {
    /// Read an old secret from standard input and print its hash, for `legacy_secret = { hash = "..." }`
    Hash,
    /// Read a secret from standard input and print it sealed, for `client_secret = { sealed = "..." }`
    Seal(secret::Seal),
    /// Print a new age identity, for `[secrets] identity = { file = "..." }`
    Keygen,
}

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Human,
    /// For programs.
    Json,
}

/// The answer is "no": findings, a failed probe, a refused change.
const NO: u8 = 1;
/// Wrong use, or a configuration that cannot be read.
const WRONG_USE: u8 = 2;

/// Runs the command that the arguments name.
#[must_use]
pub fn run() -> ExitCode {
    if let Err(error) = limited::outlive() {
        return show::failed(NO, format!("signals cannot be heard: {error}"));
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misused(&error),
    };
    let config = arguments.config;
    let ended = match arguments.command {
        Command::Serve => serve::run(config, environment()),
        Command::Check { format } => Ok(check::run(&config, &environment(), format)),
        Command::Doctor(asked) => doctor::run(&config, &environment(), &asked),
        Command::Diff { format } => diff::run(&config, &environment(), format),
        Command::Replay(asked) => replay::run(&config, &environment(), &asked),
        Command::Health => Ok(health::run(&config, &environment())),
        Command::Client(client) => client::run(&config, &environment(), client),
        Command::Secret(Secret::Hash) => Ok(secret::hash()),
        Command::Secret(Secret::Seal(asked)) => secret::seal(&config, &environment(), &asked),
        Command::Secret(Secret::Keygen) => Ok(secret::keygen()),
        Command::Audit(asked) => audit::run(&config, &environment(), &asked),
        Command::Store(Store::Backup { directory }) => store::backup(&config, &environment(), &directory),
        Command::Store(Store::Copy { to }) => store::copy(&config, &environment(), &to),
        Command::Completions { shell } => Ok(shell::completions(shell)),
        Command::Man { dir } => Ok(shell::man(dir.as_deref())),
        Command::Token(Token::Find(which)) => token::run(&config, &environment(), "find", &which),
        Command::Token(Token::Revoke(which)) => token::run(&config, &environment(), "revoke", &which),
    };
    ended.unwrap_or_else(|status| status)
}

/// Says what is wrong with the arguments, or what was asked of them. What stands where a command takes nothing, since it reads a secret
/// or a UUID from standard input, may be just that and is not repeated; an option that is nearly one of its own is none.
fn misused(error: &clap::Error) -> ExitCode {
    let is_too_many = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::TooManyValues);
    let read = if is_too_many && error.get(ContextKind::SuggestedArg).is_none() { read_by_command() } else { None };
    match read {
        Some(what) => {
            let hint = "hint: others could read an argument; --help tells what the command takes";
            show::complain(&format!(
                "the {what} comes on standard input, and something stands where no argument belongs\n  {hint}"
            ));
        }
        None => {
            let _ = error.print();
        }
    }
    ExitCode::from(if error.use_stderr() { WRONG_USE } else { 0 })
}

/// What the command that is asked for reads from standard input.
fn read_by_command() -> Option<&'static str> {
    let matches = Arguments::command().ignore_errors(true).try_get_matches().ok()?;
    let (group, inner) = matches.subcommand()?;
    match (group, inner.subcommand_name()) {
        ("secret", Some("hash" | "seal")) | ("client", Some("add" | "secret")) | ("doctor", _) => Some("secret"),
        ("token", Some(_)) => Some("UUID"),
        _ => None,
    }
}

/// The environment, read once.
#[expect(clippy::disallowed_methods, reason = "this is the one place where the environment comes in")]
fn environment() -> Environment {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value)).collect()
}

/// The time of day. No command has another.
fn now() -> Timestamp {
    SystemClock::new().now()
}

/// A file's bytes without the mark that some programs write before UTF-8.
fn unmarked(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK.encode_utf8(&mut [0; 4]).as_bytes()).unwrap_or(bytes)
}

/// The configuration; where it is refused its findings have been said.
fn configured(path: &Path, environment: &Environment) -> Result<Config, ExitCode> {
    let findings = Findings::new();
    config::load(path, environment, now(), &findings).ok_or_else(|| {
        show::tell(&findings.into_sorted());
        ExitCode::from(WRONG_USE)
    })
}

/// A part of the configuration, for what must not wait until the rest of it is right; what is wrong has been said.
fn in_part<T>(
    path: &Path,
    environment: &Environment,
    part: impl FnOnce(&Path, &Environment, &Findings) -> Option<T>,
) -> Result<T, ExitCode> {
    let (findings, own) = (Findings::new(), Findings::new());
    let is_whole = config::load(path, environment, now(), &findings).is_some();
    let part = part(path, environment, &own);
    if !is_whole {
        let mut told = findings.into_sorted();
        // Of a file that is no TOML the whole says nothing else.
        let more: Vec<_> = own.into_sorted().into_iter().filter(|finding| !told.contains(finding)).collect();
        told.extend(more.into_iter().filter(|_| part.is_none()));
        show::tell(&told);
    }
    let part = part.ok_or_else(|| ExitCode::from(WRONG_USE))?;
    if !is_whole {
        show::say("note: what is needed here can be read, and is used; a bridge that runs goes on with what it has");
    }
    Ok(part)
}

/// The configuration and its mappings; where either is refused, its findings and what follows from that have been said.
fn loaded(path: &Path, environment: &Environment, so: &str) -> Result<(Config, Loaded), ExitCode> {
    let findings = Findings::new();
    let config = config::load(path, environment, now(), &findings);
    let loaded =
        config.as_ref().and_then(|config| mapping::load(&config.mappings, config.means(environment), &findings));
    config.zip(loaded).ok_or_else(|| {
        show::tell(&findings.into_sorted());
        show::failed(WRONG_USE, so)
    })
}

/// The ops token; where there is none that has been said.
fn ops_token<'a>(door: impl Into<ask::Door<'a>>) -> Result<&'a SecretString, ExitCode> {
    ask::token(door).map_err(|reason| show::failed(WRONG_USE, reason))
}

/// The bridge did not answer.
fn unanswered(address: SocketAddr, error: &std::io::Error) -> ExitCode {
    show::failed(NO, ask::unanswered(address, error))
}
