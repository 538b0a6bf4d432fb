//! `[otk]`.

use std::time::Duration;

use super::load::ca;
use crate::document::{Reader, Spotted};
use crate::gateway::OldApi;
use crate::gateway::routes::{Upstream, port};
use crate::otk::{OtkSettings, UnknownClients};
use crate::relay::{Trust, trusted_by_the_system};
use crate::secrets::Sources;

/// The old server, and the API that honours its UUIDs. `has_gateway`: API calls are taken.
pub(super) fn read(
    mut section: Reader<'_>,
    has_gateway: bool,
    sources: Sources<'_>,
) -> Option<(OtkSettings, Option<OldApi>)> {
    let text = section.required_text("url");
    let url = text.and_then(|text| url(&section, &text));
    let unknown_clients = section.word("unknown_clients", &UnknownClients::WORDS);
    let (short, long) = (Duration::from_millis(100), Duration::from_mins(5));
    let timeout = section.duration_within("timeout", Duration::from_secs(10), short, long);
    let connect_timeout = section.duration_within("connect_timeout", Duration::from_secs(2), short, long);
    let api = section.text("api");
    // Of what is no URL nobody knows.
    let of_the_api = |text: &Spotted<String>| Upstream::parse(&text.value).is_none_or(|api| api.name.is_some());
    let is_secure = url.as_ref().is_none_or(|(_, _, tls)| *tls) || api.as_ref().is_some_and(of_the_api);
    let trusted = ca(&mut section, is_secure, sources);
    let api = api.map(|text| self::api(&section, &text, has_gateway, trusted.clone()));
    section.finish();
    let (host, port, tls) = url?;
    // A key with something wrong in it is not the same as none.
    let api = match api {
        Some(read) => Some(read?),
        None => None,
    };
    let system = (tls && trusted.is_none()).then(trusted_by_the_system).flatten();
    let unknown_clients = unknown_clients.map_or(UnknownClients::Pass, |word| word.value);
    Some((OtkSettings { host, port, tls, unknown_clients, timeout, connect_timeout, trusted, system }, api))
}

/// Where calls with UUIDs of the old server go.
fn api(section: &Reader<'_>, text: &Spotted<String>, has_gateway: bool, ca: Option<Vec<u8>>) -> Option<OldApi> {
    let Some(upstream) = Upstream::parse(&text.value) else {
        section.bad_url("api", text, "a URL without path, such as \"https://old-api.example.org\"");
        return None;
    };
    if !has_gateway {
        let hint = "set `listen.gateway`";
        section.findings().warning("unused-key", &text.origin, "`otk.api` where no listener takes API calls", hint);
    }
    let trust = match upstream.name {
        Some(_) => match Trust::new(ca) {
            Ok(trust) => Some(trust),
            Err(reason) => {
                let hint = "ca = \"old-ca.pem\": a PEM file with the certificates to trust";
                section.findings().error("unfit-certificate", &text.origin, format!("`otk.ca` {reason}"), hint);
                return None;
            }
        },
        None => None,
    };
    Some(OldApi { upstream, trust })
}

/// Host, port, and whether TLS is spoken. Targets go on as they come, so there is nothing that a path could be put before.
fn url(section: &Reader<'_>, text: &Spotted<String>) -> Option<(String, u16, bool)> {
    let uri: Option<http::Uri> = text.value.parse().ok();
    let is_bare = |uri: &http::Uri| uri.query().is_none() && matches!(uri.path(), "" | "/");
    let plain = uri.filter(|uri| is_bare(uri) && !text.value.contains('#'));
    let tls = plain.as_ref().and_then(|uri| match uri.scheme_str() {
        Some("http") => Some(false),
        Some("https") => Some(true),
        Some(_) | None => None,
    });
    let authority = plain.as_ref().and_then(http::Uri::authority).filter(|it| !it.as_str().contains('@'));
    let port = tls.zip(authority).and_then(|(tls, authority)| port(authority, tls));
    let (Some(tls), Some(authority), Some(port)) = (tls, authority, port) else {
        section.bad_url("url", text, "a URL without path, such as \"https://old.example.org\"");
        return None;
    };
    Some((authority.host().to_owned(), port, tls))
}
