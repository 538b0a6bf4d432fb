//! `{ sealed = "..." }`, and the identities that open it.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::{LONGEST, Sources, age};
use crate::document::{Findings, Origin, Spotted, Value};

/// The identities that `[secrets]` names, in its order.
#[derive(Clone, Debug, Default)]
pub struct Identities(Option<Arc<[age::Identity]>>);

/// No section names any.
pub(super) static NO_IDENTITIES: Identities = Identities(None);

impl Identities {
    /// Where a section names them and they cannot be had, of which a finding tells.
    #[must_use]
    pub fn unreadable() -> Self {
        Self(Some(Arc::default()))
    }

    /// To whom to seal: the first one's recipient.
    #[must_use]
    pub fn recipient(&self) -> Option<age::Recipient> {
        self.0.as_ref()?.first().map(age::Identity::recipient)
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
        Ok(read) if !read.is_empty() => return Identities(Some(read.into())),
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
    let Some(identities) = &identities.0 else {
        let hint = "[secrets] identity = { file = \"age.key\" } names what opens it".to_owned();
        findings.error("no-identity", &sealed.origin, format!("`{key}` is sealed, and nothing opens it"), hint);
        return None;
    };
    // Why there is none has been told.
    if identities.is_empty() {
        return None;
    }
    match age::open(&sealed.value, identities) {
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
    }
}

/// As a file would hold it: one line end behind it is none of it.
fn secret(plain: &[u8], key: &str, origin: &Origin, findings: &Findings) -> Option<SecretString> {
    let text = std::str::from_utf8(plain).unwrap_or_default();
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if !text.is_empty() && text.len() as u64 <= LONGEST {
        return Some(SecretString::from(text));
    }
    let message = format!("`{key}` opens, and what is in it is no secret: empty, not UTF-8, or longer than 64 KiB");
    findings.error("malformed-seal", origin, message, "seal it anew: `passbridge secret seal`".to_owned());
    None
}
