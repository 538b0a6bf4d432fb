//! Reads the `[reply]` table of a dialect: bytes around values.

use std::collections::BTreeSet;

use http::HeaderValue;

use super::dialect::headers;
use crate::document::{Findings, Origin, Reader};
use crate::domain::dialect::{Layout, Member, Piece, Slot};

/// What each reply can say.
const TOKEN: &[Slot] =
    &[Slot::GrantType, Slot::AccessToken, Slot::RefreshToken, Slot::TokenType, Slot::ExpiresIn, Slot::Scope];
const ERROR: &[Slot] = &[Slot::Error, Slot::ErrorDescription];
const ACTIVE: &[Slot] =
    &[Slot::Scope, Slot::ClientId, Slot::Username, Slot::Subject, Slot::TokenType, Slot::Exp, Slot::Iat];
const NOTHING: &[Slot] = &[];

/// Reads the layout. `None`: something is missing, and the findings say what.
pub(super) fn read(mut section: Reader<'_>) -> Option<Layout> {
    let content_type = section.required_text("content_type");
    let is_media_type = |text: &str| text.contains('/') && HeaderValue::try_from(text).is_ok();
    if let Some(text) = content_type.as_ref().filter(|text| !is_media_type(&text.value)) {
        section.bad_value("content_type", &text.origin, "a media type");
    }
    let headers = section.section("headers").map(headers).unwrap_or_default();
    let is_json = content_type.as_ref().is_some_and(|text| text.value.to_ascii_lowercase().contains("json"));
    let line_end = between(&mut section, "line_end", is_json);
    let indent = between(&mut section, "indent", is_json);
    let mut members = |key, known| list(&mut section, key, known, is_json);
    let (token, error, revoked) = (members("token", TOKEN), members("error", ERROR), members("revoked", NOTHING));
    let (active, inactive) = (members("active", ACTIVE), members("inactive", NOTHING));
    section.finish();
    Some(Layout {
        content_type: content_type?.value,
        headers,
        line_end,
        indent,
        token: token?,
        error: error?,
        revoked: revoked?,
        active: active?,
        inactive: inactive?,
    })
}

/// What stands between members.
fn between(section: &mut Reader<'_>, key: &'static str, is_json: bool) -> String {
    let Some(text) = section.text(key) else { return String::new() };
    if is_json && text.value.contains(|sign| !matches!(sign, ' ' | '\t' | '\r' | '\n')) {
        section.bad_value(key, &text.origin, "made of blanks and line ends, as JSON has between members");
    }
    text.value
}

/// A list of members, which may say what is known.
fn list(section: &mut Reader<'_>, key: &'static str, known: &[Slot], is_json: bool) -> Option<Vec<Member>> {
    section.demand(key, format_args!("list what the reply says, in its order: {key} = [...]"));
    let (path, findings, whole) = (section.path(key), section.findings(), section.origin_of(key));
    let texts = section.texts_or_none(key)?;
    let wanted = texts.len();
    let (mut members, mut names) = (Vec::with_capacity(wanted), BTreeSet::new());
    for text in texts {
        match member(&text.value, known) {
            Ok(member) => {
                if is_json {
                    tell_broken(&member, &mut names, (&path, &text.origin), findings);
                }
                members.push(member);
            }
            Err(word) => {
                let message = format!("`{path}` has no value `{{{word}}}`");
                findings.error("unknown-value", &text.origin, message, said_by(known));
            }
        }
    }
    let says_it = |member: &Member| member.0.contains(&Piece::Value(Slot::AccessToken));
    if known.contains(&Slot::AccessToken) && members.len() == wanted && !members.iter().any(says_it) {
        let message = format!("`{path}` has no `{{access_token}}`: nobody would get one");
        findings.error("broken-reply", &whole?, message, "add '\"access_token\":{access_token}'");
    }
    Some(members)
}

fn said_by(known: &[Slot]) -> String {
    let words = Slot::WORDS.iter().filter(|(_, slot)| known.contains(slot)).map(|(word, _)| *word);
    let words = words.collect::<Vec<_>>().join(", ");
    if words.is_empty() { "nothing but text stands here".to_owned() } else { format!("known here: {words}") }
}

/// Tells a member that is no JSON once its values are written, and a name that comes again.
fn tell_broken(member: &Member, names: &mut BTreeSet<String>, (path, origin): (&str, &Origin), findings: &Findings) {
    let written: String = member.0.iter().map(sample).collect();
    let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&format!("{{{written}}}"));
    let Some(object) = object.ok().filter(|object| !object.is_empty()) else {
        let message = format!("this member of `{path}` makes no JSON");
        let hint = "write '\"name\":{value}': a text brings its own quotes, and a comma comes by itself";
        return findings.error("broken-reply", origin, message, hint);
    };
    for (name, _) in object {
        if let Some(name) = names.replace(name) {
            let message = format!("`{path}` says `{name}` twice");
            findings.error("broken-reply", origin, message, "leave one of the two");
        }
    }
}

/// A piece as a reply could have it.
fn sample(piece: &Piece) -> &str {
    match piece {
        Piece::Text(text) => text,
        Piece::Value(Slot::ExpiresIn | Slot::Exp | Slot::Iat) => "0",
        Piece::Value(
            Slot::GrantType
            | Slot::AccessToken
            | Slot::RefreshToken
            | Slot::TokenType
            | Slot::Scope
            | Slot::Error
            | Slot::ErrorDescription
            | Slot::ClientId
            | Slot::Username
            | Slot::Subject,
        ) => "\"\"",
    }
}

/// Splits `"expires_in":{expires_in}` into its pieces. Braces that hold no word of small letters are text.
///
/// # Errors
/// The word between braces that is none of the values.
fn member(text: &str, known: &[Slot]) -> Result<Member, String> {
    let mut pieces = Vec::new();
    let (mut plain, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        plain.push_str(before);
        let word = after.split_once('}').filter(|(word, _)| is_word(word));
        let Some((word, behind)) = word else {
            plain.push('{');
            rest = after;
            continue;
        };
        let slot = Slot::WORDS.iter().find(|(name, slot)| *name == word && known.contains(slot));
        let (_, slot) = slot.ok_or_else(|| word.to_owned())?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Value(*slot));
        rest = behind;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(Member(pieces))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_split_into_text_and_values() {
        let member = |text| member(text, TOKEN);
        let text = |text: &str| Piece::Text(text.to_owned());
        assert_eq!(member("\"a\": {scope}"), Ok(Member(vec![text("\"a\": "), Piece::Value(Slot::Scope)])));
        assert_eq!(member("\"result\":\"revoked\""), Ok(Member(vec![text("\"result\":\"revoked\"")])));
        assert_eq!(member("{nonsense}"), Err("nonsense".to_owned()));
        assert_eq!(member("{username}"), Err("username".to_owned()), "of another reply");
        assert_eq!(member("\"open\":\"{\""), Ok(Member(vec![text("\"open\":\"{\"")])));
        let inner = vec![text("\"a\":{\"b\":["), Piece::Value(Slot::Scope), text("],\"c\":{}}")];
        assert_eq!(member("\"a\":{\"b\":[{scope}],\"c\":{}}"), Ok(Member(inner)), "braces of JSON");
    }
}
