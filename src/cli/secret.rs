//! `passbridge secret`: what a mapping file may contain in place of a clear secret.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{NO, WRONG_USE, show};
use crate::mapping;
use crate::server::SystemEntropy;

/// No secret is longer.
const LONGEST: u64 = 64 * 1024;

/// Prints the hash of a secret.
pub(super) fn hash() -> ExitCode {
    match hashed() {
        Ok(hash) if writeln!(show::data(), "{hash}").is_ok() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(NO),
        Err(reason) => {
            show::complain(&reason);
            ExitCode::from(WRONG_USE)
        }
    }
}

/// Reads a secret and hashes it.
pub(super) fn hashed() -> Result<String, String> {
    mapping::hash(&read()?, &SystemEntropy)
}

/// Reads a secret from standard input, never from an argument, which other users of the machine could read.
pub(super) fn read() -> Result<SecretString, String> {
    let mut text = Zeroizing::new(String::new());
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        show::say("type the secret, then Enter and Ctrl-D");
    }
    let read = stdin.lock().take(LONGEST + 1).read_to_string(&mut text);
    read.map_err(|error| format!("the secret cannot be read from standard input: {error}"))?;
    if text.len() as u64 > LONGEST {
        return Err("the secret is longer than 64 KiB".to_owned());
    }
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        let hint = "hint: printf %s \"$SECRET\" | passbridge ...";
        return Err(format!("the secret on standard input is empty\n  {hint}"));
    }
    Ok(SecretString::from(secret))
}
