//! What operators need at a bad hour, read alone: a running bridge goes on with what it has, whatever else is wrong with the files.
//!
//! Must not: make up for what is wrong in what it reads.

use std::net::SocketAddr;
use std::path::Path;

use secrecy::SecretString;

use super::load::{identities, ops_token, overlaid, read};
use super::{audit, listen, store};
use crate::document::{Findings, Reader, Table};
use crate::secrets::{Environment, Identities, Means, Sources};
use crate::server::TlsMaterial;
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

/// Reads `listen.ops`, `tls.ops` and `[ops]`. `None`: there are errors in them, and among the findings.
pub fn ops_access(path: &Path, environment: &Environment, findings: &Findings) -> Option<OpsAccess> {
    let (table, identities) = parts(path, environment, findings)?;
    let sources = Sources { directory: directory(path), means: Means { environment, identities: &identities } };
    let mut file = Reader::new(table, "", findings);
    let address = listen::ops(&mut file, Some(listen::OPS))?;
    let tls = file.section("tls").and_then(|mut tls| listen::material(tls.section("ops")?, sources));
    let token = file.section("ops").and_then(|section| ops_token(section, sources));
    (!findings.blocked()).then_some(OpsAccess { address, tls, token })
}

/// Reads `[audit]`, and of `[store]` where it lies. `Some(None)`: it is off. `None`: there are errors among the findings, or nobody knows where it
/// is.
pub fn audit_alone(path: &Path, environment: &Environment, findings: &Findings) -> Option<Option<AuditSettings>> {
    let (table, identities) = parts(path, environment, findings)?;
    let sources = Sources { directory: directory(path), means: Means { environment, identities: &identities } };
    // Its own errors are none of the audit's.
    let store = store::read(Reader::new(table.clone(), "", &Findings::new()).section("store"), sources);
    let mut section = Reader::new(table, "", findings).section("audit");
    let is_known = store.is_some() || section.as_mut().is_some_and(|section| section.has("path"));
    let settings = audit::read(section, sources.directory, store.as_ref());
    (is_known && !findings.blocked()).then_some(settings)
}

/// The file, overlaid, and what opens sealed secrets in it. Who reads a part tells what is wrong with that alone.
fn parts(path: &Path, environment: &Environment, findings: &Findings) -> Option<(Table, Identities)> {
    let unheard = Findings::new();
    let table = overlaid(read(path, findings)?, environment, &unheard);
    let sources = Sources { directory: directory(path), means: environment.into() };
    let section = Reader::new(table.clone(), "", &unheard).section("secrets");
    Some((table, section.map(|section| identities(section, sources)).unwrap_or_default()))
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}
