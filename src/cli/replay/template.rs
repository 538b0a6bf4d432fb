//! Captured text as pieces: what must stand there, and places for what differs from run to run. Pure.

use memchr::memmem;
use uuid::Uuid;

/// A part of a captured text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// Exactly this.
    Text(&'t [u8]),
    /// A UUID; the same one wherever this name stands in the pair.
    Uuid(&'t [u8]),
    /// A captured UUID; the one that is known in its place, or whichever comes.
    Captured(&'t [u8]),
    /// Anything up to what follows; the same wherever this name stands in the pair.
    Any(&'t [u8]),
}

/// The length of a UUID as text, and of one with its epoch (`-1700000000`).
const UUID: usize = 36;
const EPOCH: usize = 11;

/// The shortest and the longest that a captured text can have been before it got its places; the longest may not be known.
pub(super) fn lengths(text: &[u8]) -> (usize, Option<usize>) {
    let length = |piece: Piece<'_>| match piece {
        Piece::Text(text) | Piece::Captured(text) => (text.len(), Some(text.len())),
        Piece::Uuid(_) => (UUID, Some(UUID + EPOCH)),
        Piece::Any(_) => (0, None),
    };
    pieces(text).into_iter().map(length).fold((0, Some(0)), |(shortest, longest), (least, most)| {
        (shortest + least, longest.zip(most).map(|(longest, most)| longest + most))
    })
}

/// Where a text stands in another.
pub(super) fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    memmem::find(text, wanted)
}

/// The UUID that a text begins with, its epoch included.
pub(super) fn uuid_at(text: &[u8]) -> Option<&[u8]> {
    let (uuid, rest) = text.split_at_checked(UUID)?;
    Uuid::try_parse_ascii(uuid).ok()?;
    let epoch = rest.get(..EPOCH).filter(|epoch| {
        let (dash, digits) = epoch.split_at(1);
        dash == b"-" && digits.iter().all(u8::is_ascii_digit)
    });
    if epoch.is_some() { text.get(..UUID + EPOCH) } else { Some(uuid) }
}

/// Takes a captured text apart.
pub(super) fn pieces(text: &[u8]) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut from, mut at) = (0, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let found = place(rest).or_else(|| uuid_at(rest).map(|uuid| (Piece::Captured(uuid), uuid.len())));
        if let Some((piece, length)) = found {
            pieces.push(Piece::Text(text.get(from..at).unwrap_or_default()));
            pieces.push(piece);
            at += length;
            from = at;
        } else {
            at += 1;
        }
    }
    pieces.push(Piece::Text(text.get(from..).unwrap_or_default()));
    pieces
}

/// `{{uuid NAME}}` or `{{any NAME}}`, and its length. No name has a brace, so that none is looked for behind where the next place may begin.
fn place(text: &[u8]) -> Option<(Piece<'_>, usize)> {
    let inner = text.strip_prefix(b"{{")?;
    let end = memchr::memchr2(b'{', b'}', inner)?;
    let (inner, _) = inner.split_at_checked(end).filter(|(_, rest)| rest.starts_with(b"}}"))?;
    let piece = match (inner.strip_prefix(b"uuid "), inner.strip_prefix(b"any ")) {
        (Some(name), _) => Piece::Uuid(name),
        (None, Some(name)) => Piece::Any(name),
        (None, None) => return None,
    };
    Some((piece, end + "{{}}".len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "b018f31a-c2ef-4274-9fc8-7e3bf99dd3ba";

    #[test]
    fn a_text_is_taken_apart_and_nothing_is_left_out() {
        let text = format!("a{{{{uuid x}}}}b {ONE}-1700000000c{{{{any y}}}}{{{{what}}}}");
        let expected = [
            Piece::Text(b"a"),
            Piece::Uuid(b"x"),
            Piece::Text(b"b "),
            Piece::Captured(&text.as_bytes()[13..13 + 47]),
            Piece::Text(b"c"),
            Piece::Any(b"y"),
            Piece::Text(b"{{what}}"),
        ];
        assert_eq!(pieces(text.as_bytes()), expected);
        assert_eq!(pieces(b""), [Piece::Text(b"")]);
    }

    #[test]
    fn what_begins_places_and_ends_none_is_a_text_and_read_once() {
        for text in ["{".repeat(4 << 20), "{{uuid ".repeat(1 << 20)] {
            assert!(pieces(text.as_bytes()) == [Piece::Text(text.as_bytes())], "it is taken apart");
        }
    }

    #[test]
    fn an_epoch_is_ten_digits() {
        let at = |text: String| uuid_at(text.as_bytes()).map(<[u8]>::len);
        assert_eq!(at(ONE.to_owned()), Some(36));
        assert_eq!(at(format!("{ONE}-170000000x")), Some(36));
        assert_eq!(at(format!("{ONE}-1700000000")), Some(47));
        assert_eq!(at(format!("x{ONE}")), None);
    }
}
