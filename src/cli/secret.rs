//! `passbridge secret`: what a mapping file may contain in place of a clear secret.

use std::io::{self, IsTerminal, Read, Stdin, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use rustix::process::{Signal, kill_current_process_group};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{WRONG_USE, now, show};
use crate::mapping;
use crate::secrets::age::{self, Identity, Recipient};
use crate::secrets::{Environment, bare};
use crate::server::SystemEntropy;

/// No secret is longer.
const LONGEST: u64 = 64 * 1024;

/// To whom a secret is sealed, and how that is written.
#[derive(Debug, Args)]
pub(super) struct Seal {
    /// To this public key (`age1...`), in place of the configured identity's; can be given again
    #[arg(long = "recipient", value_name = "KEY")]
    recipients: Vec<Key>,
    /// In several lines, as `age --armor` writes it
    #[arg(long)]
    armor: bool,
}

/// A public key; what is none may be the identity itself, and is not kept, so that no message repeats it.
#[derive(Clone, Debug)]
struct Key(Option<Recipient>);

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self(Recipient::parse(&text).ok())
    }
}

/// Prints the hash of a secret.
pub(super) fn hash() -> ExitCode {
    printed(hashed().map(|hash| hash + "\n"))
}

/// Prints a secret sealed to the recipients, or to the one of the configured identity.
pub(super) fn seal(path: &Path, environment: &Environment, asked: &Seal) -> Result<ExitCode, ExitCode> {
    let mut recipients = asked.recipients.iter().map(|key| key.0).collect::<Option<Vec<_>>>().ok_or_else(|| {
        let hint = "hint: it is the `public key` that `passbridge secret keygen` and `age-keygen` tell";
        show::failed(WRONG_USE, format!("what --recipient names is no public key of age (`age1...`)\n  {hint}"))
    })?;
    if recipients.is_empty() {
        let recipient = super::configured(path, environment)?.identities.recipient().ok_or_else(|| {
            let hint = "hint: [secrets] identity = { file = \"age.key\" }, or --recipient age1...";
            show::failed(WRONG_USE, format!("to whom? No identity is configured\n  {hint}"))
        })?;
        recipients.push(recipient);
    }
    Ok(printed(read().and_then(|secret| {
        let sealed = sealed_bytes(&secret, &recipients)?;
        Ok(if asked.armor { age::armoured(&sealed) } else { age::encoded(&sealed) + "\n" })
    })))
}

/// Prints a new identity, with its recipient as a comment, as `age-keygen` does.
pub(super) fn keygen() -> ExitCode {
    let identity = Identity::new(&SystemEntropy);
    let text = identity.and_then(|identity| Some((identity.recipient(), identity.text()?)));
    let Some((recipient, secret)) = text else {
        return printed(Err("this machine's cryptography makes no key".to_owned()));
    };
    let now = now().rfc3339();
    let secret = secret.expose_secret();
    let file = Zeroizing::new(format!("# created: {now}\n# public key: {recipient}\n{secret}\n"));
    let written = show::data().write_all(file.as_bytes());
    show::say(&format!("public key: {recipient}"));
    if !io::stdout().is_terminal() {
        show::say("hint: nobody but the bridge should read it: chmod 600");
    }
    show::ended(written, 0)
}

fn printed(text: Result<String, String>) -> ExitCode {
    match text {
        Ok(text) => show::ended(show::data().write_all(text.as_bytes()), 0),
        Err(reason) => show::failed(WRONG_USE, reason),
    }
}

/// Seals a secret, as a mapping file has it.
pub(super) fn sealed(secret: &SecretString, recipients: &[Recipient]) -> Result<String, String> {
    sealed_bytes(secret, recipients).map(|sealed| age::encoded(&sealed))
}

fn sealed_bytes(secret: &SecretString, recipients: &[Recipient]) -> Result<Vec<u8>, String> {
    let sealed = age::seal(secret.expose_secret().as_bytes(), recipients, &SystemEntropy);
    sealed.ok_or_else(|| "the secret cannot be sealed to this key\n  hint: is it a key that `passbridge secret keygen` or `age-keygen` made?".to_owned())
}

