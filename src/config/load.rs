//! Reads the file, lays the environment over it, and takes every section.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use secrecy::ExposeSecret;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{Config, OpsDoor, audit, gateway, limits, listen, otk, patience, realm, store};
use crate::document::{Findings, Lost, Origin, Reader, Severity, Spotted, Table, parse, salvaged};
use crate::domain::time::Timestamp;
use crate::mapping::Place;
use crate::relay::Trust;
use crate::secrets::files::{self, Unfit};
use crate::secrets::{self, Environment, Identities, Means, Sources};

/// Where the mappings are if nobody says so.
const MAPPINGS: &str = "mappings";

/// Variables that begin so override the file: `PASSBRIDGE__SECTION__KEY`.
const PREFIX: &str = "PASSBRIDGE__";

/// Names the file of the certificates that the system trusts, as it does to other programs.
const SYSTEM: &str = "SSL_CERT_FILE";

/// A configuration may be long, but not like this.
const LONGEST: u64 = 1024 * 1024;

/// Loads the configuration, as it is to be judged now. `None`: there are errors among the findings.
pub fn load(path: &Path, environment: &Environment, now: Timestamp, findings: &Findings) -> Option<Config> {
    examine(path, environment, now, findings).config
}

/// What a look at the mappings needs, even if the rest of the configuration is wrong.
#[derive(Debug)]
pub struct Examined {
    /// `None`: there are errors among the findings.
    pub config: Option<Config>,
    /// Where the mappings are; `None`: the file cannot be opened, or is no TOML, so that nobody knows.
    pub mappings: Option<Place>,
    /// What opens sealed secrets in them.
    pub identities: Identities,
}

/// Loads the configuration, and tells where the mappings are even if the rest of it is wrong.
pub fn examine(path: &Path, environment: &Environment, now: Timestamp, findings: &Findings) -> Examined {
    let directory = path.parent().unwrap_or(Path::new("."));
    if let Some(system) = environment.value(SYSTEM) {
        let system = Path::new(system);
        findings.rests_on(system, files::look(system));
    }
    let Some(table) = read(path, findings) else {
        return Examined { config: None, mappings: None, identities: Identities::unreadable() };
    };
    let mut file = Reader::new(overlaid(table, environment, findings), "", findings);
    let sources = Sources { directory, means: environment.into() };
    let identities = file.section("secrets").map(|section| identities(section, sources)).unwrap_or_default();
    let sources = Sources { directory, means: Means { environment, identities: &identities } };
    let mappings = Place { old_server: file.has("otk"), ..mappings(file.section("mappings"), sources) };
    let config = config(file, sources, mappings.clone(), now).filter(|_| !findings.blocked());
    Examined { config, mappings: Some(mappings), identities }
}

/// Where a running bridge answers operators: to be known whatever else is wrong with the files, for it goes on with what it has.
/// `None`: neither the file nor the environment says it, or nobody knows what the file says, and the findings say why.
pub fn ops_door(path: &Path, environment: &Environment, findings: &Findings) -> Option<OpsDoor> {
    let (table, lost, is_whole) = match readable(path, findings) {
        Some((table, lost)) => (table, Some(lost), !findings.blocked()),
        None => (Table::empty(Origin::file(&path.to_string_lossy())), None, false),
    };
    let absent = lost.filter(|lost| !lost.may_hold(["listen", "ops"])).map(|_| listen::OPS);
    // Variables that mean nothing are told by whoever needs them.
    let mut file = Reader::new(overlaid(table, environment, &Findings::new()), "", findings);
    let is_secure = !is_whole || file.section("tls").is_some_and(|mut section| section.has("ops"));
    Some(OpsDoor { address: listen::ops(&mut file, absent)?, is_secure })
}

/// `[secrets]`.
pub(super) fn identities(mut section: Reader<'_>, sources: Sources<'_>) -> Identities {
    let (key, findings) = (section.path("identity"), section.findings());
    let value = section.take("identity");
    section.finish();
    value.map(|value| secrets::identities(value, &key, sources, findings)).unwrap_or_default()
}

fn read(path: &Path, findings: &Findings) -> Option<Table> {
    parse(&path.to_string_lossy(), &text(path, findings)?, findings)
}

/// The file as far as it can be read, and what of it cannot: what is needed at a bad hour may well stand elsewhere. `None`: nothing of it can.
pub(super) fn readable(path: &Path, findings: &Findings) -> Option<(Table, Lost)> {
    let text = text(path, findings).or_else(|| {
        // A comment as an old editor saves it; in a value, what stands there is in no file and no address.
        let bytes = files::bytes(path, LONGEST, findings).ok().filter(|bytes| !bytes.contains(&0))?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    })?;
    let name = path.to_string_lossy();
    let whole = parse(&name, &text, findings).map(|table| (table, Lost::default()));
    Some(whole.unwrap_or_else(|| salvaged(&name, &text)))
}

fn text(path: &Path, findings: &Findings) -> Option<String> {
    match files::text(path, LONGEST, findings) {
        Ok(text) => Some(text),
        Err(Unfit { reason, hint }) => {
            let (name, hint) = (path.to_string_lossy(), hint.unwrap_or("name another with --config FILE"));
            findings.error("unreadable-file", &Origin::file(&name), format!("the file {reason}"), hint);
            None
        }
    }
}

