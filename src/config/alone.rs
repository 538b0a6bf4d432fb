//! What operators need at a bad hour, read alone: a running bridge goes on with what it has, whatever else is wrong with the files.
//!
//! Must not: make up for what is wrong in what it reads, or take a default for what may stand in a line that cannot be read.

use std::net::SocketAddr;
use std::path::Path;

use secrecy::SecretString;

use super::load::{identities, ops_token, overlaid, readable};
use super::{audit, listen, store};
use crate::document::{Findings, Lost, Reader, Table};
use crate::relay::TlsMaterial;
use crate::secrets::{Environment, Identities, Means, Sources};
use crate::telemetry::audit::AuditSettings;

/// How operators ask a running bridge.
#[derive(Debug)]
pub struct OpsAccess {
    /// Where.
    pub address: SocketAddr,
    /// What it shows; `None`: it answers in clear text.
    pub tls: Option<TlsMaterial>,
    /// What they show; `None`: nothing that needs it is to be had.
    pub token: Option<SecretString>,
}

/// Reads `listen.ops`, `tls.ops` and `[ops]`. `None`: there are errors in them, and among the findings, or they may stand where the file is no
/// TOML.
pub fn ops_access(path: &Path, environment: &Environment, findings: &Findings) -> Option<OpsAccess> {
    let (table, lost, identities) = parts(path, environment)?;
    let sources = Sources { directory: directory(path), means: Means { environment, identities: &identities } };
    let mut file = Reader::new(table, "", findings);
    let absent = (!lost.may_hold(["listen", "ops"])).then_some(listen::OPS);
    let address = listen::ops(&mut file, absent)?;
    let tls = file.section("tls").and_then(|mut tls| listen::material(tls.section("ops")?, sources));
    let tls = tls.map(|(material, _)| material);
    let token = file.section("ops").and_then(|section| ops_token(section, sources));
    let is_known =
        (tls.is_some() || !lost.may_hold(["tls", "ops"])) && (token.is_some() || !lost.may_hold(["ops", "token"]));
    (is_known && !findings.blocked()).then_some(OpsAccess { address, tls, token })
}

/// Reads `[audit]`, and of `[store]` where it lies. `Some(None)`: it is off. `None`: there are errors among the findings, or nobody knows where it
/// is.
pub fn audit_alone(path: &Path, environment: &Environment, findings: &Findings) -> Option<Option<AuditSettings>> {
    let (table, lost, identities) = parts(path, environment)?;
    let sources = Sources { directory: directory(path), means: Means { environment, identities: &identities } };
    // Its own errors are none of the audit's.
    let unheard = Findings::new();
    let mut store = Reader::new(table.clone(), "", &unheard).section("store");
    let mut is_said = |key| store.as_mut().is_some_and(|store| store.has(key)) || !lost.may_hold(["store", key]);
    let is_placed = is_said("kind") && is_said("path") && !lost.may_hold(["audit", "path"]);
    let store = store::read(store, sources).filter(|_| is_placed);
    let mut section = Reader::new(table, "", findings).section("audit");
    let is_known = store.is_some() || section.as_mut().is_some_and(|section| section.has("path"));
    // Whether it is on, and for how long it is kept, shows by its files.
    let settings = audit::read(section, sources.directory, store.as_ref());
    (is_known && !findings.blocked()).then_some(settings)
}

/// The file as far as it can be read, overlaid, what of it cannot be, and what opens sealed secrets in it. Who reads a part tells what is wrong
/// with that alone.
fn parts(path: &Path, environment: &Environment) -> Option<(Table, Lost, Identities)> {
    let unheard = Findings::new();
    let (table, lost) = readable(path, &unheard)?;
    let table = overlaid(table, environment, &unheard);
    let sources = Sources { directory: directory(path), means: environment.into() };
    let section = Reader::new(table.clone(), "", &unheard).section("secrets");
    Some((table, lost, section.map(|section| identities(section, sources)).unwrap_or_default()))
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}
