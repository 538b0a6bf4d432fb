//! `passbridge token`: logins by UUID, fingerprint, client or user; provenance, never a token.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Format, NO, WRONG_USE, ask, show};
use crate::secrets::Environment;

/// Which logins are meant. Without an option: that of the UUID on standard input.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Those whose tokens' fingerprints begin so (6 digits or more, as logs show them)
    #[arg(long, value_name = "PREFIX", group = "which", value_parser = prefix)]
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

fn prefix(text: &str) -> Result<String, &'static str> {
    let fits = text.len() >= 6 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if fits { Ok(text.to_owned()) } else { Err("say 6 hexadecimal digits or more, as logs and audit show them") }
}

/// Finds (`find`) or ends (`revoke`) logins.
pub(super) fn run(path: &Path, environment: &Environment, action: &str, which: &Which) -> ExitCode {
    let config = match super::configured(path, environment) {
        Ok(config) => config,
        Err(status) => return status,
    };
    let Ok(token) = ask::token(&config).map_err(|reason| show::complain(&reason)) else {
        return ExitCode::from(WRONG_USE);
    };
    let question = match question(which) {
        Ok(question) => question,
        Err(error) => {
            show::complain(&format!("the UUID cannot be read from standard input: {}", show::words(&error)));
            return ExitCode::from(WRONG_USE);
        }
    };
    let answer = match ask::post(&config, &format!("/api/v1/tokens/{action}"), token, &question) {
        Ok(answer) => answer,
        Err(error) => return super::unanswered(&config, &error),
    };
    let Ok(body) = answer.told().map_err(|sentence| show::complain(&sentence)) else {
        return ExitCode::from(NO);
    };
    let logins = body["logins"].as_array().map(Vec::as_slice).unwrap_or_default();
    let written = match which.format {
        Format::Json => writeln!(show::data(), "{body:#}"),
        Format::Human => logins.iter().try_for_each(|login| human(login, &mut show::data())),
    };
    if body["more"] == json!(true) {
        show::say("there are more; narrow it down");
    }
    if logins.is_empty() {
        show::say("no such login");
    }
    show::ended(written, if logins.is_empty() { NO } else { 0 })
}

fn question(which: &Which) -> io::Result<Zeroizing<String>> {
    let asked = match which {
        Which { fingerprint: Some(prefix), .. } => json!({ "fingerprint": prefix }),
        Which { client: Some(client), .. } => json!({ "client": client }),
        Which { user: Some(user), .. } => json!({ "user": user }),
        Which { .. } => {
            let mut text = Zeroizing::new(String::new());
            io::stdin().lock().take(256).read_to_string(&mut text)?;
            json!({ "token": text.trim() })
        }
    };
    Ok(Zeroizing::new(asked.to_string()))
}

fn human(login: &Value, out: &mut impl Write) -> io::Result<()> {
    let text = |name: &str| login[name].as_str().unwrap_or("never");
    writeln!(out, "login {} of {}: {}", text("family"), text("client"), text("state"))?;
    writeln!(
        out,
        "  born {}, refreshed {} times, refreshable until {}",
        text("born"),
        login["refreshed"],
        text("refreshable_until")
    )?;
    if let Some(realm) = login["realm"].as_str() {
        writeln!(out, "  realm: {realm}")?;
    }
    for token in login["tokens"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let text = |name: &str| token[name].as_str().unwrap_or("never");
        writeln!(out, "  {:7} {}  until {}", text("use"), text("fingerprint"), text("until"))?;
    }
    Ok(())
}