pub(super) fn overlaid(mut table: Table, environment: &Environment, findings: &Findings) -> Table {
    let mut names = BTreeMap::new();
    for (variable, value) in environment.with_prefix(PREFIX) {
        let origin = Origin::variable(variable);
        let Some(text) = value.to_str() else {
            findings.error("bad-value", &origin, "the variable is not UTF-8", "set it in UTF-8, or unset it");
            continue;
        };
        let keys = variable.strip_prefix(PREFIX).unwrap_or_default();
        let path: Vec<String> = keys.split("__").map(str::to_ascii_lowercase).collect();
        if let Some(other) = names.insert(path.clone(), variable) {
            findings.error(
                "duplicate-key",
                &origin,
                format!("the variable says what {other} says"),
                "unset one of the two",
            );
        }
        if let Err(finding) = table.overlay(&path, variable, text.to_owned()) {
            findings.push(finding);
        }
    }
    table
}

fn mappings(section: Option<Reader<'_>>, sources: Sources<'_>) -> Place {
    let Some(mut section) = section else { return Place::new(sources.directory.join(MAPPINGS)) };
    let path = section.filled("path", "a path").map_or_else(|| MAPPINGS.to_owned(), |text| text.value);
    section.finish();
    Place::new(sources.directory.join(path))
}

fn config(mut file: Reader<'_>, sources: Sources<'_>, mappings: Place, now: Timestamp) -> Option<Config> {
    let findings = file.findings();
    let (listen, of_gateway) = listen::read(file.section("listen"), findings);
    let Server { workers, trusted_proxies, drain, of_drain } = server(file.section("server"));
    let (mut gateway, route_clients) = gateway::read(file.section("gateway"), &listen, sources);
    let tls = listen::tls(file.section("tls"), &listen, sources, now);
    let of_realm = file.origin_of("realm");
    let realm = file.required_section("realm").and_then(|section| realm::read(section, sources));
    if let Some(((realm, _), origin)) = realm.as_ref().zip(of_drain.or(of_realm)) {
        warn_of_drain(drain, patience(realm), &origin, findings);
    }
    let otk = file.section("otk").map(|section| otk::read(section, listen.gateway.is_some(), sources));
    let limits = limits::read(file.section("limits"));
    let ops_token = file.section("ops").and_then(|section| ops_token(section, sources));
    let store = store::read(file.section("store"), sources);
    let audit = audit::read(file.section("audit"), sources.directory, store.as_ref());
    let log = log(file.section("log"));
    file.finish();
    let (realm, manner) = realm?;
    // A section with something wrong in it is not the same as none.
    let otk = match otk {
        Some(read) => {
            let (old_server, old_api) = read?;
            gateway.old_api = old_api;
            Some(old_server)
        }
        None => None,
    };
    // A route with something wrong in it is not the same as none.
    if let Some(origin) = of_gateway.filter(|_| !findings.blocked() && gateway.leads_nowhere()) {
        let hint = "set `[[gateway.route]]` or `otk.api`, or leave it out";
        findings.warning(
            "no-routes",
            &origin,
            "`listen.gateway` where nothing says where calls go: each is answered 404",
            hint,
        );
    }
    Some(Config {
        listen,
        gateway,
        route_clients,
        workers,
        trusted_proxies,
        drain,
        tls,
        realm,
        manner,
        otk,
        mappings,
        limits,
        ops_token,
        identities: sources.means.identities.clone(),
        store: store?,
        audit,
        log,
    })
}

/// `[server]`.
struct Server {
    workers: usize,
    trusted_proxies: Vec<IpNet>,
    drain: Duration,
    /// Where that is written; `None`: nowhere.
    of_drain: Option<Origin>,
}

fn server(section: Option<Reader<'_>>) -> Server {
    let mut server = Server { workers: 0, trusted_proxies: Vec::new(), drain: Duration::from_secs(30), of_drain: None };
    let Some(mut section) = section else { return server };
    let workers = section.integer("workers", 0, 1024);
    server.workers = workers.map_or(0, |found| usize::try_from(found.value).unwrap_or(0));
    for text in section.texts_or_none("trusted_proxies").unwrap_or_default() {
        let network = text.value.parse().or_else(|_| text.value.parse::<IpAddr>().map(IpNet::from));
        match network {
            Ok(network) => server.trusted_proxies.push(canonical(network)),
            Err(_) => section.bad_value("trusted_proxies", &text.origin, "a list of networks such as \"10.0.0.0/8\""),
        }
    }
    server.of_drain = section.origin_of("drain");
    server.drain = section.duration_within("drain", server.drain, Duration::ZERO, Duration::from_hours(1));
    section.finish();
    server
}

