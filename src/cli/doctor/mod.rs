//! `passbridge doctor`: asks the realm whether logins would work. Live, and free of side effects: nothing is logged in, changed or
//! spent; the realm notes a refused login for each question that knocks at its door.

mod client;
mod finding;
mod here;
mod old;
mod realm;
mod settings;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use futures_util::{StreamExt, stream};
use secrecy::SecretString;
use tokio::runtime;

use super::{Format, NO, WRONG_USE, now, secret, show};
use crate::config::{self, Config};
use crate::document::Findings;
use crate::domain::client::Client;
use crate::domain::table::Table;
use crate::keycloak::probe::Probe;
use crate::lifecycle::looking_up_names;
use crate::mapping;
use crate::secrets::Environment;
use crate::server::{hinted, provide_tls};
use finding::{Finding, Weight};

/// Clients that are looked at side by side: enough to be done with a thousand in a minute, too few to be a load.
const TOGETHER: usize = 8;

/// What is looked at.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Only this legacy client, whatever its stage; can be given again. Without it: every client whose logins go to the realm
    #[arg(long = "client", value_name = "ID")]
    clients: Vec<String>,
    /// A client of the realm that may read its settings (`view-realm`, `view-clients`); its secret is read from standard input
    #[arg(long, value_name = "CLIENT_ID")]
    reader: Option<String>,
    /// How findings are written
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Looks at everything; errors make the answer a "no", warnings and notes do not.
pub(super) fn run(path: &Path, environment: &Environment, asked: &Asked) -> Result<ExitCode, ExitCode> {
    let (config, table) = read(path, environment, &asked.clients)?;
    let wrong_use = |sentence: String| show::failed(WRONG_USE, sentence);
    let clients = chosen(&table, &asked.clients)
        .map_err(|id| show::failed(NO, format!("no file maps the client `{id}`\n  hint: passbridge client list")))?;
    let reader = asked.reader.as_ref().map(|id| secret::read().map(|secret| (id.clone(), secret)));
    let reader = reader.transpose().map_err(wrong_use)?;
    provide_tls();
    let probe = Probe::new(&config.realm).map_err(|unusable| wrong_use(unusable.0))?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| wrong_use(format!("the machine gives no runtime: {error}")))?;
    let visit = Visit { probe, config: &config, table: &table, clients, reader };
    let visited = {
        let _inside = runtime.enter();
        looking_up_names(visit.all())
    };
    let visited =
        visited.map_err(|error| wrong_use(format!("no thread to look names up: {error}{}", hinted(&error))))?;
    let found = runtime.block_on(visited);
    // No name is waited for that is still looked up, and no answer of use to anybody.
    runtime.shutdown_background();
    Ok(tell(&found, visit.clients.len(), asked.format))
}

/// What is looked at. Whoever names clients is not stopped by faults of others, as of a variable that is set for the bridge alone.
fn read(path: &Path, environment: &Environment, ids: &[String]) -> Result<(Config, Table), ExitCode> {
    let findings = Findings::new();
    let config = config::load(path, environment, now(), &findings);
    let table = config
        .as_ref()
        .and_then(|config| mapping::load_in_part(&config.mappings, config.means(environment), &findings));
    let is_whole = !findings.blocked();
    let findings = findings.into_sorted();
    // Of two with one id nobody knows which is meant.
    let is_plain = findings.iter().all(|finding| finding.code != "duplicate-client");
    let has_named = |table: &Table| is_plain && !ids.is_empty() && ids.iter().all(|id| table.client(id).is_some());
    let read = config.zip(table.filter(|table| is_whole || has_named(table)));
    if read.is_none() || !is_whole {
        show::tell(&findings);
    }
    if read.is_some() && !is_whole {
        show::say("note: the errors above are other clients' and stop nobody here");
    }
    read.ok_or_else(|| {
        show::failed(WRONG_USE, "configuration or mappings have errors; nobody was asked\n  hint: passbridge check")
    })
}

/// The clients that are meant, by their old ids; or the id that nobody has.
fn chosen(table: &Table, ids: &[String]) -> Result<Vec<Arc<Client>>, String> {
    let mut clients = if ids.is_empty() {
        table.clients().filter(|client| client.stage.asks_realm()).cloned().collect()
    } else {
        let named = ids.iter().map(|id| table.client(id).cloned().ok_or_else(|| id.clone()));
        named.collect::<Result<Vec<_>, _>>()?
    };
    clients.sort_by(|one, other| one.legacy_id.cmp(&other.legacy_id));
    clients.dedup_by(|one, other| one.legacy_id == other.legacy_id);
    Ok(clients)
}

fn tell(findings: &[Finding], clients: usize, format: Format) -> ExitCode {
    let written = finding::write(findings, format, &mut show::data());
    let count = |weight| findings.iter().filter(|finding| finding.weight == weight).count();
    let (errors, warnings) = (count(Weight::Error), count(Weight::Warning));
    let at_realm = |finding: &&Finding| finding.weight == Weight::Error && !finding.code.starts_with("old-");
    let verdict = match (errors, clients, findings.iter().filter(at_realm).count()) {
        (0, 0, _) => "no client's logins go to the realm",
        (0, _, _) => "logins would work",
        (_, _, 0) => "what goes to the old server would fail",
        (_, _, _) => "logins would fail",
    };
    show::say(&format!("clients: {clients}; errors: {errors}; warnings: {warnings}: {verdict}"));
    show::ended(written, if errors == 0 { 0 } else { NO })
}

/// One look at everything.
struct Visit<'a> {
    probe: Probe,
    config: &'a Config,
    table: &'a Table,
    clients: Vec<Arc<Client>>,
    reader: Option<(String, SecretString)>,
}

impl Visit<'_> {
    async fn all(&self) -> Vec<Finding> {
        let mut findings = here::look(self.config);
        findings.extend(old::look(self.config, self.table).await);
        let (url, found) = realm::look(&self.probe, self.config, self.reader.is_some()).await;
        findings.extend(found);
        let Some(url) = url else {
            findings.push(Finding::unchecked("the clients", "no URL of the realm answers"));
            return findings;
        };
        findings.extend(realm::parameters(&self.probe, url, self.config, &self.clients).await);
        let settings = match settings::read(&self.probe, url, self.reader.as_ref()).await {
            Ok(settings) => Some(settings),
            Err(why_not) => {
                findings.push(why_not);
                None
            }
        };
        if let Some(settings) = &settings {
            findings.extend(settings.look(url, self.config, self.table));
        }
        let (total, terminal) = (self.clients.len(), std::io::stderr().is_terminal());
        let mut visits = stream::iter(&self.clients)
            .map(|client| client::look(&self.probe, url, client, settings.as_ref()))
            .buffered(TOGETHER)
            .enumerate();
        while let Some((index, found)) = visits.next().await {
            findings.extend(found);
            if terminal {
                show::progress(&format!("{} of {total} clients", index + 1));
            }
        }
        if terminal {
            show::say("");
        }
        findings
    }
}
