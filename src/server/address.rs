//! Whose request it is, where proxies stand in between: their word counts only if they are configured (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

use crate::relay::hops::elements;

/// The address of the legacy client. Walks from the peer outward as long as the next one is trusted; the first that is not
/// is the client. What cannot be read ends the walk.
#[must_use]
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut address = peer.to_canonical();
    if !is_trusted(address, trusted) {
        return address;
    }
    for hop in hops(headers).into_iter().rev() {
        let Some(next) = hop else { break };
        address = next.to_canonical();
        if !is_trusted(address, trusted) {
            break;
        }
    }
    address
}

/// Whether what this peer says of others counts.
pub(super) fn is_trusted(peer: IpAddr, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|network| network.contains(&peer))
}

/// What the proxies say, outermost first. `X-Forwarded-For` is what most speak; `Forwarded` counts where it is missing.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let for_header = HeaderName::from_static("x-forwarded-for");
    if headers.contains_key(&for_header) {
        return elements(headers, &for_header).map(host).collect();
    }
    let node = |element: &str| {
        element.split(';').find_map(|pair| {
            pair.trim()
                .split_once('=')
                .filter(|(name, _)| name.eq_ignore_ascii_case("for"))
                .map(|(_, node)| node.trim_matches('"').to_owned())
        })
    };
    elements(headers, &header::FORWARDED).map(|element| node(element).and_then(|node| host(&node))).collect()
}

/// `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`, `[2001:db8::1]` or `2001:db8::1`.
fn host(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].iter().map(|network| network.parse().unwrap()).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        client_address(peer.parse().unwrap(), &map, &trusted).to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(seen("192.0.2.9", &[("x-forwarded-for", "198.51.100.1")]), "192.0.2.9");
    }

    #[test]
    fn trusted_proxies_are_walked_outward_to_the_first_stranger() {
        assert_eq!(seen("10.1.1.1", &[("x-forwarded-for", "1.2.3.4, 198.51.100.1, 10.2.2.2")]), "198.51.100.1");
        assert_eq!(
            seen("10.1.1.1", &[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "198.51.100.1:4711")]),
            "198.51.100.1"
        );
        assert_eq!(seen("::ffff:10.1.1.1", &[("x-forwarded-for", "[2001:db8::1]:80")]), "2001:db8::1");
        assert_eq!(seen("10.1.1.1", &[]), "10.1.1.1");
    }

    #[test]
    fn what_cannot_be_read_ends_the_walk() {
        assert_eq!(seen("10.1.1.1", &[("x-forwarded-for", "198.51.100.1, unknown, 10.2.2.2")]), "10.2.2.2");
    }

    #[test]
    fn forwarded_counts_where_the_other_is_missing() {
        assert_eq!(
            seen("10.1.1.1", &[("forwarded", "for=198.51.100.1;proto=https, For=\"[fd00::7]\"")]),
            "198.51.100.1"
        );
    }
}
