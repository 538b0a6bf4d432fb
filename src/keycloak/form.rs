//! `application/x-www-form-urlencoded`, written as the URL standard has it. Pure.

use crate::domain::wiped::Wiped;

/// A form of these names and values. It has the room that it needs from the beginning, because a text that grows leaves copies
/// behind that nobody wipes.
pub(super) fn written<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str), IntoIter: Clone>) -> Wiped<String> {
    let pairs = pairs.into_iter();
    let room = pairs.clone().map(|(name, value)| escaped_length(name) + escaped_length(value) + 2).sum();
    let mut form = Wiped::new(String::with_capacity(room));
    for (name, value) in pairs {
        if !form.is_empty() {
            form.push('&');
        }
        escape(name, &mut form);
        form.push('=');
        escape(value, &mut form);
    }
    form
}

/// Which bytes stand for themselves; a table, because each byte of a signature is looked up.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0_u8;
    while byte.is_ascii() {
        plain[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'-' | b'.' | b'_');
        byte += 1;
    }
    plain
};

/// How long a text becomes, at most. Counted in small numbers, of which the machine adds many at once.
fn escaped_length(text: &str) -> usize {
    let escapes = |bytes: &[u8]| bytes.iter().fold(0_u8, |count, byte| count + u8::from(!byte.is_ascii_alphanumeric()));
    text.len() + 2 * text.as_bytes().chunks(128).map(|bytes| usize::from(escapes(bytes))).sum::<usize>()
}

/// A signature is long and mostly plain: what lies between two escapes is copied whole.
fn escape(text: &str, form: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| !PLAIN[usize::from(byte)]) {
        let Some((plain, special)) = rest.split_at_checked(at) else { break };
        form.push_str(plain);
        let length = special.chars().next().map_or(0, char::len_utf8);
        let Some((sign, after)) = special.split_at_checked(length) else { break };
        match sign {
            " " => form.push('+'),
            sign => sign.bytes().for_each(|byte| escape_byte(byte, form)),
        }
        rest = after;
    }
    form.push_str(rest);
}

fn escape_byte(byte: u8, form: &mut String) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    form.extend(['%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_the_url_standard_has_it() {
        let every_byte: String = (0..=0x24F).filter_map(char::from_u32).collect();
        let pairs = [
            ("certificate", "MicexPassportCert=="),
            ("signature", "ab+c/d=\n"),
            ("имя со знаками&=%", "Пётр \u{10FFFF}"),
            ("empty", ""),
            ("", "+ +"),
            ("all", &every_byte),
        ];
        let known = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let form = written(pairs);
        assert_eq!(*form, known);
        assert!(form.capacity() < known.len() + 200, "and takes the room that it needs");
    }

    #[test]
    fn a_form_never_grows_beyond_the_room_it_took() {
        let text = "a+/=%ü ".repeat(700);
        let room = escaped_length(&text) + escaped_length("signature") + 2;
        assert_eq!(written([("signature", text.as_str())]).capacity(), room);
    }
}
