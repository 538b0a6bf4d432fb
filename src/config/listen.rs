//! `[listen]` and `[tls]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use zeroize::Zeroizing;

use super::load::pem;
use crate::document::{Findings, Origin, Reader, Spotted};
use crate::domain::time::Timestamp;
use crate::relay::certificate::NEAR;
use crate::relay::{Piece, TlsMaterial};
use crate::secrets::{Sources, warn_of_readers};

/// Addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// What legacy clients call.
    pub legacy: SocketAddr,
    /// API calls; `None`: off.
    pub gateway: Option<SocketAddr>,
    /// Authorization questions of other proxies; `None`: off.
    pub authz: Option<SocketAddr>,
    /// What only the realm calls; `None`: off.
    pub realm: Option<SocketAddr>,
    /// Health, metrics. Never public.
    pub ops: SocketAddr,
}

/// Where a running bridge answers operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpsDoor {
    /// The address.
    pub address: SocketAddr,
    /// Whether TLS is spoken there, or nobody knows: clear text would be told there as a failed handshake, TLS in clear text as nothing.
    pub is_secure: bool,
}

/// Certificates of the listeners; `None`: clear text.
#[derive(Clone, Debug, Default)]
pub struct TlsListeners {
    /// What legacy clients see.
    pub legacy: Option<TlsMaterial>,
    /// What callers of APIs see.
    pub gateway: Option<TlsMaterial>,
    /// What other proxies see.
    pub authz: Option<TlsMaterial>,
    /// What the realm sees.
    pub realm: Option<TlsMaterial>,
    /// What operators see.
    pub ops: Option<TlsMaterial>,
}

impl TlsListeners {
    /// Each listener by its name, and what it shows.
    pub(crate) fn each(&self) -> [(&'static str, Option<&TlsMaterial>); 5] {
        let Self { legacy, gateway, authz, realm, ops } = self;
        let all = [("legacy", legacy), ("gateway", gateway), ("authz", authz), ("realm", realm), ("ops", ops)];
        all.map(|(name, material)| (name, material.as_ref()))
    }

    /// Which listeners speak TLS. What they show and ask for is exchanged by a reload.
    pub(super) fn kinds(&self) -> [bool; 5] {
        self.each().map(|(_, material)| material.is_some())
    }
}

/// Where operators are answered if nobody says so.
pub(super) const OPS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// The addresses, and where that of API calls is written.
pub(super) fn read(section: Option<Reader<'_>>, findings: &Findings) -> (Listen, Option<Origin>) {
    let legacy = ([127, 0, 0, 1], 8080).into();
    let mut listen = Listen { legacy, gateway: None, authz: None, realm: None, ops: OPS };
    let Some(mut section) = section else { return (listen, None) };
    let named = [
        ("legacy", place(&mut section, "legacy", Some(listen.legacy))),
        ("gateway", place(&mut section, "gateway", None)),
        ("authz", place(&mut section, "authz", None)),
        ("realm", place(&mut section, "realm", None)),
        ("ops", place(&mut section, "ops", Some(listen.ops))),
    ];
    section.finish();
    for (index, (name, one)) in named.iter().enumerate() {
        for (other_name, other) in named.iter().skip(index + 1) {
            if let (Some(one), Some(other)) = (one, other) {
                refuse_clash((name, one), (other_name, other), findings);
            }
        }
    }
    let of_gateway = named[1].1.as_ref().and_then(|place| place.origin.clone());
    let [legacy, gateway, authz, realm, ops] = named.map(|(_, place)| place.map(|place| place.address));
    listen.legacy = legacy.unwrap_or(listen.legacy);
    listen.ops = ops.unwrap_or(listen.ops);
    (Listen { gateway, authz, realm, ..listen }, of_gateway)
}

/// Where operators are answered, looking at nothing else. `None`: what is written is no address.
pub(super) fn ops(file: &mut Reader<'_>, absent: Option<SocketAddr>) -> Option<SocketAddr> {
    if !file.has("listen") {
        return absent;
    }
    place(&mut file.section("listen")?, "ops", absent).map(|place| place.address)
}

/// Where a listener is; without an origin by default.
struct Place {
    address: SocketAddr,
    origin: Option<Origin>,
}

/// None where it is off, or no address.
fn place(section: &mut Reader<'_>, key: &'static str, default: Option<SocketAddr>) -> Option<Place> {
    let written = section.has(key);
    match section.parsed(key, "an address such as \"127.0.0.1:8080\"", |text| text.parse().ok()) {
        Some(found) => Some(Place { address: found.value, origin: Some(found.origin) }),
        None if written => None,
        None => default.map(|address| Place { address, origin: None }),
    }
}

fn refuse_clash((name, one): (&str, &Place), (other_name, other): (&str, &Place), findings: &Findings) {
    // The defaults are two: who clashes is written at least once.
    let Some(origin) = other.origin.as_ref().or(one.origin.as_ref()) else { return };
    if !clash(one.address, other.address) {
        return;
    }
    let hint = match (&one.origin, &other.origin) {
        (None, _) => format!("choose another port; `listen.{name}` is {}, where nothing else is said", one.address),
        (_, None) => {
            format!("choose another port; `listen.{other_name}` is {}, where nothing else is said", other.address)
        }
        (Some(_), Some(_)) => "choose another port".to_owned(),
    };
    findings.error(
        "listener-clash",
        origin,
        format!("`listen.{name}` and `listen.{other_name}` are one address"),
        hint,
    );
}

/// The same port at the same address, or at all addresses, be it written as IPv4 or as IPv6 has it. Port 0 is a free one each time.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let [ip, other_ip] = [one, other].map(|address| address.ip().to_canonical());
    one.port() != 0
        && one.port() == other.port()
        && (ip == other_ip || ip.is_unspecified() || other_ip.is_unspecified())
}

