//! `[listen]` and `[tls]`.

use std::fs;
use std::net::SocketAddr;

use zeroize::Zeroizing;

use crate::document::{Findings, Reader, Spotted};
use crate::secrets::{Sources, warn_of_readers};
use crate::server::TlsMaterial;

/// Addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// What legacy clients call.
    pub legacy: SocketAddr,
    /// Health, metrics. Never public.
    pub ops: SocketAddr,
}

/// Certificates of the listeners; `None`: clear text.
#[derive(Clone, Debug, Default)]
pub struct TlsListeners {
    /// What legacy clients see.
    pub legacy: Option<TlsMaterial>,
    /// What operators see.
    pub ops: Option<TlsMaterial>,
}

impl TlsListeners {
    /// Which listeners speak TLS, and which of them ask for a client's certificate.
    pub(super) fn kinds(&self) -> [Option<bool>; 2] {
        [&self.legacy, &self.ops].map(|material| material.as_ref().map(|material| material.client_ca.is_some()))
    }
}

pub(super) fn read(section: Option<Reader<'_>>, findings: &Findings) -> Listen {
    let mut listen = Listen { legacy: ([127, 0, 0, 1], 8080).into(), ops: ([127, 0, 0, 1], 9090).into() };
    let Some(mut section) = section else { return listen };
    let mut address = |key, there: &mut SocketAddr| {
        let text: Spotted<String> = section.text(key)?;
        match text.value.parse() {
            Ok(parsed) => *there = parsed,
            Err(_) => section.bad_value(key, &text.origin, "an address such as \"127.0.0.1:8080\""),
        }
        Some(text.origin)
    };
    let legacy = address("legacy", &mut listen.legacy);
    let ops = address("ops", &mut listen.ops);
    if clash(listen.legacy, listen.ops)
        && let Some(origin) = ops.or(legacy)
    {
        findings.error(
            "listener-clash",
            &origin,
            "`listen.legacy` and `listen.ops` are one address",
            "choose another port".to_owned(),
        );
    }
    section.finish();
    listen
}

/// The same port at the same address, or at all addresses. Port 0 is a free one each time.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

pub(super) fn tls(section: Option<Reader<'_>>, sources: Sources<'_>) -> TlsListeners {
    let Some(mut section) = section else { return TlsListeners::default() };
    let legacy = section.section("legacy").and_then(|section| material(section, sources));
    let ops = section.section("ops").and_then(|section| material(section, sources));
    section.finish();
    TlsListeners { legacy, ops }
}

fn material(mut section: Reader<'_>, sources: Sources<'_>) -> Option<TlsMaterial> {
    let (certificate, key) = (section.required_text("certificate"), section.required_text("key"));
    let client_ca = section.text("client_ca");
    let findings = section.findings();
    let origin = section.origin().clone();
    section.finish();
    let read = |name: Spotted<String>| {
        let path = sources.directory.join(&name.value);
        let unreadable = |error| {
            findings.error(
                "unreadable-file",
                &name.origin,
                format!("{} cannot be read: {error}", path.display()),
                None,
            );
        };
        fs::read(&path).map_err(unreadable).ok()
    };
    if let Some(key) = &key {
        warn_of_readers(&sources.directory.join(&key.value), &key.origin, findings);
    }
    let client_ca = match client_ca {
        None => None,
        Some(name) => Some(read(name)?),
    };
    let material = TlsMaterial { certificate: read(certificate?)?, key: Zeroizing::new(read(key?)?), client_ca };
    if let Err(reason) = material.check() {
        findings.error("unfit-certificate", &origin, reason, None);
        return None;
    }
    Some(material)
}