/// What waits for the realm is cut off by the end of the drain; its answer may hold a refresh token that nobody has then.
fn warn_of_drain(drain: Duration, patience: Duration, origin: &Origin, findings: &Findings) {
    if drain < patience {
        let [drain, patience] = [drain, patience].map(humantime::format_duration);
        let message = format!(
            "`server.drain` is {drain}, and the realm may take {patience} to answer: a refresh that is cut off ends its login"
        );
        let hint = format!("drain = \"{patience}\" or more, and let whoever stops the bridge wait for so long");
        findings.warning("short-drain", origin, message, hint);
    }
}

/// IPv4 addresses as peers have them, where they are written as IPv6 has them (`::ffff:10.0.0.0/104`).
fn canonical(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let IpNet::V6(written) = network else { return network };
    let mapped = written.addr().to_ipv4_mapped().zip(written.prefix_len().checked_sub(MAPPED));
    mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(network, IpNet::V4)
}

/// Whoever guesses the ops token may end all logins, and nobody counts how often he tries.
const SHORTEST_TOKEN: usize = 12;

pub(super) fn ops_token(mut section: Reader<'_>, sources: Sources<'_>) -> Option<secrecy::SecretString> {
    let key = section.path("token");
    let value = section.take("token");
    let origin = value.as_ref().map(|value| value.origin.clone());
    let token = value.and_then(|value| secrets::read(value, &key, sources, section.findings()));
    let findings = section.findings();
    section.finish();
    let (token, origin) = (token?, origin?);
    let text = token.expose_secret();
    let hint = "openssl rand -hex 32 > ops.token";
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("`{key}` has characters that fit into no header");
        findings.error("bad-value", &origin, message, hint);
        return None;
    }
    if text.len() < SHORTEST_TOKEN {
        let message = format!("`{key}` can be guessed: it has less than {SHORTEST_TOKEN} characters");
        findings.warning("weak-token", &origin, message, hint);
    }
    Some(token)
}

fn log(section: Option<Reader<'_>>) -> String {
    let Some(mut section) = section else { return "info".to_owned() };
    let filter = section.text("filter");
    if let Some(text) = filter.as_ref().filter(|text| !is_filter(&text.value)) {
        section.bad_value("filter", &text.origin, "a filter such as \"info\" or \"info,passbridge=debug\"");
    }
    section.finish();
    filter.map_or_else(|| "info".to_owned(), |text| text.value)
}

/// A word that is no level would be the name of what alone is to log, and nothing has it: there would be no line at all, errors among them.
/// So it would be where only others than we are named.
fn is_filter(text: &str) -> bool {
    let is_level = |part: &str| part.parse::<LevelFilter>().is_ok();
    let parts = || text.split(',').filter(|part| !part.is_empty());
    parts().all(|part| is_level(part) || part.contains('=') && part.trim() == part)
        && parts().any(|part| is_level(part) || is_ours(part))
        && EnvFilter::try_new(text).is_ok()
}

/// Whether some line of ours may come under this part of a filter: it names the beginning of a target, or only a span.
fn is_ours(part: &str) -> bool {
    const OURS: &str = env!("CARGO_CRATE_NAME");
    let target = part.split(['=', '[']).next().unwrap_or_default();
    OURS.starts_with(target) || target.starts_with(&format!("{OURS}::"))
}

/// A file of certificates or a key.
pub(super) fn pem(name: &Spotted<String>, sources: Sources<'_>, findings: &Findings) -> Option<Vec<u8>> {
    if name.value.contains("-----BEGIN") {
        let message = "PEM itself stands where the path of a PEM file belongs";
        findings.error("clear-text-secret", &name.origin, message, "put it into a file of its own, and name that");
        return None;
    }
    let path = sources.directory.join(&name.value);
    match files::bytes(&path, LONGEST, findings) {
        Ok(bytes) => Some(bytes),
        Err(reason) => {
            let hint =
                "name a PEM file that the bridge's user can read; a path begins at the configuration's directory";
            findings.error("unreadable-file", &name.origin, format!("{} {reason}", path.display()), hint);
            None
        }
    }
}

/// Certificates to trust in place of the system's, where TLS is spoken at all. A file without any is refused: it must not mean whom the
/// system trusts.
pub(super) fn ca(section: &mut Reader<'_>, is_secure: bool, sources: Sources<'_>) -> Option<Vec<u8>> {
    let name = section.filled("ca", "a path")?;
    if !is_secure {
        let message = format!("`{}` where no server speaks TLS", section.path("ca"));
        let hint = "leave it out, or let a URL say that one does: https://, rediss://";
        section.findings().warning("unused-key", &name.origin, message, hint);
    }
    let bytes = pem(&name, sources, section.findings())?;
    if let Err(reason) = Trust::new(Some(bytes.clone())) {
        let message = format!("`{}` {reason}", section.path("ca"));
        let hint = "name a PEM file with the certificates to trust; without `ca` the system's count";
        section.findings().error("unfit-certificate", &name.origin, message, hint);
        return None;
    }
    Some(bytes)
}

/// Whether the findings say that a file could not be opened at all, rather than that something in it is wrong.
#[must_use]
pub fn unopened(findings: &[crate::document::Finding]) -> bool {
    let is_of_a_file = |code| matches!(code, "unreadable-file" | "unreadable-secret");
    findings.iter().any(|finding| finding.severity == Severity::Error && is_of_a_file(finding.code))
}
