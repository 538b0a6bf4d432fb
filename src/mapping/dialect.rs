//! Reads a dialect file (`mappings/dialects/*.toml`) into a [`Dialect`]. Everything in it is checked here, once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, header};

use super::{grants, layout};
use crate::document::{Findings, Origin, Reader, Spotted, Table};
use crate::domain::dialect::{
    CauseRow, CredentialFields, Dialect, Endpoint, Endpoints, ErrorCode, GrantKind, Layout, RealmErrorRow, RealmRules,
    TokenRules,
};
use crate::domain::opaque::TokenShape;
use crate::domain::refusal::{Cause, Fault};

pub(super) const KINDS: [(&str, GrantKind); 2] = [("login", GrantKind::Login), ("refresh", GrantKind::Refresh)];
const SHAPES: [(&str, TokenShape); 2] = [("uuid", TokenShape::Uuid), ("uuid-epoch", TokenShape::UuidEpoch)];

/// Parameters that mean something else at an endpoint.
const MEANT: [&str; 3] = ["grant_type", "token", "token_type_hint"];
/// Headers of an answer that HTTP has a meaning for (RFC 9110, 9111, 9112; 6265), which an error's number is not.
const SPOKEN: [HeaderName; 14] = [
    header::ALLOW,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::DATE,
    header::EXPIRES,
    header::LOCATION,
    header::PRAGMA,
    header::RETRY_AFTER,
    header::SET_COOKIE,
    header::TRAILER,
    header::UPGRADE,
    header::VARY,
    header::WWW_AUTHENTICATE,
];

/// How long an access UUID may be promised to live.
const PROMISES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 366);

/// A dialect, and where its file says what its paths are.
pub(super) struct Placed {
    pub(super) dialect: Dialect,
    pub(super) paths: [Path; 3],
}

/// The path of an endpoint.
pub(super) struct Path {
    pub(super) key: &'static str,
    pub(super) endpoint: Endpoint,
    pub(super) text: Spotted<String>,
}

/// Reads the dialect of this name. `None`: something is wrong, and the findings say what.
pub fn read(name: &str, table: Table, findings: &Findings) -> Option<Dialect> {
    placed(name, table, findings).map(|placed| placed.dialect)
}

/// The same, with where its paths stand.
pub(super) fn placed(name: &str, table: Table, findings: &Findings) -> Option<Placed> {
    let mut file = Reader::new(table, "", findings);
    let paths = file.required_section("endpoints").and_then(endpoints);
    let credentials = file.required_section("credentials").and_then(credentials);
    let grants = file.required_section("grants").map(|section| grants::read(section, credentials.as_ref()));
    let tokens = tokens(&mut file);
    let layout = file.required_section("reply").and_then(layout::read);
    let causes = file.required_section("causes").and_then(causes);
    let error_code = file.section("error_code");
    let error_code = error_code.and_then(|section| numbered(section, layout.as_ref(), causes.as_ref()));
    let realm = file.section("realm").map(realm).unwrap_or_default();
    file.finish();
    let paths = paths?;
    let [token, revoke, introspect] = paths.each_ref().map(|path| path.text.value.clone());
    let dialect = Dialect {
        name: name.to_owned(),
        endpoints: Endpoints { token, revoke, introspect },
        credentials: credentials?,
        grants: grants?,
        tokens: tokens?,
        layout: layout?,
        error_code,
        causes: causes?,
        realm,
    };
    Some(Placed { dialect, paths })
}

fn endpoints(mut section: Reader<'_>) -> Option<[Path; 3]> {
    let mut path = |key, endpoint| {
        let text = section.required_text(key)?;
        let is_sent_so = text.value.bytes().all(|byte| byte.is_ascii_graphic());
        if !text.value.starts_with('/') {
            section.bad_value(key, &text.origin, "a path that begins with `/`");
        } else if text.value.contains(['?', '#']) {
            section.bad_value(key, &text.origin, "a path alone, without `?` and `#`");
        } else if !is_sent_so || PathAndQuery::try_from(&text.value).is_err() {
            section.bad_value(key, &text.origin, "a path as requests carry it: other signs as percent-escapes");
        } else {
            return Some(Path { key, endpoint, text });
        }
        None
    };
    let (token, revoke) = (path("token", Endpoint::Token), path("revoke", Endpoint::Revoke));
    let introspect = path("introspect", Endpoint::Introspect);
    let paths = [token, revoke, introspect];
    let mut clashes = false;
    for (index, later) in paths.iter().enumerate() {
        let is_same = |earlier: &&Path| Some(&earlier.text.value) == later.as_ref().map(|later| &later.text.value);
        if let Some(later) = later
            && let Some(earlier) = paths.iter().take(index).flatten().find(is_same)
        {
            clash(later, &format!("`{}`", section.path(earlier.key)), section.findings());
            clashes = true;
        }
    }
    section.finish();
    let [token, revoke, introspect] = paths;
    (!clashes).then_some([token?, revoke?, introspect?])
}

