//! Reads the `[grants]` of a dialect, and holds each against what else the realm is sent.

use std::collections::{BTreeMap, BTreeSet};

use super::dialect::{KINDS, cause};
use crate::document::{Origin, Reader, Spotted};
use crate::domain::dialect::{CredentialFields, Grant, GrantField, GrantKind};
use crate::domain::refusal::Cause;

/// What every request to the realm carries besides (CONTRACT section 1).
const OURS: [&str; 2] = ["client_id", "client_secret"];

/// Texts of a table of free keys.
type Texts = Vec<(Spotted<String>, Spotted<String>)>;

/// What the realm is sent by one grant. It refuses a parameter that comes twice.
struct Sent<'s, 'f> {
    grant: &'s Reader<'f>,
    names: BTreeSet<String>,
}

impl Sent<'_, '_> {
    /// Counts what the key of the grant has sent under this name.
    fn add(&mut self, key: &str, name: &str, origin: &Origin) {
        if !self.names.insert(name.to_owned()) {
            let message = format!("`{}` would send the realm `{name}` twice", self.grant.path(key));
            let hint = "leave one of the two, or send it under another name (`to`)";
            self.grant.findings().error("twice-at-realm", origin, message, hint);
        }
    }
}

/// Reads the grants. `credentials` are parameters that none of them may pass on.
pub(super) fn read(section: Reader<'_>, credentials: Option<&CredentialFields>) -> BTreeMap<String, Grant> {
    let (findings, origin) = (section.findings(), section.origin().clone());
    let sections = section.into_sections();
    let wanted = sections.len();
    let read: BTreeMap<_, _> =
        sections.into_iter().filter_map(|(name, reader)| Some((name.value, grant(reader, credentials)?))).collect();
    if read.len() == wanted && !read.values().any(|grant| grant.kind == GrantKind::Login) {
        let hint = "one of them needs kind = \"login\"";
        findings.error("missing-key", &origin, "no grant of the dialect lets anybody log in", hint);
    }
    read
}

fn grant(mut section: Reader<'_>, credentials: Option<&CredentialFields>) -> Option<Grant> {
    section.demand("kind", "`login` or `refresh`");
    let kind = section.word("kind", &KINDS).map(|word| word.value);
    let scope = section.text("scope");
    if let Some(text) = scope.as_ref().filter(|text| text.value.is_empty()) {
        section.bad_value("scope", &text.origin, "the name of a parameter");
    }
    let fixed = section.required_section("realm").map(fixed);
    let fields = section.section("fields").map(Reader::into_sections).unwrap_or_default();
    let fields: Vec<_> = fields.into_iter().map(|(name, reader)| field(name, reader)).collect();

    if let Some(text) = scope.as_ref().filter(|text| is_taken(&text.value, &fields, credentials)) {
        section.bad_value("scope", &text.origin, "a parameter of its own");
    }
    let always = OURS.into_iter().chain(scope.as_ref().map(|_| "scope"));
    let mut sent = Sent { grant: &section, names: always.map(str::to_owned).collect() };
    for (name, _) in fixed.iter().flatten() {
        sent.add(&format!("realm.{}", name.value), &name.value, &name.origin);
    }
    for field in &fields {
        if may_be_sent(field, kind, credentials, &section) {
            sent.add(&format!("fields.{}", field.value.name), &field.value.realm_name, &field.origin);
        }
    }
    if kind == Some(GrantKind::Refresh) && !fields.iter().any(|field| is_refresh_token(&field.value)) {
        let hint = "name the parameter under `fields`, with `to = \"refresh_token\"` where it has another name";
        let message = "a refresh grant needs the field `refresh_token`";
        section.findings().error("missing-key", section.origin(), message, hint);
    }
    section.finish();
    let fixed = fixed?.into_iter().map(|(name, value)| (name.value, value.value)).collect();
    let fields = fields.into_iter().map(|field| field.value).collect();
    Some(Grant { kind: kind?, fields, scope: scope.map(|text| text.value), fixed })
}

/// What the realm is sent whatever the client sends.
fn fixed(mut section: Reader<'_>) -> Texts {
    section.demand("grant_type", "grant_type = \"password\" for a login, \"refresh_token\" for a refresh");
    section.into_texts()
}

/// A field, and where its name at the realm stands.
fn field(name: Spotted<String>, mut section: Reader<'_>) -> Spotted<GrantField> {
    let to = section.text("to");
    let required = section.boolean("required", false);
    let values = section.texts("values", "name those that are taken, or leave it out: then any value is taken");
    let values = values.into_iter().flatten().map(|text| text.value).collect();
    let cause = cause(&mut section).unwrap_or(Cause::InvalidRequest);
    section.finish();
    let Spotted { value: realm_name, origin } = to.unwrap_or_else(|| name.clone());
    Spotted { value: GrantField { name: name.value, realm_name, required, values, cause }, origin }
}

/// Whether a parameter of this name carries something else than the scope. A field that is the realm's scope is told of by what would be sent twice.
fn is_taken(scope: &str, fields: &[Spotted<GrantField>], credentials: Option<&CredentialFields>) -> bool {
    scope == "grant_type"
        || credentials.is_some_and(|known| known.id == scope || known.secret == scope)
        || fields.iter().any(|field| field.value.name == scope && field.value.realm_name != "scope")
}

fn may_be_sent(
    field: &Spotted<GrantField>,
    kind: Option<GrantKind>,
    credentials: Option<&CredentialFields>,
    grant: &Reader<'_>,
) -> bool {
    let Spotted { value: GrantField { name, values, .. }, origin } = field;
    let (said, hint) = if credentials.is_some_and(|known| known.id == *name || known.secret == *name) {
        let hint = "leave it out: the realm is shown the new ones, as the mapping has them";
        ("is one of the client's old credentials", hint)
    } else if kind == Some(GrantKind::Refresh) && !is_refresh_token(&field.value) {
        let hint = "leave it out: a refresh sends the refresh token, the scope, and what stands under `realm`";
        ("is not sent with a refresh", hint)
    } else if kind == Some(GrantKind::Refresh) && !values.is_empty() {
        ("has `values`, and no list has the refresh tokens", "leave `values` out: any UUID is looked for")
    } else {
        return true;
    };
    let message = format!("`{}` {said}", grant.path(&format!("fields.{name}")));
    grant.findings().error("bad-value", origin, message, hint);
    false
}

fn is_refresh_token(field: &GrantField) -> bool {
    field.realm_name == "refresh_token"
}
