//! `[gateway]` and its routes.

use std::borrow::Cow;
use std::time::Duration;

use super::listen::Listen;
use super::load::pem;
use crate::document::{Findings, Origin, Reader, Spotted};
use crate::gateway::routes::{Route, Upstream};
use crate::gateway::{GatewaySettings, host};
use crate::relay::Trust;
use crate::secrets::Sources;

/// The settings, and the clients that routes name.
pub(super) fn read(
    section: Option<Reader<'_>>,
    listen: &Listen,
    sources: Sources<'_>,
) -> (GatewaySettings, Vec<Spotted<String>>) {
    let (mut settings, mut named) = (GatewaySettings::default(), Vec::new());
    let Some(mut section) = section else { return (settings, named) };
    let (short, long) = (Duration::from_millis(100), Duration::from_hours(1));
    let bounds = &mut settings.bounds;
    bounds.connect_timeout = section.duration_within("connect_timeout", bounds.connect_timeout, short, long);
    bounds.timeout = section.duration_within("timeout", bounds.timeout, short, long);
    bounds.idle_timeout = section.duration_within("idle_timeout", bounds.idle_timeout, short, long);
    bounds.body = section.size_within("body", 0, 1 << 40).unwrap_or(bounds.body);
    let of_cache = section.origin_of("authz_cache");
    settings.authz_cache =
        section.seconds_within("authz_cache", settings.authz_cache, Duration::ZERO, Duration::from_mins(1));
    let mut routes: Vec<(Route, Origin)> = Vec::new();
    for reader in section.sections("route") {
        let (origin, findings) = (reader.origin().clone(), reader.findings());
        let Some((read, clients)) = route(reader, sources) else { continue };
        named.extend(clients);
        if let Some((_, first)) = routes.iter().find(|(known, _)| known.overlaps(&read)) {
            let message = format!("`{}` is routed twice for the same host and clients; first at {first}", read.prefix);
            findings.error("overlapping-routes", &origin, message, "leave out one of them");
        }
        routes.push((read, origin));
    }
    passed_by(&routes, section.findings());
    if let Some(origin) = of_cache.filter(|_| !settings.authz_cache.is_zero() && listen.authz.is_none()) {
        let message = "`gateway.authz_cache` where no other proxy can ask";
        section.findings().warning("unused-key", &origin, message, "set `listen.authz`, or leave it out");
    }
    if !routes.is_empty() && listen.gateway.is_none() && listen.authz.is_none() {
        let hint = "set `listen.gateway` or `listen.authz`";
        section.findings().warning("unused-routes", section.origin(), "routes that no listener uses", hint);
    }
    section.finish();
    settings.routes = routes.into_iter().map(|(route, _)| route).collect();
    (settings, named)
}

/// Tells of routes for named clients that others take another way round.
fn passed_by(routes: &[(Route, Origin)], findings: &Findings) {
    for (narrow, origin) in routes {
        let Some((wide, other)) = routes.iter().find(|(wide, _)| narrow.is_passed_by(wide)) else { continue };
        let host = wide.host.as_deref().unwrap_or_default();
        let message = format!(
            "whoever calls the host `{host}` takes the route at {other} in place of this one, which is for named clients"
        );
        let hint = format!(
            "a route of the called host counts before a longer prefix: route `{}` of that host too",
            narrow.prefix
        );
        findings.warning("shadowed-route", origin, message, hint);
    }
}

fn route(mut section: Reader<'_>, sources: Sources<'_>) -> Option<(Route, Vec<Spotted<String>>)> {
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
    let pass_interim = section.word("interim_responses", &[("drop", false), ("pass", true)]);
    for (key, word) in [("bearer_jwt", &pass_jwt), ("anonymous", &pass_anonymous)] {
        if let Some(word) = word.as_ref().filter(|word| word.value && clients.is_some()) {
            let hint = "leave it out, or route such calls without `clients`";
            let message = format!("`{key}` where the route is for named clients: nobody knows whose such a call is");
            section.findings().warning("unused-key", &word.origin, message, hint);
        }
    }
    let prefix = prefix.and_then(|text| self::prefix(&section, &text));
    section.finish();
    let clients = clients.unwrap_or_default();
    let route = Route {
        prefix: prefix?,
        host: match host {
            Some(name) => Some(name?),
            None => None,
        },
        clients: clients.iter().map(|text| text.value.clone()).collect(),
        upstreams: upstreams?,
        trust,
        http2,
        strip_prefix,
        keep_host: keep_host.is_none_or(|word| word.value),
        pass_jwt: pass_jwt.is_some_and(|word| word.value),
        pass_anonymous: pass_anonymous.is_some_and(|word| word.value),
        pass_interim: pass_interim.is_some_and(|word| word.value),
    };
    Some((route, clients))
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
        let hint = "leave it out, or let `upstream` begin with https://";
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
            let hint = "ca = \"api-ca.pem\": a PEM file with the certificates to trust";
            section.findings().error("unfit-certificate", &origin, format!("`ca` {reason}"), hint);
            None
        }
    }
}
