//! Reads the `[reply]` table of a dialect: bytes around values.

use http::HeaderValue;

use super::dialect::headers;
use crate::document::Reader;
use crate::domain::dialect::{Layout, Member, Piece, Slot};

/// Reads the layout. `None`: something is missing, and the findings say what.
pub(super) fn read(mut section: Reader<'_>) -> Option<Layout> {
    let content_type = section.required_text("content_type");
    if let Some(text) = content_type.as_ref().filter(|text| HeaderValue::try_from(&text.value).is_err()) {
        section.bad_value("content_type", &text.origin, "a media type");
    }
    let headers = section.section("headers").map(headers).unwrap_or_default();
    let line_end = section.text("line_end").map(|text| text.value).unwrap_or_default();
    let indent = section.text("indent").map(|text| text.value).unwrap_or_default();
    let mut members = |key| list(&mut section, key);
    let (token, error, revoked) = (members("token"), members("error"), members("revoked"));
    let (active, inactive) = (members("active"), members("inactive"));
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

fn list(section: &mut Reader<'_>, key: &'static str) -> Option<Vec<Member>> {
    if !section.has(key) {
        section.missing(key, format!("list what the reply says, in its order: {key} = [...]"));
    }
    let texts = section.texts(key)?;
    let mut members = Vec::with_capacity(texts.len());
    for text in texts {
        match member(&text.value) {
            Ok(member) => members.push(member),
            Err(word) => {
                let known = Slot::WORDS.map(|(word, _)| word).join(", ");
                let message = format!("`{}` has no value `{{{word}}}`", section.path(key));
                section.findings().error("unknown-value", &text.origin, message, format!("known here: {known}"));
            }
        }
    }
    Some(members)
}

/// Splits `"expires_in":{expires_in}` into its pieces. Braces that hold no word of small letters are text.
///
/// # Errors
/// The word between braces that is no value.
fn member(text: &str) -> Result<Member, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((word, behind)) = after.split_once('}') else { break };
        let slot = Slot::WORDS
            .iter()
            .find(|(known, _)| *known == word)
            .map(|(_, slot)| *slot)
            .ok_or_else(|| word.to_owned())?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(Piece::Value(slot));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(Member(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_split_into_text_and_values() {
        let text = |text: &str| Piece::Text(text.to_owned());
        assert_eq!(member("\"a\": {scope}"), Ok(Member(vec![text("\"a\": "), Piece::Value(Slot::Scope)])));
        assert_eq!(member("\"result\":\"revoked\""), Ok(Member(vec![text("\"result\":\"revoked\"")])));
        assert_eq!(member("{nonsense}"), Err("nonsense".to_owned()));
        assert_eq!(member("\"open\":\"{\""), Ok(Member(vec![text("\"open\":\"{\"")])));
    }
}
