//! What the run has learned: which UUID stands now where the capture had another. Pure.

use std::collections::HashMap;

use serde_json::Value;

use super::template::{Piece, lengths, pieces, uuid_at};
use super::wire::{EMPTY_LINE, Reply, chunked, halves, unchunked};

/// UUIDs of the capture and of now.
#[derive(Default)]
pub(super) struct Learned {
    now: HashMap<Vec<u8>, Vec<u8>>,
    /// Those of now, by the one of the capture that each stands for.
    was: HashMap<Vec<u8>, Vec<u8>>,
    /// The newest pair that was handed out.
    access: Option<Vec<u8>>,
    refresh: Option<Vec<u8>>,
}

impl Learned {
    /// What stands now in the place of a captured UUID.
    pub(super) fn now(&self, captured: &[u8]) -> Option<&[u8]> {
        self.now.get(captured).map(Vec::as_slice)
    }

    /// This UUID stands now in the place of that one.
    pub(super) fn learn(&mut self, captured: &[u8], now: &[u8]) {
        self.now.entry(captured.to_vec()).or_insert_with(|| now.to_vec());
        self.was.entry(now.to_vec()).or_insert_with(|| captured.to_vec());
    }

    /// This UUID stands now in the place of another captured one.
    pub(super) fn is_taken(&self, captured: &[u8], now: &[u8]) -> bool {
        self.was.get(now).is_some_and(|was| was != captured)
    }

    /// Remembers what a reply handed out.
    pub(super) fn newest_of(&mut self, reply: &Reply) {
        let Ok(body) = serde_json::from_slice::<Value>(&reply.body) else { return };
        for (name, newest) in [("access_token", &mut self.access), ("refresh_token", &mut self.refresh)] {
            let token = body[name].as_str().map(str::as_bytes);
            if let Some(token) = token.filter(|token| uuid_at(token).is_some_and(|uuid| uuid.len() == token.len())) {
                *newest = Some(token.to_vec());
            }
        }
    }

    /// A captured request as it is sent now. Its length is told anew where a UUID has become longer or shorter.
    ///
    /// # Errors
    /// It has a place for something that this run does not know.
    pub(super) fn filled(&self, request: &[u8]) -> Result<Vec<u8>, String> {
        let (head, body) = halves(request);
        let whole = unchunked(head, body);
        let head = self.replaced(head)?;
        if let Some(whole) = whole {
            let filled = self.replaced(&whole)?;
            // In the chunks that it had, unless something in them has become another.
            let body = if filled == whole { body.to_vec() } else { chunked(&filled) };
            return Ok([&head, EMPTY_LINE, &body].concat());
        }
        let filled = self.replaced(body)?;
        // As it stands in the file, or with a UUID of either shape in each place.
        let (shortest, longest) = lengths(body);
        let is_right = |told: usize| told == body.len() || told >= shortest && longest.is_none_or(|most| told <= most);
        let lines: Vec<Vec<u8>> = head
            .split(|byte| *byte == b'\n')
            .map(|line| match length_told(line) {
                Some(told) if told != filled.len() && is_right(told) => {
                    let end = if line.ends_with(b"\r") { "\r" } else { "" };
                    format!("Content-Length: {}{end}", filled.len()).into_bytes()
                }
                Some(_) | None => line.to_vec(),
            })
            .collect();
        Ok([lines.join(&b'\n').as_slice(), EMPTY_LINE, &filled].concat())
    }

    fn replaced(&self, text: &[u8]) -> Result<Vec<u8>, String> {
        let mut replaced = Vec::with_capacity(text.len());
        for piece in pieces(text) {
            let value = match piece {
                Piece::Text(text) => Some(text),
                Piece::Captured(uuid) => Some(self.now(uuid).unwrap_or(uuid)),
                Piece::Uuid(b"access") => self.access.as_deref(),
                Piece::Uuid(b"refresh") => self.refresh.as_deref(),
                Piece::Uuid(_) | Piece::Any(_) => None,
            };
            let (Piece::Uuid(name) | Piece::Any(name) | Piece::Captured(name) | Piece::Text(name)) = piece;
            let unknown =
                || format!("it needs `{}`, which no reply before it has given", String::from_utf8_lossy(name));
            replaced.extend_from_slice(value.ok_or_else(unknown)?);
        }
        Ok(replaced)
    }
}

