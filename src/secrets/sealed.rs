//! `{ sealed = "..." }`, and the identities that open it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};

use super::{LONGEST, Sources, age, bare};
use crate::document::{Findings, Origin, Spotted, Value};
use crate::domain::opaque::Fingerprint;

/// The identities that `[secrets]` names, in its order.
#[derive(Clone, Debug, Default)]
pub struct Identities(Option<Keys>);

#[derive(Clone, Debug)]
struct Keys {
    identities: Arc<[age::Identity]>,
    /// What the load has opened that these belong to.
    now: Arc<Opened>,
    /// What the load before has, where its identities were the same.
    before: Arc<Opened>,
}

/// Secrets by the fingerprint of what they were sealed as. The table that was loaded with them has each of them anyway.
#[derive(Default)]
struct Opened(Mutex<HashMap<Fingerprint, SecretString>>);

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({})", self.0.lock().len())
    }
}

/// No section names any.
pub(super) static NO_IDENTITIES: Identities = Identities(None);

impl Identities {
    fn of(identities: impl Into<Arc<[age::Identity]>>) -> Self {
        Self(Some(Keys { identities: identities.into(), now: Arc::default(), before: Arc::default() }))
    }

    /// Where a section names them and they cannot be had, of which a finding tells.
    #[must_use]
    pub fn unreadable() -> Self {
        Self::of(Vec::new())
    }

    /// To whom to seal: the first one's recipient.
    #[must_use]
    pub fn recipient(&self) -> Option<age::Recipient> {
        self.recipients().next()
    }

    fn recipients(&self) -> impl Iterator<Item = age::Recipient> {
        self.0.iter().flat_map(|keys| keys.identities.iter().map(age::Identity::recipient))
    }

    /// What the load before has opened is not opened again, where its identities were the same: to open a hundred thousand takes
    /// seconds.
    #[must_use]
    pub fn after(self, before: &Self) -> Self {
        let same = self.recipients().eq(before.recipients());
        let opened = before.0.as_ref().filter(|_| same).map(|keys| Arc::clone(&keys.now)).unwrap_or_default();
        Self(self.0.map(|keys| Keys { before: opened, ..keys }))
    }

    /// The load is over: what it did not use of the one before is forgotten.
    #[must_use]
    pub fn settled(self) -> Self {
        Self(self.0.map(|keys| Keys { before: Arc::default(), ..keys }))
    }
}

impl Keys {
    /// The secret that was sealed so, by `open` where nobody knows it.
    fn opened(&self, sealed: &str, open: impl FnOnce() -> Option<SecretString>) -> Option<SecretString> {
        let name = Fingerprint::of("sealed", sealed.as_bytes());
        let known = self.before.0.lock().get(&name).cloned();
        let secret = known.or_else(open)?;
        self.now.0.lock().insert(name, secret.clone());
        Some(secret)
    }
}

/// Reads a list of identities as age keeps it: one a line, `#` before what is for people.
pub fn identities(value: Spotted<Value>, key: &str, sources: Sources<'_>, findings: &Findings) -> Identities {
    let origin = value.origin.clone();
    let Some(text) = super::read(value, key, sources, findings) else { return Identities::unreadable() };
    let lines = text.expose_secret().lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let read: Result<Vec<_>, _> = lines.map(age::Identity::parse).collect();
    let reason = match read {
        Ok(read) if !read.is_empty() => return Identities::of(read),
        Ok(_) => "has no identity in it",
        Err(age::MalformedKey) => "has a line that is no age identity (AGE-SECRET-KEY-1...)",
    };
    let hint = "make one with `passbridge secret keygen`, or `age-keygen`".to_owned();
    findings.error("malformed-identity", &origin, format!("`{key}` {reason}"), hint);
    Identities::unreadable()
}

/// Opens a sealed secret.
pub(super) fn read(
    sealed: &Spotted<String>,
    key: &str,
    identities: &Identities,
    findings: &Findings,
) -> Option<SecretString> {
    let Some(keys) = &identities.0 else {
        let hint = "[secrets] identity = { file = \"age.key\" } names what opens it".to_owned();
        findings.error("no-identity", &sealed.origin, format!("`{key}` is sealed, and nothing opens it"), hint);
        return None;
    };
    // Why there is none has been told.
    if keys.identities.is_empty() {
        return None;
    }
    keys.opened(&sealed.value, || match age::open(&sealed.value, &keys.identities) {
        Ok(plain) => secret(&plain, key, &sealed.origin, findings),
        Err(refused) => {
            let (code, hint) = match refused {
                age::DoesNotOpen::ToOthers => ("sealed-to-another", "seal it anew: `passbridge secret seal`"),
                age::DoesNotOpen::Malformed | age::DoesNotOpen::Damaged => {
                    ("malformed-seal", "seal it anew: `passbridge secret seal`, or `age --armor`")
                }
            };
            findings.error(code, &sealed.origin, format!("`{key}` {refused}"), hint.to_owned());
            None
        }
    })
}

/// As a file would hold it.
fn secret(plain: &[u8], key: &str, origin: &Origin, findings: &Findings) -> Option<SecretString> {
    let text = bare(std::str::from_utf8(plain).unwrap_or_default());
    if !text.is_empty() && text.len() as u64 <= LONGEST {
        return Some(SecretString::from(text));
    }
    let message = format!("`{key}` opens, and what is in it is no secret: empty, not UTF-8, or longer than 64 KiB");
    findings.error("malformed-seal", origin, message, "seal it anew: `passbridge secret seal`".to_owned());
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::SystemEntropy;

    fn key() -> age::Identity {
        age::Identity::new(&SystemEntropy).unwrap()
    }

    /// The same key once more, as a file has it.
    fn again(key: &age::Identity) -> Identities {
        Identities::of([age::Identity::parse(key.text().unwrap().expose_secret()).unwrap()])
    }

    fn opened(identities: &Identities, text: &str) -> (Option<String>, usize) {
        let findings = Findings::new();
        let sealed = Spotted { value: text.to_owned(), origin: Origin::file("a.toml") };
        let secret = read(&sealed, "secret", identities, &findings);
        (secret.map(|secret| secret.expose_secret().to_owned()), findings.into_sorted().len())
    }

    #[test]
    fn what_the_load_before_has_opened_with_the_same_key_is_not_opened_again() {
        let (key, stranger) = (key(), key());
        let sealed = age::encoded(&age::seal(b"planted", &[key.recipient()], &SystemEntropy).unwrap());
        let planted = (Some("planted".to_owned()), 0);
        let first = again(&key);
        assert_eq!(opened(&first, &sealed), planted);
        // No key opens this: whoever has it has it from the load before.
        first.0.as_ref().unwrap().opened("nonsense", || Some(SecretString::from("known"))).unwrap();
        let second = again(&key).after(&first);
        assert_eq!(opened(&second, &sealed), planted);
        assert_eq!(opened(&second, "nonsense"), (Some("known".to_owned()), 0));
        let third = again(&key).after(&second);
        assert_eq!(opened(&third, "nonsense"), (Some("known".to_owned()), 0), "it was used in the second");
        assert_eq!(opened(&third.clone().settled(), "nonsense"), (None, 1), "only loads ask what is known");
        // What a load does not use any more is forgotten.
        let fourth = again(&key).after(&again(&key).after(&third).settled());
        assert_eq!(opened(&fourth, "nonsense"), (None, 1));
        let others = Identities::of([stranger]).after(&third);
        assert_eq!((opened(&others, &sealed), opened(&others, "nonsense")), ((None, 1), (None, 1)));
    }
}
