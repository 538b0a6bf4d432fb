//! Holds a reply against the captured one, and shows what differs without a secret. Pure.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::learned::Learned;
use super::template::{Piece, find, pieces, uuid_at};
use super::wire::{Reply, halves, unchunked};
use crate::domain::unseen::is_unseen;

/// Compared besides status and body (OPERATOR section 4).
const HEADERS: [&str; 5] = ["content-type", "cache-control", "pragma", "www-authenticate", "x-ca-err"];

/// Fields of a request whose values are no secrets.
const PLAIN: [&str; 6] = ["grant_type", "client_id", "scope", "algorithm", "token_type_hint", "response_type"];

/// What differs, as it may be shown.
pub(super) struct Difference {
    /// `status`, a header, or `body`.
    pub(super) what: &'static str,
    /// `None`: not there.
    pub(super) captured: Option<String>,
    pub(super) replayed: Option<String>,
    /// The first byte of a body that differs, as it came.
    pub(super) byte: Option<usize>,
    /// What the two texts do not say.
    pub(super) note: Option<&'static str>,
}

/// Why a UUID can be wrong where any other is as good.
const ANOTHER: &str =
    "another UUID is expected there: the one that stands for the captured one since an earlier place of the run";

/// The same, where any but this one is.
const TAKEN: &str = "a UUID of its own is expected there: this one stood already where the capture has a different one";

/// Where a body is not the captured one.
#[derive(Debug, PartialEq, Eq)]
struct Mismatch {
    byte: usize,
    /// A UUID stands there as it should, and it is not one that is expected; why.
    another: Option<&'static str>,
}

/// What differs; nothing where the reply is as it was, but for UUIDs in the same places. Learns them.
pub(super) fn differences(captured: &Reply, now: &Reply, request: &[u8], learned: &mut Learned) -> Vec<Difference> {
    let secrets = secrets(request);
    let shown = |text: &[u8]| masked(text, &secrets, None);
    let mut differences = Vec::new();
    let mut hold = |what, captured: Option<String>, replayed: Option<String>| {
        if captured != replayed {
            let shown = |text: Option<String>| text.map(|text| shown(text.as_bytes()));
            differences.push(Difference {
                what,
                captured: shown(captured),
                replayed: shown(replayed),
                byte: None,
                note: None,
            });
        }
    };
    hold("status", Some(captured.status.to_string()), Some(now.status.to_string()));
    for name in HEADERS {
        hold(name, captured.header(name), now.header(name));
    }
    if let Some(Mismatch { byte, another: note }) = matches(&captured.body, &now.body, learned) {
        let replayed = masked(&now.body, &secrets, note.map(|_| byte));
        let (captured, replayed) = (Some(shown(&captured.body)), Some(replayed));
        differences.push(Difference { what: "body", captured, replayed, byte: Some(byte), note });
    }
    differences
}

/// Where a body is not the captured one first. What could be learned is learned all the same.
fn matches(captured: &[u8], now: &[u8], learned: &mut Learned) -> Option<Mismatch> {
    let pieces = pieces(captured);
    let mut names: HashMap<&[u8], &[u8]> = HashMap::new();
    let mut rest = now;
    for (index, piece) in pieces.iter().enumerate() {
        let taken = match piece {
            Piece::Text(text) => rest.starts_with(text).then_some(text.len()),
            Piece::Captured(_) | Piece::Uuid(_) => {
                uuid_at(rest).filter(|is| is_another(piece, is, &names, learned).is_none()).map(<[u8]>::len)
            }
            Piece::Any(name) => {
                let until = match pieces.get(index + 1) {
                    Some(Piece::Text(next)) if !next.is_empty() => find(rest, next),
                    Some(_) | None => Some(rest.len()),
                };
                until.filter(|until| names.get(name).is_none_or(|known| Some(*known) == rest.get(..*until)))
            }
        };
        let Some((value, behind)) = taken.and_then(|taken| rest.split_at_checked(taken)) else {
            let another = uuid_at(rest).and_then(|is| is_another(piece, is, &names, learned));
            learn_by_order(captured, now, learned);
            let same = if let Piece::Text(text) = piece { common(text, rest) } else { 0 };
            return Some(Mismatch { byte: now.len() - rest.len() + same, another });
        };
        match piece {
            Piece::Captured(was) => learned.learn(was, value),
            Piece::Uuid(name) | Piece::Any(name) => drop(names.insert(name, value)),
            Piece::Text(_) => {}
        }
        rest = behind;
    }
    (!rest.is_empty()).then(|| Mismatch { byte: now.len() - rest.len(), another: None })
}

