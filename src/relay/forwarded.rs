//! PURE: what proxies say of where a call came from (RFC 7239).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};

use super::hops::elements;

/// What most proxies say it by.
pub static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What one proxy says of the call that came to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop<'h> {
    /// Whom it came from, as `X-Forwarded-For` has it.
    pub of: Cow<'h, str>,
    /// The same, where that can be read.
    pub address: Option<IpAddr>,
    /// By which scheme; `X-Forwarded-For` does not say it.
    pub proto: Option<&'h str>,
    /// To which host; nor this.
    pub host: Option<&'h str>,
}

/// What the proxies say, outermost first. `X-Forwarded-For` is what most speak; `Forwarded` counts where it is missing.
#[must_use]
pub fn hops(headers: &HeaderMap) -> Vec<Hop<'_>> {
    if headers.contains_key(&FORWARDED_FOR) {
        let plain = |of| Hop { of: Cow::Borrowed(of), address: address(of), proto: None, host: None };
        return elements(headers, &FORWARDED_FOR).map(plain).collect();
    }
    let lines = headers.get_all(header::FORWARDED).iter().rev();
    let mut hops: Vec<_> = lines.flat_map(|line| from_the_end(line.as_bytes(), b',')).map(hop).collect();
    hops.reverse();
    hops
}

/// What stands between the separators that are in no quotes (RFC 9110 section 5.6.4), the last first. So what a client wrote does not
/// change how that is read which a proxy wrote behind it.
fn from_the_end(line: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut left = Some(line);
    std::iter::from_fn(move || {
        let line = left?;
        let Some(at) = last_unquoted(line, separator) else { return left.take() };
        left = line.get(..at);
        line.get(at + 1..)
    })
}

fn last_unquoted(line: &[u8], separator: u8) -> Option<usize> {
    let is_escaped = |at: usize| line.iter().take(at).rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
    let mut is_quoted = false;
    line.iter().enumerate().rev().find_map(|(at, byte)| {
        is_quoted ^= *byte == b'"' && !(is_quoted && is_escaped(at));
        (!is_quoted && *byte == separator).then_some(at)
    })
}

/// What is no text says nothing.
fn hop(element: &[u8]) -> Hop<'_> {
    let said = |wanted: &str| {
        let texts = from_the_end(element, b';').filter_map(|pair| std::str::from_utf8(pair).ok());
        let pairs = texts.filter_map(|pair| pair.trim().split_once('='));
        // Of two the first counts.
        let found = pairs.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).last();
        found.map(|(_, value)| value.trim_matches('"'))
    };
    let address = said("for").and_then(address);
    let of = address.map_or(Cow::Borrowed("unknown"), |address| address.to_string().into());
    Hop { of, address, proto: said("proto"), host: said("host") }
}

/// `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`, `[2001:db8::1]` or `2001:db8::1`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::hops::map;

    #[test]
    fn an_element_of_forwarded_says_whom_how_and_to_what() {
        let headers = map(&[(
            "forwarded",
            "For=\"[2001:db8::1]:80\";proto=https;HOST=\"a:8443\";by=_b, for=_hidden, for=192.0.2.1:80",
        )]);
        let told: Vec<_> = hops(&headers).into_iter().map(|hop| (hop.of.into_owned(), hop.proto, hop.host)).collect();
        let nothing = |of: &str| (of.to_owned(), None, None);
        let first = ("2001:db8::1".to_owned(), Some("https"), Some("a:8443"));
        assert_eq!(told, [first, nothing("unknown"), nothing("192.0.2.1")]);
    }

    #[test]
    fn what_is_quoted_separates_nothing() {
        let whom = |said: &'static str| {
            let headers = map(&[("forwarded", said)]);
            hops(&headers).into_iter().map(|hop| hop.of.into_owned()).collect::<Vec<_>>()
        };
        // What a proxy writes whose client sent `,for=203.0.113.9;b` for a host, and what that is where he had quotes in it.
        assert_eq!(whom("for=192.0.2.1;host=\",for=203.0.113.9;b\""), ["192.0.2.1"]);
        assert_eq!(whom("for=192.0.2.1;host=\"\\\",for=203.0.113.9;b=\\\"\""), ["192.0.2.1"]);
        assert_eq!(whom("host=\"\\\\\";for=192.0.2.1"), ["192.0.2.1"]);
        assert_eq!(whom("host=\";for=203.0.113.9\";for=192.0.2.1"), ["192.0.2.1"]);
        // A client's own, with a quote that does not end, before a proxy's.
        for own in ["for=203.0.113.9;host=\"", "for=203.0.113.9;host=\"\\", "for=203.0.113.9;host=\"a\"b\""] {
            for proxys in ["for=192.0.2.1", "for=192.0.2.1;host=\"a\"", "for=\"192.0.2.1:80\";host=\"\\\"\""] {
                let said = format!("{own}, {proxys}").leak();
                assert_eq!(whom(said).last().map(String::as_str), Some("192.0.2.1"), "{said}");
            }
        }
        assert_eq!(whom("for=192.0.2.1;host=a\"b"), ["unknown"]);
    }

    #[test]
    fn what_most_speak_counts_first_and_stays_as_it_is() {
        let headers = map(&[("forwarded", "for=192.0.2.1;host=a"), ("x-forwarded-for", "198.51.100.1:4711, unknown")]);
        let told: Vec<_> = hops(&headers).into_iter().map(|hop| (hop.of.into_owned(), hop.address, hop.host)).collect();
        let port = ("198.51.100.1:4711".to_owned(), Some([198, 51, 100, 1].into()), None);
        assert_eq!(told, [port, ("unknown".to_owned(), None, None)]);
    }
}
