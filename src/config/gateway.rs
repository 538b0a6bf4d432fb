//! `[gateway]` and its routes.

use std::borrow::Cow;
use std::time::Duration;

use super::load::pem;
use crate::document::{Origin, Reader, Spotted};
use crate::gateway::routes::{Route, Upstream};
use crate::gateway::{GatewaySettings, host};
use crate::relay::Trust;
use crate::secrets::Sources;

pub(super) fn read(section: Option<Reader<'_>>, is_on: bool, sources: Sources<'_>) -> GatewaySettings {
    let mut settings = GatewaySettings::default();
    let Some(mut section) = section else { return settings };
    let (short, long) = (Duration::from_millis(100), Duration::from_hours(1));
    let bounds = &mut settings.bounds;
    bounds.connect_timeout = section.duration_within("connect_timeout", bounds.connect_timeout, short, long);
    bounds.timeout = section.duration_within("timeout", bounds.timeout, short, long);
    bounds.idle_timeout = section.duration_within("idle_timeout", bounds.idle_timeout, short, long);
    bounds.body = section.size_within("body", 0, 1 << 40).unwrap_or(bounds.body);
    settings.authz_cache =
        section.seconds_within("authz_cache", settings.authz_cache, Duration::ZERO, Duration::from_mins(1));
    let mut routes: Vec<(Route, Origin)> = Vec::new();
    for reader in section.sections("route") {
        let (origin, findings) = (reader.origin().clone(), reader.findings());
        let Some(read) = route(reader, sources) else { continue };
        if let Some((_, first)) = routes.iter().find(|(known, _)| known.overlaps(&read)) {
            let message = format!("`{}` is routed twice for the same host and clients; first at {first}", read.prefix);
            findings.error("overlapping-routes", &origin, message, "leave out one of them".to_owned());
        }
        routes.push((read, origin));
    }
    if !routes.is_empty() && !is_on {
        let hint = "set `listen.gateway` or `listen.authz`".to_owned();
        section.findings().warning("unused-routes", section.origin(), "routes that no listener uses", hint);
    }
    section.finish();
    settings.routes = routes.into_iter().map(|(route, _)| route).collect();
    settings
}

fn route(mut section: Reader<'_>, sources: Sources<'_>) -> Option<Route> {
    let prefix = section.required_text("prefix");
    let upstreams = upstreams(&mut section);
    let trust = trust(&mut section, upstreams.as_deref().unwrap_or_default(), sources);
    let host = section.text("host").map(|text| named_host(&section, &text));
    let clients = section.texts("clients", "name old ids, or leave it out: then the route is everybody's");
    let http2 = section.boolean("http2", false);
    let strip_prefix = section.boolean("strip_prefix", false);
    let keep_host = section.word("upstream_host", &[("client", true), ("upstream", false)]);
    let pass_jwt = section.word("bearer_jwt", &[("refuse", false), ("pass", true)]);
    let pass_anonymous = section.word("anonymous", &[("refuse", false), ("pass", true)]);
    let prefix = prefix.and_then(|text| self::prefix(&section, &text));
    section.finish();
    Some(Route {
        prefix: prefix?,
        host: match host {
            Some(name) => Some(name?),
            None => None,
        },
        clients: clients.unwrap_or_default().into_iter().map(|text| text.value).collect(),
        upstreams: upstreams?,
        trust,
        http2,
        strip_prefix,
        keep_host: keep_host.is_none_or(|word| word.value),
        pass_jwt: pass_jwt.is_some_and(|word| word.value),
        pass_anonymous: pass_anonymous.is_some_and(|word| word.value),
    })
}

/// Whole segments that mean themselves.
fn prefix(section: &Reader<'_>, text: &Spotted<String>) -> Option<String> {
    let bare = text.value.trim_end_matches('/');
    let odd = |segment: &str| segment.is_empty() || segment == "." || segment == "..";
    let is_plain = text.value.starts_with('/')
        && text.value.is_ascii()
        && !text.value.contains(['?', '#', '%', ';', '\\', ' '])
        && !bare.split('/').skip(1).any(odd);
    if !is_plain {
        section.bad_value("prefix", &text.origin, "a path such as \"/api\"");
        return None;
    }
    Some(if bare.is_empty() { "/".to_owned() } else { bare.to_owned() })
}

/// A host that a call can name. Its port counts nowhere, so to name one would promise more than is kept.
fn named_host(section: &Reader<'_>, text: &Spotted<String>) -> Option<String> {
    let has_port = text.value.bytes().next_back() != Some(b']') && text.value.contains(':');
    let name = host::name(text.value.as_bytes()).filter(|name| !name.is_empty() && !has_port);
    if name.is_none() {
        section.bad_value("host", &text.origin, "a name or an address without a port, such as \"api.example.org\"");
    }
    name.map(Cow::into_owned)
}

/// One URL or a list of them.
fn upstreams(section: &mut Reader<'_>) -> Option<Vec<Upstream>> {
    let texts =
        section.required_text_or_texts("upstream", "upstream = \"http://127.0.0.1:8090\", or a list of such")?;
    let count = texts.len();
    let read: Vec<Upstream> = texts.into_iter().filter_map(|text| upstream(section, &text)).collect();
    (count > 0 && read.len() == count).then_some(read)
}

fn upstream(section: &Reader<'_>, text: &Spotted<String>) -> Option<Upstream> {
    let upstream = Upstream::parse(&text.value);
    if upstream.is_none() {
        section.bad_url("upstream", text, "a URL without path, such as \"http://127.0.0.1:8090\"");
    }
    upstream
}

/// Who vouches for servers that speak TLS.
fn trust(section: &mut Reader<'_>, upstreams: &[Upstream], sources: Sources<'_>) -> Option<Trust> {
    let ca = section.filled("ca", "a path");
    let is_secure = upstreams.iter().any(|upstream| upstream.name.is_some());
    if let Some(ca) = ca.as_ref().filter(|_| !is_secure) {
        let hint = "leave it out, or let `upstream` begin with https://".to_owned();
        section.findings().warning("unused-key", &ca.origin, "`ca` where no upstream speaks TLS", hint);
    }
    let bytes = match &ca {
        Some(name) => Some(pem(name, sources, section.findings())?),
        None => None,
    };
    if !is_secure {
        return None;
    }
    match Trust::new(bytes) {
        Ok(trust) => Some(trust),
        Err(reason) => {
            let origin = ca.map_or_else(|| section.origin().clone(), |ca| ca.origin);
            let hint = "ca = \"api-ca.pem\": a PEM file with the certificates to trust".to_owned();
            section.findings().error("unfit-certificate", &origin, format!("`ca` {reason}"), hint);
            None
        }
    }
}
