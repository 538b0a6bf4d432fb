//! PURE: what a path means to a server that resolves it.

use std::borrow::Cow;

/// The path as the most liberal servers would read it: escapes decoded, once and once more, `\` a slash, parameters (`;...`) cut off,
/// `.` and `..` resolved; where slashes are doubled, one reading makes them one and the other does not. `None`: it climbs over its root, or has
/// a zero byte in it.
#[must_use]
pub fn resolved(path: &str) -> Option<[Cow<'_, str>; 4]> {
    if is_plain(path) {
        return Some([path; 4].map(Cow::Borrowed));
    }
    let once = decoded(path.as_bytes());
    let twice = shortened(&decoded(&once));
    let [first, second] = [once, twice].map(|bytes| String::from_utf8_lossy(&bytes).replace('\\', "/"));
    if second.contains('\0') {
        return None;
    }
    let read = |path: &str, merges| read(path, merges).map(Cow::Owned);
    Some([read(&first, true)?, read(&first, false)?, read(&second, true)?, read(&second, false)?])
}

fn decoded(path: &[u8]) -> Vec<u8> {
    replaced(path, escaped)
}

fn shortened(path: &[u8]) -> Vec<u8> {
    replaced(path, overlong)
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
    let hex = |digits: &[u8]| {
        let value = digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?));
        value.and_then(|value| u8::try_from(value).ok())
    };
    match path {
        // Of IIS.
        [b'%', b'u' | b'U', digits @ ..] => Some((hex(digits.get(..4)?)?, 6)),
        [b'%', digits @ ..] => Some((hex(digits.get(..2)?)?, 3)),
        _ => None,
    }
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

fn read(decoded: &str, merges: bool) -> Option<String> {
    let mut kept: Vec<&str> = Vec::new();
    for segment in decoded.strip_prefix('/').unwrap_or(decoded).split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "." => {}
            "" if merges => {}
            ".." => drop(kept.pop()?),
            name => kept.push(name),
        }
    }
    Some(format!("/{}", kept.join("/")))
}

/// Whether the path lies below the prefix, in whole segments. A prefix never ends in a slash, but for the root's.
#[must_use]
pub fn is_below(path: &str, prefix: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_the_most_liberal_server_would() {
        for (path, means) in [
            ("/api/a", "/api/a"),
            ("/api/./a", "/api/a"),
            ("/api//a", "/api/a"),
            ("/api/../a", "/a"),
            ("/api/%2e%2E/a", "/a"),
            ("/api/..%2fa", "/a"),
            ("/api/..%5ca", "/a"),
            ("/api/x%5C..%5c..%5ca", "/a"),
            ("/api/..;x=1/a", "/a"),
            ("/api/%61dmin", "/api/admin"),
            ("/api;v=1/a;b", "/api/a"),
            ("/api/a.b/..c", "/api/a.b/..c"),
        ] {
            assert_eq!(resolved(path).map(|[merged, ..]| merged).as_deref(), Some(means), "{path}");
        }
        assert_eq!(resolved("/../a"), None);
        assert_eq!(resolved("/api/%2e%2e/%2e%2e/etc"), None);
    }

    #[test]
    fn doubled_slashes_are_read_both_ways() {
        for (path, one, two) in
            [("/api//a", "/api/a", "/api//a"), ("/api/..//api/a", "/api/a", "//api/a"), ("/a/", "/a/", "/a/")]
        {
            assert_eq!(resolved(path), Some([one.into(), two.into(), one.into(), two.into()]), "{path}");
        }
    }

    #[test]
    fn what_is_escaped_twice_is_read_twice() {
        for (path, once, twice) in [
            ("/api/%252e%252e/a", "/api/%2e%2e/a", "/a"),
            ("/api/..%252fa", "/api/..%2fa", "/a"),
            ("/api/%25252e", "/api/%252e", "/api/%2e"),
            ("/api/%u002e%U002E/a", "/a", "/a"),
            ("/api/%c0%ae%C0%AE%c1%9ca", "/api/\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}a", "/a"),
            ("/api/%u0430%zz%2", "/api/%u0430%zz%2", "/api/%u0430%zz%2"),
            ("/api/%e0%80%ae%e0%80%ae/a", "/api/\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}/a", "/a"),
            ("/api/..%f0%80%80%afa", "/api/..\u{fffd}\u{fffd}\u{fffd}\u{fffd}a", "/a"),
            ("/api/%c0%2e./a", "/api/\u{fffd}../a", "/a"),
            ("/api/%25e0%2580%25ae./a", "/api/%e0%80%ae./a", "/a"),
            // Letters of an old code page.
            (
                "/api/%c0%ef%e8%e0%c0%ee",
                "/api/\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
                "/api/\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
            ),
            ("/api/%e0%a0%80%f0%90%80%80%c2%80", "/api/\u{800}\u{10000}\u{80}", "/api/\u{800}\u{10000}\u{80}"),
        ] {
            let [first, _, second, _] = resolved(path).unwrap();
            assert_eq!((&*first, &*second), (once, twice), "{path}");
        }
        for path in ["/api/%00", "/api/%2500", "/api/%u0000"] {
            assert_eq!(resolved(path), None, "{path}");
        }
    }

    #[test]
    fn a_prefix_counts_in_whole_segments() {
        assert!(is_below("/api", "/api") && is_below("/api/", "/api") && is_below("/api/a", "/api"));
        assert!(!is_below("/apis", "/api") && !is_below("/ap", "/api"));
        assert!(is_below("/anything", "/"));
    }
}
