//! Reads a dialect file (`mappings/dialects/*.toml`) into a [`Dialect`]. Everything in it is checked here, once.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

use super::layout;
use crate::document::{Findings, Reader, Spotted, Table};
use crate::domain::dialect::{
    CauseRow, CredentialFields, Dialect, Endpoints, ErrorCode, Grant, GrantField, GrantKind, RealmErrorRow, RealmRules,
    TokenRules,
};
use crate::domain::opaque::TokenShape;
use crate::domain::refusal::{Cause, Fault};

const KINDS: [(&str, GrantKind); 2] = [("login", GrantKind::Login), ("refresh", GrantKind::Refresh)];
const FAULTS: [(&str, Fault); 4] = [
    ("client", Fault::Client),
    ("operator", Fault::Operator),
    ("upstream", Fault::Upstream),
    ("ourselves", Fault::Ourselves),
];
const SHAPES: [(&str, TokenShape); 2] = [("uuid", TokenShape::Uuid), ("uuid-epoch", TokenShape::UuidEpoch)];

/// Reads the dialect of this name. `None`: something is wrong, and the findings say what.
pub fn read(name: &str, table: Table, findings: &Findings) -> Option<Dialect> {
    let mut file = Reader::new(table, "", findings);
    let endpoints = file.required_section("endpoints").and_then(endpoints);
    let credentials = file.required_section("credentials").and_then(credentials);
    let grants = file.required_section("grants").map(grants).unwrap_or_default();
    let tokens = tokens(&mut file);
    let layout = file.required_section("reply").and_then(layout::read);
    let error_code = file.section("error_code").and_then(error_code);
    let causes = file.required_section("causes").and_then(causes);
    let realm = file.section("realm").map(realm).unwrap_or_default();
    file.finish();
    Some(Dialect {
        name: name.to_owned(),
        endpoints: endpoints?,
        credentials: credentials?,
        grants,
        tokens: tokens?,
        layout: layout?,
        error_code,
        causes: causes?,
        realm,
    })
}

fn endpoints(mut section: Reader<'_>) -> Option<Endpoints> {
    let mut path = |key| {
        let text = section.required_text(key)?;
        if text.value.starts_with('/') && !text.value.contains(['?', '#', ' ']) {
            Some(text.value)
        } else {
            section.bad_value(key, &text.origin, "a path that begins with `/`");
            None
        }
    };
    let (token, revoke, introspect) = (path("token"), path("revoke"), path("introspect"));
    section.finish();
    Some(Endpoints { token: token?, revoke: revoke?, introspect: introspect? })
}

fn credentials(mut section: Reader<'_>) -> Option<CredentialFields> {
    let (id, secret) = (section.required_text("id"), section.required_text("secret"));
    section.finish();
    Some(CredentialFields { id: id?.value, secret: secret?.value })
}

fn grants(section: Reader<'_>) -> BTreeMap<String, Grant> {
    section.into_sections().into_iter().filter_map(|(name, reader)| Some((name.value, grant(reader)?))).collect()
}

fn grant(mut section: Reader<'_>) -> Option<Grant> {
    let there = section.has("kind");
    let kind = section.word("kind", &KINDS);
    if !there {
        let message = format!("`{}` is missing", section.path("kind"));
        section.findings().error("missing-key", section.origin(), message, "`login` or `refresh`".to_owned());
    }
    let scope = section.text("scope").map(|text| text.value);
    let fixed = section.required_section("realm").map(Reader::into_texts).unwrap_or_default();
    let fields = section.section("fields").map(Reader::into_sections).unwrap_or_default();
    let fields: Vec<_> = fields.into_iter().map(|(name, reader)| field(name.value, reader)).collect();
    let kind = kind?.value;
    if kind == GrantKind::Refresh
        && !fields.iter().any(|field| field.name == "refresh_token" || field.realm_name == "refresh_token")
    {
        let hint =
            "name the parameter under `fields`, with `to = \"refresh_token\"` where it has another name".to_owned();
        section.findings().error(
            "missing-key",
            section.origin(),
            "a refresh grant needs the field `refresh_token`",
            hint,
        );
    }
    section.finish();
    let fixed = fixed.into_iter().map(|(key, value)| (key.value, value.value)).collect();
    Some(Grant { kind, fields, scope, fixed })
}

fn field(name: String, mut section: Reader<'_>) -> GrantField {
    let realm_name = section.text("to").map_or_else(|| name.clone(), |text| text.value);
    let required = section.boolean("required", false);
    let values = section.texts("values").unwrap_or_default().into_iter().map(|text| text.value).collect();
    let cause = cause(&mut section).unwrap_or(Cause::InvalidRequest);
    section.finish();
    GrantField { name, realm_name, required, values, cause }
}

fn cause(section: &mut Reader<'_>) -> Option<Cause> {
    section.word("cause", &Cause::ALL.map(|cause| (cause.word(), cause))).map(|word| word.value)
}