/// What a line of a head says of the body's length.
fn length_told(line: &[u8]) -> Option<usize> {
    let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
    let value = value.trim();
    let is_one = name.eq_ignore_ascii_case("content-length") && value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|_| is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "b018f31a-c2ef-4274-9fc8-7e3bf99dd3ba";
    const NEW: &str = "304554d8-d1c0-45d5-935b-02f886104a79";

    #[test]
    fn a_request_has_the_new_uuid_and_the_length_of_what_is_sent() {
        let mut learned = Learned::default();
        let long = format!("{OLD}-1700000000");
        learned.learn(long.as_bytes(), NEW.as_bytes());
        let request = |token: &str, length: usize| {
            format!("POST /t HTTP/1.1\r\nHost: a\r\ncontent-length:{length}\r\nX: {token}\r\n\r\ntoken={token}")
        };
        let filled = String::from_utf8(learned.filled(request(&long, 53).as_bytes()).unwrap()).unwrap();
        assert_eq!(filled, request(NEW, 42).replace("content-length:42", "Content-Length: 42"));
        // A length that was wrong is part of what was captured.
        let odd = request("none", 3);
        assert_eq!(learned.filled(odd.as_bytes()).unwrap(), odd.as_bytes());
    }

    #[test]
    fn a_place_is_filled_whole_whichever_shape_of_uuid_the_length_counts() {
        let long = format!("{NEW}-1700000000");
        let mut learned = Learned::default();
        let body = format!("{{\"access_token\":\"{long}\",\"refresh_token\":\"{NEW}\"}}").into_bytes();
        learned.newest_of(&Reply { status: 200, headers: Vec::new(), body });
        let form = |access: &str, refresh: &str| format!("token={access}&x={refresh}");
        let request = |length: usize, form: &str| {
            [
                b"POST /t HTTP/1.1\r\nX: \xe9\r\nContent-Length: ".as_slice(),
                format!("{length}\r\n\r\n{form}").as_bytes(),
            ]
            .concat()
        };
        let (raw, sent) = (form("{{uuid access}}", "{{uuid refresh}}"), form(&long, NEW));
        for length in [form(OLD, OLD).len(), form(OLD, OLD).len() + 11, form(OLD, OLD).len() + 22, raw.len()] {
            assert_eq!(learned.filled(&request(length, &raw)).unwrap(), request(sent.len(), &sent), "{length}");
        }
        // A length that was wrong is part of what was captured.
        for length in [raw.len() - 1, sent.len() + 12] {
            assert_eq!(learned.filled(&request(length, &raw)).unwrap(), request(length, &sent), "{length}");
        }
    }

    #[test]
    fn a_uuid_that_lies_in_two_chunks_is_another_one_now_too() {
        let mut learned = Learned::default();
        let (begin, end) = OLD.split_at(10);
        let head = "POST /t HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        let request = format!("{head}10\r\ntoken={begin}\r\n1a\r\n{end}\r\n0\r\n\r\n");
        assert_eq!(learned.filled(request.as_bytes()).unwrap(), request.as_bytes(), "nothing is another");
        learned.learn(OLD.as_bytes(), NEW.as_bytes());
        let filled = learned.filled(request.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(filled).unwrap(), format!("{head}2a\r\ntoken={NEW}\r\n0\r\n\r\n"));
        // Chunks that do not fit are part of what was captured.
        let odd = request.replace("1a", "1b");
        assert_eq!(learned.filled(odd.as_bytes()).unwrap(), odd.as_bytes());
    }

    #[test]
    fn places_take_the_newest_pair_and_others_cannot_be_filled() {
        let mut learned = Learned::default();
        let request = b"GET /?t={{uuid access}} HTTP/1.1\r\n\r\n";
        assert!(learned.filled(request).unwrap_err().contains("`access`"));
        let body = format!("{{\"access_token\":\"{NEW}\",\"refresh_token\":\"no uuid\"}}").into_bytes();
        learned.newest_of(&Reply { status: 200, headers: Vec::new(), body });
        assert_eq!(learned.filled(request).unwrap(), format!("GET /?t={NEW} HTTP/1.1\r\n\r\n").as_bytes());
        assert!(
            learned.filled(b"x{{uuid refresh}}\r\n\r\n").is_err() && learned.filled(b"{{uuid used}}\r\n\r\n").is_err()
        );
    }
}
