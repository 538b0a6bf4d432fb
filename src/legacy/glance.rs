//! What a request says, as far as it can be made out without insisting that it is well-formed: enough to know whose it is before
//! anybody decides who answers it. Nothing is refused here.

use http::header;

use super::request::Incoming;
use super::{credentials, form};
use crate::domain::dialect::Dialect;
use crate::domain::form::Form;

/// What can be made out.
#[derive(Debug)]
pub struct Glance {
    /// Every client id that the request names, wherever it stands, in every reading. None, one or several.
    pub ids: Vec<String>,
    /// Every pair of the body, then of the query, that can be read; duplicates among them.
    pub pairs: Form,
    /// The readings of each place where an id stands.
    places: Vec<Vec<String>>,
}

impl Glance {
    /// Whether each place where an id stands can be read as this one.
    #[must_use]
    pub fn names_nobody_but(&self, id: &str) -> bool {
        self.places.iter().all(|readings| readings.iter().any(|reading| reading == id))
    }
}

/// Looks at a request. `dialects` say which parameters carry a client's id.
#[must_use]
pub fn glance(dialects: &[std::sync::Arc<Dialect>], incoming: &Incoming<'_>) -> Glance {
    let (mut pairs, mut places) = (Form::default(), Vec::new());
    for value in incoming.headers.get_all(header::AUTHORIZATION) {
        let readings = credentials::basic(value.as_bytes()).unwrap_or_default();
        places.extend((!readings.is_empty()).then(|| readings.into_iter().map(|reading| reading.id).collect()));
    }
    let fields: Vec<String> = dialects.iter().map(|dialect| bare(&dialect.credentials.id)).collect();
    let is_id = |name: &str| {
        // `client_id[]` is a list of them.
        let name = bare(name.split('[').next().unwrap_or_default());
        fields.contains(&name)
    };
    for part in [incoming.body, incoming.uri.query().unwrap_or_default().as_bytes()] {
        for (name, value) in part.split(|byte| *byte == b'&').filter_map(pair) {
            if dialects.iter().any(|dialect| dialect.credentials.id == name) && !value.is_empty() {
                places.push(vec![value.clone()]);
            }
            pairs.push(name, value);
        }
        // As others may part and name them: whom the old server may take it for is asked about here.
        let parted = part.split(|byte| matches!(byte, b'&' | b';' | b'\r' | b'\n'));
        places.extend(
            parted.filter_map(pair).filter(|(name, value)| is_id(name) && !value.is_empty()).map(|(_, id)| vec![id]),
        );
    }
    let mut ids: Vec<String> = places.iter().flatten().cloned().collect();
    ids.sort_unstable();
    ids.dedup();
    Glance { ids, pairs, places }
}

fn pair(bytes: &[u8]) -> Option<(String, String)> {
    let mut halves = bytes.splitn(2, |byte| *byte == b'=').map(form::decode);
    Some((halves.next()?.ok()?, halves.next()?.ok()?))
}

/// A name for those to whom letters of either case are the same, and signs between them are others or none: `Client-Id`, `clientId`.
pub(super) fn bare(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method, Uri};

    use super::*;
    use crate::mapping::dialect::shipped;

    fn ids(authorization: Option<&str>, target: &str, body: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.extend(authorization.map(|value| (header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())));
        let uri: Uri = target.parse().unwrap();
        let incoming = Incoming { method: &Method::POST, uri: &uri, headers: &headers, body: body.as_bytes() };
        glance(&[shipped("otk-passport")], &incoming).ids
    }

    #[test]
    fn every_id_is_seen_that_some_server_may_see() {
        for (authorization, target, body) in [
            (None, "/t", "client_id=gone"),
            (None, "/t?client_id=gone", "x=1"),
            (Some("Basic Z29uZTpi"), "/t", ""),
            (Some("Basic Z29uZTpiYg"), "/t", ""),
            (Some("Basic\tZ29uZTpi"), "/t", ""),
            (None, "/t", "x=1;client_id=gone;y=2"),
            (None, "/t", "x=1\r\nclient_id=gone"),
            (None, "/t", "Client_Id=gone"),
            (None, "/t?client.id=gone", ""),
            (None, "/t", "client%20id=gone&client_idx=other"),
            (None, "/t", "client_id[]=gone"),
            (None, "/t", "client_id%00=gone"),
            (None, "/t", "clientId=gone"),
            (None, "/t?CLIENTID=gone", ""),
            (None, "/t", "clientId=gone&oauth_client_id=other&target_client_id=other"),
        ] {
            assert_eq!(ids(authorization, target, body), ["gone"], "{authorization:?} {target} {body}");
        }
        assert_eq!(ids(None, "/t", "client_id=a&x=1;client_id=b"), ["a", "b"]);
        assert!(ids(None, "/t", "client_id=&x=client_id").is_empty());
    }
}
