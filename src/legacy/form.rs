//! `application/x-www-form-urlencoded`, read strictly: what is not well-formed is refused, never guessed.

use std::borrow::Cow;

use crate::domain::form::Form;

/// More parameters than any legacy client sends.
const MOST_PARAMETERS: usize = 64;

/// Why a form cannot be read. One sentence for the log.
pub type Unreadable = &'static str;

/// Reads a body or a query.
///
/// # Errors
/// A broken percent-escape, text that is not UTF-8, or too many parameters.
pub fn parse(bytes: &[u8]) -> Result<Form, Unreadable> {
    let mut form = Form::default();
    for pair in bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let name = decode(halves.next().unwrap_or_default())?;
        let value = decode(halves.next().unwrap_or_default())?;
        if form.len() == MOST_PARAMETERS {
            return Err("the form has more than 64 parameters");
        }
        form.push(name, value);
    }
    Ok(form)
}

/// Turns `+` and percent-escapes back, and insists that every escape is whole and the text is UTF-8.
///
/// # Errors
/// As [`parse`].
pub fn decode(bytes: &[u8]) -> Result<String, Unreadable> {
    let whole =
        |index: usize| bytes.get(index + 1..index + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if bytes.iter().enumerate().any(|(index, byte)| *byte == b'%' && !whole(index)) {
        return Err("the form has a broken percent-escape");
    }
    let spaced: Cow<'_, [u8]> = if bytes.contains(&b'+') {
        bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect()
    } else {
        bytes.into()
    };
    let decoded: Vec<u8> = percent_encoding::percent_decode(&spaced).collect();
    String::from_utf8(decoded).map_err(|_| "the form is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_base64_survive_when_they_are_escaped_in_either_case() {
        let form = parse(b"signature=a%2Bb%2fc%3D&scope=x+y").unwrap();
        assert_eq!(form.value("signature"), Some("a+b/c="));
        assert_eq!(form.value("scope"), Some("x y"));
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for bad in [b"a=%".as_slice(), b"a=%2", b"a=%zz", b"%=1", b"a=%ff", b"a=\xff"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse("a=1&".repeat(65).as_bytes()).is_err());
    }

    #[test]
    fn an_empty_value_counts_as_not_sent_and_a_duplicate_is_seen() {
        let form = parse(b"a=&b=1&&b=2").unwrap();
        assert_eq!(form.value("a"), None);
        assert_eq!(form.duplicate(), Some("b"));
    }
}
