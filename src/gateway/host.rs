//! PURE: what a host means, whoever reads it.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use crate::domain::refusal::{Cause, Refusal};

/// The name of the host that a call tells, as [`name`] has it.
///
/// # Errors
/// What is told is no host.
pub(super) fn named(host: Option<&[u8]>) -> Result<Option<Cow<'_, str>>, Refusal> {
    let none = || {
        let detail = "the host is none: it is a name or an address, perhaps with a port";
        Refusal::client(Cause::InvalidRequest, detail)
    };
    host.map(|host| name(host).ok_or_else(none)).transpose()
}

/// The name in a `Host` value as routes compare it: small letters, no port, no dot at its end, an address of IPv6 in one of its spellings.
/// `None`: it is no host, and what one server reads out of it another may not (RFC 9110 section 7.2). RFC 3986 section 3.2.2 allows more
/// letters, escapes among them; no name that can be looked up has them. Nothing is a host too: RFC 9112 section 3.2 allows it where there
/// is none to tell.
#[must_use]
pub fn name(value: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(value).ok()?;
    if let Some(address) = text.strip_prefix('[') {
        let (address, port) = address.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok().filter(|_| is_port(port))?;
        return Some(format!("[{address}]").into());
    }
    let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(of_name);
    if !is_port(port) || !(name.is_empty() || name.split('.').all(is_label)) {
        return None;
    }
    Some(if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    })
}

fn of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Whether this may stand behind a name: nothing, or `:` and digits, perhaps none.
fn is_port(rest: &str) -> bool {
    rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_perhaps_with_a_port() {
        for (host, means) in [
            ("a", "a"),
            ("API.example.org:8081", "api.example.org"),
            ("a_b.", "a_b"),
            ("a.org.:80", "a.org"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0::0001]:443", "[::1]"),
            ("[FE80::A]", "[fe80::a]"),
            ("a:", "a"),
            ("", ""),
        ] {
            assert_eq!(name(host.as_bytes()).as_deref(), Some(means), "{host}");
        }
    }

    #[test]
    fn what_two_servers_may_read_in_two_ways_is_no_host() {
        for none in [
            "a b",
            "a/b",
            "u@a",
            "a,b",
            "a:b",
            "a:1:2",
            "a:80x",
            "a#b",
            "a%2e",
            "a%3a80",
            "a;b",
            "a=b",
            "a\\b",
            "a..",
            "a..b",
            ".a",
            "::1",
            "[::1",
            "[]",
            "[a b]",
            "[::1]a",
            "[::1]:x",
            "[fe80::1%25lo]",
            "[1.2.3.4]",
            "a\"",
            "\u{e4}",
            "a\u{3002}b",
        ] {
            assert_eq!(name(none.as_bytes()), None, "{none}");
        }
        assert_eq!(name(b"a\xff"), None);
    }
}
