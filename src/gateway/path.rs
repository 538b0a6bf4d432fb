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
    let twice = decoded(&once);
    let [first, second] = [once, twice].map(|bytes| String::from_utf8_lossy(&bytes).replace('\\', "/"));
    if second.contains('\0') {
        return None;
    }
    let read = |path: &str, merges| read(path, merges).map(Cow::Owned);
    Some([read(&first, true)?, read(&first, false)?, read(&second, true)?, read(&second, false)?])
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let (mut meant, mut rest) = (Vec::with_capacity(path.len()), path);
    while let Some(byte) = rest.first() {
        let (byte, length) = escaped(rest).unwrap_or((*byte, 1));
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
        // In two bytes where UTF-8 has one: forbidden, and read all the same by servers of that age.
        [0xc0, 0xae, ..] => Some((b'.', 2)),
        [0xc0, 0xaf, ..] => Some((b'/', 2)),
        [0xc1, 0x9c, ..] => Some((b'\\', 2)),
        _ => None,
    }
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