/// What each listener shows; whether that counts is said by the time of now.
pub(super) fn tls(section: Option<Reader<'_>>, listen: &Listen, sources: Sources<'_>, now: Timestamp) -> TlsListeners {
    let Some(mut section) = section else { return TlsListeners::default() };
    for (key, address) in [("gateway", listen.gateway), ("authz", listen.authz), ("realm", listen.realm)] {
        if let Some(origin) = section.origin_of(key).filter(|_| address.is_none()) {
            let message = format!("`{}` where nothing listens", section.path(key));
            let hint = format!("set `listen.{key}`, or leave it out");
            section.findings().warning("unused-key", &origin, message, hint);
        }
    }
    let mut of = |key| {
        let section = section.section(key)?;
        let findings = section.findings();
        let (material, origin) = material(section, sources)?;
        warn_of_its_time(&material, now, &origin, findings);
        Some(material)
    };
    let listeners = TlsListeners {
        legacy: of("legacy"),
        gateway: of("gateway"),
        authz: of("authz"),
        realm: of("realm"),
        ops: of("ops"),
    };
    section.finish();
    listeners
}

/// What a listener shows, and where its certificate is named.
pub(super) fn material(mut section: Reader<'_>, sources: Sources<'_>) -> Option<(TlsMaterial, Origin)> {
    let (certificate, key) =
        (section.required_filled("certificate", "a path"), section.required_filled("key", "a path"));
    let client_ca = section.filled("client_ca", "a path");
    let findings = section.findings();
    let begin = section.path("");
    section.finish();
    // Each is looked at, whatever is wrong with the others.
    let read = |name: &Option<Spotted<String>>| pem(name.as_ref()?, sources, findings);
    let (shown, secret, trusted) = (read(&certificate), read(&key), read(&client_ca));
    if let Some(key) = &key {
        warn_of_readers(&sources.directory.join(&key.value), &key.origin, findings);
    }
    let (certificate, key) = (certificate?, key?);
    if client_ca.is_some() && trusted.is_none() {
        return None;
    }
    let material = TlsMaterial { certificate: shown?, key: Zeroizing::new(secret?), client_ca: trusted };
    let faults = material.faults();
    for fault in &faults {
        let named = match fault.piece {
            Piece::Certificate => &certificate,
            Piece::Key => &key,
            Piece::ClientCa => client_ca.as_ref().unwrap_or(&certificate),
        };
        let message = format!("`{begin}{}` {}", fault.piece.word(), fault.reason);
        findings.error("unfit-certificate", &named.origin, message, fault.hint);
    }
    if !faults.is_empty() {
        return None;
    }
    Some((material, certificate.origin))
}

/// A certificate that is over, or does not count yet, is shown all the same: some clients look at none, and a bridge that is
/// down helps nobody.
fn warn_of_its_time(material: &TlsMaterial, now: Timestamp, origin: &Origin, findings: &Findings) {
    let (Some(begin), Some(end)) = (material.begins(), material.ends()) else { return };
    let day = end.rfc3339();
    let hint = "put the next one in its place: a reload shows it";
    if begin > now {
        let day = begin.rfc3339();
        let hint = "keep the one before it in its place until then; or is this machine's clock behind?";
        findings.warning("certificate-not-yet", origin, format!("this certificate counts only from {day} on"), hint);
    } else if end <= now {
        findings.warning("certificate-expired", origin, format!("this certificate ended at {day}"), hint);
    } else if end.since(now) < NEAR {
        findings.warning("certificate-expiring", origin, format!("this certificate ends soon, at {day}"), hint);
    }
}
