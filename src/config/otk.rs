//! `[otk]`.

use std::time::Duration;

use super::load::pem;
use crate::document::{Reader, Spotted};
use crate::otk::{OtkSettings, UnknownClients};
use crate::secrets::Sources;

pub(super) fn read(mut section: Reader<'_>, sources: Sources<'_>) -> Option<OtkSettings> {
    let text = section.required_text("url");
    let url = text.and_then(|text| url(&section, &text));
    let unknown_clients = section.word("unknown_clients", &UnknownClients::WORDS);
    let (short, long) = (Duration::from_millis(100), Duration::from_mins(5));
    let timeout = section.duration_within("timeout", Duration::from_secs(10), short, long);
    let connect_timeout = section.duration_within("connect_timeout", Duration::from_secs(2), short, long);
    let trusted = section.text("ca").and_then(|text| pem(&text, sources, section.findings()));
    section.finish();
    let (host, port, tls) = url?;
    let unknown_clients = unknown_clients.map_or(UnknownClients::Pass, |word| word.value);
    Some(OtkSettings { host, port, tls, unknown_clients, timeout, connect_timeout, trusted })
}

/// Host, port, and whether TLS is spoken. Targets go on as they come, so there is nothing that a path could be put before.
fn url(section: &Reader<'_>, text: &Spotted<String>) -> Option<(String, u16, bool)> {
    let uri: Option<http::Uri> = text.value.parse().ok();
    let plain = uri.filter(|uri| uri.query().is_none() && matches!(uri.path(), "" | "/"));
    let tls = plain.as_ref().and_then(|uri| match uri.scheme_str() {
        Some("http") => Some(false),
        Some("https") => Some(true),
        Some(_) | None => None,
    });
    let authority = plain.as_ref().and_then(http::Uri::authority).filter(|it| !it.as_str().contains('@'));
    let (Some(tls), Some(authority)) = (tls, authority) else {
        section.bad_value("url", &text.origin, "a URL without path, such as \"https://old.example.org\"");
        return None;
    };
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    Some((authority.host().to_owned(), port, tls))
}