/// Says that a path is an endpoint already.
pub(super) fn clash(path: &Path, other: &str, findings: &Findings) {
    let message = format!("`endpoints.{}` is the path of {other}", path.key);
    findings.error("endpoint-clash", &path.text.origin, message, "give each endpoint a path of its own");
}

fn credentials(mut section: Reader<'_>) -> Option<CredentialFields> {
    let (id, secret) = (section.required_text("id"), section.required_text("secret"));
    for (key, text) in [("id", &id), ("secret", &secret)] {
        let Some(text) = text else { continue };
        if text.value.is_empty() {
            section.bad_value(key, &text.origin, "a name of a parameter");
        } else if MEANT.contains(&text.value.as_str()) {
            section.bad_value(key, &text.origin, "a name of its own");
        }
    }
    if let (Some(id), Some(secret)) = (&id, &secret)
        && id.value == secret.value
    {
        section.bad_value("secret", &secret.origin, "a name of its own");
    }
    section.finish();
    Some(CredentialFields { id: id?.value, secret: secret?.value })
}

pub(super) fn cause(section: &mut Reader<'_>) -> Option<Cause> {
    section.word("cause", &Cause::ALL.map(|cause| (cause.word(), cause))).map(|word| word.value)
}

fn tokens(file: &mut Reader<'_>) -> Option<TokenRules> {
    let mut tokens = file.required_section("tokens")?;
    let shape = tokens.word("shape", &SHAPES).map_or(TokenShape::Uuid, |word| word.value);
    let token_type = tokens.text("type").map_or_else(|| "Bearer".to_owned(), |text| text.value);
    tokens.finish();

    let mut lifetimes = file.required_section("lifetimes")?;
    let access_token = promised(&mut lifetimes, "access_token").map_or(Duration::from_hours(1), |found| found.value);
    let (absent, most) = (Duration::from_mins(1), Duration::from_hours(24));
    let refresh_grace = lifetimes.duration_within("refresh_grace", absent, Duration::ZERO, most);
    // What misses is ours to carry: a token without a JWT behind it, so long.
    let (absent, most) = (Duration::from_secs(5), Duration::from_mins(5));
    let rounding = lifetimes.duration_within("rounding", absent, Duration::ZERO, most);
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

/// A promise, of the dialect or of one client.
pub(super) fn promised(section: &mut Reader<'_>, key: &'static str) -> Option<Spotted<Duration>> {
    let found = section.duration(key)?;
    if !PROMISES.contains(&found.value) {
        section.bad_value(key, &found.origin, "between one second and 366 days");
    }
    Some(found)
}

/// `layout` and `causes` have headers of their own.
fn numbered(
    mut section: Reader<'_>,
    layout: Option<&Layout>,
    causes: Option<&BTreeMap<Cause, CauseRow>>,
) -> Option<ErrorCode> {
    let (header, token, revoke) =
        (section.required_text("header"), section.required_text("token"), section.required_text("revoke"));
    if let Some(text) = &header {
        let further = causes.into_iter().flat_map(BTreeMap::values).flat_map(|row| &row.headers);
        let mut others = layout.into_iter().flat_map(|layout| &layout.headers).chain(further);
        let name = HeaderName::try_from(&text.value);
        if name.is_err() {
            section.bad_value("header", &text.origin, "the name of an HTTP header");
        } else if ours(text, &text.origin, section.findings())
            && (name.is_ok_and(|name| SPOKEN.contains(&name))
                || others.any(|(other, _)| other.eq_ignore_ascii_case(&text.value)))
        {
            section.bad_value("header", &text.origin, "a header that says nothing else");
        }
    }
    for (key, text) in [("token", &token), ("revoke", &revoke)] {
        digits(key, text.as_ref(), &section);
    }
    section.finish();
    Some(ErrorCode { header: header?.value, token: token?.value, revoke: revoke?.value })
}

/// A part of an error code stands in a header.
fn digits(key: &str, text: Option<&Spotted<String>>, section: &Reader<'_>) {
    if let Some(text) = text.filter(|text| !text.value.bytes().all(|byte| byte.is_ascii_graphic())) {
        section.bad_value(key, &text.origin, "digits, or other signs that may stand in a header");
    }
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
    section.demand("status", "status = 400, or another from 400 to 599");
    let status = section.integer("status", 400, 599);
    let error = section.required_text("error");
    let description = section.text("description").map(|text| text.value);
    let code = section.text("code");
    digits("code", code.as_ref(), &section);
    let headers = section.section("headers").map(headers).unwrap_or_default();
    section.finish();
    let status = u16::try_from(status?.value).ok()?;
    let code = code.map(|text| text.value).unwrap_or_default();
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
        good && ours(name, &value.origin, findings)
    };
    let texts: Vec<_> = section.into_texts().into_iter().filter(fits).collect();
    texts.into_iter().map(|(name, value)| (name.value, value.value)).collect()
}

