//! PURE: what a path means to a server that resolves it.

use std::collections::BTreeSet;

/// What the path is to servers that read it in different ways, once each has resolved `.` and `..`: escapes left but for those of letters and dots,
/// decoded, or decoded twice; `\` a slash, or a letter; parameters (`;...`) cut off before that, after it, or part of a name; doubled slashes made one,
/// or left. Who sees fewer slashes than another may climb further. Empty: there is nothing to resolve in it. `None`: to one of them it climbs over its
/// root, or has a zero byte in it.
#[must_use]
pub fn resolved(path: &str) -> Option<BTreeSet<String>> {
    if is_plain(path) {
        return Some(BTreeSet::new());
    }
    let spelt = also(BTreeSet::from([path.to_owned()]), without_parameters);
    let decoded = spelt.iter().flat_map(|path| {
        let once = replaced(path.as_bytes(), escaped);
        let twice = replaced(&replaced(&once, escaped), overlong);
        [replaced(path.as_bytes(), escaped_letter), once, twice]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    });
    let slashed = also(decoded.collect(), |path| path.replace('\\', "/"));
    let read = also(slashed, without_parameters);
    if read.iter().any(|path| path.contains('\0')) {
        return None;
    }
    read.iter().flat_map(|path| [true, false].map(|merges| without_dots(path, merges))).collect()
}

/// These, and what each of them is besides.
fn also(paths: BTreeSet<String>, read: fn(&str) -> String) -> BTreeSet<String> {
    let besides: Vec<_> = paths.iter().map(|path| read(path)).collect();
    paths.into_iter().chain(besides).collect()
}

fn without_parameters(path: &str) -> String {
    let names: Vec<_> = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    names.join("/")
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

/// The same, but for what parts a path: to some servers an escaped slash is none.
fn escaped_letter(path: &[u8]) -> Option<(u8, usize)> {
    escaped(path).filter(|(byte, _)| !b"/\\;%".contains(byte))
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

fn without_dots(path: &str, merges: bool) -> Option<String> {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        match segment {
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

    fn means(path: &str) -> Vec<String> {
        resolved(path).unwrap_or_else(|| panic!("{path} climbs")).into_iter().collect()
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
            ("/api/%25252e", "/api/%2e"),
            ("/api/%u002e%U002E/a", "/a"),
            ("/api/%c0%ae%C0%AE%c1%9ca", "/a"),
            ("/api/%e0%80%ae%e0%80%ae/a", "/a"),
            ("/api/..%f0%80%80%afa", "/a"),
            ("/api/%c0%2e./a", "/a"),
            ("/api/%25e0%2580%25ae./a", "/a"),
        ] {
            assert!(means(path).contains(&meant.to_owned()), "{path}: {:?}", means(path));
        }
        for path in ["/../a", "/api/%2e%2e/%2e%2e/etc", "/api/%00", "/api/%2500", "/api/%u0000"] {
            assert_eq!(resolved(path), None, "{path}");
        }
    }

    #[test]
    fn it_is_also_read_as_those_do_who_see_fewer_slashes() {
        for (path, meant) in [
            // To nginx `\` is a letter, and so it is to Tomcat where it comes by escape.
            ("/api/a%5cb/../../other/x", "/other/x"),
            // Who parts a path before he decodes it: browsers' URLs, Envoy.
            ("/api/a%2fb/../../other/x", "/other/x"),
            ("/api/a%252fb/../../other/x", "/other/x"),
            // Parameters are of Java's servers alone.
            ("/api/../other/..;/api/x", "/other/..;/api/x"),
            ("/api/../other/..%3b/api/x", "/other/..;/api/x"),
            ("/api/%2e%2e/other/..%5capi/x", "/other/..\\api/x"),
            ("/api/%2e%2e/other/..%2fapi/x", "/other/..%2fapi/x"),
            // They are cut off before `%3b` is read, so that this is none.
            ("/api/a/b/..;/..%3b/x", "/api/a/..;/x"),
        ] {
            assert!(means(path).contains(&meant.to_owned()), "{path}: {:?}", means(path));
        }
    }

    #[test]
    fn what_all_read_alike_has_one_meaning() {
        for (path, meant) in [
            ("/api/a.b/..c/%20", "/api/a.b/..c/ "),
            ("/api/%u0430%zz%2", "/api/%u0430%zz%2"),
            // Letters of an old code page.
            ("/api/%c0%ef%e8%e0%c0%ee", "/api/\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            ("/api/%e0%a0%80%f0%90%80%80%c2%80", "/api/\u{800}\u{10000}\u{80}"),
        ] {
            assert_eq!(means(path), [meant], "{path}");
        }
        assert_eq!(means("/api/a"), [""; 0], "nothing is to be resolved in it");
        assert_eq!(means("/api/..//api/a"), ["//api/a", "/api/a"], "doubled slashes are read both ways");
    }

    #[test]
    fn a_prefix_counts_in_whole_segments() {
        assert!(is_below("/api", "/api") && is_below("/api/", "/api") && is_below("/api/a", "/api"));
        assert!(!is_below("/apis", "/api") && !is_below("/ap", "/api"));
        assert!(is_below("/anything", "/"));
    }
}
