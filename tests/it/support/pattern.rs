//! Texts with places in them: `{{uuid NAME}}` and `{{any NAME}}` (tests/golden/README.md).

use std::collections::BTreeMap;

/// What the places hold.
pub type Values = BTreeMap<String, String>;

#[derive(Debug, PartialEq)]
enum Piece<'t> {
    Text(&'t str),
    Uuid(&'t str),
    Any(&'t str),
}

fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (place, after) = behind.split_once("}}").expect("a place ends with }}");
        pieces.push(Piece::Text(before));
        pieces.push(match place.split_once(' ') {
            Some(("uuid", name)) => Piece::Uuid(name),
            Some(("any", name)) => Piece::Any(name),
            _ => panic!("no such place: {place}"),
        });
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// Puts values in the places.
pub fn filled(template: &str, values: &Values) -> String {
    let known = |name: &str| values.get(name).unwrap_or_else(|| panic!("no value `{name}`")).clone();
    let text = |piece: Piece<'_>| match piece {
        Piece::Text(text) => text.to_owned(),
        Piece::Uuid(name) | Piece::Any(name) => known(name),
    };
    pieces(template).into_iter().map(text).collect()
}

/// Holds a text against a template. A place seen for the first time takes what stands there; later it must be the same.
///
/// # Errors
/// What differs, and where.
pub fn matches(template: &str, text: &str, values: &mut Values) -> Result<(), String> {
    let pieces = pieces(template);
    let mut rest = text;
    for (index, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Text(expected) => {
                rest = rest.strip_prefix(expected).ok_or_else(|| format!("wanted {expected:?} at {rest:?}"))?;
            }
            Piece::Uuid(name) => {
                let (uuid, after) = rest.split_at_checked(36).ok_or_else(|| format!("no UUID at {rest:?}"))?;
                uuid::Uuid::parse_str(uuid).map_err(|_| format!("{uuid:?} is no UUID"))?;
                same(name, uuid, values)?;
                rest = after;
            }
            Piece::Any(name) => {
                let until = match pieces.get(index + 1) {
                    Some(Piece::Text(next)) if !next.is_empty() => {
                        rest.find(next).ok_or_else(|| format!("wanted {next:?} behind `{name}`"))?
                    }
                    _ => rest.len(),
                };
                let (value, after) = rest.split_at(until);
                same(name, value, values)?;
                rest = after;
            }
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(format!("more than wanted: {rest:?}")) }
}

fn same(name: &str, value: &str, values: &mut Values) -> Result<(), String> {
    let known = values.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    if known == value { Ok(()) } else { Err(format!("`{name}` is {value:?} and was {known:?}")) }
}

#[test]
fn a_place_is_filled_once_and_stays_the_same() {
    let mut values = Values::new();
    let uuid = "b018f31a-c2ef-4274-9fc8-7e3bf99dd3ba";
    let text = format!("a={uuid}&b={uuid}; at noon.");
    assert_eq!(matches("a={{uuid a}}&b={{uuid a}}; at {{any when}}.", &text, &mut values), Ok(()));
    assert_eq!(values["when"], "noon");
    assert_eq!(filled("{{uuid a}}!", &values), format!("{uuid}!"));
    assert!(matches("{{uuid a}}", "304554d8-d1c0-45d5-935b-02f886104a79", &mut values).is_err());
    assert!(matches("ab", "abc", &mut values).is_err());
}