/// Whether a header may be the dialect's: its bytes are counted by the bridge.
fn ours(name: &Spotted<String>, origin: &Origin, findings: &Findings) -> bool {
    let known = HeaderName::try_from(&name.value).ok();
    let is = |header| known == Some(header);
    let hint = if is(header::CONTENT_LENGTH) || is(header::TRANSFER_ENCODING) {
        "leave it out: the bridge counts the body and sets it"
    } else if is(header::CONTENT_TYPE) {
        "say it as `reply.content_type`"
    } else {
        return true;
    };
    let message = format!("`{}` is not a header of the dialect's own", name.value);
    findings.error("bad-value", origin, message, hint);
    false
}

fn realm(mut section: Reader<'_>) -> RealmRules {
    let findings = section.findings();
    let mut rows: Vec<RealmErrorRow> = Vec::new();
    for reader in section.sections("errors") {
        let origin = reader.origin().clone();
        let Some(row) = realm_error(reader) else { continue };
        let mut kinds = KINDS.iter().map(|(_, kind)| *kind).filter(|kind| row.grant.is_none_or(|grant| grant == *kind));
        // Of two earlier rows each may take one kind.
        if kinds.all(|kind| rows.iter().any(|earlier| takes_all(earlier, &row, kind))) {
            let message = "an earlier row takes every error that this one is for".to_owned();
            let hint = "put it above: of two rows that fit, the first decides";
            findings.warning("unreachable-row", &origin, message, hint);
        }
        rows.push(row);
    }
    let scopes = section.texts_or_none("scopes").map(|texts| texts.into_iter().map(|text| text.value).collect());
    let longest_session = section.duration("longest_session").map(|found| found.value);
    section.finish();
    RealmRules { errors: rows, scopes, longest_session }
}

/// Whether a row fits whatever a later one fits at grants of this kind.
fn takes_all(earlier: &RealmErrorRow, later: &RealmErrorRow, kind: GrantKind) -> bool {
    let contains = |part: &String| later.description.as_ref().is_some_and(|whole| whole.contains(part));
    earlier.error == later.error
        && earlier.description.as_ref().is_none_or(contains)
        && earlier.grant.is_none_or(|grant| grant == kind)
}

fn realm_error(mut section: Reader<'_>) -> Option<RealmErrorRow> {
    let error = section.required_text("error");
    let description = section.text("description").map(|text| text.value);
    let grant = section.word("grant", &KINDS).map(|word| word.value);
    let hint = "say which cause it means: cause = \"resource_owner\", or another of the dialect's causes";
    section.demand("cause", hint);
    let cause = cause(&mut section);
    let fault = section
        .word("fault", &Fault::ALL.map(|fault| (fault.word(), fault)))
        .map_or(Fault::Upstream, |word| word.value);
    let spent = section.boolean("spent", true);
    let our_credentials = section.boolean("our_credentials", false);
    section.finish();
    Some(RealmErrorRow { error: error?.value, description, grant, cause: cause?, fault, spent, our_credentials })
}

/// One that is shipped, for tests.
#[cfg(test)]
pub(crate) fn shipped(name: &str) -> std::sync::Arc<Dialect> {
    let text = match name {
        "otk-passport" => include_str!("../../mappings/dialects/otk-passport.toml"),
        "otk-old" => include_str!("../../mappings/dialects/otk-old.toml"),
        _ => panic!("no dialect {name} is shipped"),
    };
    let findings = Findings::new();
    let table = crate::document::parse(name, text, &findings).unwrap();
    std::sync::Arc::new(read(name, table, &findings).unwrap())
}
