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
}

/// Looks at a request. `dialects` say which parameters carry a client's id.
#[must_use]
pub fn glance(dialects: &[std::sync::Arc<Dialect>], incoming: &Incoming<'_>) -> Glance {
    let mut pairs = Form::default();
    for part in [incoming.body, incoming.query().unwrap_or_default().as_bytes()] {
        for pair in part.split(|byte| *byte == b'&') {
            let mut halves = pair.splitn(2, |byte| *byte == b'=').map(form::decode);
            if let (Some(Ok(name)), Some(Ok(value))) = (halves.next(), halves.next()) {
                pairs.push(name, value);
            }
        }
    }
    let mut ids: Vec<String> = Vec::new();
    for value in incoming.headers.get_all(header::AUTHORIZATION) {
        ids.extend(credentials::basic(value.as_bytes()).unwrap_or_default().into_iter().map(|reading| reading.id));
    }
    for dialect in dialects {
        ids.extend(pairs.values(&dialect.credentials.id).map(str::to_owned));
    }
    ids.sort_unstable();
    ids.dedup();
    Glance { ids, pairs }
}