/// Reads a secret and hashes it.
pub(super) fn hashed() -> Result<String, String> {
    mapping::hash(&read()?, &SystemEntropy)
}

/// Reads a secret from standard input, never from an argument, which other users of the machine could read.
pub(super) fn read() -> Result<SecretString, String> {
    let text = typed("secret", LONGEST + 1)?;
    if text.len() as u64 > LONGEST {
        return Err("the secret is longer than 64 KiB".to_owned());
    }
    let secret = bare(&text);
    if secret.is_empty() {
        let hint = "hint: printf %s \"$SECRET\" | passbridge ...";
        return Err(format!("the secret on standard input is empty\n  {hint}"));
    }
    Ok(SecretString::from(secret))
}

/// What comes on standard input, at most so many bytes of it.
pub(super) fn typed(what: &str, most: u64) -> Result<Zeroizing<String>, String> {
    let mut text = Zeroizing::new(String::new());
    let stdin = io::stdin();
    let read = match Unshown::at(&stdin) {
        None => stdin.lock().take(most).read_to_string(&mut text).map(drop),
        Some(unshown) => {
            show::say(&format!("type the {what}, then Enter and Ctrl-D"));
            unshown.read_to_string(most, &mut text)
        }
    };
    read.map_err(|error| format!("the {what} cannot be read from standard input: {}", show::words(&error)))?;
    Ok(text)
}

/// A terminal that does not show what is typed, until this is dropped.
///
/// In the meantime a key that sends a signal ends a line instead: the signal would end the program first, and not every shell has the
/// terminal show again what is typed.
struct Unshown<'t> {
    terminal: &'t Stdin,
    before: Termios,
}

/// Keys that send a signal, and what ends a line.
const KEYS: [(SpecialCodeIndex, Signal, SpecialCodeIndex); 2] = [
    (SpecialCodeIndex::VINTR, Signal::INT, SpecialCodeIndex::VEOL),
    (SpecialCodeIndex::VQUIT, Signal::QUIT, SpecialCodeIndex::VEOL2),
];

/// By then a signal that is not ignored has ended the program.
const MET: Duration = Duration::from_secs(1);

/// No key (`_POSIX_VDISABLE`).
const NO_KEY: u8 = 0;

impl<'t> Unshown<'t> {
    /// Nothing, where it is no terminal.
    fn at(terminal: &'t Stdin) -> Option<Self> {
        let before = tcgetattr(terminal).ok()?;
        let mut unshown = before.clone();
        unshown.local_modes.remove(LocalModes::ECHO);
        for (key, _, end) in KEYS {
            unshown.special_codes[end] = before.special_codes[key];
            unshown.special_codes[key] = NO_KEY;
        }
        tcsetattr(terminal, OptionalActions::Now, &unshown).ok()?;
        Some(Self { terminal, before })
    }

    fn read_to_string(self, most: u64, text: &mut String) -> io::Result<()> {
        let mut lines = self.terminal.lock().take(most);
        let (mut all, mut line) = (Zeroizing::new(Vec::new()), Zeroizing::new([0; 4096]));
        loop {
            let count = match lines.read(line.as_mut()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let typed = line.get(..count).unwrap_or_default();
            all.extend_from_slice(typed);
            let Some(last) = typed.last() else { break };
            let is_meant = |key| *last != NO_KEY && self.before.special_codes[key] == *last;
            if let Some((_, signal, _)) = KEYS.into_iter().find(|(key, _, _)| is_meant(*key)) {
                drop(self);
                let _it_may_be_ignored = kill_current_process_group(signal);
                // Another thread may be the one that meets it.
                std::thread::park_timeout(MET);
                return Err(io::Error::new(io::ErrorKind::Interrupted, "it was broken off"));
            }
        }
        text.push_str(
            std::str::from_utf8(&all).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))?,
        );
        Ok(())
    }
}

impl Drop for Unshown<'_> {
    fn drop(&mut self) {
        let _terminal_is_gone = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}
