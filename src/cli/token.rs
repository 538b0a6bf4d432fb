//! `passbridge token`: logins by UUID, fingerprint, client or user; provenance, never a token.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::secret::typed;
use super::{Format, NO, WRONG_USE, ask, show};
use crate::config;
use crate::domain::opaque::OpaqueToken;
use crate::secrets::Environment;

/// Which logins are meant. Without an option: that of the UUID on standard input.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Those whose tokens' fingerprints begin so (6 digits or more, as logs show them)
    #[arg(long, value_name = "PREFIX", group = "which")]
    fingerprint: Option<String>,
    /// All logins of a legacy client
    #[arg(long, value_name = "ID", group = "which")]
    client: Option<String>,
    /// All logins of a passport user
    #[arg(long, value_name = "NAME", group = "which")]
    user: Option<String>,
    /// How logins are written
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Finds (`find`) or ends (`revoke`) logins.
pub(super) fn run(path: &Path, environment: &Environment, action: &str, which: &Which) -> Result<ExitCode, ExitCode> {
    let access = super::in_part(path, environment, config::ops_access)?;
    let token = super::ops_token(&access)?;
    let question = question(which).map_err(|reason| show::failed(WRONG_USE, reason))?;
    let answer = ask::post_patiently(&access, &format!("/api/v1/tokens/{action}"), token, &question);
    let answer = answer.map_err(|error| super::unanswered(access.address, &error))?;
    let told = answer.told().and_then(|body| match body["logins"].as_array() {
        Some(logins) => Ok((logins.clone(), body)),
        None => Err(format!("who answered at {} is no bridge\n  {}", access.address, ask::UNANSWERED)),
    });
    let (logins, body) = told.map_err(|sentence| show::failed(NO, sentence))?;
    let written = match which.format {
        Format::Json => writeln!(show::data(), "{body:#}"),
        Format::Human => logins.iter().try_for_each(|login| human(login, &mut show::data())),
    };
    if logins.is_empty() {
        show::say(&format!("no such login\n  hint: {}", which.not_found()));
    } else {
        summarize(&body, logins.len());
    }
    let damaged = body["damaged"].as_u64().unwrap_or_default();
    if damaged > 0 {
        let records = show::counted(usize::try_from(damaged).unwrap_or(usize::MAX), "record");
        show::complain(&format!("{records} of the store cannot be read: a login that is meant may be missing here"));
    }
    Ok(show::ended(written, if logins.is_empty() || damaged > 0 { NO } else { 0 }))
}

/// What is not seen in the list of logins.
fn summarize(body: &Value, shown: usize) {
    let more = body["more"] == json!(true);
    match body["ended"].as_u64().map(|ended| usize::try_from(ended).unwrap_or(usize::MAX)) {
        None if more => show::say("there are more; narrow it down"),
        None => {}
        Some(0) => show::say("none of them was alive"),
        Some(ended) if more => {
            show::say(&format!("{} ended; the first {shown} are shown", show::counted(ended, "login")));
        }
        Some(ended) => show::say(&format!("{} ended", show::counted(ended, "login"))),
    }
}

impl Which {
    /// Why a login that somebody is sure of may not be there.
    fn not_found(&self) -> &'static str {
        match self {
            Self { fingerprint: Some(_), .. } => {
                "the first digits of a token's fingerprint, as the log and the audit have them"
            }
            Self { client: Some(_), .. } => {
                "the old id, as `passbridge client list` has it; a login is forgotten after its promised end"
            }
            Self { user: Some(_), .. } => "the realm's name of the user; a login is forgotten after its promised end",
            Self { .. } => "a UUID is known where it was made: not of this store, or forgotten after its promised end",
        }
    }
}

/// What the bridge is asked, or what is wrong with it.
fn question(which: &Which) -> Result<Zeroizing<String>, String> {
    let asked = match which {
        Which { fingerprint: Some(prefix), .. } => {
            let is_one = (6..=64).contains(&prefix.len()) && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
            let wrong = "that is no beginning of a fingerprint\n  hint: 6 to 64 hexadecimal digits, as log lines have them under `token`";
            is_one.then(|| json!({ "fingerprint": prefix })).ok_or(wrong)?
        }
        Which { client: Some(client), .. } => json!({ "client": client }),
        Which { user: Some(user), .. } => json!({ "user": user }),
        Which { .. } => json!({ "token": uuid()?.expose() }),
    };
    Ok(Zeroizing::new(asked.to_string()))
}

/// Reads a UUID from standard input, never from an argument, which other users of the machine could read.
fn uuid() -> Result<OpaqueToken, String> {
    let text = typed("UUID", 256)?;
    let hint = "printf %s \"$UUID\" | passbridge token ..., or name --client, --user or --fingerprint";
    if text.trim().is_empty() {
        return Err(format!("there is no UUID on standard input\n  hint: {hint}"));
    }
    OpaqueToken::parse(text.trim()).ok_or_else(|| format!("what came on standard input is no UUID\n  hint: {hint}"))
}

fn human(login: &Value, out: &mut impl Write) -> io::Result<()> {
    let text = |name: &str| login[name].as_str().unwrap_or_default();
    writeln!(out, "login {} of {}: {}", text("family"), show::plain(text("client")), text("state"))?;
    let refreshable = match login["refreshable_until"].as_str() {
        Some("never") => ", refreshable without an end".to_owned(),
        Some(until) => format!(", refreshable until {until}"),
        None => String::new(),
    };
    writeln!(out, "  born {}, refreshed {} times{refreshable}", text("born"), login["refreshed"])?;
    if let Some(realm) = login["realm"].as_str() {
        writeln!(out, "  realm: {realm}")?;
    }
    for token in login["tokens"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let text = |name: &str| token[name].as_str().unwrap_or_default();
        writeln!(out, "  {:7} {}  until {}", text("use"), text("fingerprint"), text("until"))?;
    }
    Ok(())
}
