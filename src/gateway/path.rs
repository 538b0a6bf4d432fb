//! PURE: what a path means to a server that resolves it.

use std::borrow::Cow;

/// The path as the most liberal servers would read it: percent-escapes decoded, `\` a slash, parameters (`;...`) cut off, `.` and `..`
/// resolved; where slashes are doubled, one reading makes them one and the other does not. `None`: it climbs over its root.
#[must_use]
pub fn resolved(path: &str) -> Option<[Cow<'_, str>; 2]> {
    if is_plain(path) {
        return Some([Cow::Borrowed(path), Cow::Borrowed(path)]);
    }
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    let decoded = String::from_utf8_lossy(&decoded).replace('\\', "/");
    Some([Cow::Owned(read(&decoded, true)?), Cow::Owned(read(&decoded, false)?)])
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
            assert_eq!(resolved(path).map(|[merged, _]| merged).as_deref(), Some(means), "{path}");
        }
        assert_eq!(resolved("/../a"), None);
        assert_eq!(resolved("/api/%2e%2e/%2e%2e/etc"), None);
    }

    #[test]
    fn doubled_slashes_are_read_both_ways() {
        for (path, one, two) in
            [("/api//a", "/api/a", "/api//a"), ("/api/..//api/a", "/api/a", "//api/a"), ("/a/", "/a/", "/a/")]
        {
            assert_eq!(resolved(path), Some([one.into(), two.into()]), "{path}");
        }
    }

    #[test]
    fn a_prefix_counts_in_whole_segments() {
        assert!(is_below("/api", "/api") && is_below("/api/", "/api") && is_below("/api/a", "/api"));
        assert!(!is_below("/apis", "/api") && !is_below("/ap", "/api"));
        assert!(is_below("/anything", "/"));
    }
}