/// Why a UUID is not one that is expected in this place: the same one stands where the same one stood, and nowhere else.
fn is_another(piece: &Piece<'_>, is: &[u8], names: &HashMap<&[u8], &[u8]>, learned: &Learned) -> Option<&'static str> {
    let (known, is_taken) = match piece {
        Piece::Captured(was) => (learned.now(was), learned.is_taken(was, is)),
        Piece::Uuid(name) => (names.get(name).copied(), names.values().any(|other| *other == is)),
        Piece::Text(_) | Piece::Any(_) => return None,
    };
    match known {
        Some(known) => (known != is).then_some(ANOTHER),
        None => is_taken.then_some(TAKEN),
    }
}

fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// Where a reply differs elsewhere, its UUIDs may be told by their order, so that the requests that follow have them.
fn learn_by_order(captured: &[u8], now: &[u8], learned: &mut Learned) {
    let uuids = |text| {
        let of = |piece: Piece<'_>| if let Piece::Captured(uuid) = piece { Some(uuid.to_vec()) } else { None };
        pieces(text).into_iter().filter_map(of).collect::<Vec<_>>()
    };
    let (were, are) = (uuids(captured), uuids(now));
    if were.len() == are.len() {
        were.iter().zip(&are).for_each(|(was, is)| learned.learn(was, is));
    }
}

/// Values of a request that must not show, should the reply repeat one; as they stood there, and decoded. The longest first.
fn secrets(request: &[u8]) -> Vec<Vec<u8>> {
    let (head, body) = halves(request);
    let whole = unchunked(head, body);
    let (head, body) = (String::from_utf8_lossy(head), String::from_utf8_lossy(whole.as_deref().unwrap_or(body)));
    let target = head.split(' ').nth(1).unwrap_or_default();
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let mut secrets: Vec<Vec<u8>> = Vec::new();
    for field in [query, &body].into_iter().flat_map(|form| form.split('&')) {
        for (name, value) in form_urlencoded::parse(field.as_bytes()) {
            if !PLAIN.contains(&&*name) {
                secrets.push(value.as_bytes().to_vec());
                secrets.extend(field.split_once('=').map(|(_, raw)| raw.as_bytes().to_vec()));
            }
        }
    }
    let credentials = head.lines().filter_map(|line| line.split_once(':'));
    for (_, value) in credentials.filter(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
        let value = value.trim().split_once(' ').map_or(value, |(_, value)| value.trim());
        secrets.push(value.as_bytes().to_vec());
        let basic = BASE64.decode(value).unwrap_or_default();
        secrets.extend(
            basic.iter().position(|byte| *byte == b':').and_then(|colon| basic.get(colon + 1..)).map(<[u8]>::to_vec),
        );
    }
    // Shorter ones would be found in every other word.
    secrets.retain(|secret| secret.len() >= 4);
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
}

/// A text without UUIDs, JWTs and values of the request, and with a word for the UUID that is not the one that is expected; what
/// a terminal would act upon is spelled out.
fn masked(text: &[u8], secrets: &[Vec<u8>], another: Option<usize>) -> String {
    let (mut shown, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(first) = rest.first() {
        let here = text.len() - rest.len();
        let (mask, length) = if let (Some(uuid), true) = (uuid_at(rest), another == Some(here)) {
            ("{{another uuid}}", uuid.len())
        } else if let Some(secret) = secrets.iter().find(|secret| rest.starts_with(secret)) {
            ("{{of the request}}", secret.len())
        } else if let Some(uuid) = uuid_at(rest) {
            ("{{uuid}}", uuid.len())
        } else if rest.starts_with(b"eyJ") {
            let is_inside = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'-' | b'_' | b'.');
            ("{{jwt}}", rest.iter().take_while(is_inside).count())
        } else if let (true, Some(end)) = (rest.starts_with(b"{{uuid "), find(rest, b"}}")) {
            ("{{uuid}}", end + 2)
        } else {
            shown.push(*first);
            rest = rest.get(1..).unwrap_or_default();
            continue;
        };
        shown.extend_from_slice(mask.as_bytes());
        rest = rest.get(length..).unwrap_or_default();
    }
    let spelled = |c: char| if is_unseen(c) && c != '\n' { c.escape_default().collect() } else { vec![c] };
    String::from_utf8_lossy(&shown).chars().flat_map(spelled).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "b018f31a-c2ef-4274-9fc8-7e3bf99dd3ba";
    const TWO: &str = "304554d8-d1c0-45d5-935b-02f886104a79";

    fn at(captured: &str, now: &str, learned: &mut Learned) -> Option<usize> {
        matches(captured.as_bytes(), now.as_bytes(), learned).map(|mismatch| mismatch.byte)
    }

    #[test]
    fn a_uuid_is_as_good_as_another_until_it_is_known() {
        let mut learned = Learned::default();
        assert_eq!(at(&format!("a {ONE}."), &format!("a {TWO}-1700000000."), &mut learned), None);
        assert_eq!(at(&format!("{ONE}!"), &format!("{TWO}-1700000000!"), &mut learned), None);
        assert_eq!(at(&format!("now {ONE}"), &format!("now {ONE}"), &mut learned), Some(4), "it has become another");
        assert_eq!(at("{{uuid a}} {{uuid a}}", &format!("{ONE} {ONE}"), &mut learned), None);
        assert_eq!(at("{{uuid a}} {{uuid a}}", &format!("{ONE} {TWO}"), &mut learned), Some(37));
        assert_eq!(at("{{any a}} {{any b}} {{uuid a}}", &format!("{ONE} {ONE} {ONE}"), &mut learned), None);
        assert_eq!(at("x{{any b}}, {{any b}}.", "xyz, yz.", &mut learned), None);
        assert_eq!(at("x{{any b}}, {{any b}}.", "xyz, zy.", &mut learned), Some(5));
    }

    #[test]
    fn what_were_two_uuids_are_two_now_in_one_reply_and_over_the_run() {
        let three = format!("{ONE}-1700000000");
        let mut learned = Learned::default();
        let taken = |byte| Some(Mismatch { byte, another: Some(TAKEN) });
        let told =
            |captured: &str, now: &str, learned: &mut Learned| matches(captured.as_bytes(), now.as_bytes(), learned);
        let pair = format!("{TWO} {TWO}");
        assert_eq!(told(&format!("{ONE} {TWO}"), &pair, &mut Learned::default()), taken(37));
        assert_eq!(told("{{uuid a}} {{uuid r}}", &pair, &mut Learned::default()), taken(37));
        // A refresh that hands out the access UUID of before.
        assert_eq!(told(ONE, TWO, &mut learned), None);
        assert_eq!(told(&three, TWO, &mut learned), taken(0));
    }

    #[test]
    fn the_first_byte_that_differs_is_told() {
        let mut learned = Learned::default();
        for (captured, now, byte) in [
            ("abc", "abd", Some(2)),
            ("abc", "ab", Some(2)),
            ("ab", "abc", Some(2)),
            ("a\r\nb", "a\nb", Some(1)),
            ("", "", None),
        ] {
            assert_eq!(at(captured, now, &mut learned), byte, "{captured:?} {now:?}");
        }
        let captured = format!("{{\"a\":\"{ONE}\",\"e\":1}}");
        assert!(at(&captured, &captured.replace(ONE, TWO).replace(":1", ":2"), &mut learned).is_some());
        assert_eq!(learned.now(ONE.as_bytes()), Some(TWO.as_bytes()), "learned though the reply differs");
    }

    #[test]
    fn nothing_of_a_request_shows() {
        let basic = BASE64.encode("id:planted-basic");
        let request = format!(
            "POST /t?client_secret=planted%2Bquery HTTP/1.1\r\nAuthorization: Basic {basic}\r\n\r\n\
             grant_type=passport&certificate=planted+cookie&scope=visible"
        );
        let secrets = secrets(request.as_bytes());
        let text = format!(
            "planted+query planted%2Bquery planted-basic {basic} planted cookie planted+cookie visible passport {ONE} eyJhbGciOi.J9_-x\t"
        );
        let shown = masked(text.as_bytes(), &secrets, None);
        let words = ["{{of the request}}"; 6].join(" ");
        assert_eq!(shown, format!("{words} visible passport {{{{uuid}}}} {{{{jwt}}}}\\t"));
    }

    #[test]
    fn nothing_of_a_request_in_chunks_shows() {
        let head = "POST /t HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let request = format!("{head}11\r\nclient_secret=pla\r\n9\r\nnted&b=23\r\n2\r\n45\r\n0\r\n\r\n");
        assert_eq!(
            masked(b"planted, 2345", &secrets(request.as_bytes()), None),
            "{{of the request}}, {{of the request}}"
        );
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_it_is_compared(captured: Vec<u8>, now: Vec<u8>, request: Vec<u8>) {
            let reply = |body: &[u8]| Reply { status: 200, headers: Vec::new(), body: body.to_vec() };
            let mut learned = Learned::default();
            prop_assert!(differences(&reply(&captured), &reply(&captured), &request, &mut learned).is_empty());
            let found = differences(&reply(&captured), &reply(&now), &request, &mut Learned::default());
            prop_assert_eq!(found.is_empty(), captured == now);
        }
    }
}
