//! PURE: what a path means to a server that resolves it.

use std::collections::BTreeSet;

/// So many readings are looked at, and so many bytes of them; a path that has more is refused. Escapes, parameters and doubled slashes together make some
/// twenty, and each costs microseconds.
const MOST: usize = 40;
const LONGEST: usize = 128 << 10;

type Reading = fn(&[u8]) -> Option<Vec<u8>>;

/// What a server may do to a path before it serves it, or hands it on to one that does more. None: the path climbs over its root.
const READINGS: [Reading; 8] = [
    |path| Some(replaced(path, escaped)),
    |path| Some(replaced(path, of_iis)),
    |path| Some(replaced(path, escaped_letter)),
    |path| Some(replaced(path, overlong)),
    |path| Some(replaced(path, backslash)),
    |path| Some(without_parameters(path)),
    |path| Some(merged(path)),
    without_dots,
];

/// All that the path may be to servers in a row, each of which reads it in its own way: escapes decoded, or all but those of slashes; `\` a slash, or a
/// letter; parameters (`;...`) cut off, or part of a name; `.` and `..` resolved before or behind that; doubled slashes made one, or left. Who sees fewer
/// slashes than another may climb further. Empty: there is nothing to read in it. `None`: to some it climbs over its root or has a zero byte in it, or
/// there is no end to what it may be.
#[must_use]
pub fn resolved(path: &str) -> Option<BTreeSet<String>> {
    if is_plain(path) {
        return Some(BTreeSet::new());
    }
    let path = path.as_bytes().to_vec();
    let (mut length, mut known, mut open) = (path.len(), BTreeSet::from([path.clone()]), vec![path]);
    while let Some(path) = open.pop() {
        for read in READINGS {
            let read = read(&path)?;
            if !known.contains(&read) {
                length += read.len();
                if known.len() == MOST || length > LONGEST || read.contains(&0) {
                    return None;
                }
                known.insert(read.clone());
                open.push(read);
            }
        }
    }
    Some(known.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect())
}

fn replaced(path: &[u8], stands_for: fn(&[u8]) -> Option<(u8, usize)>) -> Vec<u8> {
    let (mut meant, mut rest) = (Vec::with_capacity(path.len()), path);
    while let Some(byte) = rest.first() {
        let (byte, length) = stands_for(rest).unwrap_or((*byte, 1));
        meant.push(byte);
        rest = rest.get(length..).unwrap_or_default();
    }
    meant
}

/// The byte that an escape at the beginning stands for, and how long the escape is.
fn escaped(path: &[u8]) -> Option<(u8, usize)> {
    let digits = path.strip_prefix(b"%")?;
    Some((hexadecimal(digits.get(..2)?)?, 3))
}

/// The same of an escape that only IIS has: `%u002e`.
fn of_iis(path: &[u8]) -> Option<(u8, usize)> {
    let digits = path.strip_prefix(b"%u").or_else(|| path.strip_prefix(b"%U"))?;
    Some((hexadecimal(digits.get(..4)?)?, 6))
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    let value = digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))?;
    u8::try_from(value).ok()
}

/// The same, but for a slash: to some servers an escaped one is none.
fn escaped_letter(path: &[u8]) -> Option<(u8, usize)> {
    escaped(path).filter(|(byte, _)| *byte != b'/')
}

/// The byte that a sequence at the beginning stands for which UTF-8 has in one byte: forbidden (RFC 3629 section 3), and read all the same by servers
/// of that age. Some of them minded the bytes behind the first as little (`%c0%2e`).
fn overlong(path: &[u8]) -> Option<(u8, usize)> {
    let (lead, length) = match *path.first()? {
        lead @ (0xc0 | 0xc1) => (u32::from(lead & 1), 2),
        0xe0 => (0, 3),
        0xf0 => (0, 4),
        0xf8 => (0, 5),
        0xfc => (0, 6),
        _ => return None,
    };
    let more = |code, byte: &u8| (byte & 0x40 == 0).then(|| code << 6 | u32::from(byte & 0x3f));
    let code = path.get(1..length)?.iter().try_fold(lead, more)?;
    Some((u8::try_from(code).ok().filter(u8::is_ascii)?, length))
}

/// Whether there is nothing to resolve in it.
fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.bytes().all(|byte| {
        let resolves = matches!(byte, b'%' | b'\\' | b';') || before == b'/' && matches!(byte, b'/' | b'.');
        before = byte;
        !resolves
    })
}

fn backslash(path: &[u8]) -> Option<(u8, usize)> {
    path.starts_with(b"\\").then_some((b'/', 1))
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let names: Vec<&[u8]> =
        segments(path).map(|name| name.split(|byte| *byte == b';').next().unwrap_or_default()).collect();
    names.join(&b'/')
}

fn merged(path: &[u8]) -> Vec<u8> {
    let mut merged = path.to_vec();
    merged.dedup_by(|byte, before| (*byte, *before) == (b'/', b'/'));
    merged
}

fn without_dots(path: &[u8]) -> Option<Vec<u8>> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in segments(path.strip_prefix(b"/").unwrap_or(path)) {
        match segment {
            b"." => {}
            b".." => drop(kept.pop()?),
            name => kept.push(name),
        }
    }
    Some([b"/", kept.join(&b'/').as_slice()].concat())
}

fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
}

/// Whether the path lies below the prefix, in whole segments. A prefix never ends in a slash, but for the root's.
#[must_use]
pub fn is_below(path: &str, prefix: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(path: &str, meant: &str) -> bool {
        resolved(path).unwrap_or_else(|| panic!("{path} climbs")).contains(meant)
    }

    #[test]
    fn a_path_is_read_as_the_most_liberal_server_would() {
        for (path, meant) in [
            ("/api/./a", "/api/a"),
            ("/api//a", "/api/a"),
            ("/api/../a", "/a"),
            ("/api/%2e%2E/a", "/a"),
            ("/api/..%2fa", "/a"),
            ("/api/..%5ca", "/a"),
            ("/api/x%5C..%5c..%5ca", "/a"),
            ("/api/..;x=1/a", "/a"),
            ("/api/..%3bx=1/a", "/a"),
            ("/api/%61dmin", "/api/admin"),
            ("/api;v=1/a;b", "/api/a"),
            ("/api/%252e%252e/a", "/a"),
            ("/api/..%252fa", "/a"),
            ("/api/%25252e%25252e/a", "/a"),
            ("/api/%u002e%U002E/a", "/a"),
            ("/api/%c0%ae%C0%AE%c1%9ca", "/a"),
            ("/api/%e0%80%ae%e0%80%ae/a", "/a"),
            ("/api/..%f0%80%80%afa", "/a"),
            ("/api/%c0%2e./a", "/a"),
            ("/api/%25e0%2580%25ae./a", "/a"),
        ] {
            assert!(means(path, meant), "{path}");
        }
        let endless = format!("/api/%{}", "25".repeat(400));
        for path in ["/../a", "/api/%2e%2e/%2e%2e/etc", "/api/%00", "/api/%2500", "/api/%u0000", &endless] {
            assert_eq!(resolved(path), None, "{path}");
        }
    }

    #[test]
    fn it_is_also_read_as_those_do_who_see_fewer_slashes_and_by_one_behind_the_other() {
        for (path, meant) in [
            // To nginx `\` is a letter, and so it is to Tomcat where it comes by escape.
            ("/api/a%5cb/../../other/x", "/other/x"),
            // Who parts a path before he decodes it, and who decodes dots alone: browsers' URLs, Envoy.
            ("/api/a%2fb/../../other/x", "/other/x"),
            ("/api/a%2fb/%2e%2e/%2e%2e/other/x", "/other/x"),
            ("/api/a%252fb/../../other/x", "/other/x"),
            ("/api/a%2fb/..%3b/%252e%252e/other/x", "/other/x"),
            // Parameters are of Java's servers alone, who cut them off before they decode.
            ("/api/../other/..;/api/x", "/other/..;/api/x"),
            ("/api/../other/..%3b/api/x", "/other/..;/api/x"),
            ("/api/a/b/..;/..%3b/x", "/api/a/..;/x"),
            ("/api/%2e%2e/other/..%5capi/x", "/other/..\\api/x"),
            ("/api/%2e%2e/other/..%2fapi/x", "/other/..%2fapi/x"),
            // None but IIS knows `%u`.
            ("/api/%2e%2e/other/%u002e%u002e/api/x", "/other/%u002e%u002e/api/x"),
            // One resolves, and the next one decodes.
            ("/api/../other/b/%2e%2e/../api/x", "/other/b/api/x"),
            ("/api/a/../b%2fc/../..%2fother", "/other"),
        ] {
            assert!(means(path, meant), "{path}: {:?}", resolved(path));
        }
    }

    #[test]
    fn what_real_clients_send_is_far_from_the_bound() {
        for (path, readings) in [
            ("/api/a%20b/%D0%B8%D0%BC%D1%8F", 2),
            ("/api/files/a%2Fb%20c", 3),
            ("/api/pages/list.do;jsessionid=1A2B", 2),
            ("/api//pages/../list%20all.do;jsessionid=1A2B", 16),
            ("/api/100%25%20of;v=1//x%2Fy", 12),
        ] {
            assert_eq!(resolved(path).unwrap().len(), readings, "{path}");
        }
    }

    #[test]
    fn what_all_read_alike_stays_where_it_is() {
        for path in [
            "/api/a.b/..c/%20",
            "/api/%u0430%zz%2",
            "/api/a//b",
            "/api/%e0%a0%80%f0%90%80%80%c2%80",
            "/api/%c0%ef%e8%e0%c0%ee",
        ] {
            let all = resolved(path).unwrap();
            assert!(all.iter().all(|path| is_below(path, "/api")), "{path}: {all:?}");
        }
        assert_eq!(resolved("/api/a"), Some(BTreeSet::new()), "nothing is to be read in it");
        assert!(
            means("/api/..//api/a", "//api/a") && means("/api/..//api/a", "/api/a"),
            "doubled slashes are read both ways"
        );
    }

    #[test]
    fn a_prefix_counts_in_whole_segments() {
        assert!(is_below("/api", "/api") && is_below("/api/", "/api") && is_below("/api/a", "/api"));
        assert!(!is_below("/apis", "/api") && !is_below("/ap", "/api"));
        assert!(is_below("/anything", "/"));
    }
}
