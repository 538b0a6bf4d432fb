//! `application/x-www-form-urlencoded`, read strictly: what is not well-formed is refused, never guessed.

use std::mem;

use memchr::{memchr, memchr_iter, memchr2};

use crate::domain::form::Form;
use crate::domain::wiped::Wiped;

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
    let mut rest = bytes;
    while !rest.is_empty() {
        let (pair, after) = cut(rest, b'&');
        rest = after;
        if pair.is_empty() {
            continue;
        }
        if form.len() == MOST_PARAMETERS {
            return Err("the form has more than 64 parameters");
        }
        let (name, value) = cut(pair, b'=');
        form.push(decode(name)?, decode(value)?);
    }
    Ok(form)
}

/// What stands before the first of these signs, and what behind it.
fn cut(bytes: &[u8], sign: u8) -> (&[u8], &[u8]) {
    match memchr(sign, bytes).and_then(|at| bytes.split_at_checked(at)) {
        Some((before, [_sign, after @ ..])) => (before, after),
        Some((before, [])) => (before, &[]),
        None => (bytes, &[]),
    }
}

/// Turns `+` and percent-escapes back, and insists that every escape is whole and the text is UTF-8.
///
/// # Errors
/// As [`parse`].
pub fn decode(bytes: &[u8]) -> Result<String, Unreadable> {
    // A signature is long and mostly plain: what lies between two escapes is copied whole. The text gets the room that it needs at
    // once, because a copy that grows leaves unwiped ones behind.
    let escapes = memchr_iter(b'%', bytes).count();
    let mut decoded = Wiped::new(Vec::with_capacity(bytes.len().saturating_sub(escapes * 2)));
    let mut rest = bytes;
    while let Some((plain, special)) = memchr2(b'%', b'+', rest).and_then(|at| rest.split_at_checked(at)) {
        decoded.extend_from_slice(plain);
        rest = match special {
            [b'+', after @ ..] => {
                decoded.push(b' ');
                after
            }
            [_, high, low, after @ ..] => {
                decoded.push(hexadecimal(*high, *low).ok_or(BROKEN_ESCAPE)?);
                after
            }
            _ => return Err(BROKEN_ESCAPE),
        };
    }
    decoded.extend_from_slice(rest);
    String::from_utf8(mem::take(&mut *decoded)).map_err(|error| {
        *decoded = error.into_bytes();
        "the form is not UTF-8"
    })
}

const BROKEN_ESCAPE: Unreadable = "the form has a broken percent-escape";

fn hexadecimal(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
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
