//! PURE: what is meant for one connection alone, and goes no further (RFC 9110 section 7.6.1); how a body is framed on it.

use http::{HeaderMap, HeaderName, HeaderValue, header};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

const OURS: [HeaderName; 7] = [
    header::UPGRADE,
    header::HOST,
    header::CONTENT_LENGTH,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::COOKIE,
];

/// Takes away what is meant for one connection alone: what `Connection` names, itself, and what never goes further. Returns what the message
/// wants to be upgraded to.
pub fn end_to_end(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrades = false;
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = elements(headers, &header::CONNECTION)
            .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
            .collect();
        upgrades = named.contains(&header::UPGRADE);
        // What frames or addresses the message is not the sender's to take away, nor what it is judged by here. Nor what a proxy before us has said:
        // some hand on the `Connection` of their client beside their own lines.
        for name in named.iter().filter(|name| !OURS.contains(name) && !tells_origin(name.as_str())) {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    let never = [KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS, header::TRANSFER_ENCODING, header::TE, header::UPGRADE];
    // Most messages have none of them, and to look at few names costs less than to look for each.
    if !headers.keys().any(|name| never.contains(name)) {
        return None;
    }
    let upgrade = headers.remove(header::UPGRADE).filter(|_| upgrades);
    for name in &never {
        headers.remove(name);
    }
    upgrade
}

/// Whether it tells where a call came from and what it asked for: of any proxy's habit, and with `_` for `-` too, as CGI and its heirs read a name.
#[must_use]
pub fn tells_origin(name: &str) -> bool {
    const NAMES: [&str; 4] = ["forwarded", "x-real-ip", "x-original-url", "x-rewrite-url"];
    const FAMILY: &str = "x-forwarded-";
    let is = |known: &str, name: &str| {
        known.bytes().zip(name.bytes()).all(|(known, byte)| known == byte || (known, byte) == (b'-', b'_'))
    };
    name.starts_with(['x', 'f'])
        && (name.len() > FAMILY.len() && is(FAMILY, name)
            || NAMES.iter().any(|known| known.len() == name.len() && is(known, name)))
}

/// Whether all that frames a body is taken away where it is read: hyper takes chunks away, and what else it is in (RFC 9112 section 7) would
/// stay, and would be taken for the body.
#[must_use]
pub fn is_framed_plainly(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    let pieces = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut codings = pieces.map(<[u8]>::trim_ascii).filter(|coding| !coding.is_empty());
    codings.next().is_none_or(|first| first.eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// Why a request is refused whose body is not framed plainly.
pub const NOT_PLAIN: &str = "the body has a Transfer-Encoding that is not just `chunked`";

/// The elements of a header that is a list, over all its lines. What is no text is an empty one, and leaves the others as they are.
pub fn elements<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let pieces = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    pieces.map(|piece| std::str::from_utf8(piece).unwrap_or_default().trim())
}

/// Header lines in their order.
#[cfg(test)]
pub fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, HeaderValue::from_static(value));
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connection_names_goes_no_further() {
        let mut headers = map(&[
            ("connection", "close, X-Own"),
            ("connection", "te"),
            ("x-own", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("http2-settings", "AAMAAABk"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-kept", "2"),
        ]);
        assert_eq!(end_to_end(&mut headers), None, "an upgrade that Connection does not name is none");
        assert_eq!(headers, map(&[("x-kept", "2")]));
    }

    #[test]
    fn an_upgrade_is_told_and_the_host_cannot_be_named_away() {
        let mut headers = map(&[("connection", "Upgrade, host"), ("upgrade", "websocket"), ("host", "a")]);
        assert_eq!(end_to_end(&mut headers).unwrap(), "websocket");
        assert_eq!(headers, map(&[("host", "a")]));
    }

    #[test]
    fn what_a_message_is_judged_by_cannot_be_named_away() {
        let kept = [("authorization", "Bearer x"), ("content-type", "text/plain"), ("cookie", "a=1")];
        let mut headers = map(&kept);
        headers.insert(header::CONNECTION, HeaderValue::from_static("authorization, content-type, cookie"));
        assert_eq!(end_to_end(&mut headers), None);
        assert_eq!(headers, map(&kept));
    }
}