fn tokens(file: &mut Reader<'_>) -> Option<TokenRules> {
    let mut tokens = file.required_section("tokens")?;
    let shape = tokens.word("shape", &SHAPES).map_or(TokenShape::Uuid, |word| word.value);
    let token_type = tokens.text("type").map_or_else(|| "Bearer".to_owned(), |text| text.value);
    tokens.finish();

    let mut lifetimes = file.required_section("lifetimes")?;
    let mut duration = |key, absent: Duration| lifetimes.duration(key).map_or(absent, |found| found.value);
    let access_token = duration("access_token", Duration::from_hours(1));
    let refresh_grace = duration("refresh_grace", Duration::from_mins(1));
    let rounding = duration("rounding", Duration::from_secs(5));
    if access_token.as_secs() == 0 {
        lifetimes.bad_value("access_token", lifetimes.origin(), "at least one second");
    }
    lifetimes.finish();

    let mut reuse_ends_family = false;
    let mut refresh_ends_old_access = false;
    if let Some(mut refresh) = file.section("refresh") {
        reuse_ends_family = refresh.boolean("reuse_ends_family", false);
        refresh_ends_old_access = refresh.boolean("ends_old_access", false);
        refresh.finish();
    }
    Some(TokenRules {
        shape,
        token_type,
        access_token,
        refresh_grace,
        rounding,
        reuse_ends_family,
        refresh_ends_old_access,
    })
}

fn error_code(mut section: Reader<'_>) -> Option<ErrorCode> {
    let (header, token, revoke) =
        (section.required_text("header"), section.required_text("token"), section.required_text("revoke"));
    if let Some(text) = header.as_ref().filter(|text| HeaderName::try_from(&text.value).is_err()) {
        section.bad_value("header", &text.origin, "the name of an HTTP header");
    }
    section.finish();
    Some(ErrorCode { header: header?.value, token: token?.value, revoke: revoke?.value })
}

fn causes(mut section: Reader<'_>) -> Option<BTreeMap<Cause, CauseRow>> {
    let mut rows = BTreeMap::new();
    for cause in Cause::ALL {
        if !section.has(cause.word()) {
            let message = format!("the dialect has no answer for the cause `{}`", cause.word());
            let hint = format!("add [causes.{}] with status, error and code", cause.word());
            section.findings().error("cause-without-answer", section.origin(), message, hint);
        }
        if let Some(row) = section.section(cause.word()).and_then(cause_row) {
            rows.insert(cause, row);
        }
    }
    section.finish();
    (rows.len() == Cause::ALL.len()).then_some(rows)
}

fn cause_row(mut section: Reader<'_>) -> Option<CauseRow> {
    let status = section.integer("status", 400, 599);
    let error = section.required_text("error");
    let description = section.text("description").map(|text| text.value);
    let code = section.text("code").map(|text| text.value).unwrap_or_default();
    let headers = section.section("headers").map(headers).unwrap_or_default();
    if let Some(status) = &status
        && u16::try_from(status.value).ok().and_then(|status| StatusCode::from_u16(status).ok()).is_none()
    {
        section.bad_value("status", &status.origin, "an HTTP status from 400 to 599");
    }
    if status.is_none() && !section.has("status") {
        section.findings().error(
            "missing-key",
            section.origin(),
            format!("`{}` is missing or wrong", section.path("status")),
            "status = 400, or another from 400 to 599",
        );
    }
    section.finish();
    let status = u16::try_from(status?.value).ok()?;
    Some(CauseRow { status, error: error?.value, description, code, headers })
}

/// Headers of a reply, each checked to be one.
pub(super) fn headers(section: Reader<'_>) -> Vec<(String, String)> {
    let findings = section.findings();
    let fits = |(name, value): &(Spotted<String>, Spotted<String>)| {
        let good = HeaderName::try_from(&name.value).is_ok() && HeaderValue::try_from(&value.value).is_ok();
        if !good {
            findings.error(
                "bad-value",
                &value.origin,
                format!("`{}` is not an HTTP header with a value", name.value),
                "a name of letters, digits and hyphens, and a value on one line",
            );
        }
        good
    };
    let texts: Vec<_> = section.into_texts().into_iter().filter(fits).collect();
    texts.into_iter().map(|(name, value)| (name.value, value.value)).collect()
}

fn realm(mut section: Reader<'_>) -> RealmRules {
    let rows = section.sections("errors").into_iter().filter_map(realm_error).collect();
    let scopes = section.texts("scopes").map(|texts| texts.into_iter().map(|text| text.value).collect());
    let longest_session = section.duration("longest_session").map(|found| found.value);
    section.finish();
    RealmRules { errors: rows, scopes, longest_session }
}

fn realm_error(mut section: Reader<'_>) -> Option<RealmErrorRow> {
    let error = section.required_text("error");
    let description = section.text("description").map(|text| text.value);
    let grant = section.word("grant", &KINDS).map(|word| word.value);
    let there = section.has("cause");
    let cause = cause(&mut section);
    if !there {
        section.findings().error(
            "missing-key",
            section.origin(),
            format!("`{}` is missing", section.path("cause")),
            "say which cause it means: cause = \"resource_owner\", or another of the dialect's causes",
        );
    }
    let fault = section.word("fault", &FAULTS).map_or(Fault::Upstream, |word| word.value);
    let spent = section.boolean("spent", true);
    let our_credentials = section.boolean("our_credentials", false);
    section.finish();
    Some(RealmErrorRow { error: error?.value, description, grant, cause: cause?, fault, spent, our_credentials })
}
