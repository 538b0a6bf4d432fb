//! Whose request it is, where proxies stand in between: their word counts only if they are configured (RFC 7239).

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

use crate::relay::forwarded::hops;

/// The address of the legacy client. Walks from the peer outward as long as the next one is trusted; the first that is not
/// is the client. What cannot be read ends the walk.
#[must_use]
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut address = peer.to_canonical();
    if !is_trusted(address, trusted) {
        return address;
    }
    for hop in hops(headers).into_iter().rev() {
        let Some(next) = hop.address else { break };
        address = next;
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
